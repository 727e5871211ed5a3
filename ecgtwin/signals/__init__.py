"""Floor 0: what an ECG is. numpy and scipy only."""
