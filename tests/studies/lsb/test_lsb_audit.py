from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mtlrepro.analysis.compare import ranks
from mtlrepro.analysis.published import read
from mtlrepro.analysis.significance import trials_needed
from mtlrepro.analysis.verdicts import grouped
from mtlrepro.studies.lsb import audit
from mtlrepro.studies.lsb.audit import METRICS, PRINTED


@pytest.fixture
def numbers():
    return read("lsb_s3")


@pytest.fixture
def table(numbers):
    return audit.trials(numbers)


def changed(numbers, row, column, value):
    """The printed table with another number in one cell."""
    cell = (numbers["row"] == row) & (numbers["column"] == column)
    assert cell.sum() == 1
    return numbers.assign(value=numbers["value"].mask(cell, value))


def findings(numbers):
    found = audit.audit(numbers)
    return {(row, column): (printed, new) for row, column, printed, new, _ in found.itertuples(index=False)}


# --- audit


SLIPS = {
    ("Equal weighting, trial 2", "rank of delta_1"): (18.5, 18.0),
    ("Uncert, average", "delta_30"): (43.6, 44.6),
    ("Equal weighting, average", "rank of mean angle"): (3, 3.5),
    ("GLS, average", "rank of mean angle"): (4, 3.5),
    ("Uncert, average", "rank of mean angle"): (1.5, 2),
    ("Proposed, average", "rank of mean angle"): (1.5, 1),
}


def test_trials_are_the_printed_ones(table):
    assert len(table) == 25
    assert table["method"].unique().tolist() == ["Equal weighting", "Uncert", "DWA", "GLS", "Proposed"]
    assert table.groupby("method")["trial"].apply(list).tolist() == [[1, 2, 3, 4, 5]] * 5
    last = table.iloc[-1]
    assert last[["delta_1", "RMSE", "rank of RMSE", "rank Avg."]].tolist() == [60.8, 0.776, 3, 3.08]
    assert table.notna().all(axis=None)


def test_what_does_not_follow_is_four_cells_by_either_rule_of_ranks(numbers):
    """Of the four cells of the mean angle, two contradict ranks of rounded averages, and two those of exact ones."""
    assert findings(numbers) == SLIPS
    slips = audit.audit(numbers)
    assert audit.fewest(slips) == 4
    assert audit.fewest(slips.iloc[:2]) == 2
    assert audit.fewest(slips.drop(index=5)) == 3  # one cell contradicts the other rule


def test_the_printed_average_of_a_row_proves_its_rank_a_misprint(numbers, table):
    """18.5 + 17 + 24 + 21 + 17 + 23.5 is 6 x 20.17; with 18 in its place it is 6 x 20.08, which is printed."""
    row = table[table["row"] == "Equal weighting, trial 2"].iloc[0]
    ranks = row[[f"rank of {metric}" for metric in METRICS]].astype(float)
    assert (round(ranks.mean(), 2), row["rank Avg."]) == (20.17, 20.08)
    assert (
        "printed as 20.08, with the printed rank it is 20.17, with the recomputed one 20.08"
        in (audit.audit(numbers)["reason"].iloc[0])
    )


def test_reasons_can_be_checked_by_hand(numbers, table):
    """59.7 thrice behind 16 better trials; (43.9 + 44.1 + 44.3 + 45.2 + 45.3) / 5 = 44.56; 198.4 / 5 = 39.68."""
    reasons = audit.audit(numbers)["reason"].tolist()
    assert (table["delta_1"] > 59.7).sum() == 16
    assert reasons[0].startswith("trials with 59.7: 3, which share places 17 to 19")
    assert "add up to 325.5, places 1 to 25 to 325" in reasons[0]
    assert reasons[1] == (
        "its trials average 44.56; its printed rank is 3, with the recomputed average 3, with the printed one 5"
    )
    assert ["contradicts ranks of rounded" in reason for reason in reasons[2:]] == [True, True, False, False]
    assert "here 39.68;" in reasons[-1]


def test_ties_are_averaged_not_shared(table):
    printed = table[[f"rank of {metric}" for metric in METRICS]].to_numpy()
    values = table[METRICS]
    assert (ranks(values, PRINTED.higher).to_numpy() != printed).sum() == 1
    assert (ranks(values, PRINTED.higher, "min").to_numpy() != printed).sum() > 50


@pytest.mark.parametrize(
    ("row", "column", "value", "recomputed"),
    [
        ("GLS, trial 4", "rank of Acc.", 19, 18),
        ("GLS, trial 4", "rank Min", 3, 3.5),
        ("Proposed, trial 5", "rank Avg.", 3.09, 3.08),
        ("DWA, five trials", "rank Avg.", 16.13, 16.12),
        ("DWA, average", "RMSE", 0.795, 0.794),
        ("Proposed, average", "rank Max", 2, 1.5),
    ],
)
def test_a_planted_slip_is_found(numbers, row, column, value, recomputed):
    assert findings(changed(numbers, row, column, value)) == SLIPS | {(row, column): (value, recomputed)}


def test_corrected_cells_are_no_longer_found(numbers):
    """With the ranks of the rounded averages the column follows, but the summaries of two rows no longer do."""
    for cell in list(SLIPS)[:4]:
        numbers = changed(numbers, *cell, SLIPS[cell][1])
    assert findings(numbers) == {
        ("Equal weighting, average", "rank Min"): (3, 3.5),
        ("Equal weighting, average", "rank Avg."): (4.17, 4.25),
        ("GLS, average", "rank Avg."): (3.33, 3.25),
    }


def test_average_ranks_recompute(numbers):
    found = audit.average_ranks(numbers).set_index("method")
    np.testing.assert_allclose(found["trials"], found["trials, printed"], atol=0.005)
    assert found["trials, printed"].tolist() == [16.88, 11.62, 16.12, 13.57, 6.82]
    expected = {"averages, printed": (2.58, 1.08), "averages, rounded": (2.58, 1.08), "averages, unrounded": (2.67, 1)}
    for column, values in expected.items():
        assert tuple(found.loc[["Uncert", "Proposed"], column].round(2)) == values


# --- significance and power


def test_significance_by_hand(table):
    """LSB's mIoU is above GLS's in every pair: of 252 splits only this one and its mirror are as extreme."""
    found = audit.significance(table).set_index(["measure", "against"])
    assert len(found) == 28
    row = found.loc[("mIoU", "GLS")]
    assert row["difference"] == pytest.approx(21.08 - 19.92)
    assert row["cliffs_delta"] == 1
    assert row["p"] == row["p_reachable"] == pytest.approx(2 / 252)
    assert row["p_holm_measure"] == pytest.approx(4 * 2 / 252)
    assert row["p_holm_all"] == pytest.approx(28 * 2 / 252)
    assert found.loc[("mIoU", "DWA"), "p_holm_measure"] == pytest.approx(3 * found.loc[("mIoU", "DWA"), "p"])
    # by hand, Welch: both variances of mIoU from the printed trials
    a, b = np.array([21, 21, 20.6, 21.4, 21.4]), np.array([19.6, 19.6, 19.7, 20.2, 20.5])
    parts = a.var(ddof=1) / 5, b.var(ddof=1) / 5
    half = stats.t.ppf(0.975, sum(parts) ** 2 / sum(part**2 / 4 for part in parts)) * sum(parts) ** 0.5
    assert (row["low"], row["high"]) == pytest.approx((1.16 - half, 1.16 + half))


def test_differences_are_positive_where_lsb_is_better(table):
    found = audit.significance(table)
    assert (found["difference"] > 0).all()
    assert found.set_index(["measure", "against"]).loc[("RMSE", "GLS"), "difference"] == pytest.approx(0.0024)
    worst = table.assign(RMSE=table["RMSE"].mask(table["method"] == "Proposed", 0.9 + table["trial"] / 1000))
    assert (audit.significance(worst).query("measure == 'RMSE'")["cliffs_delta"] == -1).all()


def test_no_claim_survives_correction_over_all_tests(table):
    found = audit.significance(table)
    assert found["p_holm_all"].min() == pytest.approx(28 * 2 / 252)
    significant = found.query("p_holm_measure < 0.05")[["measure", "against"]].apply(tuple, axis=1).tolist()
    assert significant == [
        *(("mIoU", method) for method in ("Equal weighting", "DWA", "GLS")),
        ("average rank", "Equal weighting"),
    ]


def test_power_asks_for_the_uncertain_end(table):
    found = audit.power(table)
    tests = audit.significance(table)
    np.testing.assert_allclose(found["effect"], tests["hedges_g"])
    settled = found["low"] > 0
    assert found.loc[settled, "trials_at_low"].gt(found.loc[settled, "trials"]).all()
    assert found.loc[~settled, "trials_at_low"].isna().all()
    assert 0 < settled.sum() < 28
    rank = found.set_index(["measure", "against"]).loc[("average rank", "Uncert")]
    assert rank["trials"] == trials_needed(rank["effect"]) == 12


# --- claims and figure


def test_top_places_by_hand(table):
    top = audit.top_places(table)
    np.testing.assert_allclose(top.groupby("metric")["places"].sum(), 5)
    lsb = top.query("method == 'Proposed'").set_index("metric")
    # Acc.: 57.0 and 56.8, and two of three trials with 56.5 for the three places left are places 3 to 5
    assert lsb["fewest"].to_dict() == {"delta_1": 3, "RMSE": 3, "delta_30": 2, "mean angle": 1, "mIoU": 4, "Acc.": 3}
    assert lsb["most"].to_dict() == lsb["fewest"].to_dict() | {"Acc.": 4}
    assert lsb.loc["Acc.", "places"] == pytest.approx(2 + 2 * 2 / 3)
    # mIoU: one place is left for five trials with 20.8
    others = top.query("metric == 'mIoU' and method != 'Proposed'").set_index("method")
    assert others["places"].to_dict() == pytest.approx({"Equal weighting": 0.2, "Uncert": 0.6, "DWA": 0.2, "GLS": 0})
    assert others["most"].to_dict() == {"Equal weighting": 1, "Uncert": 1, "DWA": 1, "GLS": 0}


def test_significantly_better_is_read_as_a_test_with_one_side_or_two(numbers, table):
    """11 of 252 exchanges of trials have ranks as far apart as the printed ones; the two-sided p is twice that."""
    found = audit.better_than_second(numbers)
    by_trials = audit.significance(table).query("measure == 'average rank' and against == 'Uncert'")["p"].iloc[0]
    assert (found["trials"].low, found["trials"].high) == pytest.approx((11 / 252, by_trials))
    assert found["trials"].high == pytest.approx(22 / 252)
    # ranks of averages, literally, with the table's own functions
    two = table[table["method"].isin(["Uncert", "Proposed"])]
    rest = table[~table.index.isin(two.index)].groupby("method")[METRICS].mean()

    def apart(own, decimals):
        halves = {"Proposed": two.loc[list(own), METRICS].mean(), "Uncert": two.drop(index=list(own))[METRICS].mean()}
        means = pd.concat([rest, pd.DataFrame(halves).T]).round(decimals)
        scored = PRINTED.average_ranks(means)
        return scored["Uncert"] - scored["Proposed"]

    printed = two.index[two["method"] == "Proposed"]
    shares = []
    for decimals in (PRINTED.decimals, 9):
        differences = np.array([apart(own, decimals) for own in combinations(two.index, 5)])
        shares.append((differences >= apart(printed, decimals) - 1e-9).mean())
    assert (found["averages"].low, found["averages"].high) == pytest.approx((min(shares), 2 * max(shares)))
    assert found["averages"].value == pytest.approx(2 * shares[0])


def test_claims(numbers):
    verdicts = audit.claims(numbers)
    assert [(verdict.claimed, verdict.status) for verdict in verdicts] == [
        (6, "holds"),
        (6, "inconclusive"),
        (0.05, "inconclusive"),
        (0.05, "does not hold"),
        (50, "holds"),
        (6, "does not hold"),
        (0, "holds"),
        (0, "holds"),
        (0, "inconclusive"),
        (0, "inconclusive"),
    ]
    assert {(verdict.kind, verdict.finding, bool(verdict.reading)) for verdict in verdicts} == {("paper", 1, True)}
    alone = verdicts[1].measured
    assert (alone.value, alone.low, alone.high) == (5, 5, 6)
    share = verdicts[4].measured
    assert (share.low, share.high) == pytest.approx((100 * 13 / 30, 100 * 14 / 30))


def test_significantly_better_is_one_claim_with_two_cases(numbers):
    groups = [cases for cases in grouped(audit.claims(numbers)) if "significantly" in cases[0].claim]
    assert [[case.case for case in cases] for cases in groups] == [["ranks of averages", "ranks of trials"]]


def test_printed_average_ranks_have_the_digits_that_decide(numbers):
    cases = [verdict for verdict in audit.claims(numbers) if "average ranks of trials" in verdict.claim]
    assert [one.case.split(",")[0] for one in cases] == ["Proposed", "Uncert"]
    second = cases[1]
    assert second.case == "Uncert, 11.62 printed, 11.6167 recomputed"
    assert (second.measured.low, second.measured.high) == pytest.approx((11.61667 - 11.62, 11.618 - 11.62), abs=1e-4)
    assert second.tolerance == 0.005


def test_claims_follow_the_trials(numbers):
    """With LSB ahead in every trial of every metric, all claims that trials can decide hold."""
    better = numbers.copy()
    for metric, higher in PRINTED.higher.items():
        own = (better["column"] == metric) & better["row"].str.startswith("Proposed, trial")
        best = better.loc[better["column"] == metric, "value"].agg("max" if higher else "min")
        better.loc[own, "value"] = best * (1.1 if higher else 0.9) * np.linspace(0.99, 1.01, 5)
    statuses = [verdict.status for verdict in audit.claims(better)]
    assert statuses[:6] == ["holds"] * 6


def test_figure_shows_every_trial_and_what_its_text_says(numbers, table):
    drawing = audit.trials_exhibit(numbers).figure
    assert len(drawing.axes) == len(METRICS)
    shown = {axes.get_xlabel().split("\n")[0]: axes for axes in drawing.axes}
    for metric, higher in PRINTED.higher.items():
        dots = shown[PRINTED.labels[metric]].lines[::2]
        bars = shown[PRINTED.labels[metric]].lines[1::2]
        assert sorted(x for line in dots for x in line.get_xdata()) == sorted(table[metric])
        means = np.array([line.get_xdata()[0] for line in bars]) * (1 if higher else -1)
        assert np.argmax(means) == 4  # the best bar is LSB's
        values = [np.array(line.get_xdata()) * (1 if higher else -1) for line in dots]
        assert max(value.max() for value in values[:4]) > values[4].min()
    ticks = pd.Series([label.get_text() for label in drawing.axes[0].get_yticklabels()])
    assert ticks.tolist() == table["method"].unique().tolist()


def test_exhibits_say_what_their_tables_hold(numbers):
    assert "at least 4. The 6 rows" in audit.slips_exhibit(numbers).caption
    caption = audit.significance_exhibit(numbers).caption
    assert "it is 0.0873, and 0.0437 one-sided" in caption
    assert "in 3 of 24 comparisons of single metrics and in 1 of 4 of average ranks" in caption
    assert caption.endswith("over all 28 tests the smallest p is 0.22.")
    power = audit.power_exhibit(numbers)
    assert power.caption.endswith("The average rank against Uncert takes 12.")
    assert set(power.table["trials_at_low"]) > {"no bound"}
    assert audit.ranks_exhibit(numbers).table.equals(audit.average_ranks(numbers))
