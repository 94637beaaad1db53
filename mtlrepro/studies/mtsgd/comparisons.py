"""Stored comparisons of the gradients of segmentation and disparity: read, pooled, by part of the network, shown."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies.setting import Setting
from mtlrepro.training import gradients
from mtlrepro.training.config import RunConfig
from mtlrepro.training.slices import Slices

TASKS = ("segmentation", "disparity")
"""The two tasks on one batch, the pair that training sees."""
APART = ("segmentation/1", "disparity/2")
"""The two tasks on different halves of a batch."""
ALONE = {task: (f"{task}/1", f"{task}/2") for task in TASKS}
"""One task on both halves: they differ in nothing but their images."""
KERNELS = "all kernels"
"""Every convolution of the shared network."""

Epochs = dict[int, Slices]
"""Number of epochs of one run to the comparison after them."""


def read(setting: Setting, configs: Iterable[RunConfig]) -> list[Epochs]:
    """Read the comparisons of some stored runs, one entry a run.

    Args:
        setting: Whose store holds them.
        configs: Runs whose `gradients` are compared.

    Raises:
        FileNotFoundError: A run's comparison is not stored.
        ValueError: A file is damaged.
    """
    stored = (gradients.read(setting.store.folder, run.hash) for run in configs)
    return [{epoch: found.slices for epoch, found in one.items()} for one in stored]


def pooled(parts: Sequence[Slices]) -> Slices:
    """Add up the counts and sums of several comparisons of one network.

    Args:
        parts: One or more, of runs or of epochs.
    """
    added = ("batches", "ratios", "kept", "balanced", "plain")
    return replace(parts[0], **{name: np.sum([getattr(one, name) for one in parts], axis=0) for name in added})


def groups(slices: Slices) -> dict[str, np.ndarray]:
    """Find the convolutions of each part of the network.

    Args:
        slices: Of the network of MTSGD, whose encoder is a ResNet.

    Returns:
        `KERNELS`, `stem`, `stage 1`, ... and `pooling` to a mask [L] of their layers, in the order of the network.
    """
    kernels = np.char.find(slices.kinds, "x") >= 0
    kernels &= slices.kinds != "matrix"
    parts = np.array([_part(name) for name in slices.layers.tolist()])
    found = {KERNELS: kernels}
    found |= {part: kernels & (parts == part) for part in dict.fromkeys(parts[kernels].tolist())}
    return found


def _part(layer: str) -> str:
    """Part of the network that a parameter belongs to, by its name."""
    found = re.match(r"shared\.encoder\.stages\.(\d+)\.(\w+)", layer)
    if found is None:
        return layer.removeprefix("shared.").partition(".")[0]
    stage, module = found.groups()
    # The first part of the encoder is its stem, modules 0 to 3, and behind it its first stage.
    return "stem" if stage == "0" and module in "0123" else f"stage {int(stage) + 1}"


def after(epoch: int) -> str:
    """What sliders and curves call the state of a network after an epoch."""
    return f"epoch {epoch}"


def last_by_channel(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the last epoch at the level of channels, the article's own, of which captions speak.

    Args:
        table: With `epoch` and `level`.
    """
    rows: pd.DataFrame = table[(table["epoch"] == table["epoch"].max()) & (table["level"] == "channel")]
    return rows


def exhibit_by_epoch(name: str, table: pd.DataFrame, caption: str, frames: Mapping[int, tuple[Figure, str]]) -> Exhibit:
    """Exhibit with a picture for each epoch after which gradients are compared; it starts at the last.

    Args:
        name: Of the table.
        table: Every number that is drawn.
        caption: The finding.
        frames: Epoch, in rising order, to its picture and the alternative text.
    """
    return Exhibit(
        name=name,
        table=table,
        caption=caption,
        frames={after(epoch): frame for epoch, frame in frames.items()},
        sliders=("after",),
        start=after(max(frames)),
        uses=("scale", "comparison_seeds"),
        form="drawing",
        rtol=1e-3,
    )
