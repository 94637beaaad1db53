"""The chapter on MTSGD."""
