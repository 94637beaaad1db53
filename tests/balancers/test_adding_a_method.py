"""The README's example of a new method, executed as it stands there."""

import re
from pathlib import Path

import pytest
import torch
from balancer_cases import linear_step

from mtlrepro.balancers import METHODS, create

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
def example():
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    (code,) = [block for block in blocks if "@register(" in block]
    before = dict(METHODS)
    exec(compile(code, "README.md", "exec"), {})
    yield code
    METHODS.clear()
    METHODS.update(before)


def test_example_is_short(example):
    assert len(example.splitlines()) <= 40


def test_example_works(example):
    """IMTL-G: equal projections on all task gradients, and the scale convention."""
    gradients = torch.tensor([[1.0, 2.0, 0.0], [0.0, 3.0, 1.0]]).double()
    combined, heads, _ = linear_step(create("imtl-g", 2), gradients)
    projections = gradients @ combined / gradients.norm(dim=1)
    torch.testing.assert_close(projections[0], projections[1])
    torch.testing.assert_close(heads, torch.full((2,), 0.5).double())
    g = torch.tensor([3.0, -4.0]).double()
    torch.testing.assert_close(linear_step(create("imtl-g", 3), g.expand(3, 2))[0], g)
