"""An aligner learnt with the model: "One TTS Alignment To Rule Them All" (arXiv 2108.10447), after RAD-TTS.

Phonemes and frames are mapped into one space, where near means aligned. A beta-binomial prior favours the
diagonal, the forward-sum (CTC) loss raises the likelihood of all monotonic alignments, and the best of them
gives whole durations. It knows nothing of speakers, so that all of it is shared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared_models.accelerator import exact_dtype, in_full_precision, on_host
from shared_models.acoustic.length_regulator import phoneme_of_frame
from shared_models.audio.normalisation import normalise_mel
from shared_models.features import Batch
from shared_models.layers.sequences import masked_mean, valid_steps
from shared_models.layers.transformer import zero_padding
from shared_models.partition import Owner

TEMPERATURE = 0.2
"""RAD-TTS has 0.0005, which needs thousands of steps to leave the prior. A federation has hundreds: at 0.2,
120 steps align synthetic voices better than 480 do at 0.0005, and the prior still leads at first."""
PRIOR_FLOOR = math.log(1e-8)
BLANK = -1.0
"""Log-score of CTC's blank, before it is normalised together with the phonemes' (RAD-TTS)."""
IMPOSSIBLE = -1e9


@dataclass(frozen=True, slots=True)
class AlignmentOutput:
    """Where each phoneme is. Losses are per utterance ``(B,)`` and unweighted."""

    log_attention: Tensor
    """``(B, T, L)``: log-probability of the phonemes in each frame, normalised over L (soft)."""
    durations: Tensor
    """``(B, L)`` int64: frames a phoneme on the best monotonic path; each row sums to its T (hard)."""
    forward_sum: Tensor
    """``(B,)``: CTC negative log-likelihood over the number of phonemes."""
    binarization: Tensor
    """``(B,)``: mean over frames of minus the soft log-probability on the hard path."""

    def only(self, rows: Tensor) -> AlignmentOutput:
        """The same with the losses of ``rows (B,)`` bool alone; those of all others are 0, and move nothing."""
        nothing = torch.zeros_like(self.forward_sum)
        return replace(
            self,
            forward_sum=torch.where(rows, self.forward_sum, nothing),
            binarization=torch.where(rows, self.binarization, nothing),
        )


class Aligner(nn.Module):
    """Finds durations from phonemes and mel alone. ``channels`` is the width of the phoneme side."""

    belongs_to = Owner.SHARED

    def __init__(self, vocabulary: int, n_mels: int, channels: int) -> None:
        super().__init__()
        # An embedding of its own: its warm-up must not move the acoustic model's.
        self.embedding = nn.Embedding(vocabulary, channels)
        # Kernel 1 where RAD-TTS has 3: with context, keys learn their neighbours' sounds by heart and settle
        # a phoneme off. Without, symbols explain 0.38 of synthetic voices' mel variance instead of 0.28.
        self.key_mix = nn.Conv1d(channels, 2 * channels, 1)
        self.key = nn.Conv1d(2 * channels, n_mels, 1)
        self.query_context = nn.Conv1d(n_mels, 2 * n_mels, 3, padding=1)
        self.query_mix = nn.Conv1d(2 * n_mels, n_mels, 1)
        self.query = nn.Conv1d(n_mels, n_mels, 1)

    def forward(self, batch: Batch) -> AlignmentOutput:
        """Align every utterance of ``batch``; its durations are not looked at."""
        phoneme_mask = valid_steps(batch.phoneme_lengths, batch.phonemes.shape[1])
        frame_mask = valid_steps(batch.mel_lengths, batch.mel.shape[1])
        # Distances are small differences of large squares.
        with in_full_precision(batch.mel.device):
            scores = self._scores(batch, phoneme_mask, frame_mask)
        scores = scores.masked_fill(~phoneme_mask[:, None], IMPOSSIBLE).log_softmax(-1)
        prior = beta_binomial_log_prior(
            batch.phoneme_lengths, batch.mel_lengths, scores.shape[2], scores.shape[1]
        )
        scores = (scores + prior.clamp_min(PRIOR_FLOOR).to(scores)).masked_fill(
            ~phoneme_mask[:, None], IMPOSSIBLE
        )
        log_attention = scores.log_softmax(-1)
        durations = best_durations(log_attention, batch.phoneme_lengths, batch.mel_lengths)
        return AlignmentOutput(
            log_attention,
            durations,
            forward_sum_loss(scores, batch.phoneme_lengths, batch.mel_lengths),
            binarization_loss(log_attention, durations, frame_mask),
        )

    def _scores(self, batch: Batch, phoneme_mask: Tensor, frame_mask: Tensor) -> Tensor:
        """Minus the scaled squared distances ``(B, T, L)``."""
        text = zero_padding(self.embedding(batch.phonemes), phoneme_mask)
        keys = self.key(F.relu(self.key_mix(text.transpose(1, 2))))
        mel = zero_padding(normalise_mel(batch.mel), frame_mask)
        queries = F.relu(self.query_context(mel.transpose(1, 2)))
        queries = self.query(F.relu(self.query_mix(queries)))
        crossed = queries.transpose(1, 2) @ keys
        squares = queries.square().sum(1)[:, :, None] + keys.square().sum(1)[:, None, :]
        distances: Tensor = squares - 2 * crossed
        return -TEMPERATURE * distances


def beta_binomial_log_prior(
    phoneme_lengths: Tensor, frame_lengths: Tensor, longest_l: int, longest_t: int
) -> Tensor:
    """Log of the beta-binomial prior ``(B, T, L)``, exact: row t = 1..T is BetaBinomial(L-1, t, T+1-t).

    ``longest_l`` and ``longest_t`` are the longest of the lengths ``(B,)``.

    With RAD-TTS's omega of 1 every argument of the gamma functions is a whole number, and the term that
    depends on frame and phoneme depends on their sum alone: a Hankel matrix, viewed and not computed. So
    cheap that there is nothing to cache. Rows and columns beyond an utterance's own hold no meaning.
    """
    dtype, device = exact_dtype(phoneme_lengths.device), phoneme_lengths.device
    n = (phoneme_lengths - 1).to(dtype)[:, None]
    frames = frame_lengths.to(dtype)[:, None]
    k = torch.arange(longest_l, dtype=dtype, device=device)[None]
    t = torch.arange(1, longest_t + 1, dtype=dtype, device=device)[None]
    total = torch.arange(1, longest_l + longest_t, dtype=dtype, device=device)[None]
    diagonal = torch.lgamma(total) + torch.lgamma((n + frames + 1 - total).clamp_min(1))
    choices = torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma((n - k).clamp_min(0) + 1)
    rows = torch.lgamma(frames + 1) - torch.lgamma(t) - torch.lgamma((frames + 1 - t).clamp_min(1))
    hankel = diagonal.unfold(1, longest_l, 1)
    return hankel + (choices - torch.lgamma(n + frames + 1))[:, None, :] + rows[:, :, None]


def forward_sum_loss(scores: Tensor, phoneme_lengths: Tensor, frame_lengths: Tensor) -> Tensor:
    """Minus the log-probability of all monotonic alignments together, over the number of phonemes: ``(B,)``.

    ``scores (B, T, L)`` are log-scores, impossible (-1e9) at padded phonemes. A blank of log-score -1 joins
    them before the softmax; the target is every phoneme once, in order. 0 for an utterance with fewer frames
    than phonemes, which has no such alignment. Computed on the processor, since a GPU adds up its gradient in
    another order each time.
    """
    log_probabilities = on_host(F.pad(scores, (1, 0), value=BLANK).log_softmax(-1))
    targets = torch.arange(1, scores.shape[2] + 1).expand(len(scores), -1)
    loss = F.ctc_loss(
        log_probabilities.transpose(0, 1),
        targets,
        on_host(frame_lengths),
        on_host(phoneme_lengths),
        reduction="none",
        zero_infinity=True,
    )
    return loss.to(scores.device) / phoneme_lengths


def binarization_loss(log_attention: Tensor, durations: Tensor, frame_mask: Tensor) -> Tensor:
    """How far soft is from hard: ``(B,)`` mean of ``-log_attention (B, T, L)`` along the hard path."""
    frames = torch.arange(log_attention.shape[1], device=durations.device).expand(len(durations), -1)
    path = phoneme_of_frame(durations, frames)
    on_path = log_attention.gather(2, path[:, :, None]).squeeze(2)
    return masked_mean(-on_path.clamp_min(math.log(1e-12)), frame_mask)


@torch.no_grad()
def best_durations(log_attention: Tensor, phoneme_lengths: Tensor, frame_lengths: Tensor) -> Tensor:
    """Frames a phoneme ``(B, L)`` int64 on the likeliest monotonic path through ``log_attention (B, T, L)``.

    Every phoneme gets at least one frame. An utterance with fewer frames than phonemes has no such path:
    its frames are spread evenly. The search runs on the processor.
    """
    from monotonic_alignment_search import maximum_path  # compiled: not loaded where nothing is aligned

    device = log_attention.device
    log_attention, phoneme_lengths, frame_lengths = map(
        on_host, (log_attention, phoneme_lengths, frame_lengths)
    )
    phonemes = valid_steps(phoneme_lengths, log_attention.shape[2])
    frames = valid_steps(frame_lengths, log_attention.shape[1])
    feasible = frame_lengths >= phoneme_lengths
    durations = _even_durations(phoneme_lengths, frame_lengths, log_attention.shape[2])
    if feasible.any():
        # The search writes outside its arrays where a path cannot exist: only feasible rows may reach it.
        mask = (phonemes[:, :, None] & frames[:, None, :])[feasible]
        values = log_attention.transpose(1, 2)[feasible].float()
        path = maximum_path(values.contiguous(), mask.float())
        durations[feasible] = path.sum(2).long()
    return durations.to(device)


def _even_durations(phoneme_lengths: Tensor, frame_lengths: Tensor, longest: int) -> Tensor:
    steps = torch.arange(longest + 1, device=phoneme_lengths.device)[None].clamp_max(phoneme_lengths[:, None])
    return (steps * frame_lengths[:, None] // phoneme_lengths[:, None]).diff(dim=1)
