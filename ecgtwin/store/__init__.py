"""Floor 1: what is on disk; shared by corpus and cohort. Home of zarr, pyarrow and fsspec."""
