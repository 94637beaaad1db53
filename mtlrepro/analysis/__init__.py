"""Statistics of results: comparisons, tests, verdicts, and the papers' printed numbers."""
