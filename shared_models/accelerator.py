"""Where work runs: on the processor, or on an accelerator, and with how many bits.

Whatever computes is given one :class:`Accelerator`, which somebody resolved once from what was asked for: ``auto``,
``cpu``, ``cuda``, ``cuda:N`` or ``mps``. Weights are float32 wherever they lie; ``bfloat16`` is autocast's, for
products within a forward pass, and ``auto`` is that where the device is made for it. Clipping, norms, noise and sums
keep the precision that they have on the processor.

Reading a number off an accelerator waits for all that it was given before. So nothing within a step does, and
whatever must goes through :func:`on_host`.
"""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar, cast, get_args

import torch
from torch import Tensor, nn

from shared_models.device_name import DEVICE_NAMES, Precision, is_device_name
from shared_models.errors import AcceleratorError

if TYPE_CHECKING:
    from shared_models.config import EngineConfig

CPU = torch.device("cpu")
M = TypeVar("M", bound=nn.Module)
# cuBLAS repeats its sums only with a workspace of its own, and reads this before its first product.
_CUBLAS = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@dataclass(frozen=True, slots=True)
class Accelerator:
    """A device of torch's and the precision of forward passes on it."""

    device: torch.device = CPU
    precision: Precision = "float32"

    @classmethod
    def resolve(cls, asked: str = "auto", precision: str = "float32") -> Accelerator:
        """The device that ``asked`` names: ``auto`` takes a CUDA GPU, else an Apple GPU, else the processor.

        Raises :class:`AcceleratorError` for a name that is none, and for a device that is not there.
        """
        if precision not in get_args(Precision):
            raise AcceleratorError(f"precision takes {', '.join(get_args(Precision))}, and not '{precision}'")
        return cls(_device(asked), cast(Precision, precision))

    @property
    def is_cpu(self) -> bool:
        """Whether work runs on the processor."""
        return self.device.type == "cpu"

    @property
    def name(self) -> str:
        """What the device is, in words."""
        return _name(self.device)

    def __str__(self) -> str:
        return f"{self.name}, {self.computes_in}"

    @property
    def computes_in(self) -> str:
        """``float32`` or ``bfloat16``: what ``auto`` comes to on this device."""
        if self.precision == "auto":
            return "bfloat16" if multiplies_bfloat16(self.device) else "float32"
        return self.precision

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Within, products are computed in :attr:`precision`."""
        if self.computes_in == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)


@lru_cache(maxsize=8)
def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether ``device`` has instructions for products of bfloat16. Without them these take many times as long."""
    if device.type == "cuda":
        on_gpu: bool = torch.cuda.is_bf16_supported(including_emulation=False)
        return on_gpu
    # Torch has no public word for what a processor can do.
    there: bool = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return device.type == "cpu" and there


def accelerator_of(engine: EngineConfig) -> Accelerator:
    """Where a recipe's work runs. Raises :class:`AcceleratorError`."""
    return Accelerator.resolve(engine.device, engine.precision)


def devices_here() -> list[torch.device]:
    """All devices of this machine: the accelerators first, the processor last."""
    found = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append(torch.device("mps"))
    return [*found, CPU]


def on_host(tensor: Tensor) -> Tensor:
    """``tensor`` where Python can read it. On an accelerator this waits for all work given to it before."""
    return tensor.cpu()


def is_padded(mask: Tensor) -> bool:
    """Whether ``mask``, bool, has a step that is not real; on an accelerator True, since looking would wait for it."""
    return mask.device != CPU or not bool(mask.all())


def in_full_precision(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Within, autocast is off on ``device``: for what small differences of large numbers decide."""
    if device.type not in ("cpu", "cuda", "mps"):
        return contextlib.nullcontext()
    return torch.autocast(device.type, enabled=False)


def exact_dtype(device: torch.device) -> torch.dtype:
    """float64, or float32 on Apple GPUs, which have nothing wider."""
    return torch.float32 if device.type == "mps" else torch.float64


def copied_to(model: M, device: torch.device) -> M:
    """``model`` if it is on ``device``, or else a copy of it there."""
    there = next(model.parameters()).device == device
    return model if there else copy.deepcopy(model).to(device)


@contextlib.contextmanager
def seeded(seed: int, device: torch.device = CPU) -> Iterator[None]:
    """Within, torch's own generators, from which dropout draws, start from ``seed``; afterwards they are as before."""
    # An index of None is the current GPU.
    gpus = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus):
        torch.manual_seed(seed)
        yield


def repeat_on(device: torch.device) -> None:
    """Make this process's work on ``device`` the same each time, where torch knows a way that is.

    On CUDA a few operations have none; torch then warns. Call it before the first work on a GPU.
    """
    if device.type == "cuda":
        os.environ.setdefault(*_CUBLAS)
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False


def limit_memory(device: torch.device, share: float) -> None:
    """Let this process use ``share`` of a CUDA GPU's memory at most; other devices have no such limit."""
    if device.type == "cuda" and share < 1:
        torch.cuda.set_per_process_memory_fraction(share, device)


def _device(asked: str) -> torch.device:
    if not is_device_name(asked):
        raise AcceleratorError(f"{DEVICE_NAMES}, and not '{asked}'")
    here = devices_here()
    if asked == "auto":
        return here[0]
    wanted = torch.device("cuda", 0) if asked == "cuda" else torch.device(asked)
    if wanted not in here:
        raise AcceleratorError(
            f"device '{asked}' is not there: this machine has {', '.join(map(_name, here))}; choose "
            f"{' or '.join(map(str, here))}, or auto"
        )
    return wanted


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"GPU {device.index} ({torch.cuda.get_device_name(device)})"
    return "Apple GPU" if device.type == "mps" else "CPU" if device.type == "cpu" else str(device)
