"""What `pytest --nbval book/*.ipynb` does not compare: the pictures, whose last digits differ between machines.

Their numbers are compared: each picture is stored with the table behind it.
"""

from typing import Any

import pytest


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Take the pictures out of what a notebook stores and of what it shows anew."""
    patterns: dict[str, Any] | None = getattr(collector, "sanitize_patterns", None)
    if patterns is not None:  # a notebook, as nbval collects it
        patterns[r'src="data:image/[^"]*"'] = 'src="picture"'
