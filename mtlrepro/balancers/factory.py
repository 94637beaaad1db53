"""Balancers by name."""

from typing import Any

from mtlrepro.balancers.base import METHODS, Balancer
from mtlrepro.balancers.torchjd import TorchJD
from mtlrepro.options import check_options, options_of


def create(name: str, n_tasks: int, **options: Any) -> Balancer:  # noqa: ANN401
    """Make a balancer by name.

    Args:
        name: One of `METHODS`, or `torchjd:<Weighting>` for one of TorchJD's, see `TorchJD`.
        n_tasks: Number of tasks T, at least 1.
        **options: The method's own options, by the names of its paper. Their types are checked as JSON's: a text is
            no number, and a number is neither true nor false.

    Returns:
        A new balancer.

    Raises:
        ValueError: The name, an option or its value is unknown; the message lists what is accepted.
        ImportError: A `torchjd:` weighting was asked for without TorchJD, or without what it needs itself.
    """
    if name.startswith("torchjd:"):
        if "weighting" in options:
            raise ValueError(f"{name}: option 'weighting' is unknown; the name has it already")
        return TorchJD(n_tasks, name.removeprefix("torchjd:"), **options)
    if name not in METHODS:
        raise ValueError(f"name is {name!r}; accepted: {', '.join(METHODS)}, torchjd:<Weighting>")
    method = METHODS[name]
    return method(n_tasks, **check_options(name, options, options_of(method)))
