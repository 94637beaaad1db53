"""Priorities of LSB against fixed weights, on fronts made by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mtlrepro.studies.lsb import priorities
from mtlrepro.studies.lsb.priorities import FIXED, LSB

SHARES = (0.1, 0.5, 0.9)


def runs_of(fronts, pair=("segmentation", "depth"), seeds=2):
    """Runs as the grid gives them: method to the points of its front, (mIoU, delta_1), by share; seeds add 0.1."""
    rows = []
    for method, points in fronts.items():
        option = {"lsb": "priority", "fixed": "weights"}[method]
        for share, (x, y) in zip(SHARES, points, strict=True):
            for seed in range(seeds):
                options = {"method_options.priority": None, "method_options.weights": None}
                options[f"method_options.{option}"] = (share, round(1 - share, 6))
                metrics = {"segmentation.miou": x + 0.1 * seed, "depth.delta1": y + 0.1 * seed}
                rows.append({"tasks": pair, "method": method, "seed": seed, **options, **metrics})
    return pd.DataFrame(rows)


FRONTS = {"lsb": [(4.9, 9.9), (6.9, 7.9), (8.9, 5.9)], "fixed": [(0.0, 7.9), (3.9, 3.9), (6.9, 0.0)]}


@pytest.fixture
def operating():
    return priorities.points(runs_of(FRONTS))


def test_points_by_hand(operating):
    assert len(operating) == 12
    row = operating.query("method == @LSB and share == 0.9 and seed == 1").iloc[0]
    assert row[["pair", "x_task", "y_task"]].tolist() == ["segmentation and depth", "segmentation", "depth"]
    assert row[["x", "y"]].tolist() == pytest.approx([9.0, 6.0])
    fixed = operating.query("method == @FIXED and seed == 0")
    assert fixed["share"].tolist() == list(SHARES)
    assert fixed["x"].tolist() == [0.0, 3.9, 6.9]


def test_a_task_without_an_axis_is_refused():
    with pytest.raises(ValueError, match="task is 'curvature'; accepted: depth, normal, segmentation"):
        priorities.points(runs_of(FRONTS, pair=("depth", "curvature")))


def test_hypervolumes_by_hand(operating):
    """The box goes from (0, 0) to (9, 10).

    Seed 1: LSB dominates 9 x 6 + 7 x 2 + 5 x 2 = 78 of 90. Fixed weights, at (0.1, 8), (4, 4) and (7, 0.1), dominate
    7 x 0.1 + 4 x 3.9 + 0.1 x 4 = 16.7; with seed 0, at (0, 7.9), (3.9, 3.9) and (6.9, 0), only the middle counts.
    """
    found = priorities.hypervolumes(operating).set_index(["method", "seed"])["hypervolume"]
    assert found[(LSB, 1)] == pytest.approx(100 * 78 / 90)
    assert found[(LSB, 0)] == pytest.approx(100 * (8.9 * 5.9 + 6.9 * 2 + 4.9 * 2) / 90)
    assert found[(FIXED, 1)] == pytest.approx(100 * 16.7 / 90)
    assert found[(FIXED, 0)] == pytest.approx(100 * 3.9**2 / 90)


def test_units_and_offsets_of_metrics_do_not_matter(operating):
    other = operating.assign(x=3 + operating["x"] / 100, y=operating["y"] * 7)
    pd.testing.assert_frame_equal(priorities.hypervolumes(operating), priorities.hypervolumes(other))


def test_a_metric_that_never_changes_is_refused(operating):
    with pytest.raises(ValueError, match="a metric of segmentation and depth is the same in all runs"):
        priorities.hypervolumes(operating.assign(x=1.0))


def test_differences_are_paired_and_pooled_by_seed():
    """Per seed LSB leads by 10 and 12 in one pair and by 20 and 30 in the other: 15 and 21 over both."""
    rows = [
        (pair, method, seed, 40.0 + 5 * seed + (gain[seed] if method == LSB else 0.0))
        for pair, gain in (("a", (10.0, 12.0)), ("b", (20.0, 30.0)))
        for method in (LSB, FIXED)
        for seed in (0, 1)
    ]
    volumes = pd.DataFrame(rows, columns=["pair", "method", "seed", "hypervolume"])
    found = priorities.differences(volumes).set_index("pair")
    assert found["difference"].to_dict() == {"a": 11, "b": 25, "every pair": 18}
    assert found[FIXED].to_dict() == {"a": 42.5, "b": 42.5, "every pair": 42.5}
    half = stats.t.ppf(0.975, 1) * np.std([15, 21], ddof=1) / 2**0.5
    assert found.loc["every pair", ["low", "high"]].tolist() == pytest.approx([18 - half, 18 + half])
    assert found["p"].tolist() == found["p_reachable"].tolist() == [0.5] * 3


def test_inversions_by_hand():
    """Segmentation rises 1, 2, 3: none of 3. Depth should fall with the share of segmentation: 5, 7, 6 has 2 of 3."""
    front = [(1.0, 5.0), (2.0, 7.0), (3.0, 6.0)]
    operating = priorities.points(runs_of({"lsb": front, "fixed": [(1.0, 1.0)] * 3}))
    found = priorities.inversions(operating).set_index(["method", "task", "seed"])["inversions"]
    assert found[(LSB, "segmentation", 0)] == 0
    assert found[(LSB, "depth", 0)] == pytest.approx(100 * 2 / 3)
    assert found[(FIXED, "depth", 1)] == 50
    tau = stats.kendalltau([1, 2, 3], [-5, -7, -6]).statistic
    assert found[(LSB, "depth", 1)] == pytest.approx(100 * (1 - tau) / 2)
    table = priorities.control(priorities.inversions(operating)).set_index(["method", "task"])
    assert table.loc[(LSB, "depth"), ["mean", "low", "high"]].tolist() == pytest.approx([200 / 3] * 3)
    obeyed = priorities.obedience(priorities.inversions(operating))
    assert obeyed[LSB].value == pytest.approx(100 / 3)
    assert obeyed[FIXED].value == 50


def test_claims_follow_the_fronts(operating):
    better, control = priorities.claims(operating)
    assert "segmentation and depth" in better.claim
    assert (better.status, control.status) == ("holds", "holds")
    assert better.measured.value < 0
    swapped = operating.assign(method=operating["method"].map({LSB: FIXED, FIXED: LSB}))
    assert priorities.claims(swapped)[0].status == "does not hold"
    reverse = operating.assign(share=1 - operating["share"])
    assert priorities.claims(reverse)[1].status == "does not hold"


def test_figure_shows_every_run_and_labels_the_ends(operating):
    axes = priorities.figure(operating).axes[0]
    assert axes.get_xlabel() == "segmentation: mIoU, %"
    assert axes.get_ylabel() == "depth: δ₁, %"
    assert len(axes.lines[0].get_xdata()) == 6
    np.testing.assert_allclose(axes.lines[1].get_xdata(), [4.95, 6.95, 8.95])
    assert [text.get_text() for text in axes.texts] == ["0.1 : 0.9", "0.9 : 0.1"] * 2


def test_findings_are_computed(operating):
    compared = priorities.differences(priorities.hypervolumes(operating))
    text = priorities.finding(compared)
    assert f"segmentation and depth {compared['difference'][0]:.1f} [" in text
    assert "every pair" in text
    control = priorities.control_finding(priorities.inversions(operating))
    assert "0 [0, 0] % with LSB with priorities and 0 [0, 0] % with fixed weights" in control
