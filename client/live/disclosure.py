"""In words: what leaves this device, what never does, and whom the person trusts by joining."""

from __future__ import annotations

from client.home.policy import Policy


def what_is_sent(federation: str, server: str, name: str, policy: Policy) -> list[str]:
    """Sentences to read before joining, and again whenever wanted."""
    return [
        f"You are joining the federation '{federation}' at {server} as '{name}'.",
        "Sent: in each round in which this device is drawn, one update: how training on your recordings would change "
        "the shared model's numbers, cut to the recipe's clipping norm. And the device's name, key and version.",
        "Not sent, ever: recordings, transcripts, your voice's own numbers (embedding, style), losses, file names.",
        _trust(policy),
        f"Your budget: epsilon {policy.total_epsilon:g} in all and {policy.epsilon_per_run:g} a run, at delta "
        f"{policy.delta:g}; {policy.total_epsilon_without_sampling:g} in all where sampling counts for nothing. "
        "A question that costs more is declined, and nothing is trained for it.",
        "Only the FedVoice that you installed runs here. Code that a server sends is refused unread.",
    ]


def _trust(policy: Policy) -> str:
    central = (
        "The server is trusted with your clipped update before noise: in mode central it sees each update as it is, "
        "adds the noise itself, and publishes only noised sums. A server that breaks its word could learn from it."
    )
    if "none" in policy.modes:
        return central + " You also allow mode none, in which no noise is added at all."
    return central
