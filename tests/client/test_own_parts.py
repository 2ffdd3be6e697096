"""A signal, a source, a conditioning and an adaptation of one's own: each is one file and one line of registration.

With them a round is trained, a voice is cloned with DP-SGD, kept in a profile, and exported; no file of ours changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from own_parts import OWN
from tiny_federation import (
    features_of_tests,
    personal_copy,
    shaken,
    small_corpus,
    task_of,
    tiny_model,
    tiny_recipe,
)

from client.app import DEVICES_VARIABLE
from client.cloning import adapt, adapt_privately, voice_alone, voice_of
from client.home.device import Device
from client.home.ledger import Ledger
from client.learning.local_round import Material, VoicePartition, local_round
from client.profile import VoiceProfile, load_profile, save_profile
from server.app import make_app, plan_for
from server.rounds import RoundReport
from shared_models.audio.cache import FeatureCache
from shared_models.config import CorpusConfig, EngineConfig, Recipe
from shared_models.errors import RecipeError
from shared_models.export.depth import cut, kept_sites
from shared_models.export.onnx_voice import OnnxVoice
from shared_models.export.voice_folder import write_voice
from shared_models.features import Features, collate
from shared_models.losses import acoustic_loss
from shared_models.partition import Owner, weights_hash
from shared_models.speakers.heard import Heard
from shared_models.vocoders.vocos import Vocos, VocosDimensions
from simulations.attacks.leave_one_out import sums_before_noise
from simulations.corpora import open_corpus
from simulations.engine import run_federation
from simulations.preparation import make_devices, prepare

NORM = 0.05


@pytest.fixture(autouse=True, scope="module")
def _forgotten_afterwards() -> Iterator[None]:
    """Where the engine loads the app in this process, that registers them for good, and other tests would meet them."""
    yield
    for kinds, name, _ in OWN:
        kinds.pop(name, None)


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for kinds, name, place in OWN:
        monkeypatch.setitem(kinds, name, place)


def recipe_of(**changes: object) -> Recipe:
    chosen: dict[str, object] = {
        "speaker__sources": ["table", "ripples"],
        "speaker__conditioning": "attending",
        "speaker__personal": "bottleneck",
        "features__signals": ["wave", "loudness"],
        "cloning__steps": 2,
        "client__batch_size": 16,
        "personal_privacy__noise_multiplier": 1.0,
        "personal_privacy__clipping_norm": NORM,
    }
    return tiny_recipe(**(chosen | changes))


@lru_cache(maxsize=1)
def speech() -> list[Features]:
    """Four short utterances of one embedded voice, with all signals."""
    own = next(iter(open_corpus(CorpusConfig()).speakers("test").values()))
    chosen = sorted(own, key=lambda utterance: utterance.seconds or 0.0)[:4]
    return [FeatureCache(features_of_tests()).get(utterance, recipe_of().features) for utterance in chosen]


def model_of(recipe: Recipe) -> VoicePartition:
    return shaken(tiny_model(recipe))


def test_features_bring_the_signals_and_the_cache_gives_them_back() -> None:
    for features in speech():
        assert set(features.signals) == {"wave", "loudness"}
        assert abs(len(features.signals["loudness"]) / 2 - len(features.mel)) <= 1
        excerpt = features.reference.excerpt(3, 10)
        assert {name: len(signal) for name, signal in excerpt.signals.items()} == {
            "mel": 10, "wave": 2560, "loudness": 20,
        }  # fmt: skip


def test_what_is_whose_follows_from_what_each_part_declares() -> None:
    model = tiny_model(recipe_of())
    personal = {
        "attending_maps.lift.weight", "attending_maps.lift.bias", "voices.embedding.weight",
        "voices.ripple_gain.weight", "voices.prosody.weight", "voices.down.weight", "voices.up.weight",
    }  # fmt: skip
    assert set(model.personal_state()) == personal
    assert set(model.partition.names(Owner.FROZEN)) == {
        "ripples.filters.bank.weight", "ripples.filters.centre",
    }  # fmt: skip
    assert not any(name.startswith("ripples.filters") for name in (t.name for t in model.partition.shared))
    assert [declared.name for declared in model.model.takes] == [
        "embedding", "tokens", "lift", "prosody", "down", "up",
    ]  # fmt: skip


def test_a_round_trains_what_is_shared_and_the_voice_and_leaves_what_is_frozen() -> None:
    recipe = recipe_of(client__window_frames=48)
    model = tiny_model(recipe)
    frozen = [model.model.get_parameter("ripples.filters.bank.weight").clone()]
    model.reset_personal()
    start, weights = personal_copy(model), model.shared_vector()
    done = local_round(model, weights, Material.split(speech(), 0.5), task_of(recipe))
    assert done.update is not None
    moved = {spec.name for spec in model.partition.shared if done.update.vector[spec.start : spec.stop].any()}
    assert {
        "ripples.colour.weight",
        "ripples.loudness.weight",
        "acoustic.speaker.inner.query.weight",
    } <= moved
    assert all(
        not torch.equal(t, start[n]) for n, t in model.personal_state().items() if n != "voices.down.weight"
    )
    assert torch.equal(frozen[0], model.model.get_parameter("ripples.filters.bank.weight"))
    batch = collate(speech(), [u.reference for u in speech()])
    losses = acoustic_loss(model.model.eval()(batch), batch)
    assert losses.penalty is not None
    assert losses.penalty.item() > 0
    parts = losses.mel + losses.duration + losses.pitch + losses.energy
    torch.testing.assert_close(losses.total, parts + losses.penalty)


def test_a_federation_on_two_worker_processes_trains_them(tmp_path: Path) -> None:
    corpus = small_corpus(tmp_path / "corpus", train=2, utterances=4)
    changes = {"federation__rounds": 2, "federation__cohort": 2, "client__outer_steps": 1}
    data = prepare(recipe_of(corpus__path=str(corpus), **changes), features_of_tests())
    homes = make_devices(tmp_path / "devices", data.train, data.cache)
    plan = plan_for(data.recipe, tmp_path / "checkpoints", "run", 2, seeded_noise=True)
    told: list[RoundReport] = []
    weights = [plan.initial]

    def on_round(report: RoundReport, after: torch.Tensor) -> None:
        told.append(report)
        weights.append(after.clone())

    run_federation(
        make_app(plan, on_round), "own_parts_app:app", engine=EngineConfig(workers=2), clients=2,
        environment={DEVICES_VARIABLE: str(homes.resolve())},
    )  # fmt: skip
    assert [(report.clients, report.dropped) for report in told] == [(2, {})] * 2
    moved = weights[2] != weights[1]
    assert all(
        bool(moved[spec.start : spec.stop].any())
        for spec in plan.partition.shared
        if spec.name in ("ripples.colour.weight", "ripples.loudness.weight")
    )
    voices = [
        Device.open(home.parent).load_personal("run", 3) for home in sorted(homes.glob("*/recordings.json"))
    ]
    assert len(voices) == 2
    for voice in voices:
        assert voice is not None
        assert set(voice) == set(tiny_model(data.recipe).personal_state())
    assert not torch.equal(voices[0]["voices.up.weight"], voices[1]["voices.up.weight"])  # type: ignore[index]


def test_one_speaker_s_voice_pools_as_the_source_says() -> None:
    model = model_of(recipe_of())
    voice = voice_of(model, speech())
    each = [model.model.voice(Heard.of([one.reference])) for one in speech()]
    assert sum(torch.allclose(voice["tokens"], one["tokens"], atol=1e-5) for one in each) == 1
    assert not torch.allclose(voice["tokens"], torch.cat([one["tokens"] for one in each]).mean(0), atol=1e-5)


def test_a_private_clone_trains_all_of_it_and_leaving_one_out_moves_the_sum_by_the_norm(
    tmp_path: Path,
) -> None:
    recipe = recipe_of(personal_privacy__enabled=True)
    model = model_of(recipe)
    model.model.train()

    def first_sum(utterances: list[Features], name: str) -> torch.Tensor:
        with sums_before_noise() as seen:
            adapt_privately(model, utterances, recipe, Ledger(tmp_path / name, None, 1e-3))
        return seen[0]

    model.reset_personal()
    start = personal_copy(model)
    whole = first_sum(speech(), "all")
    assert all(bool((tensor != start[name]).all()) for name, tensor in model.personal_state().items())
    assert len(whole) == sum(parameter.numel() for parameter in model.personal_parameters())
    for left_out in range(4):
        rest = [one for index, one in enumerate(speech()) if index != left_out]
        moved = float((first_sum(rest, f"without {left_out}") - whole).norm())
        assert NORM * (1 - 1e-3) <= moved <= NORM * (1 + 1e-5)


def test_a_profile_speaks_on_a_fresh_base_as_the_voice_did(tmp_path: Path) -> None:
    recipe = recipe_of()
    model = model_of(recipe)
    base = weights_hash(model.shared_vector())
    made = adapt(model, speech(), recipe)
    save_profile(tmp_path / "me", VoiceProfile(made, base, "me"))
    fresh = tiny_model(recipe)
    fresh.load_shared_vector(model.shared_vector())
    loaded = load_profile(tmp_path / "me", base=base).voice
    phonemes, lengths = torch.tensor([[5, 9, 14, 7]]), torch.tensor([4])
    with torch.no_grad():
        spoken = fresh.model.eval().synthesize(phonemes, lengths, loaded)[0]
        alone = fresh.model.synthesize(phonemes, lengths, voice_alone(fresh))[0]
        assert torch.equal(spoken, model.model.synthesize(phonemes, lengths, made)[0])
    assert not torch.equal(spoken[:, :2], alone[:, :2])


def test_it_is_exported_and_speaks_without_torch_in_any_voice_of_its_base(tmp_path: Path) -> None:
    model = model_of(recipe_of())
    base = weights_hash(model.shared_vector())
    default, other = voice_alone(model), adapt(model, speech(), recipe_of())
    vocos = Vocos(VocosDimensions(width=16, hidden=32, blocks=1))
    write_voice(
        tmp_path / "onnx", model.model.acoustic, vocos, default, form="onnx", base=base, vocoder="vocos"
    )
    save_profile(tmp_path / "me", VoiceProfile(other, base, "me"))
    exported = OnnxVoice(tmp_path / "onnx")
    phonemes = torch.tensor([[5, 9, 14, 7, 11]])
    for speaker, voice in ((None, default), (exported.voice(tmp_path / "me"), other)):
        with torch.no_grad():
            expected, _ = model.model.eval().synthesize(phonemes, torch.tensor([5]), voice)
        mel, _ = exported.mel(phonemes.numpy(), speaker=speaker)
        assert mel.shape == tuple(expected.shape)
        assert np.abs(mel - expected.numpy()).max() < 1e-4


def test_it_is_cut_to_fewer_blocks_and_a_voice_with_it() -> None:
    recipe = recipe_of(model__decoder_layers=3)
    smaller = recipe.override({"model.decoder_layers": 2})
    model = model_of(recipe).model.eval()
    small = cut(model, recipe, smaller).eval()
    sites = kept_sites(model.dimensions, small.dimensions)
    heard = Heard.of([one.reference for one in speech()])
    with torch.no_grad():
        expected, found = model.voice(heard).at_sites(sites, model.takes), small.voice(heard)
    assert all(torch.allclose(found[name], expected[name], atol=1e-5) for name in expected)


@pytest.mark.parametrize(
    ("field", "said"),
    [
        (
            "speaker__sources",
            "no source of the speaker embedding 'unheard': choose among table, mel_style, .*ripples",
        ),
        ("speaker__conditioning", "no conditioning 'unheard': choose among cln, .*, attending"),
        ("speaker__personal", "no personal set 'unheard': choose among vectors, maps, .*, bottleneck"),
        ("features__signals", "no signal of a recording 'unheard': choose among wave, .*loudness"),
    ],
)
def test_an_unknown_kind_is_told_with_those_that_there_are(field: str, said: str) -> None:
    unknown = ["unheard"] if field.endswith("s") else "unheard"
    with pytest.raises(RecipeError, match=said):
        recipe_of(**{field: unknown})


def test_recordings_without_a_signal_that_a_source_hears_are_told_of() -> None:
    model = model_of(recipe_of())
    bare = [Features(**{f: getattr(one, f) for f in one.__slots__ if f != "signals"}) for one in speech()]
    with pytest.raises(RecipeError, match=r"'ripples', which hears 'loudness'.*features\.signals"):
        voice_of(model, bare)
