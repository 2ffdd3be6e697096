"""Benchmarks: each a command, with figures that repeat."""
