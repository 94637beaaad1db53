"""Intervals, exact tests, corrections and effect sizes: by hand, by brute force in fractions, and against scipy."""

import math
from fractions import Fraction
from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mtlrepro.analysis.significance import (
    cliffs_delta,
    detectable_difference,
    effect_interval,
    hedges_g,
    holm,
    one_against_others,
    paired_against_others,
    paired_p_value,
    pairs_needed,
    permutation_test,
    samples_against,
    trials_needed,
)
from mtlrepro.analysis.verdicts import mean_interval

tenths = st.lists(st.integers(590, 620), min_size=2, max_size=5)


def normal(n, seed=0, mean=0.0):
    return np.random.default_rng(seed).normal(mean, 1, n)


# --- permutation test ---------------------------------------------------------------------------------


def two_sided(observed, differences):
    """Twice the smaller tail, counted exactly."""
    larger = sum(difference >= observed for difference in differences)
    smaller = sum(difference <= observed for difference in differences)
    return min(1, Fraction(2 * min(larger, smaller), len(differences)))


def test_separated_samples_have_the_smallest_p_value():
    found = permutation_test([1, 2, 3, 4, 5], [6, 7, 8, 9, 10])
    assert (found.difference, found.arrangements) == (-5, 252)
    assert found.p_value == found.smallest_p_value == 2 / 252
    paired = permutation_test([2, 3, 4, 5, 7], [1, 1, 1, 1, 1], paired=True)
    assert (paired.difference, paired.arrangements) == (16 / 5, 32)
    assert paired.p_value == paired.smallest_p_value == 2 / 32


def test_p_values_by_hand():
    """Splits of {1, 2, 3, 6} in pairs: 1 + 3 has rank 2 of the sums 3, 4, 5, 7, 8, 9; 1 and -2 with signs."""
    assert math.isclose(permutation_test([1, 3], [2, 6]).p_value, 2 * 2 / 6)
    assert math.isclose(permutation_test([1, -2], [0, 0], paired=True).p_value, 1.0)
    assert math.isclose(permutation_test([1, 2, 3, 1], [0, 0, 0, 2], paired=True).p_value, 2 * 3 / 16)
    assert permutation_test([4, 4], [4, 4]).p_value == 1


@settings(max_examples=60, deadline=None)
@given(tenths, tenths)
def test_p_values_equal_those_counted_in_fractions(a, b):
    """Numbers as tables print them, with one decimal and many ties."""
    pooled = [Fraction(value, 10) for value in a + b]
    differences = []
    for chosen in combinations(range(len(pooled)), len(a)):
        first = sum(pooled[i] for i in chosen)
        differences.append(first / len(a) - (sum(pooled) - first) / len(b))
    observed = Fraction(sum(a), 10 * len(a)) - Fraction(sum(b), 10 * len(b))
    found = permutation_test([value / 10 for value in a], [value / 10 for value in b])
    assert found.arrangements == len(differences)
    assert math.isclose(found.p_value, two_sided(observed, differences))
    assert found.p_value >= found.smallest_p_value - 1e-12

    pairs = [Fraction(x - y, 10) for x, y in zip(a, b, strict=False)]
    signed = [sum(s * d for s, d in zip(signs, pairs, strict=True)) for signs in product([1, -1], repeat=len(pairs))]
    found = permutation_test([v / 10 for v in a[: len(pairs)]], [v / 10 for v in b[: len(pairs)]], paired=True)
    assert found.arrangements == 2 ** len(pairs)
    assert math.isclose(found.p_value, two_sided(sum(pairs), signed))


@pytest.mark.parametrize("sizes", [(5, 5), (3, 7)])
def test_p_value_equals_that_of_scipy_without_ties(sizes):
    a, b = normal(sizes[0]), normal(sizes[1], seed=1, mean=1)

    def difference(x, y, axis):
        return x.mean(axis=axis) - y.mean(axis=axis)

    expected = stats.permutation_test((a, b), difference, n_resamples=np.inf, vectorized=True)
    found = permutation_test(a, b)
    assert math.isclose(found.p_value, expected.pvalue)
    assert math.isclose(found.difference, expected.statistic)
    assert found.arrangements == len(expected.null_distribution)


def test_p_value_is_symmetric_and_ignores_order_shift_and_scale():
    a, b = normal(5), normal(5, seed=1, mean=1)
    for paired in (False, True):
        expected = permutation_test(a, b, paired=paired).p_value
        assert permutation_test(b, a, paired=paired).p_value == expected
        assert permutation_test(a[::-1], b[::-1], paired=paired).p_value == expected
        assert permutation_test(1000 + 3 * a, 1000 + 3 * b, paired=paired).p_value == expected


def test_p_values_are_uniform_without_a_difference():
    """All 70 splits of 8 numbers, each once as the observed one: every p-value up to 1 is kept exactly."""
    pooled = normal(8)
    found = []
    for chosen in combinations(range(8), 4):
        rest = [i for i in range(8) if i not in chosen]
        found.append(permutation_test(pooled[list(chosen)], pooled[rest]).p_value)
    np.testing.assert_allclose(sorted(found), np.repeat(np.arange(2, 71, 2) / 70, 2))


def test_permutation_test_refuses():
    for a, b, paired, message in (
        ([1], [1, 2], False, r"a is \[1.\]; accepted: two or more"),
        ([1, 2], [1, math.nan], False, "b is"),
        ([1, 2, 3], [1, 2], True, r"samples of \[3, 2\]"),
        (range(20), range(20), False, "137846528820 arrangements; accepted: up to 1000000"),
    ):
        with pytest.raises(ValueError, match=message):
            permutation_test(a, b, paired=paired)


# --- several tests ------------------------------------------------------------------------------------


def test_holm_by_hand():
    """In order 0.005, 0.01, 0.03, 0.04: products 0.02, 0.03, 0.06, 0.04, and the last is raised to the third."""
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.6, 0.7]), [1, 1])
    np.testing.assert_allclose(holm([0.2]), [0.2])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.999))
def test_holm_rejects_what_its_step_down_procedure_rejects(p_values, alpha):
    rejected = [False] * len(p_values)
    for step, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[i] * (len(p_values) - step) > alpha:
            break
        rejected[i] = True
    adjusted = holm(p_values)
    assert (adjusted <= alpha).tolist() == rejected
    assert (adjusted >= p_values).all()
    assert (adjusted <= np.minimum(1, len(p_values) * np.array(p_values))).all()  # at least as strong as Bonferroni


@pytest.mark.parametrize("bad", [[], [-0.1], [0.2, 1.1], [math.nan]])
def test_holm_refuses(bad):
    with pytest.raises(ValueError, match=r"p_values is .*accepted: one or more numbers in \[0, 1\]"):
        holm(bad)


# --- effect sizes -------------------------------------------------------------------------------------


def test_hedges_g_by_hand():
    """Means 4 and 2, pooled deviation sqrt(10 / 4), J(4) = gamma(2) / (sqrt(2) gamma(3/2)) = sqrt(2 / pi)."""
    assert math.isclose(hedges_g([2, 4, 6], [1, 2, 3]), math.sqrt(2 / math.pi) * 2 / math.sqrt(2.5))


def test_hedges_g_is_unbiased_for_the_standardised_difference():
    """4,000 samples of 5 against 5, one deviation apart: within four standard errors of 1, as Cohen's d is not."""
    rng = np.random.default_rng(0)
    found = np.array([hedges_g(rng.normal(1, 1, 5), rng.normal(0, 1, 5)) for _ in range(4000)])
    error = found.std(ddof=1) / math.sqrt(len(found))
    assert abs(found.mean() - 1) < 4 * error
    assert found.mean() * (1 + 3 / 31) - 1 > 4 * error


def test_cliffs_delta_by_hand_and_from_mann_whitney():
    assert cliffs_delta([1, 3], [2, 3]) == -1 / 4  # one pair won, two lost, one tied
    assert cliffs_delta([3, 4], [1, 2]) == 1
    a, b = normal(7).round(1), normal(5, seed=1).round(1)
    u = stats.mannwhitneyu(a, b).statistic
    assert math.isclose(cliffs_delta(a, b), 2 * u / 35 - 1)
    assert math.isclose(cliffs_delta(np.exp(a), np.exp(b)), cliffs_delta(a, b))


@pytest.mark.parametrize("effect", [hedges_g, cliffs_delta])
def test_effects_change_sign_with_the_order_and_ignore_shift_and_scale(effect):
    a, b = normal(6), normal(9, seed=1, mean=0.5)
    assert math.isclose(effect(b, a), -effect(a, b))
    assert math.isclose(effect(2 * a + 7, 2 * b + 7), effect(a, b))
    with pytest.raises(ValueError, match=r"a is \[1.\]"):
        effect([1], [2, 3])


def test_hedges_g_needs_variation():
    with pytest.raises(ValueError, match="do not vary"):
        hedges_g([1, 1], [2, 2])


# --- effects and the trials they need


@pytest.mark.parametrize(("effect", "trials"), [(0.2, 394), (0.5, 64), (0.8, 26), (-0.8, 26)])
def test_trials_needed_are_those_of_cohens_tables(effect, trials):
    """Cohen (1988), Table 2.4.1: 393, 64 and 26 for small, medium and large effects; the first exactly is 393.4."""
    assert trials_needed(effect) == trials


def test_trials_needed_is_the_least_number_in_a_simulation():
    def power(n, effect=1.3):
        limit = stats.t.ppf(0.975, 2 * n - 2)
        drawn = np.random.default_rng(n).normal(size=(200_000, 2, n)) + np.array([[effect], [0]])
        return float(np.mean(np.abs(stats.ttest_ind(drawn[:, 0], drawn[:, 1], axis=1).statistic) > limit))

    n = int(trials_needed(1.3))
    assert n == 11
    assert power(n - 1) < 0.8 < power(n)
    assert trials_needed(0) == np.inf
    assert trials_needed(50) == 2
    with pytest.raises(ValueError, match=r"effect is nan, power is 0.8, alpha is 0.05; accepted: finite"):
        trials_needed(np.nan)


def test_pairs_needed_is_the_least_number_in_a_simulation():
    """Differences 1, 2, 3 have mean 2 and deviation 1; half that effect is mean 1."""

    def power(n, effect):
        drawn = np.random.default_rng(n).normal(effect, 1, size=(200_000, n))
        return float(np.mean(stats.ttest_1samp(drawn, 0, axis=1).statistic > stats.t.ppf(0.975, n - 1)))

    for differences, effect, expected in (([1, 2, 3], 2, 5), ([0, 1, 2], 1, 10)):
        n = int(pairs_needed(differences))
        assert n == expected
        assert power(n - 1, effect) < 0.8 < power(n, effect)


def test_pairs_needed_at_the_ends():
    assert pairs_needed([3.0, 3.0]) == 2
    assert pairs_needed([-1.0, 1.0]) == pairs_needed([0.0, 0.0]) == np.inf
    with pytest.raises(ValueError, match="accepted: two or more finite numbers"):
        pairs_needed([1.0])
    with pytest.raises(ValueError, match=r"power is 0.01, alpha is 0.05; accepted: 0 < alpha < power < 1"):
        pairs_needed([1.0, 2.0], power=0.01)


@pytest.mark.parametrize("pairs", [2, 3, 5, 10])
def test_a_detectable_difference_is_found_with_the_power_by_simulation(pairs):
    effect = detectable_difference(pairs)
    drawn = np.random.default_rng(pairs).normal(effect, 1, size=(200_000, pairs))
    found = stats.ttest_1samp(drawn, 0, axis=1).statistic > stats.t.ppf(0.975, pairs - 1)
    assert np.mean(found) == pytest.approx(0.8, abs=0.004)


@pytest.mark.parametrize("pairs", [3, 5, 10, 20])
def test_the_detectable_difference_is_the_least_for_which_so_many_pairs_are_needed(pairs):
    effect = detectable_difference(pairs)
    for factor, needed in ((1.001, pairs), (0.999, pairs + 1)):
        mean = factor * effect  # of differences whose standard deviation is 1
        assert pairs_needed([mean - 1, mean, mean + 1]) == needed


def test_detectable_differences_at_other_powers_and_levels():
    assert detectable_difference(5, power=0.5) < detectable_difference(5) < detectable_difference(5, power=0.95)
    assert detectable_difference(5, alpha=0.01) > detectable_difference(5)
    # With many pairs that of normal quantiles: 1.959964 + 0.841621, over the root of their number.
    assert detectable_difference(10_000) == pytest.approx(0.02801585, rel=1e-3)


@pytest.mark.parametrize("wrong", [{"pairs": 1}, {"pairs": 5, "power": 0.05}, {"pairs": 5, "alpha": 0.0}])
def test_detectable_difference_refuses(wrong):
    with pytest.raises(ValueError, match=r"^pairs is .*accepted: 2 or more, and 0 < alpha < power < 1$"):
        detectable_difference(**wrong)


def test_effect_interval_excludes_zero_just_where_the_t_test_does():
    """At a bound of 0 the noncentral distribution is Student's."""
    a = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    pooled, limit = np.sqrt(2.5), stats.t.ppf(0.975, 8)
    shift = limit * pooled * np.sqrt(2 / 5)
    interval = effect_interval(a + shift, a)
    assert interval.low == pytest.approx(0, abs=1e-6)
    assert interval.low < interval.value < interval.high
    mirrored = effect_interval(a, a + shift)
    assert (mirrored.low, mirrored.high) == pytest.approx((-interval.high, 0), abs=1e-6)


def test_effect_interval_covers_the_true_effect():
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        interval = effect_interval(generator.normal(1.5, 1, 5), generator.normal(0, 1, 5))
        covered += interval.low <= 1.5 <= interval.high
    assert 0.95 * 300 - 3 * 3.8 < covered < 0.95 * 300 + 3 * 3.8


# --- one group against each other ---------------------------------------------------------------------


@pytest.fixture
def groups():
    return pd.Series(["b"] * 3 + ["one"] * 3 + ["a"] * 3)


@pytest.fixture
def two_measures():
    return pd.DataFrame({"x": [0, 1, 2, 10, 11, 12, 10, 11, 13], "y": [5, 6, 7, 1, 2, 3, 2, 4, 6]}, dtype=float)


def test_one_against_others_by_hand(two_measures, groups):
    """Three against three have 20 splits; x of b lies below all of one's, y above."""
    found = one_against_others(two_measures, groups, "one").set_index(["measure", "against"])
    assert found.index.tolist() == [("x", "b"), ("x", "a"), ("y", "b"), ("y", "a")]
    row = found.loc[("x", "b")]
    half = stats.t.ppf(0.975, 4) * (2 / 3) ** 0.5  # Welch: both variances 1, so 4 degrees of freedom
    assert row[["difference", "low", "high"]].tolist() == pytest.approx([10, 10 - half, 10 + half])
    assert row["cliffs_delta"] == 1
    assert row["p"] == row["p_reachable"] == pytest.approx(2 / 20)
    assert found.loc[("y", "b"), "difference"] == -4
    assert found.loc[("y", "b"), "cliffs_delta"] == -1
    for measure in ("x", "y"):
        assert found.loc[measure, "p_holm_measure"].tolist() == pytest.approx(holm(found.loc[measure, "p"]))
    assert found["p_holm_all"].tolist() == pytest.approx(holm(found["p"]))
    for (measure, against), row in found.iterrows():
        own, other = (two_measures.loc[groups == name, measure] for name in ("one", against))
        assert row["hedges_g"] == pytest.approx(hedges_g(own, other))
        assert row["p"] == permutation_test(own, other).p_value


def test_order_of_runs_does_not_matter(two_measures, groups):
    order = [4, 0, 8, 3, 1, 7, 5, 2, 6]
    keys = ["measure", "against"]
    first, second = (
        one_against_others(*both, "one").set_index(keys).sort_index()
        for both in ((two_measures, groups), (two_measures.loc[order], groups.loc[order]))
    )
    pd.testing.assert_frame_equal(first, second)


def test_an_unknown_group_is_refused(two_measures, groups):
    with pytest.raises(ValueError, match="one is 'c'; accepted: 'b', 'one', 'a'"):
        list(samples_against(two_measures, groups, "c"))


# --- pairs


def test_paired_against_others_is_students_test_of_the_differences():
    """Seeds differ by 10, methods by 1, 2 and 3: only the pairs see it."""
    runs = pd.DataFrame(
        {
            "method": ["a"] * 3 + ["b"] * 3,
            "seed": [0, 1, 2, 2, 1, 0],
            "x": [1.0, 12.0, 23.0, 20.0, 10.0, 0.0],
        }
    )
    (row,) = paired_against_others(runs[["x"]], runs["method"], "a", runs["seed"]).to_dict("records")
    interval = mean_interval([1, 2, 3])
    assert (row["measure"], row["against"]) == ("x", "b")
    assert [row["difference"], row["low"], row["high"]] == pytest.approx([interval.value, interval.low, interval.high])
    assert row["p"] == pytest.approx(stats.ttest_rel([1, 12, 23], [0, 10, 20]).pvalue)
    (alone,) = one_against_others(runs[["x"]], runs["method"], "a").to_dict("records")
    assert row["high"] - row["low"] < alone["high"] - alone["low"]


def test_holms_correction_of_pairs_is_over_a_measure_or_all():
    values = np.random.default_rng(1).normal(size=(12, 2))
    runs = pd.DataFrame(values, columns=["x", "y"]).assign(method=[*"aaaabbbbcccc"], seed=[*range(4)] * 3)
    found = paired_against_others(runs[["x", "y"]], runs["method"], "a", runs["seed"])
    assert found["p_holm_all"].tolist() == pytest.approx(holm(found["p"]).tolist())
    assert found["p_holm_measure"][:2].tolist() == pytest.approx(holm(found["p"][:2]).tolist())


@pytest.mark.parametrize(("differences", "p"), [([2.0, 2.0], 0), ([0.0, 0.0, 0.0], 1)])
def test_differences_that_do_not_vary_are_certain_or_nothing(differences, p):
    assert paired_p_value(differences) == p


def test_pairs_are_complete():
    runs = pd.DataFrame({"method": [*"aab"], "seed": [0, 1, 0], "x": [1.0, 2.0, 3.0]})
    with pytest.raises(
        ValueError, match=r"pairs are \[0, 1\]; accepted: two or more, each with a number of all groups"
    ):
        paired_against_others(runs[["x"]], runs["method"], "a", runs["seed"])
    with pytest.raises(ValueError, match="one is 'c'; accepted: 'a', 'b'"):
        paired_against_others(runs[["x"]], runs["method"], "c", runs["seed"])
