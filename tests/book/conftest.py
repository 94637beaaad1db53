"""Documentation is executed in the process of the tests, and leaves no method behind that others would find."""

from collections.abc import Iterator

import pytest

from mtlrepro.balancers import METHODS


@pytest.fixture(autouse=True)
def methods_as_they_were() -> Iterator[None]:
    before = dict(METHODS)
    yield
    METHODS.clear()
    METHODS.update(before)
