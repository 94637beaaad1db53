"""Order and threads of all tests.

Each has one CPU thread: sums do not depend on the number of cores, and a busy machine slows nothing twice.
"""

import pytest
import torch

LONGEST = ("test_papermill.py", "test_chapters.py", "test_book.py")
"""Files that take minutes. Under xdist they come first, so that no worker waits for another one at the end."""

torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bring the longest files to the front, in their order, and leave the others as they are."""
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))
