"""Deployed forms of a base and a vocoder: exported, quantized, pruned, distilled, and what each costs."""
