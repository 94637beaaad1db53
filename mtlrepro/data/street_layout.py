"""Composition of streets: what stands where, ground, sun, haze and cameras, as tables for the ray caster.

A street is drawn by itself from its own generator and then put into slots of fixed kinds, nearest parts first. Lengths
are metres; places are (x, z) in the frame of the street.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtlrepro.data.raycast import Camera, Scene
from mtlrepro.data.street_objects import BOX, CYLINDER, GREY, PLANT, SPHERE, STONE, WHITE, Paint, Parts, turn
from mtlrepro.data.street_traffic import bus, car, person, train, truck, two_wheeler

FOCAL = 1.105  # Cityscapes: fx 2262.5 pixels at a width of 2048
BASELINE = 0.209
ALIGNED, TURNED, SPHERES, CYLINDERS = 72, 40, 56, 48
KINDS = ("ground", *["box"] * (ALIGNED + TURNED), *["sphere"] * SPHERES, *["cylinder"] * CYLINDERS)
FRAME = (*[0] * (1 + ALIGNED), *range(1, TURNED + 1), *[0] * (SPHERES + CYLINDERS))
N = len(KINDS)
SIDEWALK, TERRAIN = N, N + 1
ROWS = N + 2
VOID = -1
FIRST = {BOX: 1, SPHERE: 1 + ALIGNED + TURNED, CYLINDER: 1 + ALIGNED + TURNED + SPHERES}
REACH = 130.0
COLUMNS = 24
SUN = 400.0


@dataclass(frozen=True)
class Layout:
    """B streets.

    Attributes:
        scene: solids; slot 0 is the ground.
        left: the camera of the image.
        right: the camera ``BASELINE`` to its right.
        classes: int64 ``[B, ROWS]``, class of each slot, then of sidewalk and terrain (slot 0 is road).
        instances: int64 ``[B, ROWS]``, 0 for what is not counted.
        paint: ``[B, ROWS, 14]``, as in ``street_objects.Paint``.
        grounds: ``[B, 10]``: road from and to, width of sidewalks left and right, verge from and to beside the road,
            whether terrain is beyond left and right, side street from and to along the street.
        casters: bool ``[B, N]``, slots that cast shadows.
        sun: ``[B, 3]``, a point far away.
        light: ``[B, 6]``: sun, ambient, exposure, distance of half haze in metres, clouds, standard deviation of noise.
        haze: ``[B, 3]``, linear RGB.
        zenith: ``[B, 3]``, linear RGB.
        seed: int32 ``[B]``, of noise and textures.
    """

    scene: Scene
    left: Camera
    right: Camera
    classes: Tensor
    instances: Tensor
    paint: Tensor
    grounds: Tensor
    casters: Tensor
    sun: Tensor
    light: Tensor
    haze: Tensor
    zenith: Tensor
    seed: Tensor


@dataclass
class _Side:
    """One side of a street: +1 right or -1 left, where the road ends, width of the sidewalk, verge, kind."""

    sign: int
    edge: float
    walk: float
    verge: tuple[float, float]
    kind: str


def draw(seeds: Sequence[np.random.SeedSequence], size: tuple[int, int], device: str | torch.device) -> Layout:
    """Draw one street for each seed."""
    streets = [_street(np.random.default_rng(seed), size) for seed in seeds]

    def stack(name: str, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.from_numpy(np.stack([street[name] for street in streets])).to(device, dtype)

    rotation = stack("rotation")
    scene = Scene(KINDS, FRAME, stack("yaw"), stack("centre"), stack("half"), stack("active", torch.bool))
    focal = torch.full((len(streets),), FOCAL * size[1], device=device)
    return Layout(
        scene,
        Camera(rotation, 0.0 * rotation[:, 0], focal, size),
        Camera(rotation, BASELINE * rotation[:, 0], focal, size),
        stack("classes", torch.int64),
        stack("instances", torch.int64),
        stack("paint"),
        stack("grounds"),
        stack("casters", torch.bool),
        stack("sun"),
        stack("light"),
        stack("haze"),
        stack("zenith"),
        stack("seed", torch.int32),
    )


def _street(rng: np.random.Generator, size: tuple[int, int]) -> dict[str, NDArray[Any]]:
    """Tables of one street."""
    parts = Parts(rng, height=float(rng.uniform(1.15, 1.5)), heading=float(rng.normal(0, 0.04)))
    right = parts.between(1.8, 4.5)
    left = -parts.between(3.5, 9.0)
    kinds = ("city", "city", "suburb", "green")
    sides = []
    for sign, edge in ((-1, -left), (1, right)):
        walk = parts.between(1.5, 5.0)
        start = parts.between(0.0, 0.5 * walk)
        verge = (start, start + parts.between(0.6, 0.45 * walk + 0.6)) if parts.chance(0.25) else (0.0, 0.0)
        sides.append(_Side(sign, edge, walk, verge, kinds[int(rng.integers(len(kinds)))]))
    crossing = parts.between(9.0, 45.0) if parts.chance(0.5) else REACH
    cross = (crossing, crossing + parts.between(7.0, 12.0))
    for side in sides:
        _front(parts, side, cross)
        _furniture(parts, side, cross)
        _parked(parts, side, cross)
    _moving(parts, left, right)
    _ending(parts)
    grounds = [left, right, sides[0].walk, sides[1].walk, *sides[1].verge]
    grounds += [float(side.kind != "city") for side in sides] + list(cross)
    _hood(parts, size)
    elevation, azimuth = np.deg2rad(parts.between(18, 65)), parts.between(-2.8, 2.8)
    sun = SUN * np.array([np.sin(azimuth), -np.tan(elevation), np.cos(azimuth)])
    cloud = parts.between(0.0, 1.0)
    bright = 0.0 if cloud > 0.75 else parts.between(0.6, 1.1)
    grey = parts.between(0.5, 0.9)
    tables = _tables(parts)
    tables["casters"] &= bright > 0
    return tables | {
        "grounds": np.array(grounds),
        "sun": sun,
        "light": np.array(
            [
                bright,
                parts.between(0.55, 0.75) - 0.3 * (bright > 0),
                1.3 * parts.between(0.65, 1.35),
                parts.between(80, 400),
                cloud,
                parts.between(0.008, 0.025),
            ]
        ),
        "haze": grey * np.array([0.95, 0.98, 1.0]) * (1 + rng.normal(0, 0.03, 3)),
        "zenith": (0.35 + 0.5 * grey * cloud) * np.array([0.45 + 0.5 * cloud, 0.65 + 0.33 * cloud, 1.0]),
        "seed": np.array(rng.integers(2**31)),
        "rotation": _rotation(parts.between(-0.025, 0.035), float(rng.normal(0, 0.008))),
    }


def _rotation(pitch: float, roll: float) -> NDArray[np.float64]:
    """Axes of a camera that looks down by ``pitch`` and is turned by ``roll``, radians."""
    (c, s), (a, b) = (np.cos(pitch), np.sin(pitch)), (np.cos(roll), np.sin(roll))
    tilt = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    rolled: NDArray[np.float64] = np.array([[a, b, 0], [-b, a, 0], [0, 0, 1]]) @ tilt
    return rolled


def _front(parts: Parts, side: _Side, cross: tuple[float, float]) -> None:
    """Line a side with houses, or with gardens and trees."""
    place, line = parts.between(-8.0, 4.0), side.edge + side.walk
    while place < 90.0:
        length = parts.between(8.0, 22.0)
        if place + length > cross[0] and place < cross[1]:
            place = cross[1] + 0.5
            continue
        middle = place + 0.5 * length
        if parts.chance({"city": 0.92, "suburb": 0.55, "green": 0.1}[side.kind]):
            height = parts.between(9.0, 22.0) if side.kind == "city" else parts.between(5.0, 9.0)
            back = parts.between(0.0, 0.6) if side.kind == "city" else parts.between(2.0, 7.0)
            parts.facade((side.sign * (line + back + 5.0), middle), (10.0, height, length))
        elif side.kind != "city":
            for _ in range(2):
                x = side.sign * (line + parts.between(3.0, 12.0))
                parts.tree((x, middle + parts.between(-8.0, 8.0)), parts.between(5.0, 11.0))
        if parts.chance({"city": 0.12, "suburb": 0.8, "green": 0.5}[side.kind]):
            name = ("wall", "wall", "fence", "fence", "vegetation")[int(parts.rng.integers(5))]
            parts.barrier(name, (side.sign * (line + 0.3), middle), length - 0.5)
        place += length + (parts.between(0.0, 3.0) if side.kind != "city" and parts.chance(0.5) else 0.0)


def _furniture(parts: Parts, side: _Side, cross: tuple[float, float]) -> None:
    """Put trees, lamps, signs, traffic lights, bins and people on a sidewalk."""
    kerb = side.edge + 0.5
    if parts.chance(0.65):
        step = parts.between(7.0, 13.0)
        for z in np.arange(parts.between(5.0, 12.0), 60.0, step):
            if parts.chance(0.75):
                parts.tree((side.sign * (kerb + 0.4), float(z)), parts.between(5.5, 10.0))
    for z in np.arange(parts.between(8.0, 25.0), 60.0, parts.between(18.0, 32.0)):
        parts.lamp_post((side.sign * kerb, float(z)), -side.sign * parts.between(0.8, 2.5))
    for _ in range(int(parts.rng.integers(0, 4))):
        parts.sign((side.sign * (kerb + parts.between(-0.2, 0.6)), parts.between(6.0, 40.0)), parts.between(-0.3, 0.3))
    if cross[0] < REACH and parts.chance(0.9):
        parts.traffic_light((side.sign * (kerb + 0.3), cross[0] - 1.0), parts.between(-0.2, 0.2))
        if parts.chance(0.5):
            parts.traffic_light((side.sign * (kerb + 0.3), cross[1] + 0.5), parts.between(-0.2, 0.2))
    for _ in range(int(parts.rng.integers(0, 3))):
        parts.bin((side.sign * (side.edge + parts.between(0.6, side.walk)), parts.between(6.0, 35.0)))
    for _ in range(int(parts.rng.integers(0, 2))):
        parts.bush((side.sign * (side.edge + side.walk + parts.between(0.0, 2.0)), parts.between(6.0, 30.0)))
    for _ in range(int(parts.rng.poisson(1.6))):
        z = parts.between(6.0, 35.0)
        x = side.sign * (side.edge + parts.between(0.4, side.walk))
        person(parts, (x, z), parts.between(-3.1, 3.1))
        if parts.chance(0.3):
            person(parts, (x + 0.6, z + parts.between(-0.3, 0.3)), parts.between(-3.1, 3.1))
    if parts.chance(0.3):
        for _ in range(int(parts.rng.integers(1, 4))):
            x = side.sign * (side.edge + parts.between(0.7, side.walk))
            two_wheeler(parts, "bicycle", (x, parts.between(6.0, 25.0)), parts.between(-1.6, 1.6), ridden=False)
    if parts.chance(0.05):
        x = side.sign * (side.edge + parts.between(-0.8, 0.8))
        two_wheeler(parts, "motorcycle", (x, parts.between(6.0, 20.0)), parts.between(-1.2, 1.2), ridden=False)


def _parked(parts: Parts, side: _Side, cross: tuple[float, float]) -> None:
    """Park cars along a side of a wide road."""
    if side.edge < 3.6 or not parts.chance(0.7):
        return
    density, place = parts.between(0.3, 0.9), parts.between(4.0, 10.0)
    while place < 55.0:
        if parts.chance(density) and not cross[0] - 4 < place < cross[1] + 4:
            lane = side.sign * (side.edge - 1.1), place + 2.4
            kind = truck if parts.chance(0.015) else car
            kind(parts, lane, 0.0 if side.sign > 0 or parts.chance(0.4) else np.pi)
        place += parts.between(5.3, 6.5)


def _moving(parts: Parts, left: float, right: float) -> None:
    """Send vehicles, riders and people along and across the road."""
    place = parts.between(8.0, 25.0)
    while place < 70.0 and parts.chance(0.6):
        _vehicle(parts)(parts, (parts.between(-0.4, 0.4), place + 6.0), 0.0)
        place += parts.between(12.0, 30.0)
    if left < -5.0:
        place = parts.between(8.0, 30.0)
        while place < 70.0 and parts.chance(0.5):
            _vehicle(parts)(parts, (-3.4, place + 6.0), np.pi)
            place += parts.between(12.0, 30.0)
    elif parts.chance(0.16):
        train(parts, (left - 0.2, parts.between(20.0, 42.0)), 0.0)
    for name, probability in (("bicycle", 0.25), ("motorcycle", 0.05)):
        if parts.chance(probability):
            x = right - 0.7 if parts.chance(0.6) else left + 1.5
            yaw = parts.between(-0.3, 0.3) + (np.pi if x < 0 else 0.0)
            two_wheeler(parts, name, (x, parts.between(6.0, 22.0)), yaw, ridden=True)
    if parts.chance(0.2):
        person(parts, (parts.between(left, right), parts.between(10.0, 30.0)), 1.5)


def _vehicle(parts: Parts) -> Callable[[Parts, tuple[float, float], float], None]:
    draw = parts.between(0.0, 1.0)
    return truck if draw < 0.045 else bus if draw < 0.085 else car


def _ending(parts: Parts) -> None:
    """Close the view along the street, or leave it open."""
    far = parts.between(95.0, 115.0)
    if parts.chance(0.4):
        parts.facade((parts.between(-20.0, 20.0), far), (parts.between(30.0, 60.0), parts.between(8.0, 20.0), 10.0))
    else:
        for _ in range(int(parts.rng.integers(2, 6))):
            parts.tree((parts.between(-40.0, 40.0), far), parts.between(8.0, 14.0))


def _hood(parts: Parts, size: tuple[int, int]) -> None:
    """Add the unlabelled bonnet of the own car as a ball whose top touches a ray near the lower edge of the image."""
    if not parts.chance(0.6):
        return
    parts.begin()
    slope = parts.between(0.8, 0.97) * 0.5 * size[0] / (FOCAL * size[1])
    radius, ahead = 0.9, 1.1
    cosine = 1.0 / np.hypot(1.0, slope)
    below = radius / cosine + ahead * slope
    metal = Paint(parts.colour(GREY[:3], (WHITE,)), grain=(0.02, 1.0))
    width = 2 * radius
    base = parts.height - below - radius
    own = turn((0.0, ahead), -parts.heading)  # ahead of the camera, not along the street
    parts.add(SPHERE, "void", own, (width, width, width), metal, base=base)


def _tables(parts: Parts) -> dict[str, NDArray[Any]]:
    """Put parts into slots: those in view or casting shadows into view, nearest first."""
    rows = np.array(parts.rows)
    across, ahead = rows[:, 3], rows[:, 5]
    extent = np.hypot(rows[:, 6], rows[:, 8])
    near = np.hypot(across, ahead) - extent
    seen = (ahead + extent > 0.3) & (np.abs(across) < 0.55 * np.maximum(ahead + extent, 0) + extent + 1.0)
    seen &= (near < REACH) & (rows[:, 6:9].max(1) > 0.0008 * near)
    rows, near = rows[seen], near[seen]
    rows = rows[np.argsort(near, kind="stable")]
    aligned = rows[:, 9] == parts.heading
    slots = [
        rows[(rows[:, 0] == BOX) & aligned][:ALIGNED],
        rows[(rows[:, 0] == BOX) & ~aligned][:TURNED],
        rows[rows[:, 0] == SPHERE][:SPHERES],
        rows[rows[:, 0] == CYLINDER][:CYLINDERS],
    ]
    table = np.zeros((ROWS, COLUMNS))
    active = np.zeros(N, dtype=bool)
    for first, part in zip((1, 1 + ALIGNED, FIRST[SPHERE], FIRST[CYLINDER]), slots, strict=True):
        table[first : first + len(part)] = part
        active[first : first + len(part)] = True
    table[:, 6:9] = np.maximum(table[:, 6:9], 1e-3)
    table[[0, SIDEWALK, TERRAIN]] = _grounds(parts)
    active[0] = True
    yaw = np.concatenate([[parts.heading], table[1 + ALIGNED : 1 + ALIGNED + TURNED, 9]])
    classes = table[:, 1]
    return {
        "yaw": np.stack([np.cos(yaw), np.sin(yaw)], 1),
        "centre": table[:N, 3:6],
        "half": table[:N, 6:9],
        "active": active,
        "classes": classes,
        "instances": table[:, 2],
        "paint": table[:, 10:],
        "casters": active & (classes[:N] != VOID) & (table[:N, 6:9].max(1) > 0.25),
    }


def _grounds(parts: Parts) -> NDArray[np.float64]:
    """Rows of road, sidewalk and terrain."""
    road = Paint(
        parts.colour(GREY[1:3], GREY[1:2]),
        parts.colour((WHITE,), spread=0.15),
        (parts.between(3.0, 3.6), parts.between(5.0, 9.0)),
        (1.7, 0.0),
        (0.04 if parts.chance(0.7) else 0.0, 0.5),
        (parts.between(0.1, 0.35), parts.between(0.3, 1.5)),
    )
    slab = parts.between(0.5, 1.2)
    walk = Paint(
        parts.colour(GREY[2:], GREY[1:3], STONE[:3]),
        parts.colour(GREY[1:3]),
        (slab, slab),
        duty=(0.1, 1.0),
        grain=(parts.between(0.1, 0.3), slab),
    )
    grass = Paint(parts.colour(PLANT, (*PLANT, STONE[0])), grain=(parts.between(0.4, 0.9), parts.between(0.2, 0.6)))
    rows = []
    for number, paint in ((0, road), (1, walk), (9, grass)):
        rows.append([BOX, number, 0, 0.0, parts.height, 0.0, 1.0, 1.0, 1.0, parts.heading, *paint.row()])
    return np.array(rows)
