"""Hashed textures and noise: their statistics, and colours computed by hand."""

import pytest
import torch

from mtlrepro.data.scenes.raycast import Lookup
from mtlrepro.data.scenes.textures import SEAM, Materials, albedo, sensor_noise, uniform

FIRST, SECOND = torch.tensor([0.2, 0.4, 0.6]), torch.tensor([0.6, 0.2, 0.1])


def materials(blend=0.0, seam=0.0, grain=0.0):
    return Materials(
        FIRST.view(1, 1, 3),
        SECOND.view(1, 1, 3),
        torch.tensor([[[2.0, 4.0]]]),
        torch.full((1, 1), blend),
        torch.full((1, 1), seam),
        torch.full((1, 1), grain),
        torch.full((1, 1), 77, dtype=torch.int32),
    )


def coordinates(height=40, width=60):
    """Points of a plane of 1 m by 1.5 m around its origin."""
    y, x = torch.meshgrid(torch.arange(height) / 40 - 0.5, torch.arange(width) / 40 - 0.75, indexing="ij")
    return torch.stack([x, y])[None] + 0.0125


def paint(**options):
    uv = coordinates()
    return albedo(materials(**options), Lookup(torch.zeros(1, *uv.shape[2:], dtype=torch.int64)), uv)[0]


def test_hash_is_uniform_and_uncorrelated():
    n = 256
    numbers = uniform(torch.arange(-n, n), torch.arange(-n, n)[:, None], torch.tensor(5, dtype=torch.int32))
    assert numbers.min() >= 0 and numbers.max() < 1
    counts = torch.histc(numbers, 16, 0, 1) / numbers.numel()
    assert (counts * 16 - 1).abs().max() < 0.03
    for other in (numbers.roll(1, 0), numbers.roll(1, 1), numbers.flip(0), numbers.T):
        assert torch.corrcoef(torch.stack([numbers.flatten(), other.flatten()]))[0, 1].abs() < 0.01


def test_a_plain_material_has_its_first_colour():
    assert torch.equal(paint(), FIRST.view(3, 1, 1).expand(3, 40, 60))


def test_cells_blend_two_colours():
    colours = paint(blend=0.5)
    share = (colours - FIRST.view(3, 1, 1)) / (SECOND - FIRST).view(3, 1, 1)
    assert share.std(0).max() < 1e-5
    cells = share[0, :, 10:50].reshape(4, 10, 2, 20)  # four cells per metre down, two across
    assert cells.std((1, 3)).max() < 1e-5
    assert len(cells[:, 0, :, 0].unique()) == 8 and share.min() >= 0 and share.max() < 0.5


def test_seams_lie_at_the_borders_of_cells():
    u, v = coordinates()[0] * torch.tensor([2.0, 4.0]).view(2, 1, 1)
    border = torch.minimum((u - u.round()).abs(), (v - v.round()).abs()) < SEAM
    assert 0.1 < border.float().mean() < 0.5
    expected = FIRST.view(3, 1, 1) * torch.where(border, 0.25, 1.0)
    torch.testing.assert_close(paint(seam=0.75), expected)


def test_grain_varies_the_brightness_alone():
    factor = paint(grain=0.4) / FIRST.view(3, 1, 1)
    assert (factor - factor[:1]).abs().max() < 1e-5
    assert factor.mean() == pytest.approx(1, abs=0.03)
    assert 0.8 <= factor.min() < 0.85 and 1.15 < factor.max() < 1.2


def test_noise_has_unit_variance_and_independent_channels():
    noise = sensor_noise((120, 160), torch.tensor([3, 4], dtype=torch.int32))
    assert noise.shape == (2, 3, 120, 160)
    flat = noise.view(6, -1)
    assert flat.mean(1).abs().max() < 0.03 and (flat.std(1) - 1).abs().max() < 0.02
    assert (torch.corrcoef(flat) - torch.eye(6)).abs().max() < 0.03
    assert flat.abs().max() < 2.4495
