"""Balancers by name."""

import inspect
from typing import Any

from mtlrepro.balancers.base import METHODS, Balancer
from mtlrepro.balancers.torchjd import TorchJD


def create(name: str, n_tasks: int, **options: Any) -> Balancer:  # noqa: ANN401
    """Make a balancer by name.

    Args:
        name: One of `METHODS`, or `torchjd:<Weighting>` for a class of `torchjd.aggregation`.
        n_tasks: Number of tasks T, at least 1.
        **options: The method's own options, by the names of its paper.

    Returns:
        A new balancer.

    Raises:
        ValueError: The name, an option or its value is unknown; the message lists what is accepted.
        ImportError: A `torchjd:` weighting was asked for without TorchJD.
    """
    if name.startswith("torchjd:"):
        return TorchJD(n_tasks, name.removeprefix("torchjd:"), **options)
    if name not in METHODS:
        raise ValueError(f"name is {name!r}; accepted: {', '.join(METHODS)}, torchjd:<Weighting>")
    method = METHODS[name]
    known = list(inspect.signature(method).parameters)[1:]
    for option in options:
        if option not in known:
            raise ValueError(f"{name}: option {option!r} is unknown; accepted: {', '.join(known) or 'none'}")
    return method(n_tasks, **options)
