"""What both generators of scenes share: checks of what is asked for, one seed a scene, and parts of a batch."""

from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Tables = TypeVar("Tables", bound="DataclassInstance")
SPLITS = ("train", "val", "test")
"""The position of a split is part of the seeds of its scenes."""


def chosen_keys(keys: Iterable[str] | None, available: Sequence[str]) -> set[str]:
    """Keys to make: those asked for, by default all, and always the image.

    Raises:
        ValueError: A key is not available.
    """
    chosen = set(available if keys is None else keys) | {"image"}
    if unknown := sorted(chosen - set(available)):
        raise ValueError(f"keys hold {unknown[0]!r}; accepted: {', '.join(available)}")
    return chosen


def seeds_of(indices: Sequence[int], split: str, seed: int) -> list[np.random.SeedSequence]:
    """Seed of each scene, which depends on (seed, split, index) alone.

    Raises:
        ValueError: An argument is out of range.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; accepted: {', '.join(SPLITS)}")
    if not len(indices) or min(indices) < 0:
        raise ValueError(f"indices are {list(indices)}; accepted: one or more, from 0")
    if seed < 0:
        raise ValueError(f"seed is {seed}; accepted: 0 or more")
    return [np.random.SeedSequence([seed, SPLITS.index(split), int(i)]) for i in indices]


def some_rows(tables: Tables, rows: slice) -> Tables:
    """Take some rows of every tensor in a dataclass of tensors and dataclasses."""
    parts: dict[str, Any] = {}
    for field in fields(tables):
        value = getattr(tables, field.name)
        if isinstance(value, Tensor):
            parts[field.name] = value[rows]
        elif is_dataclass(value) and not isinstance(value, type):
            parts[field.name] = some_rows(value, rows)
    return replace(tables, **parts)
