"""What the operator of a server types; heavy imports wait inside functions, so --help is fast."""
