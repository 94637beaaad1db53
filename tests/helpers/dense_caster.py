"""The reference for the tiled caster: every solid is met with every ray of the image, without tiles."""

from dataclasses import replace

import torch

from mtlrepro.data.scenes.raycast import FAR, MISS, Bundle


def cast(scene, camera):
    """The nearest solid along every ray: depth `[B, H, W]`, 0 where nothing is hit, and its slot, -1 for none.

    Where two are equally near, to a relative 2^(k - 23) with k the number of bits that number the slots, the earlier
    slot wins.
    """
    bundle = Bundle(scene, camera.position, camera.rays)
    depth = torch.full_like(camera.rays[0], FAR)
    low = (1 << len(scene.kinds).bit_length()) - 1
    nearest = (depth.view(torch.int32) & ~low) | low
    for n in range(len(scene.kinds)):
        near, far = bundle.interval(n)
        # Positive floats are ordered as their bits: with the slot in the last bits, one minimum finds both.
        near = near + (near - far).clamp(min=0.0) * MISS
        torch.minimum(depth, near, out=depth)
        torch.minimum(nearest, near.view(torch.int32) & ~low | n, out=nearest)
    slot = (nearest & low).masked_fill_(depth >= FAR, -1)
    return depth.masked_fill_(slot < 0, 0.0), slot.long()


def blocked(scene, points, source, casters=None, margin=2e-3):
    """Where a solid lies between a point and the source: shadow if that is a lamp, occlusion if another camera."""
    if casters is not None:
        scene = replace(scene, active=scene.active & casters)
    bundle = Bundle(scene, source, (points - source[:, :, None, None]).unbind(1))
    inside = torch.full_like(bundle.inverse_y, -FAR)
    for n, kind in enumerate(scene.kinds):
        if kind not in ("room", "ground"):
            near, far = bundle.interval(n)
            torch.maximum(inside, far.clamp_(max=1.0 - margin).sub_(near), out=inside)
    return inside >= 0
