"""Floor 2: real and simulated ECGs into a corpus. Home of wfdb."""
