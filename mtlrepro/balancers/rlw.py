"""Random loss weighting."""

import torch
from torch import Tensor

from mtlrepro.balancers.base import register
from mtlrepro.balancers.drawn import DrawnWeighting


@register("rlw")
class RLW(DrawnWeighting):
    """Random loss weighting (Lin et al., TMLR 2022, arXiv 2111.10603): w = softmax(z), z_k ~ N(0, 1) in each step.

    The control of methods that claim to find good weights. The paper's text was not available, so that its equations
    are not cited by number. Scale: the mean, sum w = 1 in each step, and the expectation of each weight is 1/T. Factor
    to the paper: 1. Departures: none. With absent tasks the weights are still drawn for all T, and the present ones
    keep theirs.

    Args:
        n_tasks: Number of tasks T.
        seed: Of the draws; the stream is the balancer's own and part of `state_dict`.
    """

    def draw_weights(self, device: torch.device) -> Tensor:
        """Draw softmax(z)."""
        normal = torch.randn(self.n_tasks, dtype=torch.float64, device=device, generator=self.generator(device))
        return normal.softmax(0)
