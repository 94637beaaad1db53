"""Colours of a street: paint, sun with shadows, haze, sky, and what a camera adds.

As in `raycast` every operation is exactly rounded. Patterns fade where a pixel is wider than their period, and what
shades a point depends on the point alone, so the two views of a stereo pair agree.
"""

from dataclasses import replace

import torch
from torch import Tensor

from mtlrepro.data.scenes.raycast import Camera, Lookup, Surface
from mtlrepro.data.scenes.streets.layout import Layout
from mtlrepro.data.scenes.textures import sensor_noise, uniform
from mtlrepro.data.scenes.tiled import shadowed


def radiance(layout: Layout, camera: Camera, surface: Surface, look: Lookup) -> Tensor:
    """Linear RGB `[B, 3, H, W]`, not negative, before exposure.

    Args:
        layout: B streets.
        camera: One view of each.
        surface: Surfaces that it sees.
        look: Reads tables of `ROWS` rows at its pixels.
    """
    sun, ambient, _, distance, clouds, _ = layout.light[:, :, None, None].unbind(1)
    colour = _albedo(layout, camera, surface, look)
    x, y, z = (s[:, None, None] - p for s, p in zip(layout.sun.unbind(1), surface.point.unbind(1), strict=True))
    nx, ny, nz = surface.normal.unbind(1)
    lambert = (nx * x).add_(ny * y).add_(nz * z).clamp_(min=0.0)
    lambert.div_((x * x).add_(y * y).add_(z * z).sqrt_()).mul_(sun)
    casting = replace(layout.scene, active=layout.casters)
    lambert.mul_(~shadowed(casting, camera, surface.point, layout.sun, lambert > 0))
    light = lambert.add_((0.75 - 0.25 * ny) * ambient)
    clear = distance / (distance + surface.depth)
    haze = layout.haze[:, :, None, None]
    picture = (colour * (light * clear)[:, None]).add_(haze * (1.0 - clear)[:, None])
    return torch.where((surface.slot < 0)[:, None], _sky(layout, camera, clouds), picture)


def develop(layout: Layout, camera: Camera, linear: Tensor, view: int, noise: bool = True) -> Tensor:
    """Turn linear RGB into a picture `[B, 3, H, W]` in [0, 1]: exposure, gamma 2, noise of the view, 8 bits.

    Without `noise` there is neither noise nor rounding.
    """
    exposure, sigma = layout.light[:, 2], layout.light[:, 5]
    picture = (linear * exposure[:, None, None, None]).clamp_(0.0, 1.0).sqrt_()
    if not noise:
        return picture
    speckle = sensor_noise(camera.size, layout.seed + view * 7919)
    picture.add_(speckle.mul_(sigma[:, None, None, None])).clamp_(0.0, 1.0)
    return picture.mul_(255.0).add_(0.5).floor_().div_(255.0)


def smooth(u: Tensor, v: Tensor, seed: Tensor) -> Tensor:
    """Value noise in [-1, 1] of unit cells: hashes at whole coordinates, linear between."""
    column, row = u.floor(), v.floor()
    across, down = u - column, v - row
    top = uniform(column, row, seed)
    top.add_((uniform(column + 1, row, seed) - top).mul_(across))
    bottom = uniform(column, row + 1, seed)
    bottom.add_((uniform(column + 1, row + 1, seed) - bottom).mul_(across))
    return bottom.sub_(top).mul_(down).add_(top).mul_(2.0).sub_(1.0)


def _albedo(layout: Layout, camera: Camera, surface: Surface, look: Lookup) -> Tensor:
    first = look.vectors(layout.paint[..., 0:3])
    second = look.vectors(layout.paint[..., 3:6])
    period, phase, duty, grain = (look.vectors(layout.paint[..., k : k + 2]) for k in (6, 8, 10, 12))
    footprint = surface.depth / camera.focal[:, None, None]
    u, v = surface.uv.unbind(1)
    share = _stripes(u, period[0], phase[0], duty[0], footprint)
    share.mul_(_stripes(v, period[1], phase[1], duty[1], footprint))
    share.mul_((surface.face != 1) | (surface.slot == 0))
    seed = (look.index.view(look.shape) * 9176 + layout.seed[:, None, None].long()).int()
    size = grain[1]
    texture = smooth(u / size, v / size, seed).mul_(grain[0] * (1.5 - footprint / size).clamp_(0.0, 1.0))
    bright = texture.add_(1.0).clamp_(min=0.1)
    return torch.stack([(b - a).mul_(share).add_(a).mul_(bright) for a, b in zip(first, second, strict=True)], 1)


def _stripes(x: Tensor, period: Tensor, phase: Tensor, duty: Tensor, footprint: Tensor) -> Tensor:
    """Share of a pixel's width that lies in the cells of a periodic pattern; its mean where pixels are wide."""
    position = (x - phase) / period
    distance = (position - (position + 0.5).floor()).abs_()
    width = (footprint / period).clamp_(min=1e-4)
    sharp = (0.5 * duty - distance).div_(width).add_(0.5).clamp_(0.0, 1.0)
    far = (2.0 * width - 0.5).clamp_(0.0, 1.0)
    return sharp.add_((duty - sharp).mul_(far))


def _sky(layout: Layout, camera: Camera, clouds: Tensor) -> Tensor:
    x, y, z = camera.rays
    up = (-y).clamp(min=0.0)
    height = (up * 2.5).clamp_(max=1.0)
    over = 1.0 / (up + 0.12)
    seed = layout.seed[:, None, None]
    cover = smooth(x * over * 1.5, z * over * 1.5, seed).add_(smooth(x * over * 4.0, z * over * 4.0, seed) * 0.5)
    cover = cover.mul_(0.5).add_(0.8 * clouds).clamp_(0.0, 1.0)
    haze, zenith = layout.haze[:, :, None, None], layout.zenith[:, :, None, None]
    blue = haze + (zenith - haze) * height[:, None]
    return blue + (0.9 - blue) * (cover * height * 0.8)[:, None]
