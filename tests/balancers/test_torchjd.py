"""TorchJD as oracle: equal directions, lengths by the stated convention; and its weightings as balancers."""

import re
from itertools import permutations

import pytest
import torch
from balancer_cases import linear_step

from mtlrepro.balancers import create
from mtlrepro.balancers.torchjd import REFUSED, STATE, _aggregators

torchjd = pytest.importorskip("torchjd")
Stateful = torchjd.Stateful
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


# -- TorchJD's weightings as balancers --

OFFERED = {
    "AlignedMTL": {"scale_mode": "median"},
    "CAGrad": {"c": 0.4},
    "Constant": {"weights": [0.3, 2.0, 1.0]},
    "DualProj": {"pref_vector": [0.2, 0.3, 0.5]},
    "FairGrad": {"alpha": 1.0},
    "GradVac": {"beta": 0.3, "seed": 5},
    "IMTLG": {},
    "Krum": {"n_byzantine": 0, "n_selected": 2},
    "MGDA": {"max_iters": 50},
    "Mean": {},
    "NashMTL": {"update_weights_every": 2},
    "PCD": {"tau": [0.1, 0.2], "beta": 0.9},
    "PCGrad": {"seed": 5},
    "Random": {"seed": 5},
    "Sum": {},
    "UPGrad": {},
}


@pytest.fixture(params=OFFERED)
def offered(request):
    """Name and options of a weighting whose packages are installed; NashMTL's is not in the extra `oracle`."""
    for package in {"NashMTL": ["ecos"], "CAGrad": ["clarabel"]}.get(request.param, []):
        pytest.importorskip(package)
    return request.param, OFFERED[request.param]


def sequence(steps, dtype=torch.float64):
    """Jacobians [3, 6] that conflict."""
    generator = torch.Generator().manual_seed(1)
    shared = torch.randn(3, 6, generator=generator, dtype=torch.float64)
    for _ in range(steps):
        yield (shared + 0.7 * torch.randn(3, 6, generator=generator, dtype=torch.float64)).to(dtype)


def torchjds_own(name, options, dtype):
    """TorchJD's aggregator, and where its random numbers start."""
    options = dict(options)
    torch.manual_seed(options.pop("seed", 0))
    vectors = {k: torch.tensor(v, dtype=dtype) for k, v in options.items() if isinstance(v, list)}
    return getattr(aggregation, name)(**({"n_tasks": 3} if name == "NashMTL" else {}), **{**options, **vectors})


@pytest.mark.filterwarnings("ignore:You are solving a parameterized problem")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_weighting_is_torchjds_aggregator_step_by_step(offered, dtype):
    """Its state and random stream included."""
    name, options = offered
    with torch.random.fork_rng(devices=[]):
        aggregator, balancer = torchjds_own(name, options, dtype), create(f"torchjd:{name}", 3, **options)
        tolerance = {} if dtype == torch.float64 else {"rtol": 1e-3, "atol": 1e-3}
        if name == "NashMTL":
            tolerance = {"rtol": 1e-4, "atol": 1e-4}  # its solver stops early, and rounding decides where
        for matrix in sequence(6, dtype):
            combined, heads, weights = linear_step(balancer, matrix)
            torch.testing.assert_close(combined, aggregator(matrix), **tolerance)
            torch.testing.assert_close(combined, (weights @ matrix.double()).to(dtype), rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(heads, torch.full_like(heads, 1 / 3))


def test_a_stopped_run_goes_on_bit_for_bit(offered, tmp_path):
    name, options = offered
    unbroken = create(f"torchjd:{name}", 3, **options)
    expected = [linear_step(unbroken, matrix)[2] for matrix in sequence(8)]
    for stop in (0, 1, 4):
        first, second = (create(f"torchjd:{name}", 3, **options) for _ in range(2))
        weights = [linear_step(first, matrix)[2] for matrix in list(sequence(8))[:stop]]
        torch.save(first.state_dict(), tmp_path / "state.pt")
        linear_step(first, torch.randn(3, 6))  # what was saved is no view of what goes on
        linear_step(second, torch.randn(3, 6))  # and a state replaces what was there
        second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
        weights += [linear_step(second, matrix)[2] for matrix in list(sequence(8))[stop:]]
        assert all(torch.equal(a, b) for a, b in zip(weights, expected, strict=True))


@pytest.mark.parametrize("name", ["GradVac", "PCD"])
def test_state_of_float32_steps_goes_on_too(name):
    unbroken, first, second = (create(f"torchjd:{name}", 3) for _ in range(3))
    matrices = list(sequence(6, torch.float32))
    expected = [linear_step(unbroken, matrix)[2] for matrix in matrices]
    for matrix in matrices[:3]:
        linear_step(first, matrix)
    second.load_state_dict(first.state_dict())
    assert all(
        torch.equal(linear_step(second, matrix)[2], weights)
        for matrix, weights in zip(matrices[3:], expected[3:], strict=True)
    )


def test_both_names_are_the_same_weighting(offered):
    name, options = offered
    one, other = create(f"torchjd:{name}", 3, **options), create(f"torchjd:{name}Weighting", 3, **options)
    for matrix in sequence(2):
        assert torch.equal(linear_step(one, matrix)[2], linear_step(other, matrix)[2])


def test_random_numbers_are_the_balancers_own(offered):
    name, options = offered
    before = torch.get_rng_state()
    balancer = create(f"torchjd:{name}", 3, **options)
    start = balancer.generator(torch.device("cpu")).get_state()
    for matrix in sequence(2):
        linear_step(balancer, matrix)
    assert torch.equal(torch.get_rng_state(), before)
    moved = not torch.equal(balancer.generator(torch.device("cpu")).get_state(), start)
    assert moved == ("seed" in options)


def test_a_bad_step_leaves_a_weighting_as_it_is(offered):
    """Of a guarded run, whose host does not look; the next step goes on as if there had been none."""
    name, options = offered
    plain, guarded = (create(f"torchjd:{name}", 3, **options) for _ in range(2))
    guarded.guard(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1, fused=True))
    for matrix in sequence(3):
        _, _, weights = linear_step(guarded, matrix)
        assert torch.equal(weights, linear_step(plain, matrix)[2])
        _, _, weights = linear_step(guarded, matrix * torch.tensor([[1.0], [torch.inf], [1.0]]))
        assert weights.isnan().all()


def test_linearly_dependent_float32_gradients_are_seen_as_such():
    """TorchJD's tolerance is that of the Gramian's type; in float64 the rounding of products would pass for rank."""
    for seed in range(20):
        matrix = torch.randn(3, 2000, generator=torch.Generator().manual_seed(seed))
        matrix[2] = matrix[0] + matrix[1]
        combined, _, _ = linear_step(create("torchjd:AlignedMTL", 3), matrix)
        exact = aggregation.AlignedMTL()(matrix.double())
        assert cosine(combined.double(), exact) > 0.999
        assert combined.norm().item() == pytest.approx(exact.norm().item(), rel=1e-3)


def test_every_name_of_torchjd_is_offered_or_refused():
    bases = {"Aggregator", "WeightedAggregator", "GramianWeightedAggregator", ""}
    names = {name.removesuffix("Weighting") for name in aggregation.__all__} - bases
    assert set(_aggregators()) == set(OFFERED) == names - set(REFUSED)
    assert not set(OFFERED) & set(REFUSED)
    stateful = {name for name in OFFERED if issubclass(getattr(aggregation, name), Stateful)}
    assert stateful == set(STATE)


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_gramian_does_not_hold_is_refused_with_the_reason(name):
    for given in (name, f"{name}Weighting"):
        with pytest.raises(ValueError, match=re.escape(f"name is 'torchjd:{given}' ({REFUSED[name]}); accepted after")):
            create(f"torchjd:{given}", 3)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("UpGrad", {}, "name is 'torchjd:UpGrad'; accepted after 'torchjd:': AlignedMTL, .*UPGrad$"),
        ("", {}, "name is 'torchjd:'; accepted after"),
        ("UPGrad", {"c": 1}, "torchjd:UPGrad: option 'c' is unknown; accepted: pref_vector$"),
        ("UPGrad", {"projector": None}, "option 'projector' is unknown"),
        ("UPGrad", {"seed": 1}, "option 'seed' is unknown"),
        ("MeanWeighting", {"c": 1}, "torchjd:Mean: option 'c' is unknown; accepted: none"),
        ("Krum", {}, "torchjd:Krum: option 'n_byzantine' is missing; accepted: an integer"),
        ("Krum", {"n_byzantine": 1.0}, "n_byzantine is 1.0; accepted: an integer"),
        ("Krum", {"n_byzantine": 1}, "torchjd:Krum with 3 tasks: .*4 rows"),
        ("GradVac", {"beta": "0.5"}, "^beta is '0.5'; accepted: a finite number"),
        ("GradVac", {"beta": 2}, "torchjd:GradVac with 3 tasks: .*beta=2"),
        ("PCD", {"tau": [0.1]}, "torchjd:PCD with 3 tasks: .*tau"),
        ("PCD", {"tau": [0.1, True]}, "tau is .*; accepted: a finite number or a list, each a finite number"),
        ("Constant", {"weights": [1, 2]}, r"weights is \[1.0, 2.0\]; accepted: 3 numbers, one for each task"),
        ("Constant", {"weights": 1}, "weights is 1; accepted: a list, each a finite number"),
        ("AlignedMTL", {"scale_mode": "max"}, "scale_mode is 'max'; accepted: 'min', 'median', 'rmse'"),
        ("AlignedMTL", {"pref_vector": [1, 2]}, "pref_vector is .*; accepted: 3 numbers"),
    ],
)
def test_names_and_options_are_checked_when_a_weighting_is_made(name, options, message):
    with pytest.raises(ValueError, match=message):
        create(f"torchjd:{name}", 3, **options)


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setattr(torchjd._mixins, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"torchjd:NashMTL: .*ecos.*pip install .torchjd\[nash"):
        create("torchjd:NashMTL", 3)
    with pytest.raises(ImportError, match=r"torchjd:CAGrad: .*clarabel.*pip install .torchjd\[cagrad"):
        create("torchjd:CAGrad", 3, c=0.4)


@pytest.mark.parametrize(
    ("name", "options"), [("GradVac", {}), ("PCD", {}), ("Constant", {"weights": [1, 2, 3]}), ("MGDA", {})]
)
def test_a_weighting_with_a_number_per_task_needs_all_tasks(name, options):
    x = torch.nn.Parameter(torch.ones(3))
    losses = [x.sum(), None, x.square().sum()]
    balancer = create(f"torchjd:{name}", 3, **options)
    if name == "MGDA":
        assert balancer.backward(losses, [x])[1] == 0
    else:
        with pytest.raises(ValueError, match=f"losses: task '1' is absent; accepted by torchjd:{name}: all tasks"):
            balancer.backward(losses, [x])


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


@pytest.mark.parametrize("vector", [[0, 0, 0], [-1.0, 1, 1], [1, 2]])
def test_preferences_for_nothing_and_of_other_lengths_are_refused(vector):
    """With the first ones nothing would be trained, without a word."""
    with pytest.raises(ValueError, match=r"pref_vector is \[.*\]; accepted: 3 numbers"):
        create("torchjd:UPGrad", 3, pref_vector=vector)
