"""Composition of streets: what stands where along a road, drawn from the generator of its parts.

Lengths are metres; places are (x, z) in the frame of the street.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mtlrepro.data.scenes.streets.objects import GREY, SPHERE, WHITE, Paint, Parts, turn
from mtlrepro.data.scenes.streets.traffic import bus, car, person, train, truck, two_wheeler

FOCAL = 1.105  # Cityscapes: fx 2262.5 pixels at a width of 2048
REACH = 130.0


@dataclass
class _Side:
    """One side of a street: +1 right or -1 left, where the road ends, width of the sidewalk, kind."""

    sign: int
    edge: float
    walk: float
    kind: str


def compose(parts: Parts, size: tuple[int, int]) -> list[float]:
    """Fill a street and say where its ground is road, sidewalk and terrain: `layout.Layout.grounds`."""
    right = parts.between(1.8, 4.5)
    left = -parts.between(3.5, 9.0)
    kinds = ("city", "city", "suburb", "green")
    sides = []
    for sign, edge in ((-1, -left), (1, right)):
        walk = parts.between(1.5, 5.0)
        sides.append(_Side(sign, edge, walk, kinds[int(parts.rng.integers(len(kinds)))]))
    start = parts.between(0.0, 1.5)
    verge = (start, start + parts.between(0.6, 1.8)) if parts.chance(0.3) else (0.0, 0.0)
    crossing = parts.between(9.0, 45.0) if parts.chance(0.5) else REACH
    cross = (crossing, crossing + parts.between(7.0, 12.0))
    for side in sides:
        _front(parts, side, cross)
        _furniture(parts, side, cross)
        _parked(parts, side, cross)
    _moving(parts, left, right)
    _ending(parts)
    _hood(parts, size)
    grounds = [left, right, sides[0].walk, sides[1].walk, *verge]
    grounds += [float(side.kind != "city") for side in sides] + list(cross)
    return grounds


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
