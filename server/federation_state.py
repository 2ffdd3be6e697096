"""The state of a federation between rounds, from and to its checkpoints."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from server.accounting import Accountant, accountant_for
from server.attempts import latest_attempt
from server.checkpoints import Checkpoint, latest_checkpoint, newest_round, save_checkpoint
from server.optimizers import ServerOptimizer, build_server_optimizer
from server.plan import FederationPlan, RoundReport
from shared_models.config import Recipe, recipe_from_json
from shared_models.errors import CheckpointError


@dataclass(slots=True)
class FederationState:
    """Everything that a round changes."""

    round: int
    weights: Tensor
    optimizer: ServerOptimizer
    accountant: Accountant | None
    counted: dict[int, int] = field(default_factory=dict)
    """Partition to the last round in which its update was counted."""
    report: RoundReport | None = None
    """Of the last round, as its checkpoint has it."""
    lost: int = 0
    """Rounds that were released and whose checkpoints are gone; they count as spent and are not run again."""

    @property
    def fruitless(self) -> int:
        """How many rounds in a row brought nothing."""
        return self.report.fruitless if self.report is not None else 0


def restore(plan: FederationPlan) -> FederationState:
    """Go on from the newest whole checkpoint, or start.

    Under privacy with noise that does not repeat, a round whose checkpoint was written has been released, and
    if that file is damaged or gone, running the round again would release it twice and count it once. Such
    rounds are skipped and counted as spent: the weights lose them, and nobody pays twice.

    Raises :class:`CheckpointError` if the folder holds another federation's checkpoints, and
    :class:`StaleCopyError` if this computer remembers releases that it knows nothing of.
    """
    optimizer = build_server_optimizer(plan.recipe.federation, plan.partition.size)
    accountant = accountant_for(plan.recipe, plan.clients)
    checkpoint = latest_checkpoint(plan.folder, schema=plan.partition.schema)
    if checkpoint is None:
        state = FederationState(0, plan.initial.clone(), optimizer, accountant)
    else:
        state = _state_of(checkpoint, plan, optimizer, accountant)
    if accountant is not None and not plan.seeded_noise:
        attempt = latest_attempt(plan.folder, plan.run)
        begun = attempt.round if attempt is not None else 0
        # A round is only begun once the one before it is in a checkpoint.
        state.lost = max(0, newest_round(plan.folder) - state.round, begun - 1 - state.round)
        if plan.memory is not None:
            state.lost += plan.memory.lost(state.round + state.lost, plan.charged_until)
        accountant.step(state.lost)
        state.round += state.lost
        if plan.memory is not None:
            plan.memory.move(state.round)
    return state


def save(plan: FederationPlan, state: FederationState) -> None:
    """Write the checkpoint of the round that was just finished. Raises :class:`StorageError`."""
    save_checkpoint(
        plan.folder,
        Checkpoint(
            round=state.round,
            weights=state.weights,
            schema=plan.partition.schema,
            recipe=plan.recipe.model_dump_json(),
            optimizer=state.optimizer.state(),
            accountant=state.accountant.state() if state.accountant else None,
            counted=state.counted,
            report=state.report.state() if state.report else None,
        ),
    )


def _is_of_run(recipe: Recipe, plan: FederationPlan) -> bool:
    # A simulation's learning rate falls over the rounds that there are to be, and its runs repeat.
    return plan.recipe.same_run_as(recipe) if plan.live else plan.recipe == recipe


def _state_of(
    checkpoint: Checkpoint, plan: FederationPlan, optimizer: ServerOptimizer, accountant: Accountant | None
) -> FederationState:
    if not _is_of_run(recipe_from_json(checkpoint.recipe), plan):
        raise CheckpointError(
            f"the checkpoints in {plan.folder} were written with another recipe: resume with that one, or start a "
            "new run"
        )
    optimizer.load_state(checkpoint.optimizer)
    if accountant is not None and checkpoint.accountant is not None:
        accountant.load(checkpoint.accountant)
    return FederationState(
        checkpoint.round,
        checkpoint.weights,
        optimizer,
        accountant,
        counted=dict(checkpoint.counted),
        report=RoundReport.of_state(checkpoint.report) if checkpoint.report else None,
    )
