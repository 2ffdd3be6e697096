"""What server and device must agree on: text, audio, models, the partition and the wire form."""

__version__ = "0.1.0"
