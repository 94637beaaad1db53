"""Metrics of dense predictions and of boxes, pooled over all known pixels of a set.

A metric adds up sums and counts on the device, in float64 and int64, and reads them once at the end: the result does
not depend on the size of the test batches, and nothing waits for the device in between. Shares and mIoU are in per
cent. Where nothing is known a value is NaN; a class that occurs neither in targets nor in predictions is left out.
`lsb_loss` is pooled as well: it weights pixels alike, where the loss that it takes from LSB weights images alike.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from mtlrepro.losses import IGNORE, Batch, known, log_ratio


class Metric(ABC):
    """Metrics of one task.

    Attributes:
        higher_is_better: Names of the metrics, each with its better direction.
    """

    higher_is_better: ClassVar[Mapping[str, bool]]

    @abstractmethod
    def update(self, prediction: Any, batch: Batch) -> None:  # noqa: ANN401
        """Add a batch: what the network predicts, and the samples (see `targets`)."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """Metrics of all that was added, one value for each name of `higher_is_better`."""

    def per_class(self) -> dict[str, float]:
        """Values of single classes, for tasks that have them; higher is better."""
        return {}


class Sums(Metric):
    """Metrics that follow from sums over pixels."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def update(self, prediction: Tensor, batch: Batch) -> None:
        """Add a batch; see the class for the prediction."""
        with torch.no_grad():
            for name, value in self.measure(prediction, batch).items():
                self._sums[name] = self._sums[name] + value if name in self._sums else value

    def compute(self) -> dict[str, float]:
        """Metrics of all that was added.

        Raises:
            ValueError: Nothing was added.
        """
        return self.combine(self._read())

    def _read(self) -> dict[str, Tensor]:
        """Sums on the CPU."""
        if not self._sums:
            raise ValueError("compute was called before update; accepted: after one or more batches")
        return {name: value.cpu() for name, value in self._sums.items()}

    @abstractmethod
    def measure(self, prediction: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Sums over a batch, float64 or int64, on its device."""

    @abstractmethod
    def combine(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """Metrics from the sums over a set."""


class Segmentation(Sums):
    """Classes: mIoU and pixel accuracy, pooled and per image, and LSB's loss.

    - `miou`: mean over classes of true positives / (true + false positives + false negatives), from one confusion
      matrix. MTSGD's Eq. 9 prints it otherwise; this is what the name means.
    - `pixel_accuracy`: share of known pixels with the right class.
    - `miou_per_image`, `pixel_accuracy_per_image`: the same for each image, averaged over images with known
      pixels, as in the benchmark's code before November 2020. (Its first version also counted, in the unions,
      predictions on unknown pixels.)
    - `lsb_loss`: mean cross-entropy, LSB Eq. 7.

    `per_class` has `iou_0` to `iou_C-1`, each class's true positives / (true + false positives + false negatives) by
    the same confusion matrix, in per cent, NaN for a class that occurs neither as true nor as predicted class; `miou`
    is the mean of the others. Names of classes stand in `data.classes`.

    Predictions are logits `[B, C, H, W]`; the key is `segmentation`.

    Args:
        n_classes: Number of classes C.
    """

    higher_is_better: ClassVar = {
        "miou": True,
        "pixel_accuracy": True,
        "miou_per_image": True,
        "pixel_accuracy_per_image": True,
        "lsb_loss": False,
    }

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.n_classes = n_classes

    def measure(self, prediction: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Confusion matrix, per-image sums and cross-entropy of a batch."""
        classes: Tensor = batch["segmentation"]
        counts = confusion(prediction.argmax(1), classes, self.n_classes)
        counted = counts.sum((1, 2)) > 0
        loss = F.cross_entropy(prediction, classes, ignore_index=IGNORE, reduction="none")
        return {
            "confusion": counts.sum(0),
            "images": counted.sum(),
            "miou": torch.where(counted, mean_iou(counts), 0).sum(),
            "accuracy": torch.where(counted, accuracy(counts), 0).sum(),
            "loss": loss.sum(dtype=torch.float64),
        }

    def combine(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """Metrics from the sums over a set."""
        counts = sums["confusion"]
        return {
            "miou": float(mean_iou(counts)),
            "pixel_accuracy": float(accuracy(counts)),
            "miou_per_image": float(sums["miou"] / sums["images"]),
            "pixel_accuracy_per_image": float(sums["accuracy"] / sums["images"]),
            "lsb_loss": float(sums["loss"] / counts.sum()),
        }

    def per_class(self) -> dict[str, float]:
        """IoU of each class over all that was added.

        Raises:
            ValueError: Nothing was added.
        """
        hits, union = _hits_and_unions(self._read()["confusion"])
        return {f"iou_{k}": 100 * value for k, value in enumerate((hits / union).tolist())}


def confusion(predicted: Tensor, classes: Tensor, n_classes: int) -> Tensor:
    """Count pixels by true class (rows) and predicted class, image by image.

    Args:
        predicted: `[B, H, W]` int64, classes from 0.
        classes: `[B, H, W]` int64, true classes; -1 is left out.
        n_classes: Number of classes C.

    Returns:
        `[B, C, C]` int64.
    """
    cells = n_classes**2
    pairs = torch.where(classes == IGNORE, cells, classes * n_classes + predicted).flatten(1)
    counts = torch.zeros(len(pairs), cells + 1, dtype=torch.int64, device=pairs.device)
    counts.scatter_add_(1, pairs, torch.ones_like(pairs))
    return counts[:, :cells].view(-1, n_classes, n_classes)


def mean_iou(counts: Tensor) -> Tensor:
    """Mean IoU in per cent from confusion matrices `[..., C, C]`: `[...]` float64, NaN for empty ones.

    Classes that occur neither as true nor as predicted class are left out.
    """
    hits, union = _hits_and_unions(counts)
    return 100 * (hits / union.clamp(min=1)).sum(-1) / (union > 0).sum(-1)


def _hits_and_unions(counts: Tensor) -> tuple[Tensor, Tensor]:
    """True positives, and those with false positives and negatives, of each class: `[..., C]` float64."""
    hits = counts.diagonal(dim1=-2, dim2=-1).double()
    return hits, counts.sum(-1) + counts.sum(-2) - hits


def accuracy(counts: Tensor) -> Tensor:
    """Pixel accuracy in per cent from confusion matrices `[..., C, C]`: `[...]` float64, NaN for empty ones."""
    return 100 * counts.diagonal(dim1=-2, dim2=-1).sum(-1).double() / counts.sum((-2, -1))


class Depth(Sums):
    """Depth: shares of close ratios, absolute, relative and logarithmic errors.

    - `delta1` to `delta3`: share with max(D^ / D, D / D^) < 1.25^i, in per cent.
    - `rmse`, `abs_err`: root of the mean square and mean of |D^ - D|, metres.
    - `rel_err`: mean of |D^ - D| / D.
    - `lsb_loss`: mean of |log D^ - log D|, LSB Eq. 2 without regularisers.

    Predictions are `[B, 1, H, W]` in metres; the key is `depth`, 0 where unknown. Estimates of 0 or less miss
    every delta.

    Args:
        low: Smallest depth of the data set, metres; in the logarithm estimates are at least `low / 10`.
    """

    higher_is_better: ClassVar = {
        **dict.fromkeys(("delta1", "delta2", "delta3"), True),
        **dict.fromkeys(("rmse", "abs_err", "rel_err", "lsb_loss"), False),
    }

    def __init__(self, low: float) -> None:
        super().__init__()
        self.low = low

    def measure(self, prediction: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Sums of errors over a batch."""
        depth: Tensor = batch["depth"]
        mask = known(batch, "depth")
        error = (prediction - depth).abs()
        inverse = torch.where(mask, 1 / depth, 0)
        ratio = prediction.clamp(min=torch.finfo(prediction.dtype).tiny) * inverse
        worst = torch.maximum(ratio, 1 / ratio)
        return {
            "count": mask.sum(),
            "abs_err": _total(error, mask),
            "rel_err": _total(error * inverse, mask),
            "square": _total(error.square(), mask),
            "lsb_loss": _total(log_ratio(prediction, depth, mask, self.low).abs(), mask),
            **{f"delta{i}": ((worst < 1.25**i) & mask).sum() for i in (1, 2, 3)},
        }

    def combine(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """Metrics from the sums over a set."""
        means = {name: float(value / sums["count"].double()) for name, value in sums.items()}
        deltas = {f"delta{i}": 100 * means[f"delta{i}"] for i in (1, 2, 3)}
        return deltas | {"rmse": means["square"] ** 0.5} | {k: means[k] for k in ("abs_err", "rel_err", "lsb_loss")}


class Normal(Sums):
    """Normals: angles between n^ and n.

    - `mean_angle`, `median_angle`: degrees.
    - `within_11.25`, `within_22.5`, `within_30`: share of smaller angles, in per cent.
    - `lsb_loss`: 1 - mean n . n^ with n^ as it is, LSB Eq. 5 without its regulariser.

    Predictions are `[B, 3, H, W]`; angles do not depend on their lengths, and are 90 degrees for n^ = 0. The key is
    `normal`, zero where unknown. The median is read off a histogram and is right to 0.005 degrees; angles that are
    NaN count there as 180 degrees.
    """

    higher_is_better: ClassVar = {
        "mean_angle": False,
        "median_angle": False,
        **{f"within_{angle:g}": True for angle in (11.25, 22.5, 30)},
        "lsb_loss": False,
    }
    bins = 18000

    def measure(self, prediction: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Sums and histogram of angles over a batch."""
        normal: Tensor = batch["normal"]
        mask = known(batch, "normal")
        product = (prediction * normal).sum(1, keepdim=True)
        cross = torch.linalg.vector_norm(torch.linalg.cross(prediction, normal, dim=1), dim=1, keepdim=True)
        angle = torch.where((product == 0) & (cross == 0), 90.0, torch.rad2deg(torch.atan2(cross, product)))
        cells = (angle.nan_to_num(180) * (self.bins / 180)).long().clamp(max=self.bins - 1)
        histogram = torch.zeros(self.bins + 1, dtype=torch.int64, device=angle.device)
        where = torch.where(mask, cells, self.bins).flatten()
        return {
            "histogram": histogram.scatter_add_(0, where, torch.ones_like(where)),
            "mean_angle": _total(angle, mask),
            "lsb_loss": _total(1 - product, mask),
            **{f"within_{t:g}": ((angle < t) & mask).sum() for t in (11.25, 22.5, 30)},
        }

    def combine(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """Metrics from the sums over a set."""
        histogram = sums["histogram"][: self.bins]
        count = histogram.sum().double()
        values = {name: float(value / count) for name, value in sums.items() if name != "histogram"}
        shares = {name: 100 * value for name, value in values.items() if name.startswith("within")}
        values |= shares | {"median_angle": self._median(histogram)}
        return {name: values[name] for name in self.higher_is_better}

    def _median(self, histogram: Tensor) -> float:
        """Middle of the two middle values, each taken to lie in the middle of its bin."""
        count = int(histogram.sum())
        if not count:
            return float("nan")
        below = histogram.cumsum(0)
        middle = torch.stack([(below < rank).sum() for rank in ((count + 1) // 2, count // 2 + 1)])
        return float((middle + 0.5).mean() * 180 / self.bins)


class Disparity(Sums):
    """Disparity: `aepe`, mean |d^ - d| in pixels (MTSGD Eq. 10), and `rel_err`, mean |d^ - d| / d.

    `aepe` is the absolute error, and so also what the Cityscapes benchmark calls that, in the unit of its pack.
    Predictions are `[B, 1, H, W]`; the key is `disparity`, 0 where unknown.
    """

    higher_is_better: ClassVar = {"aepe": False, "rel_err": False}

    def measure(self, prediction: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Sums of errors over a batch."""
        disparity: Tensor = batch["disparity"]
        mask = known(batch, "disparity")
        error = (prediction - disparity).abs()
        relative = error / torch.where(mask, disparity, 1)
        return {"count": mask.sum(), "aepe": _total(error, mask), "rel_err": _total(relative, mask)}

    def combine(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """Metrics from the sums over a set."""
        return {name: float(sums[name] / sums["count"]) for name in ("aepe", "rel_err")}


class Map(Sums):
    """Curvature, reshading, edges, keypoints: the loss by which LSB evaluates them.

    `lsb_loss` is (1/n) |C^ - C|, summed over channels (LSB Eq. 9 without its regulariser), times the factor with
    which the paper displays it. Predictions are `[B, C, H, W]`.

    Args:
        key: Of the target.
        factor: Of the display: 10 for 2-D edges, 100 for 3-D edges and 2-D keypoints (LSB supplement, Section 2).
    """

    higher_is_better: ClassVar = {"lsb_loss": False}

    def __init__(self, key: str, factor: float) -> None:
        super().__init__()
        self.key, self.factor = key, factor

    def measure(self, prediction: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Sum of errors over a batch."""
        target: Tensor = batch[self.key]
        mask = known(batch, self.key)
        return {"count": mask.sum(), "error": _total((prediction - target).abs(), mask)}

    def combine(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """Metrics from the sums over a set."""
        return {"lsb_loss": self.factor * float(sums["error"] / sums["count"])}


class Detection(Metric):
    """Boxes: mean average precision by torchmetrics, with COCO's evaluation.

    `map` is the mean over classes and over the IoU thresholds 0.5, 0.55, ..., 0.95; `map50` and `map75` are at
    one threshold; all in per cent. Predictions are `Detections`; keys are `boxes`, `labels` and `labelled`.
    Boxes are kept on the host: finding them waits for the device at every batch.

    Args:
        score_threshold: Least score of a box; COCO's precision-recall curves want low ones.
    """

    higher_is_better: ClassVar = {"map": True, "map50": True, "map75": True}

    def __init__(self, score_threshold: float = 0.05) -> None:
        from torchmetrics.detection import MeanAveragePrecision

        self.score_threshold = score_threshold
        self._precision = MeanAveragePrecision(box_format="xyxy", backend="pycocotools")
        self._n_boxes = 0
        self._n_found = 0
        self._n_thin = 0

    def update(self, prediction: Any, batch: Batch) -> None:  # noqa: ANN401
        """Find the boxes of a batch and add those of images whose true boxes are known."""
        found = prediction.detect(score_threshold=self.score_threshold)
        for i, counts in enumerate(batch["labelled"]["boxes"].tolist()):
            if counts:
                boxes = {key: value.cpu() for key, value in found[i].items()}
                truth = {"boxes": batch["boxes"][i].cpu(), "labels": batch["labels"][i].cpu()}
                self._precision.update([boxes], [truth])
                self._n_boxes += len(truth["boxes"])
                x1, y1, x2, y2 = boxes["boxes"].unbind(1)
                self._n_found += len(x1)
                self._n_thin += int((torch.minimum(x2 - x1, y2 - y1) < 1).sum())

    def compute(self) -> dict[str, float]:
        """Metrics of all that was added; NaN if there was no true box.

        Warns if boxes were found and each is less than a pixel wide or high.
        """
        if 0 < self._n_found == self._n_thin:
            warnings.warn(
                "detection: every box that was found is less than a pixel wide or high; the distances to the "
                "sides have collapsed, and the metrics say nothing",
                stacklevel=2,
            )
        if not self._n_boxes:
            return dict.fromkeys(self.higher_is_better, float("nan"))
        result = self._precision.compute()
        return {"map": 100 * float(result["map"]), **{f"map{t}": 100 * float(result[f"map_{t}"]) for t in (50, 75)}}


def _total(values: Tensor, mask: Tensor) -> Tensor:
    """Sum over known pixels, in float64."""
    return torch.where(mask, values, 0).sum(dtype=torch.float64)
