"""What a training loop can get wrong: shared parameters, accumulation, forgotten calls, casts, devices."""

import copy
import warnings

import pytest
import torch
from balancer_cases import ALL, LOSS_WEIGHTING, Net, batch, grads, net_losses
from torch import nn

from mtlrepro.balancers import base, create

GRADIENT = [name for name in ALL if name not in LOSS_WEIGHTING]
ACCUMULATING = [name for name in LOSS_WEIGHTING if name not in ("gls", "uw-so")]


# --- shared parameters


@pytest.mark.parametrize("name", ALL)
def test_shared_parameters_in_any_form(name):
    """A list, an iterator, the module itself, and a list with tied weights twice."""
    forms = [
        lambda net: net.shared(),
        lambda net: net.trunk.parameters(),
        lambda net: net.trunk,
        lambda net: [*net.shared(), net.shared()[0], net.shared()[1]],
    ]
    results = []
    for form in forms:
        net = Net(3)
        create(name, 3).backward(net_losses(net, *batch(0, 3)), form(net))
        results.append(grads(net))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("name", ALL)
def test_shared_parameters_that_cannot_be_right(name):
    net = Net(3)
    losses = net_losses(net, *batch(0, 3))
    used_up = net.trunk.parameters()
    list(used_up)
    frozen = [nn.Parameter(torch.ones(2), requires_grad=False)]
    cases = {
        "shared is empty; accepted: .*iterator": used_up,
        r"shared is empty; ": [],
        r"shared\[0\] is the result of a computation, of shape \(4, 6\); accepted: parameters": [
            net.trunk(batch(0, 3)[0])
        ],
        "shared is Parameter; accepted: a list of parameters, or a module": net.shared()[0],
        "shared is method; accepted: ": net.trunk.parameters,
        r"shared\[1\] is str; accepted: parameters": [*net.shared()[:1], "weight"],
        r"shared: all 1 parameters are frozen.*accepted: .*plain step": frozen,
        "shared: no present loss depends on any of these parameters; accepted: .*not those of a copy": copy.deepcopy(
            net
        ).shared(),
    }
    for message, shared in cases.items():
        balancer = create(name, 3)
        with pytest.raises(ValueError, match=message):
            balancer.backward(losses, shared)
        assert balancer.steps == 0
        assert not grads(net)


def test_features_belong_to_the_graph_and_to_the_shared_parameters():
    net = Net(2)
    x, y = batch(0, 2)
    z = net.trunk(x)
    losses = [(head(z) - t).square().mean() for head, t in zip(net.heads, y, strict=True)]
    balancer = create("mgda", 2, at="representation")
    with pytest.raises(ValueError, match="shared: no present loss depends on any"):
        balancer.backward(losses, copy.deepcopy(net).shared(), features=z)
    with pytest.raises(ValueError, match="features: one requires no gradient; accepted: the representation"):
        balancer.backward(losses, net.trunk, features=z.detach())


@pytest.mark.parametrize("name", GRADIENT)
def test_a_head_among_the_shared_parameters_is_named_once(name):
    net, balancer = Net(3), create(name, 3)
    shared = [*net.shared(), *net.heads[1].parameters()]
    expected = r"shared: only task 'b' reaches the parameter of shape \(1, 6\), and 1 more are such"
    with pytest.warns(UserWarning, match=expected) as caught:
        for seed in range(3):
            balancer.backward(dict(zip("abc", net_losses(net, *batch(seed, 3)), strict=True)), shared)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net, balancer = Net(3), create(name, 3)
        balancer.backward(net_losses(net, *batch(0, 3)), net.shared())
        shared = [*net.shared(), *net.heads[0].parameters()]
        balancer = create(name, 3)
        balancer.backward([net_losses(net, *batch(0, 3))[0], None, None], shared)  # one task has nothing to share


def test_a_task_that_is_absent_makes_no_parameter_look_like_a_head():
    """A parameter that two of three tasks reach, in a step without one of them."""
    net, balancer = Net(3), create("mgda", 3)
    adapter = nn.Parameter(torch.zeros(6))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        z = net.trunk(batch(0, 3)[0])
        losses = [net.heads[k](z + adapter if k < 2 else z).square().mean() for k in range(3)]
        balancer.backward([losses[0], None, losses[2]], [*net.shared(), adapter])


@pytest.mark.parametrize("name", ALL)
def test_losses_that_are_no_tensors(name):
    net = Net(3)
    losses = net_losses(net, *batch(0, 3))
    for value in (0.0, 0, True, "depth"):
        with pytest.raises(
            ValueError, match=rf"losses: task '1' is {value!r}; accepted: a tensor, or None if it is absent"
        ):
            create(name, 3).backward([losses[0], value, losses[2]], net.trunk)
    for given, kind in ((torch.stack(losses), "Tensor"), (iter(losses), "list_iterator")):
        with pytest.raises(ValueError, match=f"losses is {kind}; accepted: a sequence or a mapping"):
            create(name, 3).backward(given, net.trunk)
    elsewhere = torch.ones((), device="meta", requires_grad=True)
    with pytest.raises(ValueError, match="losses: task '1' is on meta; accepted: all on one device, cpu"):
        create(name, 3).backward([losses[0], elsewhere, losses[2]], net.trunk)


# --- accumulation


@pytest.mark.parametrize("name", ACCUMULATING)
def test_micro_batches_add_up_to_the_step_of_the_whole_batch(name):
    torch.set_default_dtype(torch.float64)
    try:
        whole, parts = Net(3), Net(3)
        balancer, twin = create(name, 3), create(name, 3)
        generator = torch.Generator().manual_seed(0)
        for step in range(3):
            x = torch.randn(8, 2, 5, 5, generator=generator)
            y = torch.randn(3, 8, 1, generator=generator)
            balancer.backward(net_losses(whole, x, y), whole.shared())
            for i in range(4):
                losses = net_losses(parts, x[2 * i : 2 * i + 2], y[:, 2 * i : 2 * i + 2])
                twin.backward([loss / 4 for loss in losses], parts.shared(), last=i == 3)
            assert balancer.steps == twin.steps == step + 1
            for a, b in zip(grads(whole) + grads(balancer), grads(parts) + grads(twin), strict=True):
                torch.testing.assert_close(a, b)
            for each in (balancer, twin):
                each.end_epoch([1.0, 2.0 / (step + 1), 3.0])
    finally:
        torch.set_default_dtype(torch.float32)


def test_uncertainty_of_a_task_that_the_last_micro_batch_lacks():
    """Gradient 1/2 - w L of the whole step; a task that no micro-batch has gets none."""
    balancer = create("uncertainty", 3)
    x = nn.Parameter(torch.tensor([1.0, 2.0]).double())
    balancer.backward([x.sum() / 2, None, None], [x], last=False)
    balancer.backward([None, (2 * x).sum() / 2, None], [x])
    torch.testing.assert_close(balancer.log_variance.grad, torch.tensor([0.5 - 1.5 / 3, 0.5 - 3 / 3, 0]).double())
    balancer.zero_grad()
    balancer.backward([None, None, x.sum()], [x])
    torch.testing.assert_close(balancer.log_variance.grad, torch.tensor([0, 0, 0.5 - 3 / 3]).double())


def test_uncertainty_forgets_a_step_that_failed_and_keeps_one_that_was_stopped():
    x = nn.Parameter(torch.tensor([1.0, 2.0]).double())
    balancer = create("uncertainty", 2)
    balancer.backward([x.sum(), None], [x], last=False)
    with pytest.raises(FloatingPointError):
        balancer.backward([None, x.sum() * torch.nan], [x])
    balancer.zero_grad()
    balancer.backward([None, x.sum()], [x])
    assert balancer.log_variance.grad[0] == 0
    stopped = create("uncertainty", 2)
    stopped.backward([x.sum(), None], [x], last=False)
    resumed = create("uncertainty", 2)
    resumed.load_state_dict(stopped.state_dict())
    for each in (stopped, resumed):
        each.zero_grad()
        each.backward([None, x.sum()], [x])
    assert torch.equal(stopped.log_variance.grad, resumed.log_variance.grad)
    assert resumed.log_variance.grad[0] == 0.5


@pytest.mark.parametrize("name", [name for name in ALL if name not in ACCUMULATING])
def test_methods_that_need_the_whole_batch_refuse_to_accumulate(name):
    net = Net(3)
    balancer = create(name, 3)
    with pytest.raises(
        ValueError, match=r"last is False; accepted by .*: True, as its weights depend on the whole batch"
    ):
        balancer.backward(net_losses(net, *batch(0, 3)), net.shared(), last=False)
    assert not grads(net)


# --- forgotten calls


@pytest.mark.parametrize("name", ALL)
def test_steps_without_end_epoch(name, monkeypatch):
    monkeypatch.setattr(base, "LONG_EPOCH", 6)
    balancer, x = create(name, 2), nn.Parameter(torch.ones(3))

    def steps(n):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(n):
                balancer.backward([x.sum(), x.square().sum()], [x])
        return [str(warning.message) for warning in caught]

    assert steps(5) == []
    balancer.end_epoch([1.0, 2.0])
    messages = steps(20)
    if name in ("lsb", "dwa", "lagged_gls", "mclgs", "cagrad+mclgs"):
        (message,) = messages
        assert "has taken 6 steps without end_epoch" in message
        assert "an epoch of more steps" in message
    else:
        assert messages == []


def test_a_schedule_by_iteration_needs_no_epochs(monkeypatch):
    monkeypatch.setattr(base, "LONG_EPOCH", 2)
    balancer, x = create("mclgs", 2, step="iteration"), nn.Parameter(torch.ones(3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(4):
            balancer.backward([x.sum(), x.square().sum()], [x])


@pytest.mark.parametrize("name", ["uncertainty", "gradnorm"])
@pytest.mark.parametrize("stepped", [False, True])
@pytest.mark.parametrize("fused", [False, True])
def test_parameters_of_a_balancer_that_no_optimizer_steps(name, stepped, fused, monkeypatch):
    monkeypatch.setattr(base, "NOT_STEPPED", 4)
    balancer, x = create(name, 2), nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([x, *(balancer.parameters() if stepped else [])], lr=1e-3, fused=fused)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(12):
            balancer.zero_grad()
            optimizer.zero_grad()
            balancer.backward([x.sum(), x.square().sum()], [x])
            optimizer.step()
    messages = [str(warning.message) for warning in caught]
    assert len(messages) == (not stepped)
    assert all("no optimizer has changed the parameters of" in message for message in messages)


# --- casts and devices


@pytest.mark.filterwarnings("ignore:shared. other parameters")
@pytest.mark.parametrize("name", ALL)
def test_casting_a_model_leaves_the_state_of_its_balancer(name):
    module = nn.ModuleDict({"net": Net(3), "balancer": create(name, 3)})
    balancer = module["balancer"]
    for seed in range(12):
        balancer.backward(net_losses(module["net"], *batch(seed, 3)), module["net"].shared())
        balancer.end_epoch([1.0 / (seed + 1), 2.0, 3.0 - seed / 5])
    assert not [key for key, value in balancer.named_buffers() if value.isnan().any() and key != "_initial"]
    before = {key: value.clone() for key, value in balancer.named_buffers()}
    before |= {key: value.detach().clone() for key, value in balancer.named_parameters()}
    for cast in (nn.Module.half, nn.Module.bfloat16, nn.Module.float, lambda m: m.to(torch.float16)):
        cast(module)
        after = dict(balancer.named_buffers()) | dict(balancer.named_parameters())
        for key, value in before.items():
            assert after[key].dtype == value.dtype
            assert torch.equal(after[key].nan_to_num(7), value.nan_to_num(7))
        model, kind = module["net"], next(module["net"].parameters()).dtype
        losses = [
            k * head(model.trunk[4](torch.ones(36, dtype=kind))).square().sum() for k, head in enumerate(model.heads, 1)
        ]
        model.zero_grad()
        copy.deepcopy(balancer).backward(losses, model.shared()[4:])
        assert all(p.grad.dtype == kind and p.grad.isfinite().all() for p in model.shared()[4:])
    assert next(module["net"].parameters()).dtype == torch.float16


def test_a_device_without_float64_is_refused():
    """Stands in for such a device, on which PyTorch raises when a float64 tensor is moved there."""

    def move(tensor):
        if tensor.dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64")
        return tensor

    with pytest.raises(ValueError, match=r"device: Cannot convert .* accepted: one with float64, such as cpu and cuda"):
        create("lsb", 2)._apply(move)
