"""MTSGD on hand-made kernels, GradDrop by its expectation."""

import pytest
import torch
from balancer_cases import linear_step
from torch import nn

from mtlrepro.balancers import SliceRule, create, gradient_balancing

LEVELS = ["channel", "filter", "parameter"]


def random_gradients(n_tasks, shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n_tasks, *shape, generator=generator, dtype=torch.float64)


def mtsgd_by_hand(gradients, level, threshold, similarity="min", restore_norm=False, balance=True):
    """The rule slice by slice with loops; gradients [T, N, C, H, W]."""
    n_tasks, n, c = gradients.shape[:3]
    result = torch.zeros_like(gradients[0])
    where = {
        "channel": [(i, j) for i in range(n) for j in range(c)],
        "filter": [(i,) for i in range(n)],
        "parameter": [()],
    }[level]
    for index in where:
        slices = [g[index].flatten() for g in gradients]
        lengths = [s.norm() for s in slices]
        units = [s / r if r > 0 else s for s, r in zip(slices, lengths, strict=True)]
        cosines = torch.stack([units[i] @ units[j] for i in range(n_tasks) for j in range(i)])
        value = cosines.min() if similarity == "min" else cosines.mean()
        if value >= threshold - 1e-12:
            update = (min(lengths) * sum(units) if balance else sum(slices)) / n_tasks
            if restore_norm is True and update.norm() > 1e-12:
                update = update / update.norm() * (sum(slices) / n_tasks).norm()
            result[index] = update.reshape(result[index].shape)
    if restore_norm == "step" and result.norm() > 0:
        result = result / result.norm() * gradients.mean(0).norm()
    return result


RESTORED = [(False, True), (True, True), ("step", True), (False, False), ("step", False)]
"""`restore_norm` and `balance`."""


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("threshold", [-1.0, -0.25, 0.0, 0.3])
@pytest.mark.parametrize("n_tasks", [2, 4])
@pytest.mark.parametrize("kernel", [(4, 3, 3, 3), (4, 3, 1, 1)])
@pytest.mark.parametrize("similarity", ["min", "mean"])
def test_mtsgd_follows_its_definition(level, threshold, n_tasks, kernel, similarity):
    gradients = random_gradients(n_tasks, kernel)
    for restore_norm, balance in RESTORED:
        options = {
            "level": level,
            "threshold": threshold,
            "similarity": similarity,
            "restore_norm": restore_norm,
            "balance": balance,
        }
        combined, heads, weights = linear_step(create("mtsgd", n_tasks, **options), gradients)
        torch.testing.assert_close(combined, mtsgd_by_hand(gradients, **options))
        assert weights is None
        torch.testing.assert_close(heads, torch.full((n_tasks,), 1 / n_tasks).double())


@pytest.mark.parametrize("common", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("threshold", [-0.5, 0.0, 0.5])
def test_mtsgd_of_many_tasks_follows_its_definition_however_many_slices_are_left(common, threshold):
    gradients = random_gradients(6, (8, 5, 3, 3), seed=1)
    gradients = gradients + common * random_gradients(1, (8, 5, 3, 3), seed=2)
    combined, _, _ = linear_step(create("mtsgd", 6, threshold=threshold), gradients)
    torch.testing.assert_close(combined, mtsgd_by_hand(gradients, "channel", threshold))


@pytest.mark.parametrize("level", LEVELS)
def test_mtsgd_joins_small_parameters_without_a_change(level):
    """Parameters of a network, large and small, of like and unlike slices, against each by itself."""
    shapes = [(8,), (8,), (16, 8, 3, 3), (16,), (64, 64, 3, 3), (40, 16, 1, 1), (8, 40, 1, 1), (12, 40), (300, 300)]
    gradients = [random_gradients(2, shape, seed) for seed, shape in enumerate(shapes)]
    parameters = [nn.Parameter(torch.zeros(shape, dtype=torch.float64)) for shape in shapes]
    losses = [sum((g[k] * p).sum() for g, p in zip(gradients, parameters, strict=True)) for k in range(2)]
    create("mtsgd", 2, level=level).backward(losses, parameters)
    for gradient, parameter in zip(gradients, parameters, strict=True):
        alone, _, _ = linear_step(create("mtsgd", 2, level=level), gradient)
        torch.testing.assert_close(parameter.grad, alone)
        assert parameter.grad.stride() == parameter.stride()


def last(tensor):
    """The same numbers, with channels last in memory."""
    return tensor.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("threshold", [-1.0, 0.0])
@pytest.mark.parametrize("n_tasks", [2, 5])
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize(("restore_norm", "balance"), RESTORED)
def test_mtsgd_with_channels_last_follows_its_definition(level, threshold, n_tasks, mixed, restore_norm, balance):
    """On a weight too large to be joined, also where gradients lie otherwise than their weight."""
    gradients = random_gradients(n_tasks, (64, 60, 3, 3)) + 0.8 * random_gradients(1, (64, 60, 3, 3), seed=1)
    parameter = nn.Parameter(last(torch.zeros(gradients.shape[1:], dtype=torch.float64)))
    losses = [
        (g * parameter).sum() if mixed and k == 0 else (last(g) * parameter).sum() for k, g in enumerate(gradients)
    ]
    options = {"level": level, "threshold": threshold, "restore_norm": restore_norm, "balance": balance}
    balancer = create("mtsgd", n_tasks, **options)
    balancer.observing = True
    balancer.backward(losses, [parameter])
    expected = mtsgd_by_hand(gradients, **options)
    torch.testing.assert_close(parameter.grad, expected)
    assert parameter.grad.stride() == parameter.stride()
    count = balancer.slices(parameter.shape)[0]
    kept = (expected.reshape(count, -1).abs().sum(1) > 1e-9).double().mean()
    torch.testing.assert_close(balancer.observed()["slices_kept"], kept)
    length = expected.norm() / gradients.mean(0).norm()
    torch.testing.assert_close(balancer.observed()["length"], length)


@pytest.mark.parametrize("level", LEVELS)
def test_mtsgd_reads_channels_last_as_they_lie(level, monkeypatch):
    """No copy is made of gradients that lie as their weight does."""
    parameter = nn.Parameter(last(torch.zeros(64, 60, 3, 3)))
    rows = [last(torch.randn(64, 60, 3, 3)) for _ in range(2)]
    balancer = create("mtsgd", 2, level=level)
    seen = []
    rule = balancer.rule
    monkeypatch.setattr(balancer, "rule", lambda gradients, out: (seen.extend(gradients), rule(gradients, out)))
    monkeypatch.setattr(gradient_balancing, "task_gradients", lambda *_: [[row] for row in rows])
    balancer.backward([parameter.sum(), parameter.sum()], [parameter])
    assert {part.untyped_storage().data_ptr() for part in seen} == {row.untyped_storage().data_ptr() for row in rows}


def test_a_rule_that_draws_gives_the_same_numbers_with_channels_last():
    """Stored runs have its draws in the order of indices."""
    gradients = random_gradients(2, (64, 60, 3, 3))
    found = []
    for form in (torch.Tensor.contiguous, last):
        parameter = nn.Parameter(form(torch.zeros(gradients.shape[1:], dtype=torch.float64)))
        create("graddrop", 2).backward([(form(g) * parameter).sum() for g in gradients], [parameter])
        found.append(parameter.grad)
    assert torch.equal(*found)


class Pairs(SliceRule):
    """Keeps slices of two neighbours whose first gradient has a positive sum."""

    def slices(self, shape):
        return shape.numel() // 2, 2

    def rule(self, gradients, out):
        torch.mul(gradients[0], gradients[0].sum(1, keepdim=True) > 0, out=out)


def test_slices_that_channels_last_would_split_are_cut_by_index():
    gradient = random_gradients(1, (64, 60, 4, 3))[0]
    parameter = nn.Parameter(last(torch.zeros_like(gradient)))
    Pairs(2).backward([(last(gradient) * parameter).sum(), parameter.sum()], [parameter])
    rows = gradient.reshape(-1, 2)
    torch.testing.assert_close(parameter.grad, (rows * (rows.sum(1, keepdim=True) > 0)).reshape(gradient.shape))


def test_mtsgd_on_a_written_out_3x3_kernel():
    """One plane with directions at 90 degrees (kept at threshold 0), one with opposite ones (dropped)."""
    a, b = torch.zeros(1, 2, 3, 3).double(), torch.zeros(1, 2, 3, 3).double()
    a[0, 0, 0, 0], b[0, 0, 1, 1] = 3.0, 0.5
    a[0, 1, 2, 2], b[0, 1, 2, 2] = 1.0, -4.0
    expected = torch.zeros(1, 2, 3, 3).double()
    expected[0, 0, 0, 0] = expected[0, 0, 1, 1] = 0.25  # the shorter length, over T
    combined, _, _ = linear_step(create("mtsgd", 2), torch.stack([a, b]))
    torch.testing.assert_close(combined, expected)
    combined, _, _ = linear_step(create("mtsgd", 2, threshold=-1.0), torch.stack([a, b]))
    torch.testing.assert_close(combined, expected)  # kept, and cancelling


def test_mtsgd_on_1x1_kernels_is_sign_agreement_with_the_smaller_magnitude():
    gradients = torch.tensor([[2.0, -3.0, 1.0, 0.0], [0.5, -5.0, -1.0, 4.0]]).double().reshape(2, 2, 2, 1, 1)
    combined, _, _ = linear_step(create("mtsgd", 2), gradients)
    torch.testing.assert_close(combined.flatten(), torch.tensor([0.5, -3.0, 0.0, 0.0]).double())


@pytest.mark.parametrize(("ratio", "expected"), [(10, 0.1406), (100, 0.01414)])
def test_mtsgd_shortens_the_step(ratio, expected):
    """|sum g| = s sqrt(2 + 2 c) for two tasks: at c = 0 and this norm ratio, so much of the plain sum."""
    gradients = torch.tensor([[1.0, 0.0], [0.0, float(ratio)]]).double()
    combined, _, _ = linear_step(create("mtsgd", 2), gradients)
    assert (combined.norm() / gradients.mean(0).norm()).item() == pytest.approx(expected, rel=0.005)
    restored, _, _ = linear_step(create("mtsgd", 2, restore_norm=True), gradients)
    assert restored.norm().item() == pytest.approx(gradients.mean(0).norm().item())


def test_mtsgd_can_lengthen_the_step_of_three_tasks():
    gradients = torch.tensor([[1.0], [1.0], [-2.0]]).double()
    combined, _, _ = linear_step(create("mtsgd", 3, threshold=-1.0), gradients)
    torch.testing.assert_close(combined, torch.tensor([1 / 3]).double())
    assert gradients.mean(0).abs().item() < 1e-12


def test_mtsgd_slices_of_other_shapes():
    """Rows of a matrix; a vector as a whole, at both of the paper's levels."""
    matrix = torch.tensor([[[1.0, 0.0], [1.0, 1.0]], [[2.0, 0.0], [-1.0, -1.0]]]).double()
    vector = torch.tensor([[1.0, 1.0], [1.0, -2.0]]).double()
    for level in ("channel", "filter"):
        combined, _, _ = linear_step(create("mtsgd", 2, level=level), matrix)
        torch.testing.assert_close(combined, torch.tensor([[1.0, 0.0], [0.0, 0.0]]).double())
        combined, _, _ = linear_step(create("mtsgd", 2, level=level), vector)
        torch.testing.assert_close(combined, torch.zeros(2).double())


@pytest.mark.parametrize("shape", [(2, 1, 3, 3), (2, 1, 1, 1), (2, 4)])
@pytest.mark.parametrize("threshold", [-1.0, -0.5, 0.0])
@pytest.mark.parametrize("restore_norm", [False, True])
@pytest.mark.parametrize("n_tasks", [2, 3])
def test_mtsgd_zero_gradient_of_a_task_stops_its_slice(shape, threshold, restore_norm, n_tasks):
    """At every threshold, and no other slice: s is the smallest length, 0 there."""
    gradients = random_gradients(1, shape).expand(n_tasks, *shape).clone()
    gradients[1, 0] = 0
    options = {"threshold": threshold, "restore_norm": restore_norm}
    combined, _, _ = linear_step(create("mtsgd", n_tasks, **options), gradients)
    assert not combined[0].any()
    torch.testing.assert_close(combined[1], gradients[0, 1])


@pytest.mark.filterwarnings("ignore:shared. only task")
def test_mtsgd_leaves_out_a_task_that_does_not_reach_a_parameter():
    """Unlike a task whose gradient there is zero."""
    for reached in (False, True):
        x, y = (nn.Parameter(torch.ones(2, dtype=torch.float64)) for _ in range(2))
        losses = [x.sum() + 4 * y.sum(), x.sum() + (0 * y).sum() if reached else x.sum()]
        create("mtsgd", 2).backward(losses, [x, y])
        assert x.grad.tolist() == [1, 1]
        assert y.grad.tolist() == ([0, 0] if reached else [2, 2])


def test_mtsgd_mask_alone_keeps_the_mean_where_tasks_agree():
    """Written out: planes at 90 degrees, opposite, and one where a task has no gradient (c = 0)."""
    a, b = torch.zeros(1, 3, 3, 3).double(), torch.zeros(1, 3, 3, 3).double()
    a[0, 0, 0, 0], b[0, 0, 1, 1] = 3.0, 0.5
    a[0, 1, 2, 2], b[0, 1, 2, 2] = 1.0, -4.0
    a[0, 2, 1, 0] = 2.0
    expected = torch.stack([a, b]).mean(0)
    expected[0, 1] = 0
    combined, _, _ = linear_step(create("mtsgd", 2, balance=False), torch.stack([a, b]))
    torch.testing.assert_close(combined, expected)
    combined, _, _ = linear_step(create("mtsgd", 2, balance=False, threshold=0.1), torch.stack([a, b]))
    torch.testing.assert_close(combined, torch.zeros_like(a))


@pytest.mark.parametrize("n_tasks", [1, 2, 3])
def test_mtsgd_without_balance_and_mask_is_the_mean(n_tasks):
    gradients = random_gradients(n_tasks, (4, 3, 3, 3))
    for restore_norm in (False, "step"):
        options = {"balance": False, "threshold": -1.0, "restore_norm": restore_norm}
        combined, _, _ = linear_step(create("mtsgd", n_tasks, **options), gradients)
        torch.testing.assert_close(combined, gradients.mean(0))


def step_on(gradients, **options):
    """One step on parameters with gradients [T, ...] each; None for a task that does not reach one."""
    n_tasks = len(gradients[0])
    parameters = [nn.Parameter(torch.zeros_like(next(g for g in of if g is not None))) for of in gradients]
    losses = [
        sum((p * of[k]).sum() for p, of in zip(parameters, gradients, strict=True) if of[k] is not None)
        for k in range(n_tasks)
    ]
    create("mtsgd", n_tasks, **options).backward(losses, parameters)
    return [p.grad for p in parameters]


@pytest.mark.filterwarnings("ignore:shared. only task")
@pytest.mark.parametrize("balance", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_mtsgd_restores_the_length_of_the_whole_step(balance, dtype):
    """One factor for kernels of several shapes, a vector, a large one in blocks, and what one task alone reaches."""
    shapes = [(8, 4, 3, 3), (6, 8, 1, 1), (7, 5), (9,), (40, 40, 5, 5)]
    gradients = [random_gradients(3, shape, seed).to(dtype) for seed, shape in enumerate(shapes)]
    gradients = [g * torch.tensor([1.0, 5.0, 0.1], dtype=dtype).view(3, *[1] * (g.ndim - 1)) for g in gradients]
    gradients.append([None, gradients[3][1] * 3, None])
    plain, restored = (step_on(gradients, balance=balance, restore_norm=kind) for kind in (False, "step"))
    means = [sum(g for g in of if g is not None) / 3 for of in gradients]
    lengths = [torch.cat([g.flatten() for g in each]).norm() for each in (plain, restored, means)]
    torch.testing.assert_close(lengths[1], lengths[2])
    assert lengths[0] < 0.9 * lengths[2]
    for a, b in zip(plain, restored, strict=True):
        torch.testing.assert_close(a * (lengths[2] / lengths[0]), b)


def test_mtsgd_restored_step_by_hand():
    """A kept slice of length 1 beside a dropped one: the plain mean (2, 1; 0, 3) / 2 has length sqrt(14) / 2."""
    gradients = torch.tensor([[[1.0, 1.0], [0.0, -1.0]], [[1.0, 0.0], [0.0, 4.0]]]).double()
    combined, _, _ = linear_step(create("mtsgd", 2, balance=False, restore_norm="step"), gradients)
    torch.testing.assert_close(combined, torch.tensor([[1.0, 0.5], [0.0, 0.0]]).double() * (14 / 5) ** 0.5)


@pytest.mark.parametrize("balance", [True, False])
@pytest.mark.parametrize("threshold", [0.5, -1.0])
def test_mtsgd_a_step_without_any_slice_left_stays_zero(balance, threshold):
    """Also where only rounding is left of gradients that cancel."""
    g = random_gradients(1, (2, 3, 3, 3))[0]
    scales = torch.tensor([3.0, -3.0]) if threshold == -1 else torch.tensor([3.0, -0.1])
    options = {"threshold": threshold, "balance": balance, "restore_norm": "step"}
    combined, _, _ = linear_step(create("mtsgd", 2, **options), scales.double().view(2, 1, 1, 1, 1) * g)
    assert not combined.any()
    combined, _, _ = linear_step(create("mtsgd", 2, threshold=-1.0, restore_norm="step"), torch.stack([g, -g / 7]))
    assert not combined.any()


def test_mtsgd_restored_step_does_not_remember_the_step_before():
    gradients = random_gradients(2, (4, 3, 3, 3))
    balancer = create("mtsgd", 2, restore_norm="step")
    linear_step(balancer, 100 * random_gradients(2, (4, 3, 3, 3), seed=1))
    combined, _, _ = linear_step(balancer, gradients)
    torch.testing.assert_close(combined.norm(), gradients.mean(0).norm())


def paper_mtsgd(gradients):
    """Eqs. 3, 6, 7 and the sum of Eq. 8 at threshold -1, for kernels at level channel."""
    r = gradients.flatten(3).norm(dim=3)[..., None, None]
    return (r.amin(0) * gradients / r).sum(0)


def test_mtsgd_factor_to_the_paper():
    """The paper sums the gradients of weighted losses: factor 1/T with weights of 1, and 1 with weights of 1/T."""
    gradients = random_gradients(2, (2, 2, 3, 3))
    ours, _, _ = linear_step(create("mtsgd", 2, threshold=-1.0), gradients)
    torch.testing.assert_close(2 * ours, paper_mtsgd(gradients))
    torch.testing.assert_close(ours, paper_mtsgd(0.5 * gradients))


def test_mtsgd_learning_rate_and_decay_of_the_papers_sum():
    """Weights of 1, lr, coupled decay d and Eq. 8's momentum, heads too: ours is T lr and d / T."""
    n_tasks, lr, decay, rho = 2, 0.1, 0.3, 0.9
    start = random_gradients(1, (2, 2, 3, 3), seed=1)[0]
    x, heads = nn.Parameter(start.clone()), [nn.Parameter(torch.ones(()).double()) for _ in range(n_tasks)]
    paper, velocity = [start.clone(), torch.ones(n_tasks).double()], [0.0, 0.0]
    slopes = torch.tensor([1.0, -3.0]).double()
    optimizer = torch.optim.SGD([x, *heads], lr=n_tasks * lr, weight_decay=decay / n_tasks, momentum=rho)
    balancer = create("mtsgd", n_tasks, threshold=-1.0)
    for step in range(4):
        gradients = random_gradients(n_tasks, x.shape, seed=step)
        optimizer.zero_grad()
        balancer.backward([(g * x).sum() + a * h for g, a, h in zip(gradients, slopes, heads, strict=True)], [x])
        optimizer.step()
        for i, gradient in enumerate((paper_mtsgd(gradients), slopes)):
            velocity[i] = rho * velocity[i] + gradient + decay * paper[i]
            paper[i] = paper[i] - lr * velocity[i]
    torch.testing.assert_close(x.detach(), paper[0])
    torch.testing.assert_close(torch.stack(heads).detach(), paper[1])


@pytest.mark.parametrize("n_tasks", [2, 3])
def test_graddrop_expectation_is_the_mean(n_tasks):
    gradients = random_gradients(n_tasks, (40,))
    draws, _, _ = linear_step(create("graddrop", n_tasks), gradients[:, None].expand(n_tasks, 4000, 40))
    error = draws.std(0) / 4000**0.5 + 1e-12
    assert ((draws.mean(0) - gradients.mean(0)).abs() < 5 * error).all()


def test_graddrop_draws_in_the_order_of_the_parameters():
    """Joining small parameters would draw other numbers, and stored runs could not be repeated."""
    gradients = [random_gradients(2, (n,), seed=n) for n in (5, 7)]
    parameters = [nn.Parameter(torch.zeros(len(g[0]), dtype=torch.float64)) for g in gradients]
    losses = [sum((g[k] * p).sum() for g, p in zip(gradients, parameters, strict=True)) for k in range(2)]
    create("graddrop", 2, seed=3).backward(losses, parameters)
    balancer = create("graddrop", 2, seed=3)
    for gradient, parameter in zip(gradients, parameters, strict=True):
        alone, _, _ = linear_step(balancer, gradient)
        torch.testing.assert_close(parameter.grad, alone)


def test_graddrop_keeps_one_sign_per_element():
    gradients = random_gradients(3, (1000,))
    combined, _, _ = linear_step(create("graddrop", 3), gradients)
    positive, negative = gradients.clamp_min(0).sum(0) / 3, gradients.clamp_max(0).sum(0) / 3
    assert (torch.isclose(combined, positive) | torch.isclose(combined, negative)).all()
    agree = (gradients > 0).all(0) | (gradients < 0).all(0)
    torch.testing.assert_close(combined[agree], gradients.mean(0)[agree])


def test_graddrop_probability_is_the_purity():
    gradients = torch.tensor([[3.0], [-1.0]]).expand(2, 20000)
    combined, _, _ = linear_step(create("graddrop", 2), gradients)
    assert (combined > 0).float().mean().item() == pytest.approx(0.75, abs=0.015)
