"""Tables 2 to 4 and Figures 5 to 7, on a store of runs that were never trained, whose metrics `mtsgd_runs` makes."""

from math import sqrt

import pandas as pd
import pytest
import torch
from mtsgd_runs import SMOKE, TABLES, broken, numbers, stored

from mtlrepro.analysis.significance import detectable_difference, holm, paired_p_value
from mtlrepro.analysis.verdicts import Interval
from mtlrepro.studies.mtsgd import grids, plan, plane, tables
from mtlrepro.studies.mtsgd.grids import JOINT, TABLE_2, Cell
from mtlrepro.studies.mtsgd.tables import AEPE, MIOU
from mtlrepro.studies.setting import Setting
from mtlrepro.training import predictions


def runs(setting):
    made = plan.experiments(setting)
    return [run for name in TABLES for run in made[name](setting)]


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    return stored(tmp_path_factory.mktemp("tables") / "runs", runs)


@pytest.fixture(scope="module")
def trained(setting):
    return tables.load(setting)


def of(**metrics):
    """Runs by seed, from 0."""
    return pd.DataFrame({"seed": range(len(next(iter(metrics.values())))), **metrics})


def test_printed_values_stand_beside_ours(trained):
    table = tables.rows(trained, TABLE_2, "Table 2").set_index("method")
    clipped = table.loc["MTSGD, threshold 0"]
    assert (clipped["printed mIoU, %"], clipped["printed AEPE, px"]) == ("62", "4.26")
    # Seeds 0 to 2: 54, 55.1 and 56.2 points.
    assert clipped[["mIoU, %", "mIoU, % low", "mIoU, % high"]].tolist() == pytest.approx([55.1, 54, 56.2])
    assert clipped["AEPE, px"] == pytest.approx((2.25 + 2.36 + 2.47) / 3)
    # Against single tasks, 41 % and 2.1 px: the mean of + 14.1 / 41 and - 0.26 / 2.1.
    assert clipped["Δm, %"] == pytest.approx(100 * (14.1 / 41 - 0.26 / 2.1) / 2)
    assert table.loc["joint SGD", "printed mIoU, %"] == "44.4" and table.loc["joint SGD", "Δm, %"] == pytest.approx(0)
    assert table["mIoU, %"].tolist() == pytest.approx([41, 51.1, 51.55, 52.55, 55.1])  # the middle ones of two seeds


def test_rows_that_the_article_lacks_have_a_dash(trained):
    shown = tables.table_exhibit(trained, "Table 3").table.set_index("method")
    assert len(shown) == 2 * 5  # with the article's decay and without
    without = shown["printed mIoU, %"]
    assert without["joint SGD"] == "–" and without["MTSGD, threshold 0"] == "62"
    assert without["joint SGD, decay 0"] == "–" and without["MTSGD, threshold 0, decay 0"] == "65"
    levels = tables.table_exhibit(trained, "Table 4").table.set_index("method")["printed AEPE, px"]
    assert len(levels) == 4 + 4 + 2 and levels["MTSGD, threshold 0"] == "4.26"
    assert levels["MTSGD, threshold 0, parameter"] == "–" and levels["MTSGD, threshold -0.75, filter"] == "5.27"
    caption = tables.table_exhibit(trained, "Table 4").caption  # filters cost 2 points and 0.2 for each seed
    assert "The gain of MTSGD, threshold -1 over MTSGD, threshold -1, filter is 2.1 [" in caption
    assert "of AEPE; that of MTSGD, threshold 0 over MTSGD, threshold 0, filter is 2.1 [" in caption
    alone = tables.single_exhibit(trained).table.set_index("task alone")
    assert alone["printed"].to_dict() == {"mIoU, %": "70.3", "AEPE, px": "4.39"}
    assert alone["here"].tolist() == pytest.approx([41, 2.1])


def test_a_gain_is_positive_where_the_metric_is_better_in_its_own_direction():
    one, other = of(**{MIOU: [50.0, 52.0], AEPE: [2.0, 2.5]}), of(**{MIOU: [48.0, 51.0, 0.0], AEPE: [2.1, 2.7, 0.0]})
    assert tables.gain(one, other, MIOU).value == pytest.approx(1.5)  # of the two seeds that both have
    assert tables.gain(one, other, AEPE).value == pytest.approx(0.15)
    assert tables.gain(other, one, AEPE).value == pytest.approx(-0.15)
    low, high = tables.gain(one, other, MIOU).low, tables.gain(one, other, MIOU).high
    # Differences 2 and 1: the half-width is 12.706 x sqrt(1/2) / sqrt(2).
    assert (high - low) / 2 == pytest.approx(12.7062 * sqrt(0.5) / sqrt(2), rel=1e-4)
    swapped = one.iloc[::-1]
    assert tables.gain(swapped, other, MIOU).value == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("bounds", "status"), [((1.0, 3.0), "holds"), ((-3.0, -1.0), "does not hold"), ((-1.0, 3.0), "inconclusive")]
)
def test_better_is_judged_by_the_bounds_of_the_gain(bounds, status):
    found = tables.better("A is better", Interval(sum(bounds) / 2, *bounds), AEPE, source="Table 2", finding=3)
    assert (found.status, found.finding, found.source) == (status, 3, "Table 2")
    assert found.measured == Interval(-sum(bounds) / 2, -bounds[1], -bounds[0])
    assert found.reading.startswith("px of AEPE by which it is worse")


def test_claims_follow_the_runs(trained):
    verdicts = tables.claims(trained)
    found = {(one.claim, one.case): one for one in verdicts}
    claim, premise = (
        "Balance alone improves segmentation over joint SGD",
        "loss of disparity times 30, one learning rate",
    )
    assert found[claim, "losses as they are"].measured.value == pytest.approx(-10.1)  # of three seeds
    assert found[claim, premise].measured.value == pytest.approx(-10.05)  # of two
    # As `numbers` was made: MTSGD costs disparity, at both thresholds, and everything else is as the article has it.
    assert {one.claim for one in verdicts if one.status != "holds"} == {
        "Balance alone improves disparity over joint SGD",
        "MTSGD at a threshold of 0 is better at disparity than joint SGD",
        "MTSGD at a threshold of 0 is better at disparity than the fixed weight that undoes the factor",
        "MTSGD is better at disparity than disparity alone",
    }
    undone = found[
        "MTSGD at a threshold of 0 is better at segmentation than the fixed weight that undoes the factor", premise
    ]
    assert (undone.measured.value, undone.limits, undone.kind) == (pytest.approx(-14.05), 8, "ours")  # of seeds 0 and 1
    best = found["MTSGD at a threshold of 0 is better at segmentation than joint SGD", "losses as they are"]
    assert (best.measured.value, best.finding) == (pytest.approx(-14.1), 8)
    filters = found["Directions by channel are better at segmentation than by filter", "threshold -0.75"]
    assert (filters.measured.value, filters.finding) == (pytest.approx(-2.1), 5)
    whole = found["Directions by channel are better at segmentation than by parameter", "threshold 0"]
    assert (whole.finding, whole.limits, whole.kind) == (0, 5, "ours")
    mask = "Clipping at a threshold of 0 improves segmentation over balance alone"
    by_filter, by_parameter = found[mask, "by filter"], found[mask, "by parameter"]
    assert by_filter.measured.value == pytest.approx(-4) and (by_filter.finding, by_filter.kind) == (3, "paper")
    assert (by_parameter.finding, by_parameter.limits, by_parameter.kind) == (0, 3, "ours")
    alone = [one for one in verdicts if one.claim == "MTSGD is better at disparity than disparity alone"]
    assert [(one.limits, one.case) for one in alone] == [(7, "threshold -1"), (7, "threshold 0")]


def test_claims_fail_where_runs_are_the_other_way_round(tmp_path):
    def reversed_numbers(run):
        found = numbers(run)
        return {"segmentation": {"miou": 100 - found["segmentation"]["miou"]}, "disparity": {"aepe": 5.0}}

    verdicts = tables.claims(tables.load(stored(tmp_path, runs, reversed_numbers)))
    told = {(one.claim, one.case): one.status for one in verdicts}
    assert told["Balance alone improves segmentation over joint SGD", "losses as they are"] == "does not hold"


def test_differences_have_what_so_many_pairs_show(trained):
    table = tables.tests(tables.pairs(trained))
    assert len(table) == 4 + 3 + 6 + 2  # over joint SGD, over balance, levels, and clipping at the other two
    row = table[(table["compared"] == "MTSGD, threshold 0") & (table["with"] == "joint SGD")].iloc[0]
    # Gains of 14, 14.1 and 14.2 points, whose standard deviation is 0.1, and of -0.25, -0.26 and -0.27 pixels.
    assert row["pairs"] == 3 and row["gain in mIoU, points"] == pytest.approx(14.1)
    assert row["gain in AEPE, px"] == pytest.approx(-0.26)
    assert row["gain in mIoU, points, would show"] == pytest.approx(0.1 * detectable_difference(3))
    assert set(table["pairs"]) == {2, 3}
    raw = [
        paired_p_value(tables.differences(*both, metric))
        for both in tables.pairs(trained).values()
        for metric in (MIOU, AEPE)
    ]
    assert table[["p of mIoU", "p of AEPE"]].to_numpy().ravel() == pytest.approx(holm(raw))
    caption = tables.tests_exhibit(trained).caption
    assert f"it is {detectable_difference(3):.1f} with 3 pairs, {detectable_difference(2):.1f} with 2 pairs;" in caption
    assert "all 30 of them" in caption
    first = [f"{detectable_difference(pairs, alpha=0.05 / 30):.0f} with {pairs} pairs" for pairs in (3, 2)]
    assert f"with the correction, it has to be {', '.join(first)}. (" in caption


def test_captions_say_the_gain_between_two_rows(trained):
    assert "is 14.1 [13.9, 14.3] points of mIoU and -0.260 [" in tables.table_exhibit(trained, "Table 2").caption
    assert "with the loss of disparity times 30" in tables.scaled_exhibit(trained).caption


def test_curves_are_of_the_central_rows(setting):
    table = tables.curves(setting)
    assert set(table["method"]) == {"joint SGD", "MTSGD, threshold -1", "MTSGD, threshold 0"}
    assert set(table["quantity"]) == {"loss of segmentation", "loss of disparity", "mIoU, %", "AEPE, px"}
    own = table[(table["method"] == "joint SGD") & (table["quantity"] == "mIoU, %")]
    assert own["mean"].tolist() == pytest.approx([41] * setting.epochs)  # seeds 0 to 2: 40, 41 and 42
    assert "mIoU joint SGD 41.00" in tables.curves_exhibit(setting).caption


def test_the_plane_has_every_row(trained):
    shown = plane.exhibit(trained)
    assert shown.table["group"].value_counts().to_dict() == {
        "joint SGD": 1,
        "joint SGD, no decay": 1,
        "MTSGD, channel": 4,
        "MTSGD, channel, no decay": 4,
        "MTSGD, filter": 4,
        "MTSGD, parameter": 2,
    }
    assert shown.table.iloc[0][["name", "mIoU, %", "AEPE, px"]].tolist() == ["joint SGD", 41, pytest.approx(2.1)]
    assert "0 of 16 rows have less mIoU than segmentation alone" in shown.caption
    assert "14 more error than disparity alone, 2.100 px" in shown.caption  # all but both of joint SGD


def test_figure_6_has_single_tasks_and_both_ends_of_the_thresholds(setting):
    """Estimates beyond all disparities: the errors of joint SGD, which estimates 0, and of another one add up to it."""
    values = {"single tasks": 100, "joint SGD": 0, "MTSGD (-1)": 200, "MTSGD (0)": 300}
    by_threshold = dict(zip((None, -1.0, 0.0), list(values.values())[1:], strict=True))
    for run in runs(setting):
        if run.pictures and not run.loss_scales:
            alone = len(run.tasks) == 1
            value = values["single tasks"] if alone else by_threshold[run.method_options.get("threshold")]
            maps = {
                "segmentation": torch.zeros(grids.PICTURED, *run.size, dtype=torch.int8),
                "disparity": torch.full((grids.PICTURED, 1, *run.size), value, dtype=torch.float16),
            }
            path = setting.store.folder / f"{run.hash}.npz"
            predictions.write(path, {run.epochs: {task: maps[task] for task in run.tasks}})
    shown = tables.pictures_exhibit(setting)
    errors = shown.table.pivot(index="method", columns="task", values="error")
    assert list(dict.fromkeys(shown.table["method"])) == list(values)
    for method in ("single tasks", "MTSGD (-1)", "MTSGD (0)"):
        assert errors.loc[method, "disparity"] + errors.loc["joint SGD", "disparity"] == pytest.approx(values[method])
    assert errors["segmentation"].nunique() == 1  # the same estimate for all


# --- runs that diverged


CLAIM, SCALED = "losses as they are", "loss of disparity times 30, one learning rate"


@pytest.fixture(scope="module")
def lossy(tmp_path_factory):
    """One of three seeds of MTSGD at 0 diverged, all of -0.5, one of disparity alone, joint SGD on the scaled loss."""
    folder = tmp_path_factory.mktemp("lossy")
    setting = Setting(**SMOKE)
    alone = [run for run in grids.single_tasks(setting) if run.tasks == ("disparity",)]
    scaled = [run for run in grids.scaled(setting, range(2)) if run.method == "equal"]
    broken(folder, Cell(0.0).runs(setting)[2], *Cell(-0.5).runs(setting), alone[2], *scaled)
    return stored(folder, runs)


def test_rows_have_the_seeds_that_are_left_and_captions_count_the_others(lossy):
    trained = tables.load(lossy)
    table = tables.rows(trained, TABLE_2, "Table 2").set_index("method")
    assert "MTSGD, threshold -0.5" not in table.index and len(table) == 4
    assert table.loc["MTSGD, threshold 0", "mIoU, %"] == pytest.approx(54.55)  # seeds 0 and 1: 54 and 55.1
    caption = tables.table_exhibit(trained, "Table 2").caption
    lost = "1 of disparity alone, 2 of MTSGD, threshold -0.5, 1 of MTSGD, threshold 0."
    assert f" Runs that diverged are left out: {lost} (Positive" in caption
    scaled = tables.scaled_exhibit(trained)
    assert scaled.table["method"].tolist() == ["MTSGD, threshold -1", "MTSGD, threshold 0"]
    assert "changes mIoU by ? points and AEPE by ? px" in scaled.caption
    assert "2 of joint SGD with the scaled loss" in scaled.caption
    assert "1 of disparity alone. (Brackets: the range over 2 seeds" in tables.single_exhibit(trained).caption
    tested = tables.tests(tables.pairs(trained)).set_index(["compared", "with"])["pairs"]
    assert tested["MTSGD, threshold 0", "joint SGD"] == 2
    assert "MTSGD, threshold -0.5" not in {name for pair in tested.index for name in pair}
    curves = tables.curves_exhibit(lossy).caption
    assert "Runs that diverged are left out: 1 of MTSGD, threshold 0. (Means" in curves
    assert "MTSGD, threshold -0.5" not in set(plane.points(trained)["name"])


def test_claims_about_rows_of_which_a_run_diverged_are_not_judged(lossy):
    told = {(one.claim, one.case): one.status for one in tables.claims(tables.load(lossy))}
    for claim, case, status in (
        ("Balance alone improves segmentation over joint SGD", CLAIM, "holds"),
        ("Balance alone improves segmentation over joint SGD", SCALED, "cannot be tested here"),
        ("Clipping at a threshold of 0 improves segmentation over balance alone", CLAIM, "cannot be tested here"),
        ("Clipping at a threshold of 0 improves segmentation over balance alone", SCALED, "holds"),
        ("Directions by channel are better at segmentation than by filter", "threshold -0.5", "cannot be tested here"),
        ("Directions by channel are better at segmentation than by filter", "threshold -1", "holds"),
        ("Joint SGD is better at disparity than disparity alone", "", "cannot be tested here"),
    ):
        assert told[claim, case] == status


def test_a_baseline_that_is_gone_is_named_with_its_record(tmp_path):
    lost = JOINT.runs(Setting(**SMOKE))
    broken(tmp_path, *lost)
    setting = stored(tmp_path, runs)
    with pytest.raises(RuntimeError, match=rf"^joint SGD: of 3 seeds 3 diverged, .*{lost[0].hash}.failed.json"):
        tables.load(setting)


def test_a_row_is_called_what_it_has_that_table_2_does_not():
    assert [tables.title(cell) for cell in (JOINT, Cell(0.0), Cell(-0.5, "filter"), Cell(0.0, decay=0.0))] == [
        "joint SGD",
        "MTSGD, threshold 0",
        "MTSGD, threshold -0.5, filter",
        "MTSGD, threshold 0, decay 0",
    ]
