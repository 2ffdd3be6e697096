"""Words of a device's refusal that the server acts on, so that both sides use the same."""

SERVER_ROLLED_BACK = "this server was restored from an older copy"
"""Said by a device that is asked for a round which it answered on other weights."""
