"""Figures S-5 and S-7 to S-9 of loss scale balancing (LSB): where errors are, from the stored predictions of one seed.

Pictures show one seed and a few images: they illustrate. What is claimed rests on the metrics of all seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import normalize

from mtlrepro import pictures
from mtlrepro.config import RunConfig
from mtlrepro.data import datasets, scenes
from mtlrepro.data.samples import Batch
from mtlrepro.losses import known
from mtlrepro.plots import UNKNOWN, paint
from mtlrepro.runs.store import RESULTS
from mtlrepro.studies.lsb_grids import Setting
from mtlrepro.studies.lsb_scores import NAMES
from mtlrepro.tasks import DISPLAYS
from mtlrepro.verdicts import Verdict, geometric_interval, mean_interval, number

ERRORS = {"segmentation": "wrong class", "depth": "|log ratio|", "normal": "1 - cosine"}
"""Error of a pixel: the loss without regularisers, for classes 0 or 1; of the other maps, |difference|."""
HIGH = {"segmentation": 1.0, "depth": 0.5, "normal": 0.5}
"""Errors drawn in the brightest colour of the panels."""
SMALL = ("edges2d", "edges3d", "keypoints2d", "keypoints3d")
"""Tasks whose losses are small, by the supplement."""
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
    dense = [*first.tasks, *(["valid"] if set(first.tasks) - {"segmentation", "depth", "normal"} else [])]
    count = max(chosen) + 1 if first.dataset in scenes.NAMES else None
    data = datasets.load(first.dataset, "test", root=setting.data_root or None, keys=dense, n=count, size=first.size)
    found = {NAMES[config.method]: pictures.read(store, config.hash) for config in kept}
    return Shown(first.tasks, data.batch(chosen), found, data.n_classes)


def error_map(task: str, prediction: np.ndarray, batch: Batch) -> np.ndarray:
    """Error of each pixel, see ``ERRORS``.

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


def mean_errors(shown: Shown) -> pd.DataFrame:
    """Mean error over the known pixels of the shown images.

    Returns:
        One row a method, epoch and task: ``method``, ``epoch``, ``task``, ``error``.
    """
    rows = [
        (method, epoch, task, float(np.nanmean(error_map(task, maps[task], shown.batch))))
        for method, epochs in shown.predictions.items()
        for epoch, maps in epochs.items()
        for task in shown.tasks
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


def best(errors: pd.DataFrame) -> str:
    """Name the method with the least mean error over the shown images, task by task."""
    last = errors[errors["epoch"] == errors["epoch"].max()]
    least = last.loc[last.groupby("task", sort=False)["error"].idxmin()]
    parts = [f"{DISPLAYS[row['task']].title} {row['method']} ({number(row['error'])})" for _, row in least.iterrows()]
    return f"Least mean error over the shown images: {', '.join(parts)}."


# --- maps of the loss during training: Figure S-5 ------------------------------------------------------


def overall(errors: Mapping[str, np.ndarray]) -> np.ndarray:
    """Sum of the tasks' error maps, the "overall error map"; unknown pixels of a task add nothing."""
    total: np.ndarray = np.sum([np.nan_to_num(error) for error in errors.values()], axis=0)
    return total


def loss_maps(shown: Shown, image: int = 0) -> Figure:
    """Draw the error maps of each task and their sum, a row for every method and epoch.

    Each column has one scale, up to the 98 % quantile of its first map.

    Args:
        shown: What :func:`load` gives.
        image: Position among the shown images.
    """
    rows, labels, highs = [], [], dict[str, float]()
    for method, epochs in shown.predictions.items():
        for epoch, maps in sorted(epochs.items()):
            errors = {task: error_map(task, maps[task], shown.batch)[image] for task in shown.tasks}
            errors["sum"] = overall(errors)
            for name, values in errors.items():
                highs.setdefault(name, max(float(np.nanquantile(values, 0.98)), 1e-6))
            rows.append([heat(values, highs[name]) for name, values in errors.items()])
            labels.append(f"{method}\nepoch {epoch}")
    titles = [f"{DISPLAYS[task].title}\nto {highs[task]:.2g}" for task in shown.tasks]
    return mosaic(rows, [*titles, f"sum\nto {highs['sum']:.2g}"], labels)


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
        cells = [_cell(values[method]) for method in ("equal", "lsb")]
        rows.append((DISPLAYS[task].title, *cells, quotient.value, quotient.low, quotient.high))
    return pd.DataFrame(rows, columns=["task", "equal", "LSB", "quotient", "low", "high"])


def _cell(values: pd.Series) -> str:
    interval = mean_interval(values)
    return f"{number(interval.value)} ± {number(interval.high - interval.value, 2)}"


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
    last = errors[errors["epoch"] == errors["epoch"].max()].pivot_table("error", "task", "method", sort=False)
    better = int((last["LSB"] < last["equal"]).sum())
    return (
        f"Error maps of one test image, one seed. After epoch {errors['epoch'].max()} its mean error is smaller under "
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
    drawing = Figure(figsize=(7.2, 0.6 + 6.4 * grid.shape[0] / grid.shape[1]), dpi=80, layout="constrained")
    axes = drawing.subplots()
    axes.imshow(grid, interpolation="none")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.xaxis.tick_top()
    axes.set_xticks([j * (width + GAP) + width / 2 for j in range(len(columns))], columns)
    axes.set_yticks([i * (height + GAP) + height / 2 for i in range(len(rows))], labels)
    axes.tick_params(length=0, labelsize=8)
    return drawing
