"""TorchJD as oracle: equal directions, lengths by the stated convention; and its weightings as balancers."""

import pytest
import torch
from balancer_cases import linear_step

from mtlrepro.balancers import create

aggregation = pytest.importorskip("torchjd.aggregation")


def jacobians(count, seed=0):
    """Random [T, n] with row lengths between 1 and 100."""
    generator = torch.Generator().manual_seed(seed)
    for i in range(count):
        n_tasks = 2 + i % 7
        matrix = torch.randn(n_tasks, 4 + i % 12, generator=generator, dtype=torch.float64)
        lengths = 100 ** torch.rand(n_tasks, 1, generator=generator, dtype=torch.float64)
        yield matrix / matrix.norm(dim=1, keepdim=True) * lengths


def cosine(a, b):
    return torch.nn.functional.cosine_similarity(a, b, dim=0).item()


def test_equal_is_torchjds_mean():
    for matrix in jacobians(50):
        combined, _, _ = linear_step(create("equal", len(matrix)), matrix)
        torch.testing.assert_close(combined, aggregation.Mean()(matrix))


def test_pcgrad_two_tasks_is_half_of_torchjds():
    for matrix in jacobians(1000):
        ours = create("pcgrad", 2)(matrix[:2] @ matrix[:2].T) @ matrix[:2]
        torch.testing.assert_close(2 * ours, aggregation.PCGrad()(matrix[:2]))


def test_pcgrad_in_expectation():
    torch.manual_seed(0)
    for matrix in list(jacobians(30))[1::7]:
        n_tasks, gramian = len(matrix), matrix @ matrix.T
        balancer, weighting = create("pcgrad", n_tasks), aggregation.PCGradWeighting()
        ours = torch.stack([balancer(gramian) for _ in range(1500)]).mean(0) @ matrix
        theirs = torch.stack([weighting(gramian) for _ in range(1500)]).mean(0) @ matrix
        assert cosine(ours, theirs) >= 0.9999
        assert (theirs.norm() / ours.norm()).item() == pytest.approx(n_tasks, rel=0.01)


def test_graddrop_in_expectation():
    torch.manual_seed(0)
    copies = 20000
    for matrix in list(jacobians(12))[::3]:
        many = matrix[:, None].expand(-1, copies, -1)
        ours = linear_step(create("graddrop", len(matrix)), many)[0].mean(0)
        theirs = aggregation.GradDrop()(many.flatten(1)).view(copies, -1).mean(0)
        assert cosine(ours, theirs) >= 0.9999
        assert (theirs.norm() / ours.norm()).item() == pytest.approx(len(matrix), rel=0.02)


def test_cagrad_directions():
    pytest.importorskip("cvxpy")
    pytest.importorskip("clarabel")
    theirs = aggregation.CAGrad(c=0.4, norm_eps=0.0)
    worst = 1.0
    for matrix in jacobians(1000):
        ours = create("cagrad", len(matrix), rescale=False)(matrix @ matrix.T) @ matrix
        expected = theirs(matrix)
        worst = min(worst, cosine(ours, expected))
        assert (ours.norm() / expected.norm()).item() == pytest.approx(1, rel=1e-2)
    assert worst >= 0.9999


def test_mgda_is_no_longer_than_torchjds():
    """TorchJD's Frank-Wolfe stops early; the exact point can only be shorter."""
    for matrix in jacobians(300):
        ours = create("mgda", len(matrix))(matrix @ matrix.T) @ matrix
        assert ours.norm() <= aggregation.MGDA()(matrix).norm() * (1 + 1e-9)


@pytest.mark.parametrize("weighting", ["AlignedMTLWeighting", "IMTLGWeighting", "MeanWeighting", "SumWeighting"])
def test_torchjd_weightings_are_passed_through(weighting):
    for matrix in jacobians(5):
        combined, heads, weights = linear_step(create(f"torchjd:{weighting}", len(matrix)), matrix)
        expected = getattr(aggregation, weighting)()(matrix @ matrix.T)
        torch.testing.assert_close(weights, expected)
        torch.testing.assert_close(combined, expected @ matrix)
        torch.testing.assert_close(heads, torch.full_like(heads, 1 / len(matrix)))


def test_torchjd_options_and_names():
    weights = torch.tensor([0.3, 2.0])
    assert torch.equal(create("torchjd:ConstantWeighting", 2, weights=weights)(torch.eye(2)), weights.double())
    with pytest.raises(ValueError, match="ConstantWeighting: option 'c' is unknown; accepted: weights"):
        create("torchjd:ConstantWeighting", 2, c=1)
    with pytest.raises(ValueError, match=r"name is 'torchjd:UPGrad'; accepted after 'torchjd:': .*UPGradWeighting"):
        create("torchjd:UPGrad", 2)


@pytest.mark.parametrize("name", ["mgda", "cagrad", "mclgs", "pcgrad"])
def test_our_weightings_work_on_torchjds_gramian_path(name):
    """TorchJD's engine computes the Gramian without T gradients; our object weights it."""
    from torchjd.autogram import Engine

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))
    x = torch.randn(6, 4)

    def losses():
        return model(x).square().mean(0)

    engine = Engine(model, batch_dim=None)
    vector = losses()
    vector.backward(create(name, 3)(engine.compute_gramian(vector)).float())
    theirs = [p.grad.clone() for p in model.parameters()]
    plain = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))
    plain.load_state_dict(model.state_dict())
    create(name, 3).backward(list(plain(x).square().mean(0).unbind()), list(plain.parameters()))
    for a, p in zip(theirs, plain.parameters(), strict=True):
        torch.testing.assert_close(a, p.grad, rtol=1e-4, atol=1e-6)
