"""Floor 1: networks that only the published system has (Lai et al. 2025, arXiv 2508.02720)."""
