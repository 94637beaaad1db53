"""Balancers: how T task losses become one gradient.

``create(name, n_tasks, **options)`` makes one; ``backward`` then replaces ``loss.backward()``. Three
families: loss weighting (one backward pass), Gramian weighting and slice rules (T passes).
"""

import inspect
from typing import Any

from mtlrepro.balancers.base import METHODS, Balancer, register
from mtlrepro.balancers.cagrad import CAGrad
from mtlrepro.balancers.diagnostics import Diagnostics, diagnostics
from mtlrepro.balancers.graddrop import GradDrop
from mtlrepro.balancers.gradient_balancing import GramianWeighting, SliceRule
from mtlrepro.balancers.gradients import gramian, task_gradients
from mtlrepro.balancers.gradnorm import GradNorm
from mtlrepro.balancers.loss_weighting import DWA, GLS, LSB, Equal, LossWeighting, Uncertainty
from mtlrepro.balancers.maxgnr import MaxGNR
from mtlrepro.balancers.mclgs import MCLGS, CAGradMCLGS
from mtlrepro.balancers.mgda import MGDA
from mtlrepro.balancers.mtsgd import MTSGD
from mtlrepro.balancers.pcgrad import PCGrad
from mtlrepro.balancers.torchjd import TorchJD

__all__ = [
    "DWA",
    "GLS",
    "LSB",
    "MCLGS",
    "METHODS",
    "MGDA",
    "MTSGD",
    "Balancer",
    "CAGrad",
    "CAGradMCLGS",
    "Diagnostics",
    "Equal",
    "GradDrop",
    "GradNorm",
    "GramianWeighting",
    "LossWeighting",
    "MaxGNR",
    "PCGrad",
    "SliceRule",
    "TorchJD",
    "Uncertainty",
    "create",
    "diagnostics",
    "gramian",
    "register",
    "task_gradients",
]


def create(name: str, n_tasks: int, **options: Any) -> Balancer:  # noqa: ANN401
    """Make a balancer by name.

    Args:
        name: One of ``METHODS``, or ``torchjd:<Weighting>`` for a class of ``torchjd.aggregation``.
        n_tasks: Number of tasks T, at least 1.
        **options: The method's own options, by the names of its paper.

    Returns:
        A new balancer.

    Raises:
        ValueError: The name, an option or its value is unknown; the message lists what is accepted.
        ImportError: A ``torchjd:`` weighting was asked for without TorchJD.
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
