"""When a live run stops because its rounds are without result.

Without privacy, a round is without result if no update counted. In mode central it is secret which devices answered,
so whether they answered must not decide whether the run ends. There the decision reads the released mean alone, which
is public: a round is without result if its mean cannot be told from noise, either because no device answered or
because the noise exceeds the signal. A run that an operator started although noise dominates
(``fedvoice serve --force``) is not stopped.

The count is in every checkpoint. An operator who starts the server again after it stopped gets one more round.
"""

from __future__ import annotations

from server.drops import Drop
from server.gathering import Tally
from server.plan import FederationPlan, RoundReport
from server.shrinkage import indistinguishable_from_noise
from shared_models.errors import FruitlessError, StaleCopyError

_LEAST_WITNESSES = 2


def brought_nothing(plan: FederationPlan, counted: int, signal: float | None) -> bool:
    """Whether a live round whose mean has this James-Stein factor, of ``counted`` updates, was in vain."""
    if not plan.live:
        return False
    if signal is None:
        return counted == 0
    return not plan.forced and indistinguishable_from_noise(signal, plan.partition.size)


def refuse_if_fruitless(plan: FederationPlan, report: RoundReport) -> None:
    """Raise :class:`FruitlessError` once ``federation.patience`` rounds in a row brought nothing."""
    if report.fruitless < plan.recipe.federation.patience:
        return
    if report.signal is None:
        raise FruitlessError(
            f"stopped after round {report.round}: {report.fruitless} rounds in a row without one update that counts; "
            "see why in fedvoice serve rounds, and go on with fedvoice serve"
        )
    raise FruitlessError(
        f"stopped after round {report.round}: what the last {report.fruitless} rounds released cannot be told from "
        "noise, so that privacy was spent and nothing learnt: too few devices deliver for this much noise, so see why "
        "in fedvoice serve rounds, and go on with fedvoice serve once more take part (or with --force)"
    )


def refuse_if_rolled_back(tally: Tally) -> None:
    """Raise :class:`StaleCopyError` if devices say that they answered this round, on other weights.

    One device may err or lie; two, who are half of those that said anything, are believed. Nothing was released yet.
    """
    witnesses = tally.kinds[Drop.SERVER_ROLLED_BACK.value]
    heard = len(tally.counted) + tally.refused
    if witnesses >= _LEAST_WITNESSES and 2 * witnesses >= heard:
        said = next(iter(tally.grouped[Drop.SERVER_ROLLED_BACK.value]))
        raise StaleCopyError(
            f"{witnesses} devices refuse to answer, since {said}: put the newest copy of its home back"
        )
