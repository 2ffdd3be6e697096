"""Weight norm taken off: the tensors that a generator computes with, which are the ones that are stored.

Source of the norm: T. Salimans, D. Kingma, "Weight normalization", NeurIPS 2016 (arXiv 1602.07868).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from shared_models.errors import CheckpointError
from shared_models.shown_text import shown

_LISTED = 3


def fold_weight_norm(generator: nn.Module) -> None:
    """Replace every parametrised weight in ``generator`` by its value, in place; none may be there."""
    for module in list(generator.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


def folded_weights(generator: nn.Module) -> dict[str, Tensor]:
    """A copy of the tensors that ``generator`` would hold after folding, on the CPU; it stays as it is."""
    folded: dict[str, Tensor] = {}
    for prefix, module in generator.named_modules():
        if isinstance(module, parametrize.ParametrizationList):
            continue
        named = dict(module.named_parameters(recurse=False))
        if parametrize.is_parametrized(module, "weight"):
            named["weight"] = module.weight
        for name, tensor in named.items():
            # A copy of its own each: safetensors refuses tensors that share memory.
            folded[f"{prefix}.{name}" if prefix else name] = tensor.detach().cpu().clone().contiguous()
    return folded


def weight_of(direction: Tensor, length: Tensor) -> Tensor:
    """The weight that weight norm makes of ``direction (A, ...)`` and ``length (A, 1, ...)``."""
    over = tuple(range(1, direction.ndim))
    weight: Tensor = direction * (length / torch.linalg.vector_norm(direction, dim=over, keepdim=True))
    return weight


def load_folded_weights(generator: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Fold ``generator`` and give it ``weights``, as float32.

    Raises :class:`CheckpointError`, which begins with ``where``, for a tensor that is missing, not the
    generator's, of another shape or not finite; the generator is then unusable.
    """
    fold_weight_norm(generator)
    _require_fit(generator.state_dict(), weights, where)
    generator.load_state_dict({name: tensor.float() for name, tensor in weights.items()})


def load_fitting(build: Callable[[], nn.Module], weights: Mapping[str, Tensor], where: str) -> nn.Module:
    """The generator that ``build`` makes, folded and with ``weights``, as float32.

    It is made without memory first: sizes that the weights do not have are refused before any is taken. Raises
    :class:`CheckpointError` as :func:`load_folded_weights`.
    """
    with torch.device("meta"):
        sizes = build()
        fold_weight_norm(sizes)
    _require_fit(sizes.state_dict(), weights, where)
    generator = build()
    load_folded_weights(generator, weights, where)
    return generator


def _require_fit(wanted: Mapping[str, Tensor], weights: Mapping[str, Tensor], where: str) -> None:
    """Raise :class:`CheckpointError`, as :func:`load_folded_weights`, where ``weights`` are not those ``wanted``."""
    for found, problem in (
        ([n for n in wanted if n not in weights], "lacks the tensors {}"),
        ([n for n in weights if n not in wanted], "holds the tensors {}, which this generator has not"),
    ):
        if found:
            raise CheckpointError(
                f"{where} {problem.format(_some(found))}: it is of other dimensions or another model"
            )
    for name, tensor in weights.items():
        if tensor.shape != wanted[name].shape:
            raise CheckpointError(
                f"{where} holds '{name}' of shape {tuple(tensor.shape)} where its dimensions make "
                f"{tuple(wanted[name].shape)}: it is of other dimensions"
            )
        if not tensor.is_floating_point() or not torch.isfinite(tensor.float()).all():
            raise CheckpointError(
                f"{where} holds values in '{name}' that are no finite numbers: it is damaged"
            )


def _some(names: list[str]) -> str:
    listed = ", ".join(f"'{shown(name)[:60]}'" for name in names[:_LISTED])
    return listed if len(names) <= _LISTED else f"{listed} and {len(names) - _LISTED} more"
