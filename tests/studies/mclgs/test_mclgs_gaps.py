"""Gaps of gradient magnitude, on a store of runs that were never trained."""

import pytest
from study_stores import keep, lose, metrics_of

from mtlrepro.pages.readable import readable
from mtlrepro.runs.store import Store
from mtlrepro.studies.mclgs import gaps, grids
from mtlrepro.studies.setting import Setting

GOOD = {"equal": 1.0, "pcgrad": 0.8, "mclgs": 1.0}
CHANGED = {("pcgrad", 1.0): 0.1, ("pcgrad", 100.0): 0.4, ("mclgs", 1.0): 0.2, ("mclgs", 100.0): 0.2}


@pytest.fixture
def setting(tmp_path):
    """PCGrad gets worse with the gap and changes more; the others stay as they are."""
    setting = Setting(scale="smoke", seeds=3, comparison_seeds=3, store=Store(tmp_path))
    for (factor, method), runs in grids.scaled(setting).items():
        for run in runs:
            good = GOOD[method] if factor > 1 else 1.0
            share = CHANGED.get((method, factor), 0.0) + 0.01 * run.seed
            norms = {"segmentation": 2.0, "depth": 1.0 * factor, "normal": 1.0}
            probes = [{"norms": norms, "update_change": {"shared": share + step, "all": 0}} for step in (-0.05, 0.05)]
            losses = {"segmentation": 3.0, "depth": 0.1 / good, "normal": 1.0}
            history = [{"epoch": n, "probe": probe, "losses": losses} for n, probe in enumerate((None, *probes), 1)]
            values = metrics_of(run, good + 0.001 * run.seed * (1 + (method == "mclgs")))
            keep(tmp_path, run, metrics=values, validation_metrics=values, history=history)
    return setting


@pytest.fixture
def found(setting):
    return gaps.load(setting)


def test_rows_have_what_is_changed_and_what_is_reached(found):
    rows = gaps.rows(found).set_index(["loss times", "method"])
    assert len(rows) == 2 * 3
    own = rows.loc[(100, "PCGrad")]
    assert [own[f"update changed, %{end}"] for end in ("", " low", " high")] == pytest.approx([41, 40, 42])
    assert own["Δ of segmentation, %"] == pytest.approx(-20, abs=0.1)
    assert own["Δ of depth, %"] == pytest.approx(-25, abs=0.2)  # errors grow to 1 / 0.8
    assert rows.loc[(1, "equal"), "update changed, %"] == 0
    gaps_of = rows["gradients, largest over smallest"]
    assert [gaps_of[1, "equal"], gaps_of[100, "MCLGS"]] == pytest.approx([2, 100])
    above = 100 * ((3 + 100 * 0.1 / 0.8 + 1) / (3 + 100 * 0.1 + 1) - 1)
    assert own["objective above equal, %"] == pytest.approx(above)
    assert rows.loc[(1, "PCGrad"), "objective above equal, %"] == pytest.approx(0)
    assert rows.loc[(1, "equal"), "Δm, %"] == pytest.approx(0, abs=1e-9)
    shown = gaps.exhibit(found)
    assert "PCGrad 11.0 [10.0, 12.0] and 41.0 [40.0, 42.0], MCLGS 21.0 [20.0, 22.0] and 21.0" in shown.caption
    assert "a task is 2.0 [2.0, 2.0] and 100.0 [100.0, 100.0] times as long as the smallest" in shown.caption
    assert len(readable(shown.shown)[0].columns) == 6


def test_claims_about_gaps(found):
    statuses = {one.claim: one.status for one in gaps.claims(found)}
    assert statuses == {
        "PCGrad changes more of the update where magnitudes differ more": "holds",
        "PCGrad ends at a larger training objective than equal weights where magnitudes differ": "holds",
        "MCLGS is better than PCGrad where magnitudes differ": "holds",
    }
    assert {one.case for one in gaps.claims(found)} == {"loss of depth times 100"}


def test_runs_that_diverge_with_the_gap_are_counted_and_not_judged(setting, tmp_path):
    scaled = grids.scaled(setting)
    lose(tmp_path, *scaled[100.0, "pcgrad"], scaled[100.0, "mclgs"][2])
    found = gaps.load(setting)
    rows = gaps.rows(found).set_index(["loss times", "method"])
    assert (100, "PCGrad") not in rows.index and len(rows) == 5
    caption = gaps.exhibit(found).caption
    assert "PCGrad 11.0 [10.0, 12.0] and ?, MCLGS" in caption and "MCLGS less PCGrad: ? points" in caption
    lost = "3 of PCGrad at a factor of 100, 1 of MCLGS at a factor of 100"
    assert f"Runs that diverged are left out: {lost}. (Brackets" in caption
    assert [one.status for one in gaps.claims(found)] == ["cannot be tested here"] * 3
    lose(tmp_path, *scaled[1.0, "equal"])
    with pytest.raises(RuntimeError, match=r"^equal weights: of 3 seeds 3 diverged, "):
        gaps.load(setting)
