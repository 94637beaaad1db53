"""MGDA, CAGrad and PCGrad: closed forms, optimality, and properties on matrices of known structure."""

from itertools import combinations, permutations

import numpy as np
import pytest
import torch
from balancer_cases import GRAMIAN, linear_step, matrices
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from mtlrepro.balancers import CAGrad, create, gramian, precision
from mtlrepro.balancers.gradients import ROUNDING


def direction(name, matrix, **options):
    balancer = create(name, len(matrix), **options)
    return balancer(matrix @ matrix.T) @ matrix


def random_jacobian(seed, ratio=100.0):
    generator = torch.Generator().manual_seed(seed)
    n_tasks = 2 + seed % 7
    size = int(torch.randint(1, 12, (), generator=generator))
    matrix = torch.randn(n_tasks, size, generator=generator, dtype=torch.float64)
    lengths = ratio ** torch.rand(n_tasks, 1, generator=generator, dtype=torch.float64)
    return matrix / matrix.norm(dim=1, keepdim=True) * lengths


# -- all of them --


@settings(max_examples=150, deadline=None)
@given(matrix=matrices(), name=st.sampled_from(GRAMIAN))
def test_finite_on_matrices_of_known_structure(matrix, name):
    coefficients = create(name, len(matrix))(matrix @ matrix.T)
    assert coefficients.isfinite().all()
    assert (coefficients @ matrix).isfinite().all()


@settings(max_examples=80, deadline=None)
@given(
    matrix=matrices(exponent=1),
    name=st.sampled_from(["mgda", "cagrad", "mclgs", "cagrad+mclgs"]),
    exponent=st.integers(-15, 15),
)
def test_directions_are_permutation_and_scale_equivariant(matrix, name, exponent):
    order = torch.randperm(len(matrix), generator=torch.Generator().manual_seed(len(matrix)))
    one, other = direction(name, matrix), direction(name, matrix[order])
    tolerance = 1e-6 * matrix.norm(dim=1).max().item()
    torch.testing.assert_close(one, other, rtol=1e-6, atol=tolerance)
    scale = 10.0**exponent
    scaled = direction(name, matrix * scale)
    torch.testing.assert_close(scaled / scale, one, rtol=1e-6, atol=tolerance)


# -- MGDA --


def brute_force_min_norm(matrix):
    """Minimum-norm point of the convex hull: least squares on the affine hull of every subset of the rows."""
    best, rows = None, matrix.numpy()
    for size in range(1, len(rows) + 1):
        for subset in combinations(range(len(rows)), size):
            base, rest = rows[subset[0]], rows[list(subset[1:])]
            a = np.linalg.lstsq((rest - base).T, -base, rcond=None)[0] if size > 1 else np.zeros(0)
            if (a >= -1e-12).all() and a.sum() <= 1 + 1e-12:
                point = base + a @ (rest - base) if size > 1 else base
                if best is None or point @ point < best @ best:
                    best = point
    return torch.from_numpy(best)


def test_mgda_is_the_exact_minimum_norm_point():
    """On 1,000 Jacobians of 2 to 8 tasks with norms 1 to 100."""
    for seed in range(1000):
        matrix = random_jacobian(seed)
        ours, exact = direction("mgda", matrix), brute_force_min_norm(matrix)
        scale = matrix.norm(dim=1).min().item()
        if exact.norm() > 1e-6 * scale:
            torch.testing.assert_close(ours, exact, rtol=1e-7, atol=1e-7 * scale, msg=f"seed {seed}")
            assert torch.nn.functional.cosine_similarity(ours, exact, dim=0) >= 0.9999, f"seed {seed}"
        else:
            assert ours.norm() < 1e-6 * scale, f"seed {seed}"


@settings(max_examples=200, deadline=None)
@given(matrix=matrices(max_tasks=8))
def test_mgda_satisfies_the_kkt_conditions(matrix):
    """a >= 0, sum a = 1 and <g_k, d> >= |d|^2 for all k, hence no conflict."""
    a = create("mgda", len(matrix))(matrix @ matrix.T)
    assert (a >= 0).all()
    assert a.sum().item() == pytest.approx(1)
    d = a @ matrix
    lengths = matrix.norm(dim=1)
    total = (a * lengths).sum()
    rounding = 1e-7 * lengths * total + (1e-14 * total) ** 2  # cancellation within d, and within |d|^2
    assert (matrix @ d >= d @ d - rounding).all()


def test_mgda_two_tasks_closed_form():
    g = torch.tensor([[4.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    a = create("mgda", 2)(g @ g.T)
    first = ((g[1] - g[0]) @ g[1] / (g[0] - g[1]).square().sum()).clamp(0, 1)
    torch.testing.assert_close(a, torch.stack([first, 1 - first]))


def test_mgda_with_lengths_1_to_1e15():
    """The short gradient decides; the long one only takes away the conflict."""
    short, long = torch.tensor([1.0, 1.0]).double(), torch.tensor([-1e15, 0.0]).double()
    d = direction("mgda", torch.stack([short, long]))
    torch.testing.assert_close(d, torch.tensor([0.0, 1.0]).double(), rtol=1e-9, atol=1e-9)


def test_mgda_is_zero_at_a_stationary_point_and_takes_a_zero_gradient():
    angle = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64) * 2 * torch.pi / 3
    star = torch.stack([angle.cos(), angle.sin()], dim=1) * torch.tensor([[1.0], [10.0], [100.0]])
    assert direction("mgda", star).norm() < 1e-7
    torch.testing.assert_close(create("mgda", 3)(torch.diag(torch.tensor([0.0, 1.0, 4.0]))), torch.eye(3)[0].double())


def test_too_many_tasks_for_enumeration():
    with pytest.raises(ValueError, match="gramian is of 13 tasks; accepted: up to 12"):
        create("mgda", 13)(torch.eye(13))


# -- CAGrad --


def dual(matrix, c):
    """CAGrad's dual by scipy, and its objective scale."""
    gramian = (matrix @ matrix.T).numpy()
    n = len(gramian)
    b = gramian.mean(1)
    radius = c * np.sqrt(b.mean())
    unit = np.abs(b).max() + radius * np.sqrt(gramian.diagonal().max())

    def objective(w):
        return (w @ b + radius * np.sqrt(max(w @ gramian @ w, 0) + 1e-30 * unit)) / unit

    solution = min(
        (
            minimize(
                objective,
                start,
                bounds=[(0, 1)] * n,
                constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
                method="SLSQP",
                options={"ftol": 1e-14, "maxiter": 500},
            )
            for start in (np.full(n, 1 / n), *np.eye(n))
        ),
        key=lambda s: s.fun,
    )
    return solution.fun * unit, unit


@pytest.mark.parametrize("seed", [*range(6), *range(7, 27)])
@pytest.mark.parametrize("c", [0.4, 1.5])
def test_cagrad_against_a_numeric_optimiser(seed, c):
    """d is in the ball and min_k <g_k, d> attains the dual's minimum, as strong duality demands."""
    matrix = random_jacobian(seed)
    d, mean = direction("cagrad", matrix, c=c, rescale=False), matrix.mean(0)
    assert (d - mean).norm() <= c * mean.norm() * (1 + 1e-9)
    value, unit = dual(matrix, c)
    assert (matrix @ d).min().item() >= value - 1e-7 * unit


def test_cagrad_solution_is_stationary_to_1e_10():
    """KKT of the dual on its simplex: the gradient is least, and equal, on the active set."""
    for seed in range(40):
        matrix = random_jacobian(seed, ratio=10.0)
        if len(matrix) > matrix.shape[1]:
            continue
        mean, n = matrix.mean(0), len(matrix)
        d = direction("cagrad", matrix, c=0.5, rescale=False)
        w = torch.linalg.lstsq(matrix.T, (d - mean)[:, None]).solution[:, 0]
        slope = matrix @ d  # the dual's gradient
        active = w > 1e-6 * w.max()
        unit = matrix.norm(dim=1).max() * mean.norm()
        assert n == 1 or (slope[active] - slope.min()).abs().max() <= 1e-10 * unit
        assert (d - mean).norm().item() == pytest.approx(0.5 * mean.norm().item(), rel=1e-10)


@settings(max_examples=150, deadline=None)
@given(matrix=matrices(exponent=2))
def test_cagrad_does_not_conflict_from_c_one_on(matrix):
    d = direction("cagrad", matrix, c=1.0)
    lengths = matrix.norm(dim=1)
    assert (matrix @ d >= -1e-7 * lengths * lengths.max()).all()


@settings(max_examples=60, deadline=None)
@given(matrix=matrices(exponent=2))
def test_cagrad_stays_in_its_ball(matrix):
    mean = matrix.mean(0)
    d = direction("cagrad", matrix, c=0.4, rescale=False)
    assert (d - mean).norm() <= 0.4 * mean.norm() + 1e-7 * matrix.norm(dim=1).max()


def test_cagrad_at_c_zero_is_the_mean():
    matrix = random_jacobian(3)
    torch.testing.assert_close(direction("cagrad", matrix, c=0.0), matrix.mean(0))


def test_cagrad_at_a_stationary_point_is_the_nearest_direction_without_conflict():
    """g_w = 0, where the printed formula is 0/0; here the mean conflicts with task 1."""
    matrix = torch.tensor([[1.0, 0.1], [-1.0, -0.1], [0.0, 1.0]], dtype=torch.float64)
    d = direction("cagrad", matrix, c=0.5, rescale=False)
    along = torch.tensor([-0.1, 1.0], dtype=torch.float64) / 1.01**0.5
    torch.testing.assert_close(d, (matrix.mean(0) @ along) * along)


# -- PCGrad --


def pcgrad_by_the_paper(matrix, orders):
    """Algorithm 1 on vectors, mean of the projected gradients; orders[i] lists the others of task i."""
    total = torch.zeros_like(matrix[0])
    for i, order in enumerate(orders):
        g = matrix[i].clone()
        for j in order:
            product = g @ matrix[j]
            if product < 0:
                g -= product / (matrix[j] @ matrix[j]) * matrix[j]
        total += g
    return total / len(matrix)


@pytest.mark.parametrize("seed", range(0, 70, 7))
def test_pcgrad_two_tasks_by_formula(seed):
    matrix = random_jacobian(seed)[:2]
    torch.testing.assert_close(direction("pcgrad", matrix), pcgrad_by_the_paper(matrix, [[1], [0]]))
    product = matrix[0] @ matrix[1]
    if product < 0:
        closed = (1 - product / matrix.square().sum(1)) / 2
        torch.testing.assert_close(create("pcgrad", 2)(matrix @ matrix.T), closed)


def test_pcgrad_draws_each_order_equally_often():
    """At T = 3 every result is that of some order, and the mean over draws that over all orders."""
    matrix = torch.tensor([[1.0, 0.2, 0.1], [-0.9, 0.3, 0.2], [-0.5, -1.0, 0.4]], dtype=torch.float64)
    others = [[j for j in range(3) if j != i] for i in range(3)]
    all_orders = [
        [a, b, c] for a in permutations(others[0]) for b in permutations(others[1]) for c in permutations(others[2])
    ]
    possible = torch.stack([pcgrad_by_the_paper(matrix, orders) for orders in all_orders])
    balancer = create("pcgrad", 3)
    drawn = torch.stack([balancer(matrix @ matrix.T) @ matrix for _ in range(3000)])
    nearest = (drawn[:, None] - possible).norm(dim=2).min(1).values
    assert nearest.max() < 1e-12
    torch.testing.assert_close(drawn.mean(0), possible.mean(0), rtol=0, atol=0.01)


@pytest.mark.parametrize(
    ("orders", "expected"),
    [
        ([[1, 2, 0], [0, 2, 1], [0, 1, 2]], [0.0, -0.5]),
        ([[2, 1, 0], [2, 0, 1], [1, 0, 2]], [0.5, 0.0]),
    ],
)
def test_pcgrad_three_tasks_by_hand(orders, expected, monkeypatch):
    """The others are subtracted as they were, so the order plays a part.

    Task 1, (1, 0): + (-1, 1)/2 = (1/2, 1/2), then + (0, -1)/2 = (1/2, 0); or at 90 degrees to (0, -1), then (1/2, 1/2).
    Task 2, (-1, 1): both ways (0, 0). Task 3, (0, -1): at 90 degrees to (1, 0), then + (-1, 1)/2 = (-1/2, -1/2); or
    that, then + (1, 0)/2 = (0, -1/2).
    """
    matrix = torch.tensor([[1.0, 0.0], [-1.0, 1.0], [0.0, -1.0]], dtype=torch.float64)
    balancer = create("pcgrad", 3)
    monkeypatch.setattr(balancer, "_orders", lambda n, device: torch.tensor(orders))
    combined, _, _ = linear_step(balancer, matrix)
    torch.testing.assert_close(combined, torch.tensor(expected).double() / 3)


@settings(max_examples=80, deadline=None)
@given(matrix=matrices(max_tasks=2, exponent=3))
def test_pcgrad_two_tasks_do_not_conflict(matrix):
    d = direction("pcgrad", matrix)
    lengths = matrix.norm(dim=1)
    assert (matrix @ d >= -1e-9 * lengths * lengths.max()).all()


def test_pcgrad_stream_is_its_own():
    matrix = random_jacobian(5)
    first = create("pcgrad", len(matrix), seed=3)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    a = [first(matrix @ matrix.T) for _ in range(3)]
    assert torch.equal(state, torch.get_rng_state())
    second = create("pcgrad", len(matrix), seed=3)
    assert all(torch.equal(x, second(matrix @ matrix.T)) for x in a)


# -- through a whole step --


def test_peers_value_table():
    """J = [[-4, 1, 1], [6, 1, 1]]: the published values of other libraries, up to the stated scale."""
    matrix = torch.tensor([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]], dtype=torch.float64)
    table = {"pcgrad": ([0.5848, 3.8012, 3.8012], 1 / 2), "mgda": ([0.0, 1.0, 1.0], 1)}
    for name, (values, factor) in table.items():
        combined, _, _ = linear_step(create(name, 2), matrix)
        torch.testing.assert_close(combined, factor * torch.tensor(values).double(), rtol=0, atol=1e-4)
    combined, _, _ = linear_step(create("cagrad", 2, c=0.5, rescale=False), matrix)
    torch.testing.assert_close(combined, torch.tensor([0.1835, 1.2041, 1.2041]).double(), rtol=0, atol=1e-4)


def test_gramian_is_kept_for_diagnostics():
    matrix = random_jacobian(4)
    balancer = create("mgda", len(matrix))
    linear_step(balancer, matrix)
    torch.testing.assert_close(balancer.gramian, matrix @ matrix.T)


def test_float32_gradients_reach_float32_accuracy():
    """The Gramian is summed in float64, so the direction is as good as the gradients are."""
    for seed in range(20):
        matrix = random_jacobian(seed)
        exact = direction("mgda", matrix)
        combined, _, _ = linear_step(create("mgda", len(matrix)), matrix.float())
        scale = matrix.norm(dim=1).max().item()
        torch.testing.assert_close(combined.double(), exact, rtol=1e-3, atol=1e-3 * scale)


# -- Gramians of float32 products --


def cancelling(seed, kind, exponent, ratio=1.0):
    """Gradients [T, P] in float32 of which some cancel up to 10^exponent: two, three, or all."""
    generator = torch.Generator().manual_seed(seed)
    n_tasks, size = 3 + seed % 4, 10 ** (1 + seed % 3) + seed % 7
    matrix = torch.randn(n_tasks, size, generator=generator, dtype=torch.float64)
    matrix *= ratio ** torch.rand(n_tasks, 1, generator=generator, dtype=torch.float64)
    rest = 10**exponent * matrix[0].norm() / size**0.5 * torch.randn(size, generator=generator, dtype=torch.float64)
    if kind == "two":
        matrix[1] = rest - matrix[0]
    elif kind == "three":
        matrix[2] = rest - matrix[0] - matrix[1]
    else:
        matrix[-1] = rest - matrix[:-1].sum(0)
    return matrix.float()


def distance(matrix, coefficients):
    """Length of d - g_0 over that of g_0, on the vectors themselves in float64."""
    matrix = matrix.double()
    mean = matrix.mean(0)
    return ((coefficients @ matrix - mean).norm() / mean.norm()).item()


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 2**30),
    kind=st.sampled_from(["two", "three", "all"]),
    exponent=st.floats(-8, -3),
    ratio=st.sampled_from([1.0, 100.0]),
    c=st.sampled_from([0.01, 0.4, 1.0, 1.5]),
)
def test_cagrad_stays_in_its_ball_where_float32_gradients_cancel(seed, kind, exponent, ratio, c):
    matrix = cancelling(seed, kind, exponent, ratio)
    _, _, coefficients = linear_step(create("cagrad", len(matrix), c=c, rescale=False), matrix)
    assert coefficients.isfinite().all()
    assert distance(matrix, coefficients) <= 1.01 * c


def test_cagrad_with_two_long_opposite_gradients():
    """The mean's distance was up to 1e6 times the radius, and once not finite."""
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        a, b, e = torch.randn(3, 5000, generator=generator)
        matrix = torch.stack([a, -a + 2e-4 * b, e])
        _, _, coefficients = linear_step(create("cagrad", 3, c=0.4, rescale=False), matrix)
        assert distance(matrix, coefficients) <= 0.404


def test_cagrad_where_float32_gradients_cancel_exactly_conflicts_no_more():
    """g_2 = -g_1: the best direction is the part of the mean at right angles to both."""
    for seed in range(20):
        a, e = torch.randn(2, 500, generator=torch.Generator().manual_seed(seed))
        matrix = torch.stack([a, -a, e])
        combined, _, _ = linear_step(create("cagrad", 3, c=0.4, rescale=False), matrix)
        a, mean = a.double(), matrix.double().mean(0)
        expected = mean - (mean @ a) / (a @ a) * a
        torch.testing.assert_close(combined.double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["cagrad", "cagrad+mclgs"])
@pytest.mark.parametrize("at", ["parameters", "representation"])
def test_the_precision_of_the_products_reaches_the_solver(name, at, monkeypatch):
    seen = []
    solve = CAGrad.coefficients
    monkeypatch.setattr(
        CAGrad, "coefficients", lambda self, gramian, dtype: (seen.append(dtype), solve(self, gramian, dtype))[1]
    )
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        balancer = create(name, 2, at=at)
        x = torch.nn.Parameter(torch.ones(3, dtype=dtype))
        z = 2 * x
        balancer.backward([z.sum(), (z * z).sum()], [x], features=z)
        assert balancer.precision == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert seen == [torch.float64, torch.float32, torch.float32]
    balancer(torch.eye(2))
    balancer(torch.eye(2).double())
    assert seen[3:] == [torch.float32, torch.float64]


def test_precision_of_rows_is_the_coarsest():
    double, single, half = (torch.ones(2, dtype=dtype) for dtype in (torch.float64, torch.float32, torch.float16))
    assert precision([[double, None], [None, double]]) == torch.float64
    assert precision([[double, half], [None, double]]) == torch.float32
    assert precision([[double, single]]) == torch.float32
    assert precision([[None]]) == torch.float64


@pytest.mark.parametrize("size", [1, 100, 5000, 2**16, 2**16 + 1, 2**18])
def test_float32_products_err_within_the_stated_rounding(size):
    """Products of one sign add up to the largest errors."""
    generator = torch.Generator().manual_seed(size)
    for _ in range(10):
        a = torch.rand(size, generator=generator) ** 2
        rows = torch.stack([a, -a + 1e-4 * torch.randn(size, generator=generator)])
        exact, lengths = rows.double() @ rows.double().T, rows.double().norm(dim=1)
        error = (gramian([[row.clone()] for row in rows]) - exact).abs() / lengths / lengths[:, None]
        assert error.max() <= ROUNDING * torch.finfo(torch.float32).eps
