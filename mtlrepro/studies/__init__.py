"""Experiments of the chapters: each function returns the data table behind one figure."""
