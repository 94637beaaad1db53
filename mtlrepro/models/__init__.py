"""Networks with one output per task."""
