"""What a device keeps and what its owner decides: recordings, voices, ledgers and their memory outside, policy."""
