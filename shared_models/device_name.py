"""The names of devices and precisions, as recipes, policies and commands have them; none of it needs torch."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator

_NAME = re.compile(r"auto|cpu|mps|cuda(:\d+)?")
DEVICE_NAMES = "a device is auto, cpu, mps, cuda, or cuda:0, cuda:1 and so on"


def is_device_name(asked: str) -> bool:
    """Whether ``asked`` names a device, on this machine or on another."""
    return _NAME.fullmatch(asked) is not None


def _named(asked: str) -> str:
    if not is_device_name(asked):
        raise ValueError(DEVICE_NAMES)
    return asked


DeviceName = Annotated[str, AfterValidator(_named)]
"""A device, whether or not this machine has it."""
Precision = Literal["float32", "bfloat16", "auto"]
