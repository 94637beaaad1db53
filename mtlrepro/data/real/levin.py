"""Holes filled by colorization (Levin, Lischinski and Weiss, SIGGRAPH 2004): values spread along similar grey."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array
from scipy.sparse.linalg import splu

LUMA = np.array([0.2989, 0.5870, 0.1140])
_STEPS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]


def fill(values: NDArray[np.floating], known: NDArray[np.bool_], image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Fill the unknown pixels so that each is the weighted mean of its eight neighbours.

    Pixel r with grey value Y(r) weighs its neighbour s by `exp(-(Y(r) - Y(s))^2 / c_r)`, the weights of a pixel
    normalised to sum 1 (Levin et al., Eqs. 1 and 2). As in the NYU Depth toolbox, the 3 x 3 windows are cut at the
    border and `c_r = max(0.6 var_r, min_s (Y(r) - Y(s))^2 / ln 100, 2e-6)` with var_r the variance of the window.
    Known pixels are boundary values that stay as they are, as in the paper; the toolbox lets them move. With
    constant grey this is the discrete harmonic extension.

    Args:
        values: `[..., H, W]`; each leading index is filled with the same weights.
        known: `[H, W]`, true where `values` is known.
        image: RGB image, uint8 `[H, W, 3]`.

    Returns:
        `[..., H, W]`; zero everywhere if nothing is known.

    Raises:
        ValueError: The sizes differ.
    """
    if not values.shape[-2:] == known.shape == image.shape[:2]:
        raise ValueError(
            f"values, known and image have the sizes {values.shape[-2:]}, {known.shape} and {image.shape[:2]}; "
            "accepted: one size"
        )
    filled = np.where(known, values, 0).astype(np.float32, order="C")  # C order: `reshape` below gives a view.
    if known.all() or not known.any():
        return filled
    holes = np.flatnonzero(~known)
    neighbours, weights = _weights(image @ LUMA / 255, holes)
    index = np.full(known.size, -1)  # Of each pixel among the holes; -1 where it is known.
    index[holes] = np.arange(len(holes))
    unknown = index[neighbours]
    inner = (unknown >= 0) & (weights > 0)
    rows = np.broadcast_to(np.arange(len(holes)), unknown.shape)
    diagonal = np.arange(len(holes))
    system = csc_array(
        (
            np.concatenate([np.ones(len(holes)), -weights[inner]]),
            (np.concatenate([diagonal, rows[inner]]), np.concatenate([diagonal, unknown[inner]])),
        )
    )
    given = np.where(unknown < 0, weights, 0)
    flat = filled.reshape(-1, known.size)
    right = np.einsum("kn,ckn->nc", given, flat[:, neighbours], dtype=np.float64)
    flat[:, holes] = splu(system).solve(right).T
    return filled


def _weights(grey: NDArray[np.float64], pixels: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Neighbours of flat `pixels` and their weights, both `[8, n]`; weight 0 outside of the image."""
    height, width = grey.shape
    y, x = np.divmod(pixels, width)
    rows, columns = (np.stack([start + step[axis] for step in _STEPS]) for axis, start in enumerate((y, x)))
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    neighbours = np.where(inside, rows * width + columns, pixels)
    flat = grey.ravel()
    squared = np.where(inside, flat[neighbours] - flat[pixels], 0) ** 2
    window = np.concatenate([flat[neighbours], flat[pixels][None]])
    part_of = np.concatenate([inside, np.ones((1, len(pixels)), bool)])
    variance = window.var(axis=0, where=part_of)
    nearest = squared.min(axis=0, where=inside, initial=np.inf)
    scale = np.maximum(np.maximum(0.6 * variance, nearest / np.log(100)), 2e-6)
    weights = np.where(inside, np.exp(-squared / scale), 0)
    return neighbours, weights / weights.sum(axis=0)
