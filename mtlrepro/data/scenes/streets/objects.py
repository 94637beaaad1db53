"""Things that stand in a street, built of boxes, spheres and upright cylinders: one row of numbers for each part.

Lengths are metres. A part has a class, an instance, a place and a paint. A paint is a first colour that carries a
grain, and a second colour in the cells of a grid, which draws windows, lane marks, bars, slabs and lamps alike.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mtlrepro.data.classes import CITYSCAPES

BOX, SPHERE, CYLINDER = range(3)
CLASS = {name: number for number, name in enumerate(CITYSCAPES)} | {"void": -1}

GREY = ((0.05, 0.05, 0.06), (0.12, 0.12, 0.13), (0.25, 0.25, 0.26), (0.42, 0.41, 0.40))
STONE = ((0.45, 0.38, 0.28), (0.52, 0.47, 0.40), (0.30, 0.22, 0.16), (0.35, 0.14, 0.09), (0.60, 0.58, 0.54))
PLANT = ((0.05, 0.10, 0.03), (0.09, 0.16, 0.04), (0.14, 0.17, 0.05), (0.20, 0.15, 0.06), (0.06, 0.08, 0.05))
VIVID = ((0.40, 0.04, 0.03), (0.04, 0.09, 0.30), (0.55, 0.38, 0.05), (0.05, 0.16, 0.10), (0.65, 0.65, 0.63))
SKIN = ((0.55, 0.35, 0.25), (0.35, 0.20, 0.12), (0.15, 0.08, 0.05))
GLASS = (0.04, 0.05, 0.07)
WHITE = (0.75, 0.75, 0.72)
Colour = Sequence[float]


@dataclass(frozen=True)
class Paint:
    """Colours of a part.

    Attributes:
        first: Linear RGB in [0, 1].
        second: Colour of the grid's cells.
        period: Metres between cells along the surface and up (along the street for ground).
        phase: Metres from the part's centre to the centre of a cell.
        duty: Share of a period that a cell fills, each way; 0 draws none.
        grain: Relative amplitude of the texture and size of its features in metres.
    """

    first: Colour
    second: Colour = GLASS
    period: tuple[float, float] = (1.0, 1.0)
    phase: tuple[float, float] = (0.0, 0.0)
    duty: tuple[float, float] = (0.0, 0.0)
    grain: tuple[float, float] = (0.1, 0.3)

    def row(self) -> list[float]:
        """Numbers in the order of the table of parts."""
        return [*self.first, *self.second, *self.period, *self.phase, *self.duty, *self.grain]


class Parts:
    """Rows `kind, class, instance, centre [3], half size [3], yaw, paint [14]` and the ways to add to them.

    Places are (x, z) in the frame of the street, which is turned by `heading` against the camera; x is to the right
    and the camera is at (0, 0). Turns are those of `raycast`: a solid's own z axis is (-sin, 0, cos).

    Args:
        rng: Source of sizes and colours.
        height: Height of the camera above the ground.
        heading: Turn of the street, radians.
    """

    def __init__(self, rng: np.random.Generator, height: float, heading: float) -> None:
        self.rng = rng
        self.height = height
        self.heading = heading
        self.rows: list[list[float]] = []
        self._instance = 0

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.rng.random() < probability

    def between(self, low: float, high: float) -> float:
        """Uniform number."""
        return low + (high - low) * self.rng.random()

    def colour(self, *palettes: Sequence[Colour], spread: float = 0.25) -> list[float]:
        """A colour of one of the palettes, brightness and hue varied."""
        palette = palettes[int(self.rng.integers(len(palettes)))]
        base = palette[int(self.rng.integers(len(palette)))]
        bright, *hue = self.rng.standard_normal(4).tolist()
        return [
            min(part * math.exp(spread * (bright + 0.3 * shift)), 0.9) for part, shift in zip(base, hue, strict=True)
        ]

    def add(
        self,
        kind: int,
        name: str,
        place: tuple[float, float],
        size: tuple[float, float, float],
        paint: Paint,
        *,
        base: float = 0.0,
        yaw: float = 0.0,
        offset: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        """Add one part to the current object.

        Args:
            kind: `BOX`, `SPHERE` (of the given width) or `CYLINDER`.
            name: Class.
            place: Place of the object.
            size: Width, height and length.
            paint: Colours.
            base: Height of the part's lowest point.
            yaw: Turn of the object against the street, radians.
            offset: Offset of the part in the frame of the object, right and forward.
        """
        angle = self.heading + yaw
        x, z = turn(place, self.heading)
        dx, dz = turn(offset, angle)
        half = [0.5 * length for length in size]
        centre = [x + dx, self.height - base - half[1], z + dz]
        self.rows.append([kind, CLASS[name], self._instance, *centre, *half, angle, *paint.row()])

    def begin(self) -> None:
        """Start a new object: parts that follow have a new instance number."""
        self._instance += 1

    def facade(self, place: tuple[float, float], size: tuple[float, float, float], yaw: float = 0.0) -> None:
        """A building with rows of windows."""
        self.begin()
        storey, bay = self.between(2.8, 3.8), self.between(1.8, 4.0)
        paint = Paint(
            self.colour(STONE, STONE, GREY, spread=0.35),
            self.colour((GLASS, GLASS, GREY[2], WHITE), spread=0.3),
            (bay, storey),
            (self.between(0, bay), 0.5 * size[1] - 0.5 * storey - self.between(0, 0.4)),
            (self.between(0.3, 0.65), self.between(0.4, 0.65)),
            (self.between(0.08, 0.25), self.between(0.2, 1.5)),
        )
        self.add(BOX, "building", place, size, paint, yaw=yaw)
        if self.chance(0.5):
            roof = Paint(self.colour(STONE[2:4], GREY), grain=(0.2, 0.3))
            width, height, length = size
            self.add(BOX, "building", place, (width + 0.6, 0.5, length), roof, base=height, yaw=yaw)

    def barrier(self, name: str, place: tuple[float, float], length: float, yaw: float = 0.0) -> None:
        """A wall, a fence of bars or a hedge along the street."""
        self.begin()
        height = self.between(0.9, 2.2) if name != "wall" else self.between(1.2, 3.0)
        if name == "fence":
            period = self.between(0.25, 0.6)
            paint = Paint(
                self.colour(GREY, STONE, PLANT),
                self.colour(PLANT, GREY),
                (period, self.between(0.5, 1.2)),
                duty=(self.between(0.5, 0.7), 0.85),
            )
        elif name == "wall":
            paint = Paint(
                self.colour(STONE, GREY[1:]),
                self.colour(GREY[:3], STONE[2:4]),
                (50.0, self.between(0.3, 0.6)),
                duty=(1.0, 0.12),
                grain=(self.between(0.15, 0.4), self.between(0.15, 0.5)),
            )
        else:
            paint = Paint(self.colour(PLANT), grain=(1.0, 0.25))
        self.add(BOX, name, place, (self.between(0.1, 0.3) if name == "fence" else 0.5, height, length), paint, yaw=yaw)

    def tree(self, place: tuple[float, float], height: float) -> None:
        """A trunk and a crown of overlapping ellipsoids."""
        self.begin()
        bark = Paint(self.colour((STONE[2], GREY[1])), grain=(0.3, 0.15))
        crown = 0.4 * height
        self.add(CYLINDER, "vegetation", place, (0.35, height - crown, 0.35), bark)
        green = self.colour(PLANT)
        for _ in range(3):
            leaf = Paint([part * self.between(0.8, 1.2) for part in green], grain=(1.2, self.between(0.25, 0.5)))
            width = crown * self.between(0.9, 1.3)
            offset = (crown * self.between(-0.45, 0.45), crown * self.between(-0.45, 0.45))
            base = height - crown * self.between(0.9, 1.5)
            self.add(SPHERE, "vegetation", place, (width, width, width), leaf, base=base, offset=offset)

    def bush(self, place: tuple[float, float]) -> None:
        """A low plant."""
        self.begin()
        width = self.between(0.6, 2.5)
        paint = Paint(self.colour(PLANT), grain=(1.0, 0.25))
        self.add(SPHERE, "vegetation", place, (width, width, width), paint, base=-0.25 * width)

    def lamp_post(self, place: tuple[float, float], arm: float) -> None:
        """A pole, with an arm towards the road."""
        self.begin()
        height, paint = self.between(4.5, 9.0), Paint(self.colour(GREY), grain=(0.05, 0.5))
        self.add(CYLINDER, "pole", place, (0.15, height, 0.15), paint)
        self.add(BOX, "pole", place, (abs(arm), 0.1, 0.12), paint, base=height, offset=(0.5 * arm, 0.0))

    def traffic_light(self, place: tuple[float, float], yaw: float) -> None:
        """A pole with a housing of three lamps, one of them lit."""
        self.begin()
        base = self.between(2.2, 3.4)
        self.add(CYLINDER, "pole", place, (0.13, base + 0.4, 0.13), Paint(self.colour(GREY), grain=(0.05, 0.5)))
        self.begin()
        lamp = int(self.rng.integers(3))
        light = ((1.6, 0.15, 0.08), (1.6, 0.9, 0.1), (0.1, 1.4, 0.6))[lamp]
        paint = Paint(self.colour(GREY[:2]), light, (9.0, 9.0), (0.0, 0.3 - 0.3 * lamp), (0.28 / 9, 0.28 / 9))
        self.add(BOX, "traffic light", place, (0.42, 1.0, 0.35), paint, base=base, yaw=yaw, offset=(0.0, -0.2))

    def sign(self, place: tuple[float, float], yaw: float) -> None:
        """A pole with a plate, round or square."""
        self.begin()
        base, width = self.between(1.8, 2.8), self.between(0.6, 0.95)
        height = width * (self.between(0.6, 1.3) if self.chance(0.4) else 1.0)
        self.add(CYLINDER, "pole", place, (0.08, base + 0.3, 0.08), Paint(self.colour(GREY[1:]), grain=(0.05, 0.5)))
        self.begin()
        inner = self.between(0.4, 0.75)
        paint = Paint(
            self.colour(VIVID),
            self.colour((WHITE, VIVID[1], VIVID[2])),
            (9.0, 9.0),
            duty=(inner * width / 9, inner * height / 9),
            grain=(0.04, 0.3),
        )
        self.add(BOX, "traffic sign", place, (width, height, 0.06), paint, base=base, yaw=yaw, offset=(0.0, -0.1))

    def bin(self, place: tuple[float, float]) -> None:
        """Something without a class, as Cityscapes' static objects."""
        self.begin()
        size = (self.between(0.4, 1.2), self.between(0.6, 1.5), self.between(0.4, 1.2))
        kind = CYLINDER if self.chance(0.5) else BOX
        self.add(kind, "void", place, size, Paint(self.colour(GREY, VIVID, PLANT)))


def turn(place: tuple[float, float], angle: float) -> tuple[float, float]:
    """Take (x, z) from a frame turned by `angle` to the frame it is turned against."""
    (x, z), c, s = place, math.cos(angle), math.sin(angle)
    return c * x - s * z, s * x + c * z
