"""The chapter on the noise of SGD."""
