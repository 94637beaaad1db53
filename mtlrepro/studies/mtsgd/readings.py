"""Where the text of MTSGD is ambiguous or slips: what each reading implies, which one is taken, what else is tried."""

import math

import pandas as pd

from mtlrepro.analysis.verdicts import number
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies.mtsgd.comparisons import TASKS
from mtlrepro.studies.mtsgd.grids import (
    BATCHES,
    DISPARITY_SCALES,
    PAPER_DECAY,
    PAPER_RATES,
    PAPER_STEPS,
    RATES,
    SENSITIVITY,
    summed_rates,
)
from mtlrepro.studies.mtsgd.premise import MUCH, PASSES
from mtlrepro.studies.mtsgd.rule import RHO

COLUMNS = ("place", "as printed", "what follows", "taken here", "also tried")
NONE = "nothing else"


def shrinkage() -> dict[str, float]:
    """Part of a weight that decay alone leaves over the article's schedule, by form of decay.

    Returns:
        `coupled`, where decay is a part of the gradient (Eq. 11) and acts through learning rate and momentum, and
        `decoupled`, where it acts once a step whatever the rate (Eq. 1).
    """
    coupled = PAPER_DECAY * PAPER_STEPS * summed_rates(PAPER_RATES) / (1 - RHO)
    decoupled = PAPER_DECAY * PAPER_STEPS * max(PAPER_RATES)
    return {"coupled": math.exp(-coupled), "decoupled": math.exp(-decoupled)}


def rule() -> pd.DataFrame:
    """Readings of Eqs. 3 to 8; columns `COLUMNS`."""
    return _table(
        (
            "Eq. 3",
            "one length for each (n, c) of a kernel; Table 4 also has filters, in its caption the whole parameter",
            "the larger the slice, the closer to a right angle are two directions of noise",
            "level channel: a plane H x W is a slice",
            "options level = filter and parameter, runs of Table 4",
        ),
        (
            "Eq. 3",
            "nothing on a gradient of zero, which has no direction",
            "0 / 0; and as s = 0, no step for any task, at every threshold",
            "direction and cosine 0, so that the slice has no step",
            NONE,
        ),
        (
            "Eqs. 3 to 8",
            "kernels alone; nothing on biases, normalisation and linear layers",
            "were each number a slice, signs alone would decide whether it moves",
            "a vector is one slice, and so is a row of a matrix",
            "level = parameter",
        ),
        (
            "Eqs. 3 to 8",
            "nothing on the heads, which one task alone reaches",
            "the other gradient is zero there: by the letter, heads would never move",
            "heads take ordinary steps",
            NONE,
        ),
        (
            "Eq. 4",
            "a product of directions element by element, called a similarity in [-1, 1] of a slice",
            "summed over the slice the cosine of two; of three or more tasks no similarity",
            "the smallest cosine of a pair",
            "option similarity = mean; the same for two tasks",
        ),
        (
            "Eq. 5",
            "m = max(threshold, c), called a boolean mask",
            "a maximum is never 0 at thresholds above 0, and scales the steps; at -1 it would be c and no mask",
            "m = 1 where c is at least the threshold, else 0; -1 keeps all, as Section 4.4 says",
            "thresholds of the tables",
        ),
        (
            "Section 4.4",
            "performance is improved when the similarity is lower than the threshold",
            "the slice would be kept where tasks conflict",
            "slices of lower similarity are left out, as in Section 3.2",
            NONE,
        ),
        (
            "Eq. 6",
            "the smallest length as the scale of all",
            "shorter steps than joint SGD, at one learning rate: a change of rate that no row controls",
            "as printed",
            "options restore_norm and balance = False, learning rates searched and matched, runs of the controls",
        ),
        (
            "Eq. 8",
            "v = ρ v + s (s₁ + ... + sₙ)",
            "the scale would be squared, and the mask would have no place",
            "v = ρ v + m (g₁ + ... + gₙ) with the gᵢ of Eq. 7, as the text before it says",
            NONE,
        ),
        (
            "Eq. 8",
            "the mask is on the gradient, not on v",
            "slices without a gradient move on by what is left in v",
            "as printed",
            NONE,
        ),
    )


def training() -> pd.DataFrame:
    """Readings of Eqs. 1, 2 and 11 and of the set-up; columns `COLUMNS`."""
    left = {name: number(100 * value, 2) for name, value in shrinkage().items()}
    scales = ", ".join(f"{scale:g}" for scale in sorted({*DISPARITY_SCALES, *SENSITIVITY}))
    return _table(
        (
            "Eqs. 1 and 8",
            "(1 - ρ) before the gradient in Eq. 1 only",
            f"with one printed rate the same gradient moves joint SGD {number(1 - RHO, 2)} times as far as MTSGD: "
            "if the baseline was trained by Eq. 1, the tables compare learning rates",
            "Eq. 8 for both, which is torch's SGD without dampening",
            f"learning rates from {min(RATES):g} to {max(RATES):g}, runs of the controls",
        ),
        (
            "Eq. 1",
            '"decay denotes the learning rate, and decay denotes the L2 regularization"; not scaled by the rate',
            f"over the article's schedule {left['decoupled']} % of a weight would be left by decay alone, "
            "which goes on at full pace after the rate has dropped",
            f"Eq. 11: coupled, {left['coupled']} % would be left",
            "decay = decoupled, runs of Table 3",
        ),
        (
            "Eq. 8, Section 3.1",
            "no decay in Eq. 8; in Section 3.1 a part of the total loss",
            "as a part of each task's gradient it would be balanced and dropped with it",
            "added to the balanced gradient, as by torch's SGD",
            NONE,
        ),
        (
            "Section 3.1, Table 2",
            "loss weights 1:1 in the text, 0.5 and 0.5 in the tables",
            "the sum or the mean of both gradients: a learning rate times 2 and a coupled decay over 2",
            "0.5 and 0.5, under which the printed rate carries over",
            "other rates and decays, runs of the controls and of Table 3",
        ),
        (
            "not stated",
            "the losses",
            "their sizes set the ratio of the gradients, which is the premise",
            "cross-entropy, and the absolute error of disparity in pixels over its known pixels",
            f"the loss of disparity times {scales}",
        ),
        (
            "not stated",
            "how a pretrained stem of three channels reads two views",
            "a start that is closer to or further from ImageNet's",
            "its weights repeated and halved",
            NONE,
        ),
        (
            "not stated",
            "output stride and pyramid of the encoder",
            "sets what small objects can be told apart at best",
            "an output stride of 8 and the pyramid of PSPNet",
            NONE,
        ),
        (
            "not stated",
            "augmentation besides crops, though a heading names it",
            "disparity has to be that of the mirrored pair",
            "mirror images, with the views exchanged",
            NONE,
        ),
        (
            "not stated",
            "seeds and repeats",
            "no printed difference has an interval",
            "several seeds, shared by all methods",
            "as many as the captions say",
        ),
    )


def measurement() -> pd.DataFrame:
    """Readings of the metrics, the figures and the comparison; columns `COLUMNS`."""
    epochs, by_task = (number(PASSES / (PAPER_STEPS * passes), 2) for passes in (1, len(TASKS)))
    return _table(
        (
            "Figure 3",
            "the ratio of the sub-gradients, with a sign",
            "lengths have no sign: single numbers, or slices with the sign of their cosine",
            "both are shown",
            "by element, by slice, beside two random vectors",
        ),
        (
            "Section 3.1, Figures 2 and 3",
            "one task's gradient is much larger, in Figure 2 that of disparity; no number",
            "a histogram of ratios is wide also where both are of one size",
            f"the median of the ratio is {MUCH:g} or more",
            "medians by part of the network, and the share of ratios in the range of the caption",
        ),
        (
            "Figure 3",
            f"{PASSES} backward passes during one epoch, in the caption of different epochs",
            f"an epoch has {PAPER_STEPS} steps of the stated batch: these are {epochs} epochs, or {by_task} if each "
            "task's own pass counts",
            f"{BATCHES} batches after the first epoch, half of them, and the last, in each run",
            NONE,
        ),
        (
            "Section 4.2",
            "Cityscapes has 1,525 images for validation and 500 for test",
            "the other way round; on test images there are no public labels",
            "500 for validation, as the files are",
            NONE,
        ),
        (
            "Section 4.3",
            "the validation split is evaluated",
            "threshold, level and decay were chosen on the images that are reported",
            "chosen on validation, reported on test images",
            NONE,
        ),
        (
            "Eq. 9",
            "both sums of the denominator over the predictions for one true class",
            "wrong pixels are not counted against the class that they are taken for",
            "intersection over union",
            "a small example",
        ),
        (
            "Eq. 10",
            "a mean over N, without saying of what",
            "pixels of unknown disparity would count as errors",
            "the mean over the known pixels, in pixels of the image",
            NONE,
        ),
        (
            "not stated",
            "the size of the images that are scored",
            "errors of disparity in pixels grow with it, so that those of Table 1 may be of different units",
            "the size of the images that are trained on, whole images where these are crops",
            NONE,
        ),
        (
            "Tables 3 and 4",
            "Table 3 without its level, Table 4 without its weight decay",
            "they follow from the rows that the tables share",
            f"level channel, and a decay of {PAPER_DECAY:g}",
            NONE,
        ),
        (
            "Section 4.4",
            "by channel is better, perhaps as its vectors have more dimensions",
            "a filter has all its channels' numbers, so that its vectors have more",
            "as Table 4 has it",
            "runs of Table 4",
        ),
        (
            "Section 4.3, Table 1",
            "without decay disparity is slightly worse, without saying than what",
            "by the table it is better than that of joint SGD, and worse than that of MC-CNN",
            "as the table has it",
            "both, among the verdicts",
        ),
        (
            "Section 4.3",
            "MC-CNN, STAN, MTAN and AdaMT are newly proposed multi-task models",
            "MC-CNN matches two views, and STAN is MTAN's attention with a network for each task",
            "as their papers have them",
            NONE,
        ),
    )


def _table(*rows: tuple[str, ...]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(COLUMNS))


def exhibits() -> list[Exhibit]:
    """Tables of all readings: of the rule, of training, and of what is measured."""
    captions = {
        "rule": (rule(), "The rule as printed in Eqs. 3 to 8, and as it is read here."),
        "training": (training(), "The optimizer, the losses and the network as printed, and as they are read here."),
        "measurement": (measurement(), "Metrics, figures and tables as printed, and as they are read here."),
    }
    return [Exhibit(name=f"readings_{name}", table=table, caption=text) for name, (table, text) in captions.items()]
