"""The chapter on loss scale balancing."""
