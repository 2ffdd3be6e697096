"""Layers and operations on padded sequences that several models share."""
