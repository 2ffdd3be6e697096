"""How a device learns: its utterances, the steps of an algorithm's phases, and meta-learning through them."""
