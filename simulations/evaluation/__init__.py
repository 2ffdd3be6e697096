"""What a cloned voice is judged by: likeness, intelligibility, spectrum and intonation."""
