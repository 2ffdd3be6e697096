"""A published model's folder: what is changed, swapped, cut off or named after another place is not used."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from published_home import finished_home
from tiny_federation import tiny_recipe

from server.live.certificates import ensure_certificates
from server.live.publishing import publish, sign
from shared_models.base_model import load_base
from shared_models.errors import CheckpointError
from shared_models.published_model import (
    AUTHORITY,
    CARD,
    MANIFEST,
    SIGNATURE,
    WEIGHTS,
    parse_manifest,
    verify_folder,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, Path]:
    """A published folder, its authority and the server's home."""
    home = finished_home(tmp_path_factory.mktemp("server") / "home", tiny_recipe())
    return publish(home).folder, home.secret("ca.pem"), home.folder


@pytest.fixture
def folder(made: tuple[Path, bytes, Path], tmp_path: Path) -> Path:
    target = tmp_path / "model"
    shutil.copytree(made[0], target)
    return target


def _edit(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def _fields(folder: Path) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
    return fields


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: _edit(f / MANIFEST, lambda c: c.replace(b'"round": 3', b'"round": 4')), "not signed"),
        (lambda f: _edit(f / WEIGHTS, lambda c: c[:-1] + bytes([c[-1] ^ 1])), "not the file"),
        (lambda f: _edit(f / WEIGHTS, lambda c: c[:-100]), "not the file"),
        (lambda f: _edit(f / WEIGHTS, lambda c: c + b"more"), "not the file"),
        (lambda f: _edit(f / CARD, lambda c: c + b"epsilon 0.1"), "not the file"),
        (lambda f: (f / WEIGHTS).unlink(), "not whole"),
        (lambda f: (f / SIGNATURE).unlink(), "not whole"),
        (lambda f: _edit(f / SIGNATURE, lambda _: b"AAAA"), "not signed"),
        (lambda f: _edit(f / SIGNATURE, lambda _: b"\xff\xfe"), "not signed"),
        (lambda f: _edit(f / MANIFEST, lambda _: b"[" * 5000), "not one of a published model"),
        (lambda f: _edit(f / MANIFEST, lambda _: b"x" * 100_000), "not one of a published model"),
    ],
)
def test_a_damaged_folder_is_not_used(folder: Path, damage: Callable[[Path], object], words: str) -> None:
    damage(folder)
    with pytest.raises(CheckpointError, match=words):
        verify_folder(folder)
    with pytest.raises(CheckpointError, match=words):
        load_base(folder)


def test_another_authority_is_noticed_by_who_joined(
    folder: Path, made: tuple[Path, bytes, Path], tmp_path: Path
) -> None:
    ensure_certificates(tmp_path / "other", "other", ["127.0.0.1"])
    content = (folder / MANIFEST).read_bytes()
    (folder / SIGNATURE).write_bytes(base64.b64encode(sign(tmp_path / "other", content)))
    with pytest.raises(CheckpointError, match="not signed"):
        verify_folder(folder, made[1])
    verify_folder(made[0], made[1])
    with pytest.raises(CheckpointError, match="not signed"):
        verify_folder(made[0], (tmp_path / "other" / "ca.pem").read_bytes())


@pytest.mark.parametrize(
    "name", ["../../outside", "/etc/cron.d/x", "..\\up", "extra.txt", "sub/MODEL.md", "\x00"]
)
def test_a_manifest_with_other_names_is_refused_though_it_is_signed(
    folder: Path, made: tuple[Path, bytes, Path], name: str
) -> None:
    fields = _fields(folder)
    fields["files"][name] = fields["files"][CARD]
    with pytest.raises(CheckpointError, match="other files"):
        parse_manifest(json.dumps(fields).encode())
    renamed = _fields(folder)
    renamed["files"][name] = renamed["files"].pop(CARD)
    content = json.dumps(renamed).encode()
    (folder / MANIFEST).write_bytes(content)
    (folder / SIGNATURE).write_bytes(base64.b64encode(sign(made[2], content)))
    with pytest.raises(CheckpointError, match="other files"):
        verify_folder(folder, made[1])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("files", WEIGHTS, "bytes"), 10**13),
        (("files", WEIGHTS, "bytes"), -1),
        (("files", WEIGHTS, "bytes"), True),
        (("files", WEIGHTS, "bytes"), 3.5),
        (("files", AUTHORITY, "bytes"), 10**6),
        (("files", CARD, "sha256"), "0" * 63),
        (("files", CARD, "sha256"), 7),
        (("files",), []),
        (("round",), "3"),
        (("federation",), None),
        (("base",), "../x"),
        (("more",), 1),
        (("format",), "fedvoice-model-0"),
    ],
)
def test_fields_of_a_manifest_are_checked(folder: Path, path: tuple[str, ...], value: object) -> None:
    fields = _fields(folder)
    place = fields
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(CheckpointError):
        parse_manifest(json.dumps(fields).encode())
    assert parse_manifest(json.dumps(_fields(folder)).encode()).round == 3
