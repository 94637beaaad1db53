"""Detection and dense tasks over one feature pyramid, for BDD100K: torchvision's FPN and FCOS, a panoptic-FPN head."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOSHead, FCOSRegressionHead
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelP6P7

from mtlrepro.models import encoders
from mtlrepro.models.base import WIDEST, MultiTaskModel
from mtlrepro.models.boxes import Detections
from mtlrepro.models.encoders import Weights
from mtlrepro.tasks import Task

DETECTION = "detection"
STRIDES = (8, 16, 32, 64, 128)


def detection(
    tasks: Sequence[Task],
    *,
    encoder: str = "resnet50",
    weights: Weights = "none",
    width: float = 1.0,
    channels: int = 256,
) -> MultiTaskModel:
    """Encoder and feature pyramid (P3-P5) for all tasks; an FCOS head for boxes, a dense head for every other task.

    MCLGS's poster names the tasks and not the network, so this is a choice: FCOS (Tian et al., ICCV 2019) and the
    semantic head of panoptic FPN (Kirillov et al., CVPR 2019), which are as simple as published heads get.

    Args:
        tasks: The task named `detection`, whose channels are its classes, and dense tasks; or only one kind.
        encoder: Name of an encoder with three stages of features, see `encoders.create`.
        weights: Start of the encoder.
        width: Multiplier of MobileNetV2's channels.
        channels: Channels of the pyramid and of the FCOS head, a multiple of 32 from 64 to 4096.

    Raises:
        ValueError: The encoder has one stage only, or `channels` is not accepted.
    """
    if encoder == "pnasnet5":
        accepted = [name for name in encoders.ENCODERS if name != encoder]
        raise ValueError(f"encoder is {encoder!r}; accepted by detection: {', '.join(accepted)}")
    if not 64 <= channels <= WIDEST or channels % 32:  # 32 groups, and more than one value in each
        raise ValueError(f"channels is {channels}; accepted: multiples of 32 from 64 to {WIDEST}")
    front = encoders.create(encoder, weights=weights, width=width)
    heads = [
        FCOSPrediction(channels, task.channels)
        if task.name == DETECTION
        else DensePrediction(channels, channels // 2, task.channels)
        for task in tasks
    ]
    return MultiTaskModel(tasks, Pyramid(front, channels), heads, weights_source=front.weights_source)


class Pyramid(nn.Module):
    """An encoder and a feature pyramid network on its last three stages (Lin et al., CVPR 2017).

    Args:
        encoder: With three stages of features.
        channels: Channels of every level.
    """

    def __init__(self, encoder: encoders.Encoder, channels: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.fpn = FeaturePyramidNetwork(list(encoder.channels), channels)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map images `[B, 3, H, W]` to P3, P4, P5: `[B, channels, H / s, W / s]`, s = 8, 16, 32, rounded up."""
        stages = self.encoder.pyramid(images)
        levels: OrderedDict[str, Tensor] = self.fpn(OrderedDict((str(i), x) for i, x in enumerate(stages)))
        return list(levels.values())


class FCOSPrediction(nn.Module):
    """Boxes from P3-P5 and two coarser levels, P6 and P7, that only this head uses.

    A location lies at the upper left corner of its cell, as in torchvision (half a stride off from the paper's).

    Args:
        channels: Channels of the pyramid.
        classes: Number of classes.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.coarser = LastLevelP6P7(channels, channels)
        self.head = FCOSHead(channels, num_anchors=1, num_classes=classes)
        self.head.regression_head = _PositiveDistances(channels, num_anchors=1)
        self.anchors = AnchorGenerator(tuple((stride,) for stride in STRIDES), ((1.0,),) * len(STRIDES))

    def forward(self, *levels: Tensor) -> Detections:
        """Map P3, P4, P5 to raw detections in single precision."""
        features, _ = self.coarser(list(levels), list(levels), [])
        outputs = self.head(features)
        logits, distances, centerness = (
            outputs[key].float() for key in ("cls_logits", "bbox_regression", "bbox_ctrness")
        )
        sizes = [list(feature.shape[-2:]) for feature in features]
        self.anchors.set_cell_anchors(torch.float32, logits.device)
        strides = [[torch.full((), stride, device=logits.device)] * 2 for stride in STRIDES]
        anchors = torch.cat(self.anchors.grid_anchors(sizes, strides))
        return Detections(logits, distances, centerness, anchors, tuple(height * width for height, width in sizes))


class _PositiveDistances(FCOSRegressionHead):  # type: ignore[misc]
    """Torchvision's regression head with the paper's exp in the place of ReLU (FCOS, ICCV 2019, Section 3.2).

    ReLU starts around 0 here, where it passes no gradient on one side: a side of the boxes that is 0 at all positive
    locations stays 0 for ever. exp has a gradient everywhere, and starts at distances of one stride. The paper's factor
    for each level inside it is left out, as distances are over the stride of the level.
    """

    def forward(self, x: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Map features `[B, C, H, W]` of all levels to distances `[B, A, 4]` and centerness `[B, A, 1]`."""
        features = [self.conv(level) for level in x]
        distances, centerness = (
            torch.cat([layer(level).flatten(2).transpose(1, 2) for level in features], 1)
            for layer in (self.bbox_reg, self.bbox_ctrness)
        )
        return distances.float().exp(), centerness


class DensePrediction(nn.Module):
    """Semantic head of panoptic FPN: every level brought to the finest, summed, one 1x1 convolution.

    A level of 2^n times the finest stride passes n times a 3x3 convolution, group normalisation, ReLU and bilinear
    upsampling; the finest level one convolution.

    Args:
        channels: Channels of the pyramid.
        width: Channels of the sum.
        out_channels: Channels of the prediction.
    """

    def __init__(self, channels: int, width: int, out_channels: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(_Climb(channels, width, n) for n in range(3))
        self.last = nn.Conv2d(width, out_channels, 1)

    def forward(self, *levels: Tensor) -> Tensor:
        """Map P3, P4, P5 to `[B, out_channels, H / 8, W / 8]`."""
        sizes = [level.shape[-2:] for level in levels]
        climbed = [climb(x, sizes[:n]) for n, (climb, x) in enumerate(zip(self.levels, levels, strict=True))]
        prediction: Tensor = self.last(climbed[0] + climbed[1] + climbed[2])
        return prediction


class _Climb(nn.Module):
    """From a level to one n times finer."""

    def __init__(self, channels: int, width: int, n: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_block(width if step else channels, width) for step in range(max(1, n)))

    def forward(self, x: Tensor, sizes: Sequence[torch.Size]) -> Tensor:
        """Map `x` to the first of the sizes of all finer levels, step by step."""
        for block, size in zip(self.blocks, [*reversed(sizes)] or [x.shape[-2:]], strict=True):
            x = block(x)
            if x.shape[-2:] != size:
                x = F.interpolate(x, size, mode="bilinear")
        return x


def _block(in_channels: int, out_channels: int) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(16, out_channels), nn.ReLU(inplace=True))
