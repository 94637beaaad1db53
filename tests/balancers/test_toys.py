"""Where the balancers end on the toy problems."""

import pytest
import torch
from balancer_cases import ALL

from mtlrepro.balancers import create
from mtlrepro.toys import CLASSIC, Recipe, figure, quadratic, trajectory

QUICK = Recipe(steps=200, learning_rate=0.15, epoch=25)
TOY = quadratic()
ENDS = {}


def end(toy, name, start, recipe=QUICK):
    key = toy.name, name, start
    if key not in ENDS:
        ENDS[key] = trajectory(toy, name, start, recipe).points[-1]
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
    recipe = Recipe(steps=500, learning_rate=0.3)
    assert CLASSIC.distance(end(CLASSIC, name, CLASSIC.starts[0], recipe)) < 0.5


def test_mtsgd_with_clipping_stalls_before_the_front():
    """At threshold 0 a slice whose tasks disagree stays, and they disagree before the front is reached."""
    toy = quadratic((1.0, 1.0, 1.0))
    x = torch.nn.Parameter(torch.tensor([-0.6, 0.0], dtype=torch.float64))
    create("mtsgd", 3).backward(toy.losses(x), [x])
    assert not x.grad.any()
    assert toy.distance(x.detach()) == pytest.approx(0.1)


def test_figure_has_a_panel_per_method_and_problem():
    drawn = figure([TOY], ["equal", "mgda"], Recipe(steps=5))
    assert len(drawn.axes) == 2
    drawn.canvas.draw()
