"""The ray caster against rays worked out by hand and against the geometry of its solids."""

import math

import pytest
import torch
from dense_caster import blocked, cast

from mtlrepro.data.scenes.raycast import Camera, Lookup, Scene, shade

SIZE = (33, 65)  # odd: the middle pixel looks straight ahead
MIDDLE = (16, 32)


def camera(position=(0.0, 0.0, 0.0), rotation=None, focal=32.0):
    turned = torch.eye(3) if rotation is None else torch.tensor(rotation)
    return Camera(turned[None], torch.tensor([position]), torch.tensor([focal]), SIZE)


def scene(*solids):
    """Solids as (kind, centre, half extents) or with a turn about the vertical as a fourth entry."""
    turns = [solid[3] if len(solid) > 3 else 0.0 for solid in solids]
    return Scene(
        kinds=tuple(solid[0] for solid in solids),
        frame=tuple(range(len(solids))),
        yaw=torch.tensor([[[math.cos(turn), math.sin(turn)] for turn in turns]]),
        centre=torch.tensor([[solid[1] for solid in solids]]),
        half=torch.tensor([[solid[2] for solid in solids]]),
        active=torch.ones(1, len(solids), dtype=torch.bool),
    )


def surface(solids, view=None):
    view = view or camera()
    return shade(solids, view, *cast(solids, view))


ROOM = ("room", (0.0, 0.0, 0.0), (3.0, 1.5, 5.0))
BOX = ("box", (0.0, 0.0, 4.0), (1.0, 1.0, 0.5))
BALL = ("sphere", (0.0, 0.0, 4.0), (1.5, 1.0, 1.0))
PILLAR = ("cylinder", (0.0, 0.0, 4.0), (0.8, 1.0, 1.0))


@pytest.mark.parametrize(
    ("solid", "depth", "curvature"),
    [
        (ROOM, 5.0, (0.0, 0.0)),
        (BOX, 3.5, (0.0, 0.0)),
        (BALL, 2.5, (1 / 1.5, 1 / 1.5)),
        (PILLAR, 3.2, (1 / 0.8, 0.0)),
    ],
)
def test_straight_ahead(solid, depth, curvature):
    found = surface(scene(solid))
    at = (0, *MIDDLE)
    assert found.depth[at].item() == pytest.approx(depth, rel=1e-6)
    assert found.slot[at] == 0
    torch.testing.assert_close(found.normal[0, :, 16, 32], torch.tensor([0.0, 0.0, -1.0]), atol=1e-6, rtol=0)
    assert found.curvature[0, :, 16, 32].tolist() == pytest.approx(curvature, rel=1e-6)


def test_depth_is_along_z_and_not_along_the_ray():
    """The far wall is parallel to the image: its pixels have one depth. Floor and side walls by similar triangles."""
    found = surface(scene(ROOM))
    rows = (torch.arange(33) + 0.5 - 16.5) / 32
    columns = (torch.arange(65) + 0.5 - 32.5) / 32
    expected = torch.minimum(1.5 / rows.abs()[:, None], 3.0 / columns.abs()).clamp(max=5.0)
    torch.testing.assert_close(found.depth[0], expected, rtol=1e-5, atol=1e-5)
    down, right = found.normal[0, :, 32, 32], found.normal[0, :, 16, 64]
    torch.testing.assert_close(down, torch.tensor([0.0, -1.0, 0.0]))  # y points down: the floor's normal points up
    torch.testing.assert_close(right, torch.tensor([-1.0, 0.0, 0.0]))
    assert found.face[0, 32, 32] == 1
    assert found.face[0, 16, 64] == 0


def test_sphere_off_its_axis():
    """Of the ray (x, 0, 1): t = (4 - sqrt(16 - (1 + x^2)(16 - r^2))) / (1 + x^2)."""
    found = surface(scene(BALL))
    x = 8 / 32
    square = 1 + x * x
    depth = (4 - math.sqrt(16 - square * (16 - 2.25))) / square
    assert found.depth[0, 16, 40].item() == pytest.approx(depth, rel=1e-5)
    point = torch.tensor([x * depth, 0.0, depth])
    torch.testing.assert_close(found.point[0, :, 16, 40], point, rtol=1e-5, atol=1e-6)
    outwards = (point - torch.tensor([0.0, 0.0, 4.0])) / 1.5
    torch.testing.assert_close(found.normal[0, :, 16, 40], outwards, rtol=1e-4, atol=1e-5)


def test_cap_of_a_cylinder_is_flat():
    """Seen from 3 m above (y down): looking 45 degrees down, the ray meets the cap of a cylinder below."""
    half = math.sqrt(0.5)
    down = [[1.0, 0.0, 0.0], [0.0, half, -half], [0.0, half, half]]
    pillar = ("cylinder", (0.0, 4.0, 3.0), (1.0, 1.0, 1.0))
    found = surface(scene(pillar), camera(rotation=down))
    assert found.depth[0, 16, 32].item() == pytest.approx(3 * math.sqrt(2), rel=1e-5)
    torch.testing.assert_close(found.normal[0, :, 16, 32], torch.tensor([0.0, -1.0, 0.0]), atol=1e-6, rtol=0)
    assert found.curvature[0, :, 16, 32].tolist() == [0.0, 0.0]
    assert found.face[0, 16, 32] == 1


def test_turned_box():
    """A cube turned by 45 degrees shows its edge, half a diagonal before its centre."""
    cube = ("box", (0.0, 0.0, 4.0), (1.0, 1.0, 1.0), math.pi / 4)
    found = surface(scene(cube))
    assert found.depth[0, 16, 32].item() == pytest.approx(4 - math.sqrt(2), rel=1e-5)
    right = found.normal[0, :, 16, 36]
    torch.testing.assert_close(right, torch.tensor([math.sqrt(0.5), 0.0, -math.sqrt(0.5)]), atol=1e-5, rtol=0)


def test_the_nearest_solid_wins_and_inactive_ones_are_not_there():
    both = scene(("box", (0.0, 0.0, 6.0), (2.0, 2.0, 0.5)), BALL)
    assert cast(both, camera())[1][0][MIDDLE] == 1
    hidden = Scene(both.kinds, both.frame, both.yaw, both.centre, both.half, torch.tensor([[True, False]]))
    depth, slot = cast(hidden, camera())
    assert slot[0][MIDDLE] == 0
    assert depth[0][MIDDLE].item() == pytest.approx(5.5, rel=1e-6)


def test_nothing_is_zero():
    found = surface(scene(BALL))
    missed = found.slot < 0
    assert missed.any() and not missed.all()
    for field in (found.depth, found.face):
        assert (field[missed] == 0).all()
    for field in (found.point, found.normal, found.curvature, found.uv):
        assert (field.movedim(1, -1)[missed] == 0).all()


def test_moved_camera():
    found = surface(scene(BALL), camera(position=(0.5, -0.25, 1.0)))
    x, y = 0.5, -0.25
    expected = 3 - math.sqrt(1.5**2 - x * x - y * y)
    assert found.depth[0, 16, 32].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("lamp", "dark"),
    [((0.0, 0.0, 0.0), True), ((2.9, 0.0, 4.9), False), ((0.0, -1.4, 4.9), False), ((0.0, 1.4, 0.1), True)],
)
def test_shadow_on_the_far_wall(lamp, dark):
    """Behind a ball of radius 0.5 at 4 m the middle of the far wall is dark for a lamp before the ball."""
    solids = scene(ROOM, ("sphere", (0.0, 0.0, 4.0), (0.5, 1.0, 1.0)))
    point = torch.tensor([0.0, 0.0, 5.0]).view(1, 3, 1, 1)
    direct = math.dist(lamp, (0.0, 0.0, 5.0))
    along = [(5.0 if axis == 2 else 0.0) - lamp[axis] for axis in range(3)]
    t = sum((c - o) * d for c, o, d in zip((0.0, 0.0, 4.0), lamp, along, strict=True)) / direct**2
    nearest = [o + t * d for o, d in zip(lamp, along, strict=True)]
    assert (math.dist(nearest, (0.0, 0.0, 4.0)) < 0.5) is dark  # the same by hand
    assert blocked(solids, point, torch.tensor([lamp])).item() is dark
    assert not blocked(solids, point, torch.tensor([lamp]), casters=torch.zeros(1, 2, dtype=torch.bool)).item()


def test_no_surface_blocks_itself():
    solids = scene(ROOM, BALL)
    found = surface(solids)
    assert not blocked(solids, found.point, torch.zeros(1, 3)).any()


def test_a_batch_has_the_bits_of_its_images():
    one, two = scene(ROOM, BALL), scene(ROOM, ("sphere", (0.5, 0.2, 3.0), (0.7, 1.0, 1.0)))
    both = Scene(
        one.kinds,
        one.frame,
        *(torch.cat([getattr(s, name) for s in (one, two)]) for name in ("yaw", "centre", "half", "active")),
    )
    single = camera()
    double = Camera(single.rotation.expand(2, 3, 3), single.position.expand(2, 3), single.focal.expand(2), single.size)
    together = cast(both, double)
    for i, alone in enumerate((one, two)):
        for whole, part in zip(together, cast(alone, single), strict=True):
            assert torch.equal(whole[i], part[0])


def test_camera_axes():
    """Rows of the rotation are right, down and forward: a camera that looks along world x has world -z to its right."""
    looking = camera(rotation=[[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    assert [ray[0, 16, 32].item() for ray in looking.rays] == [1.0, 0.0, 0.0]
    turned = looking.to_camera(torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1))
    assert turned.flatten().tolist() == [0.0, 0.0, 1.0]


def test_lookup_reads_slot_zero_where_nothing_is_hit():
    look = Lookup(torch.tensor([[[1, -1]]]))
    assert look(torch.tensor([[5.0, 7.0]])).tolist() == [[[7.0, 5.0]]]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_gives_the_bits_of_the_cpu():
    solids, view = scene(ROOM, BALL, PILLAR), camera()
    there = Scene(
        solids.kinds, solids.frame, *(t.cuda() for t in (solids.yaw, solids.centre, solids.half, solids.active))
    )
    moved = Camera(view.rotation.cuda(), view.position.cuda(), view.focal.cuda(), view.size)
    for a, b in zip(cast(solids, view), cast(there, moved), strict=True):
        assert torch.equal(a, b.cpu())
