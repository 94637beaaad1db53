"""Layouts of rooms: where the furniture stands, what it is made of, where the camera and the lamp are.

Written as for one room, in NumPy arrays over B rooms. Random numbers of a room come from its own generator, and all
arithmetic is exactly rounded, so a room does not depend on the rooms beside it. World axes as in `raycast`, with the
origin on the floor in the middle of the room and the walls along x and z. Metres.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mtlrepro.data.classes import NYUV2
from mtlrepro.data.scenes.raycast import Camera, Scene
from mtlrepro.data.scenes.textures import Materials

Numbers = NDArray[np.float64]
CLASS = {name: number for number, name in enumerate(NYUV2)}

Part = tuple[str, float, float, float, float, float, float]
"""Class, then from and to along x, up and z, in units of the piece's half width, height and half length; z = 1 is the
side that stands against the wall."""

PIECES: dict[str, tuple[tuple[tuple[float, float], ...], float, tuple[Part, ...]]] = {
    # name: (range of half width, height, half length), height on which things rest, parts
    "nothing": (((0.1, 0.1), (0.1, 0.1), (0.1, 0.1)), 0.0, ()),
    "bed": (
        ((0.6, 1.0), (0.8, 1.2), (0.95, 1.05)),
        0.48,
        (
            ("bed", -1, 1, 0, 0.45, -1, 0.95),
            ("bed", -1, 1, 0, 1, 0.95, 1),
            ("objects", -0.85, -0.1, 0.45, 0.6, 0.5, 0.9),
            ("objects", 0.1, 0.85, 0.45, 0.6, 0.5, 0.9),
            ("bed", -1.03, 1.03, 0.2, 0.49, -1.02, 0.2),
        ),
    ),
    "sofa": (
        ((0.7, 1.1), (0.75, 0.95), (0.4, 0.5)),
        0.48,
        (
            ("sofa", -0.85, 0.85, 0, 0.48, -1, 0.6),
            ("sofa", -1, 1, 0, 1, 0.55, 1),
            ("sofa", -1, -0.82, 0, 0.68, -1, 0.6),
            ("sofa", 0.82, 1, 0, 0.68, -1, 0.6),
            ("objects", -0.5, -0.1, 0.48, 0.9, 0.2, 0.55),
        ),
    ),
    "table": (
        ((0.45, 0.9), (0.45, 0.78), (0.35, 0.6)),
        1.0,
        (
            ("table", -1, 1, 0.93, 1, -1, 1),
            ("table", -0.97, -0.87, 0, 0.93, -0.97, -0.85),
            ("table", 0.87, 0.97, 0, 0.93, -0.97, -0.85),
            ("table", -0.97, -0.87, 0, 0.93, 0.85, 0.97),
            ("table", 0.87, 0.97, 0, 0.93, 0.85, 0.97),
        ),
    ),
    "chair": (
        ((0.21, 0.28), (0.8, 1.05), (0.21, 0.28)),
        0.5,
        (
            ("chair", -1, 1, 0.42, 0.5, -1, 1),
            ("chair", -1, 1, 0.55, 1, 0.85, 1),
            ("chair", -1, -0.85, 0, 0.6, 0.8, 1),
            ("chair", 0.85, 1, 0, 0.6, 0.8, 1),
            ("chair", -0.15, 0.15, 0, 0.42, -0.9, -0.6),
        ),
    ),
    "bookcase": (
        ((0.4, 0.8), (1.4, 2.1), (0.15, 0.2)),
        1.0,
        (
            ("furniture", -1, 1, 0, 1, -0.8, 1),
            ("books", -0.92, 0.6, 0.1, 0.27, -1, -0.8),
            ("books", -0.5, 0.92, 0.4, 0.58, -1, -0.8),
            ("books", -0.92, 0.8, 0.7, 0.9, -1, -0.8),
            ("objects", -0.5, 0.2, 1, 1.15, -0.5, 0.6),
        ),
    ),
    "television": (
        ((0.5, 0.9), (0.45, 0.65), (0.2, 0.25)),
        1.0,
        (
            ("furniture", -1, 1, 0, 1, -1, 1),
            ("tv", -0.75, 0.75, 1.1, 2.4, -0.1, 0.1),
            ("tv", -0.2, 0.2, 1, 1.1, -0.4, 0.4),
            ("furniture", -0.94, -0.04, 0.1, 0.9, -1.08, -1),
            ("furniture", 0.04, 0.94, 0.1, 0.9, -1.08, -1),
        ),
    ),
    "cabinet": (
        ((0.4, 0.9), (0.8, 1.9), (0.22, 0.32)),
        1.0,
        (
            ("furniture", -1, 1, 0, 1, -1, 1),
            ("furniture", -0.94, -0.03, 0.06, 0.48, -1.06, -1),
            ("furniture", 0.03, 0.94, 0.06, 0.48, -1.06, -1),
            ("furniture", -0.94, 0.94, 0.54, 0.94, -1.06, -1),
            ("objects", -0.6, 0.3, 1, 1.2, -0.6, 0.6),
        ),
    ),
    "desk": (
        ((0.5, 0.8), (0.7, 0.78), (0.3, 0.4)),
        1.0,
        (
            ("table", -1, 1, 0.94, 1, -1, 1),
            ("table", -0.98, -0.9, 0, 0.94, -0.9, 0.95),
            ("table", 0.9, 0.98, 0, 0.94, -0.9, 0.95),
            ("tv", -0.45, 0.3, 1.12, 1.75, 0.3, 0.4),
            ("books", 0.45, 0.8, 1, 1.22, -0.3, 0.4),
        ),
    ),
}
PARTS = 5
REACH = 7.0
NAMES = tuple(PIECES)
WALL_PIECES = {"bed": 0.18, "sofa": 0.16, "bookcase": 0.17, "television": 0.12, "cabinet": 0.2, "desk": 0.12}
PLACES: tuple[dict[str, float], ...] = (  # what stands there, with which probability; otherwise nothing
    WALL_PIECES,
    WALL_PIECES,
    WALL_PIECES,
    WALL_PIECES,
    {"table": 0.6, "chair": 0.2},
    {"chair": 0.8},
)
DECALS = ("window", "picture", "picture")
CLUTTER = ("box", "box", "box", "sphere", "sphere", "sphere", "cylinder", "cylinder", "cylinder")

FOCAL = 0.81
"""Focal length over the image's width, that of NYUv2's camera."""

KINDS = ("room", *["box"] * (len(DECALS) + PARTS * len(PLACES)), *CLUTTER)
FRAME = (*[0] * (1 + len(DECALS)), *(1 + p for p in range(len(PLACES)) for _ in range(PARTS)), *[0] * len(CLUTTER))
N = len(KINDS)
BLOBS = 3
FLOOR, CEILING = N, N + 1
FIRST_PART = 1 + len(DECALS)
FIRST_CLUTTER = FIRST_PART + PARTS * len(PLACES)

_AXES = {"box": [0, 1, 2], "sphere": [0, 0, 0], "cylinder": [0, 1, 0]}

PALETTES = {  # base colour, range of brightness, spread of hue
    "paint": ((0.75, 0.70, 0.60), (0.3, 1.0), 0.15),
    "white": ((0.85, 0.85, 0.82), (0.5, 1.0), 0.06),
    "wood": ((0.50, 0.30, 0.15), (0.15, 1.2), 0.2),
    "fabric": ((0.35, 0.32, 0.32), (0.1, 1.6), 0.5),
    "vivid": ((0.50, 0.45, 0.40), (0.3, 1.2), 0.8),
    "dark": ((0.06, 0.06, 0.07), (0.3, 1.5), 0.2),
}


@dataclass(frozen=True)
class Finish:
    """What a class is made of.

    Attributes:
        palettes: Probability of each palette.
        cells: Range of the cells per metre, along u and v.
        blend: Largest share of a second colour.
        seam: Largest darkening of the seams.
        grain: Largest amplitude of the grain.
    """

    palettes: dict[str, float]
    cells: tuple[tuple[float, float], tuple[float, float]]
    blend: float
    seam: float
    grain: float


FINISHES = {
    "bed": Finish({"fabric": 0.6, "white": 0.4}, ((2, 6), (2, 6)), 0.3, 0.1, 0.3),
    "books": Finish({"vivid": 0.7, "dark": 0.1, "white": 0.2}, ((18, 40), (0.5, 3)), 1.0, 0.6, 0.1),
    "ceiling": Finish({"white": 0.7, "paint": 0.3}, ((0.8, 2), (0.8, 2)), 0.05, 0.25, 0.1),
    "chair": Finish({"wood": 0.4, "fabric": 0.4, "dark": 0.2}, ((3, 12), (3, 12)), 0.3, 0.2, 0.3),
    "floor": Finish({"wood": 0.5, "fabric": 0.3, "paint": 0.2}, ((0.7, 2), (4, 10)), 0.4, 0.4, 0.3),
    "furniture": Finish({"wood": 0.6, "white": 0.25, "paint": 0.15}, ((1, 3), (4, 12)), 0.3, 0.2, 0.2),
    "objects": Finish({"vivid": 0.4, "fabric": 0.2, "white": 0.2, "dark": 0.2}, ((3, 15), (3, 15)), 0.7, 0.3, 0.3),
    "picture": Finish({"vivid": 0.4, "fabric": 0.4, "white": 0.2}, ((2, 6), (2, 6)), 1.0, 0.2, 0.5),
    "sofa": Finish({"fabric": 0.7, "dark": 0.3}, ((1.2, 3), (1.2, 3)), 0.2, 0.3, 0.4),
    "table": Finish({"wood": 0.7, "white": 0.15, "dark": 0.15}, ((0.6, 2), (8, 20)), 0.3, 0.1, 0.2),
    "tv": Finish({"dark": 1.0}, ((0.4, 1), (0.4, 1)), 0.2, 0.1, 0.05),
    "wall": Finish({"paint": 0.75, "white": 0.25}, ((0.3, 1.5), (0.3, 1.5)), 0.15, 0.05, 0.12),
    "window": Finish({"white": 0.6, "paint": 0.2, "dark": 0.2}, ((1.2, 2.5), (1.0, 2.0)), 0.3, 0.8, 0.1),
}


class Draws:
    """Uniform random numbers of B scenes, taken in one order by all of them.

    Args:
        seeds: One per scene.
        n: Numbers per scene.
    """

    def __init__(self, seeds: Sequence[np.random.SeedSequence], n: int) -> None:
        self._numbers = np.stack([np.random.default_rng(seed).random(n) for seed in seeds])
        self._taken = 0

    def unit(self, *shape: int) -> Numbers:
        """Numbers in [0, 1), `[B, *shape]`."""
        n = int(np.prod(shape, dtype=int))
        block = self._numbers[:, self._taken : self._taken + n]
        self._taken += n
        return block.reshape(len(block), *shape)

    def between(self, low: float | Numbers, high: float | Numbers, *shape: int) -> Numbers:
        """Numbers from `low` to `high`, `[B, *shape]`."""
        return low + (high - low) * self.unit(*shape)

    def pick(self, probabilities: Sequence[float], *shape: int) -> NDArray[np.int64]:
        """Index of a probability, or their number for what is left to 1; `[B, *shape]`."""
        return picked(self.unit(*shape), np.array(probabilities))

    def seed(self, *shape: int) -> NDArray[np.int32]:
        """Whole numbers from 0 below 2^24."""
        return (self.unit(*shape) * 2**24).astype(np.int32)


def picked(unit: Numbers, probabilities: Numbers) -> NDArray[np.int64]:
    """Turn uniform numbers `[...]` into indices by probabilities `[..., P]`."""
    index: NDArray[np.int64] = (unit[..., None] >= np.cumsum(probabilities, -1)).sum(-1)
    return index


def turn(half_tangent: Numbers) -> tuple[Numbers, Numbers]:
    """Cosine and sine of the angle whose half has this tangent, by exactly rounded operations only."""
    square = half_tangent * half_tangent
    return (1 - square) / (1 + square), 2 * half_tangent / (1 + square)


@dataclass(frozen=True)
class Sensor:
    """What B cameras and their annotators see and miss.

    Attributes:
        exposure: `[B]`, factor of the light.
        noise: `[B]`, standard deviation of the picture's noise.
        seed: int32 `[B]`, of the noise.
        blobs: `[B, 2, BLOBS, 4]`, ellipses without label, without depth: centre x and y, reach in x and y, all in
            units of the image.
        omitted: bool `[B, N]`, slots without label.
        glass: bool `[B, 2]`, windows and screens without depth.
        far: `[B]`, depth beyond which none is measured, metres.
    """

    exposure: torch.Tensor
    noise: torch.Tensor
    seed: torch.Tensor
    blobs: torch.Tensor
    omitted: torch.Tensor
    glass: torch.Tensor
    far: torch.Tensor


@dataclass(frozen=True)
class Layout:
    """B rooms.

    Attributes:
        scene: N slots; slot 0 is the room.
        camera: One per room.
        lamp: `[B, 3]`, world axes.
        ambient: `[B]`, share of light without direction.
        materials: N + 2, one per slot (the walls at 0), then `FLOOR` and `CEILING`.
        classes: int64 `[B, N + 2]`.
        middle: `[B]`, height (y) halfway between floor and ceiling.
        casters: bool `[B, N]`, what casts shadows: all but what lies flat on a wall or a front.
        sensor: What the cameras and annotators see and miss.
    """

    scene: Scene
    camera: Camera
    lamp: torch.Tensor
    ambient: torch.Tensor
    materials: Materials
    classes: torch.Tensor
    middle: torch.Tensor
    casters: torch.Tensor
    sensor: Sensor


def _table(values: dict[str, float], keys: Sequence[str]) -> list[float]:
    return [values.get(key, 0.0) for key in keys]


_DIMENSIONS = np.array([PIECES[name][0] for name in NAMES])
_REST = np.array([PIECES[name][1] for name in NAMES])
_BOUNDS = np.zeros((len(NAMES), PARTS, 3, 2))
_CLASSES = np.full((len(NAMES), PARTS), -1)
for _number, _name in enumerate(NAMES):
    for _k, (_class, *_bounds) in enumerate(PIECES[_name][2]):
        _BOUNDS[_number, _k] = np.reshape(_bounds, (3, 2))
        _CLASSES[_number, _k] = CLASS[_class]
_FLAT = (_BOUNDS[..., 2, 1] <= -0.8) & (_BOUNDS[..., 2, 0] < -0.99)
_PALETTE = np.array([[*base, *brightness, hue] for base, brightness, hue in PALETTES.values()])
_PALETTES_OF = np.array([_table(FINISHES[name].palettes, tuple(PALETTES)) for name in NYUV2])
_FINISH = np.array([[*sum(f.cells, ()), f.blend, f.seam, f.grain] for f in (FINISHES[name] for name in NYUV2)])


def draw(draws: Draws, size: tuple[int, int], device: str | torch.device) -> Layout:
    """Draw B rooms for images of a size (height, width)."""
    rooms = len(draws.unit())
    half_x, half_z = draws.between(1.5, 2.8), draws.between(1.5, 4.2)
    height = draws.between(2.4, 2.8)
    centre, half = np.zeros((rooms, N, 3)), np.full((rooms, N, 3), 0.1)
    active = np.ones((rooms, N), bool)
    classes = np.full((rooms, N + 2), CLASS["wall"])
    classes[:, FLOOR], classes[:, CEILING] = CLASS["floor"], CLASS["ceiling"]
    yaw = np.zeros((rooms, 1 + len(PLACES), 2))
    yaw[:, 0, 0] = 1
    centre[:, 0, 1] = -height / 2
    half[:, 0] = np.stack([half_x, height / 2, half_z], 1)

    for n, name in enumerate(DECALS, 1):
        wall, along = draws.pick([0.5, 0.25]), draws.between(-0.8, 0.8)
        width, tall = draws.between(0.2, 0.5), draws.between(0.2, 0.45)
        if name == "window":
            width, tall = 1.8 * width, 1.5 * tall
        back, side = wall == 0, 1 - 2.0 * (wall == 1)
        centre[:, n, 0] = np.where(back, along * half_x, side * half_x)
        centre[:, n, 1] = -height * draws.between(0.5, 0.7)
        centre[:, n, 2] = np.where(back, half_z, along * half_z * 0.6 + 0.3 * half_z)
        half[:, n] = np.stack([np.where(back, width, 0.03), tall, np.where(back, 0.03, width)], 1)
        active[:, n] = draws.unit() < (0.6 if name == "window" else 0.55)
        classes[:, n] = CLASS[name]

    tops, pieces = np.zeros((rooms, len(PLACES), 3)), np.zeros((rooms, len(PLACES)), int)
    for place, choice in enumerate(PLACES):
        piece = draws.pick(_table(choice, NAMES))
        pieces[:, place] = piece = np.where(piece == len(NAMES), 0, piece)
        low, high = _DIMENSIONS[piece].transpose(2, 0, 1)
        size_of = low + (high - low) * draws.unit(3)
        where, free, quarter = draws.between(-1, 1), draws.between(-1, 1), draws.pick([0.25, 0.25, 0.25])
        length = size_of[:, 2]
        if place < 2:  # back wall, left and right half
            x, z = (where * 0.35 + (place - 0.5)) * half_x, half_z - length - 0.02
            cos, sin = turn(0.03 * free)
        elif place < 4:  # left and right wall
            side = 2 * place - 5
            x, z = side * (half_x - length - 0.02), where * 0.5 * half_z + 0.3 * half_z
            cos, sin = turn(0.03 * free)
            cos, sin = side * sin, -side * cos
        else:  # in the room, any way round
            x, z = where * 0.6 * half_x, (0.25 + 0.35 * free) * half_z
            cos, sin = turn(0.4 * draws.between(-1, 1))
            cos, sin = (np.select([quarter == q for q in range(4)], way) for way in _quarters(cos, sin))
        yaw[:, 1 + place] = np.stack([cos, sin], 1)
        bounds = _BOUNDS[piece] * size_of[:, None, :, None]
        middle, extent = bounds.mean(-1), (bounds[..., 1] - bounds[..., 0]) / 2
        slots = slice(FIRST_PART + PARTS * place, FIRST_PART + PARTS * (place + 1))
        c, s = cos[:, None], sin[:, None]
        centre[:, slots, 0] = x[:, None] + c * middle[..., 0] - s * middle[..., 2]
        centre[:, slots, 1] = -middle[..., 1]
        centre[:, slots, 2] = z[:, None] + s * middle[..., 0] + c * middle[..., 2]
        classes[:, slots] = np.maximum(_CLASSES[piece], 0)
        active[:, slots] = _CLASSES[piece] >= 0
        half[:, slots] = np.where(active[:, slots, None], extent, 0.1)
        tops[:, place] = np.stack([x, size_of[:, 1] * _REST[piece], z], 1)

    for n in range(FIRST_CLUTTER, N):
        on = draws.pick([0.12] * len(PLACES))  # otherwise on the floor
        x, y, z = tops[np.arange(rooms), np.minimum(on, len(PLACES) - 1)].T
        floor = on == len(PLACES)
        sizes = draws.between(0.05, 0.22, 3)
        x = np.where(floor, draws.between(-0.85, 0.85) * half_x, x + draws.between(-0.2, 0.2))
        z = np.where(floor, draws.between(-0.15, 0.9) * half_z, z + draws.between(-0.15, 0.15))
        sizes *= np.where(floor, 1.3, 0.8)[:, None]
        up = sizes[:, 0] if KINDS[n] == "sphere" else sizes[:, 1]
        centre[:, n] = np.stack([x, -np.where(floor, 0, y) - up, z], 1)
        half[:, n] = sizes[:, _AXES[KINDS[n]]]
        active[:, n] = draws.unit() < 0.6
        classes[:, n] = CLASS["objects"]

    position = np.stack([draws.between(-0.5, 0.5) * half_x, -draws.between(1.4, 1.6), 0.3 - half_z], 1)
    cos, sin = turn(draws.between(-0.18, 0.18) - 0.12 * position[:, 0] / half_x)
    down_cos, down_sin = turn(draws.between(-0.06, 0.16))
    zero = np.zeros(rooms)
    rotation = np.stack(
        [
            np.stack([cos, zero, -sin], 1),
            np.stack([-down_sin * sin, down_cos, -down_sin * cos], 1),
            np.stack([down_cos * sin, down_sin, down_cos * cos], 1),
        ],
        1,
    )
    focal = np.full(rooms, FOCAL * size[1])
    lamp = np.stack([draws.between(-0.5, 0.5) * half_x, 0.25 - height, draws.between(-0.7, 0.5) * half_z], 1)

    def tensor(array: NDArray[Any]) -> torch.Tensor:
        kept = array.astype(np.float32) if array.dtype == np.float64 else array
        return torch.from_numpy(kept).to(device)

    casters = np.ones((rooms, N), bool)
    casters[:, :FIRST_PART] = False
    casters[:, FIRST_PART:FIRST_CLUTTER] = ~_FLAT[pieces].reshape(rooms, -1)
    return Layout(
        scene=Scene(KINDS, FRAME, tensor(yaw), tensor(centre), tensor(half), tensor(active)),
        camera=Camera(tensor(rotation), tensor(position), tensor(focal), size),
        lamp=tensor(lamp),
        ambient=tensor(draws.between(0.25, 0.5)),
        materials=Materials(*map(tensor, _materials(draws, classes))),
        classes=tensor(classes),
        middle=tensor(-height / 2),
        casters=tensor(casters),
        sensor=Sensor(*map(tensor, _sensor(draws))),
    )


def _sensor(draws: Draws) -> tuple[NDArray[Any], ...]:
    """Draw the fields of :class:`Sensor`."""
    exposure, noise, seed = draws.between(0.9, 1.7), draws.between(0.01, 0.03), draws.seed()
    blobs = draws.unit(2, BLOBS, 4)
    blobs[..., 2:] = 0.02 + 0.1 * blobs[..., 2:]
    share = np.array([0.0] * FIRST_PART + [0.04] * (FIRST_CLUTTER - FIRST_PART) + [0.25] * (N - FIRST_CLUTTER))
    return exposure, noise, seed, blobs, draws.unit(N) < share, draws.unit(2) < 0.5, draws.between(4.5, REACH)


def _quarters(cos: Numbers, sin: Numbers) -> tuple[list[Numbers], list[Numbers]]:
    """Cosines and sines after 0, 1, 2 and 3 quarter turns more."""
    return [cos, -sin, -cos, sin], [sin, cos, -sin, -cos]


def _materials(draws: Draws, classes: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
    """Draw the fields of `Materials` for the rows of `classes` `[B, M]`."""
    count = classes.shape[1]
    unit, seed = draws.unit(count, 15), draws.seed(count)
    for place in range(len(PLACES)):  # parts of one class in one piece are of one material
        first = FIRST_PART + PARTS * place
        slots = slice(first, first + PARTS)
        same = classes[:, slots] == classes[:, first, None]
        unit[:, slots] = np.where(same[..., None], unit[:, first, None], unit[:, slots])
    colours = []
    for u in (unit[..., :5], unit[..., 5:10]):
        palette = _PALETTE[np.minimum(picked(u[..., 0], _PALETTES_OF[classes]), len(PALETTES) - 1)]
        brightness = palette[..., 3] + (palette[..., 4] - palette[..., 3]) * u[..., 1]
        hue = 1 + palette[..., 5, None] * (2 * u[..., 2:] - 1)
        colours.append(np.clip(palette[..., :3] * brightness[..., None] * hue, 0, 1))
    finish = _FINISH[classes]
    cells = finish[..., 0:4:2] + (finish[..., 1:4:2] - finish[..., 0:4:2]) * unit[..., 10:12]
    blend, seam, grain = np.moveaxis(finish[..., 4:] * (0.3 + 0.7 * unit[..., 12:15]), -1, 0)
    return colours[0], colours[1], cells, blend, seam, grain, seed
