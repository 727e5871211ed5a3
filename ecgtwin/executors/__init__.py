"""Floor 1: who does the work. Home of ray."""
