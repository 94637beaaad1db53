"""A task without labels in a batch, or in an epoch: the others go on as if alone."""

import math

import pytest
import torch
from balancer_cases import ALL, RANDOM, Net, batch, grads, net_losses

from mtlrepro.balancers import create


def f64(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_gradnorm_starts_from_the_first_loss_of_each_task():
    """A task that is absent from the first step has L_k(0) from its first own one."""

    def trained(first):
        balancer = create("gradnorm", 3)
        optimizer = torch.optim.SGD(balancer.parameters(), lr=0.01)
        x = torch.nn.Parameter(f64(0.5, -0.4, 0.3))
        for step in range(200):
            losses = [(c * (x - 1).square()).sum() * math.exp(-step / 100) for c in (1.0, 2.0, 4.0)]
            losses[0] = losses[0] if step else first
            optimizer.zero_grad()
            balancer.backward(losses, [x])
            optimizer.step()
            x.grad = None
        return balancer

    balancer, size = trained(None), ((f64(0.5, -0.4, 0.3) - 1) ** 2).sum()
    torch.testing.assert_close(balancer._initial, size * f64(math.exp(-1 / 100), 2.0, 4.0))
    # All tasks fall at one rate, so that G_k = w_k c_k |grad| are equal, up to the first task's later start.
    torch.testing.assert_close(balancer.weights, f64(4, 2, 1) / 7, rtol=0.05, atol=0)


def test_lsb_leaves_the_weight_of_an_absent_task_alone():
    """By hand: L(t-1) / l_k(t-1) times the shares of the tasks that were seen."""
    balancer = create("lsb", 2, rate=1.0)
    balancer.end_epoch([1.0, 2.0])
    torch.testing.assert_close(balancer.weights, f64(1.5 / 2, 1.5 / 4))  # pi_k L(1) / l_k(1), L(1) = 3/2
    balancer.end_epoch([0.9, None])
    torch.testing.assert_close(balancer.weights, f64(0.75, 0.375))  # alone, a task keeps its loss scale
    balancer.end_epoch([0.8, 1.8])
    # t = 4, beta = 2: d = (.8/.9, 1.8/2)^2 from the last losses that each task had; L(3) = .75 .8 + .375 1.8
    d = f64(0.8 / 0.9, 1.8 / 2) ** 2
    torch.testing.assert_close(balancer.weights, d / d.sum() * 1.275 / f64(0.8, 1.8))
    balancer.end_epoch([0.7, 1.7])
    assert balancer.weights.max() < 10


def test_lsb_shares_the_total_among_the_tasks_that_were_seen():
    balancer = create("lsb", 3, priority=[1.0, 1.0, 2.0])
    balancer.end_epoch([2.0, None, 4.0])
    total = 0.25 * 2 + 0.5 * 4
    torch.testing.assert_close(balancer.weights, f64(total / 3 / 2, 0.25, 2 * total / 3 / 4))


def test_lsb_with_a_period_takes_means_over_the_epochs_with_labels():
    some, means = create("lsb", 2, period=2), create("lsb", 2, rate=0.04)  # both grow by 0.04 a period
    for losses in ([1.0, None], [3.0, 5.0], [2.0, 4.0], [2.0, None]):
        some.end_epoch(losses)
    for losses in ([2.0, 5.0], [2.0, 4.0]):
        means.end_epoch(losses)
    torch.testing.assert_close(some.weights, means.weights)


def test_lsb_without_alpha_compares_totals_over_the_same_tasks():
    """By hand at t = 4, after an epoch without the second task: both totals are of the first alone."""
    balancer = create("lsb", 2, rate=1.0, conserve=False)
    balancer.end_epoch([1.0, None])
    torch.testing.assert_close(balancer.weights, f64(0.5 * 0.5, 0.5))
    balancer.end_epoch([0.5, 3.0])
    # t = 3, beta = 1: the first fell as its own total did, so d_1 = (.5/1) / (.25 .5 / .5 1); the second is new
    L = 0.25 * 0.5 + 0.5 * 3.0
    torch.testing.assert_close(balancer.weights, f64(0.5 * (0.5 / 0.25) * L / 0.5, 0.5 * L / 3.0))


@pytest.mark.parametrize("conserve", [True, False])
def test_lsb_compares_a_new_task_with_the_totals_of_the_others(conserve):
    """By hand at t = 3, beta = 1: the third task is new, d_3 = 1, and the totals are of the two others."""
    balancer = create("lsb", 3, rate=1.0, conserve=conserve)
    balancer.end_epoch([1.0, 2.0, None])
    pi = 1 / 2 if conserve else 1 / 3  # alpha makes the two priorities sum to 1
    torch.testing.assert_close(balancer.weights, f64(pi, pi / 2, 1 / 3))  # pi_k L(1) / l_k(1), L(1) = 1/3 + 2/3
    balancer.end_epoch([0.5, 1.2, 3.0])
    ratio = pi * (0.5 + 1.2 / 2) / 1
    d = f64(0.5 / 1 / ratio, 1.2 / 2 / ratio, 1.0)
    share = d / d.sum() if conserve else d / 3
    L = pi * (0.5 + 1.2 / 2) + 3 / 3
    torch.testing.assert_close(balancer.weights, share * L / f64(0.5, 1.2, 3.0))


def test_dwa_shares_what_absent_tasks_leave():
    balancer = create("dwa", 3)
    balancer.end_epoch([1.0, 1.0, 1.0])
    balancer.end_epoch([0.5, None, 1.0])
    shares = (f64(0.5, 1.0) / 2).softmax(0) * (1 - 1 / 3)
    torch.testing.assert_close(balancer.weights, f64(shares[0], 1 / 3, shares[1]))
    balancer.end_epoch([0.5, 0.8, 1.0])  # the second task's change is against its last loss, two epochs ago
    torch.testing.assert_close(balancer.weights, (f64(1.0, 0.8, 1.0) / 2).softmax(0))


def test_lagged_gls_takes_the_mean_over_the_tasks_that_were_seen():
    balancer = create("lagged_gls", 3)
    balancer.end_epoch([1.0, None, 4.0])
    torch.testing.assert_close(balancer.weights, f64(2 / 3, 1 / 3, 2 / 4 / 3))


@pytest.mark.parametrize("name", ["lsb", "dwa", "lagged_gls"])
@pytest.mark.parametrize("value", [None, 0.0])
def test_weights_stay_finite_whenever_a_task_is_missing(name, value):
    """A mean loss of 0 says as little of a task's scale as none."""
    balancer = create(name, 3)
    generator = torch.Generator().manual_seed(0)
    for epoch in range(30):
        losses = (0.5 + torch.rand(3, generator=generator)).tolist()
        if epoch % 3:
            losses[epoch % 4 % 3] = value
        if epoch == 7:
            losses = [value] * 3
        before = balancer.weights
        balancer.end_epoch(losses)
        for k in range(3):
            if losses[k] in (None, 0.0):
                assert balancer.weights[k] == before[k]
        assert ((balancer.weights > 1e-3) & (balancer.weights < 1e3)).all()


@pytest.mark.parametrize("name", ALL)
def test_end_epoch_takes_names_none_and_tensors(name):
    given = [
        torch.tensor([1.0, 2.0, 3.0]),
        [1.0, torch.tensor(2.0), 3.0],
        {"a": 1.0, "b": 2.0, "c": 3.0},
        {"c": 3.0, "a": 1.0, "b": 2.0},
    ]
    found = []
    for losses in given:
        balancer = create(name, 3)
        balancer.backward(dict(zip("abc", net_losses(net := Net(3), *batch(0, 3)), strict=True)), net.shared())
        balancer.end_epoch(losses)
        balancer.end_epoch([None, None, None])
        assert balancer.epochs == 2
        found.append(balancer.weights)
    assert all(weights is None for weights in found) or all(torch.equal(found[0], weights) for weights in found)
    with pytest.raises(ValueError, match="mean_losses has the names 'a', 'b', 'x'; accepted: 'a', 'b', 'c'"):
        balancer.end_epoch({"a": 1.0, "b": 2.0, "x": 3.0})
    with pytest.raises(ValueError, match="mean_losses has 2 entries; accepted: n_tasks = 3"):
        balancer.end_epoch({"a": 1.0, "b": 2.0})


@pytest.mark.parametrize("name", ALL)
def test_names_set_the_order(name):
    """Another order of the same mapping is the same step, also after a state was loaded; other names are refused."""

    def losses(net, seed):
        return dict(zip("abc", net_losses(net, *batch(seed, 3)), strict=True))

    results = []
    for shuffled in (False, True):
        balancer = create(name, 3, **({"seed": 1} if name in RANDOM else {}))
        net = Net(3)
        for seed in range(3):
            if shuffled and seed == 2:
                state, balancer = balancer.state_dict(), create(name, 3)
                balancer.load_state_dict(state)
            net.zero_grad()
            given = losses(net, seed)
            if shuffled and seed:
                given = {key: given[key] for key in "cab"}
            weights = balancer.backward(given, net.shared())
            balancer.end_epoch(
                dict(zip("bca" if shuffled else "abc", (2.0, 3.0, 1.0) if shuffled else (1.0, 2.0, 3.0), strict=True))
            )
        results.append([*grads(net), *([] if weights is None else [weights])])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    given = losses(net, 4)
    with pytest.raises(ValueError, match="losses has the names 'a', 'b', 'z'; accepted: 'a', 'b', 'c', as at first"):
        balancer.backward({"a": given["a"], "b": given["b"], "z": given["c"]}, net.shared())


@pytest.mark.parametrize("name", ALL)
def test_a_refused_first_mapping_leaves_no_names(name):
    balancer = create(name, 2)
    net = Net(3)
    three = dict(zip("xyz", net_losses(net, *batch(0, 3)), strict=True))
    x, _, z = three.values()
    refused = [
        (three, net.trunk, "losses has 3 entries"),
        ({"x": x, "typo": z.expand(2)}, net.trunk, "'typo' has shape"),
        ({"x": x, "typo": z}, [], "shared is empty"),
        ({"x": None, "typo": None}, net.trunk, "every task is absent"),
        ({"x": x, "typo": z * torch.nan}, net.trunk, "'typo': its loss is nan"),
    ]
    for losses, shared, message in refused:
        with pytest.raises((ValueError, FloatingPointError), match=message):
            balancer.backward(losses, shared)
    with pytest.raises(ValueError, match="mean_losses is"):
        balancer.end_epoch({"x": math.nan, "typo": 1.0})
    balancer.backward({"x": three["x"], "z": three["z"]}, net.shared())


def test_a_state_of_other_tasks_is_refused():
    balancer, net = create("equal", 3), Net(3)
    balancer.backward(dict(zip("abc", net_losses(net, *batch(0, 3)), strict=True)), net.trunk)
    with pytest.raises(ValueError, match="state has 3 tasks, a, b, c; accepted: n_tasks = 2"):
        create("equal", 2).load_state_dict(balancer.state_dict())


@pytest.mark.parametrize("name", ["lsb", "dwa", "lagged_gls"])
@pytest.mark.parametrize("options", [{}, {"period": 2}])
def test_an_epoch_that_is_refused_changes_nothing(name, options):
    if options and name != "lsb":
        return
    balancer, twin = (create(name, 2, **options) for _ in range(2))
    for losses in ([1.0, 2.0], [0.5, 1.5], [0.4, 1.4], [0.3, 1.4]):
        with pytest.raises(ValueError, match=r"mean_losses is .*accepted: numbers of at least 0"):
            balancer.end_epoch([-1.0, 1.0])
        for each in (balancer, twin):
            each.end_epoch(losses)
    assert torch.equal(balancer.weights, twin.weights)


def test_dwa_survives_a_vanishing_loss():
    balancer = create("dwa", 2)
    for losses in ([1.0, 5e-324], [1.0, 1.0], [1.0, 1.0]):
        balancer.end_epoch(losses)
        assert balancer.weights.isfinite().all()
