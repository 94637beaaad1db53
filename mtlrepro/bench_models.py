"""Speed and memory of the networks, forward and forward with backward."""

import importlib.util
from collections.abc import Callable, Sequence

import pandas as pd
import torch

from mtlrepro.bench import interleaved
from mtlrepro.bench_balancers import keep_freed_memory, peak_memory
from mtlrepro.losses import Terms
from mtlrepro.models import MODELS, Detections, MultiTaskModel, create
from mtlrepro.models.base import Prediction
from mtlrepro.tasks import Task


def _energy(prediction: Prediction, _: object) -> Terms:
    parts = prediction[:3] if isinstance(prediction, Detections) else (prediction,)
    values = torch.stack([part.square().mean() for part in parts])
    return Terms(values, torch.ones_like(values))


DENSE = (Task("segmentation", 13, _energy), Task("depth", 1, _energy), Task("normal", 3, _energy))
DETECTION = (Task("detection", 10, _energy), Task("segmentation", 19, _energy))
PASSES = ("forward", "forward+backward")


def models(
    device: str = "cpu",
    *,
    size: tuple[int, int] | None = None,
    batch: int | None = None,
    rounds: int = 3,
    only: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Time all networks in turn, with three dense tasks (NYUv2's), or detection and segmentation, and random weights.

    Losses are mean squares, whose cost is small. PNASNet-5, where timm is there, in the multi-decoder network.

    Args:
        device: A torch device.
        size: Height and width of the images; default 96 x 128 on CPUs, else 288 x 384.
        batch: Images per step; default 2 on CPUs, else 8.
        rounds: Rounds that count.
        only: Networks to keep; default: all.

    Returns:
        One row per pass and network: median ``seconds`` with quartiles, ``ratio`` to the first network in the same
        round, ``images/s``, ``peak MB`` of tensors that the pass adds to parameters and images, ``parameters``.

    Raises:
        ValueError: CUDA is asked for and absent, or a name in ``only`` is unknown.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device is {device!r}, but PyTorch finds no CUDA device; accepted here: 'cpu'")
    cpu = device == "cpu"
    size = size or ((96, 128) if cpu else (288, 384))
    batch = batch or (2 if cpu else 8)
    keep_freed_memory()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        networks = {name: network.to(device) for name, network in _networks(only).items()}
        images = torch.rand(batch, 6, *size).to(device)
    frames = []
    for way in PASSES:
        arms = {name: _arm(network, images, way == PASSES[1]) for name, network in networks.items()}
        frame = interleaved(arms, rounds)
        frame.insert(0, "pass", way)
        peaks = []
        for name, arm in arms.items():
            networks[name].zero_grad()
            peaks.append(peak_memory(arm, device) / 1e6)
            networks[name].zero_grad()
        frame["images/s"] = batch / frame["seconds"]
        frame["peak MB"] = peaks
        frame["parameters"] = [sum(p.numel() for p in network.parameters()) for network in networks.values()]
        frames.append(frame.rename(columns={"arm": "network"}))
    return pd.concat(frames, ignore_index=True)


def _networks(only: Sequence[str] | None) -> dict[str, MultiTaskModel]:
    makers: dict[str, Callable[[], MultiTaskModel]] = {
        name: lambda name=name: create(name, DETECTION if name == "detection" else DENSE)  # type: ignore[misc]
        for name in MODELS
    }
    if importlib.util.find_spec("timm"):
        makers["multi_decoder pnasnet5"] = lambda: create("multi_decoder", DENSE, encoder="pnasnet5")
    names = list(makers) if only is None else list(only)
    unknown = [name for name in names if name not in makers]
    if unknown:
        raise ValueError(f"only has {unknown}; accepted: {', '.join(makers)}")
    return {name: makers[name]() for name in names}


def _arm(network: MultiTaskModel, images: torch.Tensor, backward: bool) -> Callable[[], None]:
    """Make one pass, in training mode; without backward, without a graph."""
    views = images[:, : 3 * network.views]

    def run() -> None:
        with torch.set_grad_enabled(backward):
            predictions = network(views)
            if backward:
                network.zero_grad()
                losses = [task.loss(predictions[task.name], {}).mean() for task in network.tasks]
                torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        network.features = None

    return run
