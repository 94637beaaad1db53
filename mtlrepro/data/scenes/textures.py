"""Procedural textures and sensor noise from integer hashes: the same bits on every device, in every batch."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mtlrepro.data.scenes.raycast import Lookup


@dataclass(frozen=True)
class Materials:
    """Materials of B scenes, M each.

    A surface is cut into cells (planks, tiles, spines of books, patches). A cell blends two colours at random, its
    seam can be darker, and a grain eight times as fine varies the brightness.

    Attributes:
        first: `[B, M, 3]`, linear RGB in [0, 1].
        second: `[B, M, 3]`, linear RGB in [0, 1].
        cells: `[B, M, 2]`, cells per metre along u and v.
        blend: `[B, M]`, largest share of the second colour.
        seam: `[B, M]`, share of light that a seam takes away.
        grain: `[B, M]`, relative amplitude of the grain.
        seed: int32 `[B, M]`.
    """

    first: Tensor
    second: Tensor
    cells: Tensor
    blend: Tensor
    seam: Tensor
    grain: Tensor
    seed: Tensor


SEAM = 0.06
FINE = 8


def albedo(materials: Materials, look: Lookup, uv: Tensor) -> Tensor:
    """Colour of surfaces.

    Args:
        materials: M materials.
        look: The material at each pixel.
        uv: `[B, 2, H, W]`, surface coordinates in metres.

    Returns:
        Linear RGB `[B, 3, H, W]`, at least 0.
    """
    across, up = look.vectors(materials.cells)
    u, v = uv.unbind(1)
    u, v = u * across, v * up
    column, row = u.floor(), v.floor()
    seed = look(materials.seed)
    cell = uniform(column, row, seed)
    fine = uniform((u * FINE).floor(), (v * FINE).floor(), seed)
    to_edge = torch.minimum(0.5 - (u - column - 0.5).abs_(), 0.5 - (v - row - 0.5).abs_())
    shade = 1.0 - look(materials.seam) * (to_edge < SEAM)
    shade = (1.0 + look(materials.grain) * (fine - 0.5)).mul_(shade)
    share = cell * look(materials.blend)
    colours = zip(look.vectors(materials.first), look.vectors(materials.second), strict=True)
    return torch.stack([(a + (b - a) * share) * shade for a, b in colours], 1)


def uniform(x: Tensor, y: Tensor, seed: Tensor) -> Tensor:
    """Hash whole numbers to float32 in [0, 1), in steps of 2^-16.

    Args:
        x: Whole numbers below 2^31 in size, float or integer.
        y: Whole numbers, of a shape that broadcasts with `x`.
        seed: int32, of a shape that broadcasts with `x`.
    """
    bits = (x.int() * 0x1B873593 + y.int() * 0x4C957F2D) ^ (seed * 0x2545F491)
    bits = (bits ^ (bits >> 15)) * 0x2C1B3C6D
    bits = (bits ^ (bits >> 13)) * 0x297A2D39
    return ((bits >> 15) & 0xFFFF) * 2.0**-16


def sensor_noise(size: tuple[int, int], seed: Tensor) -> Tensor:
    """Noise of three independent channels, `[B, 3, H, W]`: mean 0, standard deviation 1, triangular, at most 2.45.

    Args:
        size: Height and width.
        seed: int32 `[B]`.
    """
    height, width = size
    rows = torch.arange(height, device=seed.device)[:, None]
    columns = torch.arange(width, device=seed.device)
    streams = seed[:, None] * 8 + torch.arange(3, device=seed.device, dtype=torch.int32)
    streams = streams[:, :, None, None]
    total = uniform(columns, rows, streams) + uniform(columns, rows, streams + 4)
    return total.sub_(1.0).mul_(6.0**0.5)
