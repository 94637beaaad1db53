"""torch.compile takes every network as one graph, and inductor trains one."""

import copy

import pytest
import torch
from model_cases import BOXES, DENSE, NAMES, images, losses, small, tensors
from torch import nn

from mtlrepro.models import MultiTaskModel
from mtlrepro.models.pyramid_pooling import SpatialPyramidPooling
from mtlrepro.models.sharing import decoder


@pytest.fixture(autouse=True)
def fresh():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.parametrize("name", NAMES)
def test_one_graph(name):
    tasks = {"detection": BOXES, "multi_column": DENSE[:2], "segnet_mtan": DENSE[:2]}.get(name, DENSE[:1])
    model = small(name, tasks).eval()
    x = images(model)
    with torch.no_grad():
        expected = model(x)
        found = torch.compile(model, backend="eager", fullgraph=True)(x)
    for key, value in found.items():
        for a, b in zip(tensors(value), tensors(expected[key]), strict=True):
            torch.testing.assert_close(a, b)


def test_inductor_computes_the_same_gradients():
    """With what the networks have beyond convolutions: resizing, pooling on grids, several heads."""
    torch.manual_seed(0)
    shared = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), SpatialPyramidPooling(4, (1, 2)))
    model = MultiTaskModel(DENSE[1:], shared, [decoder(8, 1, (4, 4)), nn.Conv2d(8, 3, 1)])
    reference = copy.deepcopy(model)
    x = torch.rand(2, 3, 15, 20)
    for network in (reference, torch.compile(model)):
        torch.stack(losses(model, network(x))).sum().backward()
    for a, b in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-5)
