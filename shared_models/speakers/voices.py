"""What each voice keeps of its own: what one voice trains, keeps, and never sends."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from shared_models.errors import RecipeError
from shared_models.partition import Owner
from shared_models.speakers.voice import VoiceTensor

NOBODY = -1
"""The row of a speaker who has none."""


class Voices(nn.Module):
    """A table for each of ``keeps``, with one row a voice, each at its start at first.

    On a device there is one row. Tables rather than bare parameters, because DP-SGD has per-sample
    gradients for nn.Embedding, and each is looked up once. A few thousand numbers that are trained directly take less
    noise than the maps that would make them. Raises :class:`RecipeError` for two of one name.
    """

    belongs_to = Owner.PERSONAL

    def __init__(self, voices: int, keeps: Sequence[VoiceTensor]) -> None:
        super().__init__()
        self.count = voices
        self.keeps: dict[str, VoiceTensor] = {}
        for kept in keeps:
            if kept.name in self.keeps:
                raise RecipeError(
                    f"two parts of the recipe's [speaker] keep a '{kept.name}' of each voice: leave one of them out"
                )
            self.keeps[kept.name] = kept
            self.add_module(kept.name, _table(voices, kept))

    @torch.no_grad()
    def reset(self) -> None:
        """Begin as a newcomer: every row at its start, which is 0 for most."""
        for name, kept in self.keeps.items():
            self.get_parameter(f"{name}.weight").copy_(kept.started().reshape(-1))

    def at_sites(self, sites: Sequence[int]) -> dict[str, Tensor]:
        """The tables, by name, of voices that have the conditional norms ``sites`` alone, in that order."""
        chosen, found = list(sites), {}
        for name, kept in self.keeps.items():
            table = self.get_parameter(f"{name}.weight").detach()
            found[f"{name}.weight"] = (
                table.view(-1, *kept.shape)[:, chosen].flatten(1) if kept.by_site else table
            )
        return found

    def forward(self, rows: Tensor) -> dict[str, Tensor]:
        """Rows ``(B,)`` int64 to what those voices keep, by name, ``(B, ...)`` each.

        Row :data:`NOBODY` is a newcomer's.
        """
        own = rows.clamp_min(0)
        found = {n: self.get_submodule(n)(own).view(-1, *kept.shape) for n, kept in self.keeps.items()}
        return {
            n: torch.where(_like(rows >= 0, kept), kept, self._newcomer(n, kept)) for n, kept in found.items()
        }

    def _newcomer(self, name: str, like: Tensor) -> Tensor:
        return self.keeps[name].started().to(like)


def _like(rows: Tensor, kept: Tensor) -> Tensor:
    """``rows (B,)`` in the shape of ``kept (B, ...)``, to be spread over it."""
    return rows.view(-1, *[1] * (kept.dim() - 1))


def _table(rows: int, kept: VoiceTensor) -> nn.Embedding:
    # Given weights draw no random numbers, so the rest of a model starts alike for any number of voices.
    weight = kept.started().reshape(1, -1).repeat(rows, 1)
    return nn.Embedding(rows, weight.shape[1], _weight=weight)
