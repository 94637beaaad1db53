"""Gaps of gradient magnitude, on a store of runs that were never trained."""

import pytest
from study_stores import keep, metrics_of

from mtlrepro.runs.store import Store
from mtlrepro.studies.mclgs import gaps, grids
from mtlrepro.studies.setting import Setting

GOOD = {"equal": 1.0, "pcgrad": 0.8, "mclgs": 1.0}
CHANGED = {("pcgrad", 1.0): 0.1, ("pcgrad", 100.0): 0.4, ("mclgs", 1.0): 0.2, ("mclgs", 100.0): 0.2}


@pytest.fixture
def found(tmp_path):
    """PCGrad gets worse with the gap and changes more; the others stay as they are."""
    setting = Setting(scale="smoke", seeds=3, comparison_seeds=3, store=Store(tmp_path))
    for (factor, method), runs in grids.scaled(setting).items():
        for run in runs:
            good = GOOD[method] if factor > 1 else 1.0
            share = CHANGED.get((method, factor), 0.0) + 0.01 * run.seed
            probes = [{"update_change": {"shared": share + step, "all": 0.0}} for step in (-0.05, 0.05)]
            history = [{"epoch": epoch, "probe": probe} for epoch, probe in enumerate((None, *probes), 1)]
            values = metrics_of(run, good + 0.001 * run.seed * (1 + (method == "mclgs")))
            keep(tmp_path, run, metrics=values, validation_metrics=values, history=history)
    return gaps.load(setting)


def test_rows_have_what_is_changed_and_what_is_reached(found):
    rows = gaps.rows(found).set_index(["loss times", "method"])
    assert len(rows) == 2 * 3
    own = rows.loc[(100, "PCGrad")]
    assert [own[f"update changed, %{end}"] for end in ("", " low", " high")] == pytest.approx([41, 40, 42])
    assert own["Δ of segmentation, %"] == pytest.approx(-20, abs=0.1)
    assert own["Δ of depth, %"] == pytest.approx(-25, abs=0.2)  # errors grow to 1 / 0.8
    assert rows.loc[(1, "equal"), "update changed, %"] == 0
    assert rows.loc[(1, "equal"), "Δm, %"] == pytest.approx(0, abs=1e-9)
    caption = gaps.exhibit(found).caption
    assert "PCGrad 11.0 [10.0, 12.0] and 41.0 [40.0, 42.0] %; MCLGS 21.0 [20.0, 22.0] and 21.0" in caption


def test_claims_about_gaps(found):
    statuses = {one.claim: one.status for one in gaps.claims(found)}
    assert statuses == {
        "PCGrad changes more of the update where magnitudes differ more": "holds",
        "PCGrad is worse than equal weights where magnitudes differ": "holds",
        "MCLGS is better than PCGrad where magnitudes differ": "holds",
    }
    assert {one.case for one in gaps.claims(found)} == {"loss of depth times 100"}
