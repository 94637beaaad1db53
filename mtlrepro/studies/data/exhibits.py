"""What the chapter on the data sets shows and claims."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mtlrepro.analysis.verdicts import Verdict, range_interval
from mtlrepro.data.datasets import Dataset
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies.data import datasets, learnability


def inventory(data: Dataset) -> Exhibit:
    """List every key of the first samples."""
    return Exhibit(
        name="inventory",
        table=datasets.inventory(data),
        caption=f"{data.name}, {data.split}: every key of the first {min(64, len(data))} of {len(data)} samples, over"
        " known pixels; the last column is the share of unknown ones, in per cent.",
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
        caption=f"{data.name}, {data.split}: each map of {shown} samples; move the slider to change the sample.",
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
    claim = "Cityscapes' class shares, recovered from published weights, sum to 1"
    return Verdict(claim, "our inference", 1, 1e-5, total)


def shares(streets: Dataset, data: Dataset) -> Exhibit:
    """Compare the classes' shares in streets with those of Cityscapes, and with those of `data` if it is another."""
    published, own = datasets.published_shares(), datasets.class_shares(streets)
    parts = [published.assign(source="Cityscapes, published"), own.assign(source="streets")]
    if data.n_classes and data.name != "streets":
        parts.append(datasets.class_shares(data).assign(source=data.name))
    table = pd.concat(parts, ignore_index=True)
    real, ours = (part.set_index("class")["share"] for part in (published, own))
    worst = str((real / ours).apply(np.log).abs().idxmax())
    return Exhibit(
        name="shares",
        table=table,
        figure=datasets.shares_figure(table),
        atol=1e-6,
        uses=("dataset", "scenes"),
        caption=f"Share of each class. Streets are as uneven as Cityscapes: the three largest classes own"
        f" {ours.nlargest(3).sum():.0f} % of the labelled pixels there and {real.nlargest(3).sum():.0f} % in"
        f" Cityscapes. Least alike: {worst}, {ours[worst]:.2g} % and {real[worst]:.2g} %.",
        alt="Dot plot on a logarithmic axis: one line for each class, one kind of mark for each data set.",
    )


def encodings(table: pd.DataFrame) -> Exhibit:
    """Show the rows of `datasets.encodings`."""
    return Exhibit(
        name="encodings",
        table=table,
        atol=1e-6,
        caption="Largest error after export, preparation and reading, against the bound of each encoding.",
    )


def encoding_claims(table: pd.DataFrame) -> list[Verdict]:
    """Judge for every format whether its encoding bounds the error, from the rows of `datasets.encodings`."""
    return [
        Verdict(
            f"{name}: no map is further from the scene than its encoding allows (error minus bound)",
            "our readers",
            0,
            1e-6,
            range_interval(part["error"] - part["bound"]),
            below=True,
        )
        for name, part in table.groupby("format")
    ]


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
    claim = "Matched by disparity, the views differ less than half as much as with the wrong sign (quotient)"
    return Verdict(claim, "our convention", 0.5, 0.0, range_interval(right / wrong), below=True)


def exactness_claims() -> list[Verdict]:
    """Judge the four identities of the scenes."""
    exact = datasets.exactness()
    claims = (
        ("Values that differ when rooms are made again in another order", "bits", 0.0),
        ("Median angle between a room's normals and those of its depth, degrees", "normals", 0.1),
        ("Curvature of balls against 1/r (largest relative error)", "curvature", 1e-5),
        ("Disparity against f B / z, pixels (largest difference)", "disparity", 1e-4),
    )
    return [Verdict(claim, "our scenes", 0, bound, range_interval([exact[key]])) for claim, key, bound in claims]


def learned(tables: Sequence[pd.DataFrame]) -> Exhibit:
    """Show the rows of `learnability.learned` of several data sets."""
    table = pd.concat(tables, ignore_index=True)
    means = table.groupby("scenes")[["gain", "ratio"]].mean()
    gains = ", ".join(f"{row['gain']:.0f} points in {name}" for name, row in means.iterrows())
    ratios = ", ".join(f"{row['ratio']:.2f} in {name}" for name, row in means.iterrows())
    return Exhibit(
        name="learned",
        table=table,
        rtol=0.05,
        atol=0.5,
        caption="mIoU in per cent of colours and of the network, and mean absolute error of the constant and of the"
        f" network (m, px). Mean gain: {gains}; error over that of the constant: {ratios}. Seeds share their scenes, so"
        " intervals over them cover the training, not the draw of the scenes.",
    )


def learned_claims(tables: Sequence[pd.DataFrame]) -> list[Verdict]:
    """Judge whether each data set is rich enough."""
    return [verdict for table in tables for verdict in learnability.verdicts(table)]
