"""All voice recipes side by side: one budget, one public start, the same unseen speakers."""
