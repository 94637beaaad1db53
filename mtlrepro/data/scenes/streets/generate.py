"""SyntheticStreets: stereo views of streets with exact disparity, the 19 classes of Cityscapes and boxes of BDD100K.

Roads with lane marks, sidewalks and verges, houses, walls, fences, trees, lamps, signs, traffic lights, people, riders
and vehicles, the own bonnet, sun with shadows, haze and sky. Focal length and baseline are those of Cityscapes relative
to the image. Colours overlap between classes. As in real data some objects have no class, and disparity has holes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mtlrepro.data.classes import BDD100K, CITYSCAPES
from mtlrepro.data.scenes import tiled
from mtlrepro.data.scenes.batches import chosen_keys, seeds_of, some_rows
from mtlrepro.data.scenes.raycast import Camera, Lookup, Surface, shade
from mtlrepro.data.scenes.streets.layout import BASELINE, SIDEWALK, TERRAIN, VOID, Layout, draw
from mtlrepro.data.scenes.streets.picture import develop, radiance, smooth

VERSION = 1
KEYS = (
    "image",
    "right",
    "segmentation",
    "depth",
    "normal",
    "disparity",
    "occlusion",
    "valid",
    "boxes",
    "labels",
    "segmentation_right",
    "disparity_right",
    "occlusion_right",
    "boxes_right",
    "labels_right",
)
PIXELS = {"cpu": 100_000, "cuda": 4_000_000}  # of one chunk
SKY = CITYSCAPES.index("sky")
BOX_LABEL = {CITYSCAPES.index("person" if name == "pedestrian" else name): k for k, name in enumerate(BDD100K)}
SMALLEST = 16
INFINITY = 1000.0
HOLES = 0.62


@dataclass(frozen=True)
class View:
    """What one camera sees.

    Attributes:
        camera: The camera.
        surface: Geometry at each pixel.
        rows: int64 `[B, H, W]`, row of the layout's tables, 0 also for sky.
    """

    camera: Camera
    surface: Surface
    rows: Tensor


def generate(
    indices: Sequence[int],
    *,
    split: str,
    size: tuple[int, int],
    seed: int = 0,
    device: str | torch.device = "cpu",
    keys: Iterable[str] | None = None,
) -> dict[str, Tensor | list[Tensor]]:
    """Make the streets of some indices.

    A street depends on `(seed, split, index)` and the size alone: the same bits in every batch and order and with
    any number of threads.

    Args:
        indices: B indices from 0.
        split: `train`, `val` or `test`.
        size: Height and width in pixels; Cityscapes' are as 1 to 2.
        seed: At least 0.
        device: A torch device.
        keys: Keys to make, of `KEYS`; default: all. The left view always comes with them.

    Returns:
        Tensors `[B, ...]` by key, lists of B tensors for boxes and labels, in the conventions of `samples`.
        Boxes bound the visible pixels of objects with 16 pixels or more. Disparity is also given where the other
        view sees nothing; it is 0 in the sky, on the own bonnet and in holes.

    Raises:
        ValueError: An argument is out of range.
    """
    chosen = chosen_keys(keys, KEYS)
    seeds = seeds_of(indices, split, seed)
    chunk = max(1, PIXELS[torch.device(device).type] // (size[0] * size[1]))
    layout = draw(seeds, size, device)
    parts = [_render(some_rows(layout, slice(start, start + chunk)), chosen) for start in range(0, len(seeds), chunk)]
    result: dict[str, Tensor | list[Tensor]] = {}
    for key in KEYS:
        if key in chosen:
            values = [part[key] for part in parts]
            dense = [value for value in values if isinstance(value, Tensor)]
            result[key] = torch.cat(dense) if dense else [row for rows in values for row in rows]
    return result


def look_at(layout: Layout, camera: Camera) -> View:
    """Cast the rays of one camera of each street."""
    surface = shade(layout.scene, camera, *tiled.cast(layout.scene, camera))
    left, right, walk_left, walk_right, inner, outer, beyond_left, beyond_right, begin, end = layout.grounds[
        :, :, None, None
    ].unbind(1)
    x, z = surface.uv.unbind(1)
    beside = torch.maximum(left - x, x - right)
    on_left = x < left
    terrain = (beside > torch.where(on_left, walk_left, walk_right)) & (
        torch.where(on_left, beyond_left, beyond_right) > 0
    )
    terrain |= (beside > inner) & (beside < outer)
    road = (beside <= 0) | ((z >= begin) & (z <= end))
    region = torch.where(road, 0, torch.where(terrain, TERRAIN, SIDEWALK))
    return View(camera, surface, torch.where(surface.slot == 0, region, surface.slot.clamp(min=0)))


def hidden(layout: Layout, view: View, other: Camera) -> Tensor:
    """Say which pixels of a view have no counterpart in the other camera's image, bool `[B, H, W]`.

    The counterpart of a point in the sky is the pixel of the same direction.
    """
    camera, surface = view.camera, view.surface
    sky = surface.slot < 0
    distance = torch.where(sky, INFINITY, surface.depth)
    origin = torch.where(sky[:, None], other.position[:, :, None, None], camera.position[:, :, None, None])
    points = torch.stack([o + r * distance for o, r in zip(origin.unbind(1), camera.rays, strict=True)], 1)
    moved = (other.position - camera.position) * camera.rotation[:, 0]
    shift = (moved[:, 0] + moved[:, 1]) + moved[:, 2]
    width = camera.size[1]
    column = torch.arange(width, device=sky.device) + 0.5
    place = column - torch.where(sky, 0.0, (camera.focal * shift)[:, None, None] / distance)
    return (place < 0) | (place > width) | tiled.hidden(layout.scene, camera, points, other)


def _render(layout: Layout, chosen: set[str]) -> dict[str, Tensor | list[Tensor]]:
    result: dict[str, Tensor | list[Tensor]] = {}
    for number, suffix in enumerate(("", "_right")):
        picture = ("image", "right")[number]
        if not any(
            key == picture or (key not in ("image", "right") and key.endswith("_right") == number) for key in chosen
        ):
            continue
        camera, other = (layout.left, layout.right)[:: 1 - 2 * number]
        view = look_at(layout, camera)
        surface, look = view.surface, Lookup(view.rows)
        sky = surface.slot < 0
        if picture in chosen:
            result[picture] = develop(layout, camera, radiance(layout, camera, surface, look), number)
        labels = look(layout.classes).masked_fill(sky, SKY)
        if "segmentation" + suffix in chosen:
            result["segmentation" + suffix] = labels
        if "disparity" + suffix in chosen:
            known = ~(sky | _holes(layout, camera, number) | ((labels == VOID) & (surface.depth < 3.0)))
            result["disparity" + suffix] = disparity(camera, surface.depth, known)[:, None]
        if "occlusion" + suffix in chosen:
            result["occlusion" + suffix] = hidden(layout, view, other)[:, None]
        if chosen & {"boxes" + suffix, "labels" + suffix}:
            found = [
                boxes(*pair) for pair in zip(instances(layout, view), layout.instances, layout.classes, strict=True)
            ]
            result["boxes" + suffix], result["labels" + suffix] = (list(part) for part in zip(*found, strict=True))
        if number == 0:
            result["depth"] = surface.depth[:, None]
            result["normal"] = camera.to_camera(surface.normal)
            result["valid"] = ~sky[:, None]
    return result


def disparity(camera: Camera, depth: Tensor, known: Tensor) -> Tensor:
    """Disparity f B / z in pixels where known, else 0, `[B, H, W]`."""
    near = (camera.focal * BASELINE)[:, None, None] / torch.where(known, depth, 1.0)
    return near.masked_fill_(~known, 0.0)


def instances(layout: Layout, view: View) -> Tensor:
    """Number of the object at each pixel, int64 `[B, H, W]`, 0 where there is none."""
    return Lookup(view.rows)(layout.instances).masked_fill(view.surface.slot < 0, 0)


def boxes(numbers: Tensor, of_row: Tensor, class_of_row: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes of the objects of one image that have a detection label and `SMALLEST` visible pixels or more.

    The host waits for the device, as it must where the number of results depends on the data.

    Args:
        numbers: int64 `[H, W]`, object at each pixel.
        of_row: int64 `[R]`, object of each row of the tables.
        class_of_row: int64 `[R]`, class of each row.

    Returns:
        Boxes `[n, 4]` and labels `[n]`, in the order of the objects' numbers.
    """
    count = int(of_row.max()) + 1
    label_of_class = torch.full((len(CITYSCAPES) + 1,), -1, device=numbers.device)
    label_of_class[list(BOX_LABEL)] = torch.tensor(list(BOX_LABEL.values()), device=numbers.device)
    label = torch.full((count,), -1, device=numbers.device).scatter(0, of_row, label_of_class[class_of_row])
    height, width = numbers.shape
    rows, columns = (
        axis.flatten() for axis in torch.meshgrid(_range(height, numbers), _range(width, numbers), indexing="ij")
    )
    flat = numbers.flatten()
    empty = flat.new_zeros(count)
    low = [empty.scatter_reduce(0, flat, axis, "amin", include_self=False) for axis in (columns, rows)]
    high = [empty.scatter_reduce(0, flat, axis, "amax", include_self=False) + 1 for axis in (columns, rows)]
    pixels = torch.bincount(flat, minlength=count)
    kept = (label >= 0) & (pixels >= SMALLEST)
    return torch.stack([*low, *high], 1)[kept].float(), label[kept]


def _range(n: int, like: Tensor) -> Tensor:
    return torch.arange(n, device=like.device)


def _holes(layout: Layout, camera: Camera, view: int) -> Tensor:
    """Blobs in which a stereo matcher found nothing, bool `[B, H, W]`."""
    height, width = camera.size
    device = layout.seed.device
    x = ((torch.arange(width, device=device) + 0.5) * (24.0 / width)).expand(height, width)
    y = ((torch.arange(height, device=device) + 0.5) * (24.0 / width))[:, None].expand(height, width)
    return smooth(x, y, layout.seed[:, None, None] + 31 * (view + 1)) > HOLES
