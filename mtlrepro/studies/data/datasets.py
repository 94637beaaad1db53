"""What the chapter on the data sets shows: galleries, ranges, class shares, encodings and exactness."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor
from torch.nn.functional import normalize

from mtlrepro import losses
from mtlrepro.analysis import published
from mtlrepro.data import datasets, motorcycle
from mtlrepro.data.catalogue import entry_of
from mtlrepro.data.datasets import Dataset
from mtlrepro.data.real.bdd100k import prepare as bdd100k
from mtlrepro.data.real.cityscapes import prepare as cityscapes
from mtlrepro.data.real.nyuv2 import prepare as nyuv2
from mtlrepro.data.real.taskonomy import prepare as taskonomy
from mtlrepro.data.samples import Sample
from mtlrepro.data.scenes import tiled
from mtlrepro.data.scenes.raycast import shade
from mtlrepro.data.scenes.rooms import generate as rooms
from mtlrepro.data.scenes.rooms.layout import Draws, draw
from mtlrepro.data.scenes.streets import generate as streets
from mtlrepro.data.scenes.streets.composition import FOCAL
from mtlrepro.data.scenes.streets.layout import BASELINE
from mtlrepro.pages.figures import draw_map
from mtlrepro.studies.setting import check_root
from mtlrepro.targets import TARGETS, Display, Known
from mtlrepro.tasks import MAPS

SHOWN = ("image", "right", "segmentation", "depth", "disparity", "normal", "occlusion", *MAPS, "valid")
"""Maps of the gallery in their order."""
_UNKNOWN: dict[Known, str] = {
    "mask": "not valid",
    "always": "-",
    "nonzero": "(0, 0, 0)",
    "positive": "0",
    "class": "-1",
}


def open_dataset(name: str, data_root: str, split: str, *, n: int, size: tuple[int, int]) -> Dataset:
    """Open what the gallery shows: `n` scenes of a size, or a split of a prepared real data set.

    Raises:
        ValueError: as `check_root`, or a folder that holds no prepared split.
    """
    check_root(name, data_root)
    if entry_of(name).generated:
        return datasets.load(name, split, n=n, size=size)
    return datasets.load(name, split, root=data_root)


def known(sample: Sample, key: str) -> Tensor:
    """Say where a dense map is known, bool `[H, W]`."""
    return losses.known({name: value[None] for name, value in sample.items()}, key)[0, 0]


def inventory(dataset: Dataset, n: int = 64) -> pd.DataFrame:
    """Describe every dense key over the first `n` samples.

    Returns:
        Columns `key`, `unit`, `stored as`, `invalid` (what stands for unknown), `smallest`, `median`,
        `largest` over known pixels, and `unknown`, the share of the others in per cent.
    """
    chosen = [dataset[i] for i in range(min(n, len(dataset)))]
    rows = []
    for key in dataset.keys:
        target = TARGETS[key]
        having = [sample for sample in chosen if key in sample]
        if target.ragged or not having:
            continue
        masks = [known(sample, key) for sample in having]
        values = torch.cat([s[key].reshape(-1, *m.shape)[:, m].flatten() for s, m in zip(having, masks, strict=True)])
        whole = torch.stack(masks)
        low, middle, high = (float(v) for v in (values.amin(), values.float().median(), values.amax()))
        share = 100 * float((~whole).float().mean())
        unit = "class" if target.known == "class" else target.display.unit or "-"
        rows.append((key, unit, target.stored, _UNKNOWN[target.known], low, middle, high, share))
    columns = ["key", "unit", "stored as", "invalid", "smallest", "median", "largest", "unknown"]
    return pd.DataFrame(rows, columns=columns)


def class_shares(dataset: Dataset, n: int = 200) -> pd.DataFrame:
    """Share of each class among labelled pixels of the first `n` samples, in per cent: `class`, `share`."""
    labels = dataset.batch(range(min(n, len(dataset))))["segmentation"]
    counts = torch.bincount(labels[labels >= 0], minlength=dataset.n_classes).double()
    return pd.DataFrame({"class": dataset.class_names, "share": (100 * counts / counts.sum()).tolist()})


def published_shares() -> pd.DataFrame:
    """Pixel shares of Cityscapes' classes in per cent, `class` and `share`, from published class weights.

    The weights are `w = 1 / ln(1.10 + p)` of the share p (the form of ENet, Paszke et al. 2016), so
    `p = exp(1 / w) - 1.10`. That the constant is 1.10 is inferred, and confirmed by the shares' sum, which is 1.
    """
    table = published.read("datasets")
    weights = table[table["row"] == "class weight"]
    return pd.DataFrame({"class": weights["column"], "share": 100 * (np.exp(1 / weights["value"]) - 1.10)})


def shares_figure(table: pd.DataFrame) -> Figure:
    """Draw shares on a logarithmic axis, one line a class and one kind of mark a `source`."""
    figure = Figure(figsize=(7.2, 0.24 * table["class"].nunique() + 1.1), layout="constrained")
    axes = figure.subplots()
    classes = list(dict.fromkeys(table["class"]))
    for marker, (source, part) in zip("osD^", table.groupby("source", sort=False), strict=False):
        places = [classes.index(name) for name in part["class"]]
        axes.plot(part["share"].clip(lower=1e-3), places, marker, label=source, markersize=5)
    axes.set_xscale("log")
    axes.set(xlabel="share of labelled pixels, %", yticks=range(len(classes)), yticklabels=classes)
    axes.invert_yaxis()
    figure.legend(loc="outside upper center", ncols=3)
    return figure


def gallery(sample: Sample, class_names: Sequence[str]) -> tuple[Figure, pd.DataFrame]:
    """Draw all dense maps of one sample, unknown pixels in magenta, boxes on the image; with mean and spread of each.

    Args:
        sample: one sample.
        class_names: names of the classes; the legend has those that occur.
    """
    keys = [key for key in SHOWN if key in sample]
    columns = 3
    lines = -(-len(keys) // columns)
    figure = Figure(figsize=(7.2, 1.95 * lines), layout="constrained")
    frames = np.atleast_1d(figure.subplots(lines, columns)).ravel()
    rows = []
    for axes, key in zip(frames, keys, strict=False):
        _panel(figure, axes, sample, key, len(class_names))
        values = sample[key].double()
        rows.append((key, float(values.mean()), float(values.std())))
    for axes in frames:
        axes.set_axis_off()
    if "segmentation" in sample:
        colours = mpl.colormaps[TARGETS["segmentation"].display.colours]
        present = [int(c) for c in torch.unique(sample["segmentation"]) if c >= 0]
        patches = [Rectangle((0, 0), 1, 1, color=colours(c / max(len(class_names) - 1, 1))) for c in present]
        names = [class_names[c] for c in present]
        figure.legend(patches, names, loc="outside lower center", ncols=6, fontsize=8)
    return figure, pd.DataFrame(rows, columns=["key", "mean", "spread"])


def _panel(figure: Figure, axes: Axes, sample: Sample, key: str, n_classes: int) -> None:
    drawn = draw_map(
        axes, TARGETS[key].display, sample[key], known(sample, key), n_classes if key == "segmentation" else None
    )
    if drawn is not None and key not in ("segmentation", "valid", "occlusion"):
        figure.colorbar(drawn, ax=axes, shrink=0.8, extend=_beyond(TARGETS[key].display))
    if key == "image" and "boxes" in sample:
        for x1, y1, x2, y2 in sample["boxes"].tolist():
            axes.add_patch(Rectangle((x1 - 0.5, y1 - 0.5), x2 - x1, y2 - y1, fill=False, color="#E69F00"))


def _beyond(display: Display) -> str:
    """Which ends of the colour bar have values beyond them."""
    if display.low < 0:
        return "both"
    return "neither" if display.high == 1 else "max"


def _errors(made: Sequence[Sample], read: Dataset, keys: Sequence[str], order: Sequence[int]) -> dict[str, float]:
    """Largest absolute differences over known pixels of what was written and what was read."""
    result: dict[str, float] = dict.fromkeys(keys, 0.0)
    for place, index in enumerate(order):
        found, true = read[place], made[index]
        for key in keys:
            there = known(found, key) & known(true, key)
            difference = (found[key].double() - true[key].double()).abs().reshape(-1, *there.shape)[:, there]
            result[key] = max(result[key], float(difference.amax()))
    return result


def encodings(n: int = 4) -> pd.DataFrame:
    """Write scenes in every real format, prepare them, read them back, and compare with the bounds of the encodings.

    Args:
        n: scenes in each split.

    Returns:
        One row for each map of each format: `format`, `key`, `encoding`, `error` (largest, in the key's
        unit), `bound` (half a step of the encoding, and what half floats add), `unit`.
    """
    room = _list(rooms.generate(range(n), split="train", size=(48, 64)), n)
    street = _list(streets.generate(range(n), split="train", size=(48, 96)), n)
    half = 2.0**-11
    rows: list[tuple[Any, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)

        def add(
            name: str, made: Sequence[Sample], entries: dict[str, tuple[str, float, str]], order: list[int]
        ) -> None:
            split = "train"
            found = _errors(made, datasets.load(name, split, root=root / name), list(entries), order)
            rows.extend((name, key, text, found[key], bound, unit) for key, (text, bound, unit) in entries.items())

        straight = list(range(n))
        nyuv2.export(root / "nyuv2_files", room, room)
        nyuv2.prepare(root / "nyuv2_files", root / "nyuv2", normals="ladicky", progress=False)
        add(
            "nyuv2",
            room,
            {
                "depth": ("float32, metres (v7.3 .mat, axes reversed)", 0.0, "m"),
                "segmentation": ("894 labels to 40 to 13", 0.0, "class"),
                "normal": ("8 bits a component, channels reversed", 2 / 255 + half, ""),
            },
            straight,
        )
        cityscapes.export(root / "cityscapes_files", street, focal=FOCAL * 96, baseline=BASELINE)
        cityscapes.prepare(root / "cityscapes_files", root / "cityscapes", progress=False)
        add(
            "cityscapes",
            street,
            {
                "disparity": ("16 bits, d = (p - 1)/256", 1 / 512, "px"),
                "segmentation": ("labelIds to 19 train ids", 0.0, "class"),
            },
            straight,
        )
        taskonomy.export(root / "taskonomy_files", room, "train")
        taskonomy.prepare(root / "taskonomy_files", root / "taskonomy", every=1, subset=True, progress=False)
        add(
            "taskonomy",
            room,
            {
                "depth": ("16 bits, v/512 m", 1 / 1024, "m"),
                "curvature": ("8 bits, (v/127 - 1)/0.03", 0.5 / 127 / 0.03 + 33 * half, "1/m"),
                "reshading": ("8 bits", 0.5 / 255 + half, ""),
                "edges3d": ("16 bits", 0.5 / 65535 + half, ""),
                "keypoints2d": ("16 bits", 0.5 / 65535 + half, ""),
            },
            [*range(0, n, 2), *range(1, n, 2)],  # one building, then the other
        )
        tasks = ("detection", "segmentation")
        bdd100k.export(root / "bdd100k_files", street, tasks=tasks)
        bdd100k.prepare(root / "bdd100k_files", root / "bdd100k", tasks=tasks, progress=False)
        add("bdd100k", street, {"segmentation": ("train ids, 255 unknown", 0.0, "class")}, straight)
    return pd.DataFrame(rows, columns=["format", "key", "encoding", "error", "bound", "unit"])


def _list(batch: dict[str, Any], n: int) -> list[Sample]:
    return [{key: values[i] for key, values in batch.items()} for i in range(n)]


def stereo_check() -> pd.DataFrame:
    """Mean difference of the views of two stereo pairs, matched by the disparity with both signs, in levels of 255.

    Over pixels that both views see: the Middlebury pair in scikit-image, and one street, whose views have noise.
    """
    street = _list(streets.generate([0], split="train", size=(96, 192)), 1)[0]
    rows = []
    for name, pair in (("Motorcycle (Middlebury 2014)", motorcycle.pair()), ("street", street)):
        seen = (pair["disparity"] > 0) & ~pair["occlusion"]
        for sign, disparity in (("left(x) = right(x - d)", pair["disparity"]), ("wrong sign", -pair["disparity"])):
            warped, inside = _warp(pair["right"], disparity)
            there = (seen & inside)[0]
            rows.append((name, sign, 255 * float((pair["image"] - warped).abs().mean(0)[there].mean())))
    return pd.DataFrame(rows, columns=["pair", "match", "difference"])


def _warp(right: Tensor, disparity: Tensor) -> tuple[Tensor, Tensor]:
    """Right view at x - d, linear between pixels `[3, H, W]`, and where that lies in the image `[1, H, W]`."""
    width = right.shape[-1]
    place = torch.arange(width) - disparity
    inside = (place >= 0) & (place <= width - 1)
    first = place.clamp(0, width - 1).floor()
    share = place.clamp(0, width - 1) - first
    columns = [(first + step).clamp(max=width - 1).long().expand_as(right) for step in (0, 1)]
    a, b = (right.gather(2, column) for column in columns)
    return a + (b - a) * share, inside


def motorcycle_figure() -> Figure:
    """Draw the real stereo pair and its disparity, at a quarter of the size."""
    pair = {
        key: value[..., ::4, ::4] for key, value in motorcycle.pair().items() if key in ("image", "right", "disparity")
    }
    figure = Figure(figsize=(7.2, 2.0), layout="constrained")
    for axes, key in zip(figure.subplots(1, 3), pair, strict=True):
        _panel(figure, axes, pair, key, 1)
        axes.set_axis_off()
    return figure


def exactness(n: int = 8) -> dict[str, float]:
    """Measure how exact the scenes are.

    Args:
        n: scenes.

    Returns:
        `bits`: number of values that differ when rooms are made again in another order; `normals`: median angle in
        degrees between a room's normals and those of its depth, on flat surfaces; `curvature`: largest relative
        error of k1 on spheres against one over the radius; `disparity`: largest difference of a street's disparity
        and f B / z in pixels.
    """
    made = rooms.generate(range(n), split="val", size=(48, 64))
    again = rooms.generate(list(reversed(range(n))), split="val", size=(48, 64))
    bits = sum(int((made[key] != again[key].flip(0)).sum()) for key in rooms.KEYS)

    layout = draw(Draws([np.random.SeedSequence([0, 1, i]) for i in range(n)], rooms.NUMBERS), (96, 128), "cpu")
    surface = shade(layout.scene, layout.camera, *tiled.cast(layout.scene, layout.camera))
    normal = layout.camera.to_camera(surface.normal)
    points = torch.stack([layout.camera.x * surface.depth, layout.camera.y * surface.depth, surface.depth], 1)
    across, down = points[..., 1:-1, 2:] - points[..., 1:-1, :-2], points[..., 2:, 1:-1] - points[..., :-2, 1:-1]
    derived = normalize(torch.linalg.cross(down, across, dim=1), dim=1)
    middle = surface.slot[:, 1:-1, 1:-1]
    flat = (surface.curvature[:, 0, 1:-1, 1:-1] == 0) & _same(surface.slot, middle) & _same(surface.face, middle=None)
    cosine = (derived * normal[..., 1:-1, 1:-1]).sum(1)[flat].double()
    angle = float(cosine.clamp(max=1).acos().rad2deg().median())

    balls = torch.tensor([kind == "sphere" for kind in layout.scene.kinds])[surface.slot]
    radius = layout.scene.half[..., 0].gather(1, surface.slot.flatten(1)).view_as(surface.depth)[balls]
    curvature = float((surface.curvature[:, 0][balls] * radius - 1).abs().amax())

    street = _list(streets.generate(range(2), split="val", size=(48, 96), keys=("depth", "disparity")), 2)
    disparity = 0.0
    for sample in street:
        there = sample["disparity"] > 0
        expected = FOCAL * 96 * BASELINE / sample["depth"]
        disparity = max(disparity, float((sample["disparity"] - expected)[there].abs().amax()))
    return {"bits": float(bits), "normals": angle, "curvature": curvature, "disparity": disparity}


def _same(map_: Tensor, middle: Tensor | None) -> Tensor:
    """Where the four neighbours of inner pixels have the pixel's own value."""
    own = map_[:, 1:-1, 1:-1] if middle is None else middle
    parts = (map_[:, 1:-1, :-2], map_[:, 1:-1, 2:], map_[:, :-2, 1:-1], map_[:, 2:, 1:-1])
    return torch.stack([part == own for part in parts]).all(0)
