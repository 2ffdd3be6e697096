"""The server's figures as Prometheus text and as JSON: counts, bytes and times, nothing of anyone's voice."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from server.drops import Drop
from server.live.journal import Standing
from server.live.places import places
from server.live.registry import Registered
from shared_models.config import UNPROTECTED
from shared_models.shown_text import shown

ONLINE_SECONDS = 15.0


@dataclass(slots=True)
class Traffic:
    """What passed the gate since this SuperLink started."""

    bytes_in: int = 0
    bytes_out: int = 0
    requests: Counter[str] = field(default_factory=Counter)
    """By kind of path."""


def figures(
    standing: Standing,
    devices: Iterable[Registered],
    heard: Mapping[bytes, float],
    traffic: Traffic,
    refusals: Mapping[str, int],
    population: int,
) -> dict[str, Any]:
    """Everything at once, as plain data; ``heard`` is when each key last asked for something (Unix time)."""
    now, known = time.time(), list(devices)
    states = Counter(device.state for device in known)
    return {
        **asdict(standing),
        "devices": dict(states),
        "places": places(population, known, heard, now),
        "online": sum(1 for at in heard.values() if now - at < ONLINE_SECONDS),
        "bytes_in": traffic.bytes_in,
        "bytes_out": traffic.bytes_out,
        "requests": dict(traffic.requests),
        "refusals": dict(refusals),
    }


def prometheus(data: Mapping[str, Any]) -> str:
    """:func:`figures` in Prometheus' text format 0.0.4."""
    out: list[str] = []

    def add(name: str, kind: str, text: str, values: Mapping[str, float], label: str = "") -> None:
        out.append(f"# HELP fedvoice_{name} {text}")
        out.append(f"# TYPE fedvoice_{name} {kind}")
        for key, value in values.items():
            labels = f'{{{label}="{_escaped(key)}"}}' if label else ""
            out.append(
                f"fedvoice_{name}{labels} {float(value):g}" if value % 1 else _whole(name, labels, value)
            )

    add("round", "gauge", "Last finished round.", {"": data["round"]})
    add("rounds", "gauge", "Rounds planned.", {"": data["rounds"]})
    add("round_seconds", "gauge", "Duration of the last round.", {"": data["round_seconds"]})
    add("asked", "gauge", "Devices asked in the round going on.", {"": data["asked"]})
    add("answered", "gauge", "Of these, how many answered.", {"": data["answered"]})
    add("devices", "gauge", "Devices by state.", data["devices"], "state")
    add("places", "gauge", "Places of the population by what became of them.", data["places"], "state")
    add("devices_online", "gauge", "Devices heard of within 15 s.", {"": data["online"]})
    bare = int(data["protection"] == UNPROTECTED)
    add("unprotected", "gauge", "1 without noise: there is no epsilon, and no bound.", {"": bare})
    if data["epsilon"] is not None:
        add("epsilon", "gauge", "Epsilon spent for a person so far.", {"": data["epsilon"]})
    add("updates_accepted_total", "counter", "Updates added up.", {"": data["accepted"]})
    add("updates_dropped_total", "counter", "Updates left out.", by_kind(data["dropped"]), "reason")
    last = {kind: sum(words.values()) for kind, words in data["grouped"].items()}
    add("left_out", "gauge", "Left out of the last attempt at a round.", by_kind(last), "reason")
    add("messages_resent_total", "counter", "Messages sent again.", {"": data["resent"]})
    add("refusals_total", "counter", "Requests turned away.", data["refusals"], "reason")
    add("requests_total", "counter", "Requests by kind.", data["requests"], "kind")
    add("received_bytes_total", "counter", "Bytes received from devices.", {"": data["bytes_in"]})
    add("sent_bytes_total", "counter", "Bytes sent to devices.", {"": data["bytes_out"]})
    return "\n".join(out) + "\n"


def by_kind(counts: Mapping[str, int]) -> dict[str, int]:
    """Counts under every kind there is, and under no other name: a device's own words never become a label."""
    totals = dict.fromkeys((kind.value for kind in Drop), 0)
    for kind, count in counts.items():
        totals[kind if kind in totals else Drop.FAILED.value] += count
    return totals


def _whole(name: str, labels: str, value: float) -> str:
    return f"fedvoice_{name}{labels} {int(value)}"


def _escaped(label: str) -> str:
    # A line end is one of three characters that the format escapes; the others that are unseen it takes as they are.
    lines = shown(label, keep="\n")
    return lines.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
