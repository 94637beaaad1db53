"""Predictions of stored runs beside images and targets: where errors are.

Pictures show one seed and a few images: they illustrate. What is claimed rests on the metrics of all seeds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import normalize

from mtlrepro.analysis.verdicts import number
from mtlrepro.data import datasets
from mtlrepro.data.catalogue import GENERATED
from mtlrepro.data.samples import Batch
from mtlrepro.losses import known
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.pages.figures import UNKNOWN, paint
from mtlrepro.studies.scores import method_title
from mtlrepro.studies.setting import Setting
from mtlrepro.targets import TARGETS
from mtlrepro.tasks import DISPLAYS, MAPS
from mtlrepro.training.config import RunConfig

ERRORS: dict[str, tuple[str, float]] = {
    "segmentation": ("wrong class", 1.0),
    "depth": ("|log ratio|", 0.5),
    "normal": ("angle, °", 60.0),
    "disparity": ("|difference|, px", 3.0),
    **{task: ("|difference|", DISPLAYS[task].high or 1.0) for task in MAPS},
}
"""Error of a pixel, for classes 0 or 1, and the error that is drawn in the brightest colour of the panels."""
SUM = "sum"
"""Name of the overall error map."""
PANEL_ALT = (
    "{}: a grid of pictures, a column for the targets and one for each method; for {} a row of estimates and below it a"
    " row of errors, dark where they are small."
)
CLEAR = 0.9
"""Share of the pixels at which every target of an image that is drawn is known, if there are such images."""
GAP = 2
"""Pixels between two maps."""


@dataclass(frozen=True)
class Shown:
    """Predictions of several runs for the same test images.

    Attributes:
        tasks: Names of the dense tasks.
        batch: Images and targets, B of them.
        predictions: Title of a method to epoch to task to maps, as `training.predictions.read` gives them.
        n_classes: Of `segmentation`.
    """

    tasks: Sequence[str]
    batch: Batch
    predictions: Mapping[str, Mapping[int, Mapping[str, np.ndarray]]]
    n_classes: int

    @property
    def clear(self) -> list[int]:
        """Positions of the images in the order in which they are drawn.

        First those of which every target is known at more than `CLEAR` of the pixels, as they come in the test split:
        a rule that looks at targets alone, never at predictions. The others follow in their order.
        """
        seen = torch.stack([known(self.batch, task).float().mean((1, 2, 3)) for task in self.tasks])
        order = (~(seen.amin(0) > CLEAR)).int().argsort(stable=True)
        return [int(position) for position in order]


def load(setting: Setting, configs: Sequence[RunConfig], titles: Mapping[str, str] | None = None) -> Shown:
    """Read the predictions of the runs that keep some, and the images that they are for.

    Args:
        setting: Holds the store, and the folder of a real data set.
        configs: Stored runs of one data set and size; those without pictures are left out.
        titles: Hash of a run to what pictures call it; by default its method. Runs of one title and of different tasks,
            such as single tasks, are shown as one.

    Raises:
        FileNotFoundError: The predictions of a run are absent.
    """
    kept = [config for config in configs if config.pictures]
    first = kept[0]
    chosen = first.pictures["images"]
    tasks = list(dict.fromkeys(task for config in kept for task in config.tasks if task in ERRORS))
    keys = [*tasks, *(["valid"] if any(TARGETS[task].known == "mask" for task in tasks) else [])]
    count = max(chosen) + 1 if first.dataset in GENERATED else None
    data = datasets.load(first.dataset, "test", root=setting.data_root or None, keys=keys, n=count, size=first.size)
    found: dict[str, dict[int, dict[str, np.ndarray]]] = {}
    for config in kept:
        epochs = found.setdefault(titles[config.hash] if titles else method_title(config.method), {})
        for epoch, maps in setting.store.predictions(config).items():
            epochs.setdefault(epoch, {}).update(maps)
    return Shown(tasks, data.batch(chosen), found, data.n_classes)


def loss_map(task: str, prediction: np.ndarray, batch: Batch) -> np.ndarray:
    """Loss of each pixel, whose mean is the task's loss without regularisers; for classes 0 or 1, wrong or right.

    Depth has |log ratio|, normals 1 - cosine, other maps |difference|, summed over channels.

    Args:
        task: Name of a dense task.
        prediction: `[B, H, W]` classes or `[B, C, H, W]` maps, unit normals.
        batch: With the targets.

    Returns:
        `[B, H, W]` float32, at least 0; NaN where the target is unknown.
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


def known_share(shown: Shown, image: int) -> float:
    """Share of the pixels of an image at which every target is known.

    Args:
        shown: What `load` gives.
        image: Position among the shown images.
    """
    seen = torch.stack([known(shown.batch, task)[image, 0] for task in shown.tasks])
    return float(seen.all(0).float().mean())


def error_map(task: str, prediction: np.ndarray, batch: Batch) -> np.ndarray:
    """Error of each pixel in the units of `ERRORS`: the loss, but for normals the angle in degrees; as above."""
    loss = loss_map(task, prediction, batch)
    return np.degrees(np.arccos(1 - loss)) if task == "normal" else loss


def mean_errors(shown: Shown) -> pd.DataFrame:
    """Mean error over the known pixels of the shown images.

    Returns:
        One row a method, epoch and task: `method`, `epoch`, `task`, `error` in the units of `ERRORS`.
    """
    return _means(shown, lambda maps: {task: error_map(task, maps[task], shown.batch) for task in shown.tasks})


def mean_losses(shown: Shown) -> pd.DataFrame:
    """Mean of the loss maps and of their sum, `SUM`; otherwise as `mean_errors`."""
    return _means(shown, lambda maps: _losses(shown, maps))


def _means(shown: Shown, of: Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]) -> pd.DataFrame:
    rows = [
        (method, epoch, task, float(np.nanmean(values)))
        for method, epochs in shown.predictions.items()
        for epoch, maps in sorted(epochs.items())
        for task, values in of(maps).items()
    ]
    return pd.DataFrame(rows, columns=["method", "epoch", "task", "error"])


# --- panels -------------------------------------------------------------------------------------------


def panel(shown: Shown, image: int) -> Figure:
    """Draw one test image: targets and the image itself, then the last estimates of each method, errors below them.

    Args:
        shown: What `load` gives.
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
            errors.append(heat(error_map(task, maps[task], shown.batch)[image], ERRORS[task][1]))
        rows += [estimates, errors]
    labels = []
    for task in shown.tasks:
        error, high = ERRORS[task]
        labels += [DISPLAYS[task].title, f"{error}\nto {high:g}"]
    return mosaic(rows, [name for name, _ in columns], labels)


def _input(shown: Shown, image: int, *, first: bool) -> np.ndarray:
    """The image itself in the first row of errors, whose place under the target is free; white elsewhere."""
    pixels: Tensor = shown.batch["image"][image]
    values = (255 * pixels.permute(1, 2, 0)).round().to(torch.uint8).numpy()
    return values if first else np.full_like(values, 255)


def slides(shown: Shown, network: str, count: int) -> dict[str, tuple[Figure, str]]:
    """Draw the first `count` images of `Shown.clear` for a slider: label to drawing and its alternative text."""
    *titles, last = (DISPLAYS[task].title for task in shown.tasks)
    listed = f"{', '.join(titles)} and {last}" if titles else last
    return {
        f"{i + 1}": (panel(shown, image), PANEL_ALT.format(f"{network}, image {i + 1}", listed))
        for i, image in enumerate(shown.clear[:count])
    }


def best(errors: pd.DataFrame) -> str:
    """Name the method with the least mean error over the shown images, task by task."""
    last = errors[errors["epoch"] == errors["epoch"].max()]
    least = last.loc[last.groupby("task", sort=False)["error"].idxmin()]
    parts = [
        f"{DISPLAYS[row['task']].title} {row['method']} ({ERRORS[row['task']][0]}: {number(row['error'])})"
        for _, row in least.iterrows()
    ]
    return f"Least mean error over the kept images: {'; '.join(parts)}."


# --- maps of the loss during training -----------------------------------------------------------------


def overall(losses: Mapping[str, np.ndarray]) -> np.ndarray:
    """Sum of the tasks' maps, the "overall error map"; NaN where one of them is unknown, as sums would not compare."""
    total: np.ndarray = np.sum(list(losses.values()), axis=0)
    return total


def _losses(shown: Shown, maps: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Loss maps `[B, H, W]` by task, and their sum."""
    losses = {task: loss_map(task, maps[task], shown.batch) for task in shown.tasks}
    return {**losses, SUM: overall(losses)}


def loss_maps(shown: Shown) -> Figure:
    """Draw the loss maps of each task and their sum, a row for every method and epoch.

    The image is the first one of `Shown.clear`. Each column has one scale, up to the 98 % quantile of its first map.

    Args:
        shown: What `load` gives.
    """
    image = shown.clear[0]
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


# --- drawing ------------------------------------------------------------------------------------------


def heat(values: np.ndarray, high: float) -> np.ndarray:
    """Colours of an error map, uint8 `[H, W, 3]`: black at 0, bright from `high` on, magenta where unknown."""
    palette = mpl.colormaps["magma"].with_extremes(bad=UNKNOWN)
    colours = palette(np.ma.masked_invalid(values / high).clip(0, 1), bytes=True)
    return np.asarray(colours[..., :3])


def mosaic(rows: Sequence[Sequence[np.ndarray]], columns: Sequence[str], labels: Sequence[str]) -> Figure:
    """Draw maps of one size as a grid, titles above the columns and beside the rows.

    Args:
        rows: uint8 `[H, W, 3]` each.
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


# --- exhibits -----------------------------------------------------------------------------------------


def panels_exhibit(shown: Shown, network: str) -> Exhibit:
    """Estimates and errors of every method side by side, a frame an image.

    Args:
        shown: What `load` gives.
        network: Name of the network.
    """
    title, errors = network.replace("_", " "), mean_errors(shown)
    return Exhibit(
        name=f"panels_{network}",
        table=errors,
        caption=f"Estimates, and errors below them, of every method in the {title} network. {best(errors)} (One seed, "
        "which illustrates; the tables of metrics have all.)",
        frames=slides(shown, title, 2),
        sliders=("image",),
        uses=("scale",),
        form="photograph",
    )
