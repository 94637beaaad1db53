"""Conflict diagnostics from a Gramian."""

import pytest
import torch
from balancer_cases import linear_step
from hypothesis import given, settings
from hypothesis import strategies as st

from mtlrepro.balancers import create, diagnostics, gramian, precision


def test_by_hand():
    g = torch.tensor([[3.0, 4.0], [-1.0, 0.0], [0.0, 10.0]], dtype=torch.float64)
    result = diagnostics(g @ g.T)
    torch.testing.assert_close(result.norms, torch.tensor([5.0, 1.0, 10.0]).double())
    expected = torch.tensor([[1.0, -0.6, 0.8], [-0.6, 1.0, 0.0], [0.8, 0.0, 1.0]]).double()
    torch.testing.assert_close(result.cosines, expected)
    torch.testing.assert_close(result.magnitude_similarity[0], torch.tensor([1.0, 10 / 26, 100 / 125]).double())
    assert result.conflicts.item() == pytest.approx(1 / 3)
    assert result.condition.item() == float("inf")


def test_condition_is_that_of_the_jacobian():
    g = torch.randn(3, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(diagnostics(g @ g.T).condition, torch.linalg.cond(g))


@pytest.mark.parametrize("ratio", [1.0, 1e5])
@pytest.mark.parametrize("seed", range(20))
def test_dependent_float32_gradients_have_no_condition(seed, ratio):
    """g_3 = g_1 + g_2 to float32's rounding; the products' rounding would give about 4,000."""
    g = torch.randn(3, 2000, generator=torch.Generator().manual_seed(seed))
    g[0] *= ratio
    g[2] = g[0] + g[1]
    if ratio == 1:
        rows = [[row] for row in g]
        assert diagnostics(gramian(rows), precision(rows)).condition == float("inf")
        assert diagnostics(g @ g.T).condition == float("inf")
        balancer = create("mgda", 3)
        linear_step(balancer, g)
        assert diagnostics(balancer.gramian, balancer.precision).condition == float("inf")
    # Lengths that differ are no dependence.
    g[2] = torch.randn(2000, generator=torch.Generator().manual_seed(seed + 100))
    rows = [[row] for row in g]
    expected = torch.linalg.cond(g.double())
    torch.testing.assert_close(diagnostics(gramian(rows), precision(rows)).condition, expected, rtol=1e-5, atol=0)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 8), st.integers(1, 10), st.integers(0, 1000))
def test_ranges(n_tasks, size, seed):
    generator = torch.Generator().manual_seed(seed)
    g = torch.randn(n_tasks, size, generator=generator, dtype=torch.float64)
    g[0] *= seed % 3
    result = diagnostics(g @ g.T)
    assert (result.cosines.abs() <= 1).all()
    assert ((result.magnitude_similarity >= 0) & (result.magnitude_similarity <= 1)).all()
    assert 0 <= result.conflicts <= 1
    assert not result.condition < 1 or not g.any()


def test_gramian_is_checked():
    with pytest.raises(ValueError, match=r"gramian has shape \(2, 3\); accepted: \[T, T\]"):
        diagnostics(torch.ones(2, 3))


@pytest.mark.parametrize("n", [1, 2, 3])
def test_gradients_of_zero_are_dependent(n):
    assert diagnostics(torch.zeros(n, n)).condition == torch.inf
