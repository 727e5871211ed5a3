"""Floor 3: how a cohort is planned and made."""
