"""The acoustic model as a whole: padding, windows, synthesis, sizes, initialisation."""

from __future__ import annotations

import math

import pytest
import torch
from synthetic_batches import (
    SYMBOLS,
    batch_of,
    in_float64,
    random_features,
    reference_of,
    shake,
    small_model,
    voice_of_row,
)
from torch import Tensor

from shared_models.acoustic import build_model
from shared_models.acoustic.dimensions import dimensions
from shared_models.acoustic.voice_model import VoiceModel
from shared_models.config import AlignerConfig, ModelConfig, Recipe, SpeakerConfig
from shared_models.errors import RecipeError
from shared_models.losses import acoustic_loss
from shared_models.speakers.heard import MEL, Heard, Reference

ITEMS = [random_features(9, 60, 1), random_features(5, 41, 2), random_features(12, 33, 3)]
UNALIGNED = [
    random_features(9, 60, 1, False),
    random_features(5, 41, 2, False),
    random_features(12, 33, 3, False),
]


@pytest.mark.parametrize("size", ["tiny", "base", "large"])
@pytest.mark.parametrize("items", [ITEMS, UNALIGNED], ids=["aligned", "unaligned"])
def test_a_batch_gives_what_its_utterances_give_alone(size: str, items: list) -> None:
    model = small_model(size).eval().double()
    shake(model)
    with torch.no_grad():
        together = model(in_float64(batch_of(items)))
        for row, item in enumerate(items):
            alone = model(in_float64(batch_of([item])))
            length, frames = len(item.phonemes), len(item.mel)
            pairs: list[tuple[Tensor, Tensor]] = [
                (together.mel[row, :frames], alone.mel[0]),
                (together.predicted.log_duration[row, :length], alone.predicted.log_duration[0]),
                (together.predicted.pitch[row, :length], alone.predicted.pitch[0]),
                (together.predicted.energy[row, :length], alone.predicted.energy[0]),
                (together.target.pitch[row, :length], alone.target.pitch[0]),
            ]
            for ours, theirs in pairs:
                # Shaken weights amplify rounding, and each processor's kernels round in their own order: in
                # float32 the two come apart by more than 1e-4 of themselves, which could hide a leak.
                torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
            assert torch.equal(together.durations[row, :length], alone.durations[0])


def test_what_lies_in_the_padding_is_never_read() -> None:
    model = small_model("large").eval()
    shake(model)
    clean, dirty = batch_of(ITEMS), batch_of(ITEMS)
    for row, item in enumerate(ITEMS):
        dirty.mel[row, len(item.mel) :] = 77.0
        dirty.log_f0[row, len(item.mel) :] = 77.0
        dirty.energy[row, len(item.mel) :] = 77.0
        dirty.phonemes[row, len(item.phonemes) :] = 7
        heard = dirty.heard.signals[MEL]
        heard.values[row, int(heard.lengths[row]) :] = 77.0
    with torch.no_grad():
        expected, found = model(clean), model(dirty)
    assert torch.equal(expected.mel[expected.frame_mask], found.mel[found.frame_mask])
    first = acoustic_loss(expected, clean, per_utterance=True).total
    assert torch.equal(first, acoustic_loss(found, dirty, per_utterance=True).total)


def test_a_window_is_compared_with_its_own_part_of_the_recording() -> None:
    model = small_model().eval()
    batch = batch_of(ITEMS)
    output = model(batch, window=40, generator=torch.Generator().manual_seed(3))
    assert output.mel.shape == output.mel_target.shape == (3, 40, 80)
    for row, item in enumerate(ITEMS):
        start, width = int(output.starts[row]), min(40, len(item.mel))
        assert 0 <= start <= len(item.mel) - width
        assert int(output.frame_mask[row].sum()) == width
        assert torch.equal(output.mel_target[row, :width], item.mel[start : start + width])


def test_windows_reach_every_frame() -> None:
    model = small_model().eval()
    batch, g = batch_of([random_features(4, 12, 1)]), torch.Generator().manual_seed(0)
    with torch.no_grad():
        starts = {int(model(batch, window=8, generator=g).starts[0]) for _ in range(60)}
    assert starts == {0, 1, 2, 3, 4}


def test_a_window_as_long_as_the_utterance_changes_nothing() -> None:
    model = small_model().eval()
    shake(model)
    batch = batch_of(ITEMS)
    with torch.no_grad():
        assert torch.equal(model(batch).mel, model(batch, window=60).mel)


def test_the_same_generator_draws_the_same_windows_and_the_same_seed_the_same_dropout() -> None:
    model, batch = small_model(), batch_of(ITEMS)

    def run(seed: int) -> Tensor:
        torch.manual_seed(seed)
        found: Tensor = model(batch, window=16, generator=torch.Generator().manual_seed(seed)).mel
        return found

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))


def test_synthesis_of_a_batch_is_synthesis_one_by_one() -> None:
    model = small_model("large").eval()
    shake(model, 0.1)
    with torch.no_grad():
        batch = batch_of(ITEMS)
        voice = model.voice(batch.heard)
        mel, lengths = model.synthesize(batch.phonemes, batch.phoneme_lengths, voice)
        assert mel.shape == (3, int(lengths.max()), 80)
        for row, item in enumerate(ITEMS):
            alone = model.voice(batch_of([item]).heard)
            one, length = model.synthesize(item.phonemes[None], torch.tensor([len(item.phonemes)]), alone)
            assert length[0] == lengths[row]
            torch.testing.assert_close(one[0], mel[row, : length[0]], rtol=1e-5, atol=1e-4)
            assert (mel[row, length[0] :] == 0).all()


def test_one_voice_speaks_a_whole_batch() -> None:
    model = small_model().eval()
    batch = batch_of(ITEMS)
    one = model.voice(Heard.of([Reference({MEL: reference_of(30, 1)})]))
    mel, lengths = model.synthesize(batch.phonemes, batch.phoneme_lengths, one)
    assert len(mel) == len(lengths) == 3
    with pytest.raises(ValueError, match="cannot expand 3 speakers to 2"):
        model.voice(batch.heard).expand(2)


def test_sounds_last_at_least_a_frame_and_silences_may_last_none() -> None:
    model = small_model(speaker=SpeakerConfig(sources=("table",))).eval()
    with torch.no_grad():
        model.voices.prosody.weight[0, 3] = -50.0  # an impossibly fast speaker
        voice = voice_of_row(model)
        sounds = torch.tensor([[1, 5, 2, 6, 7, 1]])  # sil, sound, comma, sound, sound, sil
        _, lengths = model.synthesize(sounds, torch.tensor([6]), voice)
        assert lengths.tolist() == [3]
        _, lengths = model.synthesize(torch.tensor([[1, 2]]), torch.tensor([2]), voice)
        assert lengths.tolist() == [1], "nothing but pauses still gives a mel"
        model.voices.prosody.weight[0, 3] = 50.0  # and an impossibly slow one stays finite
        mel, lengths = model.synthesize(sounds, torch.tensor([6]), voice)
        voice = voice_of_row(model)
        mel, lengths = model.synthesize(sounds, torch.tensor([6]), voice)
        assert lengths.tolist() == [6 * 172]
        assert mel.isfinite().all()


def test_controls_do_what_they_say() -> None:
    model = small_model(speaker=SpeakerConfig(sources=("table",))).eval()
    with torch.no_grad():
        model.voices.prosody.weight[0, 3] = math.log(11.0)  # about ten frames a phoneme
        model.acoustic.variance_adaptor.duration.output.weight.zero_()
        model.acoustic.variance_adaptor.duration.output.bias.zero_()
        voice = voice_of_row(model)
        phonemes, length = torch.tensor([[4, 5, 6, 7]]), torch.tensor([4])
        plain, frames = model.synthesize(phonemes, length, voice)
        assert frames.tolist() == [40]
        assert model.synthesize(phonemes, length, voice, duration_scale=2.0)[1].tolist() == [80]
        assert not torch.equal(plain, model.synthesize(phonemes, length, voice, pitch_shift=2.0)[0])
        assert not torch.equal(plain, model.synthesize(phonemes, length, voice, energy_scale=2.0)[0])
        # A register one semitone higher is what a shift of one semitone gives: 0.4 of log-Hz is one unit.
        model.voices.prosody.weight[0, 0] = math.log(2.0) / 12 / 0.4
        higher = voice_of_row(model)
        torch.testing.assert_close(
            model.synthesize(phonemes, length, higher)[0],
            model.synthesize(phonemes, length, voice, pitch_shift=1.0)[0],
        )


def test_long_text_goes_beyond_the_table_of_positions() -> None:
    model = small_model(speaker=SpeakerConfig(sources=("table",)), decoder_layers=1).eval()
    phonemes = torch.randint(3, len(SYMBOLS), (1, 2500))
    with torch.no_grad():
        mel, lengths = model.synthesize(
            phonemes, torch.tensor([2500]), voice_of_row(model), duration_scale=4.0
        )
    assert int(lengths) >= 2500
    assert mel.isfinite().all()


@pytest.mark.parametrize(
    ("size", "least", "most"), [("tiny", 2e6, 4e6), ("base", 12e6, 14e6), ("large", 34e6, 38e6)]
)
def test_sizes(size: str, least: float, most: float) -> None:
    found = dimensions(ModelConfig.model_validate({"size": size}), SYMBOLS)
    model = VoiceModel(found, SpeakerConfig(), AlignerConfig())
    personal = sum(p.numel() for p in model.voices.parameters())
    total = sum(p.numel() for p in model.parameters())
    print(f"{size}: {total / 1e6:.2f} M parameters, personal set {personal}")
    assert least < total < most
    assert personal == sum(math.prod(t.shape) for t in model.takes) <= 5_000
    assert found.sites == 9


def test_the_large_model_is_fastspeech2_s() -> None:
    """ming024's: 11.55 M encoder, 17.32 M decoder; ours lacks only norms that are the speaker's."""
    found = dimensions(ModelConfig(size="large"), SYMBOLS)
    acoustic = VoiceModel(found, SpeakerConfig(), AlignerConfig()).acoustic
    assert sum(p.numel() for p in acoustic.encoder.parameters()) == pytest.approx(11.55e6, rel=0.002)
    assert sum(p.numel() for p in acoustic.decoder.parameters()) == pytest.approx(17.32e6, rel=0.002)
    assert acoustic.postnet is not None
    assert sum(p.numel() for p in acoustic.postnet.parameters()) == pytest.approx(4.35e6, rel=0.002)


def test_a_narrow_budget_conditions_fewer_norms() -> None:
    wide = dimensions(ModelConfig(hidden=512), SYMBOLS)
    assert wide.sites == 4
    takes = VoiceModel(wide, SpeakerConfig(), AlignerConfig()).takes
    assert sum(math.prod(declared.shape) for declared in takes) <= 5_000
    shallow = dimensions(ModelConfig(decoder_layers=2), SYMBOLS)
    assert shallow.sites == 5


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"hidden": 30, "heads": 4}, "does not split"),
        ({"kernel": 4}, "must be odd"),
        ({"hidden": 4000}, "5000 numbers"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes: dict, problem: str) -> None:
    with pytest.raises(RecipeError, match=problem):
        dimensions(ModelConfig(**changes), SYMBOLS)


def test_a_recipe_gives_the_same_weights_for_any_number_of_voices_and_leaves_torch_s_generator_alone() -> (
    None
):
    torch.manual_seed(9)
    expected = torch.rand(3)
    torch.manual_seed(9)
    one, many, other = (
        build_model(Recipe(seed=4)),
        build_model(Recipe(seed=4), voices=5),
        build_model(Recipe(seed=5)),
    )
    assert torch.equal(torch.rand(3), expected)
    shared = {n: p for n, p in one.named_parameters() if not n.startswith("voices.")}
    assert all(torch.equal(p, many.get_parameter(n)) for n, p in shared.items())
    assert any(not torch.equal(p, other.get_parameter(n)) for n, p in shared.items())
    assert torch.equal(build_model(Recipe(seed=1), seed=5).acoustic.mel.weight, other.acoustic.mel.weight), (
        "a given seed goes before the recipe's"
    )
    assert many.voices.prosody.weight.shape[0] == 5


def test_durations_come_from_the_recording_or_the_aligner_as_the_recipe_says() -> None:
    never = small_model(aligner=AlignerConfig(learn="never"))
    with pytest.raises(RecipeError, match=r"aligner\.learn"):
        never(batch_of(UNALIGNED))
    assert never(batch_of(ITEMS)).alignment is None
    auto = small_model()
    assert auto(batch_of(ITEMS)).alignment is None
    assert auto(batch_of(UNALIGNED)).alignment is not None
    always = small_model(aligner=AlignerConfig(learn="always"))
    assert always(batch_of(ITEMS)).alignment is not None


def test_a_tiny_model_learns_two_utterances() -> None:
    torch.manual_seed(0)
    model = small_model(hidden=64, filter=128, decoder_layers=2, dropout=0.0)
    batch = batch_of([random_features(6, 40, 1), random_features(8, 50, 2)])
    batch.mel.copy_(
        torch.linspace(-9, -2, 80) + 0.8 * torch.sin(batch.phonemes.sum(1).float())[:, None, None]
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    history = []
    for _ in range(40):
        loss = acoustic_loss(model(batch), batch).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < 0.5 * history[0], history


def test_every_shared_and_personal_parameter_is_trained() -> None:
    model = small_model("large", aligner=AlignerConfig(learn="always"))
    shake(model, 0.05)  # at the start the CLN maps are zero and pass nothing back to the embedding
    acoustic_loss(model(batch_of(ITEMS)), batch_of(ITEMS)).total.backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # Softmax is blind to what is added to all of its scores alike.
    assert [n for n in silent if "attention.key.bias" not in n] == []
