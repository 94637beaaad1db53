"""Encoders from torchvision and timm: images to features, at a chosen output stride, from a stated start."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypedDict

import torch
from torch import Tensor, nn
from torchvision.models import mobilenet_v2, resnet18, resnet34, resnet50
from torchvision.models.resnet import Bottleneck

from mtlrepro.models.weights import CHECKPOINTS, load

Weights = Literal["none", "imagenet"]
ENCODERS = ("mobilenet_v2", "resnet14", "resnet18", "resnet34", "resnet50", "pnasnet5")
WIDENED = ("mobilenet_v2", "resnet14")
"""Encoders whose channels `width` multiplies."""
OutputStride = Literal[8, 16, 32]
WIDEST = 8
"""Largest multiplier of channels."""
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class EncoderOptions(TypedDict, total=False):
    """Arguments of `create`, which networks hand on from their own callers."""

    encoder: str
    weights: Weights
    width: float
    views: int
    output_stride: OutputStride
    dilate: bool


class Encoder(nn.Module):
    """A classification network without its classifier, behind the normalisation that it was trained with.

    Args:
        stages: Parts that follow one another; the last three end at strides 8, 16 and 32, before dilation.
        channels: Output channels of the last three stages; fewer where there are fewer stages.
        views: Images that are joined along the channels.
        normalisation: Mean and standard deviation of each colour.
        weights_source: Where the parameters come from.
    """

    def __init__(
        self,
        stages: Sequence[nn.Module],
        channels: Sequence[int],
        views: int,
        normalisation: tuple[Sequence[float], Sequence[float]] = IMAGENET,
        weights_source: str = "random",
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.channels = tuple(channels)
        self.views = views
        self.weights_source = weights_source
        self.mean: Tensor
        self.std: Tensor
        for key, values in zip(("mean", "std"), normalisation, strict=True):
            self.register_buffer(key, torch.tensor(values).repeat(views)[:, None, None], persistent=False)

    def cut(self, stages: int) -> None:
        """Leave out the last stages."""
        kept = len(self.channels) - stages
        self.stages = self.stages[: len(self.stages) - stages]
        self.channels = self.channels[:kept]

    def forward(self, images: Tensor) -> Tensor:
        """Map images `[B, 3 views, H, W]` in [0, 1] to `[B, channels[-1], H / stride, W / stride]`, rounded up."""
        return self.pyramid(images)[-1]

    def pyramid(self, images: Tensor) -> list[Tensor]:
        """Map images `[B, 3 views, H, W]` in [0, 1] to the outputs of the stages that `channels` lists."""
        outputs = [(images - self.mean) / self.std]
        for stage in self.stages:
            outputs.append(stage(outputs[-1]))
        return outputs[-len(self.channels) :]


def create(
    encoder: str,
    *,
    weights: Weights = "none",
    output_stride: OutputStride = 32,
    dilate: bool = True,
    width: float = 1.0,
    views: int = 1,
) -> Encoder:
    """Make an encoder.

    Args:
        encoder: `mobilenet_v2` (Sandler et al., CVPR 2018), `resnet18`, `resnet34`, `resnet50` (He et al., CVPR
            2016; stride in the 3x3 convolution), `resnet14`, which is ResNet-50 with one bottleneck in each stage in
            the place of 3, 4, 6 and 3, or `pnasnet5` (Liu et al., ECCV 2018), which needs timm.
        weights: `none` starts at random; `imagenet` reads the checkpoint from torchvision's cache.
        output_stride: Pixels per step of the last features.
        dilate: How it is kept. Strides beyond it become dilation, which keeps the parameters and the values: every
            second of the denser features is one of the others. Or, if False, the stages beyond it are left out, which
            costs less and gives fewer channels.
        width: Multiplier of all channels, for MobileNetV2 and ResNet-14; above 0, up to 8.
        views: Images, 1 or 2, that are joined along the channels. Each view gets the first convolution's weights
            divided by `views`: equal views give the response to one of them.

    Returns:
        The encoder; its `weights_source` says what it starts from.

    Raises:
        ValueError: An argument or a combination is not accepted.
        FileNotFoundError: The checkpoint is not in the cache; names the command that fetches it.
        ImportError: PNASNet-5 was asked for without timm.
    """
    if encoder not in ENCODERS:
        raise ValueError(f"encoder is {encoder!r}; accepted: {', '.join(ENCODERS)}")
    if weights not in ("none", "imagenet"):
        raise ValueError(f"weights is {weights!r}; accepted: 'none', 'imagenet'")
    if output_stride not in (8, 16, 32):
        raise ValueError(f"output_stride is {output_stride!r}; accepted: 8, 16, 32")
    if encoder not in WIDENED and width != 1:
        raise ValueError(f"width is {width!r}; accepted with {encoder}: 1")
    if not 0 < width <= WIDEST:
        raise ValueError(f"width is {width!r}; accepted: numbers above 0, up to {WIDEST}")
    if views not in (1, 2):
        raise ValueError(f"views is {views!r}; accepted: 1, 2")
    if weights == "imagenet":
        check_imagenet(encoder, width)
    if encoder == "pnasnet5":
        if output_stride != 32:
            raise ValueError(f"output_stride is {output_stride!r}; accepted with pnasnet5: 32")
        return _pnasnet5(weights, views)
    if encoder == "mobilenet_v2":
        made = _mobilenet_v2(weights, output_stride if dilate else 32, width, views)
    elif encoder == "resnet14":
        made = _resnet14(output_stride if dilate else 32, width, views)
    else:
        made = _resnet(encoder, weights, output_stride if dilate else 32, views)
    if not dilate:
        made.cut({8: 2, 16: 1, 32: 0}[output_stride])
    return made


def check_imagenet(encoder: str, width: float) -> None:
    """Refuse an encoder that has no ImageNet checkpoint.

    Raises:
        ValueError: There is none for the encoder, or none at this width.
    """
    if encoder not in CHECKPOINTS:
        raise ValueError(f"encoder is {encoder!r}; accepted with weights='imagenet': {', '.join(CHECKPOINTS)}")
    if width != 1:
        raise ValueError(f"width is {width!r}; accepted with weights='imagenet': 1")


def _mobilenet_v2(weights: Weights, output_stride: int, width: float, views: int) -> Encoder:
    network = mobilenet_v2(width_mult=width)
    source = _start(network, "mobilenet_v2", weights)
    features = network.features
    features[0][0] = widen(features[0][0], views)
    _dilate(features, 1, output_stride)
    stages = [features[:4], features[4:7], features[7:14], features[14:]]
    return Encoder(stages, [stage[-1].out_channels for stage in stages[1:]], views, weights_source=source)


def _resnet(name: str, weights: Weights, output_stride: int, views: int) -> Encoder:
    network = {"resnet18": resnet18, "resnet34": resnet34, "resnet50": resnet50}[name]()
    source = _start(network, name, weights)
    stem = nn.Sequential(widen(network.conv1, views), network.bn1, network.relu, network.maxpool, network.layer1)
    stages = [stem, network.layer2, network.layer3, network.layer4]
    _dilate(stages[1:], 4, output_stride)
    width = network.fc.in_features
    return Encoder(stages, [width // 4, width // 2, width], views, weights_source=source)


def _resnet14(output_stride: int, width: float, views: int) -> Encoder:
    planes = [max(1, round(64 * width)) * 2**stage for stage in range(4)]
    channels = [planes[0], *(Bottleneck.expansion * n for n in planes)]  # of the stem, then of the four stages
    stem = nn.Conv2d(3, channels[0], 7, stride=2, padding=3, bias=False)
    strides = (1, 2, 2, 2)
    blocks = [_bottleneck(*sizes) for sizes in zip(channels[:-1], planes, strides, strict=True)]
    for convolution in (m for part in (stem, *blocks) for m in part.modules() if isinstance(m, nn.Conv2d)):
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")  # as torchvision's ResNets
    first = [widen(stem, views), nn.BatchNorm2d(channels[0]), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1), blocks[0]]
    _dilate(blocks[1:], 4, output_stride)
    return Encoder([nn.Sequential(*first), *blocks[1:]], channels[2:], views)


def _bottleneck(in_channels: int, planes: int, stride: int) -> Bottleneck:
    """First block of a stage of torchvision's ResNet, whose shortcut is a 1x1 convolution."""
    out_channels = planes * Bottleneck.expansion
    shortcut = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
    return Bottleneck(in_channels, planes, stride, nn.Sequential(shortcut, nn.BatchNorm2d(out_channels)))


class _Features(nn.Module):
    """A timm network up to its last features."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.network.forward_features(images)  # type: ignore[operator]
        return features


def _pnasnet5(weights: Weights, views: int) -> Encoder:
    try:
        import timm
    except ImportError:
        raise ImportError("encoder pnasnet5 needs timm; to get it, run: pip install 'mtlrepro[timm]'") from None
    network: Any = timm.create_model("pnasnet5large", pretrained=False, num_classes=0)
    source = "random"
    if weights == "imagenet":
        state, source = load("pnasnet5")
        network.load_state_dict({key: value for key, value in state.items() if not key.startswith("last_linear.")})
    network.conv_0.conv = widen(network.conv_0.conv, views)
    return Encoder([_Features(network)], [4320], views, ((0.5,) * 3, (0.5,) * 3), source)


def _start(network: nn.Module, name: str, weights: Weights) -> str:
    """Load the checkpoint, if any, and say what the network starts from."""
    if weights == "none":
        return "random"
    state, source = load(name)
    network.load_state_dict(state)
    return source


def widen(convolution: nn.Conv2d, views: int) -> nn.Conv2d:
    """Repeat a convolution's weights for several views, divided by their number.

    Args:
        convolution: With C input channels.
        views: Number of views V.

    Returns:
        A convolution of V C channels, the views one after another; equal views give the response to one.
    """
    if views == 1:
        return convolution
    convolution.in_channels *= views
    convolution.weight = nn.Parameter(convolution.weight.detach().repeat(1, views, 1, 1) / views)
    return convolution


def _dilate(stages: Iterable[nn.Module], stride: int, output_stride: int) -> None:
    """Replace strides beyond `output_stride` by dilation, which doubles behind each removed stride.

    Args:
        stages: Parts that follow one another.
        stride: Stride of their input.
        output_stride: Largest stride that stays.
    """
    dilation = 1
    for convolution in (m for stage in stages for m in stage.modules() if isinstance(m, nn.Conv2d)):
        if convolution.kernel_size == (1, 1):  # a shortcut beside a 3x3 convolution of the same stride
            if dilation > 1:
                convolution.stride = (1, 1)
            continue
        convolution.dilation = convolution.padding = (dilation, dilation)
        if convolution.stride == (2, 2):
            if stride < output_stride:
                stride *= 2
            else:
                convolution.stride = (1, 1)
                dilation *= 2
