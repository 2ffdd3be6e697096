"""What a run looks like to people: the report and the terminal table."""
