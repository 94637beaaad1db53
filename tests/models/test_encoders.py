"""Encoders against torchvision's own, published counts, and the identities of dilation and of the stereo stem."""

import sys
from dataclasses import replace

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import MobileNet_V2_Weights, ResNet18_Weights, ResNet34_Weights, ResNet50_Weights
from torchvision.models.resnet import Bottleneck, ResNet

from mtlrepro.models import encoders, weights

TORCHVISION = {
    "mobilenet_v2": (MobileNet_V2_Weights.IMAGENET1K_V1, 1280, 2_223_872),
    "resnet18": (ResNet18_Weights.IMAGENET1K_V1, 512, 11_176_512),
    "resnet34": (ResNet34_Weights.IMAGENET1K_V1, 512, 21_284_672),
    "resnet50": (ResNet50_Weights.IMAGENET1K_V1, 2048, 23_508_032),
}

NAMES = [*TORCHVISION, "resnet14"]


def count(module):
    return sum(p.numel() for p in module.parameters())


def multiply_adds(encoder, side):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        encoder.eval()(torch.empty(1, 3, side, side, device="meta"))
    return counter.get_total_flops() // 2


def exact(name, **options):
    """An encoder in double precision, so that identities hold to rounding whatever the depth."""
    return encoders.create(name, **options).eval().double()


def image(*size):
    return torch.rand(1, 3, *size, dtype=torch.float64)


def twins(name, strides):
    """The same encoder at several output strides."""
    made = [exact(name, output_stride=stride) for stride in strides]
    for other in made[1:]:
        other.load_state_dict(made[0].state_dict())
    return made


@pytest.mark.parametrize("name", TORCHVISION)
def test_published_parameters_and_multiply_adds(name):
    """torchvision's figures, which count the classifier; 3.4 M and 300 M for MobileNetV2 (its paper, Table 4)."""
    published, width, features = TORCHVISION[name]
    with torch.device("meta"):
        encoder = encoders.create(name)
    assert encoder.channels[-1] == width
    assert count(encoder) == features
    assert features + 1000 * (width + 1) == published.meta["num_params"]
    operations = multiply_adds(encoder, 224) + 1000 * width
    assert operations / 1e9 == pytest.approx(published.meta["_ops"], abs=6e-4)


def test_pnasnet5_has_the_published_size():
    """86.1 M parameters, 25.0 G multiply-adds at 331 x 331 (Liu et al., ECCV 2018, Table 5); counted: convolutions."""
    with torch.device("meta"):
        encoder = encoders.create("pnasnet5")
    assert count(encoder) + 1000 * 4321 == 86_057_668
    assert multiply_adds(encoder, 331) / 1e9 == pytest.approx(25.0, abs=0.1)


@pytest.mark.parametrize("size", [(288, 384), (256, 256), (75, 50)])
def test_pnasnet5_gives_4320_channels_at_stride_32(size):
    """12 x 9 x 4320 in LSB's Table S-1, for images of 384 x 288."""
    with torch.device("meta"):
        encoder = encoders.create("pnasnet5").eval()
        assert encoder(torch.empty(1, 3, *size)).shape == (1, 4320, *(-(-n // 32) for n in size))


def test_pnasnet5_reads_its_checkpoint_and_two_views(tmp_path, monkeypatch):
    """A file with timm's names and 1001 classes, as the published one has; each tensor repeats one number."""
    with torch.device("meta"):
        network = timm.create_model("pnasnet5large", num_classes=1001)
    values = {key: 1.0 + k for k, key in enumerate(network.state_dict())}
    state = {key: torch.tensor(values[key]).expand(x.shape) for key, x in network.state_dict().items()}
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    checkpoint = weights.CHECKPOINTS["pnasnet5"]
    checkpoint.path.parent.mkdir(parents=True)
    torch.save(state, checkpoint.path)
    digest = replace(checkpoint, sha256="").check(checkpoint.path)
    monkeypatch.setitem(weights.CHECKPOINTS, "pnasnet5", replace(checkpoint, sha256=digest[:8]))
    encoder = encoders.create("pnasnet5", weights="imagenet", views=2)
    assert encoder.weights_source == f"imagenet (tf_in1k, sha256 {digest[:8]})"
    found = {key.removeprefix("stages.0.network."): x for key, x in encoder.state_dict().items()}
    stem = found.pop("conv_0.conv.weight")
    assert stem.shape[1] == 6
    assert (stem == values["conv_0.conv.weight"] / 2).all()
    assert found.keys() == state.keys() - {"conv_0.conv.weight", "last_linear.weight", "last_linear.bias"}
    assert all((x == values[key]).all() for key, x in found.items())


def test_pnasnet5_gives_timms_features_of_images_from_minus_1_to_1():
    encoder = encoders.create("pnasnet5").eval()
    x = torch.rand(1, 3, 32, 64)
    with torch.no_grad():
        expected = encoder.stages[0].network.forward_features((x - 0.5) / 0.5)
        assert torch.equal(encoder(x), expected)
    assert expected.shape == (1, 4320, 1, 2)
    assert expected.any()


def test_pnasnet5_without_timm_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"pnasnet5 needs timm; to get it, run: pip install 'mtlrepro\[timm\]'"):
        encoders.create("pnasnet5")


@pytest.mark.parametrize("size", [(64, 96), (75, 50)])
@pytest.mark.parametrize("name", NAMES)
def test_dilation_keeps_the_values_at_the_places_of_the_strides(name, size):
    x = image(*size)
    outputs = [encoder(x) for encoder in twins(name, (32, 16, 8))]
    for output, stride in zip(outputs, (32, 16, 8), strict=True):
        assert output.shape[-2:] == tuple(-(-n // stride) for n in size)
    for output, step in zip(outputs[1:], (2, 4), strict=True):
        torch.testing.assert_close(output[..., ::step, ::step], outputs[0])


@pytest.mark.parametrize(("stride", "stages"), [(8, 1), (16, 2), (32, 3)])
@pytest.mark.parametrize(("name", "channels"), [("mobilenet_v2", (32, 96, 1280)), ("resnet18", (128, 256, 512))])
def test_without_dilation_the_stages_beyond_the_stride_are_left_out(name, channels, stride, stages):
    torch.manual_seed(0)
    whole = encoders.create(name).eval()
    torch.manual_seed(0)
    cut = encoders.create(name, output_stride=stride, dilate=False).eval()
    x = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        found, expected = cut(x), whole.pyramid(x)[stages - 1]
    assert torch.equal(found, expected)
    assert found.shape == (1, channels[stages - 1], 64 // stride, 96 // stride)
    assert cut.channels == channels[:stages]


@pytest.mark.parametrize(("stride", "dilate"), [(16, [False, False, True]), (8, [False, True, True])])
def test_dilated_resnet50_is_that_of_torchvision(stride, dilate):
    reference = torchvision.models.resnet50(replace_stride_with_dilation=dilate).eval().double()
    encoder = exact("resnet50", output_stride=stride)
    for a, b in zip(encoder.state_dict().values(), reference.state_dict().values(), strict=False):
        a.copy_(b)
    x = image(64, 64)
    expected = nn.Sequential(*list(reference.children())[:-2])((x - encoder.mean) / encoder.std)
    torch.testing.assert_close(encoder(x), expected)


@pytest.mark.parametrize(
    ("stride", "dilate"), [(32, [False] * 3), (16, [False, False, True]), (8, [False, True, True])]
)
def test_resnet14_is_torchvisions_resnet_with_one_bottleneck_a_stage(stride, dilate):
    reference = ResNet(Bottleneck, [1, 1, 1, 1], replace_stride_with_dilation=dilate).eval().double()
    encoder = exact("resnet14", output_stride=stride)
    body = nn.Sequential(*list(reference.children())[:-2])
    for a, b in zip(encoder.state_dict().values(), body.state_dict().values(), strict=True):
        a.copy_(b)
    x = image(64, 64)
    torch.testing.assert_close(encoder(x), body((x - encoder.mean) / encoder.std))


def test_resnet14_starts_as_torchvisions_resnets_do():
    """He's normal initialisation: the deviation is sqrt(2 / (k k C)) for k x k kernels and C output channels."""
    torch.manual_seed(0)
    for convolution in (m for m in encoders.create("resnet14").modules() if isinstance(m, nn.Conv2d)):
        expected = (2 / (convolution.out_channels * convolution.kernel_size[0] ** 2)) ** 0.5
        assert convolution.weight.std().item() == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize(("width", "planes"), [(0.5, 32), (0.125, 8), (1.0, 64)])
def test_width_multiplies_the_channels_of_resnet14(width, planes):
    """Parameters by hand: stem, then in each stage three convolutions, the shortcut and their normalisation."""
    expected, inputs = 6 * planes * 49 + 2 * planes, planes
    for n in (planes, 2 * planes, 4 * planes, 8 * planes):
        expected += inputs * n + 9 * n * n + 4 * n * n + 4 * inputs * n + 2 * (n + n + 4 * n + 4 * n)
        inputs = 4 * n
    encoder = encoders.create("resnet14", width=width, views=2)
    assert encoder.channels == (8 * planes, 16 * planes, 32 * planes)
    assert count(encoder) == expected


@pytest.mark.parametrize("name", NAMES)
def test_pyramid_ends_at_strides_8_16_32(name):
    encoder = encoders.create(name).eval()
    x = torch.rand(1, 3, 64, 96)
    levels = encoder.pyramid(x)
    assert [tuple(level.shape[1:]) for level in levels] == [
        (channels, 64 // stride, 96 // stride) for channels, stride in zip(encoder.channels, (8, 16, 32), strict=True)
    ]
    assert torch.equal(levels[-1], encoder(x))


def test_width_multiplies_the_channels_of_mobilenet():
    """Rounded to eights, and never fewer than 1280 at the end (Sandler et al., Section 6.1)."""
    assert encoders.create("mobilenet_v2", width=0.5).channels == (16, 48, 1280)
    assert encoders.create("mobilenet_v2", width=1.4).channels == (48, 136, 1792)


@pytest.mark.parametrize("name", NAMES)
def test_equal_views_give_the_response_to_one(name):
    one, two = exact(name), exact(name, views=2)
    state = one.state_dict()
    stem = next(iter(state))
    state[stem] = state[stem].repeat(1, 2, 1, 1) / 2
    two.load_state_dict(state)
    x = image(64, 64)
    torch.testing.assert_close(two(torch.cat([x, x], 1)), one(x))


def test_widen_averages_the_responses_to_the_views():
    convolution = nn.Conv2d(3, 5, 3, stride=2, padding=1)
    left, right = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    expected = (convolution(left) + convolution(right)) / 2
    wide = encoders.widen(convolution, 2)
    assert wide.weight.shape == (5, 6, 3, 3)
    torch.testing.assert_close(wide(torch.cat([left, right], 1)), expected)
    assert torch.equal(wide.weight[:, :3], wide.weight[:, 3:])


@pytest.mark.parametrize("name", TORCHVISION)
def test_imagenet_weights_are_the_file_in_the_cache(name, tmp_path, monkeypatch):
    """A file of torchvision's form, read by the encoder and by torchvision, gives the same features."""
    torch.manual_seed(3)
    reference = getattr(torchvision.models, name)().eval()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    checkpoint = weights.CHECKPOINTS[name]
    checkpoint.path.parent.mkdir(parents=True)
    torch.save(reference.state_dict(), checkpoint.path)
    digest = replace(checkpoint, sha256="").check(checkpoint.path)
    monkeypatch.setitem(weights.CHECKPOINTS, name, replace(checkpoint, sha256=digest[:8]))
    encoder = exact(name, weights="imagenet")
    assert encoder.weights_source == f"imagenet (IMAGENET1K_V1, sha256 {digest[:8]})"
    x = image(64, 64)
    mean, std = (x.new_tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    features = reference.features if name == "mobilenet_v2" else nn.Sequential(*list(reference.children())[:-2])
    torch.testing.assert_close(encoder(x), features.double()((x - mean) / std), rtol=1e-5, atol=1e-6)
    stereo = exact(name, weights="imagenet", views=2)
    torch.testing.assert_close(stereo(torch.cat([x, x], 1)), encoder(x))


@pytest.mark.parametrize("name", TORCHVISION)
def test_missing_weights_stop_with_the_command_that_fetches_them(name, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=f"is missing; to get it, run: mtlrepro weights fetch {name}$"):
        encoders.create(name, weights="imagenet")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder": "vgg16"}, "encoder is 'vgg16'; accepted: mobilenet_v2, resnet14, resnet18"),
        ({"encoder": "resnet18", "weights": "random"}, "weights is 'random'; accepted: 'none', 'imagenet'"),
        ({"encoder": "resnet18", "output_stride": 4}, "output_stride is 4; accepted: 8, 16, 32"),
        ({"encoder": "resnet18", "width": 0.5}, "width is 0.5; accepted with resnet18: 1"),
        ({"encoder": "mobilenet_v2", "width": 0.0}, "width is 0.0; accepted: numbers above 0, up to 8"),
        ({"encoder": "mobilenet_v2", "width": 0.5, "weights": "imagenet"}, "accepted with weights='imagenet': 1"),
        (
            {"encoder": "resnet14", "weights": "imagenet"},
            "encoder is 'resnet14'; accepted with weights='imagenet': mob",
        ),
        ({"encoder": "mobilenet_v2", "views": 0}, "views is 0; accepted: 1, 2"),
        ({"encoder": "mobilenet_v2", "views": 3}, "views is 3; accepted: 1, 2"),
        ({"encoder": "mobilenet_v2", "width": 1e308}, "width is 1e.308; accepted: numbers above 0, up to 8"),
        ({"encoder": "pnasnet5", "output_stride": 8}, "output_stride is 8; accepted with pnasnet5: 32"),
    ],
)
def test_refused(options, message):
    with pytest.raises(ValueError, match=message):
        encoders.create(**options)
