"""Why a device answers without an update: a closed set of kinds, and the text that carries one to the server.

Flower knows of an error nothing but its text, and puts words of its own around it; so the kind stands in the text, in
brackets before what the device says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Refusal(StrEnum):
    """The kinds that the server acts on."""

    DECLINED = "declined"
    """The owner does not allow the round."""
    SERVER_ROLLED_BACK = "server rolled back"
    """The device answered this round already, on other weights."""
    DEVICE_ROLLED_BACK = "device rolled back"
    """The device's files are an older copy than what was already counted."""
    LACKS_ANCHOR = "lacks anchor"
    """The weights came as the change since others, which the device does not have."""
    DISK = "disk"
    DIVERGED = "diverged"
    FAILED = "failed"
    """Anything else."""


_MARK = re.compile(rf"\[({'|'.join(Refusal)})\] ")


@dataclass(frozen=True, slots=True)
class Refused:
    """A refusal as it travels."""

    kind: Refusal
    said: str

    def __str__(self) -> str:
        return f"[{self.kind}] {self.said}"

    @classmethod
    def parse(cls, text: str) -> Refused:
        """What a reply's error says. A text without a kind is a failure."""
        found = _MARK.search(text)
        return cls(Refusal.FAILED, text) if found is None else cls(Refusal(found[1]), text[found.end() :])
