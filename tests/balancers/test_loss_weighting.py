"""Closed forms and invariances of the loss-weighting methods."""

import math

import pytest
import torch
from balancer_cases import linear_step

from mtlrepro.balancers import create


def f64(*values):
    return torch.tensor(values, dtype=torch.float64)


def epochs(balancer, history):
    """Feed the raw epoch losses [E, T]; returns the weights in force in periods 1 .. E + 1."""
    weights = [balancer.weights]
    for losses in history:
        balancer.end_epoch(losses)
        weights.append(balancer.weights)
    return torch.stack(weights)


def random_history(n_epochs=6, n_tasks=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n_epochs, n_tasks, generator=generator, dtype=torch.float64) * 3 + 0.1


def test_equal():
    combined, _, weights = linear_step(create("equal", 2), f64([1, 2], [3, -6]))
    torch.testing.assert_close(combined, f64(2, -2))
    torch.testing.assert_close(weights, f64(0.5, 0.5))


def test_gls_is_the_derivative_of_the_geometric_mean():
    losses = f64(0.5, 2.0, 8.0).requires_grad_()
    (expected,) = torch.autograd.grad(losses.prod() ** (1 / 3), losses)
    _, heads, weights = linear_step(create("gls", 3), torch.ones(3, 2).double(), losses.detach())
    torch.testing.assert_close(weights, expected)
    torch.testing.assert_close(heads, expected)
    torch.testing.assert_close(weights * losses.detach(), torch.full((3,), 2.0 / 3).double())


def test_gls_does_not_overflow():
    """The product of the losses would."""
    _, _, weights = linear_step(create("gls", 8), torch.ones(8, 2), torch.full((8,), 1e30))
    torch.testing.assert_close(weights, torch.full((8,), 1 / 8).double())


def test_gls_rejects_negative_losses():
    with pytest.raises(FloatingPointError, match=r"task '1': its loss is -0\.5; accepted: .* at least 0 for gls"):
        linear_step(create("gls", 2), torch.ones(2, 2), torch.tensor([1.0, -0.5]))


def test_uncertainty_step_by_hand():
    """w = 1 / (2 e^s) and d/ds = 1/2 - w L, as autograd finds for Kendall's objective."""
    balancer = create("uncertainty", 3)
    torch.testing.assert_close(balancer.weights, f64(1, 1, 1) / 3)
    with torch.no_grad():
        balancer.log_variance.copy_(f64(0.3, -1.0, 0.0))
    losses = f64(2.0, 0.1, 5.0)
    s = balancer.log_variance.detach().clone().requires_grad_()
    (losses / (2 * s.exp()) + s / 2).sum().backward()
    _, _, weights = linear_step(balancer, torch.ones(3, 1).double(), losses)
    torch.testing.assert_close(weights, 0.5 * (-s.detach()).exp())
    torch.testing.assert_close(balancer.log_variance.grad, s.grad)


def test_uncertainty_settles_where_weighted_losses_are_one_half():
    balancer = create("uncertainty", 2)
    optimizer = torch.optim.SGD(balancer.parameters(), lr=0.5)
    for _ in range(200):
        optimizer.zero_grad()
        linear_step(balancer, torch.zeros(2, 1).double(), f64(4.0, 0.01))
        optimizer.step()
    torch.testing.assert_close(balancer.weights * f64(4.0, 0.01), f64(0.5, 0.5))


def test_dwa_by_hand():
    history = f64([2.0, 1.0], [1.0, 0.9], [0.9, 0.3])
    weights = epochs(create("dwa", 2, temperature=0.5), history)
    torch.testing.assert_close(weights[:2], torch.full((2, 2), 0.5).double())
    for t in (2, 3):
        r = (history[t - 1] / history[t - 2]) / 0.5
        torch.testing.assert_close(weights[t], r.exp() / r.exp().sum())


def test_dwa_ignores_loss_scales():
    history = random_history()
    torch.testing.assert_close(
        epochs(create("dwa", 3), history), epochs(create("dwa", 3), history * f64(1e-6, 1.0, 1e6))
    )


def test_lsb_by_hand():
    """Losses (4, 1), then (2, 1): totals 5/2 and 15/8. At beta = 1/2 the shares are as sqrt(1/2) to 1."""
    share = 2**0.5 - 1
    weights = epochs(create("lsb", 2, rate=0.5), f64([4, 1], [2, 1]))
    expected = f64([1 / 2, 1 / 2], [5 / 16, 5 / 4], [share * 15 / 16, (1 - share) * 15 / 8])
    torch.testing.assert_close(weights, expected)


def naive_lsb(history, pi, rate, offset):
    """The formulas of the reconstruction, literally, without logarithms."""
    weights, totals = [pi], []
    for t in range(2, len(history) + 2):
        l1 = history[t - 2]
        totals.append((weights[-1] * l1).sum())
        if t == 2:
            weights.append(pi * totals[-1] / l1)
            continue
        l2 = history[t - 3]
        d = ((l1 / l2) / (totals[-1] / totals[-2])) ** max(rate * (t - offset), 0)
        alpha = 1 / (pi * d).sum()
        weights.append(alpha * d * pi * totals[-1] / l1)
    return torch.stack(weights)


@pytest.mark.parametrize("priority", [None, [1.0, 2.0, 5.0]])
@pytest.mark.parametrize(("rate", "offset"), [(0.0, 2), (0.02, 2), (0.5, 2), (0.5, 1), (0.3, 4.5)])
def test_lsb_follows_its_formulas(priority, rate, offset):
    history = random_history()
    pi = f64(*(priority or [1, 1, 1]))
    weights = epochs(create("lsb", 3, priority=priority, rate=rate, offset=offset), history)
    torch.testing.assert_close(weights, naive_lsb(history, pi / pi.sum(), rate, offset))


@pytest.mark.parametrize("rate", [0.0, 0.02, 0.5, 20.0])
def test_lsb_conserves_the_total_loss(rate):
    """sum_k w_k(t) l_k(t-1) = L(t-1) = sum_k w_k(t-1) l_k(t-1)."""
    history = random_history()
    weights = epochs(create("lsb", 3, priority=[1, 2, 3], rate=rate), history)
    torch.testing.assert_close((weights[1:] * history).sum(1), (weights[:-1] * history).sum(1))


def test_lsb_shares_do_not_depend_on_loss_scales():
    history, scale = random_history(), f64(1e-6, 1.0, 1e5)
    shares = []
    for factor in (torch.ones(3).double(), scale):
        weights = epochs(create("lsb", 3, priority=[1, 2, 3], rate=0.5), history * factor)
        loss_scales = weights[1:] * history * factor
        shares.append(loss_scales / loss_scales.sum(1, keepdim=True))
    torch.testing.assert_close(*shares)


def test_lsb_at_beta_zero_is_gls_of_last_epochs_means():
    history = random_history()
    weights = epochs(create("lsb", 3, rate=0.0), history)
    for t in range(1, len(weights)):
        _, _, gls = linear_step(create("gls", 3), torch.ones(3, 1).double(), history[t - 1])
        torch.testing.assert_close(weights[t] / weights[t].sum(), gls / gls.sum())


def test_lsb_at_beta_one_lags_by_a_period():
    """alpha(t) pi_k L(t-2) / l_k(t-2); exactly alpha times the weights before at t = 3."""
    history, pi = random_history(), f64(1, 2, 3) / 6
    rates = {t: 1 / (t - 2) for t in (3, 4, 5)}
    for t, rate in rates.items():
        weights = epochs(create("lsb", 3, priority=[1, 2, 3], rate=rate), history)
        balance = pi / history[t - 3]
        torch.testing.assert_close(weights[t - 1] / weights[t - 1].sum(), balance / balance.sum())
        if t == 3:
            ratio = weights[2] / weights[1]
            torch.testing.assert_close(ratio, ratio[:1].expand(3))


def test_lsb_favours_the_slower_task():
    weights = epochs(create("lsb", 2, rate=1.0), f64([1.0, 1.0], [0.5, 1.0], [0.25, 1.0]))
    shares = weights[2:] * f64([0.5, 1.0], [0.25, 1.0])
    assert (shares[:, 1] > shares[:, 0]).all()


def test_beta_of_lsb_grows_by_its_rate_each_epoch():
    assert [create("lsb", 2, rate=0.5).beta(t) for t in (3, 4, 10)] == [0.5, 1.0, 4.0]
    assert [create("lsb", 2, rate=0.5, offset=4.0).beta(t) for t in (3, 4, 5)] == [0.0, 0.0, 0.5]
    assert [create("lsb", 2, rate=0.5, period=2).beta(t) for t in (3, 4)] == [1.0, 2.0]


def test_lsb_starts_at_its_priorities():
    torch.testing.assert_close(create("lsb", 2, priority=[1, 3]).weights, f64(0.25, 0.75))


def test_lsb_is_finite_for_vanishing_losses_and_huge_beta():
    weights = epochs(create("lsb", 3, rate=1e4), f64([1, 1, 1], [1e-3, 1, 0], [0, 1e-30, 1], [1, 1, 1]))
    assert weights.isfinite().all()


@pytest.mark.parametrize("conserve", [True, False])
def test_lsb_with_difficulty_outside_has_the_usual_factors_up_to_a_common_one(conserve):
    """Ratios of tasks are those of alpha d pi / l; totals are of the weights pi_k L(t-1) / l_k(t-1) alone."""
    history, pi = random_history(), f64(1, 2, 5) / 8
    chosen = {"priority": [1, 2, 5], "rate": 0.5, "conserve": conserve}
    usual, outside = (epochs(create("lsb", 3, **chosen, outside=choice), history) for choice in (False, True))
    common = outside / usual
    torch.testing.assert_close(common, common[:, :1].expand(-1, 3))
    torch.testing.assert_close(common[:3], torch.ones(3, 3).double())
    assert (common[4:] - 1).abs().min() > 1e-3
    level = [pi]
    for losses in history:
        level.append(pi * (level[-1] * losses).sum() / losses)
    if conserve:  # sum_k alpha d_k w_k l_k(t-1) is the total of the weights without difficulty
        torch.testing.assert_close((outside[1:] * history).sum(1), (torch.stack(level[:-1]) * history).sum(1))


def test_lsb_without_alpha_by_hand():
    """As in `test_lsb_by_hand`; totals 5/2 and 15/8. d = sqrt(1/2 / 3/4), sqrt(1 / 3/4) at beta = 1/2."""
    weights = epochs(create("lsb", 2, rate=0.5, conserve=False), f64([4, 1], [2, 1]))
    expected = f64([1 / 2, 1 / 2], [5 / 16, 5 / 4], [(2 / 3) ** 0.5 * 15 / 32, (4 / 3) ** 0.5 * 15 / 16])
    torch.testing.assert_close(weights, expected)


def test_lsb_without_alpha_differs_by_a_factor_that_all_tasks_share():
    """At t = 3 both have the same history of weights, so their quotient is alpha."""
    history = random_history()[:2]
    kept, free = (epochs(create("lsb", 3, rate=2.0, conserve=choice), history)[2] for choice in (True, False))
    totals = (epochs(create("lsb", 3, rate=2.0), history)[:2] * history).sum(1)
    d = ((history[1] / history[0]) / (totals[1] / totals[0])) ** 2
    torch.testing.assert_close(kept / free, (3 / d.sum()).expand(3))


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_lsb_with_a_longer_period_is_lsb_of_the_periods_means(rate):
    """Weights stand still within a period; over periods, beta grows by the period times the rate."""
    history = random_history()[:6]
    weights = epochs(create("lsb", 3, rate=rate, period=2), history)
    torch.testing.assert_close(weights[:-1:2], weights[1::2])
    means = history.unflatten(0, (3, 2)).mean(1)
    torch.testing.assert_close(weights[::2], epochs(create("lsb", 3, rate=2 * rate), means))


def test_lagged_gls_is_gls_of_the_epoch_before():
    history = random_history()
    weights = epochs(create("lagged_gls", 3), history)
    torch.testing.assert_close(weights[0], f64(1, 1, 1) / 3)
    for t, losses in enumerate(history, 1):
        _, _, gls = linear_step(create("gls", 3), torch.ones(3, 1).double(), losses)
        torch.testing.assert_close(weights[t], gls)


def test_fixed_weights_by_hand():
    gradients = f64([3, 0], [0, 5])
    gradient, heads, weights = linear_step(create("fixed", 2, weights=[1, 4]), gradients)
    torch.testing.assert_close(gradient, f64(0.6, 4))
    torch.testing.assert_close(heads, f64(0.2, 0.8))
    torch.testing.assert_close(weights, f64(0.2, 0.8))
    torch.testing.assert_close(create("fixed", 2).weights, create("equal", 2).weights)


def test_epoch_losses_are_checked():
    balancer = create("lsb", 2)
    with pytest.raises(ValueError, match=r"mean_losses has shape \(3,\); accepted: \(2,\)"):
        balancer.end_epoch(torch.ones(3))
    with pytest.raises(ValueError, match=r"mean_losses is .*nan.*; accepted: finite numbers"):
        balancer.end_epoch(torch.tensor([1.0, math.nan]))
    with pytest.raises(ValueError, match="accepted: numbers of at least 0"):
        balancer.end_epoch(torch.tensor([1.0, -1.0]))
    assert balancer.epochs == 0
    torch.testing.assert_close(balancer.weights, f64(0.5, 0.5))
