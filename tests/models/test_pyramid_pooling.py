"""MTSGD's network: pooling by hand, sizes, heads of one convolution."""

import pytest
import torch
from model_cases import STEREO, images, small
from torch import nn

from mtlrepro.models import create, describe_model
from mtlrepro.models.pyramid_pooling import SpatialPyramidPooling
from mtlrepro.training.scales import config


def test_pooling_by_hand():
    """Bins 1 and 2 of a 2 x 2 map with two channels; the 1x1 convolutions take channel 0 and the sum."""
    pooling = SpatialPyramidPooling(2, (1, 2)).eval()
    for branch, weight in zip(pooling.branches, ([1.0, 0.0], [1.0, 1.0]), strict=True):
        branch[1].weight = nn.Parameter(torch.tensor(weight)[None, :, None, None])
        branch[2].eps = 0.0
    x = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[-2.0, 0.0], [1.0, 1.0]]]])
    expected = torch.cat([x, torch.full((1, 1, 2, 2), 3.0), torch.tensor([[[[0.0, 2.0], [4.0, 7.0]]]])], 1)
    assert pooling.out_channels == 4
    torch.testing.assert_close(pooling(x), expected)


def test_the_papers_network():
    """ResNet-50 with a stem of 6 channels, four 1x1 convolutions with normalisation, heads of one 1x1 convolution."""
    table = describe_model(create("mtsgd", STEREO), (512, 512)).set_index("part")["parameters"]
    assert table["shared.encoder"] == 25_557_032 - 2049 * 1000 + 64 * 3 * 49
    assert table["shared.pooling"] == 4 * (2048 * 512 + 2 * 512)
    assert table["heads.segmentation"] == 4096 * 19 + 19
    assert table["heads.disparity"] == 4096 + 1


def pointwise(module):
    """Share of a module's convolution weights that lie in 1x1 kernels."""
    kernels = [m.weight for m in module.modules() if isinstance(m, nn.Conv2d)]
    return sum(w.numel() for w in kernels if w.shape[2:] == (1, 1)) / sum(w.numel() for w in kernels)


@pytest.mark.parametrize(
    ("scale", "dataset", "alone", "pooled", "parameters"),
    [("paper", "cityscapes", 0.517, 0.590, 27_797_780), ("cpu", "streets", 0.605, 0.740, 3_107_476)],
)
def test_most_weights_lie_in_1x1_kernels(scale, dataset, alone, pooled, parameters):
    """MTSGD's rule is another one on them: 52 % of ResNet-50's weights, and 50 to 75 % of the small network's."""
    options = config(scale, dataset=dataset, network="mtsgd").model_options
    with torch.device("meta"):
        model = create("mtsgd", STEREO, **{**options, "weights": "none"})
    shares = pointwise(model.shared.encoder), pointwise(model.shared)
    assert shares == pytest.approx((alone, pooled), abs=5e-4)
    assert all(0.5 <= share <= 0.75 for share in shares)
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_features_at_an_eighth_and_heads_that_only_reduce_channels_and_resize():
    model = small("mtsgd").eval()
    x = images(model)
    prediction = model(x)["depth"]
    (features,) = model.features
    assert features.shape[-2:] == (8, 12)
    head = model.heads["depth"]
    assert head.kernel_size == (1, 1)
    expected = nn.functional.interpolate(head(features), (64, 96), mode="bilinear", align_corners=False)
    assert torch.equal(prediction, expected)


def test_equal_views_give_the_prediction_of_one():
    stereo = create("mtsgd", STEREO, encoder="resnet18", bins=(1, 2)).eval().double()
    single = create("mtsgd", STEREO, encoder="resnet18", bins=(1, 2), views=1).eval().double()
    state = stereo.state_dict()
    stem = "shared.encoder.stages.0.0.weight"
    state[stem] = state[stem][:, :3] + state[stem][:, 3:]
    single.load_state_dict(state)
    x = torch.rand(1, 3, 64, 64, dtype=torch.float64)
    torch.testing.assert_close(stereo({"image": x, "right": x})["disparity"], single(x)["disparity"])
