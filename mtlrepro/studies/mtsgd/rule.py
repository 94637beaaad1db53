r"""MTSGD's rule for two tasks as algebra: where its threshold acts, how long its steps are, what its rate is.

Per slice the gradients :math:`\Delta_i` of length :math:`r_i` have directions :math:`e_i` with the cosine :math:`c`.
With :math:`s = \min_i r_i` the rule leaves :math:`s\,(e_1 + e_2)`, of length :math:`s \sqrt{2 + 2c}`, where :math:`c`
reaches the threshold, and nothing elsewhere. Whatever is judged here is what :class:`~mtlrepro.balancers.MTSGD` does,
in float64.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import betainc
from torch import Tensor
from torchvision.models import resnet50

from mtlrepro.analysis.verdicts import Interval, Verdict, mean_interval, number, range_interval
from mtlrepro.balancers import MTSGD
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies.mtsgd.grids import THRESHOLDS

RHO = 0.9
"""The article's momentum."""
AXIS = tuple(np.linspace(-1, 1, 17).tolist())
"""Thresholds at which the rule is looked at, among them those of the article's tables."""
LARGE_RATIOS = (10.0, 100.0)
"""Quotients of two lengths at which the step is compared with the plain sum."""
DRAWS = 2_000
"""Random slices in a kernel."""
EXACT = 1e-9
"""What rounding may leave of an identity."""
STEPS = 40
"""Steps of descent that are compared."""
CLIPPING = 3
"""Number of the claim about clipping in the box of claims."""


def summed(gradients: Sequence[Tensor], **options: Any) -> Tensor:  # noqa: ANN401
    """Sum of gradients under MTSGD's rule: T times what the balancer leaves, whose scale is the mean.

    Args:
        gradients: One for each of T tasks, by one shared parameter; all of its shape.
        **options: Options of the balancer.

    Returns:
        Of that shape.
    """
    parameter = torch.zeros_like(gradients[0], requires_grad=True)
    losses = [(parameter * gradient).sum() for gradient in gradients]
    MTSGD(len(gradients), **options).backward(losses, [parameter])
    assert parameter.grad is not None
    return len(gradients) * parameter.grad


def random_gradients(n_tasks: int, size: int, seed: int, count: int = DRAWS) -> list[Tensor]:
    """Gradients of tasks by a `size` x `size` kernel: independent Gaussian slices whose lengths differ widely.

    Returns:
        `n_tasks` tensors `[count, 1, size, size]`, float64.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (n_tasks, count, 1, size, size)
    slices = torch.randn(shape, generator=generator, dtype=torch.float64)
    factors = torch.randn(n_tasks, count, 1, 1, 1, generator=generator, dtype=torch.float64).exp()
    return list((slices * factors).unbind())


def lengths(kernel: Tensor) -> Tensor:
    """Length of each slice of a kernel `[N, 1, H, W]`: `[N]`."""
    found: Tensor = kernel.flatten(1).norm(dim=1)
    return found


def exactly(value: float) -> Interval:
    """A number without an uncertainty: it is its own bounds."""
    return Interval(value, value, value)


# --- where a threshold acts ---------------------------------------------------------------------------


def change_by_thresholds(gradients: Sequence[Tensor], thresholds: Sequence[float], **options: Any) -> float:  # noqa: ANN401
    """Largest change of any element of the rule's sum between the first of some thresholds and the others."""
    first, *others = (summed(gradients, threshold=threshold, **options) for threshold in thresholds)
    return max(float((other - first).abs().max()) for other in others)


def kernel_sizes() -> pd.DataFrame:
    """Kernels of ResNet-50 by their size, without the classifier and without vectors.

    Returns:
        One row a size, the smallest first: `kernel`, `weights`, their share of all convolution weights in %, and
        `channel slices`, the share of the slices at the level *channel*, in %.
    """
    with torch.device("meta"):
        network = resnet50()
    rule = MTSGD(2, "channel")
    shapes = [p.shape for p in network.parameters() if p.ndim == 4]
    rows = [(f"{h}x{w}", n * c * h * w, rule.slices(torch.Size((n, c, h, w)))[0]) for n, c, h, w in shapes]
    table = pd.DataFrame(rows, columns=["kernel", "weights", "channel slices"]).groupby("kernel").sum()
    return (100 * table / table.sum()).reset_index()


def shares_of_1x1(sizes: pd.DataFrame) -> dict[str, float]:
    """Shares of :func:`kernel_sizes` that are 1x1 kernels, whose slices are single numbers, by column."""
    return {part: float(sizes.loc[sizes["kernel"] == "1x1", part].sum()) for part in ("weights", "channel slices")}


def kernel_sizes_exhibit() -> Exhibit:
    """On which part of ResNet-50 a threshold can act at all."""
    table = kernel_sizes()
    weights, slices = (shares_of_1x1(table)[part] for part in ("weights", "channel slices"))
    caption = (
        f"Kernels of ResNet-50 by size, as shares of its convolutions in %. {number(slices)} % of its channel slices, "
        f"with {number(weights)} % of the weights, are single numbers. There two gradients agree or cancel, and no "
        "threshold between the two ends changes anything. (The network of torchvision, without its classifier)"
    )
    return Exhibit(name="kernel_sizes", table=table, caption=caption)


def threshold_claims() -> list[Verdict]:
    """Judge where a threshold acts with two tasks at the level *channel*."""
    ones = random_gradients(2, 1, seed=1)
    numbers = shares_of_1x1(kernel_sizes())
    return [
        Verdict(
            "With two tasks no threshold changes anything on a 1x1 kernel",
            "Eqs. 3 to 8",
            0.0,
            EXACT,
            exactly(change_by_thresholds(ones, AXIS)),
            reading=f"largest change of an element over thresholds from -1 to 1, {DRAWS} random slices, level channel",
            kind="identity",
            limits=CLIPPING,
        ),
        *(
            Verdict(
                "The threshold can act on most of ResNet-50",
                "our question",
                100.0,
                50.0,
                exactly(100 - numbers[part]),
                reading="share of its convolutions in % that are in slices of more than one number, level channel",
                case=part,
                kind="ours",
                limits=CLIPPING,
            )
            for part in ("channel slices", "weights")
        ),
    ]


# --- lengths ------------------------------------------------------------------------------------------


def expected_part(threshold: float, n: int, power: int) -> float:
    r"""Part of two balanced tasks' sums that a threshold leaves under independent random directions.

    Directions in :math:`R^n` have a cosine c with a density in proportion to :math:`(1 - c^2)^{(n - 3) / 2}`, and the
    sum of two unit vectors has the length :math:`\sqrt{2 + 2c}`. The part of the mean of that length's power p that
    comes from cosines above a threshold is the tail of a Beta distribution in :math:`(1 + c) / 2`, with parameters
    (n - 1 + p) / 2 and (n - 1) / 2. Slices that the threshold drops count as 0.

    Args:
        threshold: Least cosine of a slice that is kept, in [-1, 1].
        n: Elements of a slice, at least 1. Of slices of one every threshold above -1 keeps the half in which both
            gradients agree, and with it the whole length.
        power: 0 for the number of slices, 1 for their length, 2 for its square.

    Returns:
        In [0, 1].

    Raises:
        ValueError: The threshold or the number of elements is out of range.
    """
    if not -1 <= threshold <= 1:
        raise ValueError(f"threshold is {threshold!r}; accepted: a number in [-1, 1]")
    if n < 1:
        raise ValueError(f"n is {n!r}; accepted: an integer of at least 1")
    if n == 1:  # the cosine is 1 or -1, and opposite numbers of one length add up to nothing
        return 1.0 if power or threshold == -1 else 0.5
    return float(1 - betainc((n - 1 + power) / 2, (n - 1) / 2, (1 + threshold) / 2))


def expected_exhibit() -> Exhibit:
    """What each threshold leaves of independent random directions, by the size of the slice."""
    sizes = {"1x1 by channel": 1, "3x3 by channel": 9, "3x3 by filter, 64 channels": 576}
    rows = [
        (name, threshold, 100 * expected_part(threshold, n, power=1), 100 * expected_part(threshold, n, power=0))
        for name, n in sizes.items()
        for threshold in THRESHOLDS
    ]
    columns = ["slice", "threshold", "summed length left, %", "slices kept, %"]
    nine = {threshold: 100 * (1 - expected_part(threshold, 9, power=1)) for threshold in THRESHOLDS}
    caption = (
        "What thresholds leave of two independent random directions. In a 3x3 slice the summed length falls by "
        + ", ".join(f"{number(nine[one], 2)} % at {one:g}" for one in THRESHOLDS[1:])
        + ". At 0 chance alone drops half of the slices of every size; the larger the slice, the nearer to a right "
        "angle are all pairs, so that nearly half of the length goes with them, and lower thresholds take nothing. "
        "(Closed form; lengths as shares of that of balance alone)"
    )
    return Exhibit(name="random_directions", table=pd.DataFrame(rows, columns=columns), caption=caption)


def right_angle(ratio: float) -> tuple[Tensor, Tensor]:
    """Gradients of one 3x3 slice at a right angle, the first `ratio` times as long as the second."""
    first, second = torch.zeros(2, 1, 1, 3, 3, dtype=torch.float64).unbind()
    first[..., 0, 0], second[..., 2, 2] = ratio, 1.0
    return first, second


def shortening(gradients: Sequence[Tensor], threshold: float = -1.0) -> Tensor:
    """Length of the rule's sum over that of the plain sum, by slice: `[N]`.

    Args:
        gradients: Kernels `[N, 1, H, W]`, no slice of whose plain sum is zero.
        threshold: Least similarity of a slice that is kept.
    """
    plain = torch.stack(list(gradients)).sum(0)
    return lengths(summed(gradients, threshold=threshold)) / lengths(plain)


def length_claims() -> list[Verdict]:
    """Judge how long the step of two tasks is."""
    gradients = random_gradients(2, 3, seed=2)
    r1, r2 = map(lengths, gradients)
    cosine = (gradients[0] * gradients[1]).flatten(1).sum(1) / (r1 * r2)
    closed = torch.minimum(r1, r2) * (2 + 2 * cosine).sqrt()
    found = lengths(summed(gradients, threshold=-1.0))
    drawn = f"{DRAWS} random 3x3 slices"
    return [
        Verdict(
            "Of two tasks the balanced sum has the length s √(2 + 2c)",
            "Eqs. 3, 6 and 7",
            0.0,
            EXACT,
            exactly(float((found / closed - 1).abs().max())),
            reading=f"largest relative deviation, {drawn}",
            kind="identity",
        ),
        Verdict(
            "Of two tasks the balanced sum is never longer than the plain sum",
            "Eqs. 3, 6 and 7",
            1.0,
            EXACT,
            range_interval(shortening(gradients)),
            below=True,
            reading=f"its length over that of the plain sum, mean [range] of {drawn}",
            kind="identity",
        ),
        *(
            Verdict(
                f"At a right angle and lengths in a ratio of {ratio:g} the step is √(2 / (1 + {ratio:g}²)) of the sum",
                "Eqs. 3, 6 and 7",
                float(np.sqrt(2 / (1 + ratio**2))),
                EXACT,
                exactly(float(shortening(right_angle(ratio)))),
                reading="its length over that of the plain sum",
                kind="identity",
            )
            for ratio in LARGE_RATIOS
        ),
        *(
            Verdict(
                "Of independent random directions in R⁹ a threshold leaves the length of the closed form",
                "our question",
                expected_part(threshold, 9, power=1),
                0.01,
                drawn_length(threshold),
                reading="summed length over that without a threshold, mean of 20 kernels [95 %]",
                case=f"threshold {threshold:g}",
                kind="identity",
            )
            for threshold in THRESHOLDS[1:]
        ),
    ]


def drawn_length(threshold: float, kernels: int = 20) -> Interval:
    """What :func:`expected_part` is of lengths, drawn: 3x3 slices with gradients of length 1, through the balancer."""
    shares = []
    for seed in range(kernels):
        units = [kernel / lengths(kernel).view(-1, 1, 1, 1) for kernel in random_gradients(2, 3, seed=100 + seed)]
        left, whole = (lengths(summed(units, threshold=one)).sum() for one in (threshold, -1.0))
        shares.append(float(left / whole))
    return mean_interval(shares)


# --- rates --------------------------------------------------------------------------------------------


def descend(
    gradient: Callable[[Tensor], Tensor], lr: float, dampening: float = 0.0, weight_decay: float = 0.0
) -> Tensor:
    """Descend with torch's SGD and the article's momentum, from v = 0 as its equations do.

    Args:
        gradient: Parameters `[n]` to their gradient `[n]`.
        lr: Learning rate.
        dampening: Part of each gradient that is left out; that of Eq. 1 is the momentum.
        weight_decay: Coupled with the gradient.

    Returns:
        `[STEPS, 4]`, the parameters after each step.
    """
    weights = torch.tensor([1.0, -2.0, 3.0, 0.5], dtype=torch.float64)
    optimizer = torch.optim.SGD([weights], lr=lr, momentum=RHO, dampening=dampening, weight_decay=weight_decay)
    # Without a buffer torch takes the first gradient as it is, without dampening.
    optimizer.state[weights]["momentum_buffer"] = torch.zeros_like(weights)
    path = []
    for _ in range(STEPS):
        weights.grad = gradient(weights)
        optimizer.step()
        path.append(weights.clone())
    return torch.stack(path)


def _bowls(weights: Tensor) -> list[Tensor]:
    """Gradients of two quadratic losses with different minima, of which the second has much smaller ones."""
    curvature = torch.tensor([1.0, 0.5, 2.0, 1.5], dtype=torch.float64)
    return [curvature * weights, 0.1 * curvature.flip(0) * (weights - 1)]


def _sum(weights: Tensor) -> Tensor:
    return summed(_bowls(weights), threshold=-1.0)


def _mean(weights: Tensor) -> Tensor:
    return _sum(weights) / 2


def _apart(first: Tensor, second: Tensor) -> Interval:
    return exactly(float((first - second).abs().max()))


def rate_claims() -> list[Verdict]:
    """Judge what the factor of Eq. 1 and the weights of losses do to the learning rate and to the weight decay."""
    rate, decay = 0.05, 0.1
    rest = descend(torch.zeros_like, rate)[0]
    moved = {
        name: (rest - descend(torch.ones_like, rate, dampening)).flatten()
        for name, dampening in {"Eq. 1": RHO, "Eq. 8": 0.0}.items()
    }
    reading = f"largest distance of the parameters in {STEPS} steps on two quadratic losses, torch's SGD"
    return [
        Verdict(
            "The factor 1 - ρ of Eq. 1 is a learning rate that is as much smaller, and nothing else",
            "Eqs. 1 and 8",
            0.0,
            EXACT,
            _apart(descend(_mean, rate, dampening=RHO), descend(_mean, (1 - RHO) * rate)),
            reading=reading,
            kind="identity",
        ),
        Verdict(
            "With one learning rate Eq. 8 moves 1 / (1 - ρ) times as far as Eq. 1",
            "Eqs. 1 and 8",
            1 / (1 - RHO),
            1e-6,
            range_interval(moved["Eq. 8"] / moved["Eq. 1"]),
            reading=f"quotient of distances along a constant gradient, mean [range] of {STEPS} steps",
            kind="identity",
        ),
        Verdict(
            "Weights of 1:1 in place of 1/T each are a learning rate times T and a coupled decay over T",
            "Section 3.1, Table 2",
            0.0,
            EXACT,
            _apart(descend(_sum, rate, weight_decay=decay), descend(_mean, 2 * rate, weight_decay=decay / 2)),
            reading=reading,
            kind="identity",
        ),
    ]


def claims() -> list[Verdict]:
    """Judge all that follows for two tasks by algebra."""
    return [*threshold_claims(), *length_claims(), *rate_claims()]
