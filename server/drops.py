"""The names of the reasons for which an update is not counted: a closed set, used by logs, metrics and code."""

from __future__ import annotations

from enum import StrEnum


class Drop(StrEnum):
    """The closed set of names under which an update does not count."""

    NEVER_JOINED = "never joined"
    WITHDRAWN = "withdrawn"
    OFFLINE = "offline"
    RESTING = "resting"
    NO_REPLY = "no reply"
    TOO_LATE = "too late"
    NOT_NEEDED = "not needed"
    DECLINED = "declined"
    DISK = "disk"
    DIVERGED = "diverged"
    ROLLED_BACK = "rolled back"
    SERVER_ROLLED_BACK = "server rolled back"
    LACKS_ANCHOR = "lacks anchor"
    FAILED = "failed"
    NOT_ASKED = "not asked"
    SENT_TWICE = "sent twice"
    REPLAYED = "replayed"
    OVERSIZED = "oversized"
    MALFORMED = "malformed"
    NOT_FINITE = "not finite"
    NORM = "norm"
