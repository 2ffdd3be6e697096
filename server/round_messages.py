"""What a round sends: the shared weights, encoded once, and a header for each device."""

from __future__ import annotations

from collections.abc import Mapping

from flwr.app import ConfigRecord, Message
from torch import Tensor

from server.attempts import Attempt
from server.downlink import Downlink
from server.plan import FederationPlan

NEVER = -1


def train_messages(
    plan: FederationPlan,
    downlink: Downlink,
    weights: Tensor,
    attempt: Attempt,
    nodes: Mapping[int, int],
    counted: Mapping[int, int],
) -> list[Message]:
    """The ``train`` messages with ``weights`` ``(D,)`` to ``nodes`` (member to node id), by member.

    Beside what :mod:`shared_models.wire` describes, a header holds the recipe without the operator's folders, the run,
    the attempt, the population that cohorts are drawn from, without which a device cannot tell what a round costs it,
    and under ``seen`` the last round in which this device's update was counted, -1 if never: a device whose own files
    know of less is running from an old copy of them, and its privacy ledger is short.
    """
    header, shared = downlink.encode(attempt.round, weights)
    common = {
        **header,
        "recipe": plan.recipe.without_folders().model_dump_json(),
        "run": plan.run,
        "attempt": attempt.number,
        "population": plan.clients,
    }
    return [
        Message(
            downlink.content(
                nodes[member], ConfigRecord({**common, "seen": counted.get(member, NEVER)}), shared
            ),
            dst_node_id=nodes[member],
            message_type="train",
            group_id=str(attempt.round),
        )
        for member in sorted(nodes)
    ]
