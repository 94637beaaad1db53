"""MCLGS: per-task form, two-task gate, plain training at the end, per-sample weights; CAGrad on top."""

import pytest
import torch
from balancer_cases import Net, batch, count_passes, grads, linear_step
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mtlrepro.balancers import create, gramian, task_gradients
from mtlrepro.balancers.mclgs import decrease


def poster(gradients, p):
    """The poster's update rule, literally: 1/(N(N-1)) sum_{i<j} w_ij (g_i + g_j)."""
    n = len(gradients)
    total = torch.zeros_like(gradients[0])
    for i in range(n - 1):
        for j in range(i + 1, n):
            cosine = torch.nn.functional.cosine_similarity(gradients[i], gradients[j], dim=0)
            total += (torch.tanh(cosine * p) + 1) * (gradients[i] + gradients[j])
    return total / (n * (n - 1))


@pytest.mark.parametrize("n_tasks", [2, 3, 5])
@pytest.mark.parametrize("p", [0.3, 2.0, 40.0])
def test_step_is_the_posters_rule(n_tasks, p):
    torch.manual_seed(n_tasks)
    gradients = torch.randn(n_tasks, 6, dtype=torch.float64)
    combined, heads, weights = linear_step(create("mclgs", n_tasks, a0=p), gradients)
    torch.testing.assert_close(combined, poster(gradients, p))
    torch.testing.assert_close(heads, weights)
    assert ((weights > 0) & (weights < 2 / n_tasks)).all() or p == 40.0


def test_two_tasks_are_gated_and_keep_their_direction():
    gradients = torch.tensor([[1.0, 0.0], [-0.6, 0.8]]).double()
    combined, _, weights = linear_step(create("mclgs", 2, a0=1.5), gradients)
    gate = 1 + torch.tensor(-0.6 * 1.5).double().tanh()
    torch.testing.assert_close(weights, gate.expand(2) / 2)
    torch.testing.assert_close(combined, gate * gradients.mean(0))


def test_forty_is_nearly_a_binary_gate():
    for cosine, expected in ((0.05, 1.96), (-0.05, 0.036)):
        gradients = torch.tensor([[1.0, 0.0], [cosine, (1 - cosine**2) ** 0.5]]).double()
        _, _, weights = linear_step(create("mclgs", 2, a0=40.0), gradients)
        assert weights.sum().item() == pytest.approx(expected, abs=0.005)


@given(st.floats(0, 50), st.floats(0, 2), st.sampled_from(["epoch", "iteration"]))
def test_schedule(a0, delta_a, step):
    balancer = create("mclgs", 2, a0=a0, delta_a=delta_a, step=step)
    for t in range(4):
        assert balancer.p == max(a0 - t * delta_a, 0)
        x = nn.Parameter(torch.ones(2))
        for _ in range(1 if step == "iteration" else 2):
            balancer.backward([x.sum(), x.square().sum()], [x])
        balancer.end_epoch(torch.ones(2))


@pytest.mark.parametrize("method", ["mclgs", "cagrad+mclgs"])
@given(a0=st.floats(0.01, 50), end=st.integers(1, 10**6))
def test_a_curriculum_ends_when_it_is_told_to(method, a0, end):
    """p is exactly 0 from its end on, so that no step costs N backward passes for weights of 1 + 1e-15."""
    balancer = create(method, 2, a0=a0, delta_a=decrease(a0, end))
    assert balancer.delta_a == pytest.approx(a0 / end, rel=1e-14)
    for t, positive in ((0, True), (end - 1, True), (end, False), (end + 1, False)):
        balancer.set_extra_state({"steps": t, "epochs": t})
        assert balancer.p == balancer._strength().item()
        assert (balancer.p > 0) == positive


def test_ends_that_rounding_would_miss():
    assert 40.0 - 77 * (40.0 / 77) > 0
    assert 40.0 - 77 * decrease(40.0, 77) <= 0 < 40.0 - 76 * decrease(40.0, 77)
    assert decrease(0.0, 10) == 0 and decrease(40.0, 10) == 4


def test_no_gramian_is_left_once_p_is_zero():
    balancer = create("mclgs", 2, a0=1.0, delta_a=1.0)
    linear_step(balancer, torch.eye(2).double())
    assert torch.equal(balancer.gramian, torch.eye(2).double())
    balancer.end_epoch(torch.ones(2))
    linear_step(balancer, torch.tensor([[1.0, 0.0], [-1.0, 0.0]]).double())
    assert balancer.gramian is None


def test_one_backward_pass_once_p_is_zero(monkeypatch):
    gradients = torch.randn(3, 4, dtype=torch.float64)
    balancer = create("mclgs", 3, a0=1.0, delta_a=1.0)
    calls = count_passes(monkeypatch)
    linear_step(balancer, gradients)
    assert len(calls) == 3
    balancer.end_epoch(torch.ones(3))
    calls.clear()
    combined, heads, weights = linear_step(balancer, gradients)
    assert len(calls) == 1
    torch.testing.assert_close(combined, gradients.mean(0))
    torch.testing.assert_close(heads, torch.full((3,), 1 / 3).double())
    torch.testing.assert_close(weights, heads)


def test_zero_gradient_has_similarity_zero():
    gradients = torch.tensor([[0.0, 0.0], [1.0, 2.0]]).double()
    _, _, weights = linear_step(create("mclgs", 2, a0=10.0), gradients)
    torch.testing.assert_close(weights, torch.full((2,), 0.5).double())


def sample_losses(net, x, y):
    return [(k + 1) * (o - t).square().mean(1) for k, (o, t) in enumerate(zip(net(x), y, strict=True))]


@pytest.mark.parametrize("delta_a", [0.0, 2.0])
def test_per_sample_weights(delta_a):
    """The mean over samples of each sample's own MCLGS step, for trunk and heads."""
    x, y = batch(0, 3, size=5)
    net, alone = Net(3).double(), Net(3).double()
    x, y = x.double(), y.double()
    balancer = create("mclgs", 3, a0=2.0, delta_a=delta_a, step="iteration", granularity="sample")
    for _ in range(2):
        net.zero_grad()
        weights = balancer.backward(sample_losses(net, x, y), net.shared())
    assert (weights is None) == (delta_a == 0)
    alone.zero_grad()
    for b in range(5):
        one = create("mclgs", 3, a0=2.0 - delta_a)
        one.backward([loss[0] / 5 for loss in sample_losses(alone, x[b : b + 1], y[:, b : b + 1])], alone.shared())
    for a, b in zip(grads(net), grads(alone), strict=True):
        torch.testing.assert_close(a, b)


def cagrad_on_scaled_samples(jacobian, heads, p):
    """By definition: sample b's part of task k's gradient times N W_kb, summed, and CAGrad of the sums.

    Args: jacobian [B, N, P] and heads [B, N] of the samples' losses over B. Returns the steps of trunk and heads.
    """
    size, n, _ = jacobian.shape
    scaled, heads_scaled = torch.zeros_like(jacobian[0]), torch.zeros_like(heads[0])
    for b in range(size):
        for k in range(n):
            cosine = torch.nn.functional.cosine_similarity
            others = [1 + (p * cosine(jacobian[b, k], jacobian[b, j], dim=0)).tanh() for j in range(n) if j != k]
            factor = sum(others) / (n - 1)
            scaled[k] += factor * jacobian[b, k]
            heads_scaled[k] += factor * heads[b, k]
    return create("cagrad", n)(scaled @ scaled.T) @ scaled, heads_scaled / n


@pytest.mark.parametrize("p", [0.0, 0.7, 40.0])
@pytest.mark.parametrize("absent", [False, True])
def test_cagrad_mclgs_per_sample(p, absent):
    generator = torch.Generator().manual_seed(5)
    jacobian = torch.randn(4, 3, 6, generator=generator, dtype=torch.float64)
    slopes = torch.rand(4, 3, generator=generator, dtype=torch.float64)
    x = nn.Parameter(torch.zeros(6, dtype=torch.float64))
    heads = [nn.Parameter(torch.zeros((), dtype=torch.float64)) for _ in range(3)]
    losses = [jacobian[:, k] @ x + slopes[:, k] * heads[k] for k in range(3)] + [None] * absent
    balancer = create("cagrad+mclgs", 3 + absent, a0=p, granularity="sample")
    weights = balancer.backward(losses, [x])
    expected, expected_heads = cagrad_on_scaled_samples(jacobian / 4, slopes / 4, p)
    part = 3 / (3 + absent)  # an absent task counts as a loss of zero
    torch.testing.assert_close(x.grad, expected * part)
    torch.testing.assert_close(torch.stack([h.grad for h in heads]), expected_heads * part)
    assert (weights is None) == (p > 0)


def test_cagrad_mclgs_per_sample_of_one_sample_is_that_of_the_batch():
    x, y = batch(0, 3, size=1)
    nets = [Net(3).double(), Net(3).double()]
    for net, granularity in zip(nets, ("batch", "sample"), strict=True):
        losses = sample_losses(net, x.double(), y.double())
        losses = losses if granularity == "sample" else [loss.mean() for loss in losses]
        create("cagrad+mclgs", 3, a0=1.5, granularity=granularity).backward(losses, net.shared())
    for a, b in zip(*map(grads, nets), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("method", ["mclgs", "cagrad+mclgs"])
def test_per_sample_losses_are_checked(method):
    x = nn.Parameter(torch.ones(3))
    balancer = create(method, 2, granularity="sample")
    with pytest.raises(ValueError, match=r"task '0' has shape \(\); accepted: \[B\] per-sample losses"):
        balancer.backward([x.sum(), x], [x])
    with pytest.raises(ValueError, match=r"losses have \[2, 3\] samples; accepted: the same number"):
        balancer.backward([x * 1, x[:2] * 1], [x])
    with pytest.raises(ValueError, match="granularity is 'image'; accepted: 'batch', 'sample'"):
        create(method, 2, granularity="image")
    with pytest.raises(ValueError, match="at is 'representation'; accepted with granularity='sample': 'parameters'"):
        create(method, 2, granularity="sample", at="representation")


def test_cagrad_mclgs_is_cagrad_on_scaled_gradients():
    torch.manual_seed(3)
    gradients = torch.randn(4, 6, dtype=torch.float64)
    w = create("mclgs", 4, a0=1.3)(gradients @ gradients.T)
    scaled = 4 * w[:, None] * gradients
    expected = create("cagrad", 4)(scaled @ scaled.T) @ scaled
    combined, heads, _ = linear_step(create("cagrad+mclgs", 4, a0=1.3), gradients)
    torch.testing.assert_close(combined, expected)
    torch.testing.assert_close(heads, w)


def test_cagrad_mclgs_reduces_to_cagrad():
    torch.manual_seed(3)
    gradients = torch.randn(4, 6, dtype=torch.float64)
    for a, b in zip(
        linear_step(create("cagrad+mclgs", 4, a0=0.0), gradients),
        linear_step(create("cagrad", 4), gradients),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_gramian_of_a_network():
    net = Net(3)
    losses = [o.square().mean() for o in net(batch(0, 3)[0])]
    rows = task_gradients(losses, net.shared())
    flat = torch.stack([torch.cat([g.flatten() for g in row]) for row in rows]).double()
    torch.testing.assert_close(gramian(rows), flat @ flat.T, rtol=1e-5, atol=1e-7)
