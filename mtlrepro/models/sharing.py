"""The three sharing architectures of loss scale balancing (Lee, Lee and Kim, ICCV 2021, supplement, Section 1)."""

from collections import OrderedDict
from collections.abc import Sequence
from functools import reduce
from itertools import pairwise
from typing import Literal, Unpack

import torch
from torch import Tensor, nn

from mtlrepro.models import encoders
from mtlrepro.models.base import MultiTaskModel, check_widths
from mtlrepro.models.encoders import Encoder, EncoderOptions
from mtlrepro.tasks import Task

WIDTHS = (1024, 512, 256, 128, 64, 32)
Stitch = Literal["identity", "uniform"]


def full_sharing(
    tasks: Sequence[Task],
    *,
    decoder_widths: Sequence[int] = WIDTHS,
    **encoder: Unpack[EncoderOptions],
) -> MultiTaskModel:
    """One encoder and one decoder, with as many output channels as all tasks have together (NYUv2: 17).

    The rows of the decoder's last convolution are the heads: they start as one convolution and are stored per task.

    Args:
        tasks: Dense tasks.
        decoder_widths: Channels of the decoder, see `decoder_trunk`; as many upsamplings as undo the output stride,
            6 widths for 32, 5 for 16, 4 for 8.
        **encoder: Arguments of `encoders.create`; MobileNetV2 by default.

    Raises:
        ValueError: The decoder does not undo the output stride or has a width below 1 or above 4096, or an argument of
            the encoder is not accepted.
    """
    front = _encoder(encoder, decoder_widths)
    trunk = decoder_trunk(front.channels[-1], decoder_widths)
    joint = _convolution(decoder_widths[-1], sum(task.channels for task in tasks))
    sizes = [task.channels for task in tasks]
    heads = []
    for rows in torch.split(joint.weight.detach(), sizes):
        head = nn.Conv2d(joint.in_channels, len(rows), 3, padding=1)
        head.weight = nn.Parameter(rows.clone())
        nn.init.zeros_(head.bias)  # type: ignore[arg-type]
        heads.append(head)
    shared = nn.Sequential(OrderedDict(encoder=front, decoder=trunk))
    return MultiTaskModel(tasks, shared, heads, views=front.views, weights_source=front.weights_source)


def multi_decoder(
    tasks: Sequence[Task],
    *,
    decoder_widths: Sequence[int] = WIDTHS,
    **encoder: Unpack[EncoderOptions],
) -> MultiTaskModel:
    """One encoder, and a decoder for each task; arguments as for `full_sharing`."""
    front = _encoder(encoder, decoder_widths)
    heads = [decoder(front.channels[-1], task.channels, decoder_widths) for task in tasks]
    shared = nn.Sequential(OrderedDict(encoder=front))
    return MultiTaskModel(tasks, shared, heads, views=front.views, weights_source=front.weights_source)


def multi_column(
    tasks: Sequence[Task],
    *,
    decoder_widths: Sequence[int] = WIDTHS,
    stitch: Stitch = "identity",
    **encoder: Unpack[EncoderOptions],
) -> MultiTaskModel:
    """An encoder and a decoder for each task, and a cross-stitch unit between them.

    Every loss reaches every encoder, so all of them are shared; a row of the cross-stitch matrix belongs to its task.

    Args:
        tasks: Dense tasks.
        decoder_widths: As for `full_sharing`, of every decoder.
        stitch: Start of the cross-stitch unit, see `cross_stitch`.
        **encoder: As for `full_sharing`, of every encoder.
    """
    fronts = [_encoder(encoder, decoder_widths) for _ in tasks]
    matrix = cross_stitch(len(tasks), stitch)
    channels = fronts[0].channels[-1]
    heads = [
        Column(row, decoder(channels, task.channels, decoder_widths)) for row, task in zip(matrix, tasks, strict=True)
    ]
    names = [task.name for task in tasks]
    shared = Columns(OrderedDict(zip(names, fronts, strict=True)))
    return MultiTaskModel(tasks, shared, heads, views=fronts[0].views, weights_source=fronts[0].weights_source)


class Columns(nn.Sequential):
    """Modules beside one another: one input, the list of their outputs."""

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map images to the features of every column, in order."""
        return [column(images) for column in self]


class Column(nn.Module):
    """One row of the cross-stitch unit, x_i^in = sum_j a_ij x_j^out (Eq. 1), and the decoder behind it.

    Args:
        row: `[K]`, the start of a_i1 .. a_iK.
        decoder: Maps x_i^in to the prediction.
    """

    def __init__(self, row: Tensor, decoder: nn.Module) -> None:
        super().__init__()
        self.stitch = nn.Parameter(row.clone())
        self.decoder = decoder

    def forward(self, *features: Tensor) -> Tensor:
        """Map the features of all K encoders, `[B, C, h, w]` each, to the prediction."""
        mixed = reduce(torch.add, (a * x for a, x in zip(self.stitch, features, strict=True)))
        prediction: Tensor = self.decoder(mixed)
        return prediction


def cross_stitch(n_tasks: int, start: Stitch = "identity") -> Tensor:
    """Return the initial cross-stitch matrix (Misra et al., CVPR 2016; the values are LSB's).

    Args:
        n_tasks: Number of tasks K.
        start: `identity` has 0.9 on the diagonal and shares 0.1 among the rest (K = 3: 0.05, as on NYUv2; K = 1 has
            nothing to share and is 1). `uniform` is 1/K (1/4 and 1/8 on Taskonomy).

    Returns:
        `[K, K]`; every row sums to 1.

    Raises:
        ValueError: `start` is unknown.
    """
    if start not in ("identity", "uniform"):
        raise ValueError(f"stitch is {start!r}; accepted: 'identity', 'uniform'")
    if start == "uniform" or n_tasks == 1:
        return torch.full((n_tasks, n_tasks), 1 / n_tasks)
    other = 0.1 / (n_tasks - 1)
    return torch.full((n_tasks, n_tasks), other) + (0.9 - other) * torch.eye(n_tasks)


def decoder(in_channels: int, out_channels: int, widths: Sequence[int] = WIDTHS) -> nn.Sequential:
    """Make a decoder: `decoder_trunk` and a last convolution to `out_channels`, twelve convolutions by default."""
    return nn.Sequential(*decoder_trunk(in_channels, widths), _convolution(widths[-1], out_channels))


def decoder_trunk(in_channels: int, widths: Sequence[int] = WIDTHS) -> nn.Sequential:
    """Make a decoder up to its last convolution: 3x3 convolutions with ReLU, and bilinear upsampling by 2.

    One convolution to `widths[0]`, then for every further width an upsampling and two convolutions. The supplement
    gives the numbers of layers (twelve 3x3 convolutions, five upsamplings), ReLU and Xavier's initialisation. Its
    figure with the widths is lost; the default is the closest layout known. It is ours that Xavier's is the uniform
    one, biases start at 0, ReLU follows every convolution but the last, and corners are not aligned in upsampling.

    Args:
        in_channels: Channels of the features.
        widths: Channels of the first convolution and after each upsampling.

    Returns:
        Module from `[B, in_channels, h, w]` to `[B, widths[-1], h 2^n, w 2^n]`, n = len(widths) - 1.
    """
    layers: list[nn.Module] = [_convolution(in_channels, widths[0]), nn.ReLU(inplace=True)]
    for before, after in pairwise(widths):
        layers.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
        for channels in (before, after):
            layers += [_convolution(channels, after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _encoder(options: EncoderOptions, decoder_widths: Sequence[int]) -> Encoder:
    """Make the encoder, if the decoder's upsamplings undo its stride."""
    check_widths("decoder_widths", decoder_widths)
    output_stride = options.get("output_stride", 32)
    if 2 ** (len(decoder_widths) - 1) != output_stride:
        raise ValueError(
            f"decoder_widths has {len(decoder_widths)} widths and output_stride is {output_stride!r}; "
            "accepted: 6 widths with output_stride 32, 5 with 16, 4 with 8"
        )
    chosen: EncoderOptions = {"encoder": "mobilenet_v2", **options}
    return encoders.create(**chosen)


def _convolution(in_channels: int, out_channels: int) -> nn.Conv2d:
    convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1)
    nn.init.xavier_uniform_(convolution.weight)
    nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
    return convolution
