"""The experiments on loss scale balancing as grids of runs: which configurations each of them is made of."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from mtlrepro.balancers import LSB
from mtlrepro.studies import comparison as studies_comparison
from mtlrepro.studies import fronts
from mtlrepro.studies import variants as studies_variants
from mtlrepro.studies.rates import rates_grid
from mtlrepro.studies.setting import Setting
from mtlrepro.studies.variants import Variants
from mtlrepro.training.config import RunConfig

METHODS = ("equal", "uncertainty", "dwa", "gls", "gradnorm", "lsb")
NETWORKS = ("full_sharing", "multi_decoder", "multi_column")
TASKS = ("segmentation", "depth", "normal")
EIGHT = ("depth", "normal", "curvature", "reshading", "edges2d", "edges3d", "keypoints2d", "keypoints3d")
"""The supplement's eight tasks, in its order."""
FOUR = EIGHT[:4]
"""Its four tasks are not named; these are our choice, the first four."""
RATES = (3e-4, 1e-3, 3e-3)
"""Learning rates that are tried for every method."""
OWN_RATES = (3e-3, 1e-2, 3e-2)
"""Learning rates that are tried for the parameters of uncertainty weighting alone, above the network's at `cpu`."""
TASKONOMY_RATE = 0.5
"""Growth of beta per epoch that the supplement states for Taskonomy, where it learns four and eight tasks."""
TASKONOMY_SIZES = {"edges2d": 0.18, "edges3d": 1 / 16, "keypoints2d": 0.06}
"""Factor on the loss of a task that makes it as small as with the files of Taskonomy; the other tasks keep theirs.

Edges and keypoints of the image: where Taskonomy's models clip their targets (0.08 and 0.005, Zamir et al., CVPR
2018), over the 99.9 % quantile of the rooms. Edges of the depth: the spread by which another public loader divides (239
of 65535, Standley et al., ICML 2020), over that of the rooms. By that loader's spreads of the other two (1070 and 100)
both factors would be larger. Files and rooms show other things, so a factor is right within a factor of two for edges
and of five for keypoints, which a test checks on the rooms. Keypoints of surfaces have no such number and keep their
size.
"""
PRIORITIES = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Priority or fixed weight of the first of two tasks."""
END_BETA = 20.0
"""Largest beta of the paper's main schedule: 0.02 per epoch for 1,000 epochs (NYUv2, MobileNetV2)."""
TASK_SETS = {"rooms": (TASKS, FOUR, EIGHT), "nyuv2": (TASKS,), "taskonomy": (FOUR, EIGHT)}
"""Tasks that are learned together by data set: the supplement uses NYUv2 for three, Taskonomy for four and eight."""
TEMPERATURES = (1.0, 4.0, 16.0)
"""Temperatures of `uw-so`: on rooms from nearly all weight on the smallest loss to nearly equal weights."""
PICTURED = 6
"""Images whose predictions are kept; those of scenes take up to 300 kB a run."""


def offers(setting: Setting, tasks: Sequence[str]) -> bool:
    """Whether the data set is used for `TASKS`, `FOUR` or `EIGHT`."""
    return tuple(tasks) in TASK_SETS[setting.dataset]


def pictured(epochs: Sequence[int], images: int) -> dict[str, Any]:
    """Ask for the predictions for the first images after some epochs."""
    return {"epochs": sorted(set(epochs)), "images": list(range(images))}


def comparison(
    setting: Setting,
    methods: Sequence[str] = METHODS,
    networks: Sequence[str] = NETWORKS,
    rates: Mapping[str, float] | None = None,
) -> list[RunConfig]:
    """Table S-3: every method in every network; the first seed keeps its predictions at the learning rate of the scale.

    Args:
        setting: What all experiments share.
        methods: Methods by name.
        networks: Networks by name.
        rates: Learning rate of each method; default: that of the scale.
    """
    kept = pictured([setting.epochs], PICTURED)
    return [
        run
        for network in networks
        for run in studies_comparison.methods_grid(setting, methods, network, rates, pictures=kept)
    ]


def rerun(setting: Setting, network: str, rates: Mapping[str, float] | None = None) -> list[RunConfig]:
    """Runs of the comparison in one network, and those of single tasks.

    Args:
        setting: What all runs share.
        network: Name of the network.
        rates: Learning rate of each method; default: that of the scale.
    """
    return [*comparison(setting, networks=[network], rates=rates), *studies_comparison.single_tasks(setting)]


def tuning(setting: Setting, methods: Sequence[str] = METHODS) -> list[RunConfig]:
    """Every method at each of `rates`, in the multi-decoder network, scored on the validation split."""
    return rates_grid(setting, methods, rates(setting), seeds=1 if setting.scale == "smoke" else 2)


def rates(setting: Setting) -> tuple[float, ...]:
    """Learning rates that are tried: `RATES`; at `smoke` that of its runs, and one at which nothing is learned."""
    return (1e-5, setting.run().lr) if setting.scale == "smoke" else RATES


def trends(
    setting: Setting, tasks: Sequence[str], methods: Sequence[str] = METHODS, rate: float = TASKONOMY_RATE
) -> list[RunConfig]:
    """Figures S-2 to S-5: weights and loss scales over the epochs, in the full-sharing network.

    Four and eight tasks are those of Taskonomy in the supplement. They have its growth of beta and, on rooms, its
    sizes of losses. The eight tasks keep the predictions of the first seed after three epochs, for the error maps.

    Args:
        setting: What all experiments share.
        tasks: `TASKS`, `FOUR` or `EIGHT`; the first are those of the comparison.
        methods: Methods by name.
        rate: Growth of LSB's beta per epoch with four and eight tasks.
    """
    if tuple(tasks) == TASKS:
        return [run for run in comparison(setting, methods, ["full_sharing"]) if run.seed < setting.seeds]
    sizes = {task: size for task, size in TASKONOMY_SIZES.items() if task in tasks and setting.dataset == "rooms"}
    kept = pictured(map_epochs(setting.epochs), 1)
    return [
        _growing(
            setting.run(
                "full_sharing",
                method=method,
                tasks=tuple(tasks),
                seed=seed,
                **({"loss_scales": sizes} if sizes else {}),
                **({"pictures": kept} if seed == 0 and tuple(tasks) == EIGHT else {}),
            ),
            rate,
        )
        for method in methods
        for seed in range(setting.seeds)
    ]


def _growing(run: RunConfig, rate: float) -> RunConfig:
    """The run itself, or with this growth of beta if it is one of LSB that has another."""
    if run.method != "lsb" or growth(run) == rate:
        return run
    return run.replace(method_options={**run.method_options, "rate": rate})


def growth(run: RunConfig) -> float:
    """Growth of beta per epoch in a run of LSB."""
    return float(run.method_options.get("rate", LSB(1).rate))


def growths(setting: Setting, tasks: Sequence[str]) -> list[RunConfig]:
    """LSB with four or eight tasks at the growth of beta that it has with three, beside that of `trends`."""
    return trends(setting, tasks, ["lsb"], LSB(1).rate)


def own_rate_search(setting: Setting, seeds: int = 2) -> list[RunConfig]:
    """Uncertainty weighting in the multi-decoder network at each of `OWN_RATES`, scored on both splits.

    The network keeps the learning rate of the scale. As with other methods, three rates are tried with two seeds.

    Args:
        setting: What all experiments share.
        seeds: Seeds of each rate.
    """
    return [
        setting.run("multi_decoder", method="uncertainty", balancer_lr=rate, seed=seed, evaluate_on="both")
        for rate in OWN_RATES
        for seed in range(seeds)
    ]


def own_rate(setting: Setting, tasks: Sequence[str], rate: float) -> list[RunConfig]:
    """Uncertainty weighting at a learning rate of its own: three tasks as in the search, others as in `trends`.

    Args:
        setting: What all experiments share.
        tasks: `TASKS`, `FOUR` or `EIGHT`.
        rate: One of `OWN_RATES`.
    """
    if tuple(tasks) == TASKS:
        return [run for run in own_rate_search(setting, setting.seeds) if run.balancer_lr == rate]
    return [run.replace(balancer_lr=rate) for run in trends(setting, tasks, ["uncertainty"])]


def equal_beside_own_rate(setting: Setting, tasks: Sequence[str]) -> list[RunConfig]:
    """Equal weighting with the network, tasks and seeds of `own_rate`."""
    if tuple(tasks) == TASKS:
        return [setting.run("multi_decoder", method="equal", seed=seed) for seed in range(setting.seeds)]
    return trends(setting, tasks, ["equal"])


def all_trends(setting: Setting) -> list[RunConfig]:
    """Trends of all sets of tasks that the data set is used for."""
    return [run for tasks in TASK_SETS[setting.dataset] for run in trends(setting, tasks)]


def map_epochs(epochs: int) -> tuple[int, int, int]:
    """Epochs of the error maps: the paper's 2, 10 and 200 of 200, else the second, a quarter and the last."""
    return (2, 10, 200) if epochs == 200 else (2, min(max(epochs // 4, 3), epochs), epochs)


def priorities(setting: Setting) -> list[RunConfig]:
    """Figure S-6: two tasks at a time, priorities of LSB against fixed weights, in the full-sharing network."""
    shares = PRIORITIES[::4] if setting.scale == "smoke" else PRIORITIES
    return [
        setting.run(
            "full_sharing", tasks=pair, method=method, method_options={option: [first, round(1 - first, 6)]}, seed=seed
        )
        for pair in combinations(TASKS, 2)
        for method, option in (("lsb", "priority"), ("fixed", "weights"))
        for first in shares
        for seed in range(setting.seeds)
    ]


def variants(epochs: int) -> Variants:
    """Methods of the ablation by name, as the fields that they change.

    Where the schedule is as long as the paper's, so that its rate and its last beta are one, the latter is left out.

    Args:
        epochs: Of a run; the rate at which beta ends where the paper's does depends on it.
    """
    steep = round(END_BETA / (epochs - 2), 4) if epochs > 2 else END_BETA
    ends = {"paper's end value": _lsb(rate=steep), "end value, no alpha": _lsb(rate=steep, conserve=False)}
    return {
        "LSB": {"method": "lsb"},
        "no alpha": _lsb(conserve=False),
        "no difficulty": _lsb(rate=0.0),
        "rate 0.2": _lsb(rate=0.2),
        **(ends if steep != LSB(1).rate else {}),
        "period 2": _lsb(period=2),
        "period 5": _lsb(period=5),
        "lagged GLS": {"method": "lagged_gls"},
        "GLS": {"method": "gls"},
        "equal": {"method": "equal"},
    }


def _lsb(**options: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"method": "lsb", "method_options": options}


def ablation(setting: Setting) -> dict[str, list[RunConfig]]:
    """What matters: every variant in the multi-decoder network, by name; plain methods are those of the comparison."""
    plain = {(run.method, run.seed): run for run in comparison(setting, networks=["multi_decoder"])}
    grids = studies_variants.grid(setting, variants(setting.epochs), range(setting.seeds))
    return {
        name: [run if run.method_options else plain.get((run.method, run.seed), run) for run in runs]
        for name, runs in grids.items()
    }


# --- against fixed weights ----------------------------------------------------------------------------


def front(setting: Setting, seeds: Sequence[int] = (0, 1)) -> list[RunConfig]:
    """36 fixed weights of the three tasks in the multi-decoder network, the first seed first; three at `smoke`."""
    return fronts.grid(setting, seeds, "multi_decoder", parts=4 if setting.scale == "smoke" else fronts.PARTS)


def tuned_front(setting: Setting, weights: Sequence[float]) -> list[RunConfig]:
    """One point of the front, that tuned on the validation split, with the seeds of the controls."""
    return [fronts.point(setting, weights, seed, "multi_decoder") for seed in range(setting.seeds)]


def controls(setting: Setting) -> list[RunConfig]:
    """What LSB is held against beside the front, in the multi-decoder network, with metrics of both splits.

    Equal weights, by whose metrics Delta_m is taken; random weights; the softmax of inverse losses at each of
    `TEMPERATURES`; and the mean weights of LSB's and of GLS's run of the same seed, replayed as fixed ones.
    """
    shared: dict[str, Any] = {"network": "multi_decoder", "evaluate_on": "both"}
    plain = [
        setting.run(method=method, seed=seed, **shared) for method in ("equal", "rlw") for seed in range(setting.seeds)
    ]
    softmax = [
        setting.run(method="uw-so", method_options={"temperature": temperature}, seed=seed, **shared)
        for temperature in TEMPERATURES
        for seed in range(setting.seeds)
    ]
    replayed = [
        setting.run(method="replay", method_options={"run": source.hash, "mode": "mean"}, seed=source.seed, **shared)
        for source in replay_sources(setting)
    ]
    return [*plain, *softmax, *replayed]


def replay_sources(setting: Setting) -> list[RunConfig]:
    """Runs of LSB and GLS whose mean weights are replayed: those of the comparison, without kept predictions."""
    return [
        setting.run("multi_decoder", method=method, seed=seed)
        for method in ("lsb", "gls")
        for seed in range(setting.seeds)
    ]


def outside(setting: Setting) -> list[RunConfig]:
    """LSB with its difficulty outside the weight, four tasks at Taskonomy's growth of beta, beside that of `trends`."""
    options = {"rate": TASKONOMY_RATE, "outside": True}
    return [
        setting.run("full_sharing", method="lsb", method_options=options, tasks=FOUR, seed=seed)
        for seed in range(setting.seeds)
    ]
