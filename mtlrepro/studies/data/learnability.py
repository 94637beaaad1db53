"""What a small network learns on a data set, against the best classifier of single colours and the best constant.

Each seed has its own scenes, initial weights and batches; a network is trained for a fixed number of steps, so that a
run repeats bit for bit on one machine with one thread. Baselines are favoured: which table of colours and which
constant is best is decided on the very images on which it is evaluated. The network's widths, batch and rate were
chosen on rooms of seed 0. Classes are compared by mIoU over the classes that occur, from one confusion matrix of all
pixels; depth, or disparity where a data set has that, by the mean absolute error, which the median minimises among
constants.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from mtlrepro import files
from mtlrepro.analysis.verdicts import Verdict, mean_interval
from mtlrepro.data import datasets
from mtlrepro.data.catalogue import CATALOGUE, GENERATED
from mtlrepro.data.scenes import cache as scenes
from mtlrepro.metrics import confusion, mean_iou
from mtlrepro.targets import TARGETS
from mtlrepro.training.provenance import provenance

DISTANCES = {
    name: target
    for name, entry in CATALOGUE.items()
    for target in ("depth", "disparity")
    if {"segmentation", target} <= {*entry.tasks}
}
"""Data sets with classes, and which of their targets is regressed."""
BINS = (4, 8, 12, 16, 24, 32, 48, 64)
BALANCES = (0.0, 0.5, 1.0)
ALGORITHM = 1
"""Raised whenever a change alters the results: older records are then not used."""
RESULTS = files.PROJECT / "book" / "results"
GAIN = 15.0
RATIO = 0.5
EMPHASIS = 1.0
BATCH = 8
RATE = 4e-3
WIDTHS = (16, 40, 80, 128)


@dataclass(frozen=True)
class Images:
    """Images with their targets.

    Attributes:
        image: ``[N, 3, H, W]`` in [0, 1].
        segmentation: ``[N, H, W]`` int64, -1 where unknown.
        distance: ``[N, 1, H, W]``, depth in m or disparity in px, 0 where unknown.
        classes: names of the C classes.
    """

    image: Tensor
    segmentation: Tensor
    distance: Tensor
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.image)


@dataclass(frozen=True)
class Run:
    """One seed.

    Attributes:
        images: the images on which all methods are evaluated.
        by_colour: classes from the best table of colours, ``[N, H, W]``.
        by_network: classes from the network, ``[N, H, W]``.
        distance: depth or disparity from the network, ``[N, 1, H, W]``.
        rows: the run's rows of ``compare``.
    """

    images: Images
    by_colour: Tensor
    by_network: Tensor
    distance: Tensor
    rows: list[dict[str, float | str]]


def miou_of(predicted: Tensor, images: Images) -> float:
    """Mean IoU in per cent of classes ``[N, H, W]`` on the known pixels of the images."""
    return float(mean_iou(confusion(predicted, images.segmentation, len(images.classes)).sum(0)))


def mean_absolute_error(predicted: Tensor, target: Tensor) -> float:
    """Mean of ``|predicted - target|`` over pixels whose target is not 0."""
    known = target != 0
    return (predicted[known] - target[known]).abs().double().mean().item()


def best_constant(target: Tensor) -> tuple[float, float]:
    """Give the constant of least mean absolute error over pixels whose target is not 0, the median, and that error.

    Raises:
        ValueError: no target is known.
    """
    known = target[target != 0]
    if not known.numel():
        raise ValueError("target is 0 everywhere; accepted: one or more known values")
    constant = known.median()
    return constant.item(), mean_absolute_error(constant.expand_as(target), target)


def colour_bins(image: Tensor, bins: int) -> Tensor:
    """Cell of each pixel's colour when each channel has ``bins`` equal bins, int64 ``[N, H, W]``."""
    red, green, blue = (image * bins).long().clamp_(max=bins - 1).unbind(1)
    return (red * bins + green) * bins + blue


def colour_counts(images: Images, bins: int) -> Tensor:
    """Count pixels by cell of colour and class, ``[bins^3, C]``."""
    n_classes, known = len(images.classes), images.segmentation >= 0
    pairs = colour_bins(images.image, bins)[known] * n_classes + images.segmentation[known]
    return torch.bincount(pairs, minlength=bins**3 * n_classes).view(-1, n_classes)


def colour_table(counts: Tensor, balance: float) -> Tensor:
    """Give the class of each cell of colour, ``[cells]``, from counts ``[cells, C]``.

    It is the class with most pixels in the cell, each weighted by its class's frequency to the power of ``-balance``:
    0 finds the most probable class, 1 that for equally frequent classes. Cells without pixels get the most frequent.
    """
    frequency = counts.sum(0)
    table = (counts / frequency.clamp(min=1).double() ** balance).argmax(1)
    return torch.where(counts.sum(1) > 0, table, frequency.argmax())


def best_by_colour(train: Images, evaluate: Images) -> tuple[Tensor, float, str]:
    """Classify single pixels by colour with the table, of ``BINS`` and ``BALANCES``, that does best on ``evaluate``.

    Returns:
        Classes ``[N, H, W]``, their mIoU in percent, and which table it was.
    """
    best: tuple[Tensor, float, str] | None = None
    for bins in BINS:
        counts, cells = colour_counts(train, bins), colour_bins(evaluate.image, bins)
        for balance in BALANCES:
            predicted = colour_table(counts, balance)[cells]
            share = miou_of(predicted, evaluate)
            if best is None or share > best[1]:
                best = predicted, share, f"{bins} bins, balance {balance:g}"
    assert best is not None
    return best


def _block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class SmallUNet(nn.Module):
    """U-Net of four scales, 1/2 to 1/16, with two outputs: classes and a distance, enlarged bilinearly.

    Args:
        n_classes: number of classes C.
        centre: distance where the output's last channel is 0.
        scale: distance for a unit of that channel.
    """

    def __init__(self, n_classes: int, centre: float = 0.0, scale: float = 1.0) -> None:
        super().__init__()
        self.first = nn.Sequential(_block(3, WIDTHS[0], 2), _block(WIDTHS[0], WIDTHS[0]))
        pairs = list(pairwise(WIDTHS))
        self.down = nn.ModuleList(nn.Sequential(_block(a, b, 2), _block(b, b)) for a, b in pairs)
        self.up = nn.ModuleList(_block(a + b, a) for a, b in reversed(pairs))
        self.last = nn.Conv2d(WIDTHS[0], n_classes + 1, 1)
        self.centre, self.scale = centre, scale

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Give logits ``[B, C, H, W]`` and distance ``[B, 1, H, W]`` for images ``[B, 3, H, W]``."""
        features = self.first(image - 0.5)
        skips = []
        for down in self.down:
            skips.append(features)
            features = down(features)
        for up in self.up:
            skip = skips.pop()
            features = up(torch.cat([interpolate(features, skip.shape[-2:]), skip], 1))
        output = interpolate(self.last(features), image.shape[-2:], mode="bilinear")
        return output[:, :-1], self.centre + self.scale * output[:, -1:]


def train_network(images: Images, *, seed: int, steps: int) -> SmallUNet:
    """Train a new network with AdamW and a one-cycle schedule on random batches, half of the images mirrored.

    The loss is the mean cross-entropy, classes weighted by frequency to the power of -1/2, plus ``EMPHASIS``
    times the mean absolute error of the distance over that of the best constant.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    device, n_classes = images.image.device, len(images.classes)
    centre, scale = best_constant(images.distance)
    frequency = torch.bincount(images.segmentation[images.segmentation >= 0], minlength=n_classes)
    weight = frequency.clamp(min=1).float().rsqrt()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SmallUNet(n_classes, centre, scale)
    model = model.to(device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.2)
    generator = torch.Generator().manual_seed(seed)
    for step in range(1, steps + 1):
        rows = torch.randint(len(images), (BATCH,), generator=generator).to(device)
        flip = (torch.rand(BATCH, generator=generator) < 0.5).to(device)[:, None, None, None]
        image, target, distance = (
            torch.where(flip, values[rows].flip(-1), values[rows])
            for values in (images.image, images.segmentation[:, None], images.distance)
        )
        logits, predicted = model(image.contiguous(memory_format=torch.channels_last))
        known = distance != 0
        error = ((predicted - distance).abs() * known).sum() / known.sum().clamp(min=1)
        loss = cross_entropy(logits, target[:, 0], weight=weight, ignore_index=-1) + EMPHASIS * error / scale
        if step % 50 == 0 and not loss.isfinite():
            raise FloatingPointError(f"step {step}: the loss of seed {seed} is not finite; lower RATE")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


@torch.no_grad()
def predict(model: SmallUNet, image: Tensor) -> tuple[Tensor, Tensor]:
    """Classes ``[N, H, W]`` and distance ``[N, 1, H, W]`` for images ``[N, 3, H, W]``."""
    parts = [model(part.contiguous(memory_format=torch.channels_last)) for part in torch.split(image, 16)]
    return torch.cat([logits.argmax(1) for logits, _ in parts]), torch.cat([distance for _, distance in parts])


def images_of(
    dataset: str, split: str, n: int, *, seed: int, size: tuple[int, int] | None, root: str | Path | None, device: str
) -> Images:
    """Scenes of that seed, or as many images drawn from a prepared split; arguments as those of ``compare``."""
    keys = ("image", "segmentation", DISTANCES[dataset])
    if dataset in GENERATED:
        module = scenes.generator_of(dataset)
        batch = module.generate(range(n), split=split, size=size or scenes.SIZE, seed=seed, keys=keys)
        classes = CATALOGUE[dataset].classes
    else:
        opened = datasets.load(dataset, split, root=root, keys=keys)
        if n > len(opened):
            raise ValueError(f"{n} images of {dataset} {split} are asked for; accepted: up to {len(opened)}")
        batch = opened.batch(np.random.default_rng([seed, n]).permutation(len(opened))[:n])
        classes = opened.class_names
    image, segmentation, distance = (batch[key].to(device) for key in keys)
    return Images(image, segmentation, distance, classes)


def runs(
    dataset: str,
    *,
    seeds: int,
    train: int,
    evaluate: int,
    steps: int,
    size: tuple[int, int] | None = None,
    device: str = "cpu",
    root: str | Path | None = None,
) -> Iterator[Run]:
    """Make the runs of ``compare`` one after the other, with predictions; arguments and errors as there."""
    if dataset not in DISTANCES:
        raise ValueError(f"dataset is {dataset!r}; accepted: {', '.join(DISTANCES)}")
    for name, value, least in (
        ("seeds", seeds, 1),
        ("train", train, 1),
        ("evaluate", evaluate, 1),
        ("steps", steps, 10),
    ):
        if value < least:
            raise ValueError(f"{name} is {value}; accepted: {least} or more")
    if dataset in GENERATED and root is not None:
        raise ValueError(f"root is {str(root)!r}; accepted: none for {dataset}, which are generated")
    if dataset not in GENERATED and size is not None:
        raise ValueError(f"size is {size}; accepted: none for {dataset}, only scenes have it")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device is {device!r}, but PyTorch finds no CUDA device; accepted here: 'cpu'")
    return (_run(dataset, seed, train, evaluate, steps, size, device, root) for seed in range(seeds))


def _run(
    dataset: str,
    seed: int,
    train: int,
    evaluate: int,
    steps: int,
    size: tuple[int, int] | None,
    device: str,
    root: str | Path | None,
) -> Run:
    seen, unseen = (
        images_of(dataset, split, n, seed=seed, size=size, root=root, device=device)
        for split, n in (("train", train), ("val", evaluate))
    )
    by_colour, colour_miou, table = best_by_colour(seen, unseen)
    constant, constant_error = best_constant(unseen.distance)
    model = train_network(seen, seed=seed, steps=steps)
    by_network, distance = predict(model, unseen.image)
    unit = TARGETS[DISTANCES[dataset]].display.unit
    parameters = sum(parameter.numel() for parameter in model.parameters())
    results: Sequence[tuple[str, float, float, str]] = (
        ("colour", colour_miou, np.nan, table),
        ("constant", np.nan, constant_error, f"{constant:.3g} {unit}"),
        (
            "network",
            miou_of(by_network, unseen),
            mean_absolute_error(distance, unseen.distance),
            f"{parameters} parameters, {steps} steps",
        ),
    )
    rows: list[dict[str, float | str]] = [
        {"seed": seed, "method": method, "miou": miou, "error": error, "unit": unit, "setting": setting}
        for method, miou, error, setting in results
    ]
    return Run(unseen, by_colour, by_network, distance, rows)


def compare(
    dataset: str,
    *,
    seeds: int,
    train: int,
    evaluate: int,
    steps: int,
    size: tuple[int, int] | None = None,
    device: str = "cpu",
    root: str | Path | None = None,
) -> pd.DataFrame:
    """Compare network, best table of colours and best constant on ``evaluate`` images of the split ``val``.

    Args:
        dataset: one of ``DISTANCES``.
        seeds: number of seeds, 0, 1, ...
        train: number of images for training and for the tables of colours, of the split ``train``.
        evaluate: number of images for evaluation.
        steps: training steps of ``BATCH`` images.
        size: (height, width) of scenes; default: ``scenes.SIZE``.
        device: where the network is trained; scenes are always made on the CPU.
        root: folder of a prepared real data set.

    Returns:
        Columns ``seed``, ``method`` (colour, constant, network), ``miou`` in percent (not a number for the constant),
        ``error``, mean absolute error (not a number for colour), its ``unit`` (m or px), and ``setting``.

    Raises:
        ValueError: an argument is out of range or does not apply.
        FloatingPointError: the loss is not finite.
    """
    made = runs(dataset, seeds=seeds, train=train, evaluate=evaluate, steps=steps, size=size, device=device, root=root)
    return pd.DataFrame([row for run in made for row in run.rows])


def recorded(
    dataset: str, *, seeds: int, train: int, evaluate: int, steps: int, size: tuple[int, int], device: str = "cpu"
) -> pd.DataFrame:
    """``compare`` on scenes, from stored records where there are any; what is missing is trained and kept.

    A record is one JSON file for one seed: configuration, rows and provenance. Those of the book lie in ``RESULTS``,
    new ones in the cache folder.

    Args:
        dataset: ``rooms`` or ``streets``.
        seeds: as ``compare``, and so are the others.
        train: number of images for training.
        evaluate: number of images for evaluation.
        steps: training steps.
        size: (height, width) of the scenes.
        device: where the network is trained.

    Returns:
        The columns of ``compare``.

    Raises:
        ValueError: an argument is out of range.
        FloatingPointError: the loss is not finite.
    """
    if dataset not in GENERATED:
        raise ValueError(f"dataset is {dataset!r}; accepted: {', '.join(GENERATED)}")
    options: dict[str, Any] = {"train": train, "evaluate": evaluate, "steps": steps, "size": size}
    options["device"] = device
    runs(dataset, seeds=seeds, **options)  # checks the arguments
    rows: list[dict[str, float | str]] = []
    for seed in range(seeds):
        version = scenes.generator_of(dataset).VERSION
        configuration = {"dataset": dataset, "seed": seed, **options, "scenes": version, "algorithm": ALGORITHM}
        text = json.dumps(configuration, sort_keys=True)
        name = f"learnability-{dataset}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"
        places = [folder / name for folder in (RESULTS, files.cache_dir() / "results")]
        place = next((place for place in places if place.exists()), None)
        if place is None:
            started = time.perf_counter()
            run = _run(dataset, seed, train, evaluate, steps, size, device, None)
            origin = {**provenance(device), "seconds": round(time.perf_counter() - started)}
            known = [{key: None if value != value else value for key, value in row.items()} for row in run.rows]
            record = {"configuration": configuration, "rows": known, "provenance": origin}
            place = places[-1]
            place.parent.mkdir(parents=True, exist_ok=True)
            files.write(place, json.dumps(record, indent=1) + "\n")
        rows += json.loads(place.read_text(encoding="utf-8"))["rows"]
    return pd.DataFrame(rows)


def margins(table: pd.DataFrame) -> pd.DataFrame:
    """Give for each seed the ``gain`` of the network over colours in points of mIoU and its error's ``ratio``.

    The ratio is the network's error over that of the best constant.
    """
    miou, error = (table.pivot(index="seed", columns="method", values=value) for value in ("miou", "error"))
    gain, ratio = miou["network"] - miou["colour"], error["network"] / error["constant"]
    return pd.DataFrame({"gain": gain, "ratio": ratio}).reset_index()


def verdicts(table: pd.DataFrame, name: str) -> list[Verdict]:
    """Verdicts on a data set being rich enough: ``GAIN`` points of mIoU, at most ``RATIO`` of the constant's error."""
    found = margins(table)
    lead = "mIoU of the best classifier of colours minus that of the network, in points"
    return [
        Verdict(f"{name}: {lead}", "requirement", -GAIN, 0.0, mean_interval(-found["gain"]), below=True),
        Verdict(
            f"{name}: error of the network over that of the best constant",
            "requirement",
            RATIO,
            0.0,
            mean_interval(found["ratio"]),
            below=True,
        ),
    ]
