"""What balancers report of their steps, against its definition on gradients computed one by one."""

import copy

import pytest
import torch
from balancer_cases import ALL, GRAMIAN, Net, batch, count_passes, linear_step, net_losses
from host_reads import NoHost
from torch import nn

from mtlrepro.balancers import SliceRule, create

F64 = torch.float64
CASES = [
    *((name, {}) for name in ALL),
    ("maxgnr", {"refresh": 2}),
    ("mclgs", {"step": "iteration", "a0": 1.0, "delta_a": 0.4}),
    ("mclgs", {"granularity": "sample", "a0": 1.0}),
    ("cagrad+mclgs", {"granularity": "sample", "a0": 1.0}),
    ("mgda", {"at": "representation"}),
    ("mtsgd", {"level": "filter"}),
]
OF_GRAMIANS = ("weights", "gramian", "cosines", "length")
NAMES = {
    **dict.fromkeys(("mgda", "pcgrad", "cagrad"), OF_GRAMIANS),
    **dict.fromkeys(("mclgs", "cagrad+mclgs"), (*OF_GRAMIANS, "p")),
    **dict.fromkeys(("mtsgd", "graddrop"), ("weights", "slices_kept", "elements_kept", "length")),
    "maxgnr": ("weights", "signal", "noise"),
}


def problem(name, options=None, observing=True):
    net = Net(3).double()
    balancer = create(name, 3, **(options or {}))
    balancer.observing = observing
    return net, balancer


def jacobian(net, losses):
    """[T, P] gradients of the losses by the shared parameters."""
    rows = [torch.autograd.grad(loss, net.shared(), retain_graph=True) for loss in losses]
    return torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])


def take(net, balancer, seed=0, absent=()):
    """Take one step: the gradients one by one [T, P], the combined one [P], and the weights."""
    x, y = (tensor.double() for tensor in batch(seed, 3))
    features = net.trunk(x)
    errors = [
        (k + 1) * (head(features) - t).square().squeeze(1) for k, (head, t) in enumerate(zip(net.heads, y, strict=True))
    ]
    means = [error.mean() for error in errors]
    matrix = jacobian(net, means)
    losses = [None if k in absent else error if balancer.per_sample else error.mean() for k, error in enumerate(errors)]
    net.zero_grad()
    weights = balancer.backward(losses, net.shared(), features=features)
    return matrix, torch.cat([p.grad.flatten() for p in net.shared()]), weights


@pytest.mark.parametrize(("name", "options"), CASES)
def test_names_and_shapes_never_change_and_nothing_is_known_before_a_step(name, options):
    net, balancer = problem(name, options)
    before = balancer.observed()
    assert tuple(before) == NAMES.get(name, ("weights",))
    shapes = {key: value.shape for key, value in before.items()}
    assert shapes["weights"] == (3,) and shapes.get("gramian", (3, 3)) == shapes.get("cosines", (3, 3)) == (3, 3)
    assert all(value.isnan().all() and value.dtype == F64 for value in before.values())
    for absent in ((), (1,), (0, 2), ()):
        take(net, balancer, absent=absent)
        now = balancer.observed()
        assert {key: value.shape for key, value in now.items()} == shapes
        assert all(value.dtype == F64 and not value.isinf().any() for value in now.values())
        balancer.end_epoch([1.0, 2.0, 3.0])


@pytest.mark.parametrize("absent", [(), (0,), (0, 2)])
@pytest.mark.parametrize("name", ALL)
def test_weights_are_those_of_the_step(name, absent):
    net, balancer = problem(name)
    *_, weights = take(net, balancer, absent=absent)
    found = balancer.observed()["weights"]
    if weights is None:
        assert found.isnan().all()
        return
    assert found.isnan().tolist() == [k in absent for k in range(3)]
    assert torch.equal(found.nan_to_num(0), weights)


@pytest.mark.parametrize("absent", [(), (0,), (0, 2)])
@pytest.mark.parametrize("name", GRAMIAN)
def test_gramian_cosines_and_length(name, absent):
    net, balancer = problem(name, {"a0": 1.0} if "mclgs" in name else {})
    matrix, combined, _ = take(net, balancer, absent=absent)
    found = balancer.observed()
    here = [k for k in range(3) if k not in absent]
    products = matrix @ matrix.T
    norms = matrix.norm(dim=1)
    for key, expected in (("gramian", products), ("cosines", products / norms / norms[:, None])):
        missing = torch.full((3, 3), torch.nan, dtype=F64)
        for i in here:
            for j in here:
                missing[i, j] = expected[i, j]
        torch.testing.assert_close(found[key], missing, rtol=1e-12, atol=1e-14, equal_nan=True)
    mean = matrix[here].sum(0) / 3
    torch.testing.assert_close(found["length"], combined.norm() / mean.norm(), rtol=1e-10, atol=0)


def test_lengths_by_hand():
    """MGDA on (3, 0) and (0, 4): weights (16, 9) / 25, a point of length 12 / 5; the mean has length 5 / 2."""
    balancer = create("mgda", 2)
    linear_step(balancer, torch.tensor([[3.0, 0], [0, 4]], dtype=F64))
    found = balancer.observed()
    torch.testing.assert_close(found["weights"], torch.tensor([16.0, 9], dtype=F64) / 25)
    torch.testing.assert_close(found["length"], torch.tensor(24 / 25, dtype=F64))
    assert found["cosines"].tolist() == [[1, 0], [0, 1]] and found["gramian"].tolist() == [[9, 0], [0, 16]]


@pytest.mark.parametrize("name", ["mgda", "mtsgd"])
def test_there_is_no_relative_length_where_the_mean_is_zero(name):
    balancer = create(name, 2)
    balancer.observing = True
    linear_step(balancer, torch.tensor([[3.0, 1], [-3, -1]], dtype=F64))
    assert balancer.observed()["length"].isnan()


def test_the_representation_level_reports_features():
    net, balancer = problem("mgda", {"at": "representation"})
    x, y = (tensor.double() for tensor in batch(0, 3))
    features = net.trunk(x)
    losses = [(head(features) - t).square().mean() for head, t in zip(net.heads, y, strict=True)]
    rows = torch.stack([torch.autograd.grad(loss, features, retain_graph=True)[0].flatten() for loss in losses])
    weights = balancer.backward(losses, net.shared(), features=features)
    found = balancer.observed()
    torch.testing.assert_close(found["gramian"], rows @ rows.T, rtol=1e-12, atol=0)
    torch.testing.assert_close(found["length"], (weights @ rows).norm() / rows.mean(0).norm(), rtol=1e-10, atol=0)


@pytest.mark.parametrize("name", ["mclgs", "cagrad+mclgs"])
@pytest.mark.parametrize("step", ["epoch", "iteration"])
def test_p_is_that_of_the_step(name, step):
    net, balancer = problem(name, {"a0": 1.0, "delta_a": 0.4, "step": step})
    found = []
    for _ in range(5):
        take(net, balancer)
        found.append(balancer.observed()["p"].item())
        if step == "epoch":
            balancer.end_epoch([1.0] * 3)
            assert balancer.observed()["p"].item() == found[-1]
    assert found == pytest.approx([1, 0.6, 0.2, 0, 0], abs=1e-15)


def test_after_its_curriculum_mclgs_has_the_length_of_the_mean_and_no_gramian():
    net, balancer = problem("mclgs", {"a0": 0.0})
    take(net, balancer)
    found = balancer.observed()
    assert found["length"] == 1 and found["p"] == 0 and found["weights"].tolist() == [1 / 3] * 3
    assert found["gramian"].isnan().all() and found["cosines"].isnan().all()


def test_weights_of_single_samples_are_no_weights_of_the_step():
    for name in ("mclgs", "cagrad+mclgs"):
        net, balancer = problem(name, {"granularity": "sample", "a0": 1.0, "delta_a": 1.0})
        take(net, balancer)
        found = balancer.observed()
        assert found["p"] == 1 and found["weights"].isnan().all() and found["length"].isnan()
        balancer.end_epoch([1.0] * 3)
        x, y = batch(0, 3)
        losses = [(o - t).square().squeeze(1) for o, t in zip(net(x.double()), y.double(), strict=True)]
        balancer.backward(losses, net.shared())
        found = balancer.observed()
        assert found["p"] == 0 and found["weights"].isfinite().all() and found["length"].isfinite()


def test_signal_and_noise_are_the_estimates_that_maxgnr_uses():
    """By hand at gamma = 0.5, averaging 0: m_1 / bias is g_0, v = 1, so signal <g_1, g_0>, noise |g_1 - g_0|^2 / 2."""
    balancer = create("maxgnr", 2, gamma=0.5, averaging=0.0)
    assert balancer.signal.isnan().all() and balancer.noise.isnan().all()
    x, h = nn.Parameter(torch.zeros(2, dtype=F64)), nn.Parameter(torch.zeros(2, dtype=F64))
    first, second = torch.tensor([[[1.0, 0], [0, 2]], [[2.0, 1], [1, 1]]], dtype=F64)
    for seen, rows in enumerate((first, second)):
        balancer.backward([(g * x).sum() + h[k] for k, g in enumerate(rows)], [x])
        found = balancer.observed()
        assert found["weights"].tolist() == [0.5, 0.5]
        assert seen or (found["signal"].isnan().all() and found["noise"].isnan().all())
    torch.testing.assert_close(found["signal"], torch.tensor([2.0, 2], dtype=F64))
    torch.testing.assert_close(found["noise"], torch.tensor([1.0, 1], dtype=F64))


@pytest.mark.parametrize("absent", [(), (0,), (0, 2)])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("graddrop", {}),
        *(("mtsgd", {"level": level, "threshold": t}) for level in ("channel", "filter") for t in (-1, 0.3)),
    ],
)
def test_slice_rules(name, options, absent):
    net, balancer = problem(name, options)
    matrix, combined, _ = take(net, balancer, absent=absent)
    found = balancer.observed()
    mean = matrix[[k for k in range(3) if k not in absent]].sum(0) / 3
    torch.testing.assert_close(found["length"], combined.norm() / mean.norm(), rtol=1e-10, atol=0)
    if len(absent) == 2:
        assert found["slices_kept"].isnan() and found["elements_kept"].isnan()
        return
    kept, slices, elements = [], 0, 0
    for p in net.shared():
        count, size = balancer.slices(p.shape)
        kept += [size for row in p.grad.reshape(count, size) if (row != 0).any()]
        slices, elements = slices + count, elements + p.numel()
    assert found["slices_kept"].item() == pytest.approx(len(kept) / slices, rel=1e-15)
    assert found["elements_kept"].item() == pytest.approx(sum(kept) / elements, rel=1e-15)
    if options.get("threshold") == 0.3:
        assert 0 < found["slices_kept"] < 1 and found["slices_kept"] != found["elements_kept"]


def test_shares_by_hand():
    """Rows that agree, that conflict, and that are there for one task alone, beside an agreeing vector of two."""
    one = [torch.tensor([[1.0, 0], [1, 0], [1, 1]]), torch.tensor([1.0, 1])]
    two = [torch.tensor([[1.0, 0], [-1, 0], [0, 0]]), torch.tensor([1.0, 1])]
    matrix, vector = nn.Parameter(torch.zeros(3, 2)), nn.Parameter(torch.zeros(2))
    single, heads = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    losses = [(g[0] * matrix).sum() + (g[1] * vector).sum() + heads[k] for k, g in enumerate((one, two))]
    losses[0] = losses[0] + 2 * single.sum()
    balancer = create("mtsgd", 2, threshold=0.0)
    balancer.observing = True
    with pytest.warns(UserWarning, match="only task '0' reaches"):
        balancer.backward(losses, [matrix, vector, single])
    found = balancer.observed()
    assert found["slices_kept"].item() == pytest.approx(2 / 4)
    assert found["elements_kept"].item() == pytest.approx(4 / 8)
    # d is (1, 0, 0, 0, 0, 0), (1, 1), (1, 1), the mean (1, 0, 0, 0, 1/2, 1/2), (1, 1), (1, 1).
    assert found["length"].item() == pytest.approx((5 / 5.5) ** 0.5, rel=1e-6)


class Sum(SliceRule):
    """The plain mean, in slices of two elements."""

    def slices(self, shape):
        return shape.numel() // 2, 2

    def rule(self, gradients, out):
        torch.div(sum(gradients), self.n_tasks, out=out)


def test_small_slices_are_kept():
    """Their squares would be below the smallest number in float32."""
    balancer = Sum(2)
    balancer.observing = True
    linear_step(balancer, torch.tensor([[1e-30, 0.0], [0, -1e-30], [0, 0]]).expand(2, 3, 2))
    assert balancer.observed()["slices_kept"].item() == pytest.approx(2 / 3)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_observing_changes_no_bit_and_takes_no_further_pass(name, options, monkeypatch):
    results = []
    for observing in (False, True):
        net, balancer = problem(name, options, observing)
        with monkeypatch.context() as patch:
            passes = count_passes(patch)
            counts = []
            for seed in range(3):
                del passes[:]
                _, combined, _ = take(net, balancer, seed)
                if observing:
                    balancer.observed()
                counts.append(len(passes))
        results.append((combined, counts, copy.deepcopy(balancer.state_dict())))
    (one, passes, state), (other, more, its) = results
    assert torch.equal(one, other) and passes == more
    assert state.keys() == its.keys()
    for key, value in state.items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(value, its[key], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", ["mtsgd", "graddrop"])
def test_slice_rules_report_only_when_they_observe(name):
    net, balancer = problem(name, observing=False)
    take(net, balancer)
    assert all(value.isnan().all() for value in balancer.observed().values())


@pytest.mark.parametrize(("name", "options"), CASES)
def test_observing_reads_nothing_back(name, options):
    net = Net(3)
    balancer = create(name, 3, **options)
    balancer.observing = True
    optimizer = torch.optim.SGD([*net.parameters(), *balancer.parameters()], lr=0.01, fused=True)
    balancer.guard(optimizer)
    x, y = batch(0, 3)

    def step():
        optimizer.zero_grad()
        features = net.trunk(x)
        errors = [(head(features) - t).square().squeeze(1) for head, t in zip(net.heads, y.unbind(), strict=True)]
        losses = errors if balancer.per_sample else [error.mean() for error in errors]
        balancer.backward(losses, net.shared(), features=features)
        optimizer.step()
        return balancer.observed()

    for _ in range(12):
        step()
    with NoHost():
        step()


def test_a_bad_step_is_not_a_number():
    net = Net(2)
    balancer = create("mgda", 2)
    balancer.guard(torch.optim.SGD(net.parameters(), lr=0.1, fused=True))
    losses = net_losses(net, *batch(0, 2))
    balancer.backward([losses[0] * torch.nan, losses[1]], net.shared())
    assert balancer.observed()["length"].isnan()
