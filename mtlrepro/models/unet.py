"""A small U-Net that learns a few thousand small images within minutes on one CPU thread."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from mtlrepro.models.base import MultiTaskModel
from mtlrepro.tasks import Task

WIDTHS = (16, 40, 80, 128)


def small_unet(tasks: Sequence[Task]) -> MultiTaskModel:
    """One U-Net, and for each task a 1x1 convolution at half the resolution of the images; starts at random.

    Args:
        tasks: Dense tasks.
    """
    return MultiTaskModel(tasks, UNet(), [nn.Conv2d(WIDTHS[0], task.channels, 1) for task in tasks])


class UNet(nn.Module):
    """U-Net of four levels, from 1/2 to 1/16 of the resolution."""

    def __init__(self) -> None:
        super().__init__()
        pairs = list(pairwise(WIDTHS))
        self.first = nn.Sequential(_block(3, WIDTHS[0], 2), _block(WIDTHS[0], WIDTHS[0]))
        self.down = nn.ModuleList(nn.Sequential(_block(a, b, 2), _block(b, b)) for a, b in pairs)
        self.up = nn.ModuleList(_block(a + b, a) for a, b in reversed(pairs))

    def forward(self, images: Tensor) -> Tensor:
        """Map images `[B, 3, H, W]` to features `[B, 16, H/2, W/2]`, sizes rounded up."""
        features: Tensor = self.first(images - 0.5)
        skips = []
        for down in self.down:
            skips.append(features)
            features = down(features)
        for up in self.up:
            skip = skips.pop()
            features = up(torch.cat([interpolate(features, skip.shape[-2:]), skip], 1))
        return features


def _block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )
