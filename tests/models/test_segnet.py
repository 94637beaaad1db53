"""SegNet and SegNet-MTAN: published sizes, places of unpooling, and masks that can be worked out."""

import pytest
import torch
from model_cases import DENSE, images, small, tensors
from torch import nn

from mtlrepro.models import create
from mtlrepro.models.segnet import SegNet
from mtlrepro.tasks import Task


def count(model):
    return sum(p.numel() for p in model.parameters())


def tasks(*channels):
    return [Task(f"task{i}", c, lambda *_: None) for i, c in enumerate(channels)]


def test_published_parameter_counts():
    """The constant by which the public code divides, and the column #P of the MTAN paper's two tables."""
    single = count(create("segnet", tasks(13)))
    assert single == 24_981_069
    assert round(count(create("segnet_mtan", tasks(13, 1, 3))) / single, 2) == 1.77  # NYUv2
    assert round(count(create("segnet_mtan", tasks(7, 1))) / single, 2) == 1.65  # Cityscapes


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
