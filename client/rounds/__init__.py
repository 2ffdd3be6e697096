"""A device's part of a federation's rounds: what is asked, whether it may be answered, what leaves and what is kept."""
