"""The table of targets: what the docstring prints is what the rows say."""

import re

import pytest
import torch

from mtlrepro import losses, targets
from mtlrepro.targets import TARGETS

LEFT = [key for key in TARGETS if not key.endswith("_right")]


def printed():
    """Key to shape and type as the docstring's table has them."""
    rows = {}
    for line in targets.__doc__.splitlines():
        if found := re.match(r"(\w[\w, ]*?) {2,}`\[([^]]*)\]` (\w+) ", line):
            rows |= dict.fromkeys(found[1].split(", "), (found[2].split(", "), found[3]))
    return rows


def test_the_docstring_has_every_row():
    assert set(printed()) == set(LEFT)


@pytest.mark.parametrize("key", LEFT)
def test_shapes_and_types_are_those_of_the_docstring(key):
    target, (axes, dtype) = TARGETS[key], printed()[key]
    assert axes == (["n", *map(str, target.shape)] if target.ragged else [*map(str, target.shape), "H", "W"])
    assert str(target.dtype) == f"torch.{dtype}"


def test_every_map_of_either_view_says_where_it_is_known():
    for key, target in TARGETS.items():
        if not target.ragged:
            unknown = torch.full((2, *target.shape, 3, 4), target.invalid, dtype=target.dtype)
            mask = losses.known({"valid": torch.zeros(2, 1, 3, 4, dtype=torch.bool), key: unknown}, key)
            assert mask.shape == (2, 1, 3, 4), key
            assert mask.all() if target.known == "always" else not mask.any(), key
