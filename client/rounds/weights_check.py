"""Whether the weights that a server sent can be what training made, or were written to read recordings with.

In mode central a server sees each clipped update before the noise. One that writes the weights itself can make
single neurons answer to single frames of speech, so that the update holds those frames ("trap weights": Boenisch
2023, arXiv 2112.02918; Fowl 2022, arXiv 2110.13057). Such neurons must be sharp, which takes weights far larger than
training makes. Three things are compared, tensor by tensor, for which training was measured:

- every number is finite;
- the distance from the base that is installed here, or where the model has another shape, from a fresh model of
  the recipe: its root mean square is at most 1.5 times that of the reference plus 0.25, its largest number at most
  1.5 times the reference's largest plus 1.5. The packaged base, after 15,600 steps, lies at most 0.54 in root mean
  square (1.42 where the fresh tensor's own is 1.0) and 1.5 in one number (6.5 in the aligner's embeddings) from fresh
  models. From a fresh model twice as much is let pass: the packaged vocoder, after 26,000 steps, lies up to 0.42 and in
  one number 1.73 from where it began;
- the norm against that of the last weights of the run that this device saw: at most 1.5 times as large plus 0.1 and
  no less than two thirds less 0.1. Eight federated rounds of eight real speakers from the base moved no tensor by
  more than 0.006 in root mean square and no number by more than 0.022.

Where the recipe puts noise on the sum, what honest noise does to the weights is added to each limit, but never more
than 0.5 a coordinate: where it does more, nothing is left of the voice either, and noise must not be what crafted
weights hide behind. Within these limits the trap of ``fedvoice attack trap-weights`` returns no frame (neurons of norm
2.5 pass, with the most noise 7.7; of norm 20 it takes to read the first of 192 to within 2 %). A cleverer one may
return something, and what protects then is the noise alone, which this server adds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from shared_models.partition import Partition, SharedTensor

FROM_REFERENCE = (1.5, 0.25)
"""Times the reference's own root mean square, and a slack, for the root mean square of the distance."""
OF_ONE_NUMBER = (1.5, 1.5)
"""The same for the largest number of the distance."""
FROM_BEFORE = (1.5, 0.1)
"""How far a tensor's root mean square may grow or shrink between two rounds of this device."""
MOST_NOISE = 0.5
"""Root mean square of noise that is allowed for, whatever the recipe claims."""
_DEVIATIONS = 3.0


@dataclass(frozen=True, slots=True)
class Reach:
    """How far weights may be from where they are compared with."""

    factor: float = 1.0
    """The owner's own: 1 for what was measured, more to allow more."""
    farther: float = 1.0
    """The same for the distance from the reference alone, where that is a fresh model."""
    noise: float = 0.0
    """Standard deviation a coordinate of the noise that honest rounds have added up to."""

    def limit(self, rule: tuple[float, float], known: float) -> float:
        """The largest allowed figure beside a ``known`` one."""
        ratio, slack = rule
        factor = self.factor if rule is FROM_BEFORE else self.factor * self.farther
        return factor * (ratio * known + slack) + min(_DEVIATIONS * self.noise, MOST_NOISE)


def noise_after(rounds: int, noise_on_mean: float, server_lr: float) -> float:
    """Standard deviation a coordinate of what so many rounds' noise comes to, added up independently."""
    return noise_on_mean * server_lr * math.sqrt(max(rounds, 0))


def norms_of(vector: Tensor, partition: Partition) -> tuple[float, ...]:
    """Root mean square of each shared tensor of ``vector (D,)``, in the partition's order."""
    return tuple(_rms(_part(vector, tensor)) for tensor in partition.shared)


def refusal_of_weights(
    vector: Tensor,
    reference: Tensor,
    partition: Partition,
    reach: Reach,
    before: Sequence[float] | None = None,
) -> str | None:
    """Why ``vector (D,)`` is not trained on, with the tensor and both figures; None if it may be.

    ``reference (D,)`` is the installed base or a fresh model, ``before`` the :func:`norms_of` of the run's weights
    that this device saw last.
    """
    for place, tensor in enumerate(partition.shared):
        sent, known = _part(vector, tensor), _part(reference, tensor)
        if not bool(torch.isfinite(sent).all()):
            return f"'{tensor.name}' of the weights holds numbers that are not finite"
        moved = sent.double() - known.double()
        if (found := _rms(moved)) > (limit := reach.limit(FROM_REFERENCE, _rms(known))):
            return _out_of_reach(tensor, f"{found:.3g} (root mean square)", f"{limit:.3g}")
        if (found := _peak(moved)) > (limit := reach.limit(OF_ONE_NUMBER, _peak(known))):
            return _out_of_reach(tensor, f"{found:.3g} in one number", f"{limit:.3g}")
        if before is not None and place < len(before):
            norm, earlier = _rms(sent), before[place]
            limit = reach.limit(FROM_BEFORE, earlier)
            if norm > limit or earlier > reach.limit(FROM_BEFORE, norm):
                return (
                    f"policy weights_reach: '{tensor.name}' of the weights has a root mean square of {norm:.3g} where "
                    f"this device last saw {earlier:.3g}, more than training moves it"
                )
    return None


def _out_of_reach(tensor: SharedTensor, found: str, limit: str) -> str:
    return (
        f"policy weights_reach: '{tensor.name}' of the weights lies {found} from this device's own copy, and training "
        f"moves it by at most {limit}"
    )


def _part(vector: Tensor, tensor: SharedTensor) -> Tensor:
    return vector[tensor.start : tensor.stop]


def _rms(part: Tensor) -> float:
    return float(part.double().pow(2).mean().sqrt()) if part.numel() else 0.0


def _peak(part: Tensor) -> float:
    return float(part.abs().max()) if part.numel() else 0.0
