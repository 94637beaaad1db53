"""Priorities of LSB against fixed weights, on fronts made by hand."""

import pandas as pd
import pytest

from mtlrepro.studies.lsb import grids, priorities
from mtlrepro.studies.lsb.priorities import FIXED, LSB
from mtlrepro.studies.setting import Setting

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


def test_points_are_named_and_have_the_share_of_the_first_task(operating):
    assert len(operating) == 12
    row = operating.query("method == @LSB and share == 0.9 and seed == 1").iloc[0]
    assert row[["pair", "x_task", "y_task"]].tolist() == ["segmentation and depth", "segmentation", "depth"]
    assert row[["x", "y"]].tolist() == pytest.approx([9.0, 6.0])
    fixed = operating.query("method == @FIXED and seed == 0")
    assert fixed["share"].tolist() == list(SHARES)
    assert fixed["x"].tolist() == [0.0, 3.9, 6.9]


def test_every_pair_of_tasks_has_its_plane():
    other = runs_of(FRONTS, pair=("depth", "segmentation"))
    both = priorities.points(pd.concat([runs_of(FRONTS), other], ignore_index=True))
    assert both["pair"].unique().tolist() == ["depth and segmentation", "segmentation and depth"]
    turned = both[both["x_task"] == "depth"]
    assert turned["x"].max() == both.loc[both["y_task"] == "depth", "y"].max()


def test_a_task_without_an_axis_is_refused():
    with pytest.raises(ValueError, match="task is 'curvature'; accepted: depth, normal, segmentation"):
        priorities.points(runs_of(FRONTS, pair=("depth", "curvature")))


def test_claims_follow_the_fronts(operating):
    better, control, most = priorities.claims(operating)
    assert (better.case, better.kind, better.finding) == ("segmentation and depth", "paper", 4)
    assert {(one.kind, one.finding) for one in (control, most)} == {("ours", 0)}
    assert control.claim.endswith("less often than by chance, on average over tasks")
    assert better.reading and control.reading
    assert (better.status, control.status) == ("holds", "holds")
    assert better.measured.value < 0
    swapped = operating.assign(method=operating["method"].map({LSB: FIXED, FIXED: LSB}))
    assert priorities.claims(swapped)[0].status == "does not hold"
    reverse = operating.assign(share=1 - operating["share"])
    assert [one.status for one in priorities.claims(reverse)[1:]] == ["does not hold"] * 2


def test_the_task_that_its_priority_controls_least_is_shown():
    """Segmentation obeys; depth is worse at one of three pairs of priorities, which the mean over tasks halves."""
    fronts = FRONTS | {"lsb": [(4.9, 7.9), (6.9, 9.9), (8.9, 5.9)]}
    operating = priorities.points(runs_of(fronts))
    _, control, most = priorities.claims(operating)
    assert most.case == "depth in segmentation and depth"
    assert (control.measured.value, most.measured.value) == pytest.approx((100 / 6, 100 / 3))
    assert "most often for depth in segmentation and depth 33.3 [33.3, 33.3] % with LSB" in (
        priorities.control_exhibit(operating).caption
    )


def test_exhibits_show_what_is_compared(operating):
    fronts = priorities.fronts_exhibit(operating)
    compared = priorities.hypervolumes_exhibit(operating).table
    assert fronts.table is operating
    assert f"segmentation and depth {compared['difference'][0]:.1f} [" in fronts.caption
    assert "every pair" in fronts.caption
    assert compared.columns.tolist()[:3] == ["pair", FIXED, LSB]
    assert "would find an effect of the observed size" in priorities.hypervolumes_exhibit(operating).caption


def test_seeds_that_would_decide_the_stored_fronts():
    """Fronts of the book: three seeds, whose effects take very different numbers of seeds to be found."""
    setting = Setting().largest_stored(grids.priorities)
    table = priorities.compared(priorities.points(setting.trained(grids.priorities(setting)))).set_index("pair")
    expected = {"depth and normal": 16, "segmentation and depth": 20, "segmentation and normal": 362}
    assert table["seeds"].drop("every pair").to_dict() == expected


def test_control_is_shown_for_both_tasks(operating):
    control = priorities.control_exhibit(operating)
    assert set(control.table["task"]) == {"segmentation", "depth"}
    assert "0 [0, 0] % with LSB with priorities and 0 [0, 0] % with fixed weights, on average" in control.caption
