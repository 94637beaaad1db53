"""The experiments on MCLGS as grids of runs: which configurations each of them is made of.

The centre is MCLGS with a0 = 40 that falls to 0 over the first half of the run, epoch by epoch: the poster names no
numbers, 40 is the default of a third-party version (GitHub, the-patpat/LibMTL, commit b493b6d), in which it falls over
the whole run, and with half of it the weight is 1 at the end of training as the poster says.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mtlrepro.studies import comparison, fronts
from mtlrepro.studies.setting import Setting
from mtlrepro.training.config import RunConfig

METHODS = ("equal", "mgda", "pcgrad", "graddrop", "cagrad", "mclgs", "cagrad+mclgs")
"""The poster's methods, in the order of its tables."""
STREET_METHODS = METHODS[:-1]
"""Those of its table of BDD100K."""
CENTRAL = ("equal", "mclgs")
"""Methods that have the seeds of the comparison on streets too."""
RATES = (3e-4, 1e-3, 3e-3)
"""Learning rates that are tried for every method."""
SGD_RATES = (1e-2, 3e-2, 1e-1)
"""Learning rates that are tried under SGD."""
SGD: Mapping[str, Any] = {"optimizer": "sgd", "weight_decay": 1e-4}
SEARCH_SEEDS = 2
"""Seeds of each learning rate that is tried; at `smoke` there is one."""
OBSERVED = ("method", "update", "weights")
"""What runs of MCLGS keep of their steps."""
CENTRE, ITERATIONS = "centre", "by iteration"
STAR: Mapping[str, Mapping[str, Any]] = {
    CENTRE: {},
    "a0 = 1": {"a0": 1.0},
    "a0 = 4": {"a0": 4.0},
    "a quarter of the run": {"length": 0.25},
    "the whole run": {"length": 1.0},
    ITERATIONS: {"step": "iteration"},
}
"""Curricula: the centre, and one option after the other changed; lengths are shares of the run."""
CONSTANT, RANDOM, SHUFFLED, RAMP = "constant gate", "random gate", "shuffled weights", "ramp"
CONTROLS = (CONSTANT, RANDOM, SHUFFLED, RAMP)
"""Weights that are as large as the centre's and do not look at the gradients of their own steps."""
SCALED_TASK = "depth"
FACTORS = (10.0, 100.0)
"""Factors on the loss of `SCALED_TASK` by which gaps of gradient magnitude are made."""
SCALED_METHODS = ("equal", "pcgrad", "mclgs")
MASKS = 0.1
"""Share of the images of streets that have masks; the others have boxes. Of BDD100K's, about one in ten has masks."""
SMALL: Mapping[str, Any] = {"size": (32, 48), "batch_size": 8, "cuda_graph": False}
"""Images of runs whose samples have weights of their own: each step costs a backward pass for every sample and task."""
BATCHES = 25
"""Batches on which gradients of single samples are compared after an epoch."""


# --- single runs --------------------------------------------------------------------------------------


def run(setting: Setting, seed: int, method: str = "equal", **changes: Any) -> RunConfig:  # noqa: ANN401
    """One run with metrics of the validation split too, where there is one; MCLGS reports on its steps.

    The gradients of MCLGS are compared after every epoch, at `smoke` after every second one.

    Args:
        setting: What all runs share.
        seed: Its seed.
        method: A balancer's name.
        **changes: Further fields of the run.
    """
    both = {"evaluate_on": "both"} if setting.validated else {}
    every = 2 if setting.scale == "smoke" else 1
    told = {"observe": OBSERVED, "probe_every": every} if method == "mclgs" else {}
    return setting.run(method=method, seed=seed, **{**both, **told, **changes})


def streets(setting: Setting) -> Setting:
    """The setting of the poster's second table: detection and segmentation, on streets or on BDD100K."""
    dataset = "streets" if setting.dataset == "rooms" else setting.dataset
    return replace(setting, dataset=dataset, network="detection", tasks=())


def _street(setting: Setting) -> bool:
    return setting.network == "detection"


def _methods(setting: Setting) -> Sequence[str]:
    """Methods of the table that a setting is for; on streets three at `smoke`."""
    if not _street(setting):
        return METHODS
    return ("equal", "mgda", "mclgs") if setting.scale == "smoke" else STREET_METHODS


def _rates(setting: Setting) -> tuple[float, ...]:
    """Learning rates that are tried; at `smoke` that of its runs, and on rooms one at which nothing is learned."""
    if setting.scale != "smoke":
        return RATES
    own = setting.run().lr
    return (own,) if _street(setting) else (1e-5, own)


def _search_seeds(setting: Setting) -> range:
    return range(1 if setting.scale == "smoke" else min(setting.seeds, SEARCH_SEEDS))


# --- the tables ---------------------------------------------------------------------------------------


def single_tasks(setting: Setting, rates: Mapping[str, float] | None = None) -> list[RunConfig]:
    """Each task by itself, with the seeds of the comparison.

    On rooms and at the learning rate of the scale they are those of other chapters, with the test split alone; at
    `smoke` the search has its runs among them, so that none is trained twice.

    Args:
        setting: What all runs share.
        rates: Learning rate of each task; default: that of the scale.
    """
    plain = setting.run().lr
    own = _street(setting) or setting.scale == "smoke"
    return [
        run(setting, one.seed, tasks=one.tasks, lr=rate) if own or rate != plain else one
        for one in comparison.single_tasks(setting)
        for rate in [plain if rates is None else rates[one.tasks[0]]]
    ]


def methods(setting: Setting, rates: Mapping[str, float] | None = None) -> dict[str, list[RunConfig]]:
    """Every method of the table with the seeds of the comparison, by name.

    On streets all but `CENTRAL` have the seeds of the other experiments.

    Args:
        setting: What all runs share.
        rates: Learning rate of each method, those without one being left out; default: that of the scale.
    """
    found = {}
    for method in _methods(setting):
        if rates is not None and method not in rates:
            continue
        rate = setting.run().lr if rates is None else rates[method]
        seeds = setting.seeds if _street(setting) and method not in CENTRAL else setting.comparison_seeds
        found[method] = [run(setting, seed, method, lr=rate) for seed in range(seeds)]
    return found


def rate_search(setting: Setting) -> dict[str, list[RunConfig]]:
    """Every method of the table at each learning rate, by name; see `SEARCH_SEEDS`."""
    return {
        method: [run(setting, seed, method, lr=rate) for rate in _rates(setting) for seed in _search_seeds(setting)]
        for method in _methods(setting)
    }


def single_search(setting: Setting) -> dict[str, list[RunConfig]]:
    """Each task by itself at each learning rate, by task; see `SEARCH_SEEDS`."""
    return {
        task: [
            run(setting, seed, tasks=(task,), lr=rate) for rate in _rates(setting) for seed in _search_seeds(setting)
        ]
        for task in setting.run().tasks
    }


# --- labels as in BDD100K -----------------------------------------------------------------------------


def shares(setting: Setting) -> dict[str, list[float]]:
    """Which part of the images has labels of each task: masks and boxes have none in common; halves at `smoke`."""
    masks = 0.5 if setting.scale == "smoke" else MASKS
    return {"detection": [masks, 1.0], "segmentation": [0.0, masks]}


UNPAIRED: Mapping[str, Mapping[str, Any]] = {
    "equal, union": {"method": "equal"},
    "equal, alternating": {"method": "equal", "draw": "alternating"},
    "MGDA, union": {"method": "mgda"},
    "MGDA, union, loss of 0": {"method": "mgda", "unlabelled": "zero"},
    "MGDA, alternating, loss of 0": {"method": "mgda", "draw": "alternating", "unlabelled": "zero"},
}
"""Runs on labels of different images, by title. With batches of one task in turn and the other task absent, MGDA has
one gradient to choose from and takes the steps of equal weights."""


def unpaired(setting: Setting) -> dict[str, list[RunConfig]]:
    """Both tasks with labels on different images, by title, see `UNPAIRED`.

    Args:
        setting: That of `streets`.
    """
    return {
        title: [run(setting, seed, labels=shares(setting), **fields) for seed in range(setting.seeds)]
        for title, fields in UNPAIRED.items()
    }


def unpaired_single(setting: Setting) -> list[RunConfig]:
    """Each task by itself with the same labels, for about as many steps as both together take.

    An epoch of fewer images is shorter, so that there are more of them, with the schedule stretched alike.

    Args:
        setting: That of `streets`.
    """
    found = []
    for task, (start, end) in shares(setting).items():
        plain = setting.run(tasks=(task,))
        longer = 1 / (end - start)
        stretched = {name: round(getattr(plain, name) * longer) for name in ("epochs", "evaluate_every", "probe_every")}
        milestones = tuple(round(epoch * longer) for epoch in plain.milestones)
        found += [
            run(setting, seed, tasks=(task,), labels={task: [start, end]}, milestones=milestones, **stretched)
            for seed in range(setting.seeds)
        ]
    return found


# --- the curriculum -----------------------------------------------------------------------------------


def star(setting: Setting, **fields: Any) -> dict[str, list[RunConfig]]:  # noqa: ANN401
    """Curricula of MCLGS by name, see `STAR`; the first three at `smoke`.

    Args:
        setting: What all runs share.
        **fields: Further fields of the runs.
    """
    names = [*STAR][: 3 if setting.scale == "smoke" else None]
    return {name: _curriculum(setting, STAR[name], **fields) for name in names}


def _curriculum(setting: Setting, options: Mapping[str, Any], **fields: Any) -> list[RunConfig]:  # noqa: ANN401
    chosen = {"method_options": dict(options)} if options else {}
    return [run(setting, seed, "mclgs", **chosen, **fields) for seed in range(setting.seeds)]


def controls(setting: Setting, **fields: Any) -> dict[str, list[RunConfig]]:  # noqa: ANN401
    """What is left of the centre without the similarity, by name, each from the run of the same seed.

    `CONSTANT`: the mean of its gate; `RANDOM`: the gates of each epoch's steps in another order; `SHUFFLED`: likewise
    the tasks' weights, of the run with the next seed; `RAMP`: of the gate to 1, with the same mean over the
    run; it need not end with the curriculum.

    Args:
        setting: What all runs share.
        **fields: Further fields of the runs, the centre's too.
    """
    sources = [one.hash for one in _curriculum(setting, {}, **fields)]
    replays: dict[str, tuple[str, int, dict[str, Any]]] = {
        CONSTANT: ("replay", 0, {"mode": "mean", "gate": True}),
        RANDOM: ("replay", 0, {"mode": "steps", "gate": True}),
        SHUFFLED: ("replay", 1, {"mode": "steps"}),
        RAMP: ("warmup", 0, {}),
    }
    return {
        name: [
            run(
                setting,
                seed,
                method,
                method_options={"run": sources[(seed + shift) % len(sources)], **options},
                **fields,
            )
            for seed in range(setting.seeds)
        ]
        for name, (method, shift, options) in replays.items()
    }


def sgd_search(setting: Setting) -> dict[str, list[RunConfig]]:
    """Equal weights and the centre under SGD at each of `SGD_RATES`, by name; at `smoke` at its own."""
    tried = (setting.run().lr,) if setting.scale == "smoke" else SGD_RATES
    return {
        method: [run(setting, seed, method, lr=rate, **SGD) for rate in tried for seed in _search_seeds(setting)]
        for method in CENTRAL
    }


def sgd(setting: Setting, rates: Mapping[str, float]) -> dict[str, list[RunConfig]]:
    """Equal weights, the centre and its controls under SGD, by name.

    The controls have the learning rate of the centre, since they stand for it, and so has `equal, same rate`.

    Args:
        setting: What all runs share.
        rates: Learning rate of equal weights and of MCLGS, by name.
    """
    seeds = range(setting.seeds)
    fields = {**SGD, "lr": rates["mclgs"]}
    return {
        "equal": [run(setting, seed, lr=rates["equal"], **SGD) for seed in seeds],
        "equal, same rate": [run(setting, seed, **fields) for seed in seeds],
        CENTRE: _curriculum(setting, {}, **fields),
        **controls(setting, **fields),
    }


# --- gaps of magnitude, single samples, fixed weights -------------------------------------------------


def scaled(setting: Setting) -> dict[tuple[float, str], list[RunConfig]]:
    """Methods with the loss of one task scaled, by factor and method; PCGrad, which reports on its steps, at 1 too."""
    seeds = range(setting.seeds)
    told = {"pcgrad": {"observe": ("method", "update")}}
    return {
        (factor, method): [
            run(setting, seed, method, loss_scales={SCALED_TASK: factor}, **told.get(method, {})) for seed in seeds
        ]
        for factor in (1.0, *(FACTORS[1:] if setting.scale == "smoke" else FACTORS))
        for method in SCALED_METHODS
    }


def compared(setting: Setting) -> list[RunConfig]:
    """Equal weights whose gradients are compared by sample: after the first epoch, half of them, and the last."""
    epochs = sorted({1, max(setting.epochs // 2, 1), setting.epochs})
    batches = 2 if setting.scale == "smoke" else BATCHES
    asked = {"epochs": epochs, "batches": batches, "samples": batches}
    return [run(setting, seed, gradients=asked) for seed in range(setting.seeds)]


def sampled(setting: Setting) -> dict[str, list[RunConfig]]:
    """Equal weights, and MCLGS by batch and by sample, on small images, by name."""
    small = {**SMALL, "batch_size": min(setting.run().batch_size, SMALL["batch_size"])}
    by_sample = {"method_options": {"granularity": "sample"}, "observe": ("method",)}
    fields: dict[str, dict[str, Any]] = {
        "equal": {"method": "equal"},
        "MCLGS by batch": {"method": "mclgs"},
        "MCLGS by sample": {"method": "mclgs", **by_sample},
    }
    return {name: [run(setting, seed, **small, **own) for seed in range(setting.seeds)] for name, own in fields.items()}


def front(setting: Setting, seeds: Iterable[int] = (0, 1)) -> list[RunConfig]:
    """36 fixed weights of the three tasks, the first seed first; three at `smoke`."""
    return fronts.grid(setting, seeds, parts=4 if setting.scale == "smoke" else fronts.PARTS)


def tuned_front(setting: Setting, weights: Sequence[float]) -> list[RunConfig]:
    """One point of the front, that tuned on the validation split."""
    return [fronts.point(setting, weights, seed) for seed in range(setting.seeds)]


def replayed(setting: Setting) -> list[RunConfig]:
    """Mean weights of the centre's run of the same seed, held fixed."""
    return [
        run(setting, one.seed, "replay", method_options={"run": one.hash, "mode": "mean"})
        for one in _curriculum(setting, {})
    ]
