"""Public HiFi-GAN checkpoints give the sound they give elsewhere, or one clear refusal."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from public_generator import CONFIGS, random_tensors, run, write

from shared_models.errors import CheckpointError
from shared_models.vocoders import import_hifigan, load_vocoder, save_vocoder

Tensors = dict[str, torch.Tensor]


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("version", CONFIGS)
def test_same_sound_as_a_second_writing_of_the_generator(version: str, zipped: bool, tmp_path: Path) -> None:
    config = CONFIGS[version]
    tensors = random_tensors(config)
    vocoder = import_hifigan(*write(tmp_path, tensors, config, zipped=zipped))
    mel = torch.randn(2, 9, 80)
    expected = run(tensors, config, mel.mT)
    assert expected.abs().max() < 0.999  # a saturated tanh would hide differences
    assert expected.std() > 0.01
    assert torch.allclose(vocoder(mel), expected, atol=1e-5)


def test_folded_and_newly_parametrised_tensors_are_taken_too(tmp_path: Path) -> None:
    config = CONFIGS["v3"]
    tensors = random_tensors(config)
    mel = torch.randn(5, 80)
    expected = import_hifigan(*write(tmp_path, tensors, config))(mel)
    renamed, folded = {}, {}
    for name, tensor in tensors.items():
        new = name.replace("weight_g", "parametrizations.weight.original0")
        renamed[new.replace("weight_v", "parametrizations.weight.original1")] = tensor
        if name.endswith("weight_v"):
            length = tensors[name.replace("weight_v", "weight_g")]
            folded[name.replace("weight_v", "weight")] = (
                tensor * length / tensor.norm(dim=(1, 2), keepdim=True)
            )
        elif name.endswith("bias"):
            folded[name] = tensor
    for other in (renamed, folded):
        assert torch.allclose(import_hifigan(*write(tmp_path, other, config))(mel), expected, atol=1e-6)


@pytest.mark.parametrize("prefix", ["module.", "generator.", "generator.module.", "_orig_mod.module."])
@pytest.mark.parametrize("place", ["generator", "state_dict", None])
def test_what_wrappers_put_before_names_is_no_matter(prefix: str, place: str | None, tmp_path: Path) -> None:
    config, mel = CONFIGS["v3"], torch.randn(3, 80)
    tensors = random_tensors(config)
    checkpoint, settings_ = write(tmp_path, tensors, config)
    expected = import_hifigan(checkpoint, settings_)(mel)
    renamed = {f"{prefix}{name}": tensor for name, tensor in tensors.items()}
    if prefix.startswith("generator.") and place != "generator":
        renamed["discriminator.weight"] = torch.zeros(1)  # as Lightning saves both
    torch.save({place: renamed} if place else renamed, checkpoint)
    assert torch.allclose(import_hifigan(checkpoint, settings_)(mel), expected, atol=1e-6)


def test_a_bare_state_is_taken(tmp_path: Path) -> None:
    checkpoint, config = write(tmp_path, random_tensors(CONFIGS["v3"]), CONFIGS["v3"])
    torch.save(random_tensors(CONFIGS["v3"]), checkpoint)
    assert import_hifigan(checkpoint, config)(torch.randn(2, 80)).shape == (512,)


def test_sizes_that_no_memory_has_are_refused_at_once(tmp_path: Path) -> None:
    for channels in (65_536, 2**40):
        config = CONFIGS["v3"] | {
            "upsample_initial_channel": channels,
            "upsample_kernel_sizes": [1024, 1024, 1024],
        }
        with pytest.raises(CheckpointError):
            import_hifigan(*write(tmp_path, random_tensors(CONFIGS["v3"]), config))


@pytest.mark.parametrize(("version", "kind"), [("v1", "hifigan_v1"), ("v3", "hifigan_v3")])
def test_an_import_can_be_saved_and_loaded(version: str, kind: str, tmp_path: Path) -> None:
    vocoder = import_hifigan(*write(tmp_path, random_tensors(CONFIGS[version]), CONFIGS[version]))
    assert vocoder.kind == kind
    path, mel = tmp_path / "vocoder.safetensors", torch.randn(4, 80)
    save_vocoder(path, vocoder.generator, vocoder.kind, vocoder.dimensions, vocoder.notes)
    loaded = load_vocoder(path)
    assert torch.equal(loaded(mel), vocoder(mel))
    assert loaded.notes["source"].endswith("generator_test")


def test_every_difference_of_the_mel_is_named(tmp_path: Path) -> None:
    config = CONFIGS["v3"] | {"sampling_rate": 24000, "fmax": None, "num_mels": 100}
    with pytest.raises(CheckpointError) as caught:
        import_hifigan(*write(tmp_path, random_tensors(CONFIGS["v3"]), config))
    said = str(caught.value)
    for part in ("sampling_rate is 24000 and not 22050", "num_mels is 100 and not 80", "fmax is 12000"):
        assert part in said
    assert not any(name in said for name in ("hop_size", "n_fft", "win_size", "fmin"))


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("upsample_rates", [8, 8, 2], "multiply to 256"),
        ("upsample_rates", "8,8,4", "upsample_rates"),
        ("upsample_initial_channel", 3.5, "upsample_initial_channel"),
        ("upsample_initial_channel", -8, "upsample_initial_channel"),
        ("resblock", "3", "resblock"),
        ("resblock_dilation_sizes", [1, 3], "resblock_dilation_sizes"),
        ("resblock_kernel_sizes", [3, 5], "dilations"),
        ("hop_size", "256", "hop_size"),
        ("fmin", None, "fmin"),
    ],
)
def test_impossible_configurations_are_refused(field: str, value: Any, said: str, tmp_path: Path) -> None:
    files = write(tmp_path, random_tensors(CONFIGS["v3"]), CONFIGS["v3"] | {field: value})
    with pytest.raises(CheckpointError, match=said):
        import_hifigan(*files)


@pytest.mark.parametrize("field", [f for f in CONFIGS["v3"] if f[:4] not in ("fmax", "segm", "num_")])
def test_a_configuration_without_a_field_is_refused_by_its_name(field: str, tmp_path: Path) -> None:
    config = {name: value for name, value in CONFIGS["v3"].items() if name != field}
    with pytest.raises(CheckpointError, match=field):
        import_hifigan(*write(tmp_path, random_tensors(CONFIGS["v3"]), config))


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "\x00\xff"])
def test_a_configuration_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    checkpoint, config = write(tmp_path, random_tensors(CONFIGS["v3"]), CONFIGS["v3"])
    config.write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError, match="configuration"):
        import_hifigan(checkpoint, config)
    config.unlink()
    with pytest.raises(CheckpointError, match="configuration"):
        import_hifigan(checkpoint, config)


def _without(name: str) -> Any:
    return lambda tensors: tensors.pop(name)


def _with(name: str, tensor: torch.Tensor) -> Any:
    return lambda tensors: tensors.update({name: tensor})


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_without("conv_pre.bias"), "lacks the tensors 'conv_pre.bias'"),
        (_without("ups.1.weight_v"), "ups.1.weight"),
        (_without("ups.1.weight_g"), "ups.1.weight"),
        (_with("extra.bias", torch.zeros(1)), "'extra.bias', which"),
        (_with("conv_post.bias", torch.zeros(2)), r"\(2,\).*\(1,\)"),
        (_with("conv_post.bias", torch.full((1,), torch.nan)), "finite"),
        (_with("ups.0.weight_v", torch.zeros(32, 16, 16)), "finite"),
        (_with("ups.0.weight_g", torch.ones(5, 1, 1)), "ups.0.weight"),
        (lambda tensors: tensors.clear(), "lacks"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(damage: Any, said: str, tmp_path: Path) -> None:
    tensors = random_tensors(CONFIGS["v3"])
    damage(tensors)
    with pytest.raises(CheckpointError, match=said):
        import_hifigan(*write(tmp_path, tensors, CONFIGS["v3"]))


def test_v1_does_not_fit_v2(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="other dimensions"):
        import_hifigan(*write(tmp_path, random_tensors(CONFIGS["v1"]), CONFIGS["v2"]))


@pytest.mark.parametrize(
    "content", [{"mpd": {}, "msd": {}}, [1, 2], {"generator": 5}, {"generator": {"a": 1}}]
)
def test_other_torch_files_are_refused(content: object, tmp_path: Path) -> None:
    checkpoint, config = write(tmp_path, {}, CONFIGS["v3"])
    torch.save(content, checkpoint)
    with pytest.raises(CheckpointError, match="no 'generator'"):
        import_hifigan(checkpoint, config)


class _Mischief:
    def __reduce__(self) -> Any:
        return os.mkdir, (os.environ["FEDVOICE_TEST_MISCHIEF"],)


def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDVOICE_TEST_MISCHIEF", str(tmp_path / "done"))
    checkpoint, config = write(tmp_path, {}, CONFIGS["v3"])
    torch.save({"generator": _Mischief()}, checkpoint)
    with pytest.raises(CheckpointError, match="cannot be read"):
        import_hifigan(checkpoint, config)
    assert not (tmp_path / "done").exists()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, tuple[Path, Path]]:
    config = CONFIGS["v3"] | {"upsample_initial_channel": 8}
    folders = {zipped: tmp_path_factory.mktemp("whole") for zipped in (True, False)}
    return {z: write(folder, random_tensors(config), config, zipped=z) for z, folder in folders.items()}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(zipped=st.booleans(), share=st.floats(0, 0.999))
def test_a_truncated_checkpoint_is_refused(
    whole: dict[bool, tuple[Path, Path]], tmp_path: Path, zipped: bool, share: float
) -> None:
    checkpoint, config = whole[zipped]
    content = checkpoint.read_bytes()
    short = tmp_path / "short"
    short.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match="short"):
        import_hifigan(short, config)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200))
def test_any_other_bytes_are_refused(
    whole: dict[bool, tuple[Path, Path]], tmp_path: Path, content: bytes
) -> None:
    other = tmp_path / "other"
    other.write_bytes(content)
    with pytest.raises(CheckpointError, match="other"):
        import_hifigan(other, whole[True][1])


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIGS["v1"]))
    with pytest.raises(CheckpointError, match="nowhere"):
        import_hifigan(tmp_path / "nowhere", tmp_path / "config.json")
