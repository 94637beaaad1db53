"""The network of MTSGD: dilated ResNet-50, spatial pyramid pooling, heads of one convolution (Electronics 2022)."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlrepro.models import encoders
from mtlrepro.models.base import MultiTaskModel, check_widths
from mtlrepro.models.encoders import EncoderOptions
from mtlrepro.tasks import Task

BINS = (1, 2, 3, 6)
MOST_CELLS = 128
"""Most cells per side of a grid, as many as an output stride of 8 leaves of 1,024 pixels."""


def mtsgd(
    tasks: Sequence[Task],
    *,
    bins: Sequence[int] = BINS,
    **encoder: Unpack[EncoderOptions],
) -> MultiTaskModel:
    """Encoder with dilation and pooling for all tasks; each head is a 1x1 convolution and bilinear upsampling.

    The paper gives ResNet-50 with dilation, spatial pyramid pooling, ImageNet weights, both views joined to 6 channels
    and the heads. It does not give the output stride (8 is the usual one), the pyramid (that of PSPNet here), nor how
    a stem of 3 channels reads 6 (weights repeated and halved: equal views give the response to one).

    Args:
        tasks: Dense tasks.
        bins: Cells per side of each grid of the pyramid.
        **encoder: Arguments of `encoders.create`; ResNet-50 with two views and an output stride of 8 by default.

    Raises:
        ValueError: `bins` or an argument of the encoder is not accepted.
    """
    chosen: EncoderOptions = {"encoder": "resnet50", "views": 2, "output_stride": 8, **encoder}
    front = encoders.create(**chosen)
    pooling = SpatialPyramidPooling(front.channels[-1], bins)
    shared = nn.Sequential(OrderedDict(encoder=front, pooling=pooling))
    heads = [nn.Conv2d(pooling.out_channels, task.channels, 1) for task in tasks]
    return MultiTaskModel(tasks, shared, heads, views=front.views, weights_source=front.weights_source)


class SpatialPyramidPooling(nn.Module):
    """Features beside their means over grids of several sizes (Zhao et al., CVPR 2017, after He et al., ECCV 2014).

    Each grid's means pass a 1x1 convolution, batch normalisation and ReLU, and are brought back to the size of the
    features bilinearly. A grid of one cell needs two or more images in training.

    Args:
        in_channels: Channels C of the features.
        bins: Cells per side of each grid; C / len(bins) channels each, rounded down.
    """

    def __init__(self, in_channels: int, bins: Sequence[int] = BINS) -> None:
        super().__init__()
        check_widths("bins", bins, MOST_CELLS)
        if len(bins) > in_channels:
            raise ValueError(f"bins has {len(bins)} grids; accepted with {in_channels} channels: up to as many")
        width = in_channels // len(bins)
        self.out_channels = in_channels + width * len(bins)
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.AdaptiveAvgPool2d(cells),
                nn.Conv2d(in_channels, width, 1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            )
            for cells in bins
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map `[B, C, h, w]` to `[B, out_channels, h, w]`."""
        size = features.shape[-2:]
        pooled = [F.interpolate(branch(features), size, mode="bilinear") for branch in self.branches]
        return torch.cat([features, *pooled], 1)
