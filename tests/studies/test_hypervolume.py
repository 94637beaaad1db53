"""Fronts made by hand, in planes where both metrics are better when higher and where one is better when lower."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mtlrepro.analysis.significance import pairs_needed
from mtlrepro.studies import hypervolume
from mtlrepro.studies.hypervolume import Plane

SHARES = (0.1, 0.5, 0.9)
PLANE = Plane("segmentation.miou", "depth.delta1")
PLANES = {PLANE.name: PLANE}
ERRORS = Plane("segmentation.miou", "depth.rmse")
FRONTS = {"moving": [(4.9, 9.9), (6.9, 7.9), (8.9, 5.9)], "fixed": [(0.0, 7.9), (3.9, 3.9), (6.9, 0.0)]}


def runs_of(fronts, seeds=2, shares=SHARES):
    """Family to the points of its front, (mIoU, delta_1), by share; seeds add 0.1; RMSE is 20 less delta_1."""
    rows = [
        {
            "method": method,
            "share": share,
            "seed": seed,
            "segmentation.miou": x + 0.1 * seed,
            "depth.delta1": y + 0.1 * seed,
            "depth.rmse": 20 - y - 0.1 * seed,
        }
        for method, points in fronts.items()
        for share, (x, y) in zip(shares, points, strict=True)
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def operating():
    return hypervolume.points(runs_of(FRONTS), PLANE)


def test_points_by_hand(operating):
    assert len(operating) == 12
    row = operating.query("method == 'moving' and share == 0.9 and seed == 1").iloc[0]
    assert row[["pair", "x_task", "y_task"]].tolist() == ["segmentation and depth", "segmentation", "depth"]
    assert row[["x", "y"]].tolist() == pytest.approx([9.0, 6.0])
    fixed = operating.query("method == 'fixed' and seed == 0")
    assert fixed["share"].tolist() == list(SHARES)
    assert fixed["x"].tolist() == [0.0, 3.9, 6.9]


def test_hypervolumes_by_hand(operating):
    """The box goes from (0, 0) to (9, 10).

    Seed 1: the moving front dominates 9 x 6 + 7 x 2 + 5 x 2 = 78 of 90. The fixed one, at (0.1, 8), (4, 4) and
    (7, 0.1), dominates 7 x 0.1 + 4 x 3.9 + 0.1 x 4 = 16.7; with seed 0, at (0, 7.9), (3.9, 3.9) and (6.9, 0), only the
    middle counts.
    """
    found = hypervolume.hypervolumes(operating, PLANES).set_index(["method", "seed"])["hypervolume"]
    assert found[("moving", 1)] == pytest.approx(100 * 78 / 90)
    assert found[("moving", 0)] == pytest.approx(100 * (8.9 * 5.9 + 6.9 * 2 + 4.9 * 2) / 90)
    assert found[("fixed", 1)] == pytest.approx(100 * 16.7 / 90)
    assert found[("fixed", 0)] == pytest.approx(100 * 3.9**2 / 90)


def test_an_error_counts_as_the_metric_that_it_mirrors(operating):
    mirrored = hypervolume.points(runs_of(FRONTS), ERRORS)
    assert mirrored["y"].tolist() == pytest.approx((20 - operating["y"]).tolist())
    planes = {ERRORS.name: ERRORS}
    for of in (hypervolume.hypervolumes, hypervolume.inversions):
        pd.testing.assert_frame_equal(of(mirrored, planes), of(operating, PLANES))


def test_units_and_offsets_of_metrics_do_not_matter(operating):
    other = operating.assign(x=3 + operating["x"] / 100, y=operating["y"] * 7)
    pd.testing.assert_frame_equal(hypervolume.hypervolumes(operating, PLANES), hypervolume.hypervolumes(other, PLANES))


def test_a_metric_that_never_changes_is_refused(operating):
    with pytest.raises(ValueError, match="a metric of segmentation and depth is the same in all runs"):
        hypervolume.hypervolumes(operating.assign(x=1.0), PLANES)


def test_differences_are_paired_and_pooled_by_seed():
    """Per seed one family leads by 10 and 12 in one plane and by 20 and 30 in the other: 15 and 21 over both."""
    rows = [
        (pair, method, seed, 40.0 + 5 * seed + (gain[seed] if method == "moving" else 0.0))
        for pair, gain in (("a", (10.0, 12.0)), ("b", (20.0, 30.0)))
        for method in ("moving", "fixed")
        for seed in (0, 1)
    ]
    volumes = pd.DataFrame(rows, columns=["pair", "method", "seed", "hypervolume"])
    found = hypervolume.differences(volumes, "moving", "fixed").set_index("pair")
    assert found["difference"].to_dict() == {"a": 11, "b": 25, "every pair": 18}
    assert found["fixed"].to_dict() == {"a": 42.5, "b": 42.5, "every pair": 42.5}
    half = stats.t.ppf(0.975, 1) * np.std([15, 21], ddof=1) / 2**0.5
    assert found.loc["every pair", ["low", "high"]].tolist() == pytest.approx([18 - half, 18 + half])
    assert found["p"].tolist() == found["p_reachable"].tolist() == [0.5] * 3
    assert found["p_holm"].tolist() == [1, 1, 0.5]  # two planes are read together, their mean by itself
    assert found["seeds"].tolist() == [pairs_needed(gain) for gain in ([10, 12], [20, 30], [15, 21])]


def test_what_would_decide_names_every_plane():
    table = pd.DataFrame({"pair": ["a", "b"], "seeds": [16.0, np.inf]})
    assert hypervolume.deciding(table).endswith("of all repetitions: a 16; b no number.")


def test_inversions_by_hand():
    """Segmentation rises 1, 2, 3: none of 3. Depth should fall with the share of segmentation: 5, 7, 6 has 2 of 3."""
    front = [(1.0, 5.0), (2.0, 7.0), (3.0, 6.0)]
    operating = hypervolume.points(runs_of({"moving": front, "fixed": [(1.0, 1.0)] * 3}), PLANE)
    inverted = hypervolume.inversions(operating, PLANES)
    found = inverted.set_index(["method", "task", "seed"])["inversions"]
    assert found[("moving", "segmentation", 0)] == 0
    assert found[("moving", "depth", 0)] == pytest.approx(100 * 2 / 3)
    assert found[("fixed", "depth", 1)] == 50
    tau = stats.kendalltau([1, 2, 3], [-5, -7, -6]).statistic
    assert found[("moving", "depth", 1)] == pytest.approx(100 * (1 - tau) / 2)
    table = hypervolume.control(inverted).set_index(["method", "task"])
    assert table.loc[("moving", "depth"), ["mean", "low", "high"]].tolist() == pytest.approx([200 / 3] * 3)
    assert table[["low", "high"]].stack().between(0, 100).all()
    obeyed = hypervolume.obedience(inverted)
    assert obeyed["moving"].value == pytest.approx(100 / 3)
    assert obeyed["fixed"].value == 50


def test_shares_of_inversions_have_the_range_over_seeds():
    """One seed obeys, the next has 1 of 3 wrong: Student's interval of 0 and 33 % would reach from -195 to 228 %."""
    rows = [("a", "moving", "depth", seed, share) for seed, share in enumerate((0.0, 100 / 3))]
    inverted = pd.DataFrame(rows, columns=["pair", "method", "task", "seed", "inversions"])
    assert hypervolume.control(inverted)[["low", "high"]].iloc[0].tolist() == pytest.approx([0, 100 / 3])
    obeyed = hypervolume.obedience(inverted)["moving"]
    assert (obeyed.value, obeyed.low, obeyed.high) == pytest.approx((50 / 3, 0, 100 / 3))


def test_the_finding_on_control_names_every_family(operating):
    text = hypervolume.control_finding(hypervolume.inversions(operating, PLANES))
    assert "0 [0, 0] % with fixed and 0 [0, 0] % with moving" in text


def test_figure_shows_every_run_and_labels_the_ends(operating):
    (axes,) = hypervolume.figure(operating, PLANES).axes
    assert axes.get_xlabel() == "segmentation: mIoU, %"
    assert axes.get_ylabel() == "depth: δ₁, %"
    assert len(axes.lines[0].get_xdata()) == 6
    np.testing.assert_allclose(axes.lines[3].get_xdata(), [4.95, 6.95, 8.95])
    assert [text.get_text() for text in axes.texts] == ["0.1 : 0.9", "0.9 : 0.1"] * 2


def test_methods_are_points_against_a_front_of_weights_of_three_tasks():
    """The line of the front leaves out (2, 2), which (3, 3) dominates; a method is one point and has no text."""
    weights = ("0.1 : 0.1 : 0.8", "0.1 : 0.8 : 0.1", "0.8 : 0.1 : 0.1")
    front = runs_of({"fixed": [(1.0, 5.0), (2.0, 2.0), (3.0, 3.0)]}, shares=weights)
    method = runs_of({"moving": [(4.0, 1.0)]}, shares=("",))
    operating = hypervolume.points(pd.concat([front, method]), PLANE)
    (axes,) = hypervolume.figure(operating, PLANES).axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert lines["fixed"] == [pytest.approx([1.05, 5.05]), pytest.approx([3.05, 3.05])]
    assert lines["moving"] == [pytest.approx([4.05, 1.05])]
    assert not axes.texts


def test_equal_points_do_not_dominate_each_other():
    means = pd.DataFrame({"x": [1.0, 1.0, 1.0, 2.0], "y": [3.0, 3.0, 2.0, 1.0]})
    assert hypervolume.undominated(means, PLANE).index.tolist() == [0, 1, 3]
    assert hypervolume.undominated(means, ERRORS).index.tolist() == [3]
