"""A device's part of a federation's rounds."""
