"""Figures as JSON, which has neither NaN nor infinity."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def finite(data: Any) -> Any:
    """The same data with NaN and infinite numbers as None, and numpy's and torch's scalars as plain ones."""
    match data:
        case Mapping():
            return {str(key): finite(value) for key, value in data.items()}
        case str() | bool() | int() | None:
            return data
        case float():
            return data if math.isfinite(data) else None
        case list() | tuple():
            return [finite(value) for value in data]
        case Path():
            return data.as_posix()
        case _ if hasattr(data, "item"):
            return finite(data.item())
        case _:
            raise TypeError(f"{type(data).__name__} has no place in JSON")
