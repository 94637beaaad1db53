"""Speed and memory of the networks: forward, forward with backward, and the losses alone."""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd
import torch

from mtlrepro.bench.timing import check_device, keep_freed_memory, peak_memory, timings
from mtlrepro.losses import Batch
from mtlrepro.models import MODELS, Detections, MultiTaskModel, create
from mtlrepro.models.base import Prediction
from mtlrepro.tasks import create as create_tasks

DENSE = create_tasks(("segmentation", "depth", "normal"))
DETECTION = create_tasks(("detection", "segmentation"), n_classes=19)
PASSES = ("forward", "forward+backward", "losses")


def models(
    device: str = "cpu",
    *,
    size: tuple[int, int] | None = None,
    batch: int | None = None,
    rounds: int = 3,
    only: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Time all networks in turn, with three dense tasks (NYUv2's), or detection and segmentation, and random weights.

    All passes are in training mode, with the losses of loss scale balancing; `forward` has no losses and builds no
    graph, `losses` has the losses and their gradients with respect to given predictions. PNASNet-5, where timm is
    there, in the multi-decoder network.

    Args:
        device: A torch device.
        size: Height and width of the images; default 96 x 128 on CPUs, else 288 x 384.
        batch: Images per step; default 2 on CPUs, else 8.
        rounds: Rounds that count.
        only: Networks to keep; default: all.

    Returns:
        One row per pass and network: median `seconds` with quartiles, `ratio` to the first network in the same
        round, `images/s`, `share` of the network's time for forward and backward, `peak MB` of tensors that the
        pass adds to parameters and images, `parameters`.

    Raises:
        ValueError: CUDA is asked for and absent, or a name in `only` is unknown.
    """
    check_device(device)
    cpu = device == "cpu"
    size = size or ((96, 128) if cpu else (288, 384))
    batch = batch or (2 if cpu else 8)
    keep_freed_memory()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        networks = {name: network.to(device) for name, network in _networks(only).items()}
        samples = _samples(batch, size, device)
    frames = []
    for way in PASSES:
        variants = {name: _variant(network, samples, way) for name, network in networks.items()}
        frame = timings(variants, rounds)
        frame.insert(0, "pass", way)
        peaks = []
        for name, variant in variants.items():
            networks[name].zero_grad()
            peaks.append(peak_memory(variant, device) / 1e6)
            networks[name].zero_grad()
        frame["images/s"] = batch / frame["seconds"]
        frame["peak MB"] = peaks
        frame["parameters"] = [sum(p.numel() for p in network.parameters()) for network in networks.values()]
        frames.append(frame.rename(columns={"arm": "network"}))
    table = pd.concat(frames, ignore_index=True)
    whole = frames[PASSES.index("forward+backward")].set_index("network")["seconds"]
    table.insert(7, "share", table["seconds"] / table["network"].map(whole))
    return table


def _samples(batch: int, size: tuple[int, int], device: str) -> dict[str, Any]:
    """Random images of both views with targets everywhere, and four boxes in each."""
    height, width = size
    corner = torch.rand(batch, 4, 2) * torch.tensor([width, height]) / 2
    return {
        "image": torch.rand(batch, 3, *size, device=device),
        "right": torch.rand(batch, 3, *size, device=device),
        "segmentation": torch.randint(13, (batch, *size)).to(device),
        "depth": (1 + torch.rand(batch, 1, *size)).to(device),
        "normal": torch.nn.functional.normalize(torch.randn(batch, 3, *size), dim=1).to(device),
        "boxes": list(torch.cat([corner, corner + torch.tensor([width, height]) / 4], 2).to(device)),
        "labels": list(torch.randint(10, (batch, 4)).to(device)),
        "labelled": {"boxes": torch.ones(batch, dtype=torch.bool)},
    }


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


def _variant(network: MultiTaskModel, samples: Batch, way: str) -> Callable[[], None]:
    """Make one pass."""

    def losses(predictions: Mapping[str, Prediction]) -> None:
        terms = [task.loss(predictions[task.name], samples) for task in network.tasks]
        torch.stack([term.mean() for term in terms]).sum().backward()  # type: ignore[no-untyped-call]

    def step() -> None:
        network.zero_grad()
        losses(network(samples))
        network.features = None

    def forward() -> None:
        with torch.no_grad():
            network(samples)
        network.features = None

    if way == "losses":
        with torch.no_grad():
            predictions = {name: _leaf(prediction) for name, prediction in network(samples).items()}
        network.features = None
        return partial(losses, predictions)
    return step if way == "forward+backward" else forward


def _leaf(prediction: Prediction) -> Prediction:
    """Let a prediction collect gradients."""
    if isinstance(prediction, Detections):
        logits, distances, centerness = (part.requires_grad_() for part in prediction[:3])
        return prediction._replace(logits=logits, distances=distances, centerness=centerness)
    return prediction.requires_grad_()
