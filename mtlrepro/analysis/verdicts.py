"""Verdicts on claims, each computed from measurements by one rule.

A claim states a value `v`; a tolerance `delta`, written beside it in the code, says how close counts as
agreement. With a 95% interval over seeds, the claim *holds* if the interval lies inside `[v - delta, v +
delta]`, *does not hold* if the two do not overlap, and is *inconclusive* otherwise. One-sided claims, "below v",
use `(-inf, v + delta]`. A claim without data or text, or one that the budget cannot decide, is *cannot be tested here*.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

Status = Literal["holds", "does not hold", "inconclusive", "cannot be tested here"]
Kind = Literal["paper", "ours", "identity", "expectation"]
"""Whose statement is judged: the paper's, a question of ours, what follows by algebra and must hold exactly, or what
probability says of means, which those of few draws meet by chance."""
WORST_FIRST: tuple[Status, ...] = ("does not hold", "inconclusive", "cannot be tested here", "holds")
ROUNDING = 1e-6
"""Per cent by which a share may miss its domain, as sums of shares are rounded."""
FEW = 3
"""Seeds up to which numbers are described by their range."""


@dataclass(frozen=True)
class Interval:
    """A value with the bounds that speak for it."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{number(self.value)} [{number(self.low)}, {number(self.high)}]"


def mean_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Mean of independent values with its Student-t interval.

    Args:
        values: One number per seed. A single number has an infinite interval.
        confidence: Coverage, in (0, 1).

    Raises:
        ValueError: There are no values, one is not finite, or `confidence` is out of range.
    """
    sample = _finite(values)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; accepted: 0 < confidence < 1")
    mean = float(sample.mean())
    if len(sample) == 1:
        return Interval(mean, -np.inf, np.inf)
    error = sample.std(ddof=1) / np.sqrt(len(sample))
    half = float(stats.t.ppf((1 + confidence) / 2, len(sample) - 1) * error)
    return Interval(mean, mean - half, mean + half)


def geometric_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Geometric mean of independent positive values, with the Student-t interval of their logarithms.

    Raises:
        ValueError: See :func:`mean_interval`, also for values that are not positive.
    """
    sample = np.asarray(values, dtype=np.float64).ravel()
    if not (sample > 0).all():
        raise ValueError(f"values is {sample}; accepted: positive numbers")
    return _transformed(sample, confidence, np.log, np.exp)


def correlation_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Mean of independent correlations on Fisher's scale, the inverse hyperbolic tangent, with its Student-t interval.

    The interval lies in [-1, 1]. Where a correlation is -1 or 1 and has no place on the scale, it is the range of the
    values, of a single one all of [-1, 1].

    Raises:
        ValueError: See :func:`mean_interval`, also for values outside [-1, 1].
    """
    sample = _within(values, -1, 1)
    if (np.abs(sample) == 1).any():
        return range_interval(sample) if len(sample) > 1 else Interval(float(sample[0]), -1.0, 1.0)
    return _transformed(sample, confidence, np.arctanh, np.tanh)


def share_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Mean of independent shares on the scale of their logits, with its Student-t interval.

    The interval lies in [0, 1]. Where a share is 0 or 1 and has no logit, it is the range of the values, of a single
    one all of [0, 1].

    Raises:
        ValueError: See :func:`mean_interval`, also for values outside [0, 1].
    """
    sample = _within(values, 0, 1)
    if ((sample == 0) | (sample == 1)).any():
        return range_interval(sample) if len(sample) > 1 else Interval(float(sample[0]), 0.0, 1.0)
    return _transformed(sample, confidence, special.logit, special.expit)


def percent_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Mean of independent shares in per cent, see :func:`share_interval`; it lies in [0, 100].

    Raises:
        ValueError: See :func:`mean_interval`, also for values outside [0, 100].
    """
    found = share_interval(_within(values, 0, 100) / 100, confidence)
    return Interval(100 * found.value, 100 * found.low, 100 * found.high)


def largest_share_interval(values: ArrayLike, parts: int, confidence: float = 0.95) -> Interval:
    """Mean of independent largest shares of some parts in per cent, with its Student-t interval.

    The largest of K shares is at least 1 / K. What it has beyond that, `(s - 1 / K) / (1 - 1 / K)`, is a share of its
    own, whose interval :func:`share_interval` gives; brought back it lies in [100 / K, 100].

    Args:
        values: One per seed, in per cent.
        parts: Number of parts K, at least 2.
        confidence: Coverage, in (0, 1).

    Raises:
        ValueError: See :func:`mean_interval`, also for fewer parts and for values outside [100 / K, 100] by more than
            rounding.
    """
    if parts < 2:
        raise ValueError(f"parts is {parts}; accepted: 2 or more")
    least = 100 / parts
    sample = _within(values, least - ROUNDING, 100 + ROUNDING)
    found = share_interval(((sample - least) / (100 - least)).clip(0, 1), confidence)
    return Interval(*(least + (100 - least) * bound for bound in (found.value, found.low, found.high)))


def excess_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Mean of independent factors that are at least 1: 1 plus the geometric mean of what exceeds 1, with its interval.

    The interval is that of the logarithms of `values - 1` and lies in [1, inf]. Where a factor is 1, it is the range
    of the values, of a single one all of [1, inf].

    Raises:
        ValueError: See :func:`mean_interval`, also for values below 1.
    """
    sample = _within(values, 1, np.inf)
    if (sample == 1).any():
        return range_interval(sample) if len(sample) > 1 else Interval(1.0, 1.0, np.inf)
    return _transformed(sample, confidence, lambda factors: np.log(factors - 1), lambda logs: 1 + np.exp(logs))


def _transformed(
    sample: np.ndarray,
    confidence: float,
    forward: Callable[[np.ndarray], np.ndarray],
    back: Callable[[float], float],
) -> Interval:
    """Interval of the mean on another scale, brought back from it; `back` increases."""
    mean = mean_interval(forward(sample), confidence)
    return Interval(*(float(back(bound)) for bound in (mean.value, mean.low, mean.high)))


def _within(values: ArrayLike, lowest: float, highest: float) -> np.ndarray:
    sample = _finite(values)
    if not ((lowest <= sample) & (sample <= highest)).all():
        raise ValueError(f"values is {sample}; accepted: numbers from {lowest:g} to {highest:g}")
    return sample


def range_interval(values: ArrayLike) -> Interval:
    """Mean with the smallest and largest value: for identities, which must hold in every run, not on average.

    Raises:
        ValueError: There are no values or one is not finite.
    """
    sample = _finite(values)
    return Interval(float(sample.mean()), float(sample.min()), float(sample.max()))


def over_seeds(values: ArrayLike, interval: Callable[[ArrayLike], Interval]) -> Interval:
    """Describe one number a seed: by an interval, but by the range of up to three, whose intervals say next to nothing.

    Args:
        values: One a seed.
        interval: The interval of more than three, whose value is also that of fewer.
    """
    sample = _finite(values)
    found = interval(sample)
    return found if len(sample) > FEW else replace(found, low=float(sample.min()), high=float(sample.max()))


def bracketed_over(seeds: int) -> str:
    """Say what :func:`over_seeds` puts into brackets."""
    return f"the range over {seeds} seeds" if seeds <= FEW else f"95 % over {seeds} seeds"


def _finite(values: ArrayLike) -> np.ndarray:
    sample = np.asarray(values, dtype=np.float64).ravel()
    if not len(sample) or not np.isfinite(sample).all():
        raise ValueError(f"values is {sample}; accepted: one or more finite numbers")
    return sample


@dataclass(frozen=True)
class Verdict:
    """A claim beside its measurement.

    Attributes:
        claim: The claim in one sentence, the same wherever it is tested.
        source: Where it is made, e.g. `Eq. 8`, or `reconstruction`; only a place that makes it about that method.
        claimed: The value claimed.
        tolerance: How far from it still counts as agreement.
        measured: What was measured; `None` if it cannot be tested here.
        below: Whether the claim is one-sided: below `claimed`.
        reading: What the sentence is read as, and of which quantity: a mean over trials in %, a one-sided test.
        case: Where it was tested, if in several places: a network, a number of tasks.
        kind: Whose statement it is.
        finding: Number of the claim in the chapter's box *What the paper claims*; 0 if it belongs to none.
        circumstances: What of the case another run of the chapter may have otherwise, though the verdict is about the
            same: the size of the runs, the method that came out best of the others.
        limits: Number of the claim in that box whose limits it shows, beside which it is told without being counted
            among its verdicts; 0 if it shows none's.
    """

    claim: str
    source: str
    claimed: float | None = None
    tolerance: float | None = None
    measured: Interval | None = None
    below: bool = False
    reading: str = ""
    case: str = ""
    kind: Kind = "paper"
    finding: int = 0
    circumstances: str = ""
    limits: int = 0

    @property
    def place(self) -> str:
        """Case and circumstances, as readers see them."""
        return joined(self.case, self.circumstances)

    @property
    def status(self) -> Status:
        """Outcome by the rule of this module."""
        if self.measured is None or self.claimed is None or self.tolerance is None:
            return "cannot be tested here"
        lowest = -np.inf if self.below else self.claimed - self.tolerance
        highest = self.claimed + self.tolerance
        if lowest <= self.measured.low and self.measured.high <= highest:
            return "holds"
        if self.measured.high < lowest or highest < self.measured.low:
            return "does not hold"
        return "inconclusive"


def plus_minus(interval: Interval, digits: int = 3) -> str:
    """Write a value with significant digits, and the upper half of its interval with two."""
    return f"{number(interval.value, digits)} ± {number(interval.high - interval.value, 2)}"


def joined(*parts: str) -> str:
    """Those of some words that are not empty, with commas between them."""
    return ", ".join(filter(None, parts))


def placed(verdicts: Sequence[Verdict], where: str) -> list[Verdict]:
    """Verdicts of which the circumstances also say where they were tested."""
    return [replace(one, circumstances=joined(one.circumstances, where)) for one in verdicts]


def grouped(verdicts: Sequence[Verdict]) -> list[list[Verdict]]:
    """Put the cases of one claim together, in the order of the claims, the worst case first.

    Cases share claim, source, reading and kind. Those of the same status keep their order.
    """
    groups: dict[tuple[str, ...], list[Verdict]] = {}
    for one in verdicts:
        groups.setdefault((one.claim, one.source, one.reading, one.kind), []).append(one)
    return [sorted(cases, key=lambda case: WORST_FIRST.index(case.status)) for cases in groups.values()]


def number(value: float, digits: int = 3) -> str:
    """Text of a number with `digits` significant digits; magnitudes below 1e-12 are rounding and print as such."""
    if value == 0:
        return "0"
    if abs(value) < 1e-12:
        return "< 1e-12"
    return f"{value:#.{digits}g}".removesuffix(".")


def rows(verdicts: Sequence[Verdict]) -> list[dict[str, str]]:
    """Text of each verdict.

    Returns:
        `claim`, `case`, `source`, `reading`, `claimed` (with its tolerance), `measured` (with its interval, or alone if
        it is a count or an exact number, which is its own bounds), `status`, `kind` and `finding`, the number as text,
        empty if it is 0; and `circumstances`, where there are any.
    """
    return [
        {
            "claim": verdict.claim,
            "case": verdict.case,
            "source": verdict.source,
            "reading": verdict.reading,
            "claimed": _claimed(verdict),
            "measured": measured_text(verdict),
            "status": verdict.status,
            "kind": verdict.kind,
            "finding": str(verdict.finding or ""),
            **({"circumstances": verdict.circumstances} if verdict.circumstances else {}),
        }
        for verdict in verdicts
    ]


def measured_text(verdict: Verdict) -> str:
    """What was measured, as text: with its interval, or alone where both bounds are the value itself."""
    found = verdict.measured
    if found is None:
        return ""
    return number(found.value) if found.low == found.value == found.high else str(found)


def _claimed(verdict: Verdict) -> str:
    if verdict.claimed is None or verdict.tolerance is None:
        return ""
    tolerance = f" ± {verdict.tolerance:g}" if verdict.tolerance else ""
    return ("below " if verdict.below else "") + f"{verdict.claimed:g}{tolerance}"
