"""Layouts of streets: parts, ground, sun, haze and cameras as tables for the ray caster.

A street is drawn by itself from its own generator and then put into slots of fixed kinds, nearest parts first. Lengths
are metres; places are (x, z) in the frame of the street.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtlrepro.data.scenes.raycast import Camera, Scene
from mtlrepro.data.scenes.streets.composition import FOCAL, REACH, compose
from mtlrepro.data.scenes.streets.objects import BOX, CYLINDER, GREY, PLANT, SPHERE, STONE, WHITE, Paint, Parts

BASELINE = 0.209
ALIGNED, TURNED, SPHERES, CYLINDERS = 72, 40, 56, 48
KINDS = ("ground", *["box"] * (ALIGNED + TURNED), *["sphere"] * SPHERES, *["cylinder"] * CYLINDERS)
FRAME = (*[0] * (1 + ALIGNED), *range(1, TURNED + 1), *[0] * (SPHERES + CYLINDERS))
N = len(KINDS)
SIDEWALK, TERRAIN = N, N + 1
ROWS = N + 2
VOID = -1
FIRST = {BOX: 1, SPHERE: 1 + ALIGNED + TURNED, CYLINDER: 1 + ALIGNED + TURNED + SPHERES}
COLUMNS = 24
SUN = 400.0
SHADOWS = 50.0  # beyond, only what is large casts one


@dataclass(frozen=True)
class Layout:
    """B streets.

    Attributes:
        scene: Solids; slot 0 is the ground.
        left: The camera of the image.
        right: The camera `BASELINE` to its right.
        classes: int64 `[B, ROWS]`, class of each slot, then of sidewalk and terrain (slot 0 is road).
        instances: int64 `[B, ROWS]`, 0 for what is not counted.
        paint: `[B, ROWS, 14]`, as in `objects.Paint`.
        grounds: `[B, 10]`: road from and to, width of sidewalks left and right, verge from and to beside the road,
            whether terrain is beyond left and right, side street from and to along the street.
        casters: bool `[B, N]`, slots that cast shadows.
        sun: `[B, 3]`, a point far away.
        light: `[B, 6]`: sun, ambient, exposure, distance of half haze in metres, clouds, standard deviation of noise.
        haze: `[B, 3]`, linear RGB.
        zenith: `[B, 3]`, linear RGB.
        seed: int32 `[B]`, of noise and textures.
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
    grounds = compose(parts, size)
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
    """Axes of a camera that looks down by `pitch` and is turned by `roll`, radians."""
    (c, s), (a, b) = (np.cos(pitch), np.sin(pitch)), (np.cos(roll), np.sin(roll))
    tilt = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    rolled: NDArray[np.float64] = np.array([[a, b, 0], [-b, a, 0], [0, 0, 1]]) @ tilt
    return rolled


def _tables(parts: Parts) -> dict[str, NDArray[Any]]:
    """Put the parts that can be in view into slots, nearest first."""
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
    distance = np.hypot(table[:N, 3], table[:N, 5])
    return {
        "yaw": np.stack([np.cos(yaw), np.sin(yaw)], 1),
        "centre": table[:N, 3:6],
        "half": table[:N, 6:9],
        "active": active,
        "classes": classes,
        "instances": table[:, 2],
        "paint": table[:, 10:],
        "casters": active & (classes[:N] != VOID) & (table[:N, 6:9].max(1) > np.where(distance < SHADOWS, 0.25, 3.0)),
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
