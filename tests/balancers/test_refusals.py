"""Sparse and complex gradients, which no method combines, are refused by name before anything is computed."""

import pytest
import torch
from balancer_cases import ALL, GRAMIAN
from torch import nn

from mtlrepro.balancers import create

INDEX = torch.tensor([1, 2])


def embedding():
    table = nn.Embedding(6, 3, sparse=True)
    return table(INDEX), table.weight


def bag():
    table = nn.EmbeddingBag(6, 3, mode="sum", sparse=True)
    return table(INDEX[:, None]), table.weight


def gather():
    table = nn.Parameter(torch.randn(6, 3))
    return table.gather(0, INDEX[:, None].expand(2, 3), sparse_grad=True), table


def matrix():
    table = nn.Parameter(torch.eye(3).to_sparse())
    return torch.sparse.mm(table, torch.ones(3, 3)), table


def numbers():
    table = nn.Parameter(torch.randn(2, 3, dtype=torch.complex64))
    return table.abs().square(), table


KINDS = [
    (embedding, "EmbeddingBackward0 has a sparse gradient; accepted: dense ones"),
    (bag, "EmbeddingBagBackward0 has a sparse gradient; accepted: dense ones"),
    (gather, "GatherBackward0 has a sparse gradient; accepted: dense ones"),
    (matrix, r"a parameter of shape \(3, 3\) is sparse; accepted: dense, real ones"),
    (numbers, r"a parameter of shape \(2, 3\) is complex; accepted: dense, real ones"),
]
each_kind = pytest.mark.parametrize(("make", "message"), KINDS, ids=lambda value: getattr(value, "__name__", ""))


def heads(z):
    torch.manual_seed(0)
    linear = nn.ModuleList(nn.Linear(z.shape[1], 1) for _ in range(2))
    return linear, [head(z).square().mean() for head in linear]


@pytest.mark.parametrize("name", ALL)
@each_kind
def test_in_the_shared_parameters(name, make, message):
    z, table = make()
    linear, losses = heads(z)
    balancer = create(name, 2)
    with pytest.raises(ValueError, match=f"losses: {message}"):
        balancer.backward(losses, [table])
    assert all(p.grad is None for p in (table, *linear.parameters()))
    assert balancer.steps == 0


@pytest.mark.parametrize("name", ALL)
@each_kind
def test_in_a_head(name, make, message):
    x = nn.Parameter(torch.ones(3))
    z, table = make()
    with pytest.raises(ValueError, match=f"losses: {message}"):
        create(name, 2).backward([x.square().sum(), (z * x).square().sum()], [x])
    assert x.grad is None
    assert table.grad is None


@pytest.mark.parametrize("name", GRAMIAN)
@each_kind
def test_behind_the_representation(name, make, message):
    z, table = make()
    linear, losses = heads(z)
    balancer = create(name, 2, at="representation")
    with pytest.raises(ValueError, match=f"losses: {message}"):
        balancer.backward(losses, [table], features=z)
    assert all(p.grad is None for p in (table, *linear.parameters()))


@pytest.mark.parametrize("name", ALL)
def test_dense_embeddings_and_complex_numbers_in_between_are_accepted(name):
    """With one task every method takes its plain gradient, and cagrad a multiple of it."""
    table, kernel = nn.Embedding(6, 4), nn.Parameter(torch.randn(3, 2))

    def loss():
        return (torch.fft.rfft(table(INDEX)) * torch.view_as_complex(kernel)).abs().square().mean()

    expected = torch.autograd.grad(loss(), [table.weight, kernel])
    factor = (1 + 0.4) / (1 + 0.4**2) if "cagrad" in name else 1.0
    create(name, 1).backward([loss()], [table.weight, kernel])
    for parameter, gradient in zip((table.weight, kernel), expected, strict=True):
        torch.testing.assert_close(parameter.grad, factor * gradient)
