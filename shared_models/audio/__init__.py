"""From a recording to what a model sees: reading, mel, pitch, energy, alignments, and a cache of them."""
