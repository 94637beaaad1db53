"""An analytic ray caster for batches of scenes built from a few kinds of solids, on CPU and CUDA.

World axes are x right, y **down**, z forward, in metres; solids stand upright, turned only about the vertical. A ray
through a pixel has camera-z 1, so the ray parameter *is* the z-depth. A :class:`Scene` is a structure of arrays: slot n
has one kind in the whole batch and an active flag per image, so that a batch needs no branch per image.

Every operation on pixels is one that IEEE 754 rounds exactly (`+ - * /`, square root, minimum, maximum, comparison),
and none sums over pixels or images. An image therefore has the same bits whatever batch it is in and however many
threads compute it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

FAR = 1e9
"""Depth beyond everything, metres."""
MISS = 1e28
"""Factor that takes the entry of a ray that misses a round solid out of reach."""
TINY = 1e-8
"""Added to what is divided by, so that a ray along an axis has a finite inverse."""


@dataclass(frozen=True)
class Camera:
    """Pinhole cameras of B images with square pixels and the principal point in the middle of the image.

    Attributes:
        rotation: `[B, 3, 3]`; rows are the camera's axes (right, down, forward) in world axes.
        position: `[B, 3]`, metres. It lies inside the room, above the ground and outside of every other solid.
        focal: `[B]`, pixels.
        size: Height and width, pixels; centres of pixels lie at 0.5, 1.5, ...
    """

    rotation: Tensor
    position: Tensor
    focal: Tensor
    size: tuple[int, int]

    @cached_property
    def x(self) -> Tensor:
        """Camera-x of the rays, `[B, 1, W]`."""
        return self._steps(self.size[1])[:, None, :]

    @cached_property
    def y(self) -> Tensor:
        """Camera-y of the rays, `[B, H, 1]`."""
        return self._steps(self.size[0])[:, :, None]

    def _steps(self, n: int) -> Tensor:
        pixels = torch.arange(n, dtype=torch.float32, device=self.focal.device) + 0.5 - n / 2
        return pixels / self.focal[:, None]

    def affine(self, weights: Tensor) -> Tensor:
        """`w0 x + w1 y + w2` at every pixel, `[B, H, W]`; `weights` is `[B, 3]`."""
        w0, w1, w2 = weights[:, :, None, None].unbind(1)
        return (w0 * self.x + w2) + w1 * self.y

    @cached_property
    def rays(self) -> tuple[Tensor, Tensor, Tensor]:
        """Directions in world axes with camera-z 1, three times `[B, H, W]`."""
        x, y, z = (self.affine(self.rotation[:, :, axis]) for axis in range(3))
        return x, y, z

    def at(self, depth: Tensor) -> Tensor:
        """World points `[B, 3, H, W]` at z-depth `depth` `[B, H, W]`."""
        origin = self.position[:, :, None, None].unbind(1)
        return torch.stack([o + ray * depth for o, ray in zip(origin, self.rays, strict=True)], 1)

    def to_camera(self, vectors: Tensor) -> Tensor:
        """Rotate world vectors `[B, 3, H, W]` into camera axes."""
        x, y, z = vectors.unbind(1)
        r = self.rotation[..., None, None]
        return torch.stack([r[:, i, 0] * x + r[:, i, 1] * y + r[:, i, 2] * z for i in range(3)], 1)


@dataclass(frozen=True)
class Scene:
    """B scenes of N slots each.

    Attributes:
        kinds: Kind of each slot.

            - `room`: the inside of a box; the camera is in it.
            - `ground`: the horizontal plane at the y of `centre`.
            - `box`: half extents `half` along its own x, y, z.
            - `sphere`: radius `half[..., 0]`.
            - `cylinder`: upright, with caps; radius `half[..., 0]`, half height `half[..., 1]`.
        frame: For each slot the index of its turn in `yaw`; neighbours with the same frame share work.
        yaw: `[B, F, 2]`, cosine and sine; a solid's own x axis is (cos, 0, sin), its z axis (-sin, 0, cos).
        centre: `[B, N, 3]`, metres.
        half: `[B, N, 3]`, metres, positive.
        active: bool `[B, N]`; a slot that is not active is not there. Rooms and grounds are always there.
    """

    kinds: tuple[str, ...]
    frame: tuple[int, ...]
    yaw: Tensor
    centre: Tensor
    half: Tensor
    active: Tensor

    @cached_property
    def extent(self) -> Tensor:
        """`half` where active, else -1, which no ray can hit."""
        return torch.where(self.active[:, :, None], self.half, -1.0)

    def local(self, origin: Tensor) -> Tensor:
        """Centres seen from `origin` `[B, 3]` in each slot's own axes, `[B, N, 3]`."""
        cos, sin = self.yaw[:, list(self.frame)].unbind(2)
        x, y, z = (self.centre - origin[:, None]).unbind(2)
        return torch.stack([cos * x + sin * z, y, cos * z - sin * x], 2)


@dataclass(frozen=True)
class Surface:
    """What the rays hit; where they hit nothing all is 0 and `slot` is -1.

    Attributes:
        depth: `[B, H, W]`, z-depth in metres.
        slot: int64 `[B, H, W]`, the slot that is hit.
        point: `[B, 3, H, W]`, world axes.
        normal: `[B, 3, H, W]`, unit, world axes, facing the camera (see :meth:`Camera.to_camera`).
        curvature: `[B, 2, H, W]`, principal curvatures k1 >= k2 in 1/m, positive where convex.
        face: int64 `[B, H, W]`: the axis (0 x, 1 y, 2 z) of the solid's own frame that the normal is nearest to.
        uv: `[B, 2, H, W]`: the other two of the solid's own coordinates, metres from its centre: (z, y) on
            face 0, (x, z) on face 1, (x, y) on face 2.
    """

    depth: Tensor
    slot: Tensor
    point: Tensor
    normal: Tensor
    curvature: Tensor
    face: Tensor
    uv: Tensor


class Bundle:
    """Rays from one point per image: what every slot of a frame shares, and room for intermediate results.

    Args:
        scene: The scene.
        origin: `[B, 3]`.
        rays: Three directions `[B, H, W]`, world axes.
    """

    def __init__(self, scene: Scene, origin: Tensor, rays: Sequence[Tensor]) -> None:
        self.scene = scene
        self.rays = rays
        self.centres = _scalars(scene.local(origin))
        self.offsets = _scalars(scene.centre - origin[:, None])
        self.extents = _scalars(scene.extent)
        self.turns = _scalars(scene.yaw)
        self.inverse_y = 1.0 / (rays[1] + TINY)
        self.size_y = self.inverse_y.abs()
        self.inverse_x, self.inverse_z, self.size_x, self.size_z = rays[1].new_empty(4, *rays[1].shape)
        *self.buffers, self.spare = rays[1].new_empty(6, *rays[1].shape).unbind(0)
        self.frame = -1  # the turn to which the inverses of x and z belong

    def interval(self, slot: int) -> tuple[Tensor, Tensor]:
        """Ray parameters at which the rays enter and leave a solid; entry > exit where they miss.

        Entry is at least 0. The next call overwrites both.
        """
        near, far, *free = self.buffers
        kind = self.scene.kinds[slot]
        if kind == "sphere":
            self._sphere(slot, near, far, free)
        elif kind == "cylinder":
            self._cylinder(slot, near, far, free)
        elif kind == "ground":
            torch.mul(self.inverse_y, self.offsets[slot][1], out=far)
        else:
            self._box(slot, near, far, free)
        if kind in ("room", "ground"):  # seen from inside, from above: the exit is what is hit
            near.copy_(far)
        return near.clamp_(min=0.0), far

    def _turn(self, frame: int) -> None:
        if frame != self.frame:
            self.frame = frame
            cos, sin = self.turns[frame]
            x, _, z = self.rays
            torch.mul(x, cos, out=self.inverse_x).add_(torch.mul(z, sin, out=self.size_x)).add_(TINY).reciprocal_()
            torch.mul(z, cos, out=self.inverse_z).sub_(torch.mul(x, sin, out=self.size_x)).add_(TINY).reciprocal_()
            torch.abs(self.inverse_x, out=self.size_x)
            torch.abs(self.inverse_z, out=self.size_z)

    def _slab(self, slot: int, axis: int, inverse: Tensor, size: Tensor, near: Tensor, far: Tensor) -> None:
        # The ray meets the two faces at (centre -+ half) / direction; the absolute inverse puts the nearer one first.
        middle = torch.mul(inverse, self.centres[slot][axis], out=far)
        half = torch.mul(size, self.extents[slot][axis], out=self.spare)
        torch.sub(middle, half, out=near)
        middle.add_(half)

    def _narrow(
        self, slot: int, axis: int, inverse: Tensor, size: Tensor, near: Tensor, far: Tensor, free: Sequence[Tensor]
    ) -> None:
        self._slab(slot, axis, inverse, size, free[0], free[1])
        torch.maximum(near, free[0], out=near)
        torch.minimum(far, free[1], out=far)

    def _box(self, slot: int, near: Tensor, far: Tensor, free: Sequence[Tensor]) -> None:
        self._turn(self.scene.frame[slot])
        self._slab(slot, 1, self.inverse_y, self.size_y, near, far)
        self._narrow(slot, 0, self.inverse_x, self.size_x, near, far, free)
        self._narrow(slot, 2, self.inverse_z, self.size_z, near, far, free)

    def _sphere(self, slot: int, near: Tensor, far: Tensor, free: Sequence[Tensor]) -> None:
        offset = self.offsets[slot]
        rays = self.rays
        # `across` is |d x m|^2, with m the centre seen from the origin: small for rays that pass close by.
        across, along = free[0].zero_(), far
        for i, j in ((0, 1), (1, 2), (2, 0)):
            torch.mul(rays[i], offset[j], out=free[1]).sub_(torch.mul(rays[j], offset[i], out=free[2]))
            across.add_(free[1].square_())
        torch.mul(rays[0], offset[0], out=along).add_(torch.mul(rays[1], offset[1], out=free[1]))
        along.add_(torch.mul(rays[2], offset[2], out=free[1]))
        self._round(slot, self.square, self.inverse_square, across, along, near, free)

    def _cylinder(self, slot: int, near: Tensor, far: Tensor, free: Sequence[Tensor]) -> None:
        x, _, z = self.offsets[slot]
        dx, _, dz = self.rays
        across, along = free[0], far
        torch.mul(dz, x, out=across).sub_(torch.mul(dx, z, out=free[1])).square_()
        torch.mul(dx, x, out=along).add_(torch.mul(dz, z, out=free[1]))
        self._round(slot, self.flat, self.inverse_flat, across, along, near, free)
        self._narrow(slot, 1, self.inverse_y, self.size_y, near, far, free)

    def _round(
        self,
        slot: int,
        square: Tensor,
        inverse: Tensor,
        across: Tensor,
        along: Tensor,
        near: Tensor,
        free: Sequence[Tensor],
    ) -> None:
        """Roots of `|t d - m|^2 = r^2`: `(d.m -+ sqrt(r^2 |d|^2 - |d x m|^2)) / |d|^2`, into near and along."""
        # r |r| keeps the sign of the radius: that of an inactive slot is -1, so that every ray misses it.
        radius = self.extents[slot][0]
        inside = torch.mul(square, radius * radius.abs(), out=free[1]).sub_(across)
        # No branch a ray: where the root would be imaginary the entry is moved beyond every exit.
        missed = torch.clamp(inside, max=0.0, out=free[2]).mul_(-MISS)
        root = inside.clamp_(min=0.0).sqrt_().mul_(inverse)
        along.mul_(inverse)
        torch.sub(along, root, out=near).add_(missed)
        along.add_(root)

    @cached_property
    def flat(self) -> Tensor:
        """Squared length of the horizontal part."""
        return (self.rays[0] * self.rays[0]).add_(self.rays[2] * self.rays[2]).add_(TINY * TINY)

    @cached_property
    def inverse_flat(self) -> Tensor:
        """Reciprocal of `flat`."""
        return 1.0 / self.flat

    @cached_property
    def square(self) -> Tensor:
        """Squared length."""
        return self.flat + self.rays[1] * self.rays[1]

    @cached_property
    def inverse_square(self) -> Tensor:
        """Reciprocal of `square`."""
        return 1.0 / self.square


def shade(scene: Scene, camera: Camera, depth: Tensor, slot: Tensor) -> Surface:
    """Describe the surfaces that rays hit.

    Args:
        scene: B scenes.
        camera: B cameras.
        depth: `[B, H, W]` of `tiled.cast`.
        slot: `[B, H, W]` of `tiled.cast`.
    """
    hit = slot >= 0
    look = Lookup(slot)
    ones = torch.ones_like(scene.half[:, :, 0])
    ground, sphere, cylinder = (ones * ones.new_tensor([k == name for k in scene.kinds]) for name in _SHAPED)
    # One rule for all kinds: coordinates over half extents. A ground is a flat box without end; balls and cylinders
    # have their radius along each round axis.
    x_half, y_half, z_half = scene.half.unbind(2)
    x_half = torch.where(ground > 0, FAR, x_half)
    y_half = torch.where(ground > 0, TINY, torch.where(sphere > 0, x_half, y_half))
    z_half = torch.where(ground > 0, FAR, torch.where(sphere + cylinder > 0, x_half, z_half))
    yaw = scene.yaw[:, list(scene.frame)]
    cos, sin = look.vectors(yaw)
    is_sphere, is_cylinder = look(sphere) > 0, look(cylinder) > 0

    point = camera.at(depth)
    wx, y, wz = (p - c for p, c in zip(point.unbind(1), look.vectors(scene.centre), strict=True))
    x, z = (cos * wx).add_(sin * wz), (cos * wz).sub_(sin * wx)
    inverse = [look(1.0 / half) for half in (x_half, y_half, z_half)]
    unit = [p * i for p, i in zip((x, y, z), inverse, strict=True)]
    ax, ay, az = (u.abs() for u in unit)
    # A point on a solid has the largest such coordinate along the axis of the face it lies on.
    is_side = is_cylinder & ((ax * ax).add_(az * az) >= ay * ay)
    is_cap = is_cylinder & ~is_side
    curved = is_side | is_sphere
    on_y = ~is_side & (ay >= torch.maximum(ax, az)) | is_cap | (look(ground) > 0)
    on_x = ~on_y & (ax >= az)
    on_z = ~on_y & ~on_x
    nx, ny, nz = (
        torch.where(curved, u, on * (1.0 - 2.0 * (u < 0))) for u, on in zip(unit, (on_x, on_y, on_z), strict=True)
    )
    ny = ny * ~is_side
    normal = [(cos * nx).sub_(sin * nz), ny, (sin * nx).add_(cos * nz)]
    toward = sum((n * ray for n, ray in zip(normal, camera.rays, strict=True)), torch.zeros_like(depth))
    facing = torch.where(hit, 1.0 - 2.0 * (toward > 0), 0.0)
    # On round surfaces the unit coordinates are the normal itself, and curvature is one over the radius.
    k1 = torch.where(curved & hit, inverse[0], 0.0)
    u, v = torch.where(on_x, z, x), torch.where(on_y, z, y)
    return Surface(
        depth=depth,
        slot=slot,
        point=point * hit[:, None],
        normal=torch.stack([n * facing for n in normal], 1),
        curvature=torch.stack([k1, k1 * is_sphere], 1),
        face=torch.where(on_x, 0, torch.where(on_y, 1, 2)) * hit,
        uv=torch.stack([u, v], 1) * hit[:, None],
    )


class Lookup:
    """Read a table with one row per slot at every pixel; pixels without a slot read slot 0.

    Args:
        slot: int64 `[B, H, W]`.
    """

    def __init__(self, slot: Tensor) -> None:
        self.shape = slot.shape
        self.index = slot.clamp(min=0).flatten(1)

    def __call__(self, table: Tensor) -> Tensor:
        """Read `table` `[B, N]` into `[B, H, W]`."""
        return table.gather(1, self.index).view(self.shape)

    def vectors(self, table: Tensor) -> tuple[Tensor, ...]:
        """Read `table` `[B, N, K]` into K tensors `[B, H, W]`."""
        return tuple(self(column) for column in table.unbind(2))


_SHAPED = ("ground", "sphere", "cylinder")


def _scalars(table: Tensor) -> list[tuple[Tensor, ...]]:
    """`[B, N, K]` as N tuples of K tensors `[B, 1, 1]` each."""
    return [row.unbind(1) for row in table[..., None, None].unbind(1)]
