"""The commands of ``fedvoice``, one file each; heavy imports wait inside functions, so --help is fast."""
