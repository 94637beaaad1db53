"""SyntheticRooms: furnished rooms with exact depth, normals, 13 classes as in NYUv2 and ten maps as in Taskonomy.

A room is a box with furniture composed of boxes, clutter of boxes, balls and cylinders, windows and pictures, one lamp
that casts shadows and an ambient light. Colour and texture depend on the class but overlap between classes; the picture
has gamma 2 (exactly rounded, unlike 2.2), sensor noise and 8 bits. As in real data some targets are unknown:
unlabelled blobs and objects, no depth in blobs, beside depth borders, far away and on some windows and screens.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from mtlrepro.data.classes import NYUV2
from mtlrepro.data.scenes import maps, tiled
from mtlrepro.data.scenes.batches import chosen_keys, seeds_of, some_rows
from mtlrepro.data.scenes.raycast import Lookup, Surface, shade
from mtlrepro.data.scenes.rooms.layout import CEILING, CLASS, FLOOR, Draws, Layout, draw
from mtlrepro.data.scenes.textures import albedo, sensor_noise, uniform

VERSION = 1
KEYS = (
    "image",
    "segmentation",
    "depth",
    "normal",
    "curvature",
    "reshading",
    "edges2d",
    "edges3d",
    "keypoints2d",
    "keypoints3d",
    "valid",
)
CHUNK = {"cpu": 16, "cuda": 256}
NUMBERS = 1200
FALLOFF = 3.0
MARGIN = 2e-3


def generate(
    indices: Sequence[int],
    *,
    split: str,
    size: tuple[int, int],
    seed: int = 0,
    device: str | torch.device = "cpu",
    keys: Iterable[str] | None = None,
) -> dict[str, Tensor]:
    """Make the rooms of some indices.

    A room depends on `(seed, split, index)` and the size alone: the same bits in every batch, in any order, with
    any number of threads.

    Args:
        indices: B indices from 0.
        split: `train`, `val` or `test`.
        size: Height and width in pixels.
        seed: At least 0.
        device: A torch device.
        keys: Keys to make, of `KEYS`; default: all. The image always comes with them.

    Returns:
        Tensors `[B, ...]` by key, in the conventions of `samples`.

    Raises:
        ValueError: An argument is out of range.
    """
    chosen = chosen_keys(keys, KEYS)
    seeds = seeds_of(indices, split, seed)
    chunk = CHUNK[torch.device(device).type]
    layout = draw(Draws(seeds, NUMBERS), size, device)
    parts = [_render(some_rows(layout, slice(start, start + chunk)), chosen) for start in range(0, len(indices), chunk)]
    return {key: torch.cat([part[key] for part in parts]) for key in KEYS if key in chosen}


def _render(layout: Layout, chosen: set[str]) -> dict[str, Tensor]:
    camera = layout.camera
    surface = shade(layout.scene, camera, *tiled.cast(layout.scene, camera))
    look = Lookup(material_rows(layout, surface))
    label = look(layout.classes)
    depth = surface.depth[:, None]
    unlabelled, valid = _holes(layout, surface, label)
    result = {"image": _picture(layout, surface, look)}
    if "segmentation" in chosen:
        result["segmentation"] = label.masked_fill(unlabelled, -1)
    if "depth" in chosen:
        result["depth"] = depth * valid
    if chosen & {"normal", "reshading", "keypoints3d"}:
        normal = camera.to_camera(surface.normal)
        if "normal" in chosen:
            result["normal"] = normal * valid
        if "reshading" in chosen:
            result["reshading"] = maps.reshading(depth, normal, camera.focal) * valid
        if "keypoints3d" in chosen:
            result["keypoints3d"] = maps.keypoints3d(depth, normal) * valid
    if "curvature" in chosen:
        result["curvature"] = surface.curvature * valid
    if "edges2d" in chosen:
        result["edges2d"] = maps.edges2d(result["image"])
    if "keypoints2d" in chosen:
        result["keypoints2d"] = maps.keypoints2d(result["image"])
    if "edges3d" in chosen:
        result["edges3d"] = maps.edges3d(depth) * valid
    if "valid" in chosen:
        result["valid"] = valid
    return result


def material_rows(layout: Layout, surface: Surface) -> Tensor:
    """Row of the materials and classes at every pixel: the slot, or floor and ceiling, int64 `[B, H, W]`."""
    level = (surface.slot == 0) & (surface.face == 1)
    floor = surface.point[:, 1] > layout.middle[:, None, None]
    return surface.slot + level * torch.where(floor, FLOOR, CEILING)


def _picture(layout: Layout, surface: Surface, look: Lookup) -> Tensor:
    """Picture `[B, 3, H, W]` in steps of 1/255: albedo, lamp with shadows, ambient light, gamma 2, noise."""
    sensor = layout.sensor
    colour = albedo(layout.materials, look, surface.uv)
    x, y, z = (layout.lamp[:, :, None, None] - surface.point).unbind(1)
    nx, ny, nz = surface.normal.unbind(1)
    square = (x * x).add_(y * y).add_(z * z)
    lambert = (nx * x).add_(ny * y).add_(nz * z).clamp_(min=0.0).div_(square.sqrt())
    lambert.mul_(FALLOFF).div_(square.add_(FALLOFF))
    solids = replace(layout.scene, active=layout.scene.active & layout.casters)
    lambert.mul_(~tiled.shadowed(solids, layout.camera, surface.point, layout.lamp, lambert > 0, MARGIN))
    ambient = layout.ambient[:, None, None]
    # Ambient light is stronger from above, so that flat surfaces under it differ without a lamp.
    light = lambert.mul_(1.0 - ambient).add_((0.85 - 0.15 * ny) * ambient).mul_(sensor.exposure[:, None, None])
    picture = (colour * light[:, None]).clamp_(0.0, 1.0).sqrt_()
    noise = sensor_noise(layout.camera.size, sensor.seed).mul_(sensor.noise[:, None, None, None])
    picture.add_(noise).clamp_(0.0, 1.0)
    return picture.mul_(255.0).add_(0.5).floor_().div_(255.0)


def _holes(layout: Layout, surface: Surface, label: Tensor) -> tuple[Tensor, Tensor]:
    """Say which pixels have no label `[B, H, W]` and where geometry is known `[B, 1, H, W]`."""
    sensor, depth = layout.sensor, surface.depth
    height, width = depth.shape[1:]
    rows = torch.arange(height, device=depth.device)[:, None]
    columns = torch.arange(width, device=depth.device)

    def blobs(table: Tensor) -> Tensor:
        a, b, across, down = table[:, :, None, None].unbind(-1)
        u, v = ((columns + 0.5) / width - a) / across, ((rows + 0.5) / height - b) / down
        return (u * u + v * v < 1).any(1)

    unlabelled, unknown = (blobs(table) for table in sensor.blobs.unbind(1))
    unlabelled |= Lookup(surface.slot)(sensor.omitted)
    silent = layout.scene.active.new_zeros(len(depth), len(NYUV2))  # glass and screens give no echo
    silent[:, [CLASS["window"], CLASS["tv"]]] = sensor.glass
    unknown |= Lookup(label)(silent)
    unknown |= depth > sensor.far[:, None, None]
    left = pad(depth, (1, 0), mode="replicate")[..., :-1]
    unknown |= depth > left * 1.15  # the projector of a depth camera casts a shadow beside a nearer thing
    unknown |= uniform(columns, rows, sensor.seed[:, None, None]) < 0.005
    return unlabelled, ~unknown[:, None]
