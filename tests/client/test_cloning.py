"""Cloning: from nobody's voice to somebody's, and by DP-SGD without listening more than was paid for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_federation import personal_copy, random_speech, same, shaken, tiny_model, tiny_recipe

from client.cloning import adapt, adapt_privately, clone, voice_of_nobody, zero_shot
from client.home.ledger import Ledger
from client.learning import private_adaptation
from client.learning.measured_prosody import WIDEST
from shared_models.accounting import SampledGaussian, epsilon_of
from shared_models.acoustic.voice_model import VoicePartition
from shared_models.algorithms.cloning import CLONING
from shared_models.config import Recipe
from shared_models.errors import BudgetError, CorpusError
from shared_models.features import Features, collate
from shared_models.judges import Judges
from shared_models.losses import acoustic_loss
from shared_models.mel_discriminator import MelDiscriminator

DELTA = 1e-3


def recipe_of(**changes: Any) -> Recipe:
    return tiny_recipe(**({"aligner__learn": "never", "cloning__steps": 3} | changes))


def private_recipe(**changes: Any) -> Recipe:
    settings = {"personal_privacy__enabled": True, "personal_privacy__epsilon": 4.0}
    return recipe_of(**(settings | {"personal_privacy__delta": DELTA} | changes))


def ledger_in(folder: Path, name: str = "ledger.sqlite") -> Ledger:
    """A ledger with the budget of :func:`private_recipe`."""
    return Ledger(folder / name, 4.0, DELTA)


class Heard(Sequence[Features]):
    """Utterances that note which of them were read."""

    def __init__(self, utterances: Sequence[Features]) -> None:
        self.utterances = list(utterances)
        self.read: set[int] = set()

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, index: Any) -> Any:
        self.read.add(index)
        return self.utterances[index]


@torch.no_grad()
def loss_on(model: VoicePartition, utterances: Sequence[Features]) -> float:
    model.model.eval()
    batch = collate(utterances, [u.reference for u in [*utterances[1:], utterances[0]]])
    return float(acoustic_loss(model.model(batch), batch).total)


def test_the_voice_of_nobody_has_no_personal_parameters_left() -> None:
    model = shaken(tiny_model(recipe_of()))
    nobody = voice_of_nobody(model)
    assert not any(tensor.any() for tensor in model.personal_state().values())
    assert not nobody["embedding"].any()
    assert not nobody["prosody"].any()
    assert len(nobody) == 1


def test_zero_shot_hears_the_support_and_trains_nothing() -> None:
    model = shaken(tiny_model(recipe_of()))
    shared = model.shared_vector()
    first, second = zero_shot(model, random_speech(5, seed=1)), zero_shot(model, random_speech(5, seed=2))
    assert torch.equal(model.shared_vector(), shared)
    assert not torch.equal(first["embedding"], second["embedding"])
    assert not torch.equal(first["embedding"], voice_of_nobody(model)["embedding"])


def test_zero_shot_is_the_mean_over_utterances_in_any_order() -> None:
    model, speech = shaken(tiny_model(recipe_of())), random_speech(4)
    whole = zero_shot(model, speech)
    for part in ("embedding", "cln_scale", "cln_shift"):
        alone = torch.stack([zero_shot(model, [u])[part] for u in speech]).mean(0)
        assert torch.allclose(whole[part], alone, atol=1e-5)
        assert torch.allclose(whole[part], zero_shot(model, speech[::-1])[part], atol=1e-5)


def test_adapting_lowers_the_loss_on_the_support_and_moves_nothing_shared() -> None:
    recipe = recipe_of(cloning__steps=60, model__dropout=0.0)
    model, speech = shaken(tiny_model(recipe)), random_speech(5)
    voice_of_nobody(model)
    before, shared = loss_on(model, speech), model.shared_vector()
    told: list[tuple[int, int]] = []
    adapted = adapt(model, speech, recipe, on_step=lambda done, total: told.append((done, total)))
    assert loss_on(model, speech) < 0.97 * before
    assert torch.equal(model.shared_vector(), shared)
    assert told == [(step, 60) for step in range(1, 61)]
    assert not torch.equal(adapted["embedding"], zero_shot(model, speech)["embedding"])


def test_adapting_starts_from_nobody_and_repeats() -> None:
    recipe, speech = recipe_of(), random_speech(5)
    model = shaken(tiny_model(recipe))
    first = adapt(model, speech, recipe)
    torch.rand(3)
    second = adapt(model, speech, recipe)
    assert torch.equal(first["embedding"], second["embedding"])
    assert torch.equal(first["cln_scale"], second["cln_scale"])


def test_one_utterance_is_too_few_to_adapt_to() -> None:
    with pytest.raises(CorpusError, match="at least 2 usable utterances and was given 1"):
        adapt(tiny_model(recipe_of()), random_speech(1), recipe_of())


def test_clone_does_what_the_recipe_says(tmp_path: Path) -> None:
    model, speech, ledger = shaken(tiny_model(recipe_of())), random_speech(5), ledger_in(tmp_path)
    listened = clone(model, speech, recipe_of(cloning__steps=0), ledger)
    assert torch.equal(listened.voice["embedding"], zero_shot(model, speech)["embedding"])
    adapted = clone(model, speech, recipe_of(), ledger)
    assert torch.equal(adapted.voice["embedding"], adapt(model, speech, recipe_of())["embedding"])
    assert listened.privacy is adapted.privacy is None
    private = clone(model, speech, private_recipe(), ledger)
    assert private.privacy is not None
    assert private.privacy["epsilon"] <= 4.0
    assert private.privacy["unit"] == "utterance"


def test_every_clone_is_in_the_ledger_before_a_recording_is_heard(tmp_path: Path) -> None:
    class NotYet(Heard):
        def __iter__(self) -> Any:
            raise ZeroDivisionError("the recordings were read")

        def __getitem__(self, index: Any) -> Any:
            raise ZeroDivisionError("a recording was read")

    ledger, model = ledger_in(tmp_path), shaken(tiny_model(recipe_of()))
    for recipe in (recipe_of(cloning__steps=0), recipe_of()):
        with pytest.raises(ZeroDivisionError):
            clone(model, NotYet(random_speech(5)), recipe, ledger)
    assert [e.spend.purpose for e in ledger.history()] == ["zero-shot cloning", "cloning without DP-SGD"]
    assert ledger.unprotected() == 2
    assert ledger.spent() == math.inf
    assert ledger.spent_protected() == 0
    # What was given away without protection neither forbids nor excuses what is protected.
    private = clone(model, random_speech(5), private_recipe(), ledger)
    assert private.privacy is not None
    assert 0 < ledger.spent_protected() <= 4.0
    assert ledger.spent() == math.inf
    with pytest.raises(BudgetError):
        clone(model, random_speech(5), private_recipe(), ledger)


def test_what_travels_with_a_voice_does_not_depend_on_the_recordings(tmp_path: Path) -> None:
    said = []
    for settings in ({}, {"personal_privacy__epsilon": None, "personal_privacy__noise_multiplier": 3.0}):
        recipe, told = private_recipe(cloning__steps=2, **settings), list[Any]()
        for number, utterances in enumerate((2, 5, 9)):
            ledger = Ledger(tmp_path / f"{len(said)}-{number}", 100.0, DELTA)
            for _ in range(number):  # and not on what the ledger holds besides
                clone(shaken(tiny_model(recipe)), random_speech(5), recipe, ledger)
            voice = clone(shaken(tiny_model(recipe)), random_speech(utterances), recipe, ledger)
            assert voice.privacy is not None
            assert ledger.spent() <= (number + 1) * voice.privacy["epsilon"]
            told.append(voice.privacy)
        assert told[0] == told[1] == told[2]
        assert set(told[0]) == {"unit", "epsilon", "delta", "mechanism"}
        said.append(told[0]["epsilon"])
    assert said[0] == 4.0
    assert said[1] == pytest.approx(epsilon_of([SampledGaussian(3.0, 1.0, 2)], DELTA))


def test_private_adaptation_pays_before_it_reads_a_recording(tmp_path: Path) -> None:
    class NotYet(Heard):
        def __getitem__(self, index: Any) -> Any:
            entries.append(len(Ledger(path, None, DELTA).history()))
            raise ZeroDivisionError("the first recording was read")

    path, entries = tmp_path / "ledger.sqlite", list[int]()
    recipe = private_recipe(client__batch_size=5)
    with pytest.raises(ZeroDivisionError):
        adapt_privately(
            shaken(tiny_model(recipe)), NotYet(random_speech(5)), recipe, Ledger(path, 4.0, DELTA)
        )
    assert entries == [1]
    (entry,) = Ledger(path, None, DELTA).history()
    assert (entry.spend.steps, entry.spend.unit, entry.spend.purpose) == (3, "utterance", "cloning")
    assert entry.spend.sampling_probability == 1.0


def test_private_adaptation_costs_what_the_recipe_allows(tmp_path: Path) -> None:
    recipe = private_recipe(cloning__steps=10)
    ledger = ledger_in(tmp_path)
    told = adapt_privately(shaken(tiny_model(recipe)), random_speech(8), recipe, ledger).privacy
    assert told is not None
    assert (told["epsilon"], told["delta"]) == (4.0, DELTA)
    assert 0.97 * 4.0 < ledger.spent() <= 4.0
    (entry,) = ledger.history()
    assert (entry.spend.steps, entry.spend.sampling_probability) == (10, 0.25)


def test_an_utterance_that_was_not_sampled_changes_nothing(tmp_path: Path) -> None:
    recipe = private_recipe(cloning__steps=2, client__batch_size=1)
    model, speech = shaken(tiny_model(recipe)), random_speech(9)

    def adapted(utterances: Sequence[Features], name: str) -> tuple[dict[str, Any], set[int], Any]:
        heard = Heard(utterances)
        rng = torch.Generator().manual_seed(11)
        torch.manual_seed(0)
        voice = adapt_privately(model, heard, recipe, ledger_in(tmp_path, name), rng=rng)
        return personal_copy(model), heard.read, voice.voice

    plain, read, voice = adapted(speech, "a")
    assert read, "another seed is needed: nobody was sampled"
    unread = set(range(9)) - read
    assert unread, "another seed is needed: everybody was sampled"
    # References included: one that is heard without being sampled would be a release that nobody paid for.
    changed = [replace(u, mel=u.mel + 3) if i in unread else u for i, u in enumerate(speech)]
    other, read_again, other_voice = adapted(changed, "b")
    assert read_again == read
    assert same(plain, other)
    assert torch.equal(voice["embedding"], other_voice["embedding"])
    sampled = [replace(u, mel=u.mel + 3) if i in read else u for i, u in enumerate(speech)]
    assert not same(plain, adapted(sampled, "c")[0]), "what was sampled does count"


def test_private_adaptation_hears_no_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = private_recipe(client__batch_size=4)
    model = shaken(tiny_model(recipe))
    heard: list[Any] = []

    def watched(items: Sequence[Features], references: Any) -> Any:
        heard.append(references)
        return collate(items, references)

    monkeypatch.setattr(private_adaptation, "collate", watched)
    voice = adapt_privately(model, random_speech(5), recipe, ledger_in(tmp_path))
    assert heard
    assert all(references is None for references in heard)
    # The resulting voice is the trained table and nothing else.
    assert torch.equal(voice.voice["embedding"], model.personal_state()["voices.embedding.weight"])


def test_private_training_leaves_no_gradient_on_what_is_shared(tmp_path: Path) -> None:
    """It would be one without noise, kept where a later step might take it up."""
    recipe = private_recipe(client__batch_size=4)
    model = shaken(tiny_model(recipe))
    for parameter in model.shared_parameters():
        parameter.requires_grad_(True)
    shared = model.shared_vector()
    adapt_privately(model, random_speech(5), recipe, ledger_in(tmp_path))
    assert torch.equal(model.shared_vector(), shared)
    assert all(parameter.grad is None for parameter in model.shared_parameters())
    assert any(tensor.any() for tensor in model.personal_state().values())


def test_beyond_the_budget_nothing_is_trained(tmp_path: Path) -> None:
    recipe, path = private_recipe(), tmp_path / "ledger.sqlite"
    model, speech = shaken(tiny_model(recipe)), random_speech(5)
    adapt_privately(model, speech, recipe, Ledger(path, 4.0, DELTA))
    heard, steps = Heard(speech), []
    with pytest.raises(
        BudgetError, match=r"cloning would bring this device to epsilon .* where its budget is 4"
    ):
        adapt_privately(
            model, heard, recipe, Ledger(path, 4.0, DELTA), on_step=lambda *step: steps.append(step)
        )
    assert (heard.read, steps) == (set(), [])
    assert not any(tensor.any() for tensor in model.personal_state().values())
    assert len(Ledger(path, None, DELTA).history()) == 1


def test_live_noise_is_drawn_anew_each_time(tmp_path: Path) -> None:
    recipe, speech = private_recipe(), random_speech(5)
    model = shaken(tiny_model(recipe))
    voices = []
    for name in ("a", "b"):
        torch.manual_seed(0)
        voices.append(adapt_privately(model, speech, recipe, ledger_in(tmp_path, name)).voice["embedding"])
    assert not torch.equal(*voices)


def test_recordings_without_alignments_are_aligned_once_and_not_at_every_step() -> None:
    model, support = shaken(tiny_model(recipe_of(aligner__learn="auto"))), random_speech(3, aligned=False)
    asked: list[int] = []
    aligner = model.model.aligner
    assert aligner is not None
    aligner.register_forward_pre_hook(lambda _, batch: asked.append(len(batch[0].phonemes)))
    adapted = adapt(model, support, recipe_of(aligner__learn="auto", cloning__steps=5))
    assert asked == [1, 1, 1]
    given = [replace(u, durations=model.model.durations(collate([u], None))[0][0]) for u in support]
    again = adapt(model, given, recipe_of(aligner__learn="auto", cloning__steps=5))
    assert all(torch.equal(adapted[name], again[name]) for name in adapted)


def judged_by(recipe: Recipe) -> MelDiscriminator:
    torch.manual_seed(5)
    return MelDiscriminator(recipe.adversarial.channels)


def test_a_clone_is_pulled_by_the_bases_discriminator_which_stays_as_it_was() -> None:
    recipe = recipe_of(cloning__adversarial=0.5, adversarial__channels=4)
    model, support, judge = shaken(tiny_model(recipe)), random_speech(3), judged_by(recipe)
    before = {name: value.clone() for name, value in judge.state_dict().items()}
    pulled = adapt(model, support, recipe, judges=Judges(judge))
    assert all(torch.equal(before[name], value) for name, value in judge.state_dict().items())
    assert pulled.tensors.keys() == (alone := adapt(model, support, recipe)).tensors.keys()
    assert not same(pulled.tensors, alone.tensors)
    # The same again: what the copy learnt in one clone is not met in the next.
    assert same(pulled.tensors, adapt(model, support, recipe, judges=Judges(judge)).tensors)
    deaf = recipe.override({"cloning.adversarial": 0.0})
    assert same(alone.tensors, adapt(model, support, deaf, judges=Judges(judge)).tensors)


def test_a_private_clone_goes_without_the_discriminator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it learnt from the recordings would pull at the voice without noise."""

    def heard(*_: object) -> None:
        raise AssertionError("the discriminator heard a recording of a private clone")

    recipe = private_recipe(cloning__adversarial=0.5, adversarial__channels=4)
    monkeypatch.setattr(MelDiscriminator, "forward", heard)
    model = shaken(tiny_model(recipe))
    made = clone(model, random_speech(3), recipe, ledger_in(tmp_path), judges=Judges(judged_by(recipe)))
    assert made.privacy is not None
    open_recipe = recipe.override({"personal_privacy.enabled": False})
    with pytest.raises(AssertionError, match="heard a recording"):
        clone(model, random_speech(3), open_recipe, ledger_in(tmp_path), judges=Judges(judged_by(recipe)))


def test_what_a_clone_trains_and_how_fast_may_differ_where_it_is_private() -> None:
    chosen = {"cloning__adaptation": "vectors+whole", "cloning__layers": ("mel",), "cloning__lr": 0.01}
    private = {"cloning__private_adaptation": "vectors", "cloning__private_lr": 0.02}
    for recipe, personal, rate in (
        (recipe_of(**chosen, **private), "vectors+whole", 0.01),
        (private_recipe(**chosen, **private), "vectors", 0.02),
        (private_recipe(**chosen), "vectors+whole", 0.01),
    ):
        cloning = recipe.for_cloning()
        assert (cloning.speaker.personal, cloning.speaker.layers) == (personal, ("mel",))
        assert CLONING.personal_rate(cloning, 0) == rate


def test_prosody_is_measured_from_a_newcomers_wherever_the_steps_led_it() -> None:
    recipe = recipe_of(cloning__lr=1.0)  # far beyond what a measured range may change
    model, support = shaken(tiny_model(recipe)), random_speech(3)
    voice = adapt(model, support, recipe)
    register, log_range, loudness, rate = voice["prosody"][0].tolist()
    assert abs(log_range) <= WIDEST
    trained = model.personal_state()
    assert any(float(value.abs().max()) > WIDEST for name, value in trained.items() if "prosody" in name)
    assert all(math.isfinite(value) for value in (register, loudness, rate))
