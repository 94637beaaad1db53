"""Networks, losses and runs of the supplement on loss scale balancing (LSB), with their slips; and its Section 8.

What the supplement says of its networks is checked on ours in its configuration, the scale `paper`; runs of other
scales have smaller ones. Networks are made without memory, so that no weights are needed.
"""

from collections.abc import Mapping, Sequence
from functools import cache

import pandas as pd
import torch
from torch import nn

from mtlrepro import losses, tasks
from mtlrepro.analysis.verdicts import Interval, Verdict, number
from mtlrepro.models import encoders
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies import sizes
from mtlrepro.studies.comparison import Comparison, fixed, in_words
from mtlrepro.studies.lsb import grids, plan
from mtlrepro.studies.lsb.grids import EIGHT, FOUR, TASKS
from mtlrepro.studies.lsb.predictions import FIGURE_METHODS
from mtlrepro.studies.scores import method_title
from mtlrepro.studies.setting import Setting
from mtlrepro.training import scales
from mtlrepro.training.config import RunConfig

PRINTED = (9, 12, 4320)
"""Rows, columns and channels of the encoder's output, as Table S-1 prints them for every encoder and data set."""
SIZES = {"NYUv2": (288, 384), "Taskonomy": (256, 256)}
"""Rows and columns of the images of each data set, by Table S-1."""
STRIDE = " at stride 32"
CONVOLUTIONS, UPSAMPLINGS, CHANNELS = 12, 5, 17
"""Of a decoder, and output channels of the full-sharing network for the three tasks of NYUv2 (Section 1)."""


def _times(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))


# --- networks -----------------------------------------------------------------------------------------


def encoder_outputs() -> pd.DataFrame:
    """Size of an encoder's output, computed and as Table S-1 prints it.

    PNASNet-5 needs another package, so that it is left to the tests: it has the printed size on NYUv2. The column of
    Taskonomy names no encoder in the text that we have; at stride 32 all have the same rows and columns.

    Returns:
        One row a data set: `images`, their size; `encoder`; `computed` and `printed` as rows x columns x channels.
    """
    rows = [("NYUv2", "MobileNetV2", _times(_output("mobilenet_v2", SIZES["NYUv2"])))]
    rows.append(("Taskonomy", "not named", _times(_output("mobilenet_v2", SIZES["Taskonomy"])[:2]) + STRIDE))
    found = [(data, _times(SIZES[data]), encoder, computed, _times(PRINTED)) for data, encoder, computed in rows]
    return pd.DataFrame(found, columns=["data", "images", "encoder", "computed", "printed"])


@cache
def _output(encoder: str, size: tuple[int, int]) -> tuple[int, ...]:
    """Rows, columns and channels of an encoder's output."""
    with torch.device("meta"):
        _, channels, rows, columns = encoders.create(encoder).eval()(torch.zeros(1, 3, *size)).shape
    return rows, columns, channels


def decoder_parts(run: RunConfig) -> dict[str, int]:
    """Count the layers of one decoder in the network of a run.

    Args:
        run: Of a network with a decoder for each task.

    Returns:
        `convolutions` of 3 x 3 and bilinear `upsamplings`.
    """
    parts = list(next(iter(sizes.network_of(run).heads.children())).modules())
    convolutions = [part for part in parts if isinstance(part, nn.Conv2d) and part.kernel_size == (3, 3)]
    upsamplings = [part for part in parts if isinstance(part, nn.Upsample) and part.mode == "bilinear"]
    return {"convolutions": len(convolutions), "upsamplings": len(upsamplings)}


def shared_channels() -> int:
    """Count the output channels of our full-sharing network for the three tasks of NYUv2."""
    last = sizes.network_of(_paper("full_sharing")).heads.modules()
    return sum(part.out_channels for part in last if isinstance(part, nn.Conv2d))


def _paper(network: str) -> RunConfig:
    """Our network in the paper's configuration, for the three tasks of NYUv2."""
    return scales.config("paper", dataset="nyuv2", network=network, tasks=TASKS)


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


SUPPLEMENT = {
    "images": "not stated; the usual split has 795 to train, 654 to test",
    "size of images": _times(SIZES["NYUv2"]),
    "epochs": "1000 with MobileNetV2, 50 with PNASNet-5",
    "batch size": "not stated",
    "encoder's start": "ImageNet",
    "stride of the encoder": "32, by Table S-1",
    "convolutions of a decoder": f"{CONVOLUTIONS}",
    "upsamplings of a decoder": f"{UPSAMPLINGS}",
    "parameters": "not stated",
    "optimizer": "AdamW",
    "learning rate": "0.0001",
    "weight decay": "0.01",
    "growth of β per epoch": "0.02 with MobileNetV2, 0.05 with PNASNet-5; 0.5 on Taskonomy",
    "mirror images": "yes",
    "scored": "not stated",
}
"""What the supplement says of a run on NYUv2, by item."""


def sizes_shown(setting: Setting) -> list[Setting]:
    """The setting at each scale at which a part of the chapter is shown, the smallest first.

    Args:
        setting: What all runs share.
    """
    shown = {setting.largest_stored(grid).scale for grid in plan.experiments(setting).values()}
    return [one for one in setting.scales_from() if one.scale in shown]


def runs(settings: Sequence[Setting]) -> pd.DataFrame:
    """What a run is here, beside the supplement's.

    Args:
        settings: What all runs of a size share, for each size.

    Returns:
        One row an item: `item`, a column a size, `here, cpu` and the like, and `supplement, NYUv2`.
    """
    here = {f"here, {one.scale}": _run(one) for one in settings}
    rows = [{"item": name, **{title: own[name] for title, own in here.items()}} for name in SUPPLEMENT]
    return pd.DataFrame(rows).assign(**{"supplement, NYUv2": list(SUPPLEMENT.values())})


def _run(setting: Setting) -> dict[str, str]:
    """One run of a setting, by the items of `SUPPLEMENT`."""
    run = setting.run()
    decoder = decoder_parts(run)
    rates = [
        f"{grids.growth(own):g} with {in_words(len(names))} tasks"
        for names in grids.TASK_SETS[setting.dataset]
        for own in grids.trends(setting, names, ["lsb"])[:1]
    ]
    return {
        "images": f"{run.n_train} to train, {run.n_test} to test" if run.n_train else "as prepared",
        "size of images": _times(run.size) if run.size else "as prepared",
        "epochs": f"{run.epochs}",
        "batch size": f"{run.batch_size}",
        "encoder's start": str(run.model_options.get("weights", "none")),
        "stride of the encoder": f"{run.model_options.get('output_stride', 32)}",
        "convolutions of a decoder": f"{decoder['convolutions']}",
        "upsamplings of a decoder": f"{decoder['upsamplings']}",
        "parameters": f"{sizes.parameters(run):,}",
        "optimizer": "AdamW",
        "learning rate": f"{run.lr:g}",
        "weight decay": f"{run.weight_decay:g}",
        "growth of β per epoch": ", ".join(rates),
        "mirror images": f"with a probability of {run.flip:g}",
        "scored": "on the test split after the last epoch",
    }


def both_mious(comparison: Comparison) -> pd.DataFrame:
    """Both readings of mIoU, by method: over all pixels of the split, as tables show it, and for each image.

    Args:
        comparison: Runs of all methods in one network.

    Returns:
        One row a method: `method`; `mIoU of all pixels, %`, `mIoU of images, %`, means over seeds as text with the
        decimals that the tables of methods have, and the rank of each, `rank` and `rank by images`.
    """
    names = {"segmentation.miou": "mIoU of all pixels, %", "segmentation.miou_per_image": "mIoU of images, %"}
    means = comparison.runs.groupby("method", sort=False)[list(names)].mean()
    ranks = means.rank(ascending=False).astype(int)
    decimals = comparison.scores.metrics["segmentation.miou"].decimals
    shown = means.map(lambda value: fixed(value, decimals)).rename(columns=names)
    return shown.assign(rank=ranks.iloc[:, 0], **{"rank by images": ranks.iloc[:, 1]}).reset_index()


# --- what the supplement says -------------------------------------------------------------------------


def claims() -> list[Verdict]:
    """Check our networks in the paper's configuration against Section 1, exact by construction, and Table S-1."""
    found, source = decoder_parts(_paper("multi_decoder")) | {"channels": shared_channels()}, "Section 1"
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
            reading="counted in our network in the paper's configuration; the runs of this chapter have smaller ones",
            kind="identity",
        )
        for name in stated
    ]
    output = _output("mobilenet_v2", SIZES["NYUv2"])
    same = float(sum(own == printed for own, printed in zip(output, PRINTED, strict=True)))
    size = Verdict(
        "On NYUv2, MobileNetV2's output is 12 x 9 x 4320",
        "Section 1, Table S-1",
        float(len(PRINTED)),
        0.0,
        Interval(same, same, same),
        reading=f"how many of rows, columns and channels the network has; it has {_times(output)}",
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
                reading="number of metrics with the best mean of runs [clearly best, clearly worse than none, by "
                "paired 95 % intervals, not corrected]",
                case=one.title,
                finding=5,
            )
        )
    return [*verdicts, sentence]


# --- exhibits -----------------------------------------------------------------------------------------


def encoders_exhibit() -> Exhibit:
    """Table S-1 recomputed."""
    table = encoder_outputs()
    caption = (
        "Output of the encoder, rows x columns x channels, computed and as Table S-1 prints it in each of its columns. "
        "The printed size is that of PNASNet-5 on NYUv2. The column of Taskonomy names no encoder in the text that we "
        f"have: of its images, an encoder{STRIDE} makes {table['computed'].iloc[-1].removesuffix(STRIDE)}, whatever "
        f"its channels, and none makes {_times(PRINTED[:2])}."
    )
    return Exhibit(name="table_s1", table=table, caption=caption)


def channels_exhibit() -> Exhibit:
    """Table S-2, of which one number is left, recomputed."""
    caption = (
        "Output channels of each decoder, and of the one decoder of full sharing. Of Table S-2 the text keeps one "
        f"number, {CHANNELS} for the three tasks of NYUv2; counted in our network: {shared_channels()}."
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


def runs_exhibit(settings: Sequence[Setting]) -> Exhibit:
    """What a run is, beside the supplement's.

    Args:
        settings: What all runs of a size share, for each size that the chapter shows; see `sizes_shown`.
    """
    table = runs(settings)
    own = [_run(one) for one in settings]
    strides, convolutions, upsamplings = (
        " and ".join(dict.fromkeys(one[name] for one in own))
        for name in ("stride of the encoder", "convolutions of a decoder", "upsamplings of a decoder")
    )
    caption = (
        f"One run of this chapter at each size that it shows ({settings[0].run().model.replace('_', ' ')} network) "
        f"beside one of the supplement. The encoders of these runs stop at stride {strides}, and a decoder has "
        f"{convolutions} convolutions and {upsamplings} upsamplings, where the supplement's have {CONVOLUTIONS} and "
        f"{UPSAMPLINGS}. A run is a network trained once with one method and one seed; runs of one seed share initial "
        "weights and the order of images."
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
