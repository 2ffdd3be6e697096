"""A live federation's server: Flower's SuperLink behind a gate, our ServerApp beside it, and their supervisor."""
