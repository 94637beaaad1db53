"""The poster's tables, as printed and rerun, on stores of runs that were never trained."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from study_stores import keep, lose, metrics_of

from mtlrepro.analysis.significance import detectable_difference, holm, paired_p_value
from mtlrepro.pages.readable import readable
from mtlrepro.runs.store import Store
from mtlrepro.studies.mclgs import grids, poster, tables
from mtlrepro.studies.mclgs.poster import BDD100K, NYUV2
from mtlrepro.studies.setting import Setting

GOOD = {"equal": 1.0, "mgda": 0.5, "pcgrad": 1.1, "graddrop": 1.0, "cagrad": 1.2, "mclgs": 1.5, "cagrad+mclgs": 1.6}
"""How good the runs of each method are, on all metrics alike; single tasks are 1."""

# --- as printed


def test_printed_delta_m_is_the_mean_of_the_columns():
    table = poster.recomputed()
    assert len(table) == 7 + 6
    mclgs = table[(table["table"] == "NYUv2") & (table["method"] == "MCLGS (ours)")].iloc[0]
    assert mclgs["mean of the columns, %"] == pytest.approx((1.94 + 6.59 - 2.18) / 3)
    assert table["difference"].abs().max() == pytest.approx(0.005, abs=1e-9)  # MGDA on BDD100K: -22.855, printed -22.85
    assert "13 of 13 rows agree within rounding" in poster.recomputed_exhibit().caption


def test_welch_is_that_of_scipy():
    one, other = np.array([1.0, 2.0, 4.0]), np.array([0.0, 0.5, 0.2])
    expected = stats.ttest_ind(one, other, equal_var=False)
    interval, p = poster.welch(one.mean() - other.mean(), stats.sem(one), stats.sem(other))
    assert p == pytest.approx(expected.pvalue)
    bounds = expected.confidence_interval(0.95)
    assert (interval.low, interval.high) == pytest.approx((bounds.low, bounds.high))


def test_differences_of_printed_means():
    table = poster.differences(NYUV2)
    assert len(table) == 7 * 6 / 2
    assert (table["difference"] >= 0).all()
    best = table[(table["method"] == "MCLGS (ours)") & (table["against"] == "PCGrad")].iloc[0]
    assert best["difference"] == pytest.approx(0.72)
    assert best["low"] < 0 < best["high"]
    assert (table["corrected p"] >= table["p"]).all()
    assert len(poster.differences(BDD100K)) == 6 * 5 / 2
    caption = poster.differences_exhibit().caption
    assert "MCLGS less PCGrad: NYUv2 +0.72 [" in caption


def test_the_posters_own_numbers_are_judged():
    verdicts = poster.claims()
    assert verdicts[0].status == "holds"
    assert {one.finding for one in verdicts} == {0, 1, 2, 3, 7}
    cases = {(one.source, one.finding, one.case): one.status for one in verdicts[1:]}
    assert len(cases) == 6 + 7 + 6 + 1
    assert cases["poster, table of NYUv2", 1, "PCGrad"] == "inconclusive"
    assert cases["poster, table of BDD100K", 3, "MGDA"] == "holds"
    rivals = [one.case for one in verdicts if one.finding == 1]
    assert rivals == ["PCGrad", "CAGrad", "GradDrop", "MTL Baseline", "MGDA", "single tasks"]  # the nearest first
    # 2.12 less 4.3027 times 0.48, and 22.85 less 4.3027 times 0.4: Student's t of two degrees of freedom.
    (single,) = (one for one in verdicts if (one.finding, one.case) == (1, "single tasks"))
    assert (single.measured.high, single.status) == (pytest.approx(-(2.12 - 4.30265273 * 0.48)), "holds")
    assert (verdicts[-1].finding, verdicts[-1].status) == (7, "holds")
    assert verdicts[-1].measured.high == pytest.approx(-22.85 + 4.30265273 * 0.4)


# --- rerun


def setting_with(folder, good=GOOD, street=False, spread=0.01):
    """A setting whose store has the table, at rates of the scale; seeds of one method spread alike in all methods."""
    setting = Setting(scale="smoke", seeds=2, comparison_seeds=3, store=Store(folder))
    setting = grids.streets(setting) if street else setting
    for run in grids.single_tasks(setting):
        keep(folder, run, metrics=metrics_of(run, 1.0), validation_metrics=metrics_of(run, 1.0))
    for method, runs in grids.methods(setting).items():
        for run in runs:
            value = good[method] + spread * (run.seed - 1) * (1 + (method == "mclgs"))
            keep(folder, run, metrics=metrics_of(run, value), validation_metrics=metrics_of(run, value))
    return setting


def test_improvements_by_hand(tmp_path):
    """Where higher is better 1.5 is a gain of 50 %; errors of 1/1.5 are a gain of a third; depth has errors alone."""
    table = tables.load(setting_with(tmp_path, spread=0.0), tuned=False)
    found = table.of("mclgs").mean()
    third = 100 / 3
    assert found["segmentation"] == pytest.approx(50)
    assert found["depth"] == pytest.approx(third)
    assert found["normal"] == pytest.approx((2 * third + 3 * 50) / 5)
    assert found["Δm"] == pytest.approx((50 + third + found["normal"]) / 3)
    assert found["drop"] == pytest.approx(-(2 * 50 + 2 * third + 2 * third + 3 * 50) / 9)
    assert table.of("equal").abs().max(axis=None) == pytest.approx(0)


def test_rows_stand_beside_the_poster(tmp_path):
    table = tables.load(setting_with(tmp_path), tuned=False)
    rows = tables.rows(table).set_index("method")
    assert rows.loc["MCLGS", "printed Δm, %"] == "2.12 ± 0.48"
    assert rows.loc["equal", "printed Δ of normal, %"] == "-4.59"
    assert rows.loc["MCLGS", "learning rate"] == 1e-2
    deltas = table.of("mclgs")["Δm"]
    assert rows.loc["MCLGS", "standard error"] == pytest.approx(deltas.std(ddof=1) / 3**0.5)
    main, compared = tables.exhibits(table)
    assert "By the mean of Δm the order is CAGrad + MCLGS, MCLGS, CAGrad, PCGrad" in main.caption
    assert "MGDA; by the mean drop over all metrics it is the same." in main.caption
    shown = readable(main.shown)[0].set_index("method")
    assert len(shown) == len(main.table) == 7 and len(shown.columns) <= 6
    assert shown.loc["equal", "Δ of normal, %, printed; ours"] == "-4.59; 0.0 [-1.0, 1.0]"
    assert shown.loc["equal", "Δm, %, printed; ours"] == "0.49 ± 1.03; 0.0 ± 0.6 [-1.0, 1.0]"
    assert len(compared.table) == 6 + 4 + 5  # against equal weights, MCLGS, and CAGrad with MCLGS
    assert not compared.table.duplicated(["method", "against"]).any()
    printed = compared.table.set_index(["method", "against"])["printed gain, points"]
    assert printed["MCLGS", "equal"] == pytest.approx(2.12 - 0.49)
    assert "the poster prints 1.6, and so many pairs would show a true gain of " in compared.caption
    assert readable(compared.table)[0]["gain, points"].str.contains(r"\[").all()


def test_differences_are_paired(tmp_path):
    """MCLGS spreads by twice the others' step a seed, so a pair's difference varies by one step."""
    table = tables.load(setting_with(tmp_path), tuned=False)
    tests = tables.tests(table).set_index(["method", "against"])
    gains = table.of("mclgs")["Δm"] - table.of("equal")["Δm"]
    row = tests.loc["MCLGS", "equal"]
    assert row["gain, points"] == pytest.approx(gains.mean())
    half = stats.t.ppf(0.975, 2) * gains.std(ddof=1) / 3**0.5
    assert (row["gain, points low"], row["gain, points high"]) == pytest.approx(
        (gains.mean() - half, gains.mean() + half)
    )
    assert row["pairs"] == 3


def test_p_is_corrected_and_what_would_show_is_of_the_pairs(tmp_path):
    table = tables.load(setting_with(tmp_path), tuned=False)
    tests = tables.tests(table)
    names = {tables.method_title(method): method for method in table.runs}
    gains = [table.gains(names[row.method], names[row.against]) for row in tests.itertuples()]
    assert tests["p"].tolist() == pytest.approx(holm([paired_p_value(own) for own in gains]))
    shows = [detectable_difference(len(own)) * own.std(ddof=1) for own in gains]
    assert tests["would show, points"].tolist() == pytest.approx(shows)
    compared = tables.exhibits(table)[1].caption
    better, worse = compared.split("better: ")[1].split(".")[0].split("; worse: ")
    clear = tests[tests["p"] < 0.05]
    assert 0 < len(clear) < len(tests)
    for row in clear.itertuples():
        assert f"{row.method} than {row.against}" in (better if row._5 > 0 else worse)
    assert len(better.split("; ")) == (clear["gain, points"] > 0).sum()


def test_pairs_need_no_seeds_of_single_tasks(tmp_path):
    """Methods are compared by each other's runs, whether or not single tasks of these seeds are left."""
    setting = setting_with(tmp_path)
    lose(tmp_path, next(run for run in grids.single_tasks(setting) if run.tasks == ("depth",) and run.seed == 1))
    lose(tmp_path, grids.methods(setting)["mclgs"][0])
    table = tables.load(setting, tuned=False)
    assert "MCLGS" not in set(tables.rows(table)["method"])
    assert tables.tests(table).set_index(["method", "against"]).loc["MCLGS", "equal"]["pairs"] == 2


def test_a_table_without_two_runs_of_any_method_says_so(tmp_path):
    setting = setting_with(tmp_path)
    lose(tmp_path, *[run for runs in grids.methods(setting).values() for run in runs[1:]])
    main, compared = tables.exhibits(tables.load(setting, tuned=False))
    assert main.table.empty and compared.table.empty
    assert main.caption.startswith("No method has two runs of the seeds of single tasks. Runs that diverged are left")
    assert {one.status for one in tables.claims(tables.load(setting, tuned=False))} == {"cannot be tested here"}


def test_on_the_posters_own_data_values_are_not_called_those_of_other_data(tmp_path):
    table = tables.load(setting_with(tmp_path), tuned=False)
    assert "values are of other data" in tables.exhibits(table)[0].caption
    assert "values are of other data" not in tables.exhibits(replace(table, dataset="nyuv2"))[0].caption


def test_streets_have_their_own_metrics_and_seeds(tmp_path):
    table = tables.load(setting_with(tmp_path, street=True), tuned=False)
    rows = tables.rows(table)
    assert rows["method"].tolist() == ["equal", "MGDA", "MCLGS"]
    assert rows["printed Δ of detection, %"].tolist() == ["3.10", "-39.57", "3.71"]
    assert {method: len(runs) for method, runs in table.runs.items()} == {"equal": 3, "mgda": 2, "mclgs": 3}
    assert tables.tests(table)["pairs"].tolist() == [2, 3, 2]  # MGDA, MCLGS; MCLGS against MGDA
    single = tables.single_exhibit(table)
    assert single.table["metric"].tolist() == ["mAP at IoU 0.5, %", "mAP, %", "mIoU, %"]
    assert np.isclose(single.table["alone"], 1).all()


def test_claims_of_the_tables(tmp_path):
    table = tables.load(setting_with(tmp_path), tuned=False)
    statuses = {(one.claim, one.case): one.status for one in tables.claims(table)}
    assert statuses["MCLGS is better than every method without it", "CAGrad, rooms"] == "holds"
    assert statuses["CAGrad + MCLGS is better than every other method", "MCLGS, rooms"] == "holds"
    assert statuses["MCLGS is better than single tasks", "rooms"] == "holds"
    assert statuses["CAGrad + MCLGS is better than single tasks", "rooms"] == "holds"
    assert statuses["Equal weights are better than single tasks", "rooms"] == "inconclusive"
    assert {one.finding for one in tables.claims(table)} == {0, 1, 2}
    assert [one.claim for one in tables.claims(table) if not one.finding] == [
        "Equal weights are better than single tasks"
    ]
    street = tables.load(setting_with(tmp_path / "street", street=True), tuned=False)
    assert {one.finding for one in tables.claims(street)} == {0, 3, 7}


def test_the_fall_of_mgda_is_held_against_the_posters(tmp_path):
    """Half of what single tasks reach is a fall of 50 %, further than 39.57 % and 6.14 %."""
    table = tables.load(setting_with(tmp_path, street=True), tuned=False)
    falls = [one for one in tables.claims(table) if one.finding == 7]
    assert [(one.claim, one.status) for one in falls] == [
        (f"{tables.WITHOUT_ZERO} (detection)", "holds"),
        (f"{tables.WITHOUT_ZERO} (segmentation)", "holds"),
    ]
    assert [one.claimed for one in falls] == [-39.57, -6.14]


# --- runs that diverged


def test_a_further_seed_that_diverges_is_counted_and_its_method_not_judged(tmp_path):
    setting = setting_with(tmp_path)
    lose(tmp_path, grids.methods(setting)["mclgs"][2])
    table = tables.load(setting, tuned=False)
    assert table.lost == {"mclgs": 1}
    assert table.of("mclgs").index.tolist() == [0, 1]
    main, compared = tables.exhibits(table)
    assert all("Runs that diverged are left out: 1 of MCLGS. (" in one.caption for one in (main, compared))
    assert "Brackets: the range over 3 seeds, or the range over 2 seeds, with the spread" in main.caption
    assert compared.table.set_index(["method", "against"]).loc["MCLGS", "equal"]["pairs"] == 2
    statuses = {(one.claim, one.case): one.status for one in tables.claims(table)}
    assert statuses["MCLGS is better than every method without it", "CAGrad, rooms"] == "cannot be tested here"
    assert statuses["CAGrad + MCLGS is better than every other method", "MCLGS, rooms"] == "cannot be tested here"
    assert statuses["CAGrad + MCLGS is better than every other method", "CAGrad, rooms"] == "holds"
    named = compared.caption.split("better: ")[1].split(".")[0]
    assert "CAGrad than equal" in named
    assert "MCLGS than CAGrad" not in named.replace("CAGrad + MCLGS than CAGrad", "")
    assert "of which a run diverged, nothing is said)" in compared.caption
    assert statuses["MCLGS is better than single tasks", "rooms"] == "cannot be tested here"


def test_a_method_without_two_runs_has_no_row(tmp_path):
    setting = setting_with(tmp_path)
    lose(tmp_path, *grids.methods(setting)["mgda"], *grids.methods(setting)["pcgrad"][:2])
    table = tables.load(setting, tuned=False)
    assert table.lost == {"mgda": 3, "pcgrad": 2}
    assert {"MGDA", "PCGrad"}.isdisjoint(tables.rows(table)["method"])
    assert {"MGDA", "PCGrad"}.isdisjoint(tables.tests(table)["method"])
    statuses = {(one.claim, one.case): one.status for one in tables.claims(table)}
    assert statuses["MCLGS is better than every method without it", "MGDA, rooms"] == "cannot be tested here"


def test_too_few_runs_of_mclgs_leave_what_captions_say_of_it_open(tmp_path):
    setting = setting_with(tmp_path)
    lose(tmp_path, *grids.methods(setting)["mclgs"][1:])
    compared = tables.exhibits(tables.load(setting, tuned=False))[1]
    assert (
        "MCLGS less equal weights: ? points; the poster prints 1.6, and so many pairs would show a true gain of ?. "
        in compared.caption
    )
    assert "2 of MCLGS" in compared.caption
    lose(tmp_path, grids.methods(setting)["mclgs"][0], *grids.methods(setting)["equal"][1:])
    compared = tables.exhibits(tables.load(setting, tuned=False))[1]
    assert set(compared.table["method"]) == {"CAGrad + MCLGS"}
    lose(tmp_path, *grids.methods(setting)["cagrad+mclgs"][1:])
    assert tables.exhibits(tables.load(setting, tuned=False))[1].table.empty


def test_a_single_task_that_diverges_takes_its_seed_from_the_spread(tmp_path):
    setting = setting_with(tmp_path)
    lose(tmp_path, next(run for run in grids.single_tasks(setting) if run.tasks == ("depth",) and run.seed == 1))
    table = tables.load(setting, tuned=False)
    assert table.lost == {"depth": 1}
    assert table.single.index.tolist() == table.spread("equal").index.tolist() == [0, 2]
    statuses = {(one.claim, one.case): one.status for one in tables.claims(table)}
    assert statuses["MCLGS is better than single tasks", "rooms"] == "cannot be tested here"
    assert statuses["MCLGS is better than every method without it", "CAGrad, rooms"] == "holds"


def test_tuned_tables_have_the_chosen_rates(tmp_path):
    """Nothing is learned at the lower rate, but MCLGS is better there on validation."""
    setting = setting_with(tmp_path)
    for runs in (*grids.rate_search(setting).values(), *grids.single_search(setting).values()):
        for run in runs:
            if run.lr == 1e-2 and len(run.tasks) > 1:
                continue
            good = 2.0 if run.method == "mclgs" else 0.3 if run.lr == 1e-5 else 1.0
            keep(tmp_path, run, metrics=metrics_of(run, good), validation_metrics=metrics_of(run, good))
    for run in grids.methods(setting, dict.fromkeys(grids.METHODS, 1e-5))["mclgs"]:
        keep(tmp_path, run, metrics=metrics_of(run, 2.0), validation_metrics=metrics_of(run, 2.0))
    lost = [run for run in grids.rate_search(setting)["mgda"] if run.lr == 1e-5]
    lose(tmp_path, *lost, grids.methods(setting)["mgda"][0])
    without = tables.load(setting, tuned=True)
    assert without.lost == {"mgda": 2} and "mgda" not in {*without.rates, *without.runs}
    assert "Runs that diverged are left out: 2 of MGDA. (" in tables.exhibits(without)[0].caption
    statuses = {(one.claim, one.case): one.status for one in tables.claims(without)}
    claim = "MCLGS is better than every method without it", "MGDA, rooms, tuned learning rates"
    assert statuses[claim] == "cannot be tested here"
    found = grids.methods(setting)["mgda"][0]
    for run in (*lost, found):
        good = 0.3 if run.lr == 1e-5 else GOOD["mgda"] - 0.01
        keep(tmp_path, run, metrics=metrics_of(run, good), validation_metrics=metrics_of(run, good))
    table = tables.load(setting, tuned=True)
    assert table.rates == {**dict.fromkeys([*grids.METHODS, *setting.run().tasks], 1e-2), "mclgs": 1e-5}
    assert table.of("mclgs")["segmentation"].tolist() == pytest.approx([100] * 3)
    assert tables.exhibits(table)[0].name == "nyuv2_tuned"
    assert "PCGrad, rooms, tuned learning rates" in {one.case for one in tables.claims(table)}
    assert isinstance(table.single, pd.DataFrame) and len(table.single) == 3
