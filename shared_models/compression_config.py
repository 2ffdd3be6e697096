"""The recipe's section on what crosses the network."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shared_models.recipe_section import Section


class CompressionConfig(Section):
    """How shared weights and updates travel; every choice keeps the norm that privacy relies on."""

    up: Literal["none", "float16", "int8", "int4", "int2", "low_rank", "top_k"] = Field(
        "none", description="The update, device to server; 'none' is float32."
    )
    down: Literal["none", "float16", "int8", "int4", "int2"] = Field(
        "none", description="The weights, server to device; rounded to nearest."
    )
    delta: bool = Field(
        False,
        description="Send the weights as their change since the run's first ones, which a device has with its "
        "installation or is sent once; 'down' then compresses the change.",
    )
    block: int = Field(256, ge=8, le=65536, description="Coordinates that share a scale in integer kinds.")
    share: float = Field(0.05, gt=0, le=1, description="Share of the coordinates that top_k sends.")
    rank: int = Field(8, ge=1, le=256, description="Rank of low_rank's factors.")
    values: Literal["float32", "float16", "int8", "int4"] = Field(
        "int8", description="How top_k's values and low_rank's factors are written."
    )
    feedback: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Share of what top_k or low_rank left out that the device adds to its next update; below 1 "
        "old remainders fade, which matters where devices come seldom.",
    )

    @property
    def keeps_remainder(self) -> bool:
        """Whether devices keep what was not sent: only where it is lost on purpose, and not by chance."""
        return self.up in {"low_rank", "top_k"} and self.feedback > 0
