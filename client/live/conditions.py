"""When and where a device works: the part of the policy that is about the computer, and not about the recipe."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from datetime import time as clock_time

import psutil

from client.home.policy import Policy

_BUSY_SHARE = 0.5
"""A computer is idle while less than this share of its cores is in use (the last minute's load)."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a computer says of itself now. None where it cannot tell."""

    time_of_day: clock_time
    charging: bool | None
    """On external power; True for a computer without a battery."""
    load: float | None
    """Share of the cores in use, without this device's own work."""
    metered: bool | None


def surroundings(own_load: float = 0.0) -> Surroundings:
    """Look at this computer; ``own_load`` is the share of its cores that FedVoice itself uses."""
    return Surroundings(datetime.now().time(), _charging(), _load(own_load), _metered())


def not_now(policy: Policy, look: Callable[[], Surroundings] = surroundings) -> str | None:
    """Why the owner does not want this device to train now; None if it may.

    A field whose fact this computer cannot tell is taken as not met: the owner asked for it.
    """
    if not (policy.hours or policy.only_when_charging or policy.only_when_idle) and policy.metered_network_ok:
        return None
    now = look()
    if not policy.within_hours(now.time_of_day):
        return f"not now (policy hours: {policy.hours})"
    if policy.only_when_charging and now.charging is not True:
        return "not now (policy only_when_charging: " + _known(now.charging, "it runs on its battery")
    if policy.only_when_idle and (now.load is None or now.load > _BUSY_SHARE):
        return "not now (policy only_when_idle: " + _known(now.load, "the computer is in use")
    if not policy.metered_network_ok and now.metered is not False:
        return "not now (policy metered_network_ok: " + _known(now.metered, "the network is metered")
    return None


def _known(fact: object, said: str) -> str:
    return (said if fact is not None else "this computer cannot tell") + ")"


def _charging() -> bool | None:
    try:
        battery = psutil.sensors_battery()
    except (AttributeError, OSError):
        return None
    return True if battery is None else battery.power_plugged


def _load(own_load: float) -> float | None:
    try:
        minute = float(psutil.getloadavg()[0])
    except (AttributeError, OSError):
        return None
    return max(0.0, minute / (psutil.cpu_count() or 1) - own_load)


def _metered() -> bool | None:
    """NetworkManager's own word: 1 and 3 are metered (said or guessed), 2 and 4 are not."""
    asked = [
        "busctl", "--system", "get-property", "org.freedesktop.NetworkManager",
        "/org/freedesktop/NetworkManager", "org.freedesktop.NetworkManager", "Metered",
    ]  # fmt: skip
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=5, check=True).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return None
    return {"1": True, "3": True, "2": False, "4": False}.get(answer[-1]) if answer else None
