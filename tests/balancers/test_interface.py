"""What every balancer promises."""

import copy
import io
import shutil

import pytest
import torch
from balancer_cases import ALL, GRAMIAN, LOSS_WEIGHTING, RANDOM, Net, batch, grads, linear_step, matrices, net_losses
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mtlrepro.balancers import METHODS, create

WEIGHTS_LOSSES = [*LOSS_WEIGHTING, "gradnorm", "maxgnr", "mclgs"]
GRADIENT = [name for name in ALL if name not in LOSS_WEIGHTING]


def test_all_methods_are_registered():
    assert sorted(METHODS) == sorted(ALL)


def test_unknown_name_and_option_list_what_exists():
    with pytest.raises(ValueError, match=r"name is 'sum'; accepted: .*cagrad\+mclgs.*torchjd:"):
        create("sum", 3)
    with pytest.raises(ValueError, match="cagrad: option 'alpha' is unknown; accepted: c, rescale, at"):
        create("cagrad", 3, alpha=1)
    with pytest.raises(ValueError, match="equal: option 'alpha' is unknown; accepted: none"):
        create("equal", 3, alpha=1)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("n_tasks", [0, -1, 2.0])
def test_n_tasks_is_checked(name, n_tasks):
    with pytest.raises((ValueError, TypeError)):
        create(name, n_tasks)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lsb", {"priority": [1.0, 0.0]}),
        ("lsb", {"priority": [1.0]}),
        ("lsb", {"period": 0}),
        ("lsb", {"period": 1.5}),
        ("lsb", {"conserve": 1}),
        ("lsb", {"outside": 1}),
        ("fixed", {"weights": [1.0, -1.0]}),
        ("fixed", {"weights": [1.0, 1.0, 1.0]}),
        ("lsb", {"rate": -1}),
        ("dwa", {"temperature": 0}),
        ("gradnorm", {"alpha": -1}),
        ("gradnorm", {"layer": "first"}),
        ("cagrad", {"c": -0.1}),
        ("mgda", {"at": "heads"}),
        ("mclgs", {"a0": -1}),
        ("mclgs", {"delta_a": -1}),
        ("mclgs", {"step": "day"}),
        ("mclgs", {"granularity": "pixel"}),
        ("mclgs", {"granularity": "sample", "at": "representation"}),
        ("maxgnr", {"gamma": 1.0}),
        ("maxgnr", {"scalarisation": "sum"}),
        ("maxgnr", {"itgn": "wide"}),
        ("maxgnr", {"refresh": 0}),
        ("maxgnr", {"averaging": 1.0}),
        ("mtsgd", {"level": "pixel"}),
        ("mtsgd", {"threshold": -1.5}),
        ("mtsgd", {"similarity": "max"}),
        ("mtsgd", {"restore_norm": "slice"}),
        ("mtsgd", {"restore_norm": 1}),
        ("mtsgd", {"restore_norm": True, "balance": False}),
        ("mtsgd", {"balance": 0}),
        ("uw-so", {"temperature": 0}),
        ("warmup", {"steps": 0}),
        ("warmup", {"steps": 1.5}),
        ("replay", {"weights": [1.0]}),
        ("replay", {"weights": [1.0, -0.5]}),
        ("replay", {"weights": [[1.0, 1.0], [1.0]]}),
        ("replay", {"weights": [[1.0, float("nan")]]}),
        ("replay", {"weights": []}),
        ("replay", {"weights": [[]]}),
        ("replay", {"weights": "mean"}),
        ("replay", {"draw": 1}),
    ],
)
def test_options_are_checked(name, options):
    option = next(iter(options))
    named = "at" if "at" in options else option
    with pytest.raises(ValueError, match=rf"(^|; ){named} is .*; accepted"):
        create(name, 2, **options)


def test_losses_are_checked():
    balancer = create("equal", 2)
    x = nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError, match="losses has 1 entries; accepted: n_tasks = 2"):
        balancer.backward([x.sum()], [x])
    with pytest.raises(ValueError, match="task '1' has shape \\(2,\\); accepted: a scalar"):
        balancer.backward([x.sum(), x * 2], [x])
    with pytest.raises(ValueError, match="task 'b' requires no gradient"):
        balancer.backward({"a": x.sum(), "b": torch.ones(())}, [x])
    with pytest.raises(ValueError, match="every task is absent"):
        balancer.backward([None, None], [x])
    assert x.grad is None


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("n_tasks", [1, 2, 3, 8])
def test_scale_convention(name, n_tasks):
    """T equal gradients g give g; the documented exceptions are cagrad and mclgs."""
    g = torch.tensor([[3.0, -4.0, 1.0], [1.0, 2.0, -0.5]], dtype=torch.float64)
    balancer = create(name, n_tasks, **({"a0": 0.7} if "mclgs" in name else {}))
    combined, heads, weights = linear_step(balancer, g.expand(n_tasks, 2, 3))
    gate = 1 + torch.tensor(0.7).double().tanh().item() if "mclgs" in name and n_tasks > 1 else 1.0
    factor = gate * ((1 + 0.4) / (1 + 0.4**2) if "cagrad" in name else 1.0)
    torch.testing.assert_close(combined, factor * g)
    expected = weights if name == "rlw" else torch.full((n_tasks,), gate / n_tasks, dtype=torch.float64)
    torch.testing.assert_close(heads, expected)
    if weights is not None:
        assert weights.sum().item() == pytest.approx(factor)
        assert weights.dtype == torch.float64
        assert not weights.requires_grad


def test_scale_of_cagrad_without_rescale():
    g = torch.tensor([3.0, -4.0]).double()
    combined, _, _ = linear_step(create("cagrad", 3, c=0.4, rescale=False), g.expand(3, 2))
    torch.testing.assert_close(combined, 1.4 * g)


@pytest.mark.parametrize("name", ALL)
def test_heads_receive_what_the_method_says(name):
    torch.manual_seed(1)
    gradients = torch.randn(3, 5, dtype=torch.float64)
    _, heads, weights = linear_step(create(name, 3), gradients, torch.tensor([1.0, 2.0, 3.0]).double())
    if name in WEIGHTS_LOSSES:
        torch.testing.assert_close(heads, weights)
    elif name != "cagrad+mclgs":
        torch.testing.assert_close(heads, torch.full((3,), 1 / 3).double())


@pytest.mark.parametrize("name", [n for n in ALL if n not in ("graddrop", "mtsgd")])
def test_returned_weights_are_those_of_the_combination(name):
    torch.manual_seed(2)
    gradients = torch.randn(3, 5, dtype=torch.float64)
    combined, _, weights = linear_step(create(name, 3), gradients, torch.tensor([1.0, 2.0, 3.0]).double())
    torch.testing.assert_close(combined, weights @ gradients)


@pytest.mark.parametrize("name", ALL)
def test_mapping_equals_sequence(name):
    x, y = batch(0, 3)
    results = []
    for named in (False, True):
        net = Net(3)
        losses = net_losses(net, x, y)
        create(name, 3).backward(dict(zip("abc", losses, strict=True)) if named else losses, net.shared())
        results.append(grads(net))
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", ALL)
def test_gradients_accumulate(name):
    """Two calls add up to the sum of the single steps, and an existing .grad is kept."""
    net = Net(3)
    balancer, twin = create(name, 3), create(name, 3)
    parts = []
    for seed in (0, 1):
        net.zero_grad()
        balancer.zero_grad()
        balancer.backward(net_losses(net, *batch(seed, 3)), net.shared())
        parts.append(grads(net) + grads(balancer))
    net.zero_grad()
    for seed in (0, 1):
        twin.backward(net_losses(net, *batch(seed, 3)), net.shared())
    for a, b, total in zip(*parts, grads(net) + grads(twin), strict=True):
        torch.testing.assert_close(a + b, total)


@pytest.mark.parametrize("name", [name for name in ALL if name != "rlw"])  # its weights do not depend on the others
def test_absent_task_counts_as_a_zero_loss_of_the_mean(name):
    """The present tasks are balanced as if alone, times T'/T; the absent head gets nothing."""
    options = {"a0": 0.7} if "mclgs" in name else {}
    x, y = batch(3, 3)
    net, alone = Net(3), Net(3)
    losses = net_losses(net, x, y)
    weights = create(name, 3, **options).backward([losses[0], None, losses[2]], net.shared())
    losses = net_losses(alone, x, y)
    expected = create(name, 2, **options).backward([losses[0], losses[2]], alone.shared())
    for p, q in zip(net.shared(), alone.shared(), strict=True):
        if name == "graddrop":
            assert p.grad is not None
        else:
            torch.testing.assert_close(p.grad, 2 / 3 * q.grad)
    assert all(p.grad is None for p in net.heads[1].parameters())
    for k in (0, 2):
        torch.testing.assert_close(net.heads[k].weight.grad, 2 / 3 * alone.heads[k].weight.grad)
    if weights is not None:
        torch.testing.assert_close(weights[[0, 2]], 2 / 3 * expected)
        assert weights[1] == 0


@pytest.mark.parametrize("name", ALL)
def test_absent_tasks_over_steps_and_epochs(name):
    balancer = create(name, 3)
    net = Net(3)
    for i in range(9):
        losses = net_losses(net, *batch(i, 3))
        losses[i % 3] = None
        net.zero_grad()
        balancer.backward(losses, net.shared())
        assert all(g.isfinite().all() for g in grads(net))
        if i % 3 == 2:
            balancer.end_epoch(torch.tensor([1.0, 2.0, 3.0]) / (i + 1))


@pytest.mark.filterwarnings("ignore:shared. only task")
@pytest.mark.parametrize("name", ALL)
def test_parameters_without_gradient(name):
    """A shared parameter that one task, or none, reaches; a frozen one; and one shared by heads only."""
    torch.manual_seed(0)
    a, b, c, common = (nn.Parameter(torch.randn(3).double()) for _ in range(4))
    frozen = nn.Parameter(torch.randn(3).double(), requires_grad=False)
    unused = nn.Parameter(torch.randn(3).double())
    v = torch.randn(3).double()
    losses = [
        (a * v).sum() ** 2,
        ((a + b) * v).sum() ** 2 + (common * v).sum(),
        (a * c).sum() ** 2 + common.sum(),
    ]
    weights = create(name, 3).backward(losses, [a, b, frozen, unused])
    assert unused.grad is None
    assert frozen.grad is None
    assert all(p.grad is not None and p.grad.isfinite().all() for p in (a, b, c, common))
    if name in WEIGHTS_LOSSES:
        torch.testing.assert_close(common.grad, weights[1] * v + weights[2] * torch.ones(3).double())
    elif name != "cagrad+mclgs":
        torch.testing.assert_close(common.grad, (v + 1) / 3)
    if name in GRADIENT and weights is None:  # a parameter of one task alone takes that task's step
        torch.testing.assert_close(b.grad, 2 * ((a + b) * v).sum().detach() * v / 3)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("scale", [1e-8, 1e8])
@pytest.mark.parametrize("n_tasks", [1, 2, 8])
def test_extreme_loss_scales_are_finite(name, scale, n_tasks):
    balancer = create(name, n_tasks)
    net = Net(n_tasks)
    for i in range(15):
        losses = net_losses(net, *batch(i, n_tasks))
        losses[0] = losses[0] * scale
        net.zero_grad()
        balancer.zero_grad()
        balancer.backward(losses, net.shared())
        assert all(g.isfinite().all() for g in grads(net) + grads(balancer))
        if i % 5 == 4:
            balancer.end_epoch(torch.stack(losses).detach())


CASES = {
    "zero": [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]],
    "one zero": [[0.0, 0.0], [1.0, 2.0], [2.0, -1.0]],
    "parallel": [[1.0, 2.0], [2.0, 4.0], [100.0, 200.0]],
    "opposite": [[1.0, 2.0], [-1.0, -2.0], [3.0, 6.0]],
    "cancelling": [[1.0, 2.0], [-1.0, -2.0], [0.0, 0.0]],
}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_degenerate_gradients_are_finite(name, case, dtype):
    balancer = create(name, 3)
    for _ in range(14):
        combined, heads, weights = linear_step(balancer, torch.tensor(CASES[case], dtype=dtype))
        assert combined.isfinite().all()
        assert heads.isfinite().all()
        assert weights is None or weights.isfinite().all()


@settings(max_examples=150, deadline=None)
@given(matrix=matrices(), name=st.sampled_from(ALL))
def test_gradients_of_known_structure_are_finite(matrix, name):
    """Rank-deficient, stationary, scaled from 1e-15 to 1e15, over a whole step."""
    combined, heads, weights = linear_step(create(name, len(matrix)), matrix)
    assert combined.isfinite().all()
    assert heads.isfinite().all()
    assert weights is None or weights.isfinite().all()


@pytest.mark.parametrize("name", [name for name in ALL if name not in ("pcgrad", "rlw")])
def test_tasks_may_come_in_any_order(name):
    """Over steps and epochs; pcgrad draws its own order and rlw weights, and they have this property in expectation."""
    order = [2, 0, 3, 1]
    generator = torch.Generator().manual_seed(0)
    one, other = create(name, 4), create(name, 4)
    for i in range(14):
        gradients = torch.randn(4, 5, generator=generator, dtype=torch.float64)
        losses = torch.rand(4, generator=generator, dtype=torch.float64) + 0.1
        a, b = linear_step(one, gradients, losses), linear_step(other, gradients[order], losses[order])
        torch.testing.assert_close(a[0], b[0])
        torch.testing.assert_close(a[1][order], b[1])
        if a[2] is not None:
            torch.testing.assert_close(a[2][order], b[2])
        if i % 4 == 3:
            one.end_epoch(losses)
            other.end_epoch(losses[order])


@pytest.mark.parametrize("name", ALL)
def test_zero_losses_are_finite(name):
    balancer = create(name, 2)
    for _ in range(3):
        combined, _, _ = linear_step(balancer, torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.zeros(2))
        assert combined.isfinite().all()
        balancer.end_epoch(torch.tensor([1.0, 0.0]))
    assert balancer.weights is None or balancer.weights.isfinite().all()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_losses(name, dtype):
    g = torch.tensor([3.0, -4.0], dtype=dtype)
    combined, _, _ = linear_step(create(name, 3, **({"a0": 0.0} if "mclgs" in name else {})), g.expand(3, 2))
    factor = (1 + 0.4) / (1 + 0.4**2) if "cagrad" in name else 1.0
    assert combined.dtype == dtype
    torch.testing.assert_close(combined.float(), factor * g.float(), rtol=0.01, atol=0)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_non_finite_loss_names_step_and_task_and_changes_nothing(name, value):
    balancer = create(name, 3)
    net = Net(3)
    names = ("depth", "normal", "seg")
    balancer.backward(dict(zip(names, net_losses(net, *batch(0, 3)), strict=True)), net.shared())
    before, state = grads(net) + grads(balancer), copy.deepcopy(balancer.state_dict())
    losses = dict(zip(names, net_losses(net, *batch(1, 3)), strict=True))
    losses["normal"] = losses["normal"] * value
    with pytest.raises(FloatingPointError, match="step 1, task 'normal': its loss is"):
        balancer.backward(losses, net.shared())
    assert all(torch.equal(a, b) for a, b in zip(before, grads(net) + grads(balancer), strict=True))
    assert_same_state(state, balancer.state_dict())


@pytest.mark.parametrize("name", [n for n in GRADIENT if n not in ("graddrop", "mtsgd")])
def test_non_finite_gradient_of_a_finite_loss(name):
    balancer = create(name, 2)
    x = nn.Parameter(torch.zeros(3))
    with pytest.raises(FloatingPointError, match="step 0, task '1': the gradient of its loss is not finite"):
        balancer.backward([x.sum(), x.square().sum().sqrt() * 2], [x])
    assert x.grad is None


def optimizers(parameters):
    return {
        "sgd": lambda: torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=0.1, fused=True),
        "adamw": lambda: torch.optim.AdamW(parameters, lr=0.01, fused=True),
    }


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
@pytest.mark.parametrize("name", ALL)
def test_guarded_optimizer_skips_bad_steps_exactly(name, kind):
    """The run with bad steps (the first among them) equals the run without them; check names the first."""
    final = []
    for bad in ((0, 3, 4), ()):
        net = Net(3)
        balancer = create(name, 3)
        optimizer = optimizers([*net.parameters(), *balancer.parameters()])[kind]()
        balancer.guard(optimizer)
        for i in range(7):
            losses = net_losses(net, *batch(i, 3))
            if i in (0, 3, 4):
                if not bad:
                    if name in RANDOM:  # a bad step draws numbers too
                        balancer.backward(losses, net.shared())
                        balancer.steps -= 1
                        optimizer.zero_grad()
                    balancer.steps += 1
                    continue
                losses[2 if i == 0 else 1] = losses[1] * torch.nan
            balancer.backward(losses, net.shared())
            optimizer.step()
            optimizer.zero_grad()
        final.append([p.detach().clone() for p in [*net.parameters(), *balancer.parameters()]])
        if bad:
            with pytest.raises(FloatingPointError, match="step 0: the loss or gradient of task '2'"):
                balancer.check()
        else:
            balancer.check()
    for a, b in zip(*final, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)  # a skipped step leaves no trace but rounding


def test_guard_with_accumulation_and_scaler():
    """One bad micro-batch skips the whole step; later steps go on."""
    net = Net(2)
    balancer = create("mgda", 2)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1, fused=True)
    balancer.guard(optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    for bad in (True, False):
        before = [p.detach().clone() for p in net.parameters()]
        for i in range(2):
            losses = net_losses(net, *batch(i, 2))
            if bad and i == 0:
                losses[0] = losses[0] * torch.nan
            balancer.backward(losses, net.shared(), scaler=scaler)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        same = [torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True)]
        assert all(same) if bad else not any(same)


def test_guard_wants_a_fused_optimizer():
    x = nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError, match="optimizer is SGD without fused=True"):
        create("equal", 1).guard(torch.optim.SGD([x], lr=0.1))
    with pytest.raises(ValueError, match="optimizer has dampening"):
        create("equal", 1).guard(torch.optim.SGD([x], lr=0.1, momentum=0.9, dampening=0.1, fused=True))


@pytest.mark.parametrize("name", ALL)
def test_grad_scaler_changes_nothing_but_the_scale(name):
    """Also when the factor changes between steps."""
    plain, scaled = Net(3), Net(3)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    one, other = create(name, 3), create(name, 3)
    for i in range(13):
        for net, balancer, used in ((plain, one, None), (scaled, other, scaler)):
            net.zero_grad()
            balancer.zero_grad()
            balancer.backward(net_losses(net, *batch(i, 3)), net.shared(), scaler=used)
        factor = scaler.get_scale()
        for a, b in zip(grads(plain) + grads(one), grads(scaled) + grads(other), strict=True):
            torch.testing.assert_close(a, b / factor, rtol=1e-4, atol=1e-6)
        if i % 4 == 3:
            scaler.update(factor / 4)


@pytest.mark.parametrize("name", ALL)
def test_grad_scaler_skips_overflow_and_state_stays_clean(name):
    net = Net(2)
    balancer = create(name, 2)
    optimizer = torch.optim.SGD([*net.parameters(), *balancer.parameters()], lr=0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    for i in range(14):
        before = [p.detach().clone() for p in net.parameters()]
        huge = i < 3
        losses = [loss * (1e3 if huge else 1.0) for loss in net_losses(net, *batch(i, 2))]
        balancer.backward(losses, net.shared(), scaler=scaler)
        scaler.step(optimizer)
        scaler.update(2.0**127 if i < 2 else 1.0)
        optimizer.zero_grad()
        if huge:
            assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    for tensor in balancer.buffers():
        if not tensor.is_floating_point():
            continue
        assert tensor.isfinite().all()
    assert all(p.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(name, dtype):
    net = Net(3)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8, enabled=dtype == torch.float16)
    balancer = create(name, 3, **({"threshold": -1.0} if name == "mtsgd" else {}))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    start = [p.detach().clone() for p in net.parameters()]
    for i in range(2):
        with torch.autocast("cpu", dtype=dtype):
            losses = net_losses(net, *batch(i, 3))
            balancer.backward(losses, net.shared(), scaler=scaler)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    assert all(p.isfinite().all() for p in net.parameters())
    if "mclgs" not in name:
        assert not any(torch.equal(a, b) for a, b in zip(start, net.parameters(), strict=True))


def assert_same_state(a, b):
    if isinstance(a, torch.Tensor):
        assert torch.equal(a.nan_to_num(-7.0), b.nan_to_num(-7.0))
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same_state(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same_state(x, y)
    else:
        assert a == b


RESUMED = [(name, {}) for name in ALL] + [
    ("maxgnr", {"refresh": 2, "gamma": 0.5}),
    ("mclgs", {"a0": 1.0, "delta_a": 0.2, "step": "iteration"}),
    ("lsb", {"rate": 0.5, "priority": [1.0, 2.0, 3.0]}),
    ("lsb", {"rate": 0.5, "period": 2, "conserve": False}),
    ("lsb", {"rate": 0.5, "outside": True}),
    ("fixed", {"weights": [1.0, 2.0, 3.0]}),
    ("replay", {"weights": [[float(k == epoch % 3) for k in range(3)] for epoch in range(7)]}),
    ("replay", {"weights": [[1.0, 2.0, 3.0], [0.5, 0.0, 0.1]], "draw": True}),
    ("warmup", {"steps": 20}),
    ("mtsgd", {"restore_norm": "step"}),
]


@pytest.mark.parametrize(("name", "options"), RESUMED)
def test_resumed_run_equals_unbroken_run(name, options):
    def fresh():
        net = Net(3)
        balancer = create(name, 3, **options)
        optimizer = torch.optim.Adam([*net.parameters(), *balancer.parameters()], lr=0.01)
        return net, balancer, optimizer

    def train(parts, steps):
        net, balancer, optimizer = parts
        for i in steps:
            losses = net_losses(net, *batch(i, 3))
            balancer.backward(losses, net.shared())
            optimizer.step()
            optimizer.zero_grad()
            if i % 4 == 3:
                balancer.end_epoch(torch.stack(losses))

    unbroken = fresh()
    train(unbroken, range(26))
    parts = fresh()
    train(parts, range(14))
    file = io.BytesIO()
    torch.save([part.state_dict() for part in parts], file)
    file.seek(0)
    resumed = fresh()
    for part, state in zip(resumed, torch.load(file, weights_only=True), strict=True):
        part.load_state_dict(state)
    train(resumed, range(14, 26))
    for a, b in zip(unbroken[0].parameters(), resumed[0].parameters(), strict=True):
        assert torch.equal(a, b)
    assert_same_state(unbroken[1].state_dict(), resumed[1].state_dict())


@pytest.mark.parametrize("name", GRAMIAN)
def test_representation_level(name):
    """The Gramian is that of the features' gradients; the trunk receives their combination in one pass."""
    x, y = batch(5, 3)
    net = Net(3).double()
    x, y = x.double(), y.double()
    features = net.trunk(x)
    losses = [(h(features) - t).square().mean() for h, t in zip(net.heads, y, strict=True)]
    rows = [torch.autograd.grad(loss, features, retain_graph=True)[0] for loss in losses]
    matrix = torch.stack([row.flatten() for row in rows])
    expected = create(name, 3)(matrix @ matrix.T)
    combined = sum(c * row for c, row in zip(expected, rows, strict=True))
    trunk = torch.autograd.grad(features, net.shared(), combined, retain_graph=True)
    balancer = create(name, 3, at="representation")
    weights = balancer.backward(losses, net.shared(), features=features)
    torch.testing.assert_close(weights, expected)
    torch.testing.assert_close(balancer.gramian, matrix @ matrix.T)
    for p, g in zip(net.shared(), trunk, strict=True):
        torch.testing.assert_close(p.grad, g)
    assert all(p.grad is not None for p in net.heads.parameters())


def test_representation_level_needs_features_that_separate():
    net = Net(2)
    x, y = batch(0, 2)
    with pytest.raises(ValueError, match="features is None"):
        create("mgda", 2, at="representation").backward(net_losses(net, x, y), net.shared())
    features = net.trunk(x)
    losses = [h(features).sum() + net.trunk[0].weight.sum() for h in net.heads]
    with pytest.raises(ValueError, match="reach shared parameters past them"):
        create("mgda", 2, at="representation").backward(losses, net.shared(), features=features)
    assert all(p.grad is None for p in net.parameters())


COMPILED = [
    *((name, "aot_eager") for name in ("equal", "pcgrad", "mtsgd", "maxgnr")),
    ("lsb", "inductor"),
    ("pcgrad", "inductor"),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "backend"), COMPILED)
def test_compiled_model(name, backend):
    if backend == "inductor" and not any(map(shutil.which, ("c++", "g++", "clang++"))):
        pytest.skip("inductor needs a C++ compiler")
    x, y = batch(0, 3)
    results = []
    for compiled in (False, True):
        net = Net(3)
        model = torch.compile(net, backend=backend) if compiled else net
        balancer = create(name, 3)
        losses = [(o - t).square().mean() for o, t in zip(model(x), y, strict=True)]
        balancer.backward(losses, net.shared())
        results.append(grads(net))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)
