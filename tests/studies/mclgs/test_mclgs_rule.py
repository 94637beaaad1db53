"""The rule of MCLGS by hand, and where it ends on quadratics."""

import numpy as np
import pytest
import torch

from mtlrepro.studies.mclgs import rule, toy
from mtlrepro.studies.mclgs.toy import Path


def test_both_forms_by_hand():
    """g_1 = (1, 0), g_2 = (0, 1), g_3 = (-1, 0): cosines 0, -1 and 0, so w = 1, 1 - tanh 2 and 1 at p = 2."""
    gradients = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
    w = [1.0, 1 - np.tanh(2), 1.0]
    expected = (w[0] * np.array([1, 1]) + w[1] * np.array([0, 0]) + w[2] * np.array([-1, 1])) / 6
    for form in (rule.pair_form, rule.task_form):
        assert form(gradients, 2.0).tolist() == pytest.approx(expected.tolist(), abs=1e-12)
    two = rule.task_form(gradients[:2], 2.0)
    assert two.tolist() == pytest.approx([0.5, 0.5])


def test_two_tasks_are_gated_and_three_are_turned():
    two, three = (rule.turns(n, 4.0) for n in (2, 3))
    assert two["turned"].max() < 1e-5 < three["turned"].median()
    assert two["length"].tolist() == pytest.approx((1 + np.tanh(4 * two["similarity"])).tolist())


@pytest.mark.parametrize("kind", rule.GATES)
def test_gates_have_the_same_mean(kind):
    gates = rule.gate(kind)
    assert len(gates) == rule.STEPS
    assert gates.mean() == pytest.approx(rule.MEAN_GATE)
    assert gates.min() >= 0


def test_adam_cancels_a_constant_gate_and_sgd_does_not():
    table = rule.optimizers().set_index("gate")
    assert table.loc["constant", "SGD"] == pytest.approx(0.5)
    assert table.loc["constant", "Adam"] == pytest.approx(1, abs=1e-3)
    assert table.loc["random", "Adam"] < table.loc["constant", "Adam"]


def test_identities_of_the_rule():
    verdicts = rule.claims()
    assert [one.status for one in verdicts] == ["holds"] * 5
    assert [one.claim for one in verdicts if one.finding == 4] == [
        "Where p is 0 all weights are those of the plain mean"
    ]


def test_exhibits_of_the_rule():
    weights = rule.weights_exhibit()
    assert "similarities of -0.05 and 0.05 have weights of 0.036 and 1.964." in weights.caption
    assert weights.table.groupby("p")["mean"].max()["p = 40"] == pytest.approx(2)
    assert len(rule.turns_exhibit().table) == 2 * rule.DRAWS
    assert rule.optimizers_exhibit().table["gate"].tolist() == list(rule.GATES)


# --- quadratics


def test_the_optimum_is_where_the_mean_gradient_vanishes():
    for factor in toy.FACTORS:
        x = toy.optimum(factor).requires_grad_()
        sum(toy._toy(factor).losses(x)).backward()
        assert x.grad.abs().max() < 1e-12
    assert toy.optimum(1.0).norm() < 1e-12


def test_deviations_by_hand():
    """At the centre of three equal quadratics PCGrad's and the plain step are 0, away from it two methods differ."""
    problem = toy._toy(1.0)
    points = torch.tensor([[3.0, 0.0]], dtype=torch.float64)
    assert toy.deviation(problem, "equal", points, {}) == 0
    gated = toy.deviation(problem, "mclgs", points, {"a0": 1e9, "delta_a": 0.0})
    assert gated == pytest.approx(1)  # all agree so far out: weights of 2


def test_a_deviation_follows_the_curriculum():
    """Points of one place, of which the first epoch and a half has p > 0: weights of 2, then of 1."""
    problem = toy._toy(1.0)
    points = torch.tensor([[3.0, 0.0]] * 4, dtype=torch.float64)  # steps 0, 10, 20, 30 of epochs of 15
    assert toy.deviation(problem, "mclgs", points, {"a0": 1e9, "delta_a": 1e9}) == pytest.approx(2 / 4)


def test_where_methods_end():
    found = [path for method in ("equal", "mclgs") for path in toy.paths(10.0, method)]
    assert all(path.to_optimum < toy.NEAR and path.to_front < toy.NEAR for path in found)
    (first, _) = toy.paths(10.0, "equal")
    assert first.deviation == 0
    assert all(path.to_optimum > toy.NEAR > path.to_front for path in toy.paths(10.0, toy.ENDLESS))


def test_pcgrad_is_judged_where_there_is_a_gap():
    verdicts = toy.claims([Path(f, method, f, 1.0, 0.0) for f in toy.FACTORS for method in toy.METHODS])
    own = {(one.claim, one.case): one.status for one in verdicts if one.finding == 6 and "PCGrad" in one.claim}
    assert {case for _, case in own} == {"one loss times 10", "one loss times 100"}
    assert set(own.values()) == {"holds"} and len(own) == 4
    assert {one.case for one in verdicts if one.finding or one.limits} == {case for _, case in own}


def test_mclgs_is_held_against_the_deviation_of_pcgrad():
    """PCGrad is 0.25 of the mean away from it, MCLGS 0.5 and 0.125."""
    for own, status in ((0.5, "does not hold"), (0.125, "holds")):
        apart = {"pcgrad": 0.25, "mclgs": own}
        paths = [Path(f, method, apart.get(method, 0.0), 1.0, 0.0) for f in toy.FACTORS for method in toy.METHODS]
        told = [one for one in toy.claims(paths) if "closer to the plain gradient" in one.claim]
        assert [(one.measured.value, one.status, one.limits) for one in told] == [(own - 0.25, status, 6)] * 2
