"""SegNet and SegNet-MTAN as in the public NYUv2 and Cityscapes benchmark (Liu, Johns and Davison, CVPR 2019)."""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlrepro.models.base import MultiTaskModel, check_widths
from mtlrepro.tasks import Task

WIDTHS = (64, 128, 256, 512, 512)


def segnet(tasks: Sequence[Task], *, widths: Sequence[int] = WIDTHS) -> MultiTaskModel:
    """One SegNet, and for each task a 3x3 and a 1x1 convolution: the benchmark's split and single-task networks.

    Starts at random (Xavier's normal initialisation); images are not normalised. Predictions are raw: the benchmark
    applies log-softmax and divides normals by their length inside its network.

    Args:
        tasks: Dense tasks.
        widths: Channels of the five levels, finest first.

    Raises:
        ValueError: `widths` is empty or has a number below 1 or above 4096.
    """
    model = MultiTaskModel(tasks, SegNet(widths), [_head(widths[0], task.channels) for task in tasks])
    _initialise(model)
    return model


def segnet_mtan(tasks: Sequence[Task], *, widths: Sequence[int] = WIDTHS) -> MultiTaskModel:
    """One SegNet, and for each task an attention network through all of its levels; otherwise as `segnet`.

    Masks and heads belong to the tasks. The convolutions between the levels of attention are one set that all tasks
    use, and count as shared, as in the public code of CAGrad.
    """
    return SegNetMTAN(tasks, widths)


class SegNet(nn.Module):
    """Encoder and decoder of five levels, with max-unpooling at the encoder's places (13 and 13 convolutions).

    Args:
        widths: Channels of the levels, finest first.
    """

    def __init__(self, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        check_widths("widths", widths)
        inputs = [3, *widths[:-1]]
        outputs = [widths[0], *widths[:-1]]
        self.down = nn.ModuleList()
        self.up = nn.ModuleList()
        for level, (before, width, after) in enumerate(zip(inputs, widths, outputs, strict=True)):
            more = 2 if level >= 2 else 1
            self.down.append(_Level(before, width, more))
            self.up.append(_Level(width, after, more))

    def forward(self, images: Tensor) -> Tensor:
        """Map images `[B, 3, H, W]` to features `[B, widths[0], H, W]`."""
        return self.levels(images)[-1]

    def levels(self, images: Tensor) -> list[Tensor]:
        """Return what attention looks at.

        Returns:
            For each level down, finest first, the outputs of its first convolution and of the rest; then for each
            level up, coarsest first, the unpooled input and the output.
        """
        seen: list[Tensor] = []
        places: list[tuple[Tensor, torch.Size]] = []
        x = images
        for level in self.down:
            entry, x = level(x)
            seen += [entry, x]
            size = x.shape[-2:]
            x, indices = F.max_pool2d(x, 2, return_indices=True)
            places.append((indices, size))
        for level, (indices, size) in zip(reversed(self.up), reversed(places), strict=True):
            entry = F.max_unpool2d(x, indices, (2, 2), output_size=list(size))
            _, x = level(entry)
            seen += [entry, x]
        return seen


class _Level(nn.Module):
    """One convolution, and one or two more; returns the outputs of the first and of the last."""

    def __init__(self, in_channels: int, out_channels: int, more: int) -> None:
        super().__init__()
        self.first = _block(in_channels, out_channels)
        self.rest = nn.Sequential(*(_block(out_channels, out_channels) for _ in range(more)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        entry = self.first(x)
        return entry, self.rest(entry)


class SegNetMTAN(MultiTaskModel):
    """See `segnet_mtan`.

    Args:
        tasks: Dense tasks.
        widths: Channels of the five levels.
    """

    def __init__(self, tasks: Sequence[Task], widths: Sequence[int] = WIDTHS) -> None:
        shared = _AttendedSegNet(widths)
        super().__init__(tasks, shared, [_Attention(widths, task.channels) for task in tasks])
        _initialise(self)

    def _representation(self, features: list[Tensor]) -> None:
        return None

    def _predict(self, name: str, features: list[Tensor]) -> Tensor:
        head, shared = cast(_Attention, self.heads[name]), cast(_AttendedSegNet, self.shared)
        down, up = features[: len(features) // 2], features[len(features) // 2 :]
        x: Tensor | None = None
        for mask, between, entry, out in zip(head.down, shared.attention_down, down[::2], down[1::2], strict=True):
            attended = mask(entry if x is None else torch.cat([entry, x], 1)) * out
            x = F.max_pool2d(between(attended), 2)
        assert x is not None
        masks, betweens = reversed(head.up), reversed(shared.attention_up)
        for mask, between, entry, out in zip(masks, betweens, up[::2], up[1::2], strict=True):
            x = F.interpolate(x, size=entry.shape[-2:], mode="bilinear", align_corners=True)
            x = mask(torch.cat([entry, between(x)], 1)) * out
        prediction: Tensor = head.head(x)
        return prediction


class _AttendedSegNet(SegNet):
    """SegNet with the convolutions that every task's attention passes between levels."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__(widths)
        after, before = [*widths[1:], widths[-1]], [widths[0], *widths[:-1]]
        self.attention_down = nn.ModuleList(_block(a, b) for a, b in zip(widths, after, strict=True))
        self.attention_up = nn.ModuleList(_block(a, b) for a, b in zip(widths, before, strict=True))

    def forward(self, images: Tensor) -> list[Tensor]:  # type: ignore[override]
        return self.levels(images)


class _Attention(nn.Module):
    """One task's masks at every level, and its head."""

    def __init__(self, widths: Sequence[int], channels: int) -> None:
        super().__init__()
        before = [widths[0], *widths[:-1]]
        self.down = nn.ModuleList(_mask(w if level == 0 else 2 * w, w) for level, w in enumerate(widths))
        self.up = nn.ModuleList(_mask(w + b, b) for w, b in zip(widths, before, strict=True))
        self.head = _head(widths[0], channels)


def _block(in_channels: int, out_channels: int) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


def _mask(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(out_channels, out_channels, 1),
        nn.BatchNorm2d(out_channels),
        nn.Sigmoid(),
    )


def _head(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_channels, in_channels, 3, padding=1), nn.Conv2d(in_channels, out_channels, 1))


def _initialise(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.xavier_normal_(module.weight)
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
