"""A voice: what it is, what it is made of, and which of it is one person's own."""
