"""A source of a test's own: it hears loudness and waveforms, through a frozen part, and gives tokens and a penalty."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shared_models.layers.sequences import masked_mean, valid_steps
from shared_models.partition import Owner
from shared_models.speakers.heard import Heard, Signal
from shared_models.speakers.sizes import Sizes
from shared_models.speakers.sources.source import Contribution
from shared_models.speakers.voice import VoiceTensor

FILTERS, WINDOW = 6, 512


class Filters(nn.Module):
    """What somebody has trained elsewhere: a bank of filters of the waveform."""

    belongs_to = Owner.FROZEN

    def __init__(self) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(11)
        self.bank = nn.Conv1d(1, FILTERS, WINDOW, stride=WINDOW, bias=False)
        self.bank.weight.data = torch.randn(self.bank.weight.shape, generator=rng) / WINDOW**0.5
        self.register_buffer("centre", torch.full((FILTERS,), -3.0))

    def forward(self, wave: Signal) -> Tensor:
        """Mean log-power ``(B, FILTERS)`` over each waveform's own windows."""
        power = self.bank(wave.values.transpose(1, 2)).square().add(1e-6).log() - self.centre[:, None]
        mask = valid_steps(wave.lengths // WINDOW, power.shape[2])
        return torch.stack([masked_mean(row, mask) for row in power.unbind(1)], dim=1)


class Ripples(nn.Module):
    """An embedding of loudness, and two tokens of what the filters say."""

    belongs_to = Owner.SHARED
    hears = ("loudness", "wave")
    tokens = 2
    alone = False

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.width = sizes.embedding
        self.filters = Filters()
        self.loudness = nn.Linear(1, sizes.embedding)
        self.colour = nn.Linear(FILTERS, 2 * sizes.embedding)

    def keeps(self) -> tuple[VoiceTensor, ...]:
        """A gain of what is heard."""
        return (VoiceTensor("ripple_gain", (1,), made_by="voice"),)

    def forward(self, heard: Heard) -> Contribution:
        """Both, and how far the tokens are from 0 as a penalty."""
        loudness = heard.signals["loudness"]
        mask = valid_steps(loudness.lengths, loudness.values.shape[1])
        mean = masked_mean(loudness.values[..., 0], mask)[:, None]
        embedding = self.loudness(mean) * (1 + heard.own["ripple_gain"])
        tokens = self.colour(self.filters(heard.signals["wave"])).view(-1, 2, self.width)
        return Contribution(embedding, tokens, penalty=0.01 * tokens.square().mean((1, 2)))

    def pool(self, each: Contribution) -> Contribution:
        """The loudest of a speaker's recordings counts, and none of the others: no mean is taken."""
        loudest = int(each.embedding.norm(dim=1).argmax())
        assert each.tokens is not None
        return Contribution(each.embedding[loudest : loudest + 1], each.tokens[loudest : loudest + 1])
