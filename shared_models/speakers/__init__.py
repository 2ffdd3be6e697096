"""What conditions the acoustic model on a speaker, and which of it is personal."""
