"""What an adversary gets, tried on the real code: ``fedvoice attack`` prints it with and without protection."""
