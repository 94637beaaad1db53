"""What the chapter on the data sets shows and claims."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mtlrepro.analysis import published
from mtlrepro.analysis.verdicts import Verdict, range_interval
from mtlrepro.data.datasets import Dataset
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies.data import datasets, learnability

TOLERANCE = 1e-6
"""Rounding by which an error may lie above the bound of its encoding."""


def inventory(data: Dataset) -> Exhibit:
    """List every key of the first samples."""
    table = datasets.inventory(data)
    return Exhibit(
        name="inventory",
        table=table,
        shown=table.rename(columns={"invalid": "where unknown", "unknown": "unknown, % of pixels"}),
        caption="Every dense map of a sample: its unit, how it is stored, its range over known pixels, and how much of"
        f" it is unknown. ({data.name}, {data.split}, first {min(64, len(data))} of {len(data)} samples)",
    )


def gallery(data: Dataset, shown: int) -> Exhibit:
    """Show every map of some samples, spread over the split."""
    indices = [i * len(data) // shown for i in range(shown)]
    drawn = {f"sample {i}": datasets.gallery(data[i], data.class_names) for i in indices}
    alt = "Panels of one sample: the image and each of its maps, with colour bars; unknown pixels are magenta."
    return Exhibit(
        name="gallery",
        table=pd.concat([table.assign(sample=label) for label, (_, table) in drawn.items()]),
        frames={label: (figure, f"{label}. {alt}") for label, (figure, _) in drawn.items()},
        sliders=("shown:",),
        rtol=1e-5,
        uses=("dataset", "shown", "height", "width"),
        caption=f"Every map of a sample; the slider changes the sample. ({data.name}, {data.split}, {shown} samples"
        " spread over the split)",
    )


def street(streets: Dataset) -> Exhibit:
    """Show every map of one street."""
    sample = streets[3]
    figure, table = datasets.gallery(sample, streets.class_names)
    return Exhibit(
        name="street",
        table=table,
        figure=figure,
        rtol=1e-5,
        uses=("scenes", "height", "width"),
        caption=f"A street: both views, disparity up to {sample['disparity'].max():.1f} pixels, and boxes of"
        f" {len(sample['boxes'])} objects. Disparity has holes as stereo matchers leave them; occlusion is exact.",
        alt="Panels of one street scene: left view with boxes, right view, classes, depth, disparity, normals,"
        " occlusion.",
    )


def shares_claim() -> Verdict:
    """Judge whether the recovered class shares of Cityscapes sum to 1."""
    total = range_interval([datasets.published_shares()["share"].sum() / 100])
    return Verdict(
        "Cityscapes' class shares, recovered from published weights, sum to 1",
        "our inference",
        1,
        1e-5,
        total,
        reading="the sum over all classes",
        kind="ours",
        finding=3,
    )


def shares(streets: Dataset, data: Dataset) -> Exhibit:
    """Compare the classes' shares in streets with those of Cityscapes, and with those of `data` if it is another."""
    recovered, own = datasets.published_shares(), datasets.class_shares(streets)
    parts = [recovered.assign(source="Cityscapes, published"), own.assign(source="streets")]
    if data.n_classes and data.name != "streets":
        parts.append(datasets.class_shares(data).assign(source=data.name))
    table = pd.concat(parts, ignore_index=True)
    real, ours = (part.set_index("class")["share"] for part in (recovered, own))
    worst = str((real / ours).apply(np.log).abs().idxmax())
    return Exhibit(
        name="shares",
        table=table,
        figure=datasets.shares_figure(table),
        atol=1e-6,
        uses=("dataset", "scenes"),
        caption="Share of each class among the labelled pixels. Streets are as uneven as Cityscapes: the three largest"
        f" classes own {ours.nlargest(3).sum():.0f} % of the labelled pixels there and {real.nlargest(3).sum():.0f} %"
        f" in Cityscapes. Least alike: {worst}, {ours[worst]:.2g} % and {real[worst]:.2g} %.",
        alt="Dot plot on a logarithmic axis: one line for each class, one kind of mark for each data set.",
    )


def encodings(table: pd.DataFrame) -> Exhibit:
    """Show the rows of `datasets.encodings`."""
    above = int((table["error"] > table["bound"] + TOLERANCE).sum())
    return Exhibit(
        name="encodings",
        table=table,
        shown=table.rename(columns={"key": "map", "error": "largest error"}),
        atol=1e-6,
        caption="Largest error of each map after export, preparation and reading, beside the bound of its"
        f" encoding: {above} of {len(table)} errors are above their bound. (A few scenes in each format)",
    )


def encoding_claims(table: pd.DataFrame) -> list[Verdict]:
    """Judge for every format whether its encoding bounds the error, from the rows of `datasets.encodings`."""
    return [
        Verdict(
            "No map is further from the scene than its encoding allows",
            "our readers",
            0,
            TOLERANCE,
            range_interval(part["error"] - part["bound"]),
            below=True,
            reading="error minus bound in the unit of the map, range over maps",
            case=str(name),
            kind="ours",
            finding=1,
        )
        for name, part in table.groupby("format")
    ]


def factors() -> Exhibit:
    """Show by how much the values of some maps in Taskonomy's files are below ours."""
    printed = published.read("taskonomy")
    table = printed.rename(columns={"column": "map", "row": "what"})[["map", "what", "value"]]
    least = table[table["what"] == "files over ours"].sort_values("value").iloc[0]
    unlike = table[table["what"] == "correlation with ours"].iloc[0]
    return Exhibit(
        name="factors of Taskonomy",
        table=table,
        caption="Values of three maps in the files of one real view of Taskonomy, beside those that the formulas of our"
        " scenes give for it. An error in these units, and with it the loss, is smaller by the same factor, down to"
        f" 1/{1 / least['value']:.0f} for {least['map']}; {unlike['map']} has a correlation of"
        f" {unlike['value']:.2f} only.",
    )


def stereo(matches: pd.DataFrame) -> Exhibit:
    """Show the real pair, with the rows of `datasets.stereo_check`."""
    (right, street_right), (wrong, street_wrong) = (matches["difference"][start::2] for start in (0, 1))
    return Exhibit(
        name="stereo",
        table=matches,
        figure=datasets.motorcycle_figure(),
        uses=("device",),
        caption=f"Motorcycle: matched by its disparity the views differ by {right:.1f} of 255 levels, with the wrong"
        f" sign by {wrong:.1f}; the noisy street by {street_right:.1f} and {street_wrong:.1f}.",
        alt="Left and right photograph of a red motorcycle in a workshop, and its disparity, largest on the"
        " motorcycle.",
    )


def stereo_claim(matches: pd.DataFrame) -> Verdict:
    """Judge the sign of disparity from the rows of `datasets.stereo_check`."""
    right, wrong = (matches["difference"][start::2].to_numpy() for start in (0, 1))
    return Verdict(
        "Matched by disparity, two views differ less than half as much as with the wrong sign",
        "our convention",
        0.5,
        0.0,
        range_interval(right / wrong),
        below=True,
        reading="quotient of the mean absolute differences, range over both pairs",
        kind="ours",
        finding=2,
    )


def exactness_claims() -> list[Verdict]:
    """Judge the four identities of the scenes."""
    exact = datasets.exactness()
    claims = (
        ("A room has the same bits in every batch", "values that differ in another order", "bits", 0.0),
        ("The normals of a room are those of its depth", "median angle between them, degrees", "normals", 0.1),
        ("The curvature of a ball is one over its radius", "largest relative error", "curvature", 1e-5),
        ("Disparity is f B / z", "largest difference, pixels", "disparity", 1e-4),
    )
    return [
        Verdict(
            claim,
            "our scenes",
            0,
            bound,
            range_interval([exact[key]]),
            reading=reading,
            kind="identity",
            finding=4,
        )
        for claim, reading, key, bound in claims
    ]


def learned(tables: Sequence[pd.DataFrame]) -> Exhibit:
    """Show the rows of `learnability.learned` of several data sets."""
    table = pd.concat(tables, ignore_index=True)
    means = table.groupby("scenes")[["gain", "ratio"]].mean()
    gains = ", ".join(f"{row['gain']:.0f} points in {name}" for name, row in means.iterrows())
    ratios = ", ".join(f"{row['ratio']:.2f} in {name}" for name, row in means.iterrows())
    titles = {
        "colour": "mIoU of colours, %",
        "network": "mIoU of the network, %",
        "gain": "gain, points",
        "constant": "error of the constant, m or px",
        "error": "error of the network, m or px",
        "ratio": "quotient of the errors",
    }
    return Exhibit(
        name="learned",
        table=table,
        shown=table.rename(columns=titles),
        rtol=0.05,
        atol=0.5,
        caption="The network beside the best table of colours, by mIoU, and beside the best constant, by mean absolute"
        f" error. Mean gain: {gains}; error over that of the constant: {ratios}. (A row a seed; seeds share their"
        " scenes, so intervals over them cover the training, not the draw of the scenes)",
    )


def learned_claims(tables: Sequence[pd.DataFrame]) -> list[Verdict]:
    """Judge whether each data set is rich enough."""
    return [verdict for table in tables for verdict in learnability.verdicts(table)]
