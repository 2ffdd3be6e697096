"""Trains, keeps, clones and speaks on the device that owns the voice."""
