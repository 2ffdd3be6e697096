"""The extra ``simulations``: what researchers need, and neither a device nor a server."""

from __future__ import annotations

from importlib.util import find_spec

from shared_models.errors import MissingExtraError

RUN = ("tensorboard", "matplotlib", "PIL")
"""What a simulation's scalars and report are made with."""


def require(purpose: str, modules: tuple[str, ...] = RUN) -> None:
    """Raise :class:`MissingExtraError` where one of ``modules`` is not installed, which ``purpose`` needs."""
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise MissingExtraError(
            f"{purpose} needs the 'simulations' extra (without {', '.join(missing)} here): pip install "
            "'fedvoice[simulations]'"
        )
