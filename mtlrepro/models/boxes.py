"""Detections as a head emits them, their FCOS loss by image, and the boxes that torchvision's FCOS finds in them."""

from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.fcos import FCOS, FCOSHead
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

from mtlrepro.losses import Terms


class Detections(NamedTuple):
    """Output of an FCOS head (Tian et al., ICCV 2019) at A locations over all levels of the pyramid.

    Attributes:
        logits: `[B, A, K]`, one for each class; background is where all are low.
        distances: `[B, A, 4]`, to the left, top, right and bottom side, over the stride of the level; above 0.
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

    def loss(self, boxes: Sequence[Tensor], labels: Sequence[Tensor], detected: Tensor | None = None) -> Terms:
        """FCOS's three terms: focal loss, generalised IoU, binary cross-entropy of the centerness.

        Their sum over a batch is divided by its number of positive locations, and by 1 where there is none. Reads the
        device: that number is the size of tensors. With several processes the parts of a batch have the whole batch's
        loss, unless one of them has no positive location and counts as one.

        Args:
            boxes: B tensors `[n, 4]`: x1, y1, x2, y2 in pixels.
            labels: B tensors `[n]`, classes from 0.
            detected: `[B]` bool, the images whose boxes are known; default: all.

        Returns:
            For each image the sum of the terms and its number of positive locations, both 0 where boxes are unknown. In
            a batch without positive locations all images with known boxes have equal weights, whose sum is 1.
        """
        targets = [{"boxes": b, "labels": k} for b, k in zip(boxes, labels, strict=True)]
        sums = _fcos().compute_loss(targets, self._outputs(), [self.anchors] * len(targets), list(self.levels))
        known = torch.ones_like(sums["positives"], dtype=torch.bool)
        if detected is not None:
            known = detected.to(known.device)
        positives = torch.where(known, sums["positives"], 0).to(self.logits.dtype)
        shares = known / known.sum().clamp(min=1)
        return Terms(
            torch.where(known, sums["values"], 0), torch.where(positives.sum() > 0, positives, shares.to(positives))
        )

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


class _LossByImage(FCOSHead):  # type: ignore[misc]
    """Torchvision's FCOS head, whose losses are summed for each image by itself."""

    def compute_loss(
        self,
        targets: list[dict[str, Tensor]],
        head_outputs: dict[str, Tensor],
        anchors: list[Tensor],
        matched_idxs: list[Tensor],
    ) -> dict[str, Tensor]:
        """Sum the three terms over the locations of each image, and count its positive ones.

        Args:
            targets: `boxes` and `labels` of B images.
            head_outputs: Of B images, see `Detections`.
            anchors: `[A, 4]`, B times.
            matched_idxs: B tensors `[A]`: which box of its image each location stands for, -1 for none.

        Returns:
            `values` and `positives`, `[B]`.
        """
        matched = torch.stack(matched_idxs)
        image, location = (matched >= 0).nonzero(as_tuple=True)
        counts = [len(target["boxes"]) for target in targets]
        first = torch.tensor([0, *accumulate(counts[:-1])], device=matched.device)  # box of each image among all
        index = first[image] + matched[image, location]
        boxes, labels = (torch.cat([target[key] for target in targets])[index] for key in ("boxes", "labels"))

        logits, anchor = head_outputs["cls_logits"], anchors[0][location]
        classes = torch.zeros_like(logits)
        classes[image, location, labels] = 1
        focal = sigmoid_focal_loss(logits, classes).sum((1, 2))
        overlap = generalized_box_iou_loss(
            self.box_coder.decode(head_outputs["bbox_regression"][image, location], anchor), boxes
        )
        left, top, right, bottom = self.box_coder.encode(anchor, boxes).unbind(1)
        across = torch.minimum(left, right) / torch.maximum(left, right)
        down = torch.minimum(top, bottom) / torch.maximum(top, bottom)
        centerness = F.binary_cross_entropy_with_logits(
            head_outputs["bbox_ctrness"][image, location, 0], (across * down).sqrt(), reduction="none"
        )
        return {"values": focal.index_add(0, image, overlap + centerness), "positives": (matched >= 0).sum(1)}


@cache
def _fcos(score_threshold: float = 0.2, nms_threshold: float = 0.6, limit: int = 100) -> FCOS:
    """Torchvision's FCOS without a network, for its methods that need none."""
    with torch.device("meta"):
        backbone = nn.Identity()
        backbone.out_channels = 1  # type: ignore[assignment]
        head = _LossByImage(1, num_anchors=1, num_classes=1, num_convs=0)
        return FCOS(
            backbone,
            num_classes=1,
            head=head,
            score_thresh=score_threshold,
            nms_thresh=nms_threshold,
            detections_per_img=limit,
        )
