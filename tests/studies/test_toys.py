"""Where the balancers end on the toy problems."""

import numpy as np
import pytest
import torch
from balancer_cases import ALL, LOSS_WEIGHTING

from mtlrepro.balancers import CONTROLS, create
from mtlrepro.studies.toys import (
    CLASSIC,
    Recipe,
    Run,
    distances,
    ends,
    figure,
    finding,
    paths,
    quadratic,
    runs,
    trajectory,
)

QUICK = Recipe(steps=200, learning_rate=0.15, epoch=25)
TOY = quadratic()
ENDS = {}


def end(toy, name, start):
    key = toy.name, name, start
    if key not in ENDS:
        ENDS[key] = trajectory(toy, name, start, QUICK if toy is TOY else Recipe()).points[-1]
    return ENDS[key]


def test_classic_front_is_pareto_stationary():
    """On it the gradients are opposite, and the best convex combination of them vanishes."""
    for point in CLASSIC.front[1:-1]:
        x = point.clone().requires_grad_()
        g = torch.stack([torch.autograd.grad(loss, x, retain_graph=True)[0] for loss in CLASSIC.losses(x)])
        assert torch.nn.functional.cosine_similarity(g[0], g[1], dim=0) < -0.999999
    assert CLASSIC.distance(CLASSIC.front[7]) < 1e-9
    assert CLASSIC.distance(CLASSIC.front[0] - torch.tensor([2.0, 0.0])) == pytest.approx(2.0, abs=0.02)


def test_losses_are_not_negative():
    grid = torch.cartesian_prod(torch.linspace(-11, 11, 80), torch.linspace(-11, 11, 80)).double()
    for toy in (CLASSIC, TOY):
        assert all((loss >= 0).all() for loss in toy.losses(grid))


@pytest.mark.parametrize("name", ALL)
def test_quadratic_ends_on_the_pareto_front(name):
    assert TOY.distance(end(TOY, name, TOY.starts[0])) < (0.1 if name == "graddrop" else 0.02)


def test_equal_weights_end_at_the_weighted_centre():
    centre = torch.tensor([1.0, 0.1, 10.0]).double() @ TOY.front / 11.1
    torch.testing.assert_close(end(TOY, "equal", TOY.starts[0]), centre, rtol=0, atol=1e-3)


def test_mgda_stops_where_it_first_meets_the_front():
    """Any point of the front is stationary for it, so the end depends on the start."""
    ends = [end(TOY, "mgda", start) for start in TOY.starts]
    assert (ends[0] - ends[1]).norm() > 0.3
    assert TOY.distance(ends[1]) < 0.02


@pytest.mark.parametrize("name", ["mgda", "cagrad"])
def test_classic_problem_is_solved_by_conflict_averse_methods(name):
    assert CLASSIC.distance(end(CLASSIC, name, CLASSIC.starts[0])) < 0.5


def test_mclgs_needs_more_steps():
    assert CLASSIC.distance(end(CLASSIC, "mclgs", CLASSIC.starts[0])) > CLASSIC.extent / 20
    longer = trajectory(CLASSIC, "mclgs", CLASSIC.starts[0], Recipe(steps=4 * Recipe().steps, epoch=4 * Recipe().epoch))
    assert CLASSIC.distance(longer.points[-1]) < 0.1


def test_mtsgd_with_clipping_stalls_before_the_front():
    """At threshold 0 a slice whose tasks disagree stays, and they disagree before the front is reached."""
    toy = quadratic((1.0, 1.0, 1.0))
    x = torch.nn.Parameter(torch.tensor([-0.6, 0.0], dtype=torch.float64))
    create("mtsgd", 3).backward(toy.losses(x), [x])
    assert not x.grad.any()
    assert toy.distance(x.detach()) == pytest.approx(0.1)


@pytest.mark.parametrize("name", ["mgda", "mtsgd", "pcgrad"])
def test_ends_depend_on_the_start_for_methods_that_stop_at_the_set(name):
    """And equal weights end at the minimum of the mean from everywhere."""
    ends = torch.stack([end(CLASSIC, name, start) for start in CLASSIC.starts])
    mean = torch.stack([end(CLASSIC, "equal", start) for start in CLASSIC.starts])
    assert ends[:, 0].max() - ends[:, 0].min() > 3
    assert mean[:, 0].abs().max() < 0.1


def test_classic_losses_by_hand():
    """At (1, 2) above the axis and at (1, -2) below it; the tanh(x_2 / 2) is tanh 1."""
    t = np.tanh(1)
    above = [np.log(abs(-4 + np.tanh(2))), np.log(abs(3 - np.tanh(2)))]
    below = [(36 + 0.1 * 36) / 10 - 20, (64 + 0.1 * 36) / 10 - 20]
    for point, expected in (
        ((1.0, 2.0), [t * (value + 6) + 20 for value in above]),
        ((1.0, -2.0), [t * value + 20 for value in below]),
    ):
        losses = CLASSIC.losses(torch.tensor(point, dtype=torch.float64))
        np.testing.assert_allclose([loss.item() for loss in losses], expected, rtol=1e-12)


def ending_at(toy, method, *ends):
    return [
        Run(toy, method, torch.tensor([start, last], dtype=torch.float64))
        for start, last in zip(toy.starts, ends, strict=True)
    ]


def test_distances_are_those_of_the_ends():
    """In the triangle, 1 to the right of a corner, and on a corner."""
    table = distances(ending_at(TOY, "a", (0.0, 0.0), (2.0, 0.0)) + ending_at(TOY, "b", (1.0, 0.0), (1.1, 0.0)))
    assert table["start"].tolist() == ["(-2, 2.5)", "(2.5, -1.5)"] * 2
    np.testing.assert_allclose(table["distance"], [0, 1, 0, 0.1], atol=1e-9)
    assert table["reached"].tolist() == [True, False, True, True]
    assert table["one task"].tolist() == [False, False, True, True]


def test_finding_names_who_fails_and_who_solves_one_task():
    curve = ending_at(CLASSIC, "a", (-7.0, -8.43), (7.0, -8.43), (-7.0, -8.43))
    middle = ending_at(CLASSIC, "b", (0.0, -8.36), (0.0, -8.36), (0.0, 0.0))
    expected = "Two tasks: 1 of 2 methods reach the Pareto set from every start (not b)."
    assert finding(distances(curve + middle)) == f"{expected} Always where one task is at its minimum: a."
    assert "(not" not in finding(distances(curve))
    assert "Always" not in finding(distances(middle))


def test_exhibits_mark_the_ends_that_are_not_on_the_set():
    followed = ending_at(TOY, "a", (0.0, 0.0), (2.0, 0.0)) + ending_at(TOY, "b", (1.0, 0.0), (1.1, 0.0))
    shown, drawn = ends(followed), paths(followed, Recipe(steps=7, learning_rate=0.5))
    assert shown.shown.values.tolist() == [["a", "0.00", "1.00 *"], ["b", "0.00", "0.10"]]
    np.testing.assert_allclose(shown.table.iloc[:, 1:], [[0, 1], [0, 0.1]], atol=1e-9)
    assert shown.table.columns.tolist() == ["method", "3 quadratics, (-2, 2.5)", "3 quadratics, (2.5, -1.5)"]
    assert drawn.caption.endswith("(7 steps of Adam, whose learning rate falls from 0.5 to 0.)")


def test_runs_cover_every_method_and_start_and_loss_weighting_comes_first():
    followed = runs(recipe=Recipe(steps=1))
    methods = list(dict.fromkeys(run.method for run in followed))
    assert sorted(methods) == sorted(set(ALL) - CONTROLS)
    assert set(methods[:5]) == set(LOSS_WEIGHTING) - CONTROLS
    assert len(followed) == 14 * (3 + 2)
    for run in followed:
        assert run.points.shape == (2, 2)
        assert tuple(run.points[0].tolist()) in run.toy.starts


def test_figure_draws_each_run_in_its_panel():
    followed = runs([TOY, CLASSIC], ["equal", "mgda"], Recipe(steps=5))
    drawn = figure(followed)
    panels = [axes for axes in drawn.axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == ["equal", "mgda"] * 2
    for axes, toy, method in zip(panels, [TOY, TOY, CLASSIC, CLASSIC], ["equal", "mgda"] * 2, strict=True):
        front, *lines = [line.get_xydata() for line in axes.lines]
        np.testing.assert_array_equal(front[: len(toy.front)], toy.front)
        mine = [run.points.numpy() for run in followed if run.toy is toy and run.method == method]
        assert len(lines) == 3 * len(mine)
        for points, path, start, last in zip(mine, lines[::3], lines[1::3], lines[2::3], strict=True):
            np.testing.assert_array_equal(path, points)
            np.testing.assert_array_equal([start[0], last[0]], points[[0, -1]])
    drawn.canvas.draw()
