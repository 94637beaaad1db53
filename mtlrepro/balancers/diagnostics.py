"""What task gradients say about each other, from their inner products alone."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mtlrepro.balancers.gradients import ROUNDING


@dataclass(frozen=True)
class Diagnostics:
    """Conflict diagnostics of T task gradients; all float64, on the Gramian's device.

    Attributes:
        cosines: [T, T] in [-1, 1]; 0 with a zero gradient, 1 on the diagonal.
        magnitude_similarity: [T, T] in [0, 1], 2 |g_i| |g_j| / (|g_i|^2 + |g_j|^2) (Yu et al., PCGrad, Definition 2);
            1 for two zero gradients.
        norms: [T], |g_k|.
        conflicts: Scalar, share of the pairs i < j with a negative cosine (Definition 1), in [0, 1]; 0 for T = 1.
        condition: Scalar, largest over smallest singular value of the T gradients, at least 1; infinite if
            they are linearly dependent up to the rounding of their inner products.
    """

    cosines: Tensor
    magnitude_similarity: Tensor
    norms: Tensor
    conflicts: Tensor
    condition: Tensor


def normalised(gramian: Tensor) -> Tensor:
    """Cosines of task gradients.

    Args:
        gramian: [T, T], inner products of the task gradients.

    Returns:
        [T, T] float64, in [-1, 1]; 0 with a zero gradient, 1 on the diagonal.
    """
    gramian = gramian.double()
    norms = gramian.diagonal().clamp_min(0).sqrt()
    inverse = torch.where(norms > 0, 1 / norms, 0.0)
    return (gramian * inverse * inverse[:, None]).clamp(-1, 1).fill_diagonal_(1.0)


def diagnostics(gramian: Tensor, precision: torch.dtype | None = None) -> Diagnostics:
    """Compute all conflict diagnostics of task gradients.

    Args:
        gramian: [T, T], inner products of the task gradients (`mtlrepro.balancers.gramian`).
        precision: Type in which the products were taken (`mtlrepro.balancers.precision` of the gradients, or a
            balancer's `precision`); that of `gramian`, if not given.

    Returns:
        A `Diagnostics`.

    Raises:
        ValueError: The Gramian is not square.
    """
    if gramian.ndim != 2 or gramian.shape[0] != gramian.shape[1]:
        raise ValueError(f"gramian has shape {tuple(gramian.shape)}; accepted: [T, T]")
    precision = precision or gramian.dtype
    gramian = gramian.double()
    n = len(gramian)
    norms = gramian.diagonal().clamp_min(0).sqrt()
    cosines = normalised(gramian)
    larger, smaller = torch.maximum(norms, norms[:, None]), torch.minimum(norms, norms[:, None])
    ratio = torch.where(larger > 0, smaller / larger, 1.0)
    upper = torch.ones_like(gramian, dtype=torch.bool).triu(1)
    powers = torch.linalg.eigvalsh(gramian)
    independent = powers[0] > n * torch.finfo(torch.float64).eps * powers[-1]
    if precision != torch.float64:
        # A coarse product errs in proportion to both lengths, so it shows in gradients of unit length.
        independent &= torch.linalg.eigvalsh(cosines)[0] > ROUNDING * torch.finfo(precision).eps
    smallest = torch.where(independent, powers[0], 0.0)
    return Diagnostics(
        cosines=cosines,
        magnitude_similarity=2 * ratio / (1 + ratio.square()),
        norms=norms,
        conflicts=((cosines < 0) & upper).sum() / upper.sum().clamp_min(1).double(),
        condition=torch.where(powers[-1] > 0, (powers[-1] / smallest).sqrt(), torch.inf),
    )
