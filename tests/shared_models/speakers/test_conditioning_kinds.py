"""Every way in which a voice acts on the model: what it reaches, and what it is at its start."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tiny_federation import random_speech, shaken, tiny_model, tiny_recipe
from torch import Tensor

from shared_models.acoustic.voice_model import VoiceModel
from shared_models.errors import RecipeError
from shared_models.features import collate
from shared_models.layers.conditional_layer_norm import SiteNorm
from shared_models.speakers.conditioning import CONDITIONINGS
from shared_models.speakers.conditioning.add import Added
from shared_models.speakers.conditioning.concat import JoinedEmbedding
from shared_models.speakers.conditioning.saln import SALNMaps
from shared_models.speakers.heard import Heard
from shared_models.speakers.projection import Projection
from shared_models.speakers.voice import Voice

SETTINGS: list[tuple[str, list[str] | None]] = [
    *((kind, None) for kind in CONDITIONINGS),
    ("cln", ["variance", "decoder"]),
    ("cln", ["encoder", "variance", "decoder"]),
    ("saln", ["encoder", "variance", "decoder"]),
]


def model_of(kind: str, norms: list[str] | None, **more: object) -> VoiceModel:
    recipe = tiny_recipe(speaker__conditioning=kind, speaker__norms=norms, speaker__sources=["table"], **more)
    return shaken(tiny_model(recipe), 0.3).model.double().eval()


@torch.no_grad()
def said_with(model: VoiceModel, embedding: Tensor) -> dict[str, Tensor]:
    model.voices.get_parameter("embedding.weight").copy_(embedding)
    batch = collate(random_speech(1, seed=3), references=None)
    voice = model.voice(Heard(torch.zeros(1, dtype=torch.int64)))
    mask = torch.ones_like(batch.phonemes, dtype=torch.bool)
    _, predicted = model.acoustic.variance_adaptor(
        model.acoustic.encode(batch.phonemes, mask, voice), mask, voice
    )
    mel, _ = model.synthesize(batch.phonemes, batch.phoneme_lengths, voice)
    return {
        "duration": predicted.log_duration, "pitch": predicted.pitch, "energy": predicted.energy, "mel": mel[:, :2],
    }  # fmt: skip


@pytest.mark.parametrize(("kind", "norms"), SETTINGS, ids=str)
def test_the_speaker_reaches_durations_pitch_energy_and_mel(kind: str, norms: list[str] | None) -> None:
    """Models whose predictors do not hear the speaker have one rhythm for all."""
    model = model_of(kind, norms)
    rng = torch.Generator().manual_seed(8)
    one, other = (torch.randn(1, model.dimensions.embedding, generator=rng).double() for _ in range(2))
    said, elsewhere = said_with(model, one), said_with(model, other)
    for what, found in said.items():
        assert float((found - elsewhere[what]).abs().max()) > 1e-3, what


@pytest.mark.parametrize(
    ("norms", "conditional"),
    [
        (["variance"], (0, 6, 0)),
        (["encoder", "decoder"], (2, 0, 3)),
        (["encoder", "variance", "decoder"], (2, 6, 3)),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["cln", "saln"])
def test_the_norms_of_the_named_places_are_the_speakers(
    kind: str, norms: list[str], conditional: tuple[int, int, int]
) -> None:
    acoustic = model_of(kind, norms).acoustic
    for count, part in zip(
        conditional, ("encoder", "variance_adaptor", ("decoder", "final_norm")), strict=True
    ):
        parts = (part,) if isinstance(part, str) else part
        found = [
            m for name in parts for m in acoustic.get_submodule(name).modules() if isinstance(m, SiteNorm)
        ]
        assert len(found) == count
        places = {(norm.scale, norm.shift, norm.site) for norm in found}
        assert len(places) == count, "no two norms read the same numbers"
        assert sorted(norm.site for norm in found) == list(range(count))


@pytest.mark.parametrize("norms", [None, ["encoder", "variance", "decoder"]], ids=str)
@pytest.mark.parametrize("kind", ["cln", "saln"])
@torch.no_grad()
def test_untrained_maps_make_plain_norms_whoever_speaks(kind: str, norms: list[str] | None) -> None:
    plain = tiny_recipe(speaker__conditioning="add", speaker__sources=["table"])
    recipe = plain.override({"speaker.conditioning": kind, "speaker.norms": norms})
    model, bare = tiny_model(recipe).model.eval(), tiny_model(plain).model.eval()
    state = model.state_dict()
    bare.load_state_dict({name: state.get(name, own) for name, own in bare.state_dict().items()})
    batch = collate(random_speech(2), references=None)
    torch.testing.assert_close(model(batch).mel, bare(batch).mel, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_style_is_a_gain_and_a_bias_of_each_norm_by_one_map() -> None:
    """StyleSpeech's equation 2, norm by norm."""
    torch.manual_seed(1)
    maps = SALNMaps(5, 4, {"encoder": 2, "decoder": 3})
    for parameter in maps.parameters():
        torch.nn.init.normal_(parameter)
    style, x = torch.randn(2, 5), torch.randn(2, 7, 4)
    made = Voice(maps(style))
    for place, count in (("encoder", 2), ("decoder", 3)):
        weight, bias = maps.get_parameter(f"{place}.weight"), maps.get_parameter(f"{place}.bias")
        for site in range(count):
            rows = slice(site * 8, (site + 1) * 8)
            gain, shift = F.linear(style, weight[rows], bias[rows]).chunk(2, dim=1)
            expected = gain[:, None] * F.layer_norm(x, (4,)) + shift[:, None]
            norm = SiteNorm(4, f"saln_{place}_gain", f"saln_{place}_bias", site)
            torch.testing.assert_close(norm(x, made), expected)


@torch.no_grad()
def test_concatenation_is_one_layer_on_both_and_begins_as_the_encoder_s_output() -> None:
    torch.manual_seed(1)
    joined, x, embedding = JoinedEmbedding(3, 4), torch.randn(2, 5, 4), torch.randn(2, 3)
    torch.testing.assert_close(joined(x, Voice({"embedding": torch.zeros(2, 3)})), x)
    torch.nn.init.normal_(joined.join.weight)
    weight = joined.join.weight
    expected = x @ weight[:, :4].T + (embedding @ weight[:, 4:].T)[:, None] + joined.join.bias
    torch.testing.assert_close(joined(x, Voice({"embedding": embedding})), expected)


def test_an_added_voice_has_nothing_but_its_embedding_and_prosody() -> None:
    model = model_of("add", None)
    assert {declared.name for declared in model.takes} == {"embedding", "prosody"}
    assert isinstance(
        Added(model.dimensions, 0, tiny_recipe().speaker).norm("decoder", 0), torch.nn.LayerNorm
    )


def test_sources_are_projected_each_by_its_own_layers_and_added_up() -> None:
    """Chien 2021: pretrained and learnable representations compose; nobody adds nothing, and a newcomer can learn."""
    recipe = tiny_recipe(speaker__projection="mlp", speaker__conditioning="add")
    model = shaken(tiny_model(recipe), 0.3).model.eval()
    heard = Heard.of([utterance.reference for utterance in random_speech(2)])
    rows = model.voices(heard.rows)["embedding"]
    style = model.get_submodule("mel_style")(heard).embedding
    expected = model.get_submodule("table_projection")(rows) + model.get_submodule("mel_style_projection")(
        style
    )
    torch.testing.assert_close(model.voice(heard)["embedding"], expected)
    pooled = model.get_submodule("mel_style_projection")(style.mean(0, keepdim=True))
    own = model.get_submodule("table_projection")(rows[:1])
    torch.testing.assert_close(model.voice_of_speaker(heard)["embedding"], pooled + own)

    projection, nothing = Projection(6), torch.zeros(1, 6, requires_grad=True)
    assert not projection(nothing).any()
    slope = torch.autograd.grad(projection(nothing).sum(), nothing)[0]
    assert bool((slope != 0).all()), "a newcomer's embedding of 0 can learn"


@pytest.mark.parametrize(("kind", "norms"), [("saln", None), ("cln", ["encoder"])], ids=str)
def test_a_model_with_norms_of_the_encoder_s_is_not_cut(kind: str, norms: list[str] | None) -> None:
    model = model_of(kind, norms)
    with pytest.raises(RecipeError, match="cannot be cut to fewer blocks"):
        model.at_sites([0])
