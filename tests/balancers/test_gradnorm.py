"""GradNorm: its step by hand and by autograd."""

import pytest
import torch
from balancer_cases import Net, batch, linear_step, net_losses

from mtlrepro.balancers import create


def gradnorm_gradient(weight, lengths, losses, initial, alpha):
    """dL_grad/dw of the paper's Eq. 2 by autograd, with the target detached."""
    weight = weight.clone().requires_grad_()
    norms = weight * lengths
    rate = losses / initial
    target = (norms.mean() * (rate / rate.mean()) ** alpha).detach()
    (norms - target).abs().sum().backward()
    return weight.grad


@pytest.mark.parametrize("alpha", [0.0, 1.5])
def test_update_is_that_of_the_papers_objective(alpha):
    gradients = torch.tensor([[3.0, 4.0], [0.0, 1.0], [2.0, 0.0]]).double()
    balancer = create("gradnorm", 3, alpha=alpha)
    initial = torch.tensor([1.0, 2.0, 4.0]).double()
    linear_step(balancer, gradients, initial)
    balancer.weight.grad = None
    with torch.no_grad():
        balancer.weight.copy_(torch.tensor([0.5, 2.0, 0.5]))
    losses = torch.tensor([0.9, 0.5, 3.0]).double()
    combined, heads, weights = linear_step(balancer, gradients, losses)
    expected = gradnorm_gradient(balancer.weight.detach(), gradients.norm(dim=1), losses, initial, alpha)
    torch.testing.assert_close(balancer.weight.grad, expected)
    torch.testing.assert_close(weights, torch.tensor([0.5, 2.0, 0.5]).double() / 3)
    torch.testing.assert_close(combined, weights @ gradients)
    torch.testing.assert_close(heads, weights)


def test_first_step_by_hand():
    """Norms 5, 1, 2 and their mean 8/3: the first is above it, the others are below."""
    balancer = create("gradnorm", 3)
    combined, _, _ = linear_step(balancer, torch.tensor([[3.0, 4.0], [0.0, 1.0], [2.0, 0.0]]).double())
    torch.testing.assert_close(balancer.weight.grad, torch.tensor([5.0, -1.0, -2.0]).double())
    torch.testing.assert_close(combined, torch.tensor([5 / 3, 5 / 3]).double())


def test_weights_keep_their_sum_and_sign():
    balancer = create("gradnorm", 2)
    optimizer = torch.optim.SGD(balancer.parameters(), lr=10.0)
    for _ in range(5):
        _, _, weights = linear_step(balancer, torch.tensor([[1.0, 0.0], [0.0, 50.0]]).double())
        assert weights.sum().item() == pytest.approx(1)
        assert (weights > 0).all()
        optimizer.step()
        optimizer.zero_grad()


def test_weighted_norms_become_equal_at_alpha_zero():
    balancer = create("gradnorm", 2, alpha=0.0)
    optimizer = torch.optim.SGD(balancer.parameters(), lr=0.002)
    lengths = torch.tensor([1.0, 4.0]).double()
    for _ in range(800):
        linear_step(balancer, torch.diag(lengths))
        optimizer.step()
        optimizer.zero_grad()
    scaled = balancer.weights * lengths
    assert scaled[0].item() == pytest.approx(scaled[1].item(), rel=0.02)


@pytest.mark.parametrize("layer", ["last", "all"])
def test_layer(layer):
    """`last` is the last weight of two or more dimensions."""
    net = Net(2)
    losses = net_losses(net, *batch(0, 2))
    shared = net.shared()
    chosen = [net.trunk[-1].weight] if layer == "last" else shared
    lengths = torch.stack(
        [
            torch.cat([g.flatten() for g in torch.autograd.grad(loss, chosen, retain_graph=True)]).norm()
            for loss in losses
        ]
    ).double()
    balancer = create("gradnorm", 2, layer=layer)
    balancer.backward(losses, shared)
    torch.testing.assert_close(balancer.weight.grad.abs(), lengths, rtol=1e-5, atol=1e-7)
