"""Statistics of slices: by hand, against loops, against MTSGD itself, and on gradients without any relation."""

import math

import numpy as np
import pytest
import torch
from balancer_cases import linear_step
from scipy import stats

from mtlrepro.balancers import create
from mtlrepro.training.slices import BINS, DECADES, LEVELS, PER_DECADE, THRESHOLDS, Slices, SliceStatistics, kind

PAIR = ("a", "b")
SHAPES = {"stem": (4, 3, 3, 3), "point": (5, 4, 1, 1), "wide": (2, 3, 1, 5), "linear": (3, 7), "shift": (6,), "one": ()}


def found(*batches, names=None, pairs=(PAIR,)):
    """Statistics of batches, each a row for a and one for b."""
    first = batches[0][0]
    layers = {name: torch.zeros_like(g) for name, g in zip(names or map(str, range(len(first))), first, strict=True)}
    statistics = SliceStatistics(layers, pairs)
    for batch in batches:
        statistics.add(dict(zip(PAIR, batch, strict=True)))
    return Slices(**{name: np.asarray(value) for name, value in statistics.state().items()})


def random_rows(seed):
    """Two rows whose sizes differ by two decades, with a slice of zeros in each."""
    generator = torch.Generator().manual_seed(seed)
    rows = [
        [10**k * torch.randn(shape, generator=generator, dtype=torch.float64) for shape in SHAPES.values()]
        for k in (0, -2)
    ]
    rows[0][0][1, 2] = 0
    rows[1][1][3] = 0
    rows[1][0] += 3e-3 * rows[0][0]  # some agreement
    return rows


def cut(gradient, level):
    """Slices of a gradient as a list."""
    if level == "element":
        return list(gradient.flatten())
    if level == "parameter" or gradient.ndim < 2:
        return [gradient.flatten()]
    if level == "channel" and gradient.ndim > 2:
        return [plane.flatten() for kernel in gradient for plane in kernel]
    return [part.flatten() for part in gradient]


def bin_of(ratio):
    low = [10 ** (i / PER_DECADE - DECADES) for i in range(BINS - 1)]
    return sum(ratio >= edge for edge in low)


def test_a_written_out_matrix():
    """Row 0 has twice the same numbers, row 1 a conflict of ratio 1/10 and an element that one task leaves alone."""
    x, y = torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[3.0, 4.0], [-10.0, 5.0]])
    (one,) = (found(([x], [y]), names=["w"]),)
    assert one.layers.tolist() == ["w"] and one.kinds.tolist() == ["matrix"] and one.sizes.tolist() == [4]
    assert one.counts.tolist() == [[4, 2, 2, 1]] and one.batches.tolist() == [[1]]
    same, tenth = DECADES * PER_DECADE + 1, (DECADES - 1) * PER_DECADE + 1
    elements = one.histogram(PAIR, "element")
    assert (elements[0, same], elements[1].sum(), elements.sum()) == (2, 1, 3)
    assert elements[1, tenth] + elements[1, tenth - 1] == 1  # 1/10 is an edge, and no binary number
    c = -10 / math.sqrt(125)  # of row 1, as that of row 0 is 1; -0.894
    for level in ("channel", "filter"):
        rows = one.histogram(PAIR, level)
        assert rows[0, same] == 1 and rows[1, bin_of(1 / math.sqrt(125))] == 1 and rows.sum() == 2
        np.testing.assert_array_equal(one.survival(PAIR, level), np.where(c < THRESHOLDS, 0.5, 1))
        squares = 100 + np.where(c < THRESHOLDS, 0, 2 + 2 * c)
        np.testing.assert_allclose(one.length(PAIR, level), np.sqrt(squares / 206))  # x + y is (6, 8, -9, 5)
        assert one.conflicts(PAIR, level) == 0.5
    assert one.conflicts(PAIR, "element") == pytest.approx(1 / 3)
    np.testing.assert_allclose(one.length(PAIR, "element"), math.sqrt((36 + 64) / 206))
    assert one.conflicts(PAIR, "parameter") == 0
    whole = (9 + 16 - 10) / math.sqrt(26 * 150)
    squares = 26 * (2 + 2 * whole)
    np.testing.assert_allclose(one.length(PAIR, "parameter"), np.where(whole < THRESHOLDS, 0, math.sqrt(squares / 206)))


@pytest.mark.parametrize("level", LEVELS)
def test_sums_over_batches_are_those_of_loops(level):
    batches = [random_rows(seed) for seed in range(2)]
    several = found(*batches, names=SHAPES)
    assert several.kinds.tolist() == ["3x3", "1x1", "1x5", "matrix", "vector", "vector"]
    i = LEVELS.index(level)
    for layer, shape in enumerate(SHAPES.values()):
        ratios, kept, balanced = np.zeros((2, BINS)), np.zeros(len(THRESHOLDS)), np.zeros(len(THRESHOLDS))
        for xs, ys in batches:
            pieces = list(zip(cut(xs[layer], level), cut(ys[layer], level), strict=True))
            assert several.counts[layer, i] == len(pieces) and several.sizes[layer] == math.prod(shape)
            for x, y in pieces:
                lengths = [torch.linalg.vector_norm(part).item() for part in (x, y)]
                if 0 in lengths:
                    continue
                c = (x * y).sum().item() / math.prod(lengths)
                ratios[int(c < 0), bin_of(lengths[0] / lengths[1])] += 1
                keep = c >= THRESHOLDS - 1e-9
                kept += keep
                balanced += keep * (min(lengths) * (x / lengths[0] + y / lengths[1])).square().sum().item()
        np.testing.assert_array_equal(several.ratios[0, layer, i], ratios)
        np.testing.assert_array_equal(several.kept[0, layer, i], kept)
        np.testing.assert_allclose(several.balanced[0, layer, i], balanced, rtol=1e-12, atol=1e-15)
        plain = sum((xs[layer] + ys[layer]).square().sum().item() for xs, ys in batches)
        np.testing.assert_allclose(several.plain[0, layer], plain, rtol=1e-13)


@pytest.mark.parametrize("level", LEVELS[1:])
def test_lengths_are_those_of_the_steps_of_mtsgd(level):
    rows = random_rows(3)
    several = found(rows, names=SHAPES)
    for threshold in (-1.0, -0.75, -0.05, 0.0, 0.3):
        i = THRESHOLDS.tolist().index(threshold)
        for layer, (x, y) in enumerate(zip(*rows, strict=True)):
            step = linear_step(create("mtsgd", 2, level=level, threshold=threshold), torch.stack([x, y]))[0]
            expected = 2 * step.norm() / (x + y).norm()
            assert several.length(PAIR, level, layer)[i] == pytest.approx(expected.item(), rel=1e-6, abs=1e-9)


def test_independent_gaussians_have_cauchy_ratios():
    """Ratios of one sign have P(|r| < x) = 2/pi arctan(x), a median of 1, and 1.3 % of them lie outside 0.01 to 100."""
    n = 10**6
    x, y = torch.randn(2, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    one = found(([x], [y]))
    counted = one.histogram(PAIR, "element")
    edges = 10.0 ** (np.arange(BINS - 1) / PER_DECADE - DECADES)
    chances = np.diff(np.concatenate([[0], 2 / np.pi * np.arctan(edges), [1]]))
    assert counted.sum() == n
    for sign in counted:
        assert stats.chisquare(sign, sign.sum() * chances).pvalue > 1e-3
    assert stats.binomtest(int(counted[0].sum()), n).pvalue > 1e-3
    assert one.median(PAIR, "element") == pytest.approx(1, abs=4 * math.pi / 2 / math.sqrt(n) + 1e-3)
    assert np.abs(one.length(PAIR, "element") - math.sqrt(1 - 2 / math.pi)).max() < 5e-3
    # E 4 min(|x|, |y|)^2 over half of the elements is 2 (1 - 2/pi), of E (x + y)^2 = 2.


def test_independent_planes_have_the_cosines_of_random_directions():
    """In R^9 (1 + c) / 2 is Beta(4, 4), and a filter of 512 such planes has cosines of a spread of 1 / sqrt(4608)."""
    x, y = torch.randn(2, 128, 512, 3, 3, generator=torch.Generator().manual_seed(1))
    one = found(([x], [y]))
    kept, n = one.survival(PAIR, "channel"), 128 * 512
    expected = stats.beta(4, 4).sf((1 + THRESHOLDS) / 2)
    assert np.abs(kept - expected).max() < 4 * 0.5 / math.sqrt(n)
    assert one.survival(PAIR, "filter")[19] == 1 and one.survival(PAIR, "filter")[21] == 0  # -0.05 and 0.05
    assert one.conflicts(PAIR, "channel") == pytest.approx(1 - kept[20], abs=1e-4)
    np.testing.assert_allclose(kept, one.survival(PAIR, "channel", elements=True))


def test_layers_are_pooled_by_slices_or_by_elements():
    """Of two kernels with one filter each, one agrees, with nine times as many elements as the one that does not."""
    x = [torch.ones(1, 1, 3, 3), torch.ones(1, 1, 1, 1)]
    one = found((x, [x[0], -x[1]]), names=["three", "one"])
    threshold = THRESHOLDS.tolist().index(0)
    assert one.survival(PAIR, "filter")[threshold] == 0.5
    assert one.survival(PAIR, "filter", elements=True)[threshold] == 0.9
    assert one.survival(PAIR, "filter", one.kinds == "1x1")[threshold] == 0 == one.length(PAIR, "element", 0)[0] - 1
    assert one.conflicts(PAIR, "element") == 0.1
    assert math.isnan(one.length(PAIR, "filter", [1])[0])  # a plain sum of 0


def test_a_scale_moves_the_histogram_and_an_exchange_mirrors_it():
    (x, y), n = random_rows(4), len(SHAPES)
    plain, scaled, mirrored = found((x, y)), found(([10 * g for g in x], y)), found((y, x))
    np.testing.assert_allclose(scaled.kept, plain.kept)
    np.testing.assert_allclose(mirrored.kept, plain.kept)
    np.testing.assert_allclose(mirrored.balanced, plain.balanced)
    np.testing.assert_array_equal(mirrored.ratios[..., ::-1], plain.ratios)
    np.testing.assert_array_equal(scaled.ratios[..., PER_DECADE + 1 : -1], plain.ratios[..., 1 : -PER_DECADE - 1])
    for layer in range(n):
        before, after = plain.median(PAIR, "element", layer), scaled.median(PAIR, "element", layer)
        assert after == pytest.approx(10 * before)


def test_ratios_beyond_the_axis_are_counted_at_its_ends():
    x = torch.tensor([1e-30, 1.0, 1e30, 1e-30, 1.0])  # their squares have no place in single precision
    y = torch.tensor([1e-30, 1e-30, 1.0, 1.0, 0.0])
    one = found(([x], [y]))
    assert one.histogram(PAIR, "element")[0, [0, DECADES * PER_DECADE + 1, BINS - 1]].tolist() == [1, 1, 2]
    small = found(([x[3:4]], [y[3:4]]))
    assert [each.median(PAIR, "element") for each in (small, found(([y[3:4]], [x[3:4]])))] == [1e-4, 1e4]
    tiny = found(([torch.full((2, 3), 1e-30)], [torch.full((2, 3), 2e-30)]))
    assert tiny.median(PAIR, "filter") == pytest.approx(0.5, rel=0.07)
    assert tiny.length(PAIR, "filter")[0] == pytest.approx(2 / 3)


def test_the_median_is_right_to_a_tenth_of_a_bin_where_ratios_are_dense():
    exponents = torch.linspace(-2, 3, 100_001, dtype=torch.float64)
    one = found(([10**exponents], [torch.ones_like(exponents)]))
    assert one.median(PAIR, "element") == pytest.approx(10**0.5, rel=0.1 * (10 ** (1 / PER_DECADE) - 1))


def test_memory_formats_do_not_matter():
    x, y = torch.randn(2, 4, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    plain, last = found(([x], [y])), found(([x.contiguous(memory_format=torch.channels_last)], [y]))
    for name in ("ratios", "kept", "balanced", "plain"):
        np.testing.assert_array_equal(getattr(last, name), getattr(plain, name))


def test_what_is_absent_is_not_counted():
    x = [torch.ones(2, 2), torch.ones(3)]
    statistics = SliceStatistics({"w": x[0], "b": x[1]}, [PAIR])
    statistics.add({"a": x, "b": [x[0], None]})
    statistics.add({"a": x})
    one = Slices(**{name: np.asarray(value) for name, value in statistics.state().items()})
    assert one.batches.tolist() == [[1, 0]] and one.ratios[0, 0].sum(axis=(1, 2)).tolist() == [4, 2, 2, 1]
    assert one.ratios[0, 1].sum() == 0
    assert math.isnan(one.median(PAIR, "element", 1)) and math.isnan(one.conflicts(PAIR, "filter", 1))
    assert np.isnan(one.survival(PAIR, "filter", 1)).all() and np.isnan(one.length(PAIR, "filter", 1)).all()


def test_wrong_names_are_refused():
    one = found(([torch.ones(2)], [torch.ones(2)]))
    with pytest.raises(ValueError, match=r"level is 'row'; accepted: 'element', 'channel', 'filter', 'parameter'"):
        one.median(PAIR, "row")
    with pytest.raises(ValueError, match=r"pair is \('b', 'a'\); accepted: \('a', 'b'\)"):
        one.length(("b", "a"), "filter")


def test_kinds_of_parameters():
    shapes = [(), (3,), (3, 4), (3, 4, 5), (8, 4, 1, 1), (8, 4, 3, 3)]
    assert [kind(torch.Size(shape)) for shape in shapes] == ["vector", "vector", "matrix", "5", "1x1", "3x3"]
