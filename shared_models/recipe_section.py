"""What every section of a recipe is: fields that are checked, none unknown, none changed afterwards."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Base of a recipe's sections."""

    model_config = ConfigDict(extra="forbid", frozen=True)
