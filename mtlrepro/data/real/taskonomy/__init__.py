"""Taskonomy."""
