"""Two processes take the step that one process takes on the joined batch."""

import os
import socket

import pytest
import torch
import torch.distributed as dist
from balancer_cases import ALL, Net, batch, grads
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mtlrepro.balancers import create

OPTIONS = {
    "maxgnr": {"refresh": 2, "gamma": 0.5},
    "mclgs": {"a0": 0.6, "delta_a": 0.2, "step": "iteration"},
}
VARIANTS = [(name, OPTIONS.get(name, {})) for name in ALL if name != "graddrop"] + [
    ("cagrad", {"at": "representation"}),
    ("mclgs", {"a0": 2.0, "granularity": "sample"}),
]
STEPS = 5


def masked_losses(net, outputs, y, mask, total):
    """Squared errors over valid entries, divided by the count over all processes."""
    return [
        (k + 1) * (((o - t).square() * m).sum() / n)
        for k, (o, t, m, n) in enumerate(zip(outputs, y, mask, total, strict=True))
    ]


def run(model, net, part, world, name, options):
    """Train and return what is left: parameters and the balancer's own."""
    balancer = create(name, 3, **options)
    optimizer = torch.optim.SGD([*net.parameters(), *balancer.parameters()], lr=0.02)
    history = []
    for i in range(STEPS):
        x, y = batch(i, 3, size=8)
        mask = torch.rand(3, 8, 1, generator=torch.Generator().manual_seed(i)) < 0.6
        total = mask.sum((1, 2)) / world
        rows = slice(part * 8 // world, (part + 1) * 8 // world)
        with model.no_sync() if isinstance(model, DistributedDataParallel) else torch.enable_grad():
            outputs = model(x[rows])
        if options.get("granularity") == "sample":
            losses = [(o - t).square().mean(1) for o, t in zip(outputs, y[:, rows], strict=True)]
        else:
            losses = masked_losses(net, outputs, y[:, rows], mask[:, rows], total)
        if i == 3:
            losses[1] = None
        weights = balancer.backward(losses, net.shared(), features=net.kept if "at" in options else None)
        history.append(weights)
        optimizer.step()
        optimizer.zero_grad()
        if i == 2:
            balancer.end_epoch(torch.tensor([1.0, 2.0, 3.0]) * (1 + (part if world > 1 else 0.5)))
    return [p.detach() for p in [*net.parameters(), *balancer.parameters()]], history


class Keeping(Net):
    def forward(self, x):
        self.kept = self.trunk(x)
        return [head(self.kept) for head in self.heads]


def work(rank, port, queue):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    torch.set_default_dtype(torch.float64)
    results = {}
    for name, options in VARIANTS:
        net = Keeping(3)
        model = DistributedDataParallel(net)
        parameters, history = run(model, net, rank, 2, name, options)
        results[name, str(options)] = (
            [p.numpy() for p in parameters],
            [None if w is None else w.numpy() for w in history],
        )
    net = Net(2)
    x, _ = batch(0, 2)
    messages = []
    losses = [o.square().mean() for o in net(x)]
    try:
        create("equal", 2).backward([losses[0], losses[1] if rank else None], net.shared())
    except ValueError as error:
        messages.append(str(error))
    try:
        create("equal", 2).backward([losses[0], losses[1] * (torch.nan if rank else 1)], net.shared())
    except FloatingPointError as error:
        messages.append(str(error))
    assert not grads(net)
    queue.put((rank, results, messages))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two_processes():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    context = torch.multiprocessing.get_context("spawn")
    queue = context.Queue()
    workers = [context.Process(target=work, args=(rank, port, queue)) for rank in range(2)]
    for worker in workers:
        worker.start()
    answers = sorted((queue.get(timeout=200) for _ in workers), key=lambda a: a[0])
    for worker in workers:
        worker.join()
    return answers


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_step_equals_the_single_process_step(two_processes, name, options):
    torch.set_default_dtype(torch.float64)
    try:
        net = Keeping(3)
        expected, history = run(net, net, 0, 1, name, options)
    finally:
        torch.set_default_dtype(torch.float32)
    for _, results, _ in two_processes:
        parameters, weights = results[name, str(options)]
        for a, b in zip(parameters, expected, strict=True):
            torch.testing.assert_close(torch.from_numpy(a), b, rtol=1e-7, atol=1e-9)
        for a, b in zip(weights, history, strict=True):
            if b is not None:
                torch.testing.assert_close(torch.from_numpy(a), b, rtol=1e-6, atol=1e-8)


def test_all_processes_raise_together(two_processes):
    for _, _, (presence, finite) in two_processes:
        assert "task '1' is present on 1 of 2 processes; accepted: all or none" in presence
        assert "step 0, task '1': its loss is nan" in finite


def test_one_process_is_not_averaged():
    x = nn.Parameter(torch.ones(2))
    create("mgda", 1).backward([x.sum()], [x])
    torch.testing.assert_close(x.grad, torch.ones(2))
