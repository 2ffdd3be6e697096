"""What holds of every source of a voice: padding, nobody, private training, rounds, profiles, speaking, export."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from heard_signals import FROZEN, JOINT, KINDS, STYLES, model_of, recipe_of, references, speech
from tiny_federation import shaken, task_of

from client.cloning import adapt_privately, voice_alone, voice_of
from client.home.ledger import Ledger
from client.learning.dp_sgd import make_private
from client.learning.local_round import Material, local_round
from client.learning.private_adaptation import _nothing_dropped, only_personal_trains
from client.profile import VoiceProfile, load_profile, save_profile
from shared_models.export.onnx_voice import OnnxVoice
from shared_models.export.voice_folder import write_voice
from shared_models.features import collate
from shared_models.losses import acoustic_loss
from shared_models.optimization import adam
from shared_models.partition import Owner, weights_hash
from shared_models.speakers.heard import Heard, Signal
from shared_models.speakers.sources import SOURCES
from shared_models.vocoders.vocos import Vocos, VocosDimensions

PHONEMES = torch.tensor([[5, 9, 14, 7, 11]])


def test_every_kind_is_tried() -> None:
    assert set(KINDS) | {"table", "mel_style"} == set(SOURCES)


@pytest.mark.parametrize("kind", KINDS)
def test_a_reference_is_heard_alone_however_it_is_padded(kind: str) -> None:
    model = shaken(model_of(kind)).model.eval()
    own = references(speech(3))
    heard = Heard.of(own)
    spoiled = {}
    for name, signal in heard.signals.items():
        real = torch.arange(signal.values.shape[1]) < signal.lengths[:, None]
        spoiled[name] = Signal(
            torch.where(real[:, :, None], signal.values, torch.tensor(7.0)), signal.lengths
        )
    with torch.no_grad():
        together = model.voice(Heard(heard.rows, spoiled))["embedding"]
        alone = torch.cat([model.voice(Heard.of([reference]))["embedding"] for reference in own])
    torch.testing.assert_close(together, alone, atol=2e-5, rtol=1e-4)
    assert not torch.allclose(alone[0], alone[1], atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_reference_among_others_is_nobody(kind: str) -> None:
    model = shaken(model_of(kind)).model.eval()
    own = references(speech(2))
    empty = own[1].excerpt(0, 0)
    with torch.no_grad():
        among = model.voice(Heard.of([own[0], empty]))["embedding"][1]
        nobody = model.voice(Heard(torch.zeros(1, dtype=torch.int64)))["embedding"][0]
    torch.testing.assert_close(among, nobody, atol=1e-6, rtol=1e-5)
    assert bool(nobody.any()) == (kind in STYLES)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_each_utterance_are_those_of_a_loop(kind: str) -> None:
    model = shaken(model_of(kind))
    personal = only_personal_trains(model)
    utterances, parameters = speech(3), model.personal_parameters()
    assert any(name.endswith("_weights.weight") for name in model.personal_state()) == (kind in STYLES)

    def loss(index: int) -> torch.Tensor:
        batch = collate([utterances[index]], references=None)
        return acoustic_loss(model.model(batch), batch, per_utterance=True).total

    with _nothing_dropped(model.model):
        plain = [torch.autograd.grad(loss(i).sum(), parameters, allow_unused=True) for i in range(3)]
        hooked, private = make_private(
            personal, adam(parameters, 0.1, fused=False), noise_multiplier=1.0, clipping_norm=1.0,
            expected_batch=1.0, generator=None,
        )  # fmt: skip
        for i in range(3):
            for parameter in parameters:
                parameter.grad_sample = None  # type: ignore[attr-defined]
            loss(i).sum().backward()  # type: ignore[no-untyped-call]
            for parameter, expected in zip(private.params, plain[i], strict=True):
                found = parameter.grad_sample
                if expected is None:
                    assert found is None or not bool(found.any())
                else:
                    assert bool(expected.any())
                    torch.testing.assert_close(found[0], expected, atol=1e-5, rtol=1e-5)
        hooked.to_standard_module()


@pytest.mark.parametrize("kind", KINDS)
def test_rounds_train_what_is_shared_and_nothing_personal_travels(kind: str) -> None:
    recipe = recipe_of(kind, client__window_frames=40)
    model = model_of(kind)
    weights = model.shared_vector()
    sources = [t for t in model.partition.shared if t.name.startswith(f"{kind}.")]
    assert sources
    assert not any(t.name.startswith("voices.") for t in model.partition.shared)
    for number in (1, 2):
        updates = []
        for member in (0, 1):
            model.reset_personal()
            material = Material.split(speech(4, seed=member), 0.5)
            done = local_round(model, weights, material, task_of(recipe, number, member))
            assert done.update is not None
            assert len(done.update.vector) == model.partition.size
            updates.append(done.update.vector)
        moved = torch.stack(updates).mean(0)
        still = [t.name for t in sources if not moved[t.start : t.stop].any()]
        # Keys and queries of equal values have no gradient; a recurrence of one step has no state before it.
        assert not [
            name for name in still if number == 2 and not re.search("key|query|state.weight", name)
        ], still
        weights = weights + moved
    assert bool(torch.isfinite(weights).all())


@pytest.mark.parametrize("kind", KINDS)
def test_a_voice_is_kept_and_speaks_on_a_fresh_base(kind: str, tmp_path: Path) -> None:
    model = shaken(model_of(kind))
    base = weights_hash(model.shared_vector())
    voice = voice_of(model, speech(2))
    save_profile(tmp_path / "me", VoiceProfile(voice, base, "me"))
    fresh = shaken(model_of(kind)) if model.partition.frozen else model_of(kind)
    fresh.load_shared_vector(model.shared_vector())
    loaded = load_profile(tmp_path / "me", base=base).voice
    with torch.no_grad():
        spoken = fresh.model.eval().synthesize(PHONEMES, torch.tensor([5]), loaded)[0]
        assert torch.equal(spoken, model.model.eval().synthesize(PHONEMES, torch.tensor([5]), voice)[0])
        other = fresh.model.synthesize(PHONEMES, torch.tensor([5]), voice_of(model, speech(2, seed=5)))[0]
    assert not torch.equal(spoken[:, :3], other[:, :3])


@pytest.mark.parametrize("kind", STYLES)
def test_a_private_clone_learns_its_weights_over_what_is_everybodys(kind: str, tmp_path: Path) -> None:
    model = shaken(model_of(kind))
    shared = model.shared_vector()
    recipe = recipe_of(kind, personal_privacy__enabled=True)
    nobody = voice_alone(model)["embedding"]
    made = adapt_privately(model, speech(4), recipe, Ledger(tmp_path / "ledger.sqlite", None, 1e-3))
    weights = [t for name, t in model.personal_state().items() if name.endswith("_weights.weight")]
    assert all(bool(t.all()) for t in weights)
    assert torch.equal(model.shared_vector(), shared)
    assert not torch.allclose(made.voice["embedding"], nobody, atol=1e-4)
    (entry,) = Ledger(tmp_path / "ledger.sqlite", None, 1e-3).history()
    assert entry.spend.unit == "utterance"


@pytest.mark.parametrize("kind", ["multiscale_gst", "ecapa"])
def test_a_voice_is_exported_and_speaks_without_torch(kind: str, tmp_path: Path) -> None:
    model = shaken(model_of(kind))
    base, voice = weights_hash(model.shared_vector()), voice_of(model, speech(2))
    vocos = Vocos(VocosDimensions(width=16, hidden=32, blocks=1))
    write_voice(
        tmp_path / "onnx", model.model.acoustic, vocos, voice, form="onnx", base=base, vocoder="vocos"
    )
    mel, _ = OnnxVoice(tmp_path / "onnx").mel(PHONEMES.numpy(), speaker=None)
    with torch.no_grad():
        expected, _ = model.model.eval().synthesize(PHONEMES, torch.tensor([5]), voice)
    assert np.abs(mel - expected.numpy()).max() < 1e-4


def test_only_what_comes_from_a_file_is_frozen() -> None:
    for kind in (*JOINT, *STYLES):
        assert not model_of(kind).partition.names(Owner.FROZEN)
    for kind in FROZEN:
        partition = model_of(kind).partition
        assert partition.frozen
        assert all(name.startswith(f"{kind}.front.") for name in partition.names(Owner.FROZEN))
