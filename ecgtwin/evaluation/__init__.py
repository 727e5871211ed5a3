"""Floor 3: how good twins are, in numbers."""
