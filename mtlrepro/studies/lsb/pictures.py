"""Figures S-5 and S-7 to S-9 of loss scale balancing (LSB): where errors are, from the stored predictions of one seed.

Pictures show one seed and a few images: they illustrate. What is claimed rests on the metrics of all seeds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import normalize

from mtlrepro.analysis.verdicts import Verdict, geometric_interval, mean_interval, number, plus_minus
from mtlrepro.data import datasets
from mtlrepro.data.catalogue import GENERATED
from mtlrepro.data.samples import Batch
from mtlrepro.losses import known
from mtlrepro.pages.figures import UNKNOWN, paint
from mtlrepro.runs.store import Store
from mtlrepro.studies.lsb.grids import RESULTS, Setting
from mtlrepro.studies.lsb.scores import NAMES
from mtlrepro.targets import TARGETS
from mtlrepro.tasks import DISPLAYS
from mtlrepro.training import predictions as pictures
from mtlrepro.training.config import RunConfig

ERRORS = {"segmentation": "wrong class", "depth": "|log ratio|", "normal": "angle, °"}
"""Error of a pixel: for classes 0 or 1; of the other maps, |difference|."""
HIGH = {"segmentation": 1.0, "depth": 0.5, "normal": 60.0}
"""Errors drawn in the brightest colour of the panels."""
SMALL = ("edges2d", "edges3d", "keypoints2d", "keypoints3d")
"""Tasks whose losses are small, by the supplement."""
FIGURE_METHODS = ("equal", "uncertainty", "dwa", "gls", "lsb")
"""Methods of Figures S-7 to S-9."""
SUM = "sum"
"""Name of the overall error map."""
SOURCE = "Section 6, Figure S-5"
PANEL_ALT = (
    "{}: a grid of pictures, a column for the targets and one for each method; for classes, depth and normals a row of"
    " estimates and below it a row of errors, dark where they are small."
)
GAP = 2
"""Pixels between two maps."""


@dataclass(frozen=True)
class Shown:
    """Predictions of several runs for the same test images.

    Attributes:
        tasks: Names of the tasks.
        batch: Images and targets, B of them.
        predictions: Method as in ``NAMES`` to epoch to task to maps, as ``pictures.read`` gives them.
        n_classes: Of ``segmentation``.
    """

    tasks: Sequence[str]
    batch: Batch
    predictions: Mapping[str, Mapping[int, Mapping[str, np.ndarray]]]
    n_classes: int


def load(configs: Sequence[RunConfig], setting: Setting, store: str | Path = RESULTS) -> Shown:
    """Read the predictions of the runs that keep some, and the images that they are for.

    Args:
        configs: Stored runs of one data set and size; those without pictures are left out.
        setting: Holds the folder of a real data set.
        store: Folder of records.

    Raises:
        FileNotFoundError: The predictions of a run are absent.
    """
    kept = [config for config in configs if config.pictures]
    first = kept[0]
    chosen = first.pictures["images"]
    dense = [*first.tasks, *(["valid"] if any(TARGETS[task].known == "mask" for task in first.tasks) else [])]
    count = max(chosen) + 1 if first.dataset in GENERATED else None
    data = datasets.load(first.dataset, "test", root=setting.data_root or None, keys=dense, n=count, size=first.size)
    found = {NAMES[config.method]: pictures.read(store, config.hash) for config in kept}
    return Shown(first.tasks, data.batch(chosen), found, data.n_classes)


def loss_map(task: str, prediction: np.ndarray, batch: Batch) -> np.ndarray:
    """Loss of each pixel, whose mean is the task's loss without regularisers; for classes 0 or 1, wrong or right.

    Depth has |log ratio| (Eq. 2), normals 1 - cosine (Eq. 5), other maps |difference|, summed over channels (Eq. 9).

    Args:
        task: Name of a dense task.
        prediction: ``[B, H, W]`` classes or ``[B, C, H, W]`` maps, unit normals.
        batch: With the targets.

    Returns:
        ``[B, H, W]`` float32, at least 0; NaN where the target is unknown.
    """
    estimate, target = torch.from_numpy(prediction), batch[task]
    if task == "segmentation":
        error = (estimate != target).float()
    elif task == "depth":
        error = (estimate.clamp_min(1e-3).log() - target.clamp_min(1e-3).log()).abs()[:, 0]
    elif task == "normal":
        error = 1 - (normalize(estimate, dim=1) * target).sum(1).clamp(-1, 1)
    else:
        error = (estimate - target).abs().sum(1)
    return torch.where(known(batch, task)[:, 0], error, torch.nan).numpy()


def error_map(task: str, prediction: np.ndarray, batch: Batch) -> np.ndarray:
    """Error of each pixel in the units of ``ERRORS``: the loss, but for normals the angle in degrees; as above."""
    loss = loss_map(task, prediction, batch)
    return np.degrees(np.arccos(1 - loss)) if task == "normal" else loss


def mean_errors(shown: Shown) -> pd.DataFrame:
    """Mean error over the known pixels of the shown images.

    Returns:
        One row a method, epoch and task: ``method``, ``epoch``, ``task``, ``error`` in the units of ``ERRORS``.
    """
    return _means(shown, lambda maps: {task: error_map(task, maps[task], shown.batch) for task in shown.tasks})


def mean_losses(shown: Shown) -> pd.DataFrame:
    """Mean of the loss maps and of their sum, ``SUM``; otherwise as :func:`mean_errors`."""
    return _means(shown, lambda maps: _losses(shown, maps))


def _means(shown: Shown, of: Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]) -> pd.DataFrame:
    rows = [
        (method, epoch, task, float(np.nanmean(values)))
        for method, epochs in shown.predictions.items()
        for epoch, maps in sorted(epochs.items())
        for task, values in of(maps).items()
    ]
    return pd.DataFrame(rows, columns=["method", "epoch", "task", "error"])


# --- panels: Figures S-7 to S-9 -----------------------------------------------------------------------


def panel(shown: Shown, image: int) -> Figure:
    """Draw one test image: targets and the image itself, then the last estimates of each method, errors below them.

    Args:
        shown: What :func:`load` gives.
        image: Position among the shown images.
    """
    columns = [("target", None), *shown.predictions.items()]
    rows: list[list[np.ndarray]] = []
    for number_, task in enumerate(shown.tasks):
        truth = shown.batch[task][image]
        seen = known(shown.batch, task)[image, 0]
        picture = DISPLAYS[task]
        classes = shown.n_classes if task == "segmentation" else None
        estimates, errors = [paint(picture, truth, seen, classes)], [_input(shown, image, first=number_ == 0)]
        for _, epochs in columns[1:]:
            assert epochs is not None
            maps = epochs[max(epochs)]
            values = torch.from_numpy(maps[task][image])
            estimates.append(paint(picture, values, torch.ones_like(seen), classes))
            errors.append(heat(error_map(task, maps[task], shown.batch)[image], HIGH[task]))
        rows += [estimates, errors]
    labels = [label for task in shown.tasks for label in (DISPLAYS[task].title, f"{ERRORS[task]}\nto {HIGH[task]:g}")]
    return mosaic(rows, [name for name, _ in columns], labels)


def _input(shown: Shown, image: int, *, first: bool) -> np.ndarray:
    """The image itself in the first row of errors, whose place under the target is free; white elsewhere."""
    pixels: Tensor = shown.batch["image"][image]
    values = (255 * pixels.permute(1, 2, 0)).round().to(torch.uint8).numpy()
    return values if first else np.full_like(values, 255)


def slides(shown: Shown, network: str, count: int) -> dict[str, tuple[Figure, str]]:
    """Draw the first ``count`` images for a slider: label to drawing and its alternative text."""
    return {f"{i + 1}": (panel(shown, i), PANEL_ALT.format(f"{network}, image {i + 1}")) for i in range(count)}


def best(errors: pd.DataFrame) -> str:
    """Name the method with the least mean error over the shown images, task by task."""
    last = errors[errors["epoch"] == errors["epoch"].max()]
    least = last.loc[last.groupby("task", sort=False)["error"].idxmin()]
    parts = [
        f"{DISPLAYS[row['task']].title} {row['method']} ({ERRORS[row['task']]}: {number(row['error'])})"
        for _, row in least.iterrows()
    ]
    return f"Least mean error over the kept images: {'; '.join(parts)}."


# --- maps of the loss during training: Figure S-5 ------------------------------------------------------


def overall(losses: Mapping[str, np.ndarray]) -> np.ndarray:
    """Sum of the tasks' maps, the "overall error map"; NaN where one of them is unknown, as sums would not compare."""
    total: np.ndarray = np.sum(list(losses.values()), axis=0)
    return total


def _losses(shown: Shown, maps: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Loss maps ``[B, H, W]`` by task, and their sum."""
    losses = {task: loss_map(task, maps[task], shown.batch) for task in shown.tasks}
    return {**losses, SUM: overall(losses)}


def loss_maps(shown: Shown, image: int = 0) -> Figure:
    """Draw the loss maps of each task and their sum, a row for every method and epoch.

    Each column has one scale, up to the 98 % quantile of its first map.

    Args:
        shown: What :func:`load` gives.
        image: Position among the shown images.
    """
    rows, labels, highs = [], [], dict[str, float]()
    for method, epochs in shown.predictions.items():
        for epoch, maps in sorted(epochs.items()):
            losses = {name: values[image] for name, values in _losses(shown, maps).items()}
            for name, values in losses.items():
                highs.setdefault(name, max(float(np.nanquantile(values, 0.98)), 1e-6))
            rows.append([heat(values, highs[name]) for name, values in losses.items()])
            labels.append(f"{method}\nepoch {epoch}")
    return mosaic(rows, [f"{_title(name)}\nto {high:.2g}" for name, high in highs.items()], labels)


def _title(name: str) -> str:
    """Title of a narrow column; the error of curvature is that of both its channels."""
    if name == SUM:
        return SUM
    title = DISPLAYS[name].title.removesuffix(" k1")
    return title.replace(", ", "\n") if ", " in title else title


def evaluations(configs: Sequence[RunConfig], store: str | Path = RESULTS) -> pd.DataFrame:
    """Read the test losses without regularisers, with the paper's display factors, of stored runs as they train.

    Returns:
        One row a run, evaluated epoch and task: ``method``, ``seed``, ``epoch``, ``task``, ``loss``.

    Raises:
        KeyError: A run is not stored.
    """
    records = Store(store).records
    rows = [
        (config.method, config.seed, entry["epoch"], task, entry["metrics"][task]["lsb_loss"])
        for config in configs
        for entry in records[config.hash]["history"]
        if entry["metrics"]
        for task in config.tasks
    ]
    return pd.DataFrame(rows, columns=["method", "seed", "epoch", "task", "loss"])


def _quotient(evaluated: pd.DataFrame) -> pd.Series:
    """LSB over equal weighting, one number a task, epoch and seed."""
    methods = evaluated.pivot_table("loss", ["task", "epoch", "seed"], "method", sort=False)
    return methods["lsb"] / methods["equal"]


def quotients(evaluated: pd.DataFrame) -> pd.DataFrame:
    """Test loss under LSB over that under equal weighting in runs of the same seed, epoch by epoch.

    Args:
        evaluated: As :func:`evaluations` gives it.

    Returns:
        One row a task, in the order of the runs: ``task`` and a column an epoch, ``epoch N``, with the geometric mean
        over seeds and its 95 % interval as text.
    """
    groups = _quotient(evaluated).groupby(["task", "epoch"], sort=False)
    table = groups.agg(lambda values: str(geometric_interval(values))).unstack()
    table = table.loc[evaluated["task"].unique()]
    table.columns = [f"epoch {epoch}" for epoch in table.columns]
    return table.rename(index=lambda task: DISPLAYS[task].title).reset_index()


def quotients_finding(evaluated: pd.DataFrame) -> str:
    """State for how many tasks the interval of the quotient lies below 1, at the first and the last evaluation."""
    highs = _quotient(evaluated).groupby(["epoch", "task"]).agg(lambda values: geometric_interval(values).high)
    below = (highs < 1).groupby("epoch").sum()
    counts = {epoch: below[epoch] for epoch in (below.index.min(), below.index.max())}
    parts = [f"after epoch {epoch} on {count}" for epoch, count in counts.items()]
    total = evaluated["task"].nunique()
    return (
        f"Test loss under LSB over that under equal weighting, mean [95 % interval] over "
        f"{evaluated['seed'].nunique()} seeds. It is below 1 {' and '.join(parts)} of {total} tasks."
    )


def final_losses(runs: pd.DataFrame, tasks: Sequence[str]) -> pd.DataFrame:
    """Test losses without regularisers, with the paper's display factors, of equal weighting and LSB.

    Args:
        runs: One row a run: ``method``, ``seed`` and ``TASK.lsb_loss``.
        tasks: Names of the tasks.

    Returns:
        One row a task: ``task``, ``equal`` and ``LSB`` as text, mean and half the 95 % interval over seeds;
        ``quotient`` of LSB over equal weighting in runs of the same seed, geometric mean, with ``low`` and ``high``.
    """
    rows = []
    for task in tasks:
        values = runs.pivot_table(f"{task}.lsb_loss", "seed", "method")
        quotient = geometric_interval(values["lsb"] / values["equal"])
        cells = [plus_minus(mean_interval(values[method])) for method in ("equal", "lsb")]
        rows.append((DISPLAYS[task].title, *cells, quotient.value, quotient.low, quotient.high))
    return pd.DataFrame(rows, columns=["task", "equal", "LSB", "quotient", "low", "high"])


def claims(runs: pd.DataFrame, tasks: Sequence[str]) -> list[Verdict]:
    """Judge Section 6: small losses are learned better under LSB, and so are all tasks together.

    Args:
        runs: As for :func:`final_losses`.
        tasks: Names of the tasks.
    """
    quotients = pd.DataFrame(
        {
            task: values["lsb"] / values["equal"]
            for task in tasks
            for values in [runs.pivot_table(f"{task}.lsb_loss", "seed", "method")]
        }
    )
    text = "test loss under LSB over that under equal weighting"
    found = [
        Verdict(f"{DISPLAYS[task].title}: {text}", SOURCE, 1, 0, geometric_interval(quotients[task]), below=True)
        for task in SMALL
        if task in quotients
    ]
    everything = np.exp(np.log(quotients).mean(axis=1))
    claim = f"All {len(quotients.columns)} tasks, geometric mean: {text}"
    return [*found, Verdict(claim, SOURCE, 1, 0, geometric_interval(everything), below=True)]


def maps_finding(errors: pd.DataFrame) -> str:
    """State how many tasks LSB has the smaller mean error on, on the shown image after the last epoch."""
    last = errors[(errors["epoch"] == errors["epoch"].max()) & (errors["task"] != SUM)]
    last = last.pivot_table("error", "task", "method", sort=False)
    better = int((last["LSB"] < last["equal"]).sum())
    return (
        f"Loss maps of one test image, one seed. After epoch {errors['epoch'].max()} its mean loss is smaller under "
        f"LSB than under equal weighting on {better} of {len(last)} tasks."
    )


def losses_finding(table: pd.DataFrame) -> str:
    """State which losses are smaller under LSB, and which larger, by intervals over seeds."""
    smaller, larger = table.loc[table["high"] < 1, "task"], table.loc[table["low"] > 1, "task"]
    return (
        f"Test losses, and their quotient, LSB over equal weighting. By the 95 % interval, smaller under LSB: "
        f"{', '.join(smaller) or 'none'}; larger: {', '.join(larger) or 'none'}."
    )


# --- drawing -------------------------------------------------------------------------------------------


def heat(values: np.ndarray, high: float) -> np.ndarray:
    """Colours of an error map, uint8 ``[H, W, 3]``: black at 0, bright from ``high`` on, pink where unknown."""
    palette = mpl.colormaps["magma"].with_extremes(bad=UNKNOWN)
    colours = palette(np.ma.masked_invalid(values / high).clip(0, 1), bytes=True)
    return np.asarray(colours[..., :3])


def mosaic(rows: Sequence[Sequence[np.ndarray]], columns: Sequence[str], labels: Sequence[str]) -> Figure:
    """Draw maps of one size as a grid, titles above the columns and beside the rows.

    Args:
        rows: uint8 ``[H, W, 3]`` each.
        columns: Title of each column.
        labels: Title of each row.
    """
    height, width = rows[0][0].shape[:2]
    grid = np.full((len(rows) * (height + GAP) - GAP, len(columns) * (width + GAP) - GAP, 3), 255, dtype=np.uint8)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            top, left = i * (height + GAP), j * (width + GAP)
            grid[top : top + height, left : left + width] = picture
    size = (7.2, 0.6 + 6.4 * grid.shape[0] / grid.shape[1])
    drawing = Figure(figsize=size, dpi=13 * len(columns), layout="constrained")
    axes = drawing.subplots()
    axes.imshow(grid, interpolation="none")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.xaxis.tick_top()
    axes.set_xticks([j * (width + GAP) + width / 2 for j in range(len(columns))], columns)
    axes.set_yticks([i * (height + GAP) + height / 2 for i in range(len(rows))], labels)
    axes.tick_params(length=0, labelsize=8)
    return drawing
