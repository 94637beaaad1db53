"""Exact small convex problems over the simplex, solved by enumerating its faces, without host or iterations.

Every face of the simplex (a set of active tasks) has a closed-form stationary point. All 2^T - 1 are solved
in one batch in float64, made feasible, and the best is taken. A feasible point can only be too high, and the
optimum is among them, so ill-conditioned faces do no harm. Gradients are scaled to unit length first, so that
norms may differ by 1e15; of a linearly dependent set some independent subset gives the optimum too.

A Gramian is known up to the rounding of its products only, so gradients that nearly cancel have a sum of unknown
length: where it matters, a solver is told the type in which the products were taken.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from mtlrepro.balancers.gradients import ROUNDING

MAX_TASKS = 12


class _Problem(NamedTuple):
    """A Gramian in units of its longest gradient; `norms` are the lengths, kept above 0."""

    cosines: Tensor
    lengths: Tensor
    norms: Tensor
    faces: Tensor


@lru_cache
def _faces(n: int, device: torch.device) -> Tensor:
    """All non-empty subsets of n tasks as masks, [2^n - 1, n] float64, smallest subsets first."""
    masks = [[float(s >> k & 1) for k in range(n)] for s in range(1, 2**n)]
    return torch.tensor(sorted(masks, key=sum), dtype=torch.float64, device=device)


def _problem(gramian: Tensor) -> _Problem:
    n = len(gramian)
    if n > MAX_TASKS:
        raise ValueError(f"gramian is of {n} tasks; accepted: up to {MAX_TASKS}, for which all faces are enumerated")
    gramian = gramian.double()
    lengths = gramian.diagonal().clamp_min(0).sqrt()
    unit = torch.where(lengths.max() > 0, lengths.max(), 1.0)
    lengths = lengths / unit
    norms = lengths.clamp_min(1e-60)
    scale = norms * unit
    cosines = (gramian / scale / scale[:, None]).clamp(-1, 1).fill_diagonal_(1.0)
    return _Problem(cosines, lengths, norms, _faces(n, gramian.device))


def _best(candidates: Tensor, objective: Tensor) -> Tensor:
    """Take the candidate [F, n] of the least objective [F], without reading its place from the device."""
    return candidates.index_select(0, objective.argmin(keepdim=True)).squeeze(0)


def _feasible(candidates: Tensor, faces: Tensor) -> Tensor:
    """Clamp to the non-negative orthant and scale to sum 1; the middle of the face where that fails."""
    candidates = candidates.clamp_min(0)
    total = candidates.sum(-1, keepdim=True)
    usable = candidates.isfinite().all(-1, keepdim=True) & (total > 0) & total.isfinite()
    return torch.where(usable, candidates / total, faces / faces.sum(-1, keepdim=True))


def _length2(p: _Problem, alpha: Tensor) -> Tensor:
    """Compute |sum_k alpha_k g_k|^2 / unit^2 for alpha [..., n]."""
    beta = alpha * p.lengths
    return torch.einsum("...i,ij,...j->...", beta, p.cosines, beta).clamp_min(0)


def _error(p: _Problem, alpha: Tensor, eps: float) -> Tensor:
    """Bound the error of `_length2` for alpha [n] that products with the relative precision `eps` leave."""
    return ROUNDING * eps * (alpha.abs() * p.lengths).sum().square()


def min_norm_point(gramian: Tensor) -> Tensor:
    """Weights of the point of least norm in the convex hull of the gradients.

    Args:
        gramian: [T, T], T at most 12.

    Returns:
        [T] float64, non-negative, sum 1.

    Raises:
        ValueError: T is above 12.
    """
    p = _problem(gramian)
    n = len(p.norms)
    # beta_k = alpha_k norm_k: minimise beta' C beta subject to u' beta = 1, u = 1 / norm.
    u = p.faces / p.norms
    u = u / u.amax(1, keepdim=True)
    # One bordered system a face: rows of inactive tasks are the identity and give 0; the last is u' beta = 1.
    system = torch.zeros(len(u), n + 1, n + 1, dtype=torch.float64, device=u.device)
    system[:, :n, :n] = p.cosines * p.faces[:, :, None] * p.faces[:, None, :] + torch.diag_embed(1 - p.faces)
    system[:, n, :n] = system[:, :n, n] = u
    right = torch.zeros(len(u), n + 1, dtype=torch.float64, device=u.device)
    right[:, n].fill_(1.0)
    beta = torch.linalg.solve_ex(system, right)[0][:, :n] * p.faces
    alpha = _feasible(beta / p.norms, p.faces)
    return _best(alpha, _length2(p, alpha))


def conflict_averse(gramian: Tensor, c: float, precision: torch.dtype | None = None) -> Tensor:
    """Coefficients of CAGrad's update d = argmax_d min_k <g_k, d> subject to |d - g_0| <= c |g_0|.

    g_0 is the mean gradient. The dual is min_w <g_w, g_0> + c |g_0| |g_w| over the simplex,
    and d = g_0 + c |g_0| g_w / |g_w|. At a Pareto-stationary point (some g_w is 0, to 1e-6 of its parts, or to
    the rounding of the products) whose dual is zero that formula is 0/0: d is then the point nearest to g_0
    without conflict, a maximiser too. What is added to g_0 is shortened where rounding leaves its length or that
    of g_0 uncertain by more than 1 %, so that d never leaves the ball by more.

    Args:
        gramian: [T, T], T at most 12.
        c: Radius of the ball relative to |g_0|, at least 0.
        precision: Type in which the inner products were taken; that of `gramian`, if not given.

    Returns:
        [T] float64, finite; d = sum_k (1/T + ...) g_k.

    Raises:
        ValueError: T is above 12.
    """
    eps = torch.finfo(precision or gramian.dtype).eps
    p = _problem(gramian)
    n = len(p.norms)
    mean = torch.full((n,), 1 / n, dtype=torch.float64, device=p.norms.device)
    b = p.cosines @ (mean * p.lengths)  # <g_k, g_0> / |g_k|
    length = _length2(p, mean).sqrt()
    radius = c * length
    system = p.cosines * p.faces[:, :, None] * p.faces[:, None, :] + torch.diag_embed(1 - p.faces)

    # On a face: beta is proportional to lambda P - Q with C P = u, C Q = b, and lambda from |g_w| = r.
    u = p.faces * p.norms.min() / p.norms
    right = torch.stack([u, p.faces * b], dim=-1)
    big_p, big_q = (torch.linalg.solve_ex(system, right)[0] * p.faces[:, :, None]).unbind(-1)
    uu, ub, bb = (u * big_p).sum(1), (u * big_q).sum(1), (b * big_q).sum(1)
    root = (ub.square() - uu * (bb - radius.square())).clamp_min(0).sqrt()
    alpha = _feasible((((ub + root) / uu)[:, None] * big_p - big_q) / p.norms, p.faces)
    value = alpha @ (b * p.lengths) + radius * _length2(p, alpha).sqrt()
    w = _best(alpha, value)
    length2 = _length2(p, w)
    along = radius * w / torch.where(length2 > 0, length2, _error(p, w, eps)).sqrt()

    # The dual is zero, by some g_w = 0: the point nearest to g_0 in the cone of directions without conflict.
    v = (torch.linalg.solve_ex(system, -right[:, :, 1])[0] * p.faces).clamp_min(0) / p.norms
    v = torch.cat([torch.zeros_like(v[:1]), torch.where(v.isfinite().all(1, keepdim=True), v, 0.0)])
    rounding = n * eps * ((mean + v) * p.lengths).sum(1).square()
    v = _best(v, _length2(p, mean + v) + rounding)

    nearest = min_norm_point(gramian)
    stationary = _length2(p, nearest) <= max(1e-12, ROUNDING * eps) * (nearest * p.lengths).sum().square()
    zero = value.min() >= -((ROUNDING * eps) ** 0.5) * length * (w * p.lengths).sum()
    extra = torch.where(stationary & zero, v, along)

    # The longest that `extra` can be, against the shortest radius that the products allow; the same if all is well.
    longest2 = _length2(p, extra) + _error(p, extra, eps)
    allowed2 = 1.01**2 * c**2 * (_length2(p, mean) - _error(p, mean, eps)).clamp_min(0)
    extra = extra * torch.where(longest2 > allowed2, allowed2 / longest2, 1.0).sqrt()
    return mean + torch.where(p.lengths > 0, extra, 0.0)
