"""Networks, losses and runs of the supplement on loss scale balancing (LSB), with their slips; and its Section 8.

What the supplement says of its networks is checked on the networks that train here, at the size of its protocol; they
are made without memory, so that no weights are needed.
"""

from collections.abc import Mapping, Sequence
from functools import cache

import pandas as pd
import torch
from torch import nn

from mtlrepro import losses, models, tasks
from mtlrepro.analysis.verdicts import Interval, Verdict, number
from mtlrepro.models import encoders
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies.comparison import Comparison
from mtlrepro.studies.lsb.grids import EIGHT, FOUR, TASKS
from mtlrepro.studies.lsb.predictions import FIGURE_METHODS
from mtlrepro.studies.scores import method_title
from mtlrepro.studies.setting import Setting
from mtlrepro.training.config import RunConfig

PRINTED = (9, 12, 4320)
"""Rows, columns and channels of the encoder's output, as Table S-1 prints them for every encoder and data set."""
SIZES = {"NYUv2": (288, 384), "Taskonomy": (256, 256)}
"""Rows and columns of the images of each data set, by Table S-1."""
CONVOLUTIONS, UPSAMPLINGS, CHANNELS = 12, 5, 17
"""Of a decoder, and output channels of the full-sharing network for the three tasks of NYUv2 (Section 1)."""


# --- networks -----------------------------------------------------------------------------------------


def encoder_outputs() -> pd.DataFrame:
    """Size of MobileNetV2's output, computed and as Table S-1 prints it.

    PNASNet-5 needs another package, so that it is left to the tests: it has the printed size on NYUv2.

    Returns:
        One row a data set: `images`, their size; `computed` and `printed` as rows x columns x channels.
    """
    rows = [
        (data, _times(size), _times(_output("mobilenet_v2", size)), _times(PRINTED)) for data, size in SIZES.items()
    ]
    return pd.DataFrame(rows, columns=["data", "images", "computed", "printed"])


@cache
def _output(encoder: str, size: tuple[int, int]) -> tuple[int, ...]:
    """Rows, columns and channels of an encoder's output."""
    with torch.device("meta"):
        _, channels, rows, columns = encoders.create(encoder).eval()(torch.zeros(1, 3, *size)).shape
    return rows, columns, channels


def _times(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))


def decoder_parts() -> dict[str, int]:
    """Count the layers of one decoder, and the output channels of full sharing, for the three tasks of NYUv2.

    Returns:
        `convolutions` of 3 x 3 and `upsamplings` of the network `multi_decoder`, and `channels` of `full_sharing`.
    """
    made = tasks.create(TASKS)
    with torch.device("meta"):
        apart, joint = (models.create(name, made, encoder="mobilenet_v2") for name in ("multi_decoder", "full_sharing"))
    parts = list(apart.heads[TASKS[0]].modules())
    convolutions = [part for part in parts if isinstance(part, nn.Conv2d) and part.kernel_size == (3, 3)]
    upsamplings = [part for part in parts if isinstance(part, nn.Upsample) and part.mode == "bilinear"]
    outputs = [part.out_channels for part in joint.heads.modules() if isinstance(part, nn.Conv2d)]
    return {"convolutions": len(convolutions), "upsamplings": len(upsamplings), "channels": sum(outputs)}


def head_channels() -> pd.DataFrame:
    """Output channels of each set of tasks: of each decoder, and their sum, which full sharing has (Table S-2).

    Returns:
        One row a set: `tasks` with the channels of each, and `full sharing`.
    """
    rows = []
    for names in (TASKS, FOUR, EIGHT):
        made = tasks.create(names)
        rows.append((", ".join(f"{task.name} {task.channels}" for task in made), sum(task.channels for task in made)))
    return pd.DataFrame(rows, columns=["tasks", "full sharing"])


# --- losses -------------------------------------------------------------------------------------------


def upper_regulariser() -> dict[str, float]:
    """Slope of the depth loss at an estimate of twice the largest depth, with each reading of Eq. 4.

    Returns:
        `estimate`, with the estimate in the regulariser, as it is trained here, and `printed`, with the true depth,
        less the slope of the logarithm alone: 1 where the regulariser pushes the estimate back, 0 where it is constant.
    """
    depth_range = (1.0, 10.0)
    truth, mask = torch.full((1, 1, 1, 1), 5.0), torch.ones(1, 1, 1, 1, dtype=torch.bool)
    slopes = {}
    for name in ("estimate", "printed"):
        estimate = torch.full((1, 1, 1, 1), 2 * depth_range[1], requires_grad=True)
        if name == "estimate":
            loss = losses.depth_loss(estimate, truth, mask, depth_range).values.sum()
        else:
            excess = (truth - depth_range[1]).clamp(min=0).mean()
            loss = losses.log_ratio(estimate, truth, mask, depth_range[0]).abs().mean() + excess
        (slope,) = torch.autograd.grad(loss, estimate)
        slopes[name] = float(slope - 1 / (2 * depth_range[1]))
    return slopes


# --- runs ---------------------------------------------------------------------------------------------


def runs(setting: Setting, count: int) -> pd.DataFrame:
    """What a run is here, beside the supplement's.

    Args:
        setting: What all runs share.
        count: Parameters of the network in a run of the setting.

    Returns:
        One row an item: `item`, `here` and `supplement, NYUv2`.
    """
    run = setting.run()
    rows = [
        ("images", f"{run.n_train} to train, {run.n_test} to test", "795 to train, 654 to test"),
        ("size of images", _times(run.size) if run.size else "as prepared", "288 x 384"),
        ("epochs", f"{run.epochs}", "1000 with MobileNetV2, 50 with PNASNet-5"),
        ("batch size", f"{run.batch_size}", "not stated"),
        ("encoder's start", str(run.model_options.get("weights", "none")), "ImageNet"),
        ("parameters", f"{count:,}", "not stated"),
        ("optimizer", "AdamW", "AdamW"),
        ("learning rate", f"{run.lr:g}", "0.0001"),
        ("weight decay", f"{run.weight_decay:g}", "0.01"),
        ("growth of β per epoch", "0.02", "0.02 with MobileNetV2, 0.05 with PNASNet-5"),
        ("mirror images", f"with a probability of {run.flip:g}", "yes"),
        ("scored", "on the test split after the last epoch", "not stated"),
    ]
    return pd.DataFrame(rows, columns=["item", "here", "supplement, NYUv2"])


def parameters(run: RunConfig) -> int:
    """Parameters of the network of a run."""
    options = {name: value for name, value in run.model_options.items() if name != "weights"}
    with torch.device("meta"):
        network = models.create(run.model, tasks.create(run.tasks), **options)
    return sum(parameter.numel() for parameter in network.parameters())


def both_mious(comparison: Comparison) -> pd.DataFrame:
    """Both readings of mIoU, by method: over all pixels of the split, as tables show it, and for each image.

    Args:
        comparison: Runs of all methods in one network.

    Returns:
        One row a method: `method`; `mIoU of all pixels, %`, `mIoU of images, %`, means over seeds, and the rank of
        each, `rank` and `rank by images`.
    """
    names = {"segmentation.miou": "mIoU of all pixels, %", "segmentation.miou_per_image": "mIoU of images, %"}
    means = comparison.runs.groupby("method", sort=False)[list(names)].mean()
    ranks = means.rank(ascending=False).astype(int)
    shown = means.rename(columns=names).round(2)
    return shown.assign(rank=ranks.iloc[:, 0], **{"rank by images": ranks.iloc[:, 1]}).reset_index()


# --- what the supplement says -------------------------------------------------------------------------


def claims() -> list[Verdict]:
    """Check the networks that train here against Section 1; these are identities, exact by construction."""
    found, source = decoder_parts(), "Section 1"
    stated = {"convolutions": CONVOLUTIONS, "upsamplings": UPSAMPLINGS, "channels": CHANNELS}
    texts = {
        "convolutions": "A decoder has twelve convolutions of 3 x 3",
        "upsamplings": "A decoder has five bilinear upsamplings",
        "channels": "Full sharing for depth, normals and segmentation has 17 output channels",
    }
    verdicts = [
        Verdict(
            texts[name],
            source,
            float(stated[name]),
            0.0,
            Interval(*[float(found[name])] * 3),
            reading="counted in the network that trains here, at stride 32",
            kind="identity",
        )
        for name in stated
    ]
    table = encoder_outputs()
    same = float((table["computed"] == table["printed"]).sum())
    size = Verdict(
        "MobileNetV2's output is 12 x 9 x 4320",
        "Section 1, Table S-1",
        float(len(table)),
        0.0,
        Interval(same, same, same),
        reading="number of sizes of images with that output, computed from the network",
    )
    return [*verdicts, size]


def qualitative_claims(comparisons: Mapping[str, Comparison]) -> list[Verdict]:
    """Judge Section 8, which calls LSB's predictions more accurate than four other methods' in "all four networks".

    Its figures are lost and show chosen images of three networks, so the sentence itself cannot be tested. What can be
    is whether LSB has the best average over the whole test split, on each metric, in the three networks that are named.

    Args:
        comparisons: Network to its comparison; none where the data set has no such runs.
    """
    sentence = Verdict(
        "LSB provides more accurate predictions for all four networks",
        "Section 8, Figures S-7 to S-9",
        reading="the images of the figures: they are lost, and a fourth network is not named",
        finding=5,
    )
    others = [method_title(name) for name in FIGURE_METHODS if name != "lsb"]
    verdicts = []
    for one in comparisons.values():
        tests = one.significance()
        tests = tests[tests["measure"].isin(one.scores.names) & tests["against"].isin(others)]
        by_metric = tests.groupby("measure")[["difference", "low", "high"]].min()
        best, least, most = (float((by_metric[name] > 0).sum()) for name in ("difference", "low", "high"))
        verdicts.append(
            Verdict(
                "LSB's predictions are more accurate than those of equal weights, uncertainty, DWA and GLS",
                "Section 8, extended to the whole test split",
                float(len(one.scores.names)),
                0.0,
                Interval(best, least, most),
                reading="number of metrics with the best mean of runs [clearly best, clearly worse than none]",
                case=one.title,
                finding=5,
            )
        )
    return [*verdicts, sentence]


# --- exhibits -----------------------------------------------------------------------------------------


def encoders_exhibit() -> Exhibit:
    """Table S-1 recomputed."""
    caption = (
        "Output of the encoder MobileNetV2, rows x columns x channels, computed from the network and as Table S-1 "
        "prints it in each of its columns. The printed size is that of PNASNet-5 on NYUv2."
    )
    return Exhibit(name="table_s1", table=encoder_outputs(), caption=caption)


def channels_exhibit() -> Exhibit:
    """Table S-2, of which one number is left, recomputed."""
    caption = (
        "Output channels of each decoder, and of the one decoder of full sharing. Of Table S-2 the text keeps one "
        f"number, {CHANNELS} for the three tasks of NYUv2; counted in our network: {decoder_parts()['channels']}."
    )
    return Exhibit(name="table_s2", table=head_channels(), caption=caption)


def slope_exhibit() -> Exhibit:
    """What the slip of Eq. 4 would change."""
    slopes = upper_regulariser()
    rows = [("estimate, as trained here", slopes["estimate"]), ("true depth, as printed", slopes["printed"])]
    caption = (
        "Slope of the upper regulariser of depth at an estimate of twice the largest depth. With the true depth in "
        f"Eq. 4, as printed, it is {number(slopes['printed'])}: the regulariser is a constant and constrains nothing."
    )
    return Exhibit(name="eq_4", table=pd.DataFrame(rows, columns=["maximum is taken over", "slope"]), caption=caption)


def runs_exhibit(setting: Setting) -> Exhibit:
    """What a run is, beside the supplement's.

    Args:
        setting: What all runs share.
    """
    run = setting.run()
    table = runs(setting, parameters(run))
    caption = (
        f"One run of this chapter ({run.model.replace('_', ' ')} network) beside one of the supplement. A run is a "
        "network trained once with one method and one seed; runs of one seed share initial weights and the order of "
        "images."
    )
    return Exhibit(name="run", table=table, caption=caption)


def mious_exhibit(comparison: Comparison) -> Exhibit:
    """Both readings of mIoU.

    Args:
        comparison: Runs of all methods in one network.
    """
    table = both_mious(comparison)
    moved = int((table["rank"] != table["rank by images"]).sum())
    caption = (
        f"mIoU in two readings, means over {comparison.runs['seed'].nunique()} seeds, {comparison.title} network. "
        "Tables of this book show that of all pixels of the split, from one confusion matrix; the supplement's values "
        f"suggest the mean over images. The readings rank {moved} of {len(table)} methods differently."
    )
    return Exhibit(name="mious", table=table, caption=caption)
