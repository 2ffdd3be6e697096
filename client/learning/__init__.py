"""How a device learns: its utterances, the phases of an algorithm, meta-learning through them, DP-SGD."""
