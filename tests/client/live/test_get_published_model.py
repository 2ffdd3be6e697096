"""Fetching a published model from a server that answers wrongly, or breaks off: what lands on the device's disk."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from published_home import finished_home
from tiny_federation import tiny_recipe

from client.home.kept_bases import find_base
from client.live import published_model
from client.live.home import Membership
from client.live.keys import DeviceKey
from client.live.published_model import fetch_model
from server.live.certificates import ensure_certificates
from server.live.home import ServerHome
from server.live.published import piece, published
from server.live.publishing import publish, sign
from shared_models.errors import CheckpointError, FedVoiceError, ServiceError
from shared_models.published_model import MODEL_PATH, PIECE_BYTES, WEIGHTS

Get = Callable[[str, int], bytes]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> ServerHome:
    home = finished_home(tmp_path_factory.mktemp("server") / "home", tiny_recipe())
    publish(home)
    return home


@pytest.fixture
def home(server: ServerHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A device that joined, and whose bases are kept in a folder of its own."""
    made = tmp_path / "device"
    Membership("127.0.0.1:1", 0, 7, "test", "test", "alice").save(made)
    DeviceKey.of(made)
    (made / "ca.pem").write_bytes(server.secret("ca.pem"))
    monkeypatch.setenv("FEDVOICE_BASES", str(tmp_path / "bases"))
    monkeypatch.setattr(published_model.time, "sleep", lambda _: None)
    return made


def honest(server: ServerHome) -> Get:
    """What the gate answers to a signed request, without a network."""

    def get(target: str, most: int) -> bytes:
        model = published(server)
        assert model is not None
        if target == MODEL_PATH:
            return json.dumps(
                {"finished": True, "manifest": model.manifest.decode(), "signature": model.signature}
            ).encode()
        name, offset = target.removeprefix(MODEL_PATH + "/").split("?offset=")
        found = piece(model, name, int(offset), most)
        assert found is not None
        return found

    return get


def serves(monkeypatch: pytest.MonkeyPatch, get: Get) -> list[str]:
    asked: list[str] = []

    def noted(_: Any, target: str, most: int) -> bytes:
        asked.append(target)
        return get(target, most)

    monkeypatch.setattr(published_model._Desk, "_get", noted)
    return asked


def left_of(home: Path) -> list[str]:
    return (
        sorted(str(p.relative_to(home)) for p in (home / "models").rglob("*"))
        if (home / "models").exists()
        else []
    )


def test_a_model_is_fetched_checked_and_kept_by_its_hash(
    server: ServerHome, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, steps = serves(monkeypatch, honest(server)), []
    fetched = fetch_model(home, None, lambda done, total: steps.append((done, total)))
    assert fetched.folder.parent == home / "models"
    assert find_base(fetched.manifest.base).hash == fetched.manifest.base
    assert steps[-1][0] == steps[-1][1] > 0
    before = len(asked)
    assert fetch_model(home).folder == fetched.folder
    assert len(asked) == before + 1, "what is here already is not fetched again"
    assert not [name for name in left_of(home) if ".partial" in name]


def test_a_download_that_was_cut_off_goes_on_where_it_was(
    server: ServerHome, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published_model, "PIECE_BYTES", 20_000)
    get, calls = honest(server), []

    def breaks(target: str, most: int) -> bytes:
        calls.append(target)
        if len(calls) > 5:
            raise httpx.ReadError("cut off")
        return get(target, most)

    serves(monkeypatch, breaks)
    with pytest.raises(ServiceError, match="what has arrived is kept"):
        fetch_model(home)
    assert len(calls) == 5 + published_model._TRIES, "it gives up after a few tries with growing pauses"
    asked = serves(monkeypatch, get)
    fetch_model(home)
    offsets = [int(target.rsplit("=", 1)[1]) for target in asked if WEIGHTS in target]
    assert offsets[0] > 0
    assert offsets == sorted(set(offsets))


def lying(server: ServerHome, lie: Callable[[str, bytes], bytes]) -> Get:
    get = honest(server)
    return lambda target, most: lie(target, get(target, most))


def _changed_manifest(signer: Path | None) -> Callable[[str, bytes], bytes]:
    def lie(target: str, content: bytes) -> bytes:
        if target != MODEL_PATH:
            return content
        answer = json.loads(content)
        answer["manifest"] = answer["manifest"].replace('"run": "test"', '"run": "other"')
        if signer is not None:
            answer["signature"] = base64.b64encode(sign(signer, answer["manifest"].encode())).decode()
        return json.dumps(answer).encode()

    return lie


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        ("flip", "not the file"),
        ("truncate", "bytes of model.safetensors"),
        ("too much", "bytes of model.safetensors"),
        ("manifest", "not signed"),
        ("other run", "another run"),
        ("other authority", "not signed"),
        ("no signature", "in another way"),
        ("no json", "something else"),
    ],
)
def test_what_a_server_says_wrongly_is_not_used_and_does_not_stay(
    server: ServerHome, home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lie: str, words: str
) -> None:
    ensure_certificates(tmp_path / "other", "other", ["127.0.0.1"])
    lies: dict[str, Callable[[str, bytes], bytes]] = {
        "flip": lambda t, c: bytes([c[0] ^ 1]) + c[1:] if t.endswith(f"{WEIGHTS}?offset=0") else c,
        "truncate": lambda t, c: b"" if WEIGHTS in t else c,
        "too much": lambda t, c: c + b"x" if WEIGHTS in t else c,
        "manifest": _changed_manifest(None),
        "other run": _changed_manifest(server.folder),
        "other authority": _changed_manifest(tmp_path / "other"),
        "no signature": lambda t, c: (
            json.dumps({**json.loads(c), "signature": 3}).encode() if t == MODEL_PATH else c
        ),
        "no json": lambda t, c: b"[]" if t == MODEL_PATH else c,
    }
    serves(monkeypatch, lying(server, lies[lie]))
    with pytest.raises(FedVoiceError, match=words):
        fetch_model(home)
    assert not [name for name in left_of(home) if "/" in name and ".partial" not in name]
    assert not (tmp_path / "bases").exists()
    serves(monkeypatch, honest(server))
    fetch_model(home)


def test_a_folder_with_something_else_in_it_stays_as_it_is(
    server: ServerHome, home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    serves(monkeypatch, honest(server))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="name another place"):
        fetch_model(home, tmp_path / "mine")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    assert fetch_model(home, tmp_path / "empty").folder == tmp_path / "empty"


def test_a_model_that_changed_on_the_disk_is_noticed(
    server: ServerHome, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serves(monkeypatch, honest(server))
    weights = fetch_model(home).folder / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00\x01")
    with pytest.raises(CheckpointError, match="not the file"):
        fetch_model(home)


def test_an_answer_is_not_read_beyond_what_was_asked_for() -> None:
    response = httpx.Response(200, content=iter([b"x" * 1000] * 100))
    with pytest.raises(CheckpointError, match="more than the 5000 bytes"):
        published_model._limited(response, 5000)
    assert PIECE_BYTES <= 1024 * 1024
