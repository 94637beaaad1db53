"""Studies: what the chapters measure, show and claim."""
