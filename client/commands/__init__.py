"""What the owner of a device types; heavy imports wait inside functions, so --help is fast."""
