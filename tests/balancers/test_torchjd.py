"""TorchJD as oracle: equal directions, lengths by the stated convention; and its weightings as balancers."""

from itertools import permutations

import pytest
import torch
from balancer_cases import linear_step

from mtlrepro.balancers import create

aggregation = pytest.importorskip("torchjd.aggregation")
scalarization = pytest.importorskip("torchjd.scalarization")


def jacobians(count, tasks=range(2, 9), seed=0):
    """Random [T, n], each number of tasks in turn, with row lengths between 1 and 100."""
    generator = torch.Generator().manual_seed(seed)
    for i in range(count):
        n_tasks = tasks[i % len(tasks)]
        matrix = torch.randn(n_tasks, 4 + i % 12, generator=generator, dtype=torch.float64)
        lengths = 100 ** torch.rand(n_tasks, 1, generator=generator, dtype=torch.float64)
        yield matrix / matrix.norm(dim=1, keepdim=True) * lengths


def cosine(a, b):
    return torch.nn.functional.cosine_similarity(a, b, dim=0).item()


def test_equal_is_torchjds_mean():
    for matrix in jacobians(1000):
        combined, _, _ = linear_step(create("equal", len(matrix)), matrix)
        torch.testing.assert_close(combined, aggregation.Mean()(matrix))


def scalarized(scalarizer, matrix, losses):
    """Gradient of TorchJD's combination of linear losses with these gradients [T, n] and values [T]."""
    x = torch.zeros_like(matrix[0], requires_grad=True)
    scalarizer(matrix @ x + losses).backward()
    return x.grad


def random_losses(n_tasks, seed):
    """Between 0.01 and 1."""
    return 100 ** -torch.rand(n_tasks, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_gls_is_torchjds_geometric_mean():
    for i, matrix in enumerate(jacobians(1000)):
        losses = random_losses(len(matrix), i)
        combined, _, _ = linear_step(create("gls", len(matrix)), matrix, losses)
        torch.testing.assert_close(combined, scalarized(scalarization.GeometricMean(), matrix, losses))


def test_uncertainty_is_torchjds():
    for i, matrix in enumerate(jacobians(1000)):
        losses = random_losses(len(matrix), i)
        ours, theirs = create("uncertainty", len(matrix)), scalarization.UW(len(matrix)).double()
        with torch.no_grad():
            ours.log_variance.copy_(losses.log() + 1)
            theirs.log_var.copy_(losses.log() + 1)
        combined, _, _ = linear_step(ours, matrix, losses)
        torch.testing.assert_close(combined, scalarized(theirs, matrix, losses))
        torch.testing.assert_close(ours.log_variance.grad, theirs.log_var.grad)


def test_dwa_is_a_share_of_torchjds():
    """Their weights sum to T."""
    for i, matrix in enumerate(jacobians(1000)):
        n_tasks = len(matrix)
        ours, theirs = create("dwa", n_tasks), scalarization.DWA()
        for epoch in range(3):
            losses = random_losses(n_tasks, 3 * i + epoch)
            combined, _, _ = linear_step(ours, matrix, losses)
            torch.testing.assert_close(n_tasks * combined, scalarized(theirs, matrix, losses))
            ours.end_epoch(losses)
            theirs.step()


def test_pcgrad_two_tasks_is_half_of_torchjds():
    for matrix in jacobians(1000):
        ours = create("pcgrad", 2)(matrix[:2] @ matrix[:2].T) @ matrix[:2]
        torch.testing.assert_close(2 * ours, aggregation.PCGrad()(matrix[:2]))


def test_pcgrad_in_expectation(monkeypatch):
    """Exactly, over all orders: each task's result depends on the order of its others alone, so (T - 1)! rounds do."""
    for matrix in jacobians(1000, tasks=(3, 3, 3, 4)):
        n_tasks, gramian = len(matrix), matrix @ matrix.T
        balancer, weighting = create("pcgrad", n_tasks), aggregation.PCGradWeighting()
        others = [permutations([j for j in range(n_tasks) if j != i]) for i in range(n_tasks)]
        ours, theirs = [], []
        for orders in zip(*others, strict=True):
            rows = torch.tensor([[*order, i] for i, order in enumerate(orders)])
            monkeypatch.setattr(balancer, "_orders", lambda n, device, rows=rows: rows)
            ours.append(balancer(gramian))
            upcoming = iter(rows)
            monkeypatch.setattr(torch, "randperm", lambda n, upcoming=upcoming: next(upcoming))
            theirs.append(weighting(gramian))
        expected = torch.stack(theirs).mean(0) @ matrix
        combined = torch.stack(ours).mean(0) @ matrix
        assert cosine(combined, expected) >= 0.9999
        torch.testing.assert_close(n_tasks * combined, expected)


@pytest.mark.parametrize("n_tasks", range(2, 9))
def test_graddrop_in_expectation(n_tasks, monkeypatch):
    """Over 256 evenly spaced draws; the rule acts on elements, so all Jacobians are one. It keeps the mean."""
    matrices = list(jacobians(143, tasks=(n_tasks,), seed=n_tasks))  # 1001 in all
    matrix = torch.cat(matrices, dim=1)
    balancer, aggregator = create("graddrop", n_tasks), aggregation.GradDrop()
    ours, theirs = torch.zeros_like(matrix[0]), torch.zeros_like(matrix[0])
    for k in range(-(2**15) + 2**7, 2**15, 2**8):
        uniform = 0.5 + (k + 0.5) / 2**16
        with monkeypatch.context() as patch:
            patch.setattr(torch.Tensor, "random_", lambda words, *_, k=k, **__: words.view(torch.int16).fill_(k))
            patch.setattr(torch, "rand", lambda shape, u=uniform, **options: torch.full(shape, u, **options))
            ours += linear_step(balancer, matrix)[0] / 256
            theirs += aggregator(matrix) / 256
    torch.testing.assert_close(n_tasks * ours, theirs)
    sizes = [part.shape[1] for part in matrices]
    for part, a, b in zip(matrices, ours.split(sizes), theirs.split(sizes), strict=True):
        assert cosine(a, b) >= 0.9999
        assert cosine(a, part.mean(0)) >= 0.9999


def test_cagrad_directions():
    pytest.importorskip("cvxpy")
    pytest.importorskip("clarabel")
    theirs = aggregation.CAGrad(c=0.4, norm_eps=0.0)
    worst = 1.0
    for matrix in jacobians(1000):
        ours = create("cagrad", len(matrix), rescale=False)(matrix @ matrix.T) @ matrix
        expected = theirs(matrix)
        worst = min(worst, cosine(ours, expected))
        assert (ours.norm() / expected.norm()).item() == pytest.approx(1, rel=1e-2)  # their solver's accuracy
    assert worst >= 0.9999


def test_mgda_is_no_longer_than_torchjds():
    """TorchJD's Frank-Wolfe stops early; the exact point can only be shorter."""
    for matrix in jacobians(1000):
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
