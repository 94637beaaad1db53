"""The experiments on MTSGD as grids of runs: which configurations each of them is made of.

Losses have weights of 0.5 and 0.5 as in the article's tables, which is the mean, so that learning rates are its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mtlrepro.studies import fronts
from mtlrepro.studies.scores import method_title
from mtlrepro.studies.setting import Setting
from mtlrepro.training.config import RunConfig

Level = Literal["channel", "filter", "parameter"]
Decay = Literal["torch", "decoupled"]

THRESHOLDS = (-1.0, -0.75, -0.5, 0.0)
"""Thresholds of Tables 2 to 4."""
BALANCE_ALONE, NO_CONFLICT = -1.0, 0.0
"""The two thresholds between which the article's effect lies."""
ENDS = (BALANCE_ALONE, NO_CONFLICT)
DISPARITY_SCALES = (1.0, 3.0, 10.0, 30.0, 100.0)
"""Factors on the loss of disparity at which the ratio of Figure 3 is looked at."""
PREMISE = 30.0
"""Factor at which disparity had much larger gradients in trials, and at which Table 2 is trained once more."""
SENSITIVITY = (10.0, 100.0)
"""Factors at which the claim is tried that weights of losses hardly matter; 1 is that of the other experiments."""
RATES = (6e-3, 2e-2, 6e-2, 2e-1)
"""Learning rates that are tried for SGD and for MTSGD alike; the last was added when 0.06 was best for all three."""
SCALED_RATES = (2e-4, 6e-4, 2e-3, 6e-3, 2e-2, 6e-2)
"""Likewise where the loss of disparity is scaled: up to the best of `RATES`, since MTSGD undoes most of a factor; the
first two were added one after the other, when the smallest was best, so that they were chosen after a look."""
ADAMW_RATES = (3e-4, 1e-3, 3e-3)
"""Learning rates of AdamW, whose steps have another size."""
SEARCHED = {"joint SGD": None, "MTSGD (-1)": BALANCE_ALONE, "MTSGD (0)": NO_CONFLICT}
"""Whose learning rates are searched: name to threshold, None for SGD."""
ADAMW = "joint AdamW"
"""Equal weights under AdamW, as joint SGD is equal weights under SGD."""
OTHERS = ("pcgrad", "cagrad", "lsb", "maxgnr", "torchjd:UPGrad", "rlw")
"""Other methods on the same runs."""
OTHER_RATES = (2e-2, 6e-2)
"""Their learning rates."""
PAPER_STEPS = 186
"""Steps of an epoch of Cityscapes: 2,975 images in batches of 16."""
PAPER_RATES = {100: 1e-2, 150: 1e-3, 200: 1e-4}
"""The article's learning rate up to an epoch."""
PAPER_DECAY = 1e-4
PICTURED = 6
"""Images whose predictions are kept by the first seed of the runs that Figure 6 shows."""
BATCHES = 50
"""Batches on which the tasks' gradients are compared after an epoch."""
COMPARED_SEEDS = 3
"""Seeds of the central runs whose gradients are compared."""


# --- single runs --------------------------------------------------------------------------------------


def joint(setting: Setting, seed: int, **changes: Any) -> RunConfig:  # noqa: ANN401
    """One run of the plain mean under SGD, the article's *Joint + SGD*."""
    return _run(setting, seed, method="equal", **changes)


def mtsgd(
    setting: Setting,
    seed: int,
    threshold: float,
    level: Level = "channel",
    options: dict[str, Any] | None = None,
    **changes: Any,  # noqa: ANN401
) -> RunConfig:
    """One run of MTSGD, which keeps what survives of each step.

    Args:
        setting: What all runs share.
        seed: Its seed.
        threshold: Least similarity of a slice that is kept.
        level: What a slice is.
        options: Further options of the method.
        **changes: Fields of the run.
    """
    own = {"threshold": threshold, **({"level": level} if level != "channel" else {}), **(options or {})}
    return _run(setting, seed, method="mtsgd", method_options=own, observe=("method",), **changes)


def _run(setting: Setting, seed: int, **changes: Any) -> RunConfig:  # noqa: ANN401
    """A run that is evaluated ten times, at `smoke` twice; also on the validation split if there is such a one."""
    fields: dict[str, Any] = {} if setting.scale == "smoke" else {"evaluate_every": max(setting.epochs // 10, 1)}
    if setting.validated:
        fields["evaluate_on"] = "both"
    return setting.run(seed=seed, **{**fields, **changes})


def scored_once(setting: Setting) -> dict[str, Any]:
    """Score a run after its last epoch alone, since no figure draws how it got there, which costs a tenth of it."""
    return {"evaluate_every": setting.epochs}


def compared(setting: Setting) -> dict[str, Any]:
    """Ask for the comparison of gradients: after the first epoch, half of them, and the last.

    Args:
        setting: What all runs share.
    """
    small = setting.scale == "smoke"
    epochs = sorted({1, max(setting.epochs // 2, 1), setting.epochs})
    return {"epochs": epochs, "batches": 2 if small else BATCHES, "samples": 0}


def pictured(setting: Setting) -> dict[str, Any]:
    """Ask for the predictions for the first images after the last epoch.

    Args:
        setting: What all runs share.
    """
    return {"epochs": [setting.epochs], "images": list(range(PICTURED))}


# --- Tables 2 to 4 ------------------------------------------------------------------------------------


def single_tasks(setting: Setting) -> list[RunConfig]:
    """Each task by itself under SGD; the first seed keeps its predictions."""
    return [
        _run(setting, seed, tasks=(task,), method="equal", **({"pictures": pictured(setting)} if seed == 0 else {}))
        for task in setting.run().tasks
        for seed in range(setting.comparison_seeds)
    ]


@dataclass(frozen=True)
class Cell:
    """One row of Tables 2 to 4.

    Attributes:
        threshold: Least similarity of a slice that is kept; None is joint SGD.
        level: What a slice is.
        decay: Weight decay.
    """

    threshold: float | None = None
    level: Level = "channel"
    decay: float = PAPER_DECAY

    @property
    def central(self) -> bool:
        """Whether the article's effect hangs on it: joint SGD and both ends of the thresholds, by channel."""
        ends = self.threshold is None or self.threshold in ENDS
        return ends and self.level == "channel" and self.decay == PAPER_DECAY

    def runs(self, setting: Setting) -> list[RunConfig]:
        """Its runs: those of a central cell have the seeds of the comparison.

        Their first seeds keep how the tasks' gradients compare, and the first one its predictions.

        Args:
            setting: What all runs share.
        """
        found = []
        for seed in range(setting.comparison_seeds if self.central else setting.seeds):
            kept: dict[str, Any] = {"weight_decay": self.decay}
            if self not in TABLE_2:
                kept |= scored_once(setting)
            if self.central and seed == 0:
                kept["pictures"] = pictured(setting)
            if self.central and seed < COMPARED_SEEDS:
                kept["gradients"] = compared(setting)
            if self.threshold is None:
                found.append(joint(setting, seed, **kept))
            else:
                found.append(mtsgd(setting, seed, self.threshold, self.level, **kept))
        return found


JOINT = Cell()
TABLE_2 = (JOINT, *(Cell(threshold) for threshold in THRESHOLDS))
"""Joint SGD and MTSGD by channel, with the article's decay."""
TABLE_3 = (Cell(decay=0.0), *(Cell(threshold, decay=0.0) for threshold in THRESHOLDS))
"""The same without decay; joint SGD without decay, the control, the article lacks."""
TABLE_4 = (
    *(Cell(threshold, "filter") for threshold in THRESHOLDS),
    *(Cell(threshold, "parameter") for threshold in ENDS),
)
"""MTSGD by filter, and by parameter, the other reading of the caption."""


UNDECAYED = (TABLE_3[0], TABLE_3[-1])
"""Joint SGD and MTSGD at a threshold of 0 without decay, with which matched decay is compared."""


def runs_of(setting: Setting, cells: Iterable[Cell]) -> list[RunConfig]:
    """Runs of some cells.

    Args:
        setting: What all runs share.
        cells: Of `TABLE_2`, `TABLE_3` or `TABLE_4`.
    """
    return [run for cell in cells for run in cell.runs(setting)]


def decays(setting: Setting) -> dict[Decay, float]:
    """Weight decay that shrinks weights over a run as the article's does over its own, by form.

    Coupled decay (Eq. 11) acts through the learning rate, so that the sum of rates over the steps counts; decoupled
    decay as in Eq. 1 acts once a step, so that the number of steps does.

    Args:
        setting: What all runs share.
    """
    run = setting.run()
    # Cityscapes, whose images are not counted before they are read, has the article's steps.
    steps = run.n_train // run.batch_size if run.n_train else PAPER_STEPS
    ours = steps * summed_rates({end: run.lr * run.factor**i for i, end in enumerate((*run.milestones, run.epochs))})
    theirs = PAPER_STEPS * summed_rates(PAPER_RATES)
    by_steps = PAPER_STEPS * max(PAPER_RATES) / (steps * run.epochs)
    return {"torch": _rounded(PAPER_DECAY * theirs / ours), "decoupled": _rounded(PAPER_DECAY * by_steps)}


def summed_rates(rates: Mapping[int, float]) -> float:
    """Sum of a schedule's learning rates over its epochs.

    Args:
        rates: Last epoch of each rate, in rising order, to that rate.
    """
    starts = (0, *rates)
    return sum(rate * (end - start) for start, (end, rate) in zip(starts, rates.items(), strict=False))


def _rounded(value: float) -> float:
    """Round to three significant digits, so that a configuration is the same on every machine."""
    return float(f"{value:.3g}")


def decayed(setting: Setting) -> list[RunConfig]:
    """Joint SGD and MTSGD at a threshold of 0 with matched decay, in both forms; see `mtsgd.decay`.

    Where matched coupled decay is the article's number, its runs are rows of Table 2, and are not trained again.
    """
    return [
        run
        for decay, amount in decays(setting).items()
        if decay != "torch" or amount != PAPER_DECAY
        for seed in range(setting.seeds)
        for run in (
            joint(setting, seed, decay=decay, weight_decay=amount, **scored_once(setting)),
            mtsgd(setting, seed, NO_CONFLICT, decay=decay, weight_decay=amount, **scored_once(setting)),
        )
    ]


# --- the premise --------------------------------------------------------------------------------------


def scaled(setting: Setting, seeds: Iterable[int], factor: float = PREMISE) -> list[RunConfig]:
    """Joint SGD and both ends of MTSGD by channel with the loss of disparity scaled.

    Args:
        setting: What all runs share.
        seeds: Their seeds; the first keeps how the tasks' gradients compare, and its predictions.
        factor: On the loss of disparity.
    """
    runs = []
    for seed in seeds:
        fields: dict[str, Any] = {"loss_scales": {"disparity": factor}}
        if seed == 0:
            fields |= {"gradients": compared(setting), "pictures": pictured(setting)}
        runs += [joint(setting, seed, **fields), *(mtsgd(setting, seed, one, **fields) for one in ENDS)]
    return runs


def premise(setting: Setting) -> dict[float, list[RunConfig]]:
    """Joint SGD whose gradients are compared, by factor on the loss of disparity: that of the tables, and one seed."""
    found: dict[float, list[RunConfig]] = {}
    for factor in DISPARITY_SCALES:
        if factor == 1:
            found[factor] = JOINT.runs(setting)[:COMPARED_SEEDS]
        else:
            found[factor] = scaled(setting, [0], factor)[:1]
    return found


# --- controls -----------------------------------------------------------------------------------------


def rate_search(setting: Setting) -> dict[str, list[RunConfig]]:
    """SGD and both ends of MTSGD at each learning rate, two seeds each, by name; those of the scale are the tables'."""
    own = setting.run().lr
    seeds = range(search_seeds(setting))
    found = {}
    for name, threshold in SEARCHED.items():
        found[name] = [
            Cell(threshold).runs(setting)[seed] if rate == own else at_rate(setting, threshold, rate, seed)
            for rate in rates(setting)
            for seed in seeds
        ]
    return found


def search_seeds(setting: Setting) -> int:
    """How many seeds choose a learning rate: two, or as many as there are."""
    return min(setting.seeds, 2)


def rates(setting: Setting) -> tuple[float, ...]:
    """Learning rates that are tried: `RATES`; at `smoke` that of its runs, and one at which nothing is learned."""
    own = setting.run().lr
    return (1e-5, own) if setting.scale == "smoke" else tuple(sorted({own, *RATES}))


def at_rate(setting: Setting, threshold: float | None, rate: float, seed: int, **changes: Any) -> RunConfig:  # noqa: ANN401
    """Joint SGD (None) or MTSGD at a threshold with another learning rate."""
    if threshold is None:
        return joint(setting, seed, lr=rate, **changes)
    return mtsgd(setting, seed, threshold, lr=rate, **changes)


def lengths(setting: Setting) -> dict[str, list[RunConfig]]:
    """MTSGD at a threshold of 0 taken apart, by what is left of it: the mask alone, and steps of the plain length."""
    options: dict[str, dict[str, Any]] = {
        "mask without balance": {"balance": False},
        "length restored by slice": {"restore_norm": True},
        "length restored by step": {"restore_norm": "step"},
    }
    return {
        name: [mtsgd(setting, seed, NO_CONFLICT, options=own, **scored_once(setting)) for seed in range(setting.seeds)]
        for name, own in options.items()
    }


def matched(setting: Setting, length: float) -> list[RunConfig]:
    """MTSGD at a threshold of 0 with the learning rate, also of the heads, divided by the length that its steps have.

    Args:
        setting: What all runs share.
        length: Of its steps, as a share of that of the plain mean.
    """
    rate = float(f"{setting.run().lr / length:.2g}")
    return [mtsgd(setting, seed, NO_CONFLICT, lr=rate, **scored_once(setting)) for seed in range(setting.seeds)]


def front(setting: Setting, rate: float, seeds: Sequence[int] = (0, 1)) -> list[RunConfig]:
    """Nine fixed weights of both tasks, the first seed first; three at `smoke`.

    Args:
        setting: What all runs share.
        rate: Learning rate of all points.
        seeds: Seeds of which every point is trained.
    """
    parts = 4 if setting.scale == "smoke" else fronts.PARTS
    return fronts.grid(setting, seeds, parts=parts, lr=rate, **scored_once(setting))


def tuned_front(setting: Setting, rate: float, weights: Sequence[float]) -> list[RunConfig]:
    """One point of the front, that tuned on the validation split; see `front`."""
    return [fronts.point(setting, weights, seed, lr=rate, **scored_once(setting)) for seed in range(setting.seeds)]


def adamw(setting: Setting) -> list[RunConfig]:
    """Equal weights under AdamW at each of `ADAMW_RATES`."""
    tried = ADAMW_RATES[1:2] if setting.scale == "smoke" else ADAMW_RATES
    return [
        joint(setting, seed, optimizer="adamw", lr=rate, weight_decay=0.01, **scored_once(setting))
        for rate in tried
        for seed in range(setting.seeds)
    ]


def others(setting: Setting) -> list[RunConfig]:
    """Other methods on the same network, images and seeds, at two learning rates."""
    own = setting.run().lr
    tried = (own,) if setting.scale == "smoke" else OTHER_RATES
    return [
        _run(setting, seed, method=method, lr=rate, **scored_once(setting), **_uncaptured(method))
        for method in OTHERS
        for rate in tried
        for seed in range(setting.seeds)
    ]


def other_searches(setting: Setting) -> dict[str, list[RunConfig]]:
    """Equal weights under AdamW, and other methods, each at all its learning rates, by name."""
    found = {ADAMW: adamw(setting)}
    for run in others(setting):
        found.setdefault(method_title(run.method), []).append(run)
    return found


def _uncaptured(method: str) -> dict[str, Any]:
    """TorchJD's weightings ask the device, which no CUDA graph can hold."""
    return {"cuda_graph": False} if "torchjd" in method else {}


def sensitivity(setting: Setting, seeds: Iterable[int] = (0,)) -> dict[tuple[float, str], list[RunConfig]]:
    """SGD and MTSGD with the loss of disparity scaled, at each of `SCALED_RATES`, by factor and method.

    Args:
        setting: What all runs share.
        seeds: Seeds of each rate.
    """
    seeds = list(seeds)
    tried = (setting.run().lr,) if setting.scale == "smoke" else SCALED_RATES
    return {
        (factor, name): [at_factor(setting, name, factor, rate, seed) for rate in tried for seed in seeds]
        for factor in SENSITIVITY
        for name, threshold in SEARCHED.items()
        if threshold != BALANCE_ALONE
    }


def at_factor(setting: Setting, name: str, factor: float, rate: float, seed: int) -> RunConfig:
    """A method of `SEARCHED` with the loss of disparity scaled, at a learning rate."""
    scaled_loss = {"loss_scales": {"disparity": factor}}
    return at_rate(setting, SEARCHED[name], rate, seed, **scaled_loss, **scored_once(setting))
