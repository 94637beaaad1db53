"""SyntheticRooms: furnished rooms with exact depth, normals, 13 classes as in NYUv2 and ten maps as in Taskonomy.

A room is a box with furniture composed of boxes, clutter of boxes, balls and cylinders, windows and pictures, one lamp
that casts shadows and an ambient light. Colour and texture depend on the class but overlap between classes; the picture
has gamma 2 (exactly rounded, unlike 2.2), sensor noise and 8 bits. As in real data some targets are unknown:
unlabelled blobs and objects, no depth in blobs, beside depth borders, far away and on some windows and screens.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from mtlrepro.data import maps
from mtlrepro.data.classes import NYUV2
from mtlrepro.data.raycast import Lookup, Surface, blocked, cast, shade
from mtlrepro.data.room_layout import CEILING, CLASS, FIRST_CLUTTER, FIRST_PART, FLOOR, N, Draws, Layout, draw
from mtlrepro.data.textures import albedo, sensor_noise, uniform

VERSION = 1
CLASSES = NYUV2
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
SPLITS = ("train", "val", "test")
CHUNK = {"cpu": 4, "cuda": 256}
NUMBERS = 1200
BLOBS = 3
REACH = 7.0
FALLOFF = 3.0
CASTERS = tuple(n for n in range(FIRST_PART, N))


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

    A room depends on ``(seed, split, index)`` and the size alone: the same bits in every batch, in any order, with
    any number of threads.

    Args:
        indices: B indices from 0.
        split: ``train``, ``val`` or ``test``.
        size: height and width in pixels.
        seed: at least 0.
        device: a torch device.
        keys: what to make, of ``KEYS``; default: all. The picture always comes with it.

    Returns:
        Tensors ``[B, ...]`` by key, in the conventions of ``samples``.

    Raises:
        ValueError: an argument is out of range.
    """
    wanted = set(KEYS if keys is None else keys) | {"image"}
    if unknown := sorted(wanted - set(KEYS)):
        raise ValueError(f"keys hold {unknown[0]!r}; accepted: {', '.join(KEYS)}")
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; accepted: {', '.join(SPLITS)}")
    if not len(indices) or min(indices) < 0:
        raise ValueError(f"indices are {list(indices)}; accepted: one or more, from 0")
    if seed < 0:
        raise ValueError(f"seed is {seed}; accepted: 0 or more")
    chunk = CHUNK[torch.device(device).type]
    parts = []
    for start in range(0, len(indices), chunk):
        some = [int(i) for i in indices[start : start + chunk]]
        seeds = [np.random.SeedSequence([seed, SPLITS.index(split), i]) for i in some]
        parts.append(_render(Draws(seeds, NUMBERS), size, device, wanted))
    return {key: torch.cat([part[key] for part in parts]) for key in KEYS if key in wanted}


def _render(draws: Draws, size: tuple[int, int], device: str | torch.device, wanted: set[str]) -> dict[str, Tensor]:
    layout = draw(draws, size, device)
    camera = layout.camera
    surface = shade(layout.scene, camera, *cast(layout.scene, camera))
    row = material_rows(layout, surface)
    look = Lookup(row)
    label = look(layout.classes)
    depth = surface.depth[:, None]
    unlabelled, valid = _holes(draws, layout, surface, label)
    result = {"image": _picture(draws, layout, surface, look)}
    if "segmentation" in wanted:
        result["segmentation"] = label.masked_fill(unlabelled, -1)
    if "depth" in wanted:
        result["depth"] = depth * valid
    if wanted & {"normal", "reshading", "keypoints3d"}:
        normal = camera.to_camera(surface.normal)
        if "normal" in wanted:
            result["normal"] = normal * valid
        if "reshading" in wanted:
            result["reshading"] = maps.reshading(depth, normal, camera.focal) * valid
        if "keypoints3d" in wanted:
            result["keypoints3d"] = maps.keypoints3d(depth, normal) * valid
    if "curvature" in wanted:
        result["curvature"] = surface.curvature * valid
    if "edges2d" in wanted:
        result["edges2d"] = maps.edges2d(result["image"])
    if "keypoints2d" in wanted:
        result["keypoints2d"] = maps.keypoints2d(result["image"])
    if "edges3d" in wanted:
        result["edges3d"] = maps.edges3d(depth) * valid
    if "valid" in wanted:
        result["valid"] = valid
    return result


def material_rows(layout: Layout, surface: Surface) -> Tensor:
    """Row of the materials and classes at every pixel: the slot, or floor and ceiling, int64 ``[B, H, W]``."""
    level = (surface.slot == 0) & (surface.face == 1)
    floor = surface.point[:, 1] > layout.middle[:, None, None]
    return surface.slot + level * torch.where(floor, FLOOR, CEILING)


def _picture(draws: Draws, layout: Layout, surface: Surface, look: Lookup) -> Tensor:
    """Picture ``[B, 3, H, W]`` in steps of 1/255: albedo, lamp with shadows, ambient light, gamma 2, noise."""
    device = surface.depth.device
    exposure, sigma, seed = draws.between(0.9, 1.7), draws.between(0.01, 0.03), draws.seed()
    colour = albedo(layout.materials, look, surface.uv)
    x, y, z = (layout.lamp[:, :, None, None] - surface.point).unbind(1)
    nx, ny, nz = surface.normal.unbind(1)
    square = (x * x).add_(y * y).add_(z * z)
    lambert = (nx * x).add_(ny * y).add_(nz * z).clamp_(min=0.0).div_(square.sqrt())
    lambert.mul_(FALLOFF).div_(square.add_(FALLOFF))
    lambert.mul_(~blocked(layout.scene, surface.point, layout.lamp, CASTERS))
    ambient = layout.ambient[:, None, None]
    # Ambient light is stronger from above, so that flat surfaces under it differ without a lamp.
    light = lambert.mul_(1.0 - ambient).add_((0.85 - 0.15 * ny) * ambient)
    light.mul_(_column(exposure, device)[:, 0])
    picture = (colour * light[:, None]).clamp_(0.0, 1.0).sqrt_()
    noise = sensor_noise(layout.camera.size, torch.from_numpy(seed).to(device))
    picture.add_(noise.mul_(_column(sigma, device))).clamp_(0.0, 1.0)
    return picture.mul_(255.0).add_(0.5).floor_().div_(255.0)


def _holes(draws: Draws, layout: Layout, surface: Surface, label: Tensor) -> tuple[Tensor, Tensor]:
    """Say which pixels have no label ``[B, H, W]`` and where geometry is known ``[B, 1, H, W]``."""
    device = label.device
    rooms = len(label)
    depth = surface.depth
    unlabelled = _blobs(draws, layout)
    unknown = _blobs(draws, layout)

    slots = np.zeros((rooms, N), bool)  # whole objects that the annotator left out
    slots[:, FIRST_PART:] = draws.unit(N - FIRST_PART) < 0.04
    slots[:, FIRST_CLUTTER:] |= draws.unit(N - FIRST_CLUTTER) < 0.25
    unlabelled |= Lookup(surface.slot)(torch.from_numpy(slots).to(device))

    glass = draws.unit(2) < 0.5  # no echo from glass, from screens
    for k, name in enumerate(("window", "tv")):
        unknown |= (label == CLASS[name]) & torch.from_numpy(glass[:, k, None, None].copy()).to(device)
    far = _column(draws.between(4.5, REACH), device)[:, 0]
    unknown |= depth > far
    left = torch.nn.functional.pad(depth, (1, 0), mode="replicate")[..., :-1]
    unknown |= depth > left * 1.15  # beside a nearer thing the projector of a depth camera casts a shadow
    seed = torch.from_numpy(draws.seed()).to(device)[:, None, None]
    rows = torch.arange(depth.shape[1], device=device)[:, None]
    unknown |= uniform(torch.arange(depth.shape[2], device=device), rows, seed) < 0.005
    return unlabelled, ~unknown[:, None]


def _blobs(draws: Draws, layout: Layout) -> Tensor:
    """Ellipses at random places of the image, bool ``[B, H, W]``."""
    camera = layout.camera
    device = layout.lamp.device
    height, width = camera.size
    rows = (torch.arange(height, device=device) + 0.5)[:, None] / height
    columns = (torch.arange(width, device=device) + 0.5) / width
    result = torch.zeros(len(layout.lamp), height, width, dtype=torch.bool, device=device)
    middle, reach = draws.unit(BLOBS, 2), draws.between(0.02, 0.12, BLOBS, 2)
    for k in range(BLOBS):
        x, y = (_column(middle[:, k, i], device)[:, 0] for i in range(2))
        a, b = (_column(1 / reach[:, k, i], device)[:, 0] for i in range(2))
        u, v = (columns - x) * a, (rows - y) * b
        result |= u * u + v * v < 1
    return result


def _column(values: np.ndarray, device: str | torch.device) -> Tensor:
    """``[B]`` as float32 ``[B, 1, 1, 1]``."""
    return torch.from_numpy(values.astype(np.float32)).to(device)[:, None, None, None]
