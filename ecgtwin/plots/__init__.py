"""Floor 4: draws what evaluation measured. Home of matplotlib."""
