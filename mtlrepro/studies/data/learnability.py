"""What a small network learns on the scenes, against the best classifier of single colours and the best constant.

Both baselines are favoured: which table of colours and which constant is best is decided on the very images on which
they are evaluated. The tables are counted on a quarter of the training scenes, where they are nearly as good as with
all of them: their mIoU is lower by less than half a point. Classes are compared by mIoU over the classes that occur;
depth, or disparity in streets, by the mean absolute error, which the median minimises among constants. The runs of one
data set share its scenes; seeds differ in initial weights, order and mirror images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd
import torch
from torch import Tensor

from mtlrepro.analysis.verdicts import Verdict, mean_interval
from mtlrepro.data.catalogue import CATALOGUE
from mtlrepro.data.scenes.cache import generator_of
from mtlrepro.metrics import confusion, mean_iou
from mtlrepro.runs.grids import train_grid
from mtlrepro.runs.store import Store
from mtlrepro.studies.setting import store_of, tell
from mtlrepro.training.config import RunConfig
from mtlrepro.training.records import Record

DISTANCES = {"rooms": ("depth", "abs_err"), "streets": ("disparity", "aepe")}
"""What is regressed besides classes, and the name of its mean absolute error among the metrics."""
SIZES = {"rooms": (48, 64), "streets": (48, 96)}
"""Height and width of the scenes."""
BINS = (4, 8, 12, 16, 24, 32, 48, 64)
BALANCES = (0.0, 0.5, 1.0)
GAIN = 15.0
"""Points of mIoU by which the network has to beat the best table of colours."""
RATIO = 0.5
"""Largest accepted error of the network over that of the best constant."""


@dataclass(frozen=True)
class Images:
    """Images with their targets.

    Attributes:
        image: `[N, 3, H, W]` in [0, 1].
        segmentation: `[N, H, W]` int64, -1 where unknown.
        distance: `[N, 1, H, W]`, depth in m or disparity in px, 0 where unknown.
        n_classes: Number of classes.
    """

    image: Tensor
    segmentation: Tensor
    distance: Tensor
    n_classes: int


def learned(
    dataset: str, *, seeds: int, images: int, epochs: int, device: Literal["cpu", "cuda"] = "cpu"
) -> pd.DataFrame:
    """Compare the network with both baselines on the scenes of the split `test`.

    Args:
        dataset: `rooms` or `streets`.
        seeds: Number of runs, of the seeds 0, 1, ...
        images: Number of training scenes; a tenth as many are evaluated.
        epochs: Passes over them, in steps of 8 images.
        device: Where the network is trained.

    Returns:
        One row for each seed: `scenes` (the data set), `seed`; `colour` and `network`, mIoU in per cent, and `gain`,
        their difference; `constant` and `error`, mean absolute errors of the best constant and of the network in m or
        px, and `ratio`, their quotient.

    Raises:
        ValueError: An argument is not accepted.
        RuntimeError: See `trained`.
    """
    distance, error = DISTANCES[dataset]
    runs = configs(dataset, seeds=seeds, images=images, epochs=epochs, device=device)
    evaluated = scenes(dataset, "test", images // 10)
    colour = best_by_colour(scenes(dataset, "train", images // 4), evaluated)[0]
    constant = best_constant(evaluated.distance)[1]
    rows = []
    for run, record in zip(runs, trained(runs), strict=True):
        metrics = record["metrics"]
        network, distance_error = metrics["segmentation"]["miou"], metrics[distance][error]
        ratio = distance_error / constant
        rows.append((dataset, run.seed, colour, network, network - colour, constant, distance_error, ratio))
    return pd.DataFrame(rows, columns=["scenes", "seed", "colour", "network", "gain", "constant", "error", "ratio"])


def stores() -> list[Store]:
    """Where runs are read from: the book's records, then those of this machine, where missing ones are trained to."""
    return [store_of("cpu"), store_of("smoke")]


def trained(runs: Sequence[RunConfig]) -> list[Record]:
    """Read the records of runs, and train those that are missing, one after another.

    Raises:
        RuntimeError: A run failed; what went wrong is said on stderr.
    """
    book, own = stores()
    if missing := [run for run in runs if run not in book and run not in own]:
        tell(train_grid(missing, store=own)[1])
    records = [record for run in runs if (record := book.record(run) or own.record(run)) is not None]
    if len(records) < len(runs):
        raise RuntimeError(f"{len(runs) - len(records)} of {len(runs)} runs failed; the lines above say why")
    return records


def configs(
    dataset: str, *, seeds: int, images: int, epochs: int, device: Literal["cpu", "cuda"] = "cpu"
) -> list[RunConfig]:
    """Configure the runs of `learned`; rate, widths and batch were chosen on rooms."""
    return [
        RunConfig(
            dataset=dataset,
            n_train=images,
            n_test=images // 10,
            size=SIZES[dataset],
            tasks=("segmentation", DISTANCES[dataset][0]),
            protocol="benchmark",
            model="small_unet",
            lr=4e-3,
            weight_decay=1e-4,
            schedule="steps",
            milestones=(epochs // 2, epochs * 3 // 4),
            factor=0.2,
            epochs=epochs,
            evaluate_every=epochs,
            seed=seed,
            device=device,
        )
        for seed in range(seeds)
    ]


def scenes(dataset: str, split: str, n: int) -> Images:
    """Make the first scenes of a split, with the targets of the comparison alone."""
    generator = generator_of(dataset)
    distance = DISTANCES[dataset][0]
    keys = ("image", "segmentation", distance)
    batch = generator.generate(range(n), split=split, size=SIZES[dataset], seed=0, keys=keys)
    return Images(batch["image"], batch["segmentation"], batch[distance], len(CATALOGUE[dataset].classes))


def best_by_colour(train: Images, evaluate: Images) -> tuple[float, str]:
    """Classify single pixels by colour with the table, of `BINS` and `BALANCES`, that does best on `evaluate`.

    Returns:
        The mIoU in per cent, and which table it was.
    """
    results = []
    for bins in BINS:
        counts, cells = colour_counts(train, bins), colour_bins(evaluate.image, bins)
        for balance in BALANCES:
            miou = miou_of(colour_table(counts, balance)[cells], evaluate)
            results.append((miou, f"{bins} bins, balance {balance:g}"))
    return max(results, key=lambda result: result[0])


def miou_of(predicted: Tensor, images: Images) -> float:
    """Mean IoU in per cent of classes `[N, H, W]` on the known pixels of the images."""
    return float(mean_iou(confusion(predicted, images.segmentation, images.n_classes).sum(0)))


def colour_bins(image: Tensor, bins: int) -> Tensor:
    """Cell of each pixel's colour when each channel has `bins` equal bins, int64 `[N, H, W]`."""
    red, green, blue = (image * bins).long().clamp_(max=bins - 1).unbind(1)
    return (red * bins + green) * bins + blue


def colour_counts(images: Images, bins: int) -> Tensor:
    """Count pixels by cell of colour and class, `[bins^3, C]`."""
    known = images.segmentation >= 0
    pairs = colour_bins(images.image, bins)[known] * images.n_classes + images.segmentation[known]
    return torch.bincount(pairs, minlength=bins**3 * images.n_classes).view(-1, images.n_classes)


def colour_table(counts: Tensor, balance: float) -> Tensor:
    """Give the class of each cell of colour, `[cells]`, from counts `[cells, C]`.

    It is the class with most pixels in the cell, each weighted by its class's frequency to the power of `-balance`:
    0 finds the most probable class, 1 that for equally frequent classes. Cells without pixels get the most frequent.
    """
    frequency = counts.sum(0)
    table = (counts / frequency.clamp(min=1).double() ** balance).argmax(1)
    return torch.where(counts.sum(1) > 0, table, frequency.argmax())


def best_constant(target: Tensor) -> tuple[float, float]:
    """Give the constant of least mean absolute error over pixels whose target is not 0, the median, and that error.

    Raises:
        ValueError: No target is known.
    """
    known = target[target != 0]
    if not known.numel():
        raise ValueError("target is 0 everywhere; accepted: one or more known values")
    constant = known.median()
    return constant.item(), (known - constant).abs().double().mean().item()


def verdicts(table: pd.DataFrame) -> list[Verdict]:
    """Judge whether a data set is rich enough, from its rows of `learned`: by `GAIN` and by `RATIO`."""
    (name,) = table["scenes"].unique()
    return [
        Verdict(
            f"A small network beats the best classifier of single colours by {GAIN:g} points of mIoU",
            "our requirement",
            -GAIN,
            0.0,
            mean_interval(-table["gain"]),
            below=True,
            reading="mIoU of the colours minus that of the network, points, mean over seeds",
            case=name,
            kind="ours",
            finding=5,
        ),
        Verdict(
            f"Its error of distances is at most {RATIO:g} of that of the best constant",
            "our requirement",
            RATIO,
            0.0,
            mean_interval(table["ratio"]),
            below=True,
            reading="quotient of the mean absolute errors, mean over seeds",
            case=name,
            kind="ours",
            finding=5,
        ),
    ]
