"""MaxGNR: estimators, start-up, clipping, refresh (closed forms of the weights are tested with noise.py)."""

from itertools import product

import pytest
import torch
from balancer_cases import Net, batch, count_passes, linear_step, net_losses

from mtlrepro.balancers import create
from mtlrepro.noise import gnr_weights


def noisy_run(balancer, steps, lengths, sigma, dim=200, seed=0, factor=None):
    """Steps on gradients of fixed direction and length plus white noise of power sigma^2."""
    generator = torch.Generator().manual_seed(seed)
    n = len(lengths)
    mean = torch.randn(n, dim, generator=generator, dtype=torch.float64)
    mean = mean / mean.norm(dim=1, keepdim=True) * torch.tensor(lengths).double()[:, None]
    scale = torch.ones(n, 1).double() if factor is None else torch.tensor(factor).double()[:, None]
    for _ in range(steps):
        noise = torch.randn(n, dim, generator=generator, dtype=torch.float64) / dim**0.5
        linear_step(balancer, scale * (mean + torch.tensor(sigma).double()[:, None] * noise))


def test_estimates_and_weights_by_hand():
    """Gradients (1, 0), (0, 2), (2, 1) at gamma = 1/2; the second task's are twice as long.

    The corrected momentum is (1, 0), then (1/3, 4/3), with 1 and 5/9 of one gradient's noise power. Signal: 0, then
    2/3 + 4/3. Noise: (1 + 4) / 2, then (25/9 + 1/9) / (14/9). Weights: w_1/w_2 = sqrt(a_2 s_2 / (a_1 s_1)) = 2.
    """
    balancer = create("maxgnr", 2, gamma=0.5, averaging=0.0)
    twice = torch.tensor([[1.0], [2.0]]).double()
    for gradient, signal, noise in (([1, 0], None, None), ([0, 2], 0, 5 / 2), ([2, 1], 2, 13 / 7)):
        _, heads, _ = linear_step(balancer, twice * torch.tensor(gradient).double())
        if signal is not None:
            torch.testing.assert_close(balancer.signal, signal * twice[:, 0] ** 2)
            torch.testing.assert_close(balancer.noise, noise * twice[:, 0] ** 2)
    torch.testing.assert_close(heads, torch.tensor([2 / 3, 1 / 3]).double())


def test_estimates_signal_and_noise_power():
    balancer = create("maxgnr", 2, averaging=0.999)
    noisy_run(balancer, 1200, [1.0, 3.0], [2.0, 0.5])
    torch.testing.assert_close(balancer.signal, torch.tensor([1.0, 9.0]).double(), rtol=0.1, atol=0)
    torch.testing.assert_close(balancer.noise, torch.tensor([4.0, 0.25]).double(), rtol=0.1, atol=0)


def test_noise_estimate_is_unbiased_from_its_first_steps():
    """The factor at finite t, not its limit (1 + gamma)/2, which is 1.9 times too large at t = 2."""
    estimates = []
    for seed in range(300):
        balancer = create("maxgnr", 1, averaging=0.0)
        noisy_run(balancer, 2, [0.0], [1.0], dim=30, seed=seed)
        estimates.append(balancer.noise)
    assert torch.stack(estimates).mean().item() == pytest.approx(1.0, abs=0.05)


def test_weights_after_start_up_are_those_of_the_estimates():
    balancer = create("maxgnr", 3)
    noisy_run(balancer, 10, [1.0, 1.0, 1.0], [1.0, 2.0, 3.0])
    torch.testing.assert_close(balancer.weights, torch.full((3,), 1 / 3).double())
    noisy_run(balancer, 40, [1.0, 1.0, 1.0], [1.0, 2.0, 3.0])
    expected = gnr_weights(balancer.signal, balancer.noise)
    assert ((expected > 0.1) & (expected < 10)).all()
    torch.testing.assert_close(balancer.weights, expected / 3)
    assert balancer.weights.sum().item() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("n_tasks", "options", "message"),
    [
        (2, {"scalarisation": "product"}, "does not depend on the weights of two tasks"),
        (3, {"itgn": "wide"}, "itgn is 'wide'"),
    ],
)
def test_readings_without_an_answer_are_refused_at_creation(n_tasks, options, message):
    with pytest.raises(ValueError, match=message):
        create("maxgnr", n_tasks, **options)


READINGS = list(product(("maxmin", "product"), ("narrow", "broad"), (False, True)))


@pytest.mark.parametrize(("scalarisation", "itgn", "own_noise"), READINGS)
def test_loss_scales_cancel(scalarisation, itgn, own_noise):
    """L_i -> c L_i scales the ratios w_i / w_j by 1/c, so weighted gradients stay."""
    weights = []
    for factor in ([1.0, 1.0, 1.0], [1.0, 2.0, 1.0]):
        balancer = create("maxgnr", 3, scalarisation=scalarisation, itgn=itgn, own_noise=own_noise)
        noisy_run(balancer, 60, [1.0, 1.5, 2.0], [1.0, 1.0, 1.0], factor=factor)
        ratio = balancer.weights * torch.tensor(factor).double()
        weights.append(ratio / ratio.sum())
    torch.testing.assert_close(*weights, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("own_noise", [False, True])
def test_label_noise_of_a_task_lowers_its_weight_only_under_itgn(own_noise):
    ratios = []
    for sigma in (1.0, 4.0):
        balancer = create("maxgnr", 3, own_noise=own_noise, averaging=0.995)
        noisy_run(balancer, 500, [1.0, 1.0, 1.0], [1.0, 1.0, sigma], dim=50)
        ratios.append((balancer.weights[2] / balancer.weights[0]).item())
    if own_noise:
        assert ratios[1] == pytest.approx(ratios[0], rel=0.25)
    else:
        assert ratios[1] < 0.6 * ratios[0]


def test_weights_are_clipped():
    balancer = create("maxgnr", 2, gamma=0.5)
    noisy_run(balancer, 20, [1e-3, 1e3], [1e-3, 1e3])
    w = balancer.weights
    assert (w.max() / w.min()).item() == pytest.approx(1.999 / 0.1, rel=0.01)
    assert w.sum().item() == pytest.approx(1.0)


def test_refresh_pays_for_the_passes_only_every_k_steps(monkeypatch):
    calls = count_passes(monkeypatch)
    balancer = create("maxgnr", 3, refresh=4)
    passes = []
    for _ in range(9):
        calls.clear()
        linear_step(balancer, torch.randn(3, 5))
        passes.append(len(calls))
    assert passes == [3, 1, 1, 1, 3, 1, 1, 1, 3]


def test_step_between_refreshes_uses_the_same_weights():
    torch.manual_seed(0)
    balancer = create("maxgnr", 2, refresh=2, gamma=0.5)
    for _ in range(14):
        gradients = torch.randn(2, 5).double() * torch.tensor([[1.0], [3.0]]).double() + 1
        combined, heads, weights = linear_step(balancer, gradients)
        torch.testing.assert_close(weights, balancer.weights)
        torch.testing.assert_close(combined, weights @ gradients)
        torch.testing.assert_close(heads, weights)


@pytest.mark.parametrize("change", ["unfreeze", "freeze"])
def test_estimates_start_anew_when_the_shared_parameters_change(change):
    """The momenta belong to parameters: the steps after the change are those of a new balancer."""
    net = Net(2)
    frozen = net.shared()[0]
    frozen.requires_grad_(change != "unfreeze")
    balancer = create("maxgnr", 2, gamma=0.5)
    shared = net.shared()
    for seed in range(4):
        balancer.backward(net_losses(net, *batch(seed, 2)), shared)
    frozen.requires_grad_(change != "freeze")
    twin = create("maxgnr", 2, gamma=0.5)
    with pytest.warns(UserWarning, match="shared: other parameters than in earlier steps; MaxGNR's"):
        weights = balancer.backward(net_losses(net, *batch(4, 2)), shared)
    assert torch.equal(weights, twin.backward(net_losses(net, *batch(4, 2)), shared))
    for seed in range(5, 9):
        weights = balancer.backward(net_losses(net, *batch(seed, 2)), shared)
        assert torch.equal(weights, twin.backward(net_losses(net, *batch(seed, 2)), shared))
    assert weights[0] != weights[1]


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float64])
def test_a_model_may_be_cast_between_steps(kind):
    net = Net(2)
    balancer = create("maxgnr", 2, gamma=0.5)
    for seed in range(8):
        if seed == 4:
            net.to(kind)
            state, balancer = balancer.state_dict(), create("maxgnr", 2, gamma=0.5)
            balancer.load_state_dict(state)
        x, y = (part.to(next(net.parameters()).dtype) for part in batch(seed, 2))
        weights = balancer.backward(net_losses(net, x, y), net.shared())
        assert weights.isfinite().all()
    assert all(m.dtype in (torch.float32, kind) for m in balancer._momentum[0])
    assert weights[0] != weights[1]
