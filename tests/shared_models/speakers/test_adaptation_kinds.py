"""What a voice changes of a model: nothing at its start, and then what the papers' formulas say."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tiny_federation import random_speech, shaken, tiny_model, tiny_recipe
from torch import Tensor, nn
from torch.func import functional_call

from shared_models.acoustic.voice_model import VoicePartition
from shared_models.errors import RecipeError
from shared_models.features import collate
from shared_models.layers.sequences import Excerpt
from shared_models.layers.voiced import apply_layer, change
from shared_models.speakers.adaptation import ADAPTATIONS, kinds_of
from shared_models.speakers.adaptation.adapters import Bottleneck
from shared_models.speakers.adaptation.lora import LowRankChange
from shared_models.speakers.heard import Heard

PHONEMES, LENGTHS = torch.tensor([[5, 9, 14, 7, 21, 11], [3, 8, 2, 0, 0, 0]]), torch.tensor([6, 3])
TOGETHER = "lora+adapters+masks+whole+variance_norms"


def model_of(kind: str, **changes: object) -> VoicePartition:
    sizes = {"model__postnet": True, "model__source": "harmonics", "model__durations": "mean"}
    return tiny_model(tiny_recipe(**(sizes | {"speaker__personal": kind} | changes)))


def own_row(rows: int = 1) -> Heard:
    return Heard(torch.zeros(rows, dtype=torch.int64))


@pytest.fixture(scope="module")
def base() -> VoicePartition:
    return shaken(model_of("vectors"))


@pytest.mark.parametrize("kind", [*sorted(ADAPTATIONS), TOGETHER])
@torch.no_grad()
def test_a_base_has_the_same_shared_set_with_it_and_a_newcomer_sounds_the_same(
    kind: str, base: VoicePartition
) -> None:
    model = model_of(kind)
    assert model.partition.schema == base.partition.schema
    model.load_shared_vector(base.shared_vector())
    base.reset_personal()
    batch = collate(random_speech(2), [u.reference for u in random_speech(2)])
    for one, other in ((model, base), (base, model)):
        one.model.eval(), other.model.eval()
        assert torch.equal(one.model(batch).mel, other.model(batch).mel)
    spoken = [m.model.synthesize(PHONEMES, LENGTHS, m.model.voice(own_row(2)))[0] for m in (model, base)]
    assert torch.equal(*spoken)


@pytest.mark.parametrize("kind", ["lora", "adapters", "masks", "whole", "variance_norms"])
@torch.no_grad()
def test_each_voice_of_a_batch_is_changed_by_its_own_tensors(kind: str) -> None:
    """Two voices side by side sound as each does alone, and differ."""
    model = shaken(model_of(kind)).model.double().eval()
    rng = torch.Generator().manual_seed(3)
    voices = [model.voice(own_row()) for _ in range(2)]
    for voice in voices:
        for name, tensor in voice.tensors.items():
            if "/" in name:
                tensor += torch.randn(tensor.shape, generator=rng).double()
    both = type(voices[0]).joined(voices)
    phonemes, lengths = PHONEMES[:1].expand(2, -1), LENGTHS[:1].expand(2)
    together, counts = model.synthesize(phonemes, lengths, both)
    alone = [model.synthesize(PHONEMES[:1], LENGTHS[:1], voice)[0][0] for voice in voices]
    for row, mel in enumerate(alone):
        torch.testing.assert_close(together[row, : int(counts[row])], mel, rtol=1e-9, atol=1e-9)
    frames = min(len(mel) for mel in alone)
    assert not torch.allclose(alone[0][:frames], alone[1][:frames], atol=1e-3)


@torch.no_grad()
def test_whole_and_masks_are_the_model_with_those_weights() -> None:
    """Against the same model whose weights are really replaced."""
    for kind in ("whole", "masks"):
        partitioned = shaken(model_of(kind))
        model = partitioned.model.double().eval()
        model.voices.get_parameter("embedding.weight").zero_()
        voice = model.voice(own_row())
        plain = shaken(model_of("vectors")).model.double().eval()
        plain.load_state_dict(model.state_dict(), strict=False)
        replaced = {}
        for name, tensor in voice.tensors.items():
            if "/" not in name:
                continue
            _, *path, part = name.split("/")
            own = plain.acoustic.get_parameter(".".join([*path, "weight" if kind == "masks" else part]))
            if kind == "masks":
                replaced[".".join([*path, "weight"])] = own * (tensor[0].view_as(own) > 0)
                continue
            fan_in = own[0].numel() if own.dim() > 1 and path != ["embedding"] else 1
            replaced[".".join([*path, part])] = own + tensor[0] / fan_in
        batch = collate(random_speech(2, seed=4), references=None)
        both = voice.expand(2)
        mask = torch.ones(2, batch.phonemes.shape[1], dtype=torch.bool)
        expected = functional_call(
            _Encoded(plain.acoustic),
            {f"inner.{n}": t for n, t in replaced.items()},
            (batch.phonemes, mask, both),
        )
        found = _Encoded(model.acoustic)(batch.phonemes, mask, both)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
        assert not torch.allclose(_Encoded(plain.acoustic)(batch.phonemes, mask, both), expected, atol=1e-3)


class _Encoded(nn.Module):
    """Phonemes spoken with fixed durations, mel and predicted variances side by side."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, phonemes: Tensor, mask: Tensor, voice: object) -> Tensor:
        encoded = self.inner.encode(phonemes, mask, voice)
        enriched, predicted = self.inner.variance_adaptor(encoded, mask, voice)
        durations = torch.full_like(phonemes, 2)
        decoded = self.inner.decode(
            enriched, durations, Excerpt.whole(durations.sum(1), 2 * phonemes.shape[1]), voice
        )
        variances = torch.stack([predicted.log_duration, predicted.pitch, predicted.energy], -1)
        return torch.cat([decoded.mel.flatten(1), variances.flatten(1)], dim=1)


@pytest.mark.parametrize("layer", [nn.Linear(6, 5), nn.Conv1d(6, 5, 3, padding=1)], ids=["linear", "conv"])
@torch.no_grad()
def test_a_low_rank_change_is_the_layer_with_the_product_added_to_its_weights(layer: nn.Module) -> None:
    """``W + (alpha / r) B A`` (LoRA, section 4.1), where A is what is kept over its fan-in."""
    layer = layer.double()
    weight = layer.get_parameter("weight").clone()
    x = torch.randn(2, 6, 9).double() if isinstance(layer, nn.Conv1d) else torch.randn(2, 9, 6).double()
    down, up = torch.randn(2, 3, weight[0].numel()).double(), torch.randn(2, 5, 3).double()
    change(layer, LowRankChange("down", "up", 0.5))
    found = apply_layer(layer, x, {"down": down, "up": up})
    for row in range(2):
        changed = weight + (0.5 * up[row] @ down[row] / weight[0].numel()).view_as(weight)
        bias = layer.get_parameter("bias")
        expected = (
            F.conv1d(x[row], changed, bias, padding=1)
            if isinstance(layer, nn.Conv1d)
            else F.linear(x[row], changed, bias)
        )
        torch.testing.assert_close(found[row], expected, rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_an_adapter_is_a_residual_bottleneck() -> None:
    layer = nn.Linear(6, 5).double()
    plain, norm = nn.Linear(6, 5).double(), nn.LayerNorm(5, elementwise_affine=False).double()
    plain.load_state_dict(layer.state_dict())
    rng = torch.Generator().manual_seed(2)
    shapes = {"down": (2, 5), "down_bias": (2,), "up": (5, 2), "up_bias": (5,)}
    own = {name: torch.randn(1, *shape, generator=rng).double() for name, shape in shapes.items()}
    x = torch.randn(1, 9, 6, generator=rng).double()
    change(layer, Bottleneck(*shapes))
    y = plain(x)
    inner = torch.relu(norm(y) @ own["down"][0].T / 5 + own["down_bias"])
    expected = y + inner @ own["up"][0].T / 2 + own["up_bias"]
    torch.testing.assert_close(apply_layer(layer, x, own), expected)


def test_a_layer_keeps_its_parameters_and_needs_a_voice() -> None:
    layer = nn.Linear(3, 2)
    before = dict(layer.named_parameters())
    change(layer, LowRankChange("down", "up", 1.0))
    assert all(layer.get_parameter(name) is parameter for name, parameter in before.items())
    with pytest.raises(ValueError, match="takes a voice"):
        apply_layer(layer, torch.zeros(1, 1, 3), None)
    with pytest.raises(TypeError, match="cannot change a GRU"):
        change(nn.GRU(2, 2), LowRankChange("down", "up", 1.0))


@pytest.mark.parametrize(
    ("changes", "numbers"),
    [
        # Of the decoder (1 block, H = 16, filter 32, kernel 3) and the mel projection; 20 are embedding and prosody.
        ({"speaker__rank": 1}, 20 + 4 * 32 + (48 + 32) + (32 + 16) + (16 + 80)),
        ({"speaker__rank": 2, "speaker__layers": ["decoder.attention"]}, 20 + 2 * 4 * 32),
        ({"speaker__personal": "adapters", "speaker__bottleneck": 3}, 20 + (2 + 6) * (2 * 48 + 3 + 16)),
        ({"speaker__personal": "masks"}, 20 + 4 * 256 + 16 * 32 * 3 + 32 * 16),
        ({"speaker__personal": "variance_norms"}, 20 + 6 * 2 * 16),
        ({"speaker__personal": "embedding"}, 16),
        ({"speaker__personal": "none", "speaker__sources": ["mel_style"]}, 0),
    ],
    ids=str,
)
def test_the_personal_set_has_the_size_that_the_settings_ask_for(
    changes: dict[str, object], numbers: int
) -> None:
    size = tiny_model(tiny_recipe(**({"speaker__personal": "lora"} | changes))).personal_size
    assert size.numbers == numbers
    assert size.bytes == 4 * numbers


def test_embedding_alone_is_an_offset_where_no_table_keeps_one() -> None:
    model = tiny_model(tiny_recipe(speaker__personal="embedding", speaker__sources=["mel_style"]))
    assert set(model.personal_state()) == {"voices.embedding.weight"}
    heard = Heard.of([random_speech(1)[0].reference])
    model.model.eval()
    with torch.no_grad():
        before = model.model.voice(heard)["embedding"]
        model.model.voices.get_parameter("embedding.weight").fill_(0.5)
        torch.testing.assert_close(model.model.voice(heard)["embedding"], before + 0.5)


@pytest.mark.parametrize(
    ("personal", "said"),
    [
        ("lora+lora", "named twice"),
        ("none+lora", "trains nothing"),
        ("lora+unheard", "no personal set 'unheard'"),
    ],
)
def test_kinds_that_do_not_go_together_are_refused(personal: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        tiny_recipe(speaker__personal=personal)
    assert kinds_of("vectors + lora") == ("vectors", "lora")


def test_a_site_that_the_model_has_not_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"no layer at postnet.*speaker\.layers"):
        tiny_model(tiny_recipe(speaker__personal="lora", speaker__layers=["postnet"]))
