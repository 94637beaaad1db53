"""Readers of the real data sets."""
