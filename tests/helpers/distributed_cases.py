"""What two processes do together, in a module that they can import."""

import os

import torch
import torch.distributed as dist
from balancer_cases import ALL, Net, batch, grads
from torch.nn.parallel import DistributedDataParallel

from mtlrepro.balancers import create

OPTIONS = {
    "maxgnr": {"refresh": 2, "gamma": 0.5},
    "mclgs": {"a0": 0.6, "delta_a": 0.2, "step": "iteration"},
}
VARIANTS = [(name, OPTIONS.get(name, {})) for name in ALL if name != "graddrop"] + [
    ("cagrad", {"at": "representation"}),
    ("mclgs", {"a0": 2.0, "granularity": "sample"}),
    ("cagrad+mclgs", {"a0": 2.0, "granularity": "sample"}),
    ("mtsgd", {"restore_norm": "step"}),
    ("replay", {"weights": [[0.1, 0.2, 0.3], [0.3, 0.0, 0.1]]}),
    ("replay", {"weights": [[0.1, 0.2, 0.3], [0.3, 0.0, 0.1]], "draw": True}),
    ("warmup", {"steps": 3}),
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
    named = dict(zip("ab", losses, strict=True))
    create("mgda", 2).backward(named if rank == 0 else {key: named[key] for key in "ba"}, net.shared())
    messages.append([g.numpy() for g in grads(net)])
    queue.put((rank, results, messages))
    dist.destroy_process_group()
