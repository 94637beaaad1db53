"""What is predicted, how it is trained and scored, and how it is drawn: the table of all tasks.

Metrics with a + are better when higher. Equations are those of loss scale balancing's supplement. The losses stand in
`losses`, the metrics in `metrics`.

============  ========  ========================  =============  ==================================================
task          channels  loss: `lsb`               `benchmark`    metrics
============  ========  ========================  =============  ==================================================
segmentation  C         cross-entropy, Eqs. 7-8   cross-entropy  miou+, pixel_accuracy+, both also per image,
                                                                 lsb_loss
depth         1         abs. log ratio, Eqs. 2-4  abs. error     delta1..3+, rmse, abs_err, rel_err, lsb_loss
normal        3         1 - n . n^, Eqs. 5-6      1 - cosine     mean_angle, median_angle, within_11.25+,
                                                                 within_22.5+, within_30+, lsb_loss
disparity     1         abs. error                abs. error     aepe, rel_err
curvature     2         abs. error, Eqs. 9-10     none           lsb_loss
reshading     1         abs. error, Eqs. 9-10     none           lsb_loss
edges2d       1         abs. error, Eqs. 9-10     none           lsb_loss x 10
edges3d       1         abs. error, Eqs. 9-10     none           lsb_loss x 100
keypoints2d   1         abs. error, Eqs. 9-10     none           lsb_loss x 100
keypoints3d   1         abs. error, Eqs. 9-10     none           lsb_loss
detection     10        FCOS                      FCOS           map+, map50+, map75+
============  ========  ========================  =============  ==================================================
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mtlrepro import losses, metrics
from mtlrepro.losses import Batch, Terms, known
from mtlrepro.metrics import Metric
from mtlrepro.targets import TARGETS, Display

Protocol = Literal["lsb", "benchmark"]
"""Whose losses: those of loss scale balancing, or those of the public benchmark (MTAN, CAGrad and their successors)."""

DISPLAY_FACTORS = {"edges2d": 10.0, "edges3d": 100.0, "keypoints2d": 100.0}
"""By which LSB multiplies errors in its tables (supplement, Section 2)."""


@dataclass(frozen=True)
class Task:
    """One thing a network predicts.

    Attributes:
        name: Key of the task in predictions, and of its target.
        channels: Number of output channels of its head.
        loss: `(prediction, batch) -> Terms`; the batch holds the targets by key.
    """

    name: str
    channels: int
    loss: Callable[[Any, Batch], Terms]


@dataclass(frozen=True)
class ImageTask(Task):
    """A task on images of scenes.

    Attributes:
        metrics: Makes an empty accumulator of its metrics, which know their better direction.
        flip: Maps the prediction for an image to that for its mirror image. For disparity, whose mirror image has the
            views swapped, it maps the prediction for the other view.
        display: How its maps are drawn.
    """

    metrics: Callable[[], Metric]
    flip: Callable[[Any], Any]
    display: Display


MAPS = ("curvature", "reshading", "edges2d", "edges3d", "keypoints2d", "keypoints3d")
"""Tasks with the loss of LSB Eqs. 9 and 10."""
NAMES = ("segmentation", "depth", "normal", "disparity", *MAPS, "detection")


def target_of(name: str) -> str:
    """Key of the target of a task."""
    return "boxes" if name == "detection" else name


DISPLAYS = {name: TARGETS[target_of(name)].display for name in NAMES}


def create(
    names: Sequence[str],
    *,
    protocol: Protocol = "lsb",
    n_classes: int = 13,
    depth_range: tuple[float, float] = (0.5, 8.0),
) -> tuple[ImageTask, ...]:
    """Make tasks by name, in this order.

    Args:
        names: Of `NAMES`.
        protocol: Whose losses. The benchmark has segmentation, depth and normals; disparity and detection are the same
            in both.
        n_classes: Classes of `segmentation`: 13 for NYUv2 and rooms, 19 or 7 for Cityscapes and streets, 17 for
            Taskonomy. Boxes have 10, BDD100K's.
        depth_range: Smallest and largest depth of the data set in metres, for LSB's regularisers; see
            `data.catalogue`. Default: that of rooms.

    Raises:
        ValueError: A name or protocol is unknown or they do not go together, or a number is out of range.
    """
    if protocol not in ("lsb", "benchmark"):
        raise ValueError(f"protocol is {protocol!r}; accepted: 'lsb', 'benchmark'")
    if n_classes < 2:
        raise ValueError(f"n_classes is {n_classes}; accepted: 2 or more")
    low, high = depth_range
    if not 0 < low < high:
        raise ValueError(f"depth_range is {depth_range}; accepted: two numbers of metres, 0 < d_min < d_max")
    table = {task.name: task for task in _table(protocol == "lsb", n_classes, (low, high))}
    for name in names:
        if name not in table:
            raise ValueError(f"names has {name!r}; accepted with protocol {protocol!r}: {', '.join(table)}")
    return tuple(table[name] for name in names)


def _table(lsb: bool, n_classes: int, depth_range: tuple[float, float]) -> list[ImageTask]:
    of_depth = partial(losses.depth_loss, depth_range=depth_range)
    tasks = [
        _dense(
            "segmentation",
            losses.segmentation_loss if lsb else losses.cross_entropy,
            partial(metrics.Segmentation, n_classes),
            n_classes,
        ),
        _dense("depth", of_depth if lsb else losses.absolute_error, partial(metrics.Depth, depth_range[0])),
        _dense("normal", losses.normal_loss if lsb else losses.cosine_loss, metrics.Normal),
        _dense("disparity", losses.absolute_error, metrics.Disparity),
        ImageTask("detection", 10, _boxes_loss, metrics.Detection, _mirror_boxes, DISPLAYS["detection"]),
    ]
    if lsb:
        for name in MAPS:
            factor = DISPLAY_FACTORS.get(name, 1.0)
            tasks.append(_dense(name, losses.map_loss, partial(metrics.Map, name, factor)))
    return tasks


def _mirror(prediction: Tensor) -> Tensor:
    return prediction.flip(-1)


def _mirror_vectors(prediction: Tensor) -> Tensor:
    mirrored = prediction.flip(-1)
    return torch.cat([-mirrored[:, :1], mirrored[:, 1:]], 1)


def _mirror_boxes(prediction: Any) -> Any:  # noqa: ANN401
    return prediction.mirrored()


def _dense(
    name: str,
    loss: Callable[[Tensor, Tensor, Tensor], Terms],
    of: Callable[[], Metric],
    channels: int | None = None,
) -> ImageTask:
    """Make a task that predicts a map; it has the channels of its target unless they are given."""
    target = TARGETS[name]
    flip = _mirror_vectors if target.mirrored else _mirror
    return ImageTask(name, channels or target.shape[0], partial(_pixel_loss, name, loss), of, flip, target.display)


def _pixel_loss(name: str, loss: Callable[[Tensor, Tensor, Tensor], Terms], prediction: Tensor, batch: Batch) -> Terms:
    return loss(prediction, batch[name], known(batch, name))


def _boxes_loss(prediction: Any, batch: Batch) -> Terms:  # noqa: ANN401
    """FCOS's loss, in which every image with known boxes counts."""
    terms: Terms = prediction.loss(batch["boxes"], batch["labels"], batch["labelled"]["boxes"])
    return terms


def cross_entropy(prediction: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy per sample: logits `[B, C]` and classes `[B]` to `[B]`, in nats."""
    return F.cross_entropy(prediction, target, reduction="none")


def squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Squared error per sample: `[B, 1]` and `[B]` to `[B]`."""
    return (prediction.squeeze(-1) - target) ** 2


def _digit_loss(name: str, loss: Callable[[Tensor, Tensor], Tensor], prediction: Tensor, targets: Batch) -> Terms:
    values = loss(prediction, targets[name])
    return Terms(values, torch.ones_like(values))


TWO_DIGITS = (
    Task("left", 10, partial(_digit_loss, "left", cross_entropy)),
    Task("right", 10, partial(_digit_loss, "right", cross_entropy)),
    Task("sum", 1, partial(_digit_loss, "sum", squared_error)),
)
"""The tasks on images of two digits; targets are `[B]`.

:meta hide-value:
"""
