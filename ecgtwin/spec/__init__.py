"""Floor 0: what a user may ask for. pydantic and yaml only."""
