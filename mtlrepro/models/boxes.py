"""Detections as a head emits them, their FCOS loss and the boxes they stand for: torchvision's, as functions."""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models.detection.fcos import FCOS, FCOSHead


class Detections(NamedTuple):
    """Output of an FCOS head (Tian et al., ICCV 2019) at A locations over all levels of the pyramid.

    Attributes:
        logits: `[B, A, K]`, one for each class; background is where all are low.
        distances: `[B, A, 4]`, to the left, top, right and bottom side, over the stride of the level; not negative.
        centerness: `[B, A, 1]`, logits.
        anchors: `[A, 4]`, a square of one stride around each location, pixels.
        levels: Number of locations of each level, finest first.
        size: Height and width of the images.
    """

    logits: Tensor
    distances: Tensor
    centerness: Tensor
    anchors: Tensor
    levels: tuple[int, ...]
    size: tuple[int, int] = (0, 0)

    def loss(self, boxes: Sequence[Tensor], labels: Sequence[Tensor], detected: Tensor | None = None) -> Tensor:
        """Sum of FCOS's three terms: focal loss, generalised IoU, binary cross-entropy of the centerness.

        Each is a sum over the batch divided by its number of positive locations, at least 1. Reads the device:
        torchvision counts the positive locations on the host.

        Args:
            boxes: B tensors `[n, 4]`: x1, y1, x2, y2 in pixels.
            labels: B tensors `[n]`, classes from 0.
            detected: `[B]` bool, the images whose boxes are known; default: all.

        Returns:
            A scalar; zero, with zero gradient, if no image counts.
        """
        keep = range(len(boxes)) if detected is None else detected.nonzero()[:, 0].tolist()
        rows = torch.as_tensor(list(keep), dtype=torch.int64, device=self.logits.device)
        if not len(rows):
            return (self.logits.sum() + self.distances.sum() + self.centerness.sum()) * 0
        targets = [{"boxes": boxes[i], "labels": labels[i]} for i in keep]
        outputs = {key: value[rows] for key, value in self._outputs().items()}
        terms = _fcos().compute_loss(targets, outputs, [self.anchors] * len(rows), list(self.levels))
        total: Tensor = terms["classification"] + terms["bbox_regression"] + terms["bbox_ctrness"]
        return total

    @torch.no_grad()
    def detect(
        self, *, score_threshold: float = 0.2, nms_threshold: float = 0.6, limit: int = 100
    ) -> list[dict[str, Tensor]]:
        """Find the boxes; defaults are torchvision's.

        Args:
            score_threshold: Least score, the geometric mean of class probability and centerness.
            nms_threshold: Of two boxes of a class with a larger IoU only the better stays.
            limit: Most boxes in an image.

        Returns:
            For each image `boxes` `[n, 4]`, inside the image, `scores` `[n]`, falling, and `labels` `[n]`.
        """
        split = {key: list(torch.split(value, list(self.levels), 1)) for key, value in self._outputs().items()}
        anchors = [list(torch.split(self.anchors, list(self.levels)))] * len(self.logits)
        fcos = _fcos(score_threshold, nms_threshold, limit)
        found: list[dict[str, Tensor]] = fcos.postprocess_detections(split, anchors, [self.size] * len(self.logits))
        return found

    def mirrored(self) -> "Detections":
        """Detections of the mirror image: left and right change places."""
        width = self.size[1]
        x1, y1, x2, y2 = self.anchors.unbind(1)
        left, top, right, bottom = self.distances.unbind(2)
        return self._replace(
            anchors=torch.stack([width - x2, y1, width - x1, y2], 1),
            distances=torch.stack([right, top, left, bottom], 2),
        )

    def _outputs(self) -> dict[str, Tensor]:
        return {"cls_logits": self.logits, "bbox_regression": self.distances, "bbox_ctrness": self.centerness}


@cache
def _fcos(score_threshold: float = 0.2, nms_threshold: float = 0.6, limit: int = 100) -> FCOS:
    """Torchvision's FCOS without a network, for its methods that need none."""
    with torch.device("meta"):
        backbone = nn.Identity()
        backbone.out_channels = 1  # type: ignore[assignment]
        head = FCOSHead(1, num_anchors=1, num_classes=1, num_convs=0)
        return FCOS(
            backbone,
            num_classes=1,
            head=head,
            score_thresh=score_threshold,
            nms_thresh=nms_threshold,
            detections_per_img=limit,
        )
