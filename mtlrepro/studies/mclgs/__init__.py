"""The chapter on MCLGS."""
