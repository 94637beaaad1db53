"""Two processes take the step that one process takes on the joined batch."""

import socket

import pytest
import torch
from balancer_cases import Net, batch, grads
from distributed_cases import VARIANTS, Keeping, run, work
from torch import nn

from mtlrepro.balancers import create


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
    for _, _, (presence, finite, _) in two_processes:
        assert "task '1' is present on 1 of 2 processes; accepted: all or none" in presence
        assert "step 0, task '1': its loss is nan" in finite


def test_processes_take_the_order_of_the_first(two_processes):
    torch.set_default_dtype(torch.float64)
    try:
        net = Net(2)
        x, _ = batch(0, 2)
        create("mgda", 2).backward([o.square().mean() for o in net(x)], net.shared())
    finally:
        torch.set_default_dtype(torch.float32)
    for _, _, (_, _, gradients) in two_processes:
        for a, b in zip(gradients, grads(net), strict=True):
            torch.testing.assert_close(torch.from_numpy(a), b)


def test_one_process_is_not_averaged():
    x = nn.Parameter(torch.ones(2))
    create("mgda", 1).backward([x.sum()], [x])
    torch.testing.assert_close(x.grad, torch.ones(2))
