"""TorchJD's weightings as balancers (optional: `pip install mtlrepro[oracle]`)."""

import inspect
from typing import Any

import torch
from torch import Tensor

from mtlrepro.balancers.gradient_balancing import GramianWeighting


class TorchJD(GramianWeighting):
    """A TorchJD weighting, `torchjd:<Weighting>`, on this library's gradients.

    Scale: passed through as TorchJD defines it, which is not the mean for all of them (PCGrad sums). Heads
    receive grad L_k / T. Its state, if it has any outside of `state_dict`, is not saved, and random ones use
    torch's global stream.

    Args:
        n_tasks: Number of tasks T.
        weighting: Name of a class in `torchjd.aggregation` that maps a Gramian to weights, such as
            `UPGradWeighting`.
        **options: Its own options.

    Raises:
        ImportError: TorchJD is not installed.
        ValueError: There is no such weighting, or option of it.
    """

    def __init__(self, n_tasks: int, weighting: str, **options: Any) -> None:  # noqa: ANN401
        try:
            from torchjd import aggregation
        except ImportError as error:
            raise ImportError("torchjd: weightings need TorchJD; install mtlrepro[oracle]") from error
        names = sorted(n for n in aggregation.__all__ if n.endswith("Weighting") and n != "Weighting")
        if weighting not in names:
            raise ValueError(f"name is 'torchjd:{weighting}'; accepted after 'torchjd:': {', '.join(names)}")
        method = getattr(aggregation, weighting)
        known = list(inspect.signature(method).parameters)
        for option in options:
            if option not in known:
                raise ValueError(f"{weighting}: option {option!r} is unknown; accepted: {', '.join(known)}")
        super().__init__(n_tasks)
        self.weighting: torch.nn.Module = method(**options)

    def forward(self, gramian: Tensor) -> Tensor:
        """Map the Gramian [t, t] to TorchJD's weights [t]."""
        weights: Tensor = self.weighting(gramian)
        return weights.double()
