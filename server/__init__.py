"""Aggregates speaker-agnostic weights: rounds, differential privacy, checkpoints."""
