"""Floor 1: networks. No loss, no optimizer, no I/O."""
