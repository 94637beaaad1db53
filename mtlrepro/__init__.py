"""Four papers on balancing tasks in multi-task learning, made executable."""

__version__ = "0.1.0"
