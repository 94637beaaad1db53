"""The poster's methods against fixed weights, on a store of runs that were never trained."""

import pytest
from curriculum_stores import put_plain, put_steps
from study_stores import lose

from mtlrepro.runs.store import Store
from mtlrepro.studies.mclgs import front, grids
from mtlrepro.studies.setting import Setting

GOOD = {"equal": 1.0, "mgda": 0.9, "pcgrad": 1.1, "graddrop": 1.0, "cagrad": 1.2, "mclgs": 1.5, "cagrad+mclgs": 1.6}


@pytest.fixture
def setting(tmp_path):
    """Fixed weights are best where they are equal, at most 1.23; MCLGS's mean weights are 1.4."""
    setting = Setting(scale="smoke", seeds=3, comparison_seeds=3, store=Store(tmp_path))
    for method, runs in grids.methods(setting).items():
        for run in runs:
            store = put_steps if method == "mclgs" else put_plain
            store(tmp_path, run, GOOD[method] + 0.01 * run.seed)
    for run in [*grids.front(setting), *grids.tuned_front(setting, (0.25, 0.25, 0.5))]:
        good = 1.6 - sum(weight * weight for weight in run.method_options["weights"])
        put_plain(tmp_path, run, good + 0.01 * run.seed)
    for runs in (grids.tuned_front(setting, weights) for weights in ((0.25, 0.5, 0.25), (0.5, 0.25, 0.25))):
        for run in runs:
            put_plain(tmp_path, run, 1.22 + 0.01 * run.seed)
    for run in grids.replayed(setting):
        put_plain(tmp_path, run, 1.4 + 0.01 * run.seed)
    return setting


@pytest.fixture
def found(setting):
    return front.load(setting)


def test_methods_are_held_against_the_front(found):
    rows = front.table(found).set_index("method")
    assert rows.index.tolist()[-1] == front.REPLAYED and len(rows) == 8
    assert (rows.loc["MCLGS", ["gain", "low", "beyond"]] > 0).all()
    assert rows.loc["MGDA", "gain"] < 0
    shown = front.exhibit(found)
    assert "Fixed weights: 3 points, seeds 0, 1." in shown.caption
    assert "Tuned less equal weights: +" in shown.caption and "MCLGS less the tuned weights: +" in shown.caption
    assert shown.caption.endswith("Beyond the front and points as far: seeds 0, 1 alone.)")
    # Means of [0.5, 0.3, 0.4], [0.2, 0.3, 0.3] and, in the second half of the run, of 1/3 each.
    assert found.held == (0.342, 0.317, 0.342)
    assert "held fixed (segmentation 0.342, depth 0.317, normal 0.342): +" in shown.caption


def test_claims_against_fixed_weights(found):
    statuses = {one.claim: one.status for one in front.claims(found)}
    assert statuses == {
        "MCLGS is better than fixed weights tuned on the validation split": "holds",
        "MCLGS is further beyond the front than its points are beyond each other": "holds",
        "MCLGS is better than its own mean weights held fixed": "holds",
    }


def test_without_a_front_the_same_claims_are_not_judged(found):
    nothing = front.claims(None)
    assert [one.claim for one in nothing] == [one.claim for one in front.claims(found)]
    assert {one.status for one in nothing} == {"cannot be tested here"}


def test_a_run_of_mclgs_that_diverged_takes_its_replay_with_it_and_is_not_judged(setting, tmp_path):
    mclgs = grids.methods(setting)["mclgs"]
    lose(tmp_path, mclgs[0], *grids.methods(setting)["mgda"])
    found = front.load(setting)
    assert found.lost == {"MGDA": 3, "MCLGS": 1, front.REPLAYED: 1}
    assert "MGDA" not in set(front.table(found)["method"])
    assert f"left out: 3 of MGDA, 1 of MCLGS, 1 of {front.REPLAYED}. (Imp" in front.exhibit(found).caption
    assert {one.status for one in front.claims(found)} == {"cannot be tested here"}
    lose(tmp_path, *mclgs[1:])
    shown = front.exhibit(front.load(setting))
    assert "MCLGS less the tuned weights: ?; less its own mean weights held fixed: ?." in shown.caption
