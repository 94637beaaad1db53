"""Data sets that the chapters run on."""
