"""Benchmarks: ratios of times measured in turn on this machine."""
