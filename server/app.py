"""The server's Flower app.

``make_app`` binds it to a plan in memory (what ``fedvoice simulate`` does, on either engine); ``app`` is
what ``flwr run .`` starts, configured by the run config in ``pyproject.toml`` alone.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from torch import Tensor

from server.rounds import FederationPlan, RoundReport, federate
from shared_models.config import Recipe, load_recipe
from shared_models.errors import RecipeError
from shared_models.federated_model import federated_model

OnRound = Callable[[RoundReport, Tensor], None]


def plan_for(
    recipe: Recipe,
    folder: Path,
    run: str,
    clients: int,
    *,
    initial: Tensor | None = None,
    seeded_noise: bool = False,
) -> FederationPlan:
    """The plan of a recipe, from ``initial`` ``(D,)`` or its model's random weights.

    ``seeded_noise`` is for simulations.
    """
    model = federated_model(recipe)
    start = model.shared_vector() if initial is None else initial
    return FederationPlan(recipe, model.partition, start, folder, run, clients, seeded_noise)


def make_app(plan: FederationPlan, on_round: OnRound | None = None) -> ServerApp:
    """A ServerApp that runs ``plan`` to its end."""
    server_app = ServerApp()

    @server_app.main()
    def main(grid: Grid, _: Context) -> None:
        federate(grid, plan, on_round)

    return server_app


app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the federation that the run config describes: ``recipe``, ``output``, ``clients``."""
    config = context.run_config
    clients, output = int(config["clients"]), str(config["output"])
    if clients < 1 or not output:
        raise RecipeError(
            "flwr run needs clients (how many take part) and output (an absolute folder for checkpoints), as in "
            "--run-config 'clients=46 output=\"/data/run\"'"
        )
    recipe = load_recipe(Path(str(config["recipe"]))) if config["recipe"] else Recipe()
    federate(grid, plan_for(recipe, Path(output) / "checkpoints", "flower", clients))
