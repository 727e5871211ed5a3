"""Floor 3: how the networks are trained. Home of deepspeed."""
