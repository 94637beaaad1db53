"""A guarded step asks nothing of the device; CUDA graphs replay it."""

import copy
from contextlib import contextmanager

import pytest
import torch
from balancer_cases import ALL, Net, batch, net_losses
from host_reads import NoHost, errors_on_synchronisation
from torch import nn

from mtlrepro.balancers import CapturedStep, create

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

OPTIONS = [
    *((name, {}) for name in ALL),
    ("maxgnr", {"refresh": 2}),
    ("maxgnr", {"scalarisation": "product", "itgn": "broad", "own_noise": True}),
    ("mclgs", {"step": "iteration", "a0": 1.0, "delta_a": 0.2}),
    ("mclgs", {"a0": 0.0}),
    ("mgda", {"at": "representation"}),
    ("mtsgd", {"similarity": "mean", "restore_norm": True}),
    ("mtsgd", {"restore_norm": "step"}),
    ("mtsgd", {"balance": False}),
    ("replay", {"weights": [[0.1, 0.2, 0.3], [0.3, 0.0, 0.1], [0.2, 0.2, 0.2]]}),
    ("replay", {"weights": [[0.1, 0.2, 0.3], [0.3, 0.0, 0.1], [0.2, 0.2, 0.2]], "draw": True}),
    ("warmup", {"steps": 25}),
]


def training(name, options, device="cpu", adam=False):
    """One network with its balancer: a function that takes a guarded training step on a batch [x, y]."""
    net = Net(3).to(device)
    balancer = create(name, 3, **options).to(device)
    parameters = [*net.parameters(), *balancer.parameters()]
    if adam:
        optimizer = torch.optim.AdamW(parameters, lr=0.01, fused=True, capturable=True)
    else:
        optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9, fused=True)
    balancer.guard(optimizer)
    x, y = (tensor.to(device) for tensor in batch(0, 3))

    def step():
        optimizer.zero_grad()
        features = net.trunk(x)
        losses = [(head(features) - target).square().mean() for head, target in zip(net.heads, y.unbind(), strict=True)]
        balancer.backward(losses, net.shared(), features=features)
        optimizer.step()
        return losses

    return net, balancer, (x, y), step


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_guarded_step_reads_nothing_back(name, options):
    *_, step = training(name, options)
    for _ in range(12):  # what is made once, and past maxgnr's start
        step()
    with NoHost():
        for _ in range(2):
            step()


@pytest.mark.parametrize("action", [lambda t: t.sum().item(), lambda t: t[t > 0], lambda t: torch.tensor([1.0])])
def test_the_check_itself_finds_reads(action):
    with NoHost(), pytest.raises(AssertionError):
        action(torch.ones(3))


def test_an_unguarded_step_reads():
    net = Net(2)
    losses = net_losses(net, *batch(0, 2))
    with NoHost(), pytest.raises(AssertionError, match="reads the device"):
        create("equal", 2).backward(losses, net.shared())


@cuda
@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_guarded_step_on_cuda_does_not_synchronise(name, options):
    *_, step = training(name, options, "cuda")
    for _ in range(12):
        step()
    with errors_on_synchronisation():
        step()


CAPTURED = [(name, options) for name, options in OPTIONS if "refresh" not in options]


@cuda
@pytest.mark.parametrize("adam", [False, True])
@pytest.mark.parametrize(("name", "options"), CAPTURED)
def test_captured_steps_equal_eager_steps(name, options, adam):
    """Over epochs, with a bad step among them, which check finds by its number."""
    final = []
    for captured in (False, True):
        net, balancer, (x, y), step = training(name, options, "cuda", adam)
        take = CapturedStep(step, balancer) if captured else step
        for i in range(30):
            for tensor, new in zip((x, y), batch(i, 3), strict=True):
                tensor.copy_(new)
            if i == 20:
                y[1].fill_(torch.nan)
            losses = take()
            if i % 8 == 7:
                balancer.end_epoch(torch.stack([loss.detach() for loss in losses]))
        with pytest.raises(FloatingPointError, match=r"step 20: .* task '1'"):
            balancer.check()
        final.append(([p.detach().clone() for p in net.parameters()], copy.deepcopy(balancer.state_dict())))
    for a, b in zip(final[0][0], final[1][0], strict=True):
        torch.testing.assert_close(a, b)
    assert final[0][1]["_extra_state"]["steps"] == final[1][1]["_extra_state"]["steps"] == 30


class FakeGraph:
    """Stands in for torch.cuda.CUDAGraph: records what it is asked."""

    def __init__(self):
        self.replays, self.registered = 0, []

    def replay(self):
        self.replays += 1

    def register_generator_state(self, generator):
        self.registered.append(generator)


def test_captured_step_warms_up_captures_once_and_replays(monkeypatch):
    """The order of calls, on a stand-in: no device is needed."""
    _, balancer, _, step = training("pcgrad", {})
    calls, graphs = [], []

    @contextmanager
    def record(*args):
        calls.append(args)
        yield

    def graph():
        graphs.append(FakeGraph())
        return graphs[-1]

    class FakeStream:
        def wait_stream(self, other):
            pass

    for name, value in {
        "is_available": lambda: True,
        "CUDAGraph": graph,
        "graph": record,
        "stream": record,
        "Stream": FakeStream,
        "current_stream": FakeStream,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    take = CapturedStep(step, balancer, warmup=2)
    for _ in range(6):
        take()
    assert balancer.steps == 6
    assert len(calls) == 3  # two on a side stream, one captured
    assert graphs[0].replays == 4
    assert graphs[0].registered == balancer.generators() != []


def test_captured_step_says_what_it_cannot_take():
    net = Net(2)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, fused=True)
    with pytest.raises(ValueError, match="balancer has no guard"):
        CapturedStep(lambda: None, create("equal", 2))
    balancer = create("maxgnr", 2, refresh=3)
    balancer.guard(optimizer)
    with pytest.raises(ValueError, match="balancer is MaxGNR, which no graph can stand for"):
        CapturedStep(lambda: None, balancer)
    balancer = create("equal", 2)
    balancer.guard(optimizer)
    with pytest.raises(ValueError, match="warmup is 0"):
        CapturedStep(lambda: None, balancer, warmup=0)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no CUDA device"):
            CapturedStep(lambda: None, balancer)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("weights", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("images", [torch.contiguous_format, torch.channels_last])
def test_gradients_have_the_memory_format_of_their_parameters(name, weights, images):
    """A fused optimizer walks through memory: with other strides it would pair wrong elements."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)).to(memory_format=weights)
    y = net(torch.rand(2, 3, 6, 6).contiguous(memory_format=images))
    losses = [y[:, 0].square().mean(), (y[:, 1] - 1).square().mean()]
    create(name, 2).backward(losses, list(net[0].parameters()))
    assert all(p.grad.stride() == p.stride() for p in net.parameters())
