"""The image-like targets of Taskonomy computed from RGB, depth and normals, after its recipes.

Zamir et al., "Taskonomy", CVPR 2018, supplement, and the annotator of Eftekhar et al., "Omnidata", ICCV 2021. Its
images are 512 pixels high; lengths in pixels are scaled by H / 512 here, so that a map shows the same structures at any
size.
Pixels are added in a fixed order by exactly rounded operations: the same bits in every batch and on every device.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

REFERENCE = 512
EDGE_SIGMA = 3.0
KEYPOINT_SIGMAS = tuple(1 + k * 29 / 9 for k in range(10))
KEYPOINT_SCALE = 0.04
LAMP = 2.0
JUMP = 0.1


def grey(image: Tensor) -> Tensor:
    """Luminance `[B, 1, H, W]` of RGB `[B, 3, H, W]`, with the weights of `skimage.color.rgb2gray`."""
    red, green, blue = image.unbind(1)
    return (red * 0.2125).add_(green * 0.7154).add_(blue * 0.0721)[:, None]


def edges2d(image: Tensor) -> Tensor:
    """Texture edges: gradient magnitude of the blurred luminance, Canny's without non-maximum suppression.

    Gaussian of sigma `3 H / 512` pixels, then Sobel. An isolated upright step from black to white has value 1;
    what exceeds 1 (corners) is cut.

    Args:
        image: `[B, 3, H, W]` in [0, 1].

    Returns:
        `[B, 1, H, W]` in [0, 1].
    """
    taps = gaussian(EDGE_SIGMA * image.shape[-2] / REFERENCE)
    smooth = _along(_along(grey(image), taps, -1), taps, -2)
    return (_sobel(smooth) * (1 / sum(taps[:2]))).clamp_(max=1.0)


def edges3d(depth: Tensor) -> Tensor:
    """Occlusion edges: Sobel's gradient magnitude of the square root of depth.

    A step of the root by 1 (from 1 m to 4 m, say) has value 1; what exceeds 1 is cut.

    Args:
        depth: `[B, 1, H, W]` metres, without holes.

    Returns:
        `[B, 1, H, W]` in [0, 1].
    """
    return _sobel(depth.sqrt()).clamp_(max=1.0)


def keypoints2d(image: Tensor) -> Tensor:
    """Blobs and corners: the largest determinant of the Hessian over ten scales, approximated by boxes as in SURF.

    Taskonomy takes sigma = 1, 4.2, ..., 30 pixels at 512; here lobes of the odd number of pixels nearest to
    `sigma H / 512`, equal ones once: only odd lobes have a middle. With sigma equal to the lobe this is
    `skimage.feature.hessian_matrix_det` moved by one pixel down and to the right, onto the pixel it belongs to; and
    the image is continued beyond its border by its edge pixels. Sums of boxes come from an integral image of 8-bit
    luminance, so they are exact.

    Args:
        image: `[B, 3, H, W]` in [0, 1].

    Returns:
        `[B, 1, H, W]` in [0, 1]; 1 stands for a determinant of 0.04 and above, for luminance in [0, 1].
    """
    height, width = image.shape[-2:]
    lobes = sorted({2 * int(sigma * height / REFERENCE / 2) + 1 for sigma in KEYPOINT_SIGMAS})
    margin = 3 * lobes[-1] // 2 + 2
    levels = (grey(image) * 255.0).add_(0.5).floor_()
    padded = pad(levels, (margin, margin, margin, margin), mode="replicate").int()
    sums = pad(padded.cumsum(-1, dtype=torch.int32).cumsum(-2, dtype=torch.int32), (1, 0, 1, 0))
    best = torch.zeros_like(levels)
    for lobe in lobes:
        torch.maximum(best, _determinant(sums, lobe, margin, height, width), out=best)
    return best.mul_(1 / KEYPOINT_SCALE).clamp_(max=1.0)


def _determinant(sums: Tensor, lobe: int, margin: int, height: int, width: int) -> Tensor:
    """Determinant of the Hessian `[B, 1, H, W]` from boxes with lobes of `lobe` pixels (Bay et al. 2006)."""
    size = 3 * lobe
    start, side, wide = (size - 1) // 2, lobe // 2, 2 * lobe - 1

    def rows(top: int, n: int) -> Tensor:
        a = margin + top
        return sums[..., a + n : a + n + height, :] - sums[..., a : a + height, :]

    def columns(part: Tensor, left: int, n: int) -> Tensor:
        a = margin + left
        return part[..., a + n : a + n + width] - part[..., a : a + width]

    def second(part: Callable[[int, int], Tensor]) -> Tensor:
        return (part(-start, size) - 3 * part(-side, lobe)).float()

    band = rows(1 - lobe, wide)
    xx = second(lambda left, n: columns(band, left, n))
    span = {n: rows(top, n) for top, n in ((-start, size), (-side, lobe))}
    yy = second(lambda top, n: columns(span[n], 1 - lobe, wide))
    corners = rows(-lobe, lobe) - rows(1, lobe)
    xy = (columns(corners, -lobe, lobe) - columns(corners, 1, lobe)).float()
    return (xx * yy).sub_(xy * xy * 0.81).mul_(1 / (255 * size * size) ** 2)


def keypoints3d(depth: Tensor, normal: Tensor) -> Tensor:
    """Places on a surface where its normal varies, away from depth borders: a surrogate of NARF interest points.

    Taskonomy takes the interest image of NARF (Steder et al. 2011) with a support of 0.3 m. This is not NARF: the
    value is the variance of the normal in a window of `2 r + 1` pixels, `1 - |mean n|^2` with
    `r = max(2, H / 32)`, times the distance to the next depth border in units of r, at most 1. A border is a pixel
    whose depth differs from a neighbour's by more than 10%.

    Args:
        depth: `[B, 1, H, W]` metres, without holes.
        normal: `[B, 3, H, W]` unit, without holes.

    Returns:
        `[B, 1, H, W]` in [0, 1].
    """
    reach = max(2, round(depth.shape[-2] / 32))
    window = [1 / (2 * reach + 1)] * (reach + 1)
    mean = _along(_along(normal, window, -1), window, -2)
    x, y, z = mean.unbind(1)
    variance = (1.0 - (x * x).add_(y * y).add_(z * z)).clamp_(min=0.0)[:, None]
    low, high = -_widest(-depth), _widest(depth)
    near = (high > (1 + JUMP) * low).float()
    distance = torch.zeros_like(depth)
    for _ in range(reach):
        distance.add_(1.0 - near)
        near = _widest(near)
    return variance * distance * (1 / reach)


def reshading(depth: Tensor, normal: Tensor, focal: Tensor) -> Tensor:
    """Shading by a point lamp at the camera, `n . l / d^2`, without texture.

    1 stands for a surface seen head-on from 2 m or less; a square root follows, as the gamma of a picture. This
    brings the mean near Taskonomy's 0.5.

    Args:
        depth: `[B, 1, H, W]` metres, z.
        normal: `[B, 3, H, W]` unit, camera axes.
        focal: `[B]` pixels, with the principal point in the middle of the image.

    Returns:
        `[B, 1, H, W]` in [0, 1]; 0 where depth is 0.
    """
    height, width = depth.shape[-2:]
    scale = 1.0 / focal[:, None, None]
    x = (torch.arange(width, device=depth.device) + 0.5 - width / 2) * scale
    y = (torch.arange(height, device=depth.device) + 0.5 - height / 2)[:, None] * scale
    across, down, forward = normal.unbind(1)
    facing = -(across * x).add_(down * y).add_(forward)
    square = (x * x + y * y).add_(1.0)
    distance = (depth[:, 0] * depth[:, 0]).mul_(square.mul_(square.sqrt())).clamp_(min=1e-6)
    lit = facing.mul_(LAMP * LAMP).div_(distance).clamp_(0.0, 1.0)
    return lit.sqrt_()[:, None] * (depth > 0)


def gaussian(sigma: float) -> list[float]:
    """Taps 0, 1, ..., 4 sigma of one half of a Gaussian kernel of sum 1, as in `scipy.ndimage.gaussian_filter`."""
    reach = int(4 * sigma + 0.5)
    weights = [math.exp(-0.5 * (k / sigma) ** 2) for k in range(reach + 1)]
    total = 2 * sum(weights) - weights[0]
    return [w / total for w in weights]


def _along(values: Tensor, taps: list[float], axis: int) -> Tensor:
    """Convolve with a symmetric kernel, given by its middle and one half; edge pixels continue the image."""
    reach = len(taps) - 1
    n = values.shape[axis]
    margins = (reach, reach, 0, 0) if axis == -1 else (0, 0, reach, reach)
    wide = pad(values, margins, mode="replicate")
    result = values * taps[0]
    for k in range(1, reach + 1):
        pair = wide.narrow(axis, reach - k, n) + wide.narrow(axis, reach + k, n)
        result.add_(pair.mul_(taps[k]))
    return result


def _sobel(values: Tensor) -> Tensor:
    """Gradient magnitude by Sobel's masks, over 4: an upright step of 1 between two pixels gives 1."""
    wide = pad(values, (1, 1, 1, 1), mode="replicate")
    across = wide[..., 2:] - wide[..., :-2]
    down = wide[..., 2:, :] - wide[..., :-2, :]
    x = (across[..., 1:-1, :] * 2.0).add_(across[..., 2:, :]).add_(across[..., :-2, :])
    y = (down[..., 1:-1] * 2.0).add_(down[..., 2:]).add_(down[..., :-2])
    return x.square_().add_(y.square_()).sqrt_().mul_(0.25)


def _widest(values: Tensor) -> Tensor:
    """Largest value among a pixel and its eight neighbours."""
    wide = pad(values, (1, 1, 1, 1), mode="replicate")
    rows = torch.maximum(torch.maximum(wide[..., :-2, :], wide[..., 2:, :]), wide[..., 1:-1, :])
    return torch.maximum(torch.maximum(rows[..., :-2], rows[..., 2:]), rows[..., 1:-1])
