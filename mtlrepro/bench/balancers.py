"""Cost of a step of each balancer, as a ratio to T separate backward passes (the floor)."""

import importlib.util
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torchvision.models import mobilenet_v2, resnet18

from mtlrepro.balancers import METHODS, CapturedStep, create
from mtlrepro.bench.timing import check_device, interleave, keep_freed_memory, peak_memory

Trunk = Literal["resnet18", "mobilenet_v2"]
LOSS_WEIGHTING = ("equal", "uncertainty", "dwa", "gls", "lsb")
TORCHJD = ("PCGrad", "MGDA", "CAGrad")


class Network(nn.Module):
    """A torchvision trunk without its classifier and T heads of one 3x3 convolution and a 1x1 one.

    Args:
        trunk: Name of the trunk.
        n_tasks: Number of heads T.
    """

    def __init__(self, trunk: Trunk, n_tasks: int) -> None:
        super().__init__()
        if trunk == "resnet18":
            self.trunk = nn.Sequential(*list(resnet18().children())[:-2])
            width = 512
        else:
            self.trunk = mobilenet_v2().features
            width = 1280
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 1, 1)) for _ in range(n_tasks)
        )

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Map images [B, 3, H, W] to features and T outputs [B, 1, H/32, W/32]."""
        features = self.trunk(images)
        return features, [head(features) for head in self.heads]


class Workload:
    """One network and batch, channels last as in training; its methods are the variants, each up to the optimizer.

    Args:
        trunk: Name of the trunk.
        n_tasks: Number of tasks T.
        size: Side of the images in pixels.
        device: Where to run.
        batch: Images per step.
    """

    def __init__(self, trunk: Trunk, n_tasks: int, size: int, device: str, batch: int = 8) -> None:
        torch.manual_seed(0)
        self.network = Network(trunk, n_tasks).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.shared = list(self.network.trunk.parameters())
        images = torch.randn(batch, 3, size, size, device=device)
        self.images = images.contiguous(memory_format=torch.channels_last)
        self.targets = torch.randn(n_tasks, batch, 1, size // 32, size // 32, device=device)
        self.n_tasks = n_tasks

    def losses(self) -> tuple[Tensor, list[Tensor]]:
        """Take the forward pass: features and T mean squared errors."""
        self.network.zero_grad()
        features, outputs = self.network(self.images)
        return features, [(o - t).square().mean() for o, t in zip(outputs, self.targets, strict=True)]

    def plain(self) -> None:
        """Backward pass of the mean."""
        _, losses = self.losses()
        torch.autograd.backward(sum(losses, torch.zeros_like(losses[0])) / self.n_tasks)

    def floor(self) -> None:
        """T separate backward passes."""
        _, losses = self.losses()
        for k, loss in enumerate(losses):
            torch.autograd.backward(loss, retain_graph=k < self.n_tasks - 1)

    def method(self, name: str, **options: Any) -> Callable[[], None]:  # noqa: ANN401
        """Make the variant of one balancer."""
        balancer = create(name, self.n_tasks, **options)

        def step() -> None:
            features, losses = self.losses()
            balancer.backward(losses, self.shared, features=features)

        return step

    def captured(self, name: str, **options: Any) -> Callable[[], None]:  # noqa: ANN401
        """Make the variant of one balancer whose step is replayed as a CUDA graph."""
        balancer = create(name, self.n_tasks, **options).to(self.images.device)
        balancer.guard(torch.optim.SGD([*self.network.parameters(), *balancer.parameters()], fused=True))

        def step() -> None:
            features, losses = self.losses()
            balancer.backward(losses, self.shared, features=features)

        return CapturedStep(step, balancer)

    def torchjd(self, name: str, chunk: int | None) -> Callable[[], None]:
        """Make the variant of one TorchJD aggregator; `chunk` is its parallel_chunk_size."""
        from torchjd import aggregation
        from torchjd.autojac import jac_to_grad, mtl_backward

        aggregator = aggregation.CAGrad(c=0.4) if name == "CAGrad" else getattr(aggregation, name)()

        def step() -> None:
            features, losses = self.losses()
            mtl_backward(losses, features=features, parallel_chunk_size=chunk)
            jac_to_grad(self.shared, aggregator)

        return step


def variants(work: Workload) -> dict[str, Callable[[], None]]:
    """Make all variants of a workload: plain, floor, every method, variants, and TorchJD if it is installed.

    On CUDA every method comes once more, replayed as a CUDA graph.
    """
    result: dict[str, Callable[[], None]] = {"plain": work.plain, "floor": work.floor}
    for name in METHODS:
        options = {"a0": 40.0, "delta_a": 0.0} if "mclgs" in name else {}
        result[name] = work.method(name, **options)
        if work.images.is_cuda:
            result[f"{name} captured"] = work.captured(name, **options)
    result["mclgs p=0"] = work.method("mclgs", a0=0.0)
    result["maxgnr refresh=10"] = work.method("maxgnr", refresh=10)
    result["pcgrad representation"] = work.method("pcgrad", at="representation")
    if importlib.util.find_spec("torchjd"):
        names = TORCHJD if importlib.util.find_spec("cvxpy") else TORCHJD[:-1]
        for name in names:
            result[f"torchjd {name}"] = work.torchjd(name, None)
            result[f"torchjd {name} chunk 1"] = work.torchjd(name, 1)
    return result


def balancers(
    device: str = "cpu",
    trunks: Sequence[Trunk] = ("resnet18", "mobilenet_v2"),
    tasks: Sequence[int] = (2, 3, 8),
    sizes: Sequence[int] = (64, 128),
    rounds: int = 21,
    only: Iterable[str] | None = None,
) -> pd.DataFrame:
    """Measure every balancer against the floor, T separate backward passes, in interleaved rounds.

    Freed memory is kept (`keep_freed_memory`). State that a method keeps between steps (maxgnr: T rows)
    comes on top of the peak, and so does the memory that a captured step owns.

    Args:
        device: `cpu` or `cuda`.
        trunks: Shared trunks.
        tasks: Numbers of tasks T.
        sizes: Sides of the images in pixels.
        rounds: Timed rounds.
        only: Variants to keep besides `plain` and `floor`; all if not given.

    Returns:
        One row per trunk, T, size and variant (column `arm`): median seconds and the images/s they make, the ratio to
        the floor and to the plain step with the quartiles of the per-round ratio, and peak memory over the plain step
        in gradient rows.

    Raises:
        ValueError: There is no variant of a name in `only`.
    """
    check_device(device)
    keep_freed_memory()
    kept = None if only is None else {"plain", "floor", *only}
    rows = []
    for trunk in trunks:
        for n_tasks in tasks:
            for size in sizes:
                work = Workload(trunk, n_tasks, size, device)
                every = variants(work)
                if unknown := sorted((kept or set()) - set(every)):
                    raise ValueError(f"only has {', '.join(unknown)}; accepted: {', '.join(every)}")
                chosen = {name: run for name, run in every.items() if kept is None or name in kept}
                times = dict(zip(chosen, interleave(chosen, rounds).T, strict=True))
                work.network.zero_grad()
                peaks = {}
                for name, run in chosen.items():
                    peaks[name] = peak_memory(run, device)
                    work.network.zero_grad()
                row_bytes = sum(p.numel() * p.element_size() for p in work.shared)
                for name, seconds in times.items():
                    entry: dict[str, Any] = {"trunk": trunk, "tasks": n_tasks, "size": size, "arm": name}
                    entry["seconds"] = np.median(seconds)
                    entry["images/s"] = len(work.images) / entry["seconds"]
                    for base in ("floor", "plain"):
                        low, middle, high = np.quantile(seconds / times[base], [0.25, 0.5, 0.75])
                        entry |= {f"/{base}": middle, f"/{base} low": low, f"/{base} high": high}
                    entry["rows over plain"] = (peaks[name] - peaks["plain"]) / row_bytes
                    rows.append(entry)
    return pd.DataFrame(rows)
