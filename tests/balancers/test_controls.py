"""Random, replayed and warmed-up weights by their formulas."""

import math

import pytest
import torch
from balancer_cases import linear_step
from torch import nn

from mtlrepro.balancers import create


def f64(*values):
    return torch.tensor(values, dtype=torch.float64)


def weights_of(balancer, steps, losses=(1.0, 2.0, 4.0)):
    """Weights of so many steps, [steps, T]."""
    gradients = torch.eye(len(losses), dtype=torch.float64)
    return torch.stack([linear_step(balancer, gradients, f64(*losses))[2] for _ in range(steps)])


# --- rlw


def test_rlw_is_the_softmax_of_standard_normal_draws():
    """Of all T tasks in each step, from a stream of the method's own."""
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    weights = weights_of(create("rlw", 3, seed=7), 4)
    assert torch.equal(torch.random.get_rng_state(), state)
    stream = torch.Generator().manual_seed(7)
    expected = torch.stack([torch.randn(3, generator=stream, dtype=torch.float64).exp() for _ in range(4)])
    torch.testing.assert_close(weights, expected / expected.sum(1, keepdim=True))
    assert not torch.equal(weights, weights_of(create("rlw", 3, seed=8), 4))


def test_rlw_has_the_distribution_of_a_logistic_normal():
    """For T = 2, log(w_1 / w_2) = z_1 - z_2 is normal with variance 2; the expectation of each weight is 1/2."""
    weights = weights_of(create("rlw", 2), 4000, losses=(1.0, 1.0))
    odds = (weights[:, 0] / weights[:, 1]).log()
    assert abs(odds.mean().item()) < 5 * math.sqrt(2 / 4000)
    assert odds.var().item() == pytest.approx(2, abs=5 * 2 * math.sqrt(2 / 4000))
    assert (odds.abs() < math.sqrt(2)).double().mean().item() == pytest.approx(0.683, abs=5 * 0.0074)
    torch.testing.assert_close(weights.mean(0), f64(0.5, 0.5), atol=0.02, rtol=0)


def test_rlw_of_absent_tasks_draws_for_all_and_leaves_theirs_out():
    """The stream moves on by a step, whoever is present: later steps are those of a run without absences."""
    x = nn.Parameter(torch.zeros(3).double())
    full = weights_of(create("rlw", 3, seed=1), 2)
    balancer = create("rlw", 3, seed=1)
    torch.testing.assert_close(balancer.backward([x[0] + 1, None, x[2] + 1], [x]), full[0] * f64(1, 0, 1))
    torch.testing.assert_close(x.grad, full[0] * f64(1, 0, 1))
    torch.testing.assert_close(balancer.backward([x[0] + 1, x[1] + 1, x[2] + 1], [x]), full[1])


def test_rlw_draws_once_for_all_micro_batches_of_a_step():
    x = nn.Parameter(torch.zeros(2).double())
    balancer, whole = create("rlw", 2, seed=3), weights_of(create("rlw", 2, seed=3), 2, losses=(1.0, 1.0))
    for step in range(2):
        for last in (False, False, True):
            weights = balancer.backward([x[0] / 3, x[1] / 3], [x], last=last)
            torch.testing.assert_close(weights, whole[step])


# --- uw-so


@pytest.mark.parametrize("temperature", [0.5, 1.0, 20.0])
def test_uwso_by_hand(temperature):
    """Losses 1, 2, 4: exp(1/T), exp(1/(2 T)), exp(1/(4 T)) over their sum."""
    exponentials = [math.exp(1 / (loss * temperature)) for loss in (1.0, 2.0, 4.0)]
    expected = f64(*exponentials) / sum(exponentials)
    torch.testing.assert_close(weights_of(create("uw-so", 3, temperature=temperature), 1)[0], expected)
    scaled = weights_of(create("uw-so", 3, temperature=temperature / 10), 1, losses=(10.0, 20.0, 40.0))[0]
    torch.testing.assert_close(scaled, expected)  # the temperature belongs to the unit of the losses


def test_uwso_at_its_limits():
    torch.testing.assert_close(weights_of(create("uw-so", 3, temperature=1e9), 1)[0], f64(1, 1, 1) / 3)
    torch.testing.assert_close(weights_of(create("uw-so", 3, temperature=1e-9), 1)[0], f64(1, 0, 0))
    torch.testing.assert_close(weights_of(create("uw-so", 3), 1, losses=(0.0, 2.0, 0.0))[0], f64(0.5, 0, 0.5))
    x = nn.Parameter(torch.zeros(2).double())
    with pytest.raises(FloatingPointError, match="its loss is -1; accepted: a finite number, at least 0 for uw-so"):
        create("uw-so", 2).backward([x[0] + 1, x[1] - 1], [x])


# --- replay


ROWS = [[0.5, 0.25, 0.0], [0.1, 0.2, 0.3], [2.0, 1.0, 1.0]]


def test_replay_takes_a_row_an_epoch_at_its_own_scale():
    """Shared parameters and heads; the last row stays."""
    balancer = create("replay", 3, weights=ROWS)
    gradients = torch.randn(3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for epoch in range(5):
        row = f64(*ROWS[min(epoch, 2)])
        torch.testing.assert_close(balancer.weights, row)
        for losses in (f64(1, 2, 3), f64(5, 1, 0)):
            combined, heads, weights = linear_step(balancer, gradients, losses)
            torch.testing.assert_close(combined, row @ gradients)
            torch.testing.assert_close(heads, row)
            torch.testing.assert_close(weights, row)
        balancer.end_epoch([1.0, None, 2.0])


def test_replay_takes_a_row_a_step():
    """Epochs do not count, and the last row stays; a checkpoint goes on with the next one."""
    balancer, other = (create("replay", 3, weights=ROWS, step="iteration") for _ in range(2))
    for step in range(5):
        torch.testing.assert_close(balancer.weights, f64(*ROWS[min(step, 2)]))
        torch.testing.assert_close(weights_of(balancer, 1)[0], f64(*ROWS[min(step, 2)]))
        balancer.end_epoch([1.0, 1.0, 1.0])
        if step == 0:
            other.load_state_dict(balancer.state_dict())
    torch.testing.assert_close(weights_of(other, 2), f64(*ROWS[1:]))
    for options, message in (
        ({"step": "batch"}, "step is 'batch'; accepted: 'epoch', 'iteration'"),
        ({"step": "iteration", "draw": True}, "draw is True; accepted with step='iteration': False"),
    ):
        with pytest.raises(ValueError, match=message):
            create("replay", 3, weights=ROWS, **options)


def test_replay_of_one_row_holds_it():
    balancer = create("replay", 3, weights=ROWS[0])
    balancer.end_epoch([1.0, 1.0, 1.0])
    torch.testing.assert_close(balancer.weights, f64(*ROWS[0]))
    g = f64(3.0, -4.0)
    combined, _, _ = linear_step(balancer, g.expand(3, 2))
    torch.testing.assert_close(combined, 0.75 * g)  # the sum of the weights is kept


def test_replay_goes_on_in_its_epoch_after_a_checkpoint():
    one = create("replay", 3, weights=ROWS)
    one.end_epoch([1.0, 1.0, 1.0])
    other = create("replay", 3, weights=ROWS)
    other.load_state_dict(one.state_dict())
    torch.testing.assert_close(other.weights, f64(*ROWS[1]))
    other.end_epoch([1.0, 1.0, 1.0])
    torch.testing.assert_close(other.weights, f64(*ROWS[2]))


def test_replay_draws_rows_uniformly_whatever_the_epoch():
    balancer = create("replay", 3, weights=ROWS, draw=True, seed=2)
    assert balancer.weights is None
    first = weights_of(balancer, 1500)
    balancer.end_epoch([1.0, 1.0, 1.0])
    drawn = torch.cat([first, weights_of(balancer, 1500)])
    counts = torch.stack([(drawn == f64(*row)).all(1) for row in ROWS]).sum(1)
    assert counts.sum() == 3000
    assert ((counts - 1000).abs() < 5 * math.sqrt(3000 * 2 / 9)).all()
    again = weights_of(create("replay", 3, weights=ROWS, draw=True, seed=2), 1500)
    assert torch.equal(first, again)
    assert not torch.equal(first, weights_of(create("replay", 3, weights=ROWS, draw=True, seed=3), 1500))


def test_replay_leaves_out_the_weight_of_an_absent_task():
    x = nn.Parameter(torch.zeros(3).double())
    weights = create("replay", 3, weights=ROWS[1]).backward([x[0] + 1, None, x[2] + 1], [x])
    torch.testing.assert_close(weights, f64(0.1, 0, 0.3))


def test_a_replayed_run_of_lsb_takes_the_same_steps():
    """Weights of an epoch weighting, replayed in their order, are that method."""
    generator = torch.Generator().manual_seed(4)
    lsb, rows, results = create("lsb", 3, rate=0.5), [], []
    epochs = [(0.5 + torch.rand(3, generator=generator)).tolist() for _ in range(5)]
    for losses in epochs:
        rows.append(lsb.weights.tolist())
        results.append(linear_step(lsb, torch.eye(3).double(), f64(*losses))[0])
        lsb.end_epoch(losses)
    replayed = create("replay", 3, weights=rows)
    for losses, result in zip(epochs, results, strict=True):
        assert torch.equal(linear_step(replayed, torch.eye(3).double(), f64(*losses))[0], result)
        replayed.end_epoch(losses)


# --- warmup


def test_warmup_is_a_linear_ramp_of_the_mean_step():
    """Steps of 1/4, 2/4, 3/4 and 1 of the mean, for heads too; epochs and micro-batches do not count."""
    g = torch.randn(3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    balancer = create("warmup", 3, steps=4)
    for step, factor in enumerate((0.25, 0.5, 0.75, 1.0, 1.0)):
        torch.testing.assert_close(balancer.weights, f64(factor, factor, factor) / 3)
        if step == 1:
            linear_step(balancer, g, last=False)
        combined, heads, weights = linear_step(balancer, g)
        torch.testing.assert_close(combined, factor * g.mean(0))
        torch.testing.assert_close(heads, weights)
        balancer.end_epoch([1.0, 1.0, 1.0])


def test_a_ramp_may_fall_from_above():
    """From 2 in four steps: 7/4, 6/4, 5/4 and 1 of the mean."""
    balancer = create("warmup", 2, steps=4, start=2.0)
    factors = weights_of(balancer, 5, losses=(1.0, 1.0)).sum(1)
    torch.testing.assert_close(factors, f64(1.75, 1.5, 1.25, 1.0, 1.0))
    with pytest.raises(ValueError, match=r"start is -1\.0; accepted: a number of at least 0"):
        create("warmup", 2, start=-1)


def test_warmup_of_plain_sgd_is_a_ramp_of_the_learning_rate():
    x, y = (nn.Parameter(f64(1.0, -2.0)) for _ in range(2))
    balancer, equal = create("warmup", 2, steps=3), create("equal", 2)
    one, other = torch.optim.SGD([x], lr=0.1), torch.optim.SGD([y], lr=0.1)
    schedule = torch.optim.lr_scheduler.LinearLR(other, 1 / 3, 1.0, 2)
    for _ in range(5):
        for parameter, method, optimizer in ((x, balancer, one), (y, equal, other)):
            optimizer.zero_grad()
            method.backward([parameter.square().sum(), (parameter - 1).square().sum()], [parameter])
            optimizer.step()
        schedule.step()
        torch.testing.assert_close(x, y)


def test_warmup_goes_on_after_a_checkpoint():
    one, other = create("warmup", 2, steps=10), create("warmup", 2, steps=10)
    weights_of(one, 6, losses=(1.0, 1.0))
    other.load_state_dict(one.state_dict())
    torch.testing.assert_close(other.weights, f64(0.35, 0.35))
