"""How `pytest --nbval book/*.ipynb` compares: numbers within the tolerance of their table, and no pictures.

The last digits of both differ between machines. Each picture and each text is stored with the table behind it, whose
numbers are compared as that table says; of what is written about them, all but the numbers is compared.
"""

import re
from collections.abc import Sequence
from typing import Any

import pytest

from mtlrepro.pages.notebook import TABLE, VERDICTS
from mtlrepro.pages.tables import agree

NUMBER = re.compile(r"(&lt;\s|<\s)?[-+\u2212]?\d[\d.,]*(e[-+]?\d+)?")
WRITTEN = ("text/html", "text/plain", VERDICTS)
"""What is written from the numbers of tables."""


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Take the pictures out of what a notebook stores and of what it shows anew."""
    patterns: dict[str, Any] | None = getattr(collector, "sanitize_patterns", None)
    if patterns is not None:  # a notebook, as nbval collects it
        patterns[r'src="data:image/[^"]*"'] = 'src="picture"'


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let a cell's outputs that agree within their tolerance count as the same."""
    compare = getattr(item, "compare_outputs", None)
    if compare is None:
        return

    def compare_within_tolerance(test: Sequence[Any], ref: Sequence[Any], skip_compare: Any = None) -> bool:  # noqa: ANN401
        if len(test) == len(ref):
            for fresh, stored in zip(test, ref, strict=True):
                _take_what_agrees(fresh.get("data", {}), stored.get("data", {}))
        same: bool = compare(test, ref, skip_compare)
        return same

    item.compare_outputs = compare_within_tolerance  # type: ignore[attr-defined]


def _take_what_agrees(fresh: dict[str, Any], stored: dict[str, Any]) -> None:
    """Put what is stored in the place of what is fresh where both agree."""
    for key in fresh.keys() & stored.keys():
        if (key == TABLE and agree(stored[key], fresh[key])) or (
            key in WRITTEN and _without_numbers(stored[key]) == _without_numbers(fresh[key])
        ):
            fresh[key] = stored[key]


def _without_numbers(content: Any) -> Any:  # noqa: ANN401
    if isinstance(content, str):
        return NUMBER.sub("#", content)
    if isinstance(content, list):
        return [_without_numbers(item) for item in content]
    if isinstance(content, dict):
        return {name: _without_numbers(item) for name, item in content.items()}
    return content
