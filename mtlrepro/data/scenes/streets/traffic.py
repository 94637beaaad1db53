"""People and vehicles of a street, added to its parts. Lengths are metres; a yaw of 0 looks along the street."""

from mtlrepro.data.scenes.streets.objects import (
    BOX,
    CYLINDER,
    GLASS,
    GREY,
    PLANT,
    SKIN,
    SPHERE,
    STONE,
    VIVID,
    WHITE,
    Paint,
    Parts,
)

Place = tuple[float, float]
TYRE = Paint((0.025, 0.025, 0.028), (0.3, 0.3, 0.3), (9.0, 9.0), duty=(0.03, 0.03), grain=(0.2, 0.2))


def person(parts: Parts, place: Place, yaw: float) -> None:
    """A pedestrian: legs, trunk and head."""
    parts.begin()
    _figure(parts, "person", place, yaw, parts.between(0.65, 1.1) if parts.chance(0.2) else parts.between(0.95, 1.1))


def _figure(parts: Parts, name: str, place: Place, yaw: float, scale: float, seat: float | None = None) -> None:
    trousers, jacket = (Paint(parts.colour(GREY, VIVID, STONE, PLANT, spread=0.4), grain=(0.3, 0.2)) for _ in range(2))
    hip = 0.85 * scale if seat is None else seat
    for side in (-1, 1):
        step = 0.0 if seat is None else 0.1
        step += parts.between(-0.18, 0.18)
        leg = (0.17 * scale, 0.85 * scale, 0.19 * scale)
        offset = (0.1 * side, step)
        parts.add(CYLINDER, name, place, leg, trousers, base=hip - 0.85 * scale, yaw=yaw, offset=offset)
    trunk = (0.46 * scale, 0.62 * scale, 0.3 * scale)
    parts.add(CYLINDER, name, place, trunk, jacket, base=hip, yaw=yaw, offset=(0.0, 0.05))
    head = 0.26 * scale
    top = Paint(parts.colour(SKIN, SKIN, GREY[:2]), grain=(0.2, 0.1))
    parts.add(SPHERE, name, place, (head, head, head), top, base=hip + 0.63 * scale, yaw=yaw, offset=(0.0, 0.08))


def two_wheeler(parts: Parts, name: str, place: Place, yaw: float, ridden: bool) -> None:
    """A bicycle or a motorcycle, with its rider if it is ridden."""
    parts.begin()
    heavy = name == "motorcycle"
    wheel, thickness = (0.64, 0.18) if heavy else (0.68, 0.07)
    paint = Paint(parts.colour(GREY, VIVID, spread=0.4), grain=(0.1, 0.3))
    for end in (-1, 1):
        parts.add(BOX, name, place, (thickness, wheel, wheel), TYRE, yaw=yaw, offset=(0.0, 0.55 * end))
    if heavy:
        parts.add(BOX, name, place, (0.38, 0.5, 1.1), paint, base=0.4, yaw=yaw)
    else:
        parts.add(BOX, name, place, (0.06, 0.35, 0.9), paint, base=0.5, yaw=yaw)
    parts.add(BOX, name, place, (0.55, 0.12, 0.08), paint, base=0.95, yaw=yaw, offset=(0.0, 0.4))
    if ridden:
        parts.begin()
        _figure(parts, "rider", place, yaw, parts.between(0.95, 1.08), seat=0.9)


def car(parts: Parts, place: Place, yaw: float) -> None:
    """A car: body, cabin with windows, wheels."""
    parts.begin()
    width, length = parts.between(1.7, 1.95), parts.between(3.7, 4.8)
    tall = 1.45 if parts.chance(0.7) else 1.75
    colour = parts.colour(GREY, GREY, (WHITE, GREY[3]), VIVID, STONE, spread=0.35)
    lamp = (0.5, 0.03, 0.02) if abs(yaw) < 1.0 else (0.9, 0.88, 0.8)
    lamps = Paint(colour, lamp, (0.75 * width, 9.0), (0.375 * width, -0.1), (0.25, 0.02), (0.05, 0.5))
    parts.add(BOX, "car", place, (width, 0.7, length), lamps, base=0.2, yaw=yaw)
    glazed = Paint(colour, GLASS, (1.3 * width, 9.0), (0.0, 0.05), (0.7, 0.06), (0.05, 0.5))
    size = (0.88 * width, tall - 0.9, 0.5 * length)
    parts.add(BOX, "car", place, size, glazed, base=0.9, yaw=yaw, offset=(0.0, -0.06 * length))
    _wheels(parts, "car", place, yaw, width, 0.3 * length, 0.64)


def truck(parts: Parts, place: Place, yaw: float) -> None:
    """A truck: cab and load."""
    parts.begin()
    length, height = parts.between(4.5, 8.0), parts.between(2.2, 2.9)
    load = Paint(parts.colour(GREY, (WHITE,), VIVID, STONE), grain=(0.12, 1.0))
    parts.add(BOX, "truck", place, (2.4, height, length), load, base=0.9, yaw=yaw)
    cab = Paint(parts.colour(GREY, (WHITE,), VIVID), GLASS, (2.4, 9.0), (0.0, -0.45), (0.85, 0.09), (0.05, 0.5))
    parts.add(BOX, "truck", place, (2.3, 2.2, 1.8), cab, base=0.5, yaw=yaw, offset=(0.0, 0.5 * length + 1.0))
    parts.add(BOX, "truck", place, (1.9, 0.4, length), Paint(GREY[0]), base=0.5, yaw=yaw)
    _wheels(parts, "truck", place, yaw, 2.4, 0.36 * length, 0.95)


def bus(parts: Parts, place: Place, yaw: float) -> None:
    """A bus: one body with a band of windows."""
    parts.begin()
    length = parts.between(9.0, 13.0)
    paint = Paint(parts.colour(VIVID, (WHITE,)), GLASS, (1.5, 9.0), (0.0, -0.45), (0.88, 0.12), (0.05, 0.5))
    parts.add(BOX, "bus", place, (2.5, 2.75, length), paint, base=0.3, yaw=yaw)
    _wheels(parts, "bus", place, yaw, 2.5, 0.3 * length, 0.95)


def train(parts: Parts, place: Place, yaw: float) -> None:
    """A tram of two cars, close to the ground."""
    parts.begin()
    paint = Paint(parts.colour(VIVID, (WHITE,)), GLASS, (2.2, 9.0), (0.0, -0.5), (0.75, 0.12), (0.05, 0.5))
    for offset in (-7.2, 7.2):
        parts.add(BOX, "train", place, (2.4, 3.1, 14.0), paint, base=0.15, yaw=yaw, offset=(0.0, offset))
        parts.add(BOX, "train", place, (1.2, 0.4, 9.0), Paint(GREY[1]), base=3.25, yaw=yaw, offset=(0.0, offset))


def _wheels(parts: Parts, name: str, place: Place, yaw: float, width: float, axle: float, size: float) -> None:
    for end in (-axle, axle):
        parts.add(BOX, name, place, (width + 0.04, size, size), TYRE, yaw=yaw, offset=(0.0, end))
