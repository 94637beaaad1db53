"""Intervals and verdicts: the rule at and beside its boundaries, and how numbers are written."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mtlrepro.analysis.verdicts import (
    Interval,
    Verdict,
    bracketed_over,
    correlation_interval,
    excess_interval,
    geometric_interval,
    grouped,
    largest_share_interval,
    mean_interval,
    number,
    over_seeds,
    percent_interval,
    placed,
    plus_minus,
    range_interval,
    rows,
    share_interval,
)


def test_mean_interval_by_hand():
    found = mean_interval([1.0, 2.0, 3.0])  # deviation 1, error 1/sqrt(3)
    quantile = 0.95 / math.sqrt(2 * 0.975 * 0.025)  # of Student's t with 2 degrees of freedom, in closed form
    half = quantile / math.sqrt(3)
    assert found.value == 2
    assert math.isclose(found.low, 2 - half, rel_tol=1e-12)
    assert math.isclose(found.high, 2 + half, rel_tol=1e-12)


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
def test_mean_interval_equals_that_of_scipy(confidence):
    values = np.random.default_rng(0).normal(3, 2, 7)
    expected = stats.ttest_1samp(values, 0).confidence_interval(confidence)
    found = mean_interval(values, confidence)
    assert math.isclose(found.value, values.mean())
    assert math.isclose(found.low, expected.low)
    assert math.isclose(found.high, expected.high)


def test_mean_interval_covers_as_often_as_it_says():
    """2,000 samples of four: 95% cover the true mean, within three standard errors of that share."""
    samples = np.random.default_rng(1).normal(5, 3, (2000, 4))
    covered = np.mean([found.low <= 5 <= found.high for found in map(mean_interval, samples)])
    assert abs(covered - 0.95) < 3 * math.sqrt(0.95 * 0.05 / 2000)


def test_one_value_has_an_infinite_interval_and_equal_ones_none():
    assert mean_interval([4]) == Interval(4.0, -math.inf, math.inf)
    assert mean_interval(2.5) == Interval(2.5, -math.inf, math.inf)
    assert mean_interval([4, 4, 4]) == Interval(4.0, 4.0, 4.0)


def test_geometric_interval_is_the_mean_interval_of_the_logarithms():
    found = geometric_interval([1.0, 10.0, 100.0])
    logs = mean_interval(np.log10([1.0, 10.0, 100.0]))
    np.testing.assert_allclose([found.value, found.low, found.high], [10, 10**logs.low, 10**logs.high])
    narrow = geometric_interval([1.0, 10.0, 100.0], 0.5)
    assert found.low < narrow.low < narrow.value < narrow.high < found.high
    scaled = geometric_interval([3.0, 30.0, 300.0])
    np.testing.assert_allclose([scaled.value, scaled.low, scaled.high], [30, 3 * found.low, 3 * found.high])


def test_geometric_interval_of_one_value_is_all_positive_numbers():
    found = geometric_interval(4.0)
    assert math.isclose(found.value, 4)
    assert (found.low, found.high) == (0, math.inf)


@pytest.mark.parametrize("values", [[0.0, 1.0], [-1.0], [math.nan], [math.inf, 1.0], []])
def test_geometric_interval_refuses_what_has_no_logarithm(values):
    with pytest.raises(ValueError, match=r"^values is \[.*\]; accepted: "):
        geometric_interval(values)


def test_correlation_interval_is_the_mean_interval_of_fishers_z():
    values = [0.9, 0.99, 0.5]
    z = mean_interval([0.5 * math.log((1 + r) / (1 - r)) for r in values])
    found = correlation_interval(values)
    np.testing.assert_allclose([found.value, found.low, found.high], np.tanh([z.value, z.low, z.high]))
    assert mean_interval(values).high > 1 > found.high
    mirrored = correlation_interval([-r for r in values])
    np.testing.assert_allclose([mirrored.low, mirrored.high], [-found.high, -found.low])


def test_share_interval_is_the_mean_interval_of_the_logits():
    values = [0.9, 0.99, 0.5]
    logits = mean_interval([math.log(share / (1 - share)) for share in values])
    found = share_interval(values)
    expected = [1 / (1 + math.exp(-logit)) for logit in (logits.value, logits.low, logits.high)]
    np.testing.assert_allclose([found.value, found.low, found.high], expected)
    assert mean_interval(values).high > 1 > found.high
    rest = share_interval([1 - share for share in values])
    np.testing.assert_allclose([rest.low, rest.high], [1 - found.high, 1 - found.low])


def test_percent_interval_is_the_share_interval_in_per_cent():
    found, share = percent_interval([90, 99, 50]), share_interval([0.9, 0.99, 0.5])
    np.testing.assert_allclose(
        [found.value, found.low, found.high], [100 * share.value, 100 * share.low, 100 * share.high]
    )
    assert percent_interval([90, 100]) == Interval(95, 90, 100)
    with pytest.raises(ValueError, match="accepted: numbers from 0 to 100"):
        percent_interval([50, 101])


def test_largest_share_interval_lies_above_an_equal_share():
    """Of four parts the largest has at least 25 %; 40 % has a fifth of what is left beyond that."""
    found, beyond = largest_share_interval([40.0, 70.0, 28.0], 4), share_interval([0.2, 0.6, 0.04])
    np.testing.assert_allclose(
        [found.value, found.low, found.high], 25 + 75 * np.array([beyond.value, beyond.low, beyond.high])
    )
    assert percent_interval([40.0, 70.0, 28.0]).low < 25 < found.low
    assert largest_share_interval([100 / 3 - 1e-9, 50.0], 3) == range_interval([100 / 3, 50.0])
    np.testing.assert_allclose(largest_share_interval([60.0, 100.0], 2).high, 100)
    with pytest.raises(ValueError, match="accepted: numbers from 25 to 100"):
        largest_share_interval([24.0], 4)
    with pytest.raises(ValueError, match="parts is 1; accepted: 2 or more"):
        largest_share_interval([100.0], 1)


def test_few_seeds_are_described_by_their_range():
    few, more = [1.0, 2.0, 4.0], [1.0, 2.0, 4.0, 4.0]
    assert over_seeds(few, geometric_interval) == Interval(geometric_interval(few).value, 1.0, 4.0)
    assert over_seeds(more, geometric_interval) == geometric_interval(more)
    assert [bracketed_over(len(own)) for own in (few, more)] == ["the range over 3 seeds", "95 % over 4 seeds"]


def test_excess_interval_is_the_geometric_interval_of_what_exceeds_one():
    values = [1.001, 1.1, 2.0]
    beyond = geometric_interval([0.001, 0.1, 1.0])
    found = excess_interval(values)
    np.testing.assert_allclose(
        [found.value, found.low, found.high], 1 + np.array([beyond.value, beyond.low, beyond.high])
    )
    assert mean_interval(values).low < 1 < found.low


@pytest.mark.parametrize(
    ("interval", "inner", "boundary", "low", "high"),
    [
        (correlation_interval, [0.2, 0.4], 1.0, -1.0, 1.0),
        (correlation_interval, [0.2, 0.4], -1.0, -1.0, 1.0),
        (share_interval, [0.2, 0.4], 0.0, 0.0, 1.0),
        (share_interval, [0.2, 0.4], 1.0, 0.0, 1.0),
        (excess_interval, [1.2, 1.4], 1.0, 1.0, math.inf),
    ],
)
def test_a_value_on_the_boundary_of_its_domain_leaves_the_range(interval, inner, boundary, low, high):
    assert interval([*inner, boundary]) == range_interval([*inner, boundary])
    assert interval([boundary]) == Interval(boundary, low, high)
    one = interval(inner[:1])
    assert math.isclose(one.value, inner[0])
    assert (one.low, one.high) == (low, high)
    narrow, wide = interval(inner, 0.5), interval(inner)
    assert low < wide.low < narrow.low < narrow.value < narrow.high < wide.high < high


@pytest.mark.parametrize(
    ("interval", "values"),
    [
        (correlation_interval, [0.0, 1.1]),
        (correlation_interval, [-1.1]),
        (share_interval, [-0.1, 0.5]),
        (share_interval, [1.1]),
        (excess_interval, [0.9, 2.0]),
        *(
            (interval, bad)
            for interval in (correlation_interval, share_interval, excess_interval)
            for bad in ([], [math.nan])
        ),
    ],
)
def test_values_outside_the_domain_are_refused(interval, values):
    with pytest.raises(ValueError, match=r"^values is \[.*\]; accepted: "):
        interval(values)


def test_range_interval():
    assert range_interval([3.0, -1.0, 4.0]) == Interval(2.0, -1.0, 4.0)
    assert range_interval([3]) == Interval(3.0, 3.0, 3.0)


@pytest.mark.parametrize("values", [[1.0, 2.0, 6.0], (1, 2, 6), np.array([[1, 2, 6]]), pd.Series([1, 2, 6], [5, 6, 7])])
def test_any_array_of_numbers_will_do(values):
    assert mean_interval(values) == mean_interval([1, 2, 6])
    assert range_interval(values) == Interval(3.0, 1.0, 6.0)


@pytest.mark.parametrize("interval", [mean_interval, range_interval])
@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf, 1.0], [-math.inf]])
def test_values_that_are_missing_or_not_finite_are_refused(interval, values):
    with pytest.raises(ValueError, match=r"^values is \[.*\]; accepted: one or more finite numbers$"):
        interval(values)


@pytest.mark.parametrize("confidence", [0, 1, -0.5, 1.5, math.nan])
def test_confidence_out_of_range_is_refused(confidence):
    with pytest.raises(ValueError, match=f"^confidence is {confidence}; accepted: 0 < confidence < 1$"):
        mean_interval([1, 2], confidence)


# Claimed 1 with tolerance 0.25: agreement is [0.75, 1.25], exact in binary.
@pytest.mark.parametrize(
    ("low", "high", "status"),
    [
        (0.9, 1.1, "holds"),
        (1.0, 1.0, "holds"),
        (0.75, 1.25, "holds"),  # both bounds on the boundary: inside
        (1.25, 1.25, "holds"),
        (0.75, 0.75, "holds"),
        (math.nextafter(0.75, 0), 1.25, "inconclusive"),
        (0.75, math.nextafter(1.25, 2), "inconclusive"),
        (0.5, 0.75, "inconclusive"),  # touches: the two overlap
        (1.25, 2.0, "inconclusive"),
        (0.5, 1.0, "inconclusive"),
        (1.0, 2.0, "inconclusive"),
        (0.0, 2.0, "inconclusive"),  # around all of it
        (-math.inf, math.inf, "inconclusive"),
        (0.5, math.nextafter(0.75, 0), "does not hold"),
        (math.nextafter(1.25, 2), 2.0, "does not hold"),
        (-3.0, -2.0, "does not hold"),
        (3.0, 3.0, "does not hold"),
    ],
)
def test_status(low, high, status):
    assert Verdict("claim", "Eq. 1", 1.0, 0.25, Interval((low + high) / 2, low, high)).status == status


# Claimed below 1 with tolerance 0.25: agreement is everything up to 1.25.
@pytest.mark.parametrize(
    ("low", "high", "status"),
    [
        (-9.0, 1.25, "holds"),
        (-math.inf, 0.0, "holds"),
        (1.25, 1.25, "holds"),
        (0.0, math.nextafter(1.25, 2), "inconclusive"),
        (1.25, 2.0, "inconclusive"),
        (-math.inf, math.inf, "inconclusive"),
        (math.nextafter(1.25, 2), 2.0, "does not hold"),
    ],
)
def test_status_of_a_one_sided_claim(low, high, status):
    assert Verdict("claim", "Eq. 1", 1.0, 0.25, Interval((low + high) / 2, low, high), below=True).status == status


def test_the_mean_alone_does_not_decide():
    """A mean on the claimed value with a wide interval is inconclusive; one beside it with a narrow one holds."""
    assert Verdict("", "", 1.0, 0.1, Interval(1.0, 0.5, 1.5)).status == "inconclusive"
    assert Verdict("", "", 1.0, 0.1, Interval(1.09, 1.08, 1.1)).status == "holds"


def test_without_tolerance_only_equality_holds():
    assert Verdict("", "", 1.0, 0.0, Interval(1.0, 1.0, 1.0)).status == "holds"
    assert Verdict("", "", 1.0, 0.0, Interval(1.1, 1.1, 1.1)).status == "does not hold"


def test_a_claim_of_zero_is_a_value_like_any_other():
    assert Verdict("", "", 0.0, 0.0, Interval(0.0, 0.0, 0.0)).status == "holds"
    assert Verdict("", "", 0.0, 0.1, Interval(0.5, 0.4, 0.6)).status == "does not hold"


@pytest.mark.parametrize(
    ("claimed", "tolerance", "measured"),
    [(None, None, None), (1.0, 0.1, None), (None, 0.1, Interval(1, 1, 1)), (1.0, None, Interval(1, 1, 1))],
)
def test_without_value_tolerance_or_measurement_nothing_is_tested(claimed, tolerance, measured):
    assert Verdict("claim", "Eq. 1", claimed, tolerance, measured).status == "cannot be tested here"


def test_one_seed_is_never_enough():
    assert Verdict("", "", 1.0, 1e6, mean_interval([1.0])).status == "inconclusive"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-0.0, "0"),
        (1, "1.00"),
        (0.22941573387, "0.229"),
        (-0.22941573387, "-0.229"),
        (0.1, "0.100"),
        (12.5, "12.5"),
        (123.4, "123"),
        (1234.5, "1.23e+03"),
        (1e-9, "1.00e-09"),
        (1e-12, "1.00e-12"),
        (-1e-12, "-1.00e-12"),
        (9.99e-13, "< 1e-12"),
        (-3e-17, "< 1e-12"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (np.float64(2.5), "2.50"),
    ],
)
def test_number(value, text):
    assert number(value) == text


def test_number_with_other_digits():
    assert number(0.22941573387, 2) == "0.23"
    assert number(0.22941573387, digits=5) == "0.22942"


def test_an_interval_is_written_with_its_bounds():
    assert str(Interval(0.12345, 0.1, 0.20004)) == "0.123 [0.100, 0.200]"


def test_a_count_or_an_exact_number_is_written_without_an_interval():
    exact, spread = (Verdict("claim", "Eq. 1", 0, 0, Interval(3.0, *bounds)) for bounds in [(3.0, 3.0), (2.0, 4.0)])
    assert [row["measured"] for row in rows([exact, spread])] == ["3.00", "3.00 [2.00, 4.00]"]
    assert str(mean_interval([2.0])) == "2.00 [-inf, inf]"


def test_rows():
    measured = Interval(1.01, 1.0, 1.02)
    verdicts = [
        Verdict("It is one.", "Eq. 1", 1.0, 0.05, measured, reading="a mean", case="rooms", finding=2),
        Verdict("It is small.", "Eq. 3", 1.0, 0.05, measured, below=True, kind="ours"),
        Verdict("It is exact.", "algebra", 1.01, 0.0, measured, kind="identity"),
        Verdict("It is better.", "Table 3"),
    ]
    assert rows(verdicts) == [
        {
            "claim": "It is one.",
            "case": "rooms",
            "source": "Eq. 1",
            "reading": "a mean",
            "claimed": "1 ± 0.05",
            "measured": "1.01 [1.00, 1.02]",
            "status": "holds",
            "kind": "paper",
            "finding": "2",
        },
        {
            "claim": "It is small.",
            "case": "",
            "source": "Eq. 3",
            "reading": "",
            "claimed": "below 1 ± 0.05",
            "measured": "1.01 [1.00, 1.02]",
            "status": "holds",
            "kind": "ours",
            "finding": "",
        },
        {
            "claim": "It is exact.",
            "case": "",
            "source": "algebra",
            "reading": "",
            "claimed": "1.01",
            "measured": "1.01 [1.00, 1.02]",
            "status": "inconclusive",
            "kind": "identity",
            "finding": "",
        },
        {
            "claim": "It is better.",
            "case": "",
            "source": "Table 3",
            "reading": "",
            "claimed": "",
            "measured": "",
            "status": "cannot be tested here",
            "kind": "paper",
            "finding": "",
        },
    ]
    assert rows([]) == []


HOLDS = Verdict("a", "Eq. 1", 1.0, 0.1, Interval(1.0, 0.95, 1.05), reading="a mean")
UNKNOWN = replace(HOLDS, measured=None)
OPEN = replace(HOLDS, measured=Interval(1.0, 0.0, 2.0))
FAILS = replace(HOLDS, measured=Interval(2.0, 1.9, 2.1))


def test_cases_of_a_claim_stand_together_the_worst_first_and_else_in_order():
    cases = [HOLDS, UNKNOWN, replace(HOLDS, case="x"), OPEN, FAILS, replace(FAILS, case="y")]
    (group,) = grouped(cases)
    assert group == [FAILS, replace(FAILS, case="y"), OPEN, UNKNOWN, HOLDS, replace(HOLDS, case="x")]
    assert grouped([]) == []


@pytest.mark.parametrize("other", [{"claim": "b"}, {"source": "Eq. 2"}, {"reading": "a test"}, {"kind": "ours"}])
def test_claims_that_differ_are_groups_of_their_own_in_their_order(other):
    different = replace(FAILS, **other)
    assert grouped([HOLDS, different, OPEN]) == [[OPEN, HOLDS], [different]]


@pytest.mark.parametrize("same", [{"case": "b"}, {"finding": 2}, {"claimed": 2.0}, {"below": True}])
def test_cases_may_differ_in_what_is_claimed_there(same):
    assert len(grouped([HOLDS, replace(HOLDS, **same)])) == 1


def test_plus_minus():
    assert plus_minus(Interval(1.2345, 1.0, 1.4690)) == "1.23 ± 0.23"
    assert plus_minus(Interval(0.5, 0.0, 1.0), 2) == "0.50 ± 0.50"


def test_a_place_is_added_to_the_circumstances():
    verdicts = [Verdict("It falls", "Eq. 1", 1, 0, Interval(0, 0, 0), below=True), Verdict("b", "Eq. 2", case="c")]
    first, second = placed(verdicts, "gpu scale")
    assert (first.claim, first.case, first.place, first.status) == ("It falls", "", "gpu scale", "holds")
    assert (second.case, second.place) == ("c", "c, gpu scale")
    assert [row.get("circumstances") for row in rows([first, Verdict("b", "Eq. 2")])] == ["gpu scale", None]
