"""LSB's decoder and its three ways of sharing, by hand."""

import math

import pytest
import torch
from model_cases import DENSE, images, small
from torch import nn

from mtlrepro.models import create, encoders
from mtlrepro.models.encoders import Encoder
from mtlrepro.models.sharing import WIDTHS, Column, Columns, cross_stitch, decoder

SHARING = ["full_sharing", "multi_decoder", "multi_column"]


def layers(network, kind):
    return [module for module in network.modules() if isinstance(module, kind)]


def test_decoder_has_twelve_convolutions_of_the_known_widths_and_five_upsamplings():
    network = decoder(1280, 17)
    convolutions = layers(network, nn.Conv2d)
    widths = [1024, *(w for w in (512, 256, 128, 64, 32) for _ in range(2)), 17]
    assert [c.out_channels for c in convolutions] == widths
    assert len(convolutions) == 12
    assert all(c.kernel_size == (3, 3) for c in convolutions)
    assert len(layers(network, nn.Upsample)) == 5
    assert len(layers(network, nn.ReLU)) == 11
    assert sum(p.numel() for p in network.parameters()) == sum(
        9 * a * b + b for a, b in zip([1280, *widths], widths, strict=False)
    )
    assert network.to("meta")(torch.empty(1, 1280, 9, 12, device="meta")).shape == (1, 17, 288, 384)


def test_decoder_starts_from_xaviers_initialisation():
    for convolution in layers(decoder(64, 3, (32, 16)), nn.Conv2d):
        bound = math.sqrt(6 / (9 * (convolution.in_channels + convolution.out_channels)))
        assert 0.95 * bound < convolution.weight.abs().max() <= bound
        assert not convolution.bias.any()


def test_full_sharing_starts_as_one_last_convolution_with_the_channels_of_all_tasks():
    model = create("full_sharing", DENSE, width=0.25, output_stride=8, decoder_widths=(8, 8, 16, 32))
    rows = torch.cat([head.weight for head in model.heads.values()])
    assert rows.shape == (17, 32, 3, 3)
    bound = math.sqrt(6 / (9 * (32 + 17)))
    assert 0.95 * bound < rows.abs().max() <= bound
    joint = nn.Conv2d(32, 17, 3, padding=1)
    joint.weight, joint.bias = nn.Parameter(rows), nn.Parameter(torch.zeros(17))
    model.eval()
    predictions = model(images(model, (64, 64)))
    expected = joint(model.features[0])
    found = torch.cat([predictions[task.name] for task in DENSE], 1)
    assert expected.shape[-2:] == (64, 64)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SHARING)
def test_encoder_output_of_table_s1(name):
    """12 x 9 for images of 384 x 288; 1280 channels, where the table prints PNASNet's 4320 for MobileNetV2."""
    with torch.device("meta"):
        model = create(name, DENSE)
        model(torch.empty(1, 3, 288, 384))
    expected = (1, 32, 288, 384) if name == "full_sharing" else (1, 1280, 9, 12)
    assert [tuple(x.shape) for x in model.features] == [expected] * (3 if name == "multi_column" else 1)


@pytest.mark.parametrize("stride", [8, 16])
@pytest.mark.parametrize("name", SHARING)
def test_output_stride_is_that_of_every_encoder_and_undone_by_the_decoder(name, stride):
    widths = (8,) * (1 + int(math.log2(stride)))
    options = {"width": 0.25, "output_stride": stride, "decoder_widths": widths}
    model = create(name, DENSE, **options).eval()
    fronts = [m for m in model.modules() if isinstance(m, Encoder)]
    assert len(fronts) == (3 if name == "multi_column" else 1)
    x = images(model)
    assert all(encoder(x).shape[-2:] == (64 // stride, 96 // stride) for encoder in fronts)
    sizes = []
    for last in (m for m in model.modules() if isinstance(m, nn.Conv2d) and m.out_channels in (13, 1, 3)):
        last.register_forward_hook(lambda *io: sizes.append(tuple(io[-1].shape[-2:])))
    model(x)
    assert sizes == [(64, 96)] * 3


@pytest.mark.parametrize("options", [{"output_stride": 8}, {"output_stride": 16}, {"decoder_widths": (64, 32)}])
@pytest.mark.parametrize("name", SHARING)
def test_a_decoder_that_does_not_undo_the_output_stride_is_refused_before_anything_is_made(name, options, monkeypatch):
    monkeypatch.setattr(encoders, "create", None)
    stride, count = options.get("output_stride", 32), len(options.get("decoder_widths", WIDTHS))
    message = f"decoder_widths has {count} widths and output_stride is {stride}; accepted: 6 widths with output_stride"
    with pytest.raises(ValueError, match=message):
        create(name, DENSE, **options)


def test_cross_stitch_by_hand():
    """Eq. 1 for two tasks, with features of one value: the decoders are identities."""
    columns = Columns(*(nn.Conv2d(1, 1, 1, bias=False) for _ in range(2)))
    for column, value in zip(columns, (2.0, 3.0), strict=True):
        nn.init.constant_(column.weight, value)
    rows = torch.tensor([[0.5, 0.25], [-1.0, 4.0]])
    stitched = [Column(row, nn.Identity()) for row in rows]
    x = torch.full((1, 1, 1, 1), 10.0)
    outputs = [column(*columns(x)) for column in stitched]
    assert [output.item() for output in outputs] == [0.5 * 20 + 0.25 * 30, -20 + 4 * 30]
    outputs[1].backward()
    assert stitched[0].stitch.grad is None
    assert stitched[1].stitch.grad.tolist() == [20.0, 30.0]
    assert [column.weight.grad.item() for column in columns] == [-10.0, 40.0]


def test_initial_matrices():
    nine, five = 0.9, 0.05
    torch.testing.assert_close(
        cross_stitch(3), torch.tensor([[nine, five, five], [five, nine, five], [five, five, nine]])
    )
    assert torch.equal(cross_stitch(4, "uniform"), torch.full((4, 4), 0.25))
    assert torch.equal(cross_stitch(8, "uniform"), torch.full((8, 8), 0.125))
    assert cross_stitch(1).tolist() == cross_stitch(1, "uniform").tolist() == [[1.0]]
    torch.testing.assert_close(cross_stitch(8).sum(1), torch.ones(8))
    with pytest.raises(ValueError, match="stitch is 'zero'; accepted: 'identity', 'uniform'"):
        cross_stitch(2, "zero")


def test_multi_column_has_a_column_for_each_task_and_the_rows_of_the_matrix():
    model = small("multi_column")
    assert list(dict(model.shared.named_children())) == [task.name for task in DENSE]
    rows = torch.stack([head.stitch.detach() for head in model.heads.values()])
    assert torch.equal(rows, cross_stitch(3))
    first = [next(column.parameters()) for column in model.shared]
    assert not torch.equal(first[0], first[1])


def test_a_single_column_is_an_encoder_and_a_decoder():
    model = small("multi_column", DENSE[1:2]).eval()
    x = images(model)
    head = model.heads["depth"]
    torch.testing.assert_close(model(x)["depth"], head.decoder(model.shared[0](x)))
