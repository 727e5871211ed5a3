"""Floor 2: the model as a whole."""
