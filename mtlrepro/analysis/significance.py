r"""Differences between two methods over seeds: intervals, exact tests, corrections, effect sizes, numbers of trials.

A sample holds one number a seed. Samples are *paired* if number :math:`i` of both comes from one seed, so that both
runs share their initialisation or data order. Few seeds bound what any test can show: see `smallest_p_value`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import comb

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from mtlrepro.analysis.verdicts import Interval, mean_interval

MAX_ARRANGEMENTS = 1_000_000


@dataclass(frozen=True)
class PermutationTest:
    """Outcome of an exact test.

    Attributes:
        difference: `mean(a) - mean(b)`.
        p_value: Two-sided.
        smallest_p_value: The smallest p-value these sample sizes can give, `2 / arrangements`: at a stricter level
            no outcome is significant.
        arrangements: Number of splits or of sign patterns, all of which were counted.
    """

    difference: float
    p_value: float
    smallest_p_value: float
    arrangements: int


def permutation_test(a: ArrayLike, b: ArrayLike, *, paired: bool = False) -> PermutationTest:
    r"""Exact two-sided permutation test of the difference of means (Pitman 1937).

    Independent samples: all :math:`\binom{n_a+n_b}{n_a}` splits of the pooled numbers, 252 for 5 against 5. Paired
    ones: all :math:`2^n` signs of the differences, 32 for 5 pairs. The p-value is twice the smaller of the shares of
    arrangements with a difference at least as large, and at most as large, as the observed one, and at most 1; the
    observed arrangement counts. Differences equal up to rounding are equal: scipy, which lists the arrangements,
    would miss ties among decimal numbers.

    Args:
        a: Finite numbers, one a seed.
        b: Likewise; as many as `a` if paired.
        paired: Whether `a[i]` and `b[i]` belong together.

    Raises:
        ValueError: A sample has fewer than 2 numbers, one is not finite, paired samples differ in length, or there
            are more than a million arrangements.
    """
    samples = _samples(a, b, paired=paired)
    sizes = [len(sample) for sample in samples]
    arrangements = 2 ** sizes[0] if paired else comb(sum(sizes), sizes[0])
    if arrangements > MAX_ARRANGEMENTS:
        raise ValueError(
            f"a and b have {arrangements} arrangements; accepted: up to {MAX_ARRANGEMENTS}, "
            "so use fewer numbers or the random permutations of scipy.stats.permutation_test"
        )
    differences = stats.permutation_test(
        samples,
        _difference,
        permutation_type="samples" if paired else "independent",
        vectorized=True,
        n_resamples=MAX_ARRANGEMENTS,
        batch=10_000,
    ).null_distribution
    observed = float(_difference(*samples))
    rounding = 1e-9 * max(np.abs(differences).max(), abs(observed))
    p_value = 2 * min(np.mean(differences >= observed - rounding), np.mean(differences <= observed + rounding))
    return PermutationTest(observed, float(min(1, p_value)), min(1, 2 / arrangements), arrangements)


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    r"""P-values adjusted for several tests by Holm's step-down method (Holm 1979).

    With :math:`p_{(1)} \le \dots \le p_{(n)}`, :math:`\tilde p_{(i)} = \min(1, \max_{j \le i} (n - j + 1) p_{(j)})`.
    Rejecting where :math:`\tilde p \le \alpha` keeps the probability of any false rejection at or below
    :math:`\alpha`, however the tests depend on each other.

    Args:
        p_values: `[n]` in [0, 1].

    Returns:
        `[n]`, in the order of the argument.

    Raises:
        ValueError: There are none or one is not in [0, 1].
    """
    p = np.asarray(p_values, dtype=np.float64).ravel()
    if not len(p) or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p_values is {p}; accepted: one or more numbers in [0, 1]")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(np.arange(len(p), 0, -1) * p[order]))
    return adjusted


def hedges_g(a: ArrayLike, b: ArrayLike) -> float:
    r"""Difference of means in pooled standard deviations, without the bias of small samples (Hedges 1981).

    :math:`g = J(\nu)\,(\bar a - \bar b) / s`, with
    :math:`s^2 = ((n_a-1) s_a^2 + (n_b-1) s_b^2) / \nu`, :math:`\nu = n_a + n_b - 2` and
    :math:`J(\nu) = \Gamma(\nu/2) / (\sqrt{\nu/2}\, \Gamma((\nu-1)/2))`, about :math:`1 - 3/(4\nu - 1)`.

    Raises:
        ValueError: A sample has fewer than 2 numbers, one is not finite, or neither sample varies.
    """
    x, y = _samples(a, b, paired=False)
    freedom = len(x) + len(y) - 2
    pooled = np.sqrt((np.square(x - x.mean()).sum() + np.square(y - y.mean()).sum()) / freedom)
    if not (np.ptp(x) or np.ptp(y)):
        raise ValueError("a and b do not vary; accepted: a sample with two different numbers")
    correction = np.exp(special.gammaln(freedom / 2) - special.gammaln((freedom - 1) / 2)) / np.sqrt(freedom / 2)
    return float(correction * (x.mean() - y.mean()) / pooled)


def effect_interval(a: ArrayLike, b: ArrayLike, confidence: float = 0.95) -> Interval:
    r"""Hedges' g with the exact interval of the true effect, for normal samples of equal variance (Hedges 1981).

    The bounds are the :math:`\delta` for which the observed :math:`t` is the upper or lower quantile of the noncentral
    t distribution with noncentrality :math:`\delta \sqrt{n_a n_b / (n_a + n_b)}`.

    Raises:
        ValueError: See :func:`hedges_g`.
    """
    g = hedges_g(a, b)
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    t, freedom = float(stats.ttest_ind(x, y).statistic), len(x) + len(y) - 2
    scale = np.sqrt(len(x) * len(y) / (len(x) + len(y)))

    tail = (1 - confidence) / 2
    low, high = (float(special.nctdtrinc(freedom, share, t) / scale) for share in (1 - tail, tail))
    return Interval(g, low, high)


def trials_needed(effect: float, power: float = 0.8, alpha: float = 0.05) -> float:
    r"""Trials per method with which a two-sided t-test finds an effect (Cohen 1988).

    The smallest :math:`n \ge 2` with :math:`P(T > t_{1-\alpha/2,\,2n-2}) \ge` `power`, where :math:`T` has the
    noncentral t distribution with :math:`2n - 2` degrees of freedom and noncentrality :math:`|\delta| \sqrt{n/2}`.
    Significance in the wrong direction does not count; at a power of 80 % it has no weight.

    Args:
        effect: True difference of means in standard deviations, delta.
        power: Probability of finding it, in (`alpha`, 1).
        alpha: Level of the test, in (0, 1).

    Returns:
        A whole number; infinite for `effect` 0.

    Raises:
        ValueError: An argument is out of range.
    """
    if not (np.isfinite(effect) and 0 < alpha < power < 1):
        raise ValueError(
            f"effect is {effect}, power is {power}, alpha is {alpha}; accepted: finite, and 0 < alpha < power < 1"
        )
    return _smallest(lambda n: _power(abs(effect) * np.sqrt(n / 2), 2 * n - 2, alpha) >= power, effect)


def pairs_needed(differences: ArrayLike, power: float = 0.8, alpha: float = 0.05) -> float:
    r"""Pairs with which a two-sided paired t-test finds an effect of the size observed in a few (Cohen 1988).

    The smallest :math:`n \ge 2` with :math:`P(T > t_{1-\alpha/2,\,n-1}) \ge` `power`, where :math:`T` has the
    noncentral t distribution with :math:`n - 1` degrees of freedom and noncentrality :math:`|\bar d| \sqrt n / s_d`.
    Few pairs estimate that effect badly: the number is an order of magnitude, not a promise.

    Args:
        differences: Finite numbers, one a pair.
        power: Probability of finding the effect, in (`alpha`, 1).
        alpha: Level of the test, in (0, 1).

    Returns:
        A whole number, 2 if all differences are the same; infinite if their mean is 0.

    Raises:
        ValueError: There are fewer than 2 numbers, one is not finite, or an argument is out of range.
    """
    d = np.asarray(differences, dtype=np.float64).ravel()
    if len(d) < 2 or not np.isfinite(d).all():
        raise ValueError(f"differences is {d}; accepted: two or more finite numbers")
    if not 0 < alpha < power < 1:
        raise ValueError(f"power is {power}, alpha is {alpha}; accepted: 0 < alpha < power < 1")
    if not d.any():
        return np.inf
    # Two pairs are enough from a few dozen deviations on; far beyond, the noncentral t distribution gives no number.
    effect = min(abs(float(d.mean())) / max(float(d.std(ddof=1)), np.finfo(float).tiny), 50.0)
    return _smallest(lambda n: _power(effect * np.sqrt(n), n - 1, alpha) >= power, effect)


def detectable_difference(pairs: int, power: float = 0.8, alpha: float = 0.05) -> float:
    r"""Smallest true mean difference that a two-sided paired t-test finds with some pairs (Cohen 1988).

    The :math:`\Delta` with :math:`P(T > t_{1-\alpha/2,\,n-1}) =` `power`, where :math:`T` has the noncentral t
    distribution with :math:`n - 1` degrees of freedom and noncentrality :math:`\Delta \sqrt n`.

    Args:
        pairs: Number of pairs n, at least 2.
        power: Probability of finding it, in (`alpha`, 1).
        alpha: Level of the test, in (0, 1).

    Returns:
        In standard deviations of the differences.

    Raises:
        ValueError: An argument is out of range.
    """
    if pairs < 2 or not 0 < alpha < power < 1:
        raise ValueError(
            f"pairs is {pairs}, power is {power}, alpha is {alpha}; accepted: 2 or more, and 0 < alpha < power < 1"
        )
    freedom = pairs - 1
    noncentrality = optimize.brentq(lambda shift: _power(shift, freedom, alpha) - power, 0.0, 1e3)
    return float(noncentrality / np.sqrt(pairs))


def _power(noncentrality: float, freedom: int, alpha: float) -> float:
    """Probability that a two-sided t-test finds a positive effect, in the right direction."""
    return float(stats.nct.sf(stats.t.ppf(1 - alpha / 2, freedom), freedom, noncentrality))


def _smallest(enough: Callable[[int], bool], effect: float) -> float:
    """Return the smallest whole number from 2 on that is enough, and no number for an effect of 0."""
    if effect == 0:
        return np.inf
    high = 2
    while not enough(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return float(high)


def cliffs_delta(a: ArrayLike, b: ArrayLike) -> float:
    r"""How much more often a number of `a` exceeds one of `b` than the reverse (Cliff 1993).

    :math:`\delta = (\#\{a_i > b_j\} - \#\{a_i < b_j\}) / (n_a n_b)`, in [-1, 1]; unchanged by any increasing function.

    Raises:
        ValueError: A sample has fewer than 2 numbers or one is not finite.
    """
    x, y = _samples(a, b, paired=False)
    return float(np.sign(x[:, None] - y).mean())


def samples_against(
    measures: pd.DataFrame, groups: pd.Series, one: str
) -> Iterator[tuple[str, str, NDArray[np.float64], NDArray[np.float64]]]:
    """Pairs of samples to compare: each measure, each other group, the numbers of group `one` and of the other.

    Args:
        measures: `[runs, measures]`.
        groups: `[runs]`, the group of each run, on the same index.
        one: The group that is compared with all others.

    Raises:
        ValueError: There is no such group.
    """
    if one not in set(groups):
        raise ValueError(f"one is {one!r}; accepted: {', '.join(map(repr, groups.unique()))}")
    for measure, numbers in measures.items():
        samples = {str(name): sample.to_numpy(np.float64) for name, sample in numbers.groupby(groups, sort=False)}
        own = samples.pop(one)
        for name, other in samples.items():
            yield str(measure), name, own, other


def one_against_others(measures: pd.DataFrame, groups: pd.Series, one: str) -> pd.DataFrame:
    """Test one group against each other group on each measure, all samples independent.

    The interval is Welch's, as bootstrap intervals of few numbers are too short. Holm's correction is over one of two
    families: the tests of one measure, or all of them.

    Args:
        measures: `[runs, measures]`, with signs such that larger is better.
        groups: `[runs]`, the group of each run, on the same index.
        one: The group that is compared with all others.

    Returns:
        One row a measure and other group: `measure`, `against`; `difference` of means, with `low` and `high`
        of the 95 % interval; `hedges_g`, `cliffs_delta`; two-sided exact `p`, the smallest `p_reachable`,
        `p_holm_measure` and `p_holm_all`. Differences and effects are positive where `one` is better.

    Raises:
        ValueError: There is no such group, or as :func:`permutation_test` and :func:`hedges_g`.
    """
    rows = []
    for measure, name, own, other in samples_against(measures, groups, one):
        test = permutation_test(own, other)
        low, high = stats.ttest_ind(own, other, equal_var=False).confidence_interval()
        effects = hedges_g(own, other), cliffs_delta(own, other)
        rows.append((measure, name, test.difference, low, high, *effects, test.p_value, test.smallest_p_value))
    names = ["measure", "against", "difference", "low", "high", "hedges_g", "cliffs_delta", "p", "p_reachable"]
    found = pd.DataFrame(rows, columns=names)
    found["p_holm_measure"] = found.groupby("measure", sort=False)["p"].transform(holm)
    found["p_holm_all"] = holm(found["p"])
    return found


def paired_p_value(differences: ArrayLike) -> float:
    """Two-sided p-value of Student's test that the differences of pairs have mean 0.

    Differences that are all equal have p 0, or 1 if they are 0.

    Raises:
        ValueError: There are fewer than 2 differences or one is not finite.
    """
    (sample,) = _samples(differences, np.zeros(np.size(differences)), paired=True)
    if np.ptp(sample) <= 1e-12 * np.abs(sample).max():
        return float(not sample.any())
    return float(stats.ttest_1samp(sample, 0).pvalue)


def paired_against_others(measures: pd.DataFrame, groups: pd.Series, one: str, pairs: pd.Series) -> pd.DataFrame:
    """Test one group against each other group on each measure, numbers of one pair taken together.

    Runs of one seed share initial weights and the order of images, so that their differences vary less than two
    samples do. Test and interval are Student's of these differences; no test of their signs could be significant at
    5 % with five pairs. Holm's correction is over one of two families: the tests of one measure, or all of them.

    Args:
        measures: `[runs, measures]`, with signs such that larger is better.
        groups: `[runs]`, the group of each run, on the same index.
        one: The group that is compared with all others.
        pairs: `[runs]`, what the numbers of a pair share, a seed, on the same index.

    Returns:
        One row a measure and other group: `measure`, `against`; mean `difference`, with `low` and `high` of the 95 %
        interval; two-sided `p`, `p_holm_measure` and `p_holm_all`. Differences are positive where `one` is better.

    Raises:
        ValueError: There is no such group, a pair is not complete, or there are fewer than two.
    """
    if one not in set(groups):
        raise ValueError(f"one is {one!r}; accepted: {', '.join(map(repr, groups.unique()))}")
    rows = []
    for measure in measures:
        wide = measures[measure].groupby([pairs, groups], sort=False).mean().unstack()
        wide = wide[list(dict.fromkeys(groups))]
        if wide.isna().any(axis=None) or len(wide) < 2:
            raise ValueError(
                f"pairs are {wide.index.tolist()}; accepted: two or more, each with a number of all groups"
            )
        for name in wide.columns.drop(one):
            gains = (wide[one] - wide[name]).to_numpy()
            change = mean_interval(gains)
            rows.append((str(measure), str(name), change.value, change.low, change.high, paired_p_value(gains)))
    found = pd.DataFrame(rows, columns=["measure", "against", "difference", "low", "high", "p"])
    found["p_holm_measure"] = found.groupby("measure", sort=False)["p"].transform(holm)
    found["p_holm_all"] = holm(found["p"])
    return found


def _difference(*samples: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
    """Mean of one sample or difference of two, over an axis of one or more draws."""
    first, *second = (np.asarray(sample.mean(axis=axis)) for sample in samples)
    return first - sum(second)


def _samples(a: ArrayLike, b: ArrayLike, *, paired: bool) -> tuple[NDArray[np.float64], ...]:
    """Check two samples; the differences of pairs are one sample."""
    samples = tuple(np.asarray(values, dtype=np.float64).ravel() for values in (a, b))
    for name, sample in zip("ab", samples, strict=True):
        if len(sample) < 2 or not np.isfinite(sample).all():
            raise ValueError(f"{name} is {sample}; accepted: two or more finite numbers")
    if not paired:
        return samples
    if len(samples[0]) != len(samples[1]):
        raise ValueError(f"paired is True with samples of {[len(s) for s in samples]}; accepted: two of one length")
    return (samples[0] - samples[1],)
