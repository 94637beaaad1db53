"""SegNet and SegNet-MTAN: published sizes, places of unpooling, and masks that can be worked out."""

import pytest
import torch
from model_cases import DENSE, images, make_task, small, tensors
from torch import nn

from mtlrepro.models import create
from mtlrepro.models.segnet import SegNet


def count(name, tasks):
    with torch.device("meta"):
        return sum(p.numel() for p in create(name, tasks).parameters())


def public_convolutions(tasks):
    """Input channels, output channels and kernel of every convolution of the public network (`model_segnet_mtan.py`).

    In its order: encoder and decoder, their further convolutions, masks, convolutions between masks, predictions.
    """
    f = [64, 128, 256, 512, 512]
    pairs = [(f[i], f[i + 1]) for i in range(4)]
    blocks = [(3, f[0]), *pairs, (f[0], f[0]), *((b, a) for a, b in pairs)]
    further = [(f[0], f[0]), (f[1], f[1]), *((c, c) for c in f[2:] * 2)]
    further += [(f[0], f[0]), (f[0], f[0]), *((c, c) for c in f[1:4] * 2)]
    masks = [(f[0], f[0]), (f[0], f[0]), (2 * f[0], f[0]), (f[0], f[0])]
    for a, b in pairs:
        masks += [(2 * b, b), (b, b), (a + b, a), (a, a)]
    between = [*pairs, (f[4], f[4]), (f[0], f[0]), *((b, a) for a, b in pairs[:3]), (f[4], f[4])]
    shared, own = [(*c, 3) for c in blocks + further], [(*c, 1) for c in masks]
    heads = [layer for channels in tasks for layer in ((f[0], f[0], 3), (f[0], channels, 1))]
    return shared, own * len(tasks) + [(*c, 3) for c in between], heads


def size(normalised, plain):
    """Weights and biases, and weights and biases of batch normalisation behind the first kind."""
    return sum(a * b * k * k + 3 * b for a, b, k in normalised) + sum(a * b * k * k + b for a, b, k in plain)


def test_published_parameter_counts():
    """The constant by which the public code divides, and the column #P of the MTAN paper's two tables."""
    single = count("segnet", DENSE[:1])
    assert single == 24_981_069
    assert round(count("segnet_mtan", DENSE) / single, 2) == 1.77  # NYUv2
    cityscapes = [make_task("segmentation", 7), make_task("depth", 1)]
    assert round(count("segnet_mtan", cityscapes) / single, 2) == 1.65


@pytest.mark.parametrize("name", ["segnet", "segnet_mtan"])
def test_layers_are_those_of_the_public_code(name):
    """44,229,076 parameters with its three learned loss weights, which are a balancer's here."""
    shared, attention, heads = public_convolutions([t.channels for t in DENSE])
    normalised = shared + attention if name == "segnet_mtan" else shared
    with torch.device("meta"):
        model = create(name, DENSE)
    found = [(m.in_channels, m.out_channels, *m.kernel_size) for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert sorted(found) == sorted((a, b, k, k) for a, b, k in normalised + heads)
    assert count(name, DENSE) == size(normalised, heads)
    if name == "segnet_mtan":
        assert count(name, DENSE) == 44_229_076 - 3


def test_attention_by_hand():
    """Two levels: the order of inputs, products, pooling and resizing, written out."""
    torch.manual_seed(0)
    model = create("segnet_mtan", [make_task("depth", 1)], widths=(2, 3)).eval()
    x = images(model, (8, 12))
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.uniform_(-0.5, 0.5)
        (a0, e0, a1, e1, u1, d1, u0, d0), net = model.shared.levels(x), model.shared
        own = model.heads["depth"]
        down = nn.functional.max_pool2d(net.attention_down[0](own.down[0](a0) * e0), 2)
        down = nn.functional.max_pool2d(net.attention_down[1](own.down[1](torch.cat([a1, down], 1)) * e1), 2)
        up = nn.functional.interpolate(down, scale_factor=2, mode="bilinear", align_corners=True)
        up = own.up[1](torch.cat([u1, net.attention_up[1](up)], 1)) * d1
        up = nn.functional.interpolate(up, scale_factor=2, mode="bilinear", align_corners=True)
        up = own.up[0](torch.cat([u0, net.attention_up[0](up)], 1)) * d0
        assert up.count_nonzero() > 0
        torch.testing.assert_close(model(x)["depth"], own.head(up))


def test_segnet_has_thirteen_convolutions_each_way():
    network = SegNet()
    for part in (network.down, network.up):
        convolutions = [module for module in part.modules() if isinstance(module, nn.Conv2d)]
        assert len(convolutions) == 13
        assert all(c.kernel_size == (3, 3) for c in convolutions)


@torch.no_grad()
def test_unpooling_puts_the_values_where_the_maxima_were():
    network = SegNet((2, 2, 2, 2, 2)).eval()
    levels = network.levels(torch.rand(1, 3, 64, 32))
    down, up = levels[:10], levels[10:]
    for k in range(5):
        full, unpooled = down[9 - 2 * k], up[2 * k]
        pooled, places = nn.functional.max_pool2d(full, 2, return_indices=True)
        assert unpooled.shape == full.shape
        below = pooled if k == 0 else up[2 * k - 1]
        assert torch.equal(unpooled.flatten(2).gather(2, places.flatten(2)), below.flatten(2))
        assert unpooled.count_nonzero() == below.count_nonzero()


def test_open_masks_everywhere_leave_the_plain_segnet():
    """Attention that is 1 at the last level gives the head SegNet's own features."""
    model = small("segnet_mtan").eval()
    x = images(model)
    for task in DENSE:
        last = model.heads[task.name].up[0][3]
        nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, 100.0)
    predictions = model(x)
    features = model.shared.levels(x)[-1]
    for task in DENSE:
        torch.testing.assert_close(predictions[task.name], model.heads[task.name].head(features))


def test_closed_masks_leave_the_bias():
    model = small("segnet_mtan", DENSE[1:2]).eval()
    attention = model.heads["depth"]
    nn.init.zeros_(attention.up[0][3].weight)
    nn.init.constant_(attention.up[0][3].bias, -100.0)
    nn.init.constant_(attention.head[1].bias, 0.75)
    assert torch.equal(model(images(model))["depth"], torch.full((2, 1, 64, 96), 0.75))


def test_a_mask_looks_at_its_own_task_only():
    model = small("segnet_mtan")  # in training mode, where normalisation keeps every level alive
    x = images(model)
    before = model(x)
    with torch.no_grad():
        for parameter in model.heads["depth"].down[0].parameters():
            parameter.add_(0.5)
    after = model(x)
    changed = {key for key in before if not torch.equal(tensors(before[key])[0], tensors(after[key])[0])}
    assert changed == {"depth"}


def test_xaviers_normal_initialisation():
    model = create("segnet", DENSE[:1])
    convolution = model.shared.down[2].first[0]
    expected = (2 / (9 * (128 + 256))) ** 0.5
    assert convolution.weight.std().item() == pytest.approx(expected, rel=0.02)
    assert not convolution.bias.any()
