"""Floor 1: the mathematics of sampling. Nothing about ECGs."""
