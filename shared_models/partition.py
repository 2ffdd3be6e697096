"""Which tensors of a model are shared with the federation, which never leave the device, and which nobody trains.

Every module class of ours says, where it is defined, whom its tensors belong to::

    class FeedForwardTransformerBlock(nn.Module):
        belongs_to = Owner.SHARED

Layers that come from torch (``nn.Linear``, ...) belong to the nearest enclosing module that says so. A
tensor without such an enclosing module, a tensor reachable under two owners, and a shared module inside
a personal one are errors when the model is partitioned, and nothing is sent of a model that is not.

A module that is personal also says how it begins, by a method ``reset()``: :meth:`PartitionedModel.reset_personal`
calls it for every newcomer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from shared_models.errors import PartitionError


class Owner(Enum):
    """Whom a tensor belongs to."""

    SHARED = "shared"
    """Speaker-agnostic: the server's, with a copy on every device."""
    PERSONAL = "personal"
    """Speaker-conditioned: the device's alone."""
    CONSTANT = "constant"
    """A buffer that the configuration determines (position tables, bins): never travels, never trains."""
    FROZEN = "frozen"
    """A pretrained part that nobody trains: every side brings it along, and it never travels.

    Its content is part of the partition's schema. The module keeps itself in evaluation mode.
    """


@dataclass(frozen=True, slots=True)
class SharedTensor:
    """Name and shape of one tensor of the shared set, and its place in the flat vector."""

    name: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class PersonalSize:
    """What a voice trains."""

    numbers: int
    bytes: int


class Partition:
    """The total split of one model's tensors. Build it with :meth:`of`; it cannot be edited.

    ``shared`` lists the shared parameters in a fixed order: the order of the flat vector ``(D,)`` that
    travels, is clipped, noised and averaged. ``frozen`` is a hash of what nobody trains, empty if there is nothing.
    """

    def __init__(self, owners: dict[str, Owner], shared: tuple[SharedTensor, ...], frozen: str = "") -> None:
        self.owners = owners
        self.shared = shared
        self.frozen = frozen

    @classmethod
    def of(cls, model: nn.Module, *, share_everything: bool = False) -> Partition:
        """Partition ``model``.

        ``share_everything`` declares the personal set shared too: the non-private baseline of full-model
        sharing, and nothing else. Raises :class:`PartitionError` if any tensor is undeclared, declared
        twice, not a floating-point parameter though it would travel, or shared inside a personal module, and if a
        personal module does not say how it begins.
        """
        _check_starts(model)
        owners: dict[str, Owner] = {}
        by_tensor: dict[int, tuple[str, Owner]] = {}
        parameters: dict[str, nn.Parameter] = {}
        frozen: dict[str, Tensor] = {}
        for name, tensor, owner in _owned_tensors(model, "", None):
            if share_everything and owner is Owner.PERSONAL:
                owner = Owner.SHARED
            first = by_tensor.setdefault(id(tensor), (name, owner))
            if first[1] is not owner:
                raise PartitionError(
                    f"'{first[0]}' is {first[1].value} and also, as '{name}', {owner.value}: "
                    "one tensor must have one owner, so untie them or declare both alike"
                )
            _check_kind(name, tensor, owner)
            owners[name] = owner
            if first[0] == name and isinstance(tensor, nn.Parameter) and owner is Owner.SHARED:
                parameters[name] = tensor
            if owner is Owner.FROZEN:
                frozen[name] = tensor
        return cls(owners, _lay_out(parameters), content_hash(frozen))

    @property
    def size(self) -> int:
        """D, the number of shared coordinates."""
        return self.shared[-1].stop if self.shared else 0

    @property
    def schema(self) -> str:
        """A hash of the shared names and shapes, and of the content of what is frozen.

        Two sides that agree on it can exchange flat vectors.
        """
        described = json.dumps([[t.name, list(t.shape)] for t in self.shared]) + self.frozen
        return hashlib.sha256(described.encode()).hexdigest()[:16]

    def names(self, owner: Owner) -> list[str]:
        """The tensors that belong to ``owner``, in the model's order."""
        return [name for name, found in self.owners.items() if found is owner]


M = TypeVar("M", bound=nn.Module)


class PartitionedModel(Generic[M]):
    """A model together with its partition: the only thing the wire accepts."""

    def __init__(self, model: M, partition: Partition | None = None) -> None:
        self.model = model
        self.partition = partition or Partition.of(model)
        named = dict(model.named_parameters(remove_duplicate=False))
        self._shared = [named[t.name] for t in self.partition.shared]
        for name in self.partition.names(Owner.FROZEN):
            if name in named:
                named[name].requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def to(self, device: torch.device) -> PartitionedModel[M]:
        """The same with the model, which is moved, on another device."""
        return PartitionedModel(self.model.to(device), self.partition)

    def shared_parameters(self) -> list[nn.Parameter]:
        """The shared parameters themselves, in the order of the flat vector."""
        return list(self._shared)

    def personal_parameters(self) -> list[nn.Parameter]:
        """The personal parameters themselves."""
        named = dict(self.model.named_parameters(remove_duplicate=False))
        return [named[name] for name in self.partition.names(Owner.PERSONAL) if name in named]

    def personal_modules(self) -> list[nn.Module]:
        """The outermost personal modules: together they hold the personal tensors. None where all is shared."""
        own = set(self.partition.names(Owner.PERSONAL))
        return [
            module
            for prefix, module in _personal_modules(self.model, "")
            if any(f"{prefix}{name}" in own for name in _tensor_names(module))
        ]

    @property
    def personal_size(self) -> PersonalSize:
        """How much one speaker's own there is, of all rows together; on a device, of its voice."""
        own = self.personal_parameters()
        return PersonalSize(sum(p.numel() for p in own), sum(p.numel() * p.element_size() for p in own))

    @torch.no_grad()
    def reset_personal(self) -> None:
        """Put every personal module back to its own start, which need not be zero: a newcomer's voice."""
        for module in self.personal_modules():
            module.reset()  # type: ignore[operator]  # partitioning checked that it has one

    def personal_state(self) -> dict[str, Tensor]:
        """A copy of the personal tensors by name, on the processor, for the device's own files."""
        state = self.model.state_dict()
        return {n: state[n].detach().cpu().clone() for n in self.partition.names(Owner.PERSONAL)}

    @torch.no_grad()
    def load_personal_state(self, state: dict[str, Tensor]) -> None:
        """Put a saved personal set back. Raises :class:`PartitionError` if it is not this model's."""
        own = self.model.state_dict()
        names = self.partition.names(Owner.PERSONAL)
        if set(names) != set(state):
            raise PartitionError(
                f"the saved personal set holds {sorted(state)} where this model has {sorted(names)}: "
                "it was made with another recipe"
            )
        for name in names:
            if own[name].shape != state[name].shape:
                raise PartitionError(
                    f"'{name}' was saved with shape {tuple(state[name].shape)} and is "
                    f"{tuple(own[name].shape)} here: it was made with another recipe"
                )
            own[name].copy_(state[name])

    @torch.no_grad()
    def shared_vector(self, out: Tensor | None = None) -> Tensor:
        """The shared set as one float32 vector ``(D,)``, written into ``out`` if given."""
        flat = torch.empty(self.partition.size) if out is None else out
        for spec, parameter in zip(self.partition.shared, self._shared, strict=True):
            flat[spec.start : spec.stop].copy_(parameter.reshape(-1))
        return flat

    @torch.no_grad()
    def load_shared_vector(self, flat: Tensor) -> None:
        """Overwrite the shared set with the flat vector ``(D,)``."""
        if flat.shape != (self.partition.size,):
            raise PartitionError(
                f"a shared vector of {tuple(flat.shape)} does not fit this model's {self.partition.size} "
                "coordinates: both sides must use the same recipe"
            )
        for spec, parameter in zip(self.partition.shared, self._shared, strict=True):
            parameter.copy_(flat[spec.start : spec.stop].view(spec.shape))


def weights_hash(weights: Tensor) -> str:
    """SHA-256 of a shared vector ``(D,)``: the identity to which voice profiles are bound."""
    return hashlib.sha256(weights.detach().contiguous().numpy().tobytes()).hexdigest()


def _owned_tensors(
    module: nn.Module, prefix: str, owner: Owner | None
) -> Iterator[tuple[str, Tensor, Owner]]:
    declared = getattr(module, "belongs_to", None)
    if declared is not None:
        if owner is Owner.PERSONAL and declared is Owner.SHARED:
            raise PartitionError(
                f"'{prefix[:-1]}' ({type(module).__name__}) is shared inside a personal module: "
                "move it out, or declare it personal"
            )
        owner = declared
    own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    for name, tensor in own:
        if owner is None:
            raise PartitionError(
                f"'{prefix}{name}' ({type(module).__name__}) belongs to nobody: give the module that "
                "defines it a 'belongs_to = Owner....'"
            )
        yield prefix + name, tensor, _tensor_owner(module, name, owner)
    for name, child in module.named_children():
        yield from _owned_tensors(child, f"{prefix}{name}.", owner)


def _personal_modules(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    """The outermost modules that are declared personal, with the prefix of their tensors' names."""
    if getattr(module, "belongs_to", None) is Owner.PERSONAL:
        yield prefix, module
        return
    for name, child in module.named_children():
        yield from _personal_modules(child, f"{prefix}{name}.")


def _tensor_names(module: nn.Module) -> Iterator[str]:
    for name, _ in (*module.named_parameters(remove_duplicate=False), *module.named_buffers()):
        yield name


def _check_starts(model: nn.Module) -> None:
    for prefix, module in _personal_modules(model, ""):
        if not callable(getattr(module, "reset", None)):
            raise PartitionError(
                f"'{prefix[:-1]}' ({type(module).__name__}) is personal and does not say how a voice begins: give it "
                "a method reset()"
            )


def content_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and numbers; empty for no tensor."""
    if not tensors:
        return ""
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        described = json.dumps([name, str(tensor.dtype), list(tensor.shape)])
        digest.update(described.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _tensor_owner(module: nn.Module, name: str, owner: Owner) -> Owner:
    # torch's own mark for a buffer that is rebuilt rather than saved.
    return Owner.CONSTANT if name in module._non_persistent_buffers_set else owner


def _check_kind(name: str, tensor: Tensor, owner: Owner) -> None:
    if owner is Owner.CONSTANT and isinstance(tensor, nn.Parameter):
        raise PartitionError(f"'{name}' is a trainable parameter and cannot be constant")
    if owner is not Owner.SHARED:
        return
    if not isinstance(tensor, nn.Parameter):
        raise PartitionError(
            f"the buffer '{name}' would have to be shared, but only parameters can be clipped, noised "
            "and averaged: register it with persistent=False, or use a layer without running statistics"
        )
    if not tensor.is_floating_point():
        raise PartitionError(f"'{name}' is {tensor.dtype}: only floating-point tensors can be noised")


def _lay_out(parameters: dict[str, nn.Parameter]) -> tuple[SharedTensor, ...]:
    laid_out, start = [], 0
    for name, parameter in parameters.items():
        stop = start + parameter.numel()
        laid_out.append(SharedTensor(name, tuple(parameter.shape), start, stop))
        start = stop
    return tuple(laid_out)
