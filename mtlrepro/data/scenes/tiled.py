"""Ray casting for scenes of many small solids: each tile of the image meets only the solids that can appear in it.

The work is that of `raycast`, on pairs of a tile and a solid. Bounds of solids on the image are exact for boxes and
a little wide for the round ones; ties in depth go to the earlier slot.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from mtlrepro.data.scenes.raycast import FAR, Bundle, Camera, Scene

NEAR = 0.05
"""Depth in metres of the plane at which solids are cut: what lies nearer has no bounds on the image."""
CORNERS = [(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]
EDGES = [
    (a, b) for a in range(8) for b in range(a) if sum(p != q for p, q in zip(CORNERS[a], CORNERS[b], strict=True)) == 1
]
# Edges of a box and of its shadow volume, whose far end is the same box moved: both boxes' own, and those between.
SWEPT = EDGES + [(a + 8, b + 8) for a, b in EDGES] + [(a, a + 8) for a in range(8)]
Window = tuple[Tensor, Tensor, Tensor, Tensor]


def cast(scene: Scene, camera: Camera) -> tuple[Tensor, Tensor]:
    """Find the nearest solid along every ray; slot 0 is the room or the ground, which surrounds the others.

    Returns:
        z-depth `[B, H, W]` in metres, 0 where nothing is hit, and the slot hit, int64 `[B, H, W]`, -1 for none.
    """
    tiles = _Tiles(camera)
    yaw = scene.yaw[:, scene.frame[0], None]
    around = Scene(scene.kinds[:1], (0,), yaw, scene.centre[:, :1], scene.half[:, :1], scene.active[:, :1])
    near, far = Bundle(around, camera.position, camera.rays).interval(0)
    keys = tiles.split(_key(torch.where(near > far, FAR, near), 0))
    windows = _window(camera, corners(scene), EDGES)
    rays = [tiles.split(ray) for ray in camera.rays]
    for tile, slot, near, far in _meetings(scene, tiles.touched(windows), camera.position, rays):
        _reduce(keys, tile, _key(torch.where(near > far, FAR, near), slot[:, None, None]), "amin")
    keys = tiles.join(keys)
    depth = (keys >> 32).int().view(torch.float32)
    missed = depth >= FAR
    return depth.masked_fill_(missed, 0.0), (keys & 0xFFFF).masked_fill_(missed, -1)


def hidden(scene: Scene, camera: Camera, points: Tensor, other: Camera, margin: float = 5e-4) -> Tensor:
    """Say which points of a view another camera cannot see, beside it and looking the same way: bool `[B, H, W]`.

    Args:
        scene: B scenes.
        camera: Camera that sees the points.
        points: `[B, 3, H, W]`, world axes.
        other: Camera that may not see them.
        margin: Part of the way to the other camera, next to the point, that is left out, so that no surface hides
            itself.
    """
    solid = corners(scene)
    low, high, top, bottom = _window(other, solid, EDGES)
    # On the image of `other` a hidden point lies where the solid lies; on that of `camera` it is shifted by its own
    # disparity, which is between 0 and that of the solid's nearest corner. The window is widened by as much.
    apart = ((other.position - camera.position) * camera.rotation[:, 0]).sum(1, keepdim=True)
    ahead = ((solid - other.position[:, None, None]) * camera.rotation[:, None, None, 2]).sum(3)
    nearest = ahead.amin(2).clamp(min=NEAR)
    shift = apart / nearest
    window = (low + shift.clamp(max=0.0), high + shift.clamp(min=0.0), top, bottom)
    depth = ((points - camera.position[:, :, None, None]) * camera.rotation[:, 2, :, None, None]).sum(1)
    tiles = _Tiles(camera)
    # A tile whose points all lie before the solid cannot be hidden by it.
    farthest = tiles.split(depth).amax((1, 2)).view(len(depth), 1, -1)
    return _blocked(scene, tiles, points, other.position, window, nearest[..., None] < farthest, margin)


def shadowed(scene: Scene, camera: Camera, points: Tensor, lamp: Tensor, lit: Tensor, margin: float = 2e-4) -> Tensor:
    """Say which points of a view lie in the shadow of active solids, bool `[B, H, W]`.

    Args:
        scene: B scenes; slot 0 is the ground or the room, and all points lie on the ground or floor or above.
        camera: Camera that sees the points.
        points: `[B, 3, H, W]`, world axes.
        lamp: `[B, 3]`; solids that reach as high are met with every tile.
        lit: bool `[B, H, W]`, where it matters; tiles without such a pixel are not computed.
        margin: Part of the way to the lamp, next to the point, that is left out, so that no surface shadows itself.
    """
    solid = corners(scene)
    lamp_at = lamp[:, None, None]
    ground = scene.centre[:, :1, 1, None]
    if scene.kinds[0] == "room":
        ground = ground + scene.half[:, :1, 1, None]
    # A shadow falls from the solid away from the lamp down to the ground (y points down): `fall` is the length of
    # that way in units of the distance from the lamp to the corner. The volume between the solid and its shadow on
    # the ground is convex, so the bounds of its corners bound every point in the solid's shadow.
    below = solid[..., 1] - lamp_at[..., 1]
    fall = ((ground - solid[..., 1]).clamp(min=0.0) / below.clamp(min=NEAR))[..., None]
    window = _window(camera, torch.cat([solid, solid + (solid - lamp_at) * fall], 2), SWEPT)
    # A corner as high as the lamp has its shadow infinitely far away: such solids are met with every tile.
    high = (below < NEAR).any(2)
    low_x, high_x, low_y, high_y = window
    window = (
        low_x.masked_fill(high, -FAR),
        high_x.masked_fill(high, FAR),
        low_y.masked_fill(high, -FAR),
        high_y.masked_fill(high, FAR),
    )
    tiles = _Tiles(camera)
    useful = tiles.split(lit).any(2).any(1).view(len(lit), 1, -1)
    return _blocked(scene, tiles, points, lamp, window, useful, margin)


def corners(scene: Scene) -> Tensor:
    """Corners of the boxes around the solids, world axes, `[B, N, 8, 3]`."""
    signs = scene.half.new_tensor(CORNERS)
    x, y, z = (scene.half[:, :, None] * signs).unbind(3)
    cos, sin = scene.yaw[:, list(scene.frame)][:, :, None].unbind(3)
    return torch.stack([cos * x - sin * z, y, sin * x + cos * z], 3) + scene.centre[:, :, None]


class _Tiles:
    """Square tiles that cover an image."""

    def __init__(self, camera: Camera) -> None:
        self.size = camera.size
        self.side = max(8, camera.size[1] // 32)
        self.rows, self.columns = (-(-length // self.side) for length in camera.size)
        self.focal = camera.focal

    def split(self, maps: Tensor) -> Tensor:
        """`[B, H, W]` as `[B * tiles, side, side]`, padded with zeros."""
        height, width = self.size
        pad = (0, self.columns * self.side - width, 0, self.rows * self.side - height)
        maps = torch.nn.functional.pad(maps, pad)
        maps = maps.view(-1, self.rows, self.side, self.columns, self.side)
        return maps.transpose(2, 3).reshape(-1, self.side, self.side)

    def join(self, tiles: Tensor) -> Tensor:
        """Undo `split`."""
        maps = tiles.view(-1, self.rows, self.columns, self.side, self.side).transpose(2, 3)
        maps = maps.reshape(-1, self.rows * self.side, self.columns * self.side)
        return maps[:, : self.size[0], : self.size[1]].contiguous()

    def touched(self, window: Window) -> Tensor:
        """Tiles that windows touch, bool `[B, N, tiles]`; a pixel of slack covers rounding."""
        height, width = self.size
        focal = self.focal[:, None]
        low, high = window[0] * focal + 0.5 * width - 1, window[1] * focal + 0.5 * width + 1
        top, bottom = window[2] * focal + 0.5 * height - 1, window[3] * focal + 0.5 * height + 1
        x = torch.arange(self.columns, device=low.device) * self.side
        y = torch.arange(self.rows, device=low.device) * self.side
        across = (low[..., None] < x + self.side) & (high[..., None] > x)
        down = (top[..., None] < y + self.side) & (bottom[..., None] > y)
        return (down[..., :, None] & across[..., None, :]).flatten(2)


def _window(camera: Camera, points: Tensor, edges: list[tuple[int, int]]) -> Window:
    """Bounds of x / z and y / z of the parts of convex bodies in front of the camera, four times `[B, N]`.

    Args:
        camera: B cameras.
        points: `[B, N, K, 3]`, corners, world axes.
        edges: Pairs of corners, all edges of the bodies among them.
    """
    offsets = points - camera.position[:, None, None]
    local = (offsets[..., None, :] * camera.rotation[:, None, None]).sum(4)
    first, second = (local[:, :, list(side)] for side in zip(*edges, strict=True))
    depth_a, depth_b = first[..., 2], second[..., 2]
    # A body that reaches behind the plane is cut there: to its corners in front come the ends of the cut edges.
    crossing = (depth_a < NEAR) != (depth_b < NEAR)
    share = (NEAR - depth_a) / torch.where(crossing, depth_b - depth_a, 1.0)
    cut = first + (second - first) * share[..., None]
    seen = torch.cat([local[..., 2] >= NEAR, crossing], 2)
    local = torch.cat([local, cut], 2)
    plane = local[..., :2] / local[..., 2:].clamp(min=NEAR)
    low = torch.where(seen[..., None], plane, FAR).amin(2)
    high = torch.where(seen[..., None], plane, -FAR).amax(2)
    return low[..., 0], high[..., 0], low[..., 1], high[..., 1]


def _meetings(
    scene: Scene, touched: Tensor, origin: Tensor, rays: list[Tensor]
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Tile, slot and the interval inside the solid, for the pairs of each kind.

    The host waits for the device, as the number of pairs depends on the scenes.
    """
    touched = touched & scene.active[..., None]
    frame = torch.tensor(scene.frame, device=origin.device)
    for kind in dict.fromkeys(scene.kinds):
        if kind in ("room", "ground"):
            continue
        # Slots of one kind follow one another, so that a slice finds them.
        slots = [n for n, other in enumerate(scene.kinds) if other == kind]
        image, slot, tile = touched[:, slots[0] : slots[-1] + 1].nonzero(as_tuple=True)
        slot = slot + slots[0]
        tile = tile + image * touched.shape[2]
        turns = scene.yaw[image, frame[slot]][:, None]
        centre, half = scene.centre[image, slot][:, None], scene.half[image, slot][:, None]
        solids = Scene((kind,), (0,), turns, centre, half, torch.ones_like(half[..., 0], dtype=torch.bool))
        near, far = Bundle(solids, origin[image], [ray[tile] for ray in rays]).interval(0)
        yield tile, slot, near, far


def _blocked(
    scene: Scene, tiles: _Tiles, points: Tensor, source: Tensor, window: Window, useful: Tensor, margin: float
) -> Tensor:
    rays = [tiles.split(p - s[:, None, None]) for p, s in zip(points.unbind(1), source.unbind(1), strict=True)]
    inside = torch.full_like(rays[0], -FAR)
    for tile, _, near, far in _meetings(scene, tiles.touched(window) & useful, source, rays):
        _reduce(inside, tile, far.clamp_(max=1.0 - margin).sub_(near), "amax")
    return tiles.join(inside) >= 0


def _key(depth: Tensor, slot: Tensor | int) -> Tensor:
    """Sort by depth, then slot: positive floats are ordered as their bits."""
    return (depth.view(torch.int32).long() << 32) | slot


def _reduce(tiles: Tensor, index: Tensor, values: Tensor, how: str) -> None:
    tiles.scatter_reduce_(0, index[:, None, None].expand_as(values), values, how)
