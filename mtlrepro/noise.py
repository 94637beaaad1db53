"""Gradient-to-noise ratios (temporary copy of the function that the balancers need)."""

from typing import Literal

import torch
from torch import Tensor


def gnr_weights(
    signal: Tensor,
    noise: Tensor,
    *,
    scalarisation: Literal["maxmin", "product"] = "maxmin",
    itgn: Literal["narrow", "broad"] = "narrow",
    own_noise: bool = False,
) -> Tensor:
    """Weights that maximise the gradient-to-noise ratio of each task.

    Args:
        signal: [T], a_k^2 = |E g_k|^2, positive.
        noise: [T], s_k^2 = E|g_k - E g_k|^2, positive.
        scalarisation: Maximise the smallest ratio or the product.
        itgn: Inter-task noise: the other tasks' noise, or their whole gradients.
        own_noise: Count a task's own noise too.

    Returns:
        [T], sum T, not clipped.
    """
    n = len(signal)
    power = noise if itgn == "narrow" else signal + noise
    if scalarisation == "maxmin" and own_noise:
        u = 1 / signal
    elif scalarisation == "maxmin":
        x = (power / signal).sqrt()
        matrix = (
            torch.outer(x, x).fill_diagonal_(0.0)
            + torch.eye(n, dtype=x.dtype, device=x.device) * x.max() ** 2
        )
        for _ in range(60):
            matrix = matrix @ matrix
            matrix = matrix / matrix.amax()
        u = matrix.sum(1) / (signal * power).sqrt()
    elif itgn == "narrow" or not own_noise:
        u = 1 / power
    else:
        q = torch.ones_like(signal)
        share = signal / power
        for _ in range(200):
            rest = q.sum() - share * q
            q = 1 / ((1 / rest).sum() - share / rest)
            q = q / q.mean()
        u = q / power
    w = u.sqrt()
    return n * w / w.sum()
