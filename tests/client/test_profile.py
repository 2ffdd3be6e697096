"""A voice profile: small, bound to its base, and never a pickle."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tiny_federation import shaken, tiny_model, tiny_recipe

from client.cloning import voice_alone
from client.profile import VoiceProfile, load_profile, profile_base, save_profile
from shared_models.acoustic.dimensions import NAMED, PERSONAL_LIMIT, dimensions
from shared_models.config import ModelConfig
from shared_models.errors import CheckpointError
from shared_models.speakers.voice import Voice

BASE = "a1" * 32


def a_voice(size: str = "tiny") -> Voice:
    d = dimensions(ModelConfig.model_validate({"size": size}))
    rng = torch.Generator().manual_seed(3)
    shapes = {
        "embedding": (d.embedding,),
        "cln_scale": (d.sites, d.hidden),
        "cln_shift": (d.sites, d.hidden),
        "prosody": (d.prosody,),
    }
    return Voice({name: torch.randn(1, *shape, generator=rng) for name, shape in shapes.items()})


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "ann.voice.safetensors"
    save_profile(path, VoiceProfile(a_voice(), BASE, "Ann ü", {"epsilon": 2.0, "unit": "utterance"}))
    return path


def test_a_profile_is_loaded_as_it_was_saved(saved: Path) -> None:
    assert profile_base(saved) == BASE
    loaded = load_profile(saved, base=BASE)
    assert (loaded.base, loaded.name, loaded.privacy) == (
        BASE,
        "Ann ü",
        {"epsilon": 2.0, "unit": "utterance"},
    )
    assert set(loaded.voice) == set(a_voice()) == {"embedding", "cln_scale", "cln_shift", "prosody"}
    for name in a_voice():
        assert torch.equal(loaded.voice[name], a_voice()[name])


def test_without_privacy_nothing_is_claimed(tmp_path: Path) -> None:
    save_profile(tmp_path / "x", VoiceProfile(a_voice(), BASE, "x"))
    assert load_profile(tmp_path / "x", base=BASE).privacy is None


def test_the_header_holds_nothing_that_depends_on_the_recordings(tmp_path: Path) -> None:
    # What versions before wrote: the number of utterances follows from it, and what the ledger held.
    told = {"unit": "utterance", "epsilon": 8.0, "delta": 1e-3, "mechanism": "DP-SGD"}
    more = {"noise_multiplier": 0.8815, "clipping_norm": 1.0, "sampling_probability": 0.4, "steps": 60}
    for name, privacy in (("a", told | more), ("b", told)):
        save_profile(tmp_path / name, VoiceProfile(a_voice(), BASE, "x", privacy))
    headers = []
    for name in ("a", "b"):
        with safe_open(tmp_path / name, framework="pt") as file:
            headers.append(file.metadata())
    header = headers[0]
    assert header == headers[1]
    assert set(header) == {"format", "base", "name", "privacy"}
    assert json.loads(header["privacy"]) == told


def test_a_profile_of_an_older_version_is_loaded_as_it_is(saved: Path) -> None:
    privacy = {"unit": "utterance", "epsilon": 3.1, "sampling_probability": 0.4, "steps": 60}
    with safe_open(saved, framework="pt") as file:
        header = dict(file.metadata())
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    older = header | {"created": "2026-11-01T10:00:00+00:00", "privacy": json.dumps(privacy)}
    save_file(tensors, saved, older)
    loaded = load_profile(saved, base=BASE)
    assert loaded.privacy == privacy
    save_profile(saved, loaded)  # and given on without it
    assert load_profile(saved, base=BASE).privacy == {"unit": "utterance", "epsilon": 3.1}


@pytest.mark.parametrize("size", NAMED)
def test_a_voice_of_any_size_is_at_most_5000_numbers_and_so_is_its_file(size: str, tmp_path: Path) -> None:
    path = tmp_path / "voice"
    profile = VoiceProfile(a_voice(size), BASE, "x")
    save_profile(path, profile)
    with safe_open(path, framework="pt") as file:
        stored = sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118
    assert stored == profile.size <= PERSONAL_LIMIT == 5_000
    assert path.stat().st_size <= 4 * profile.size + 2_000


def test_the_voice_of_a_model_is_what_a_profile_holds(tmp_path: Path) -> None:
    made = voice_alone(shaken(tiny_model(tiny_recipe())))
    save_profile(tmp_path / "x", VoiceProfile(made, BASE, "x"))
    loaded = load_profile(tmp_path / "x", base=BASE).voice
    assert torch.equal(loaded["cln_scale"], made["cln_scale"])
    assert loaded["embedding"].any()


def test_it_speaks_with_its_own_base_only(saved: Path) -> None:
    with pytest.raises(
        CheckpointError, match="was cloned on base a1a1a1a1a1a1 and this base is b2b2b2b2b2b2"
    ):
        load_profile(saved, base="b2" * 32)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.2, 0.5, 0.999])
def test_a_truncated_profile_is_refused(saved: Path, share: float) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[: int(share * len(content))])
    for read in (profile_base, lambda path: load_profile(path, base=BASE)):
        with pytest.raises(CheckpointError, match=r"ann\.voice.*cannot be read.*clone the voice again"):
            read(saved)


def test_a_missing_profile_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nobody"):
        load_profile(tmp_path / "nobody", base=BASE)


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (exec, ("raise SystemExit('the pickle ran')",))

    path = tmp_path / "trap.voice.safetensors"
    for content in (pickle.dumps(Trap()), b"PK\x03\x04" + pickle.dumps(Trap())):
        path.write_bytes(content)
        with pytest.raises(CheckpointError):
            load_profile(path, base=BASE)


def test_another_version_or_other_content_is_refused(saved: Path) -> None:
    with safe_open(saved, framework="pt") as file:
        header = dict(file.metadata())
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    variants = [
        (tensors, header | {"format": "fedvoice-profile-99"}),
        (tensors, None),
        ({}, header),
    ]
    for content, said in variants:
        save_file(content, saved, said)
        with pytest.raises(CheckpointError, match="not a voice profile of this version"):
            load_profile(saved, base=BASE)


@pytest.mark.parametrize("fault", ["audio beside it", "no prosody", "of another size"])
def test_a_profile_with_other_tensors_than_the_model_takes_is_not_spoken_in(
    fault: str, tmp_path: Path
) -> None:
    model = tiny_model(tiny_recipe()).model.eval()
    tensors = dict(voice_alone(tiny_model(tiny_recipe())).tensors)
    match fault:
        case "audio beside it":
            tensors["audio"] = torch.zeros(1, 100)
        case "no prosody":
            del tensors["prosody"]
        case _:
            tensors["embedding"] = torch.zeros(1, 3)
    save_profile(tmp_path / "x", VoiceProfile(Voice(tensors), BASE, "x"))
    with pytest.raises(CheckpointError, match="does not fit a model that takes"):
        model.synthesize(
            torch.tensor([[5, 6]]), torch.tensor([2]), load_profile(tmp_path / "x", base=BASE).voice
        )


def test_a_profile_of_the_first_format_speaks_as_it_did(saved: Path) -> None:
    with safe_open(saved, framework="pt") as file:
        header = dict(file.metadata())
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert header["format"] == "fedvoice-profile-2"
    save_file(tensors, saved, header | {"format": "fedvoice-profile-1"})
    loaded = load_profile(saved, base=BASE)
    assert all(torch.equal(loaded.voice[name], a_voice()[name]) for name in a_voice())


def test_saving_replaces_a_profile_as_a_whole(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            save_profile(saved, VoiceProfile(a_voice(), "c3" * 32, "other"))
    assert load_profile(saved, base=BASE).name == "Ann ü"
    assert list(saved.parent.iterdir()) == [saved]
