"""How the gradients of two tasks compare slice by slice: ratios, cosines, and what the rule of MTSGD leaves of them.

A *pair* is two gradients x and y by the same parameters, a *slice* a part of one parameter, as in
`balancers.MTSGD`; single elements are slices of one. A slice's ratio is |x| / |y| and carries the
sign of its cosine c = <x, y> / (|x| |y|), so that of an element is that of x / y. Slices in which x or y is zero have
neither, and stand in no count. Sums are taken in float64, and nothing but counts and sums is kept of a batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtlrepro.balancers import MTSGD
from mtlrepro.balancers.gradients import Row, at_least_float32, blocks

LEVELS = ("element", "channel", "filter", "parameter")
"""What a slice is: one number, or as in MTSGD, whose vectors are one slice and whose matrices are cut into rows."""
DECADES = 4
"""Ratios from 10^-DECADES to 10^DECADES have bins; smaller and larger ones share the first and the last."""
PER_DECADE = 20
"""Bins in a decade: a bin is 12 % wide."""
BINS = 2 * DECADES * PER_DECADE + 2
STEPS = 20
"""Thresholds in a unit."""
THRESHOLDS = np.arange(-STEPS, STEPS + 1) / STEPS
"""Least cosines of a slice that is kept, -1 to 1."""
ROUNDING = 1e-6
"""Parallel gradients pass a threshold of 1 despite rounding, as in MTSGD."""


class SliceStatistics:
    """Counts and sums over batches, for each pair, level and layer.

    Args:
        parameters: L shared parameters by name; each is a layer.
        pairs: Names of the two gradients of each of R pairs.
    """

    def __init__(self, parameters: Mapping[str, Tensor], pairs: Sequence[tuple[str, str]]) -> None:
        self.layers = list(parameters)
        self.shapes = [parameter.shape for parameter in parameters.values()]
        self.pairs = list(pairs)
        rules = [MTSGD(2, level) for level in ("channel", "filter", "parameter")]
        self.counts = [[shape.numel(), *(rule.slices(shape)[0] for rule in rules)] for shape in self.shapes]
        device = next(iter(parameters.values())).device
        cells = len(self.pairs), len(self.layers)

        def zeros(*shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
            return torch.zeros(*cells, *shape, dtype=dtype, device=device)

        self.batches = zeros()
        self.ratios = zeros(len(LEVELS), 2, BINS)
        self.kept = zeros(len(LEVELS), len(THRESHOLDS))
        self.balanced = zeros(len(LEVELS), len(THRESHOLDS), dtype=torch.float64)
        self.plain = zeros(dtype=torch.float64)

    @torch.no_grad()
    def add(self, rows: Mapping[str, Row]) -> None:
        """Add one batch.

        Args:
            rows: Gradients by name; pairs of which one is absent, altogether or in a layer, are not counted there.
        """
        for r, (first, second) in enumerate(self.pairs):
            if first in rows and second in rows:
                for layer, (x, y) in enumerate(zip(rows[first], rows[second], strict=True)):
                    if x is not None and y is not None:
                        self._add_layer(r, layer, x, y)

    def _add_layer(self, r: int, layer: int, x: Tensor, y: Tensor) -> None:
        x, y = at_least_float32(x).flatten(), at_least_float32(y).flatten()  # in logical order, whatever the strides
        found = _describe_elements(x, y)
        x, y = x.double(), y.double()
        sums = [x.square(), y.square(), x * y]
        self.batches[r, layer] += 1
        self.plain[r, layer] += (x + y).square().sum()
        levels = []
        for count in self.counts[layer]:
            if count < len(sums[0]):  # a level's slices are made of those of the level before
                sums = [part.view(count, -1).sum(1) for part in sums]
                found = _describe_slices(*sums)
            levels.append(found)
        for total, parts in zip((self.ratios, self.kept, self.balanced), zip(*levels, strict=True), strict=True):
            total[r, layer] += torch.stack(parts)

    def state(self) -> dict[str, Any]:
        """Fields of `Slices`: lists of texts, and tensors on the CPU."""
        numbers = {
            "sizes": torch.tensor([shape.numel() for shape in self.shapes]),
            "counts": torch.tensor(self.counts),
            **{name: getattr(self, name).cpu() for name in ("batches", "ratios", "kept", "balanced", "plain")},
        }
        return {"layers": self.layers, "kinds": [*map(kind, self.shapes)], "pairs": [*map(list, self.pairs)], **numbers}


def _describe_elements(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Count and sum as `_describe_slices`, for slices [S] of one element, whose cosines are 1 or -1.

    They are most of the work, so they keep their precision, and parts of them their place in a CPU's cache.
    """
    ratios = torch.zeros(2, BINS, dtype=torch.int64, device=x.device)
    squares = torch.zeros((), dtype=torch.float64, device=x.device)
    for a, b in blocks([x, y]):
        opposite = (a < 0) != (b < 0)
        a, b = a.abs(), b.abs()
        ratios += _histogram(a.log10() - b.log10(), opposite, (a > 0) & (b > 0))
        squares += torch.minimum(a, b).masked_fill_(opposite, 0).double().square().sum()
    kept = ratios[0].sum().repeat(len(THRESHOLDS))
    kept[0] = ratios.sum()
    return ratios, kept, 4 * squares.repeat(len(THRESHOLDS))


def _describe_slices(xx: Tensor, yy: Tensor, xy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Count slices by sign and ratio, and by threshold; sum the squared lengths that are left at each threshold.

    Args:
        xx: [S] float64, |x|^2 of each slice.
        yy: [S], |y|^2.
        xy: [S], <x, y>.

    Returns:
        [2, BINS] and [thresholds] int64, [thresholds] float64.
    """
    defined = (xx > 0) & (yy > 0)
    xx, yy, xy = xx[defined], yy[defined], xy[defined]
    cosine = (xy / xx.sqrt() / yy.sqrt()).clamp_(-1, 1)
    passed = ((cosine + (1 + ROUNDING)) * STEPS).long()  # the highest threshold that a slice passes
    # Of x and y brought to the shorter length s, the sum has the square s^2 (2 + 2 c).
    squares = torch.minimum(xx, yy) * (2 + 2 * cosine)
    kept, balanced = (
        torch.bincount(passed, weights, minlength=len(THRESHOLDS)).flip(0).cumsum(0).flip(0)
        for weights in (None, squares)
    )
    return _histogram((xx.log10() - yy.log10()) / 2, xy < 0, defined[defined]), kept, balanced


def _histogram(ratio: Tensor, negative: Tensor, defined: Tensor) -> Tensor:
    """Count the defined ones of S slices by sign and the logarithm of their ratio, [2, BINS]."""
    bins = ((ratio + DECADES) * PER_DECADE).floor_().clamp_(-1, BINS - 2) + 1
    bins = torch.where(defined, bins + BINS * negative, 2 * BINS).int()
    return torch.bincount(bins, minlength=2 * BINS + 1)[:-1].view(2, BINS)


def kind(shape: torch.Size) -> str:
    """Name the kind of a parameter: `1x1`, `3x3`, ... for kernels, `matrix`, or `vector`."""
    if len(shape) < 3:
        return "matrix" if len(shape) == 2 else "vector"
    return "x".join(map(str, shape[2:]))


@dataclass(frozen=True)
class Slices:
    """Counts and sums over the batches of one epoch, and what follows from them.

    The methods take a pair, a level of `LEVELS` and the layers to pool, any index of the L layers such as
    `found.kinds == "1x1"`; layers count by their slices. They return NaN where nothing was counted.

    Attributes:
        layers: [L] names of the shared parameters.
        kinds: [L], see `kind`.
        sizes: [L] elements of a layer.
        counts: [L, levels], slices of a layer.
        pairs: [R, 2] names of gradients x and y.
        batches: [R, L] batches in which both gradients were there.
        ratios: [R, L, levels, 2, BINS], slices over all batches by ratio, those with c >= 0 first, those with c < 0
            second. Bin i from 1 to BINS - 2 holds ratios from 10^((i - 1) / PER_DECADE - DECADES) up to that of i + 1;
            the first bin has what is below, the last one what is not.
        kept: [R, L, levels, thresholds], slices with c >= threshold, over all batches.
        balanced: [R, L, levels, thresholds], |sum of x and y under the rule|^2, summed over batches; the rule brings
            both to the shorter length, and drops slices that are not kept.
        plain: [R, L], |x + y|^2, summed over batches.
    """

    layers: np.ndarray
    kinds: np.ndarray
    sizes: np.ndarray
    counts: np.ndarray
    pairs: np.ndarray
    batches: np.ndarray
    ratios: np.ndarray
    kept: np.ndarray
    balanced: np.ndarray
    plain: np.ndarray

    def histogram(self, pair: tuple[str, str], level: str, layers: Any = slice(None)) -> np.ndarray:  # noqa: ANN401
        """Slices by sign and ratio, [2, BINS]; as `ratios`."""
        counted: np.ndarray = self._of(self.ratios, pair, level, layers).sum(0)
        return counted

    def median(self, pair: tuple[str, str], level: str, layers: Any = slice(None)) -> float:  # noqa: ANN401
        """Median of the ratios of both signs, interpolated in its bin on the logarithmic axis; at the ends, the end."""
        counted = self.histogram(pair, level, layers).sum(0)
        total = np.cumsum(counted)
        if total[-1] == 0:
            return float("nan")
        i = int(np.searchsorted(total, total[-1] / 2))
        share = (total[-1] / 2 - total[i] + counted[i]) / counted[i]
        return float(10 ** (np.clip(i - 1 + share, 0, BINS - 2) / PER_DECADE - DECADES))

    def conflicts(self, pair: tuple[str, str], level: str, layers: Any = slice(None)) -> float:  # noqa: ANN401
        """Share of the slices with c < 0."""
        positive, negative = self.histogram(pair, level, layers).sum(1)
        return float(_share(negative, positive + negative))

    def survival(
        self,
        pair: tuple[str, str],
        level: str,
        layers: Any = slice(None),  # noqa: ANN401
        *,
        elements: bool = False,
    ) -> np.ndarray:
        """Share of the slices that are kept at each of `THRESHOLDS`; of their elements, if `elements`."""
        weights = self.sizes / self.counts[:, LEVELS.index(level)] if elements else np.ones(len(self.sizes))
        kept: np.ndarray = (self._of(self.kept, pair, level, layers) * self._chosen(weights, layers)[:, None]).sum(0)
        return _share(kept, kept[0])  # -1 keeps all

    def length(self, pair: tuple[str, str], level: str, layers: Any = slice(None)) -> np.ndarray:  # noqa: ANN401
        """|sum under the rule| / |plain sum| at each of `THRESHOLDS`, root mean squares over the batches."""
        plain = self._chosen(self.plain[self._index(pair, level)[0]], layers).sum()
        squares = _share(self._of(self.balanced, pair, level, layers).sum(0), plain)
        return np.asarray(np.sqrt(squares))

    def _index(self, pair: tuple[str, str], level: str) -> tuple[int, int]:
        if level not in LEVELS:
            raise ValueError(f"level is {level!r}; accepted: {', '.join(map(repr, LEVELS))}")
        pairs = [*map(tuple, self.pairs.tolist())]
        if tuple(pair) not in pairs:
            raise ValueError(f"pair is {pair!r}; accepted: {', '.join(map(str, pairs))}")
        return pairs.index(tuple(pair)), LEVELS.index(level)

    def _of(self, array: np.ndarray, pair: tuple[str, str], level: str, layers: Any) -> np.ndarray:  # noqa: ANN401
        """Entries of a pair at a level, one for each chosen layer."""
        r, i = self._index(pair, level)
        return self._chosen(array[r, :, i], layers)

    def _chosen(self, array: np.ndarray, layers: Any) -> np.ndarray:  # noqa: ANN401
        """Entries of the chosen layers, also of a single one, along the first axis."""
        chosen: np.ndarray = array[np.atleast_1d(np.arange(len(self.layers))[layers])]
        return chosen


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Divide, with NaN for 0 / 0."""
    with np.errstate(invalid="ignore"):
        return np.asarray(part / whole)
