"""Text front end: from written text to the phonemes that the acoustic model reads."""
