"""Training: one configuration, one run, one record."""
