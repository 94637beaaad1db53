"""Does loss scale balancing (LSB) go beyond what fixed weights reach? A question of ours, see `studies.fronts`.

The supplement compares LSB with fixed weights for two tasks, at the numbers that its priorities have. Here weights of
three tasks are searched, and LSB is held against the whole front, against its point tuned on the validation split, and
against its own mean weights, held fixed from the first step.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from mtlrepro.analysis.verdicts import Interval, Verdict, mean_interval, number
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies import fronts, hypervolume
from mtlrepro.studies import trends as studies_trends
from mtlrepro.studies.fronts import Front
from mtlrepro.studies.lsb import grids as lsb_grids
from mtlrepro.studies.lsb.priorities import PLANES
from mtlrepro.studies.lsb.scores import TABLE_S3
from mtlrepro.studies.scores import DELTA, method_title
from mtlrepro.studies.setting import Setting
from mtlrepro.training.config import RunConfig

TUNED = "tuned fixed weights"
ADAPTIVE = ("LSB", "GLS")
REPLAYED = {method: f"{method}'s mean weights" for method in ADAPTIVE}
"""Method whose weights are replayed to what the replay is called."""
SOURCE = "our question"
UNCORRECTED = "not corrected for several comparisons"


@dataclass(frozen=True)
class Found:
    """The front and what is held against it.

    Attributes:
        front: Fixed weights.
        tuned: Runs of the tuned point.
        methods: Title to its runs, as `fronts.evaluated` gives them.
        searched: Title to all runs among which those of a method were chosen, where there is more than one choice.
        weights: Title to its mean weights over epochs and seeds, in the order of the front's tasks.
    """

    front: Front
    tuned: pd.DataFrame
    methods: dict[str, pd.DataFrame]
    searched: dict[str, pd.DataFrame]
    weights: dict[str, list[float]]


def runs(setting: Setting) -> list[RunConfig]:
    """What is needed for the section at least: the front's first seed, the controls, and the methods themselves."""
    return [*lsb_grids.front(setting, [0]), *lsb_grids.controls(setting), *lsb_grids.replay_sources(setting)]


def load_front(setting: Setting) -> Front:
    """Read the front as far as it is stored, with the runs of equal weights; see `fronts.load`."""
    equal = [run for run in lsb_grids.controls(setting) if run.method == "equal"]
    return fronts.load(setting, lsb_grids.front(setting), equal, TABLE_S3)


def tuned_runs(setting: Setting) -> list[RunConfig]:
    """Runs of the point with the best Delta_m on the validation split, of the front that is stored."""
    return lsb_grids.tuned_front(setting, load_front(setting).tuned)


def load(setting: Setting) -> Found:
    """Read what is stored and train what is missing.

    The temperature of `uw-so` is chosen like the weights: by the mean Delta_m on the validation split.

    Args:
        setting: What all runs share.
    """
    front = load_front(setting)
    sources = fronts.evaluated(setting, lsb_grids.replay_sources(setting))
    titles = sources["method"].map(method_title)
    methods = {title: sources[titles == title] for title in ADAPTIVE}
    controls = lsb_grids.controls(setting)
    for method in ADAPTIVE:
        own = set(methods[method]["run"])
        methods[REPLAYED[method]] = fronts.evaluated(setting, [run for run in controls if run.source in own])
    softmax = {
        f"{method_title('uw-so')}, T = {temperature:g}": fronts.evaluated(
            setting, [run for run in controls if run.method_options.get("temperature") == temperature]
        )
        for temperature in lsb_grids.TEMPERATURES
    }
    means = {title: front.delta_m(own, validation=True).mean() for title, own in softmax.items()}
    chosen = max(means, key=means.__getitem__)
    methods[chosen] = softmax[chosen]
    methods[method_title("rlw")] = fronts.evaluated(setting, [run for run in controls if run.method == "rlw"])
    methods[method_title("equal")] = front.equal
    return Found(
        front=front,
        tuned=fronts.evaluated(setting, lsb_grids.tuned_front(setting, front.tuned)),
        methods=methods,
        searched={chosen: pd.concat(softmax.values())},
        weights=mean_weights(setting, front.tasks),
    )


def mean_weights(setting: Setting, tasks: Sequence[str]) -> dict[str, list[float]]:
    """Mean weights over epochs and seeds of the methods whose weights are replayed.

    Args:
        setting: Holds their runs.
        tasks: Order of the weights.
    """
    history = studies_trends.history(setting, lsb_grids.replay_sources(setting))
    means = history.groupby(["method", "task"])["weight"].mean()
    return {method: [float(means[method, task]) for task in tasks] for method in ADAPTIVE}


def table(found: Found) -> pd.DataFrame:
    """Hold every method against the front and its tuned point, one row a method; see `fronts.summary`."""
    return fronts.summary(fronts.against(found.front, found.methods, found.tuned), TABLE_S3.sign)


def replayed(found: Found) -> dict[str, Interval]:
    """Delta_m of a method less that of its own mean weights held fixed, in runs of the same seed, by method, in %."""
    gains = {}
    for method, title in REPLAYED.items():
        own, held = (
            found.front.delta_m(table).groupby(table["seed"]).mean()
            for table in (found.methods[method], found.methods[title])
        )
        gains[method] = mean_interval(TABLE_S3.sign * (own - held).dropna())
    return gains


def claims(found: Found) -> list[Verdict]:
    """Ask whether LSB and GLS go beyond fixed weights: the tuned point, the front, and their own mean weights.

    Args:
        found: As `load` gives it.
    """
    held_against = table(found)
    rows = held_against.set_index("method").to_dict("index")
    gains, own = fronts.gains(held_against), replayed(found)
    seeds, front_seeds = found.front.equal["seed"].nunique(), len(found.front.seeds)
    paired = f"%, mean of {seeds} seeds [paired 95 %], {UNCORRECTED}"
    verdicts = []
    for method in ADAPTIVE:
        gain, held, row = gains[method], own[method], rows[method]
        verdicts += [
            Verdict(
                f"{method} is better than fixed weights tuned on the validation split",
                SOURCE,
                0.0,
                0.0,
                Interval(-gain.value, -gain.high, -gain.low),
                below=True,
                reading=f"{DELTA} of the tuned weights less {method}'s, {paired}",
                kind="ours",
            ),
            Verdict(
                f"{method} is further beyond the front than its points are beyond each other",
                SOURCE,
                fronts.LEVEL,
                0.0,
                # One seed of the front says nothing of its spread.
                Interval(*(float(row[name]) for name in ("as far", "as far low", "as far high")))
                if front_seeds > 1
                else None,
                below=True,
                reading="% of the points that are at least as far, mean [range] over the front's seeds, "
                f"{front_seeds} in number, {UNCORRECTED}",
                kind="ours",
            ),
            Verdict(
                f"{method} is better than its own mean weights held fixed",
                SOURCE,
                0.0,
                0.0,
                Interval(-held.value, -held.high, -held.low),
                below=True,
                reading=f"{DELTA} of the mean weights less {method}'s, {paired}",
                kind="ours",
            ),
        ]
    return verdicts


# --- exhibits -----------------------------------------------------------------------------------------


def table_exhibit(found: Found) -> Exhibit:
    """Every method against the front and its tuned point.

    Args:
        found: As `load` gives it.
    """
    rows = table(found)
    gains = fronts.gains(rows)
    caption = (
        f"Methods against fixed weights. {found.front.missing()} Tuned on the validation split: "
        f"{found.front.weights_in_words(found.front.tuned)}; {DELTA} "
        f"{number(float(found.front.delta_m(found.tuned).mean()))} % against equal weights. "
        f"LSB less the tuned weights: {gains['LSB']} %. {fronts.search(found.front, _choices(found))}"
    )
    return Exhibit(name="against_front", table=rows, shown=fronts.shown(found.front, rows), caption=caption)


def _choices(found: Found) -> dict[str, pd.DataFrame]:
    """Title to all runs among which those of a method were chosen: its own where nothing was."""
    return {title: found.searched.get(title, own) for title, own in found.methods.items()}


def triangle_exhibit(found: Found) -> Exhibit:
    """Delta_m over the simplex of weights, and where methods' mean weights lie on it.

    Args:
        found: As `load` gives it.
    """
    front = found.front
    marks = {**found.weights, "equal": [1.0] * len(front.tasks), TUNED: list(front.tuned)}
    means = front.delta_m(front.runs).groupby(front.runs["weights"]).mean()
    rows = pd.DataFrame(list(means.index), columns=list(front.tasks)).assign(**{DELTA: means.to_numpy()})
    best = max(rows.to_dict("records"), key=lambda row: TABLE_S3.sign * row[DELTA])
    shares = front.weights_in_words(best[task] for task in front.tasks)
    caption = (
        f"{DELTA} on the test split over the simplex of fixed weights, and where the mean weights of methods lie, "
        f"scaled to sum 1. The best point is {shares}, with {number(float(best[DELTA]))} %; {len(rows)} points reach "
        f"from {number(float(rows[DELTA].min()))} to {number(float(rows[DELTA].max()))} %. {front.missing()}"
    )
    return Exhibit(
        name="front_simplex",
        table=rows,
        caption=caption,
        figure=fronts.triangle(front, marks),
        alt="A triangle whose corners are the three tasks, filled with dots whose colour is the score of fixed weights "
        "at that place; markers show the mean weights of LSB and of GLS, equal weights and the tuned ones.",
        uses=("scale", "seeds"),
    )


def planes_exhibit(found: Found) -> Exhibit:
    """The front and the methods in the planes of two tasks, the first metric of each, seeds of the front alone.

    Args:
        found: As `load` gives it.
    """
    seeds = found.front.seeds
    families = {"fixed weights": found.front.runs.assign(share=found.front.runs["weights"].map(str))}
    families |= {title: found.methods[title].assign(share=title) for title in (*ADAPTIVE, *REPLAYED.values())}
    both = pd.concat([own[own["seed"].isin(seeds)].assign(method=title) for title, own in families.items()])
    tasks = found.front.tasks
    planes = {
        name: plane for name, plane in PLANES.items() if tasks.index(plane.tasks[0]) < tasks.index(plane.tasks[1])
    }
    operating = pd.concat([hypervolume.points(both, plane) for plane in planes.values()], ignore_index=True)
    caption = (
        "The front of fixed weights of three tasks in the planes of two of them, and where LSB, GLS and their own mean "
        f"weights lie. Lines: points that no other one dominates in that plane. (Fixed weights: "
        f"{fronts.seeds_in_words(seeds)}.)"
    )
    return Exhibit(
        name="front_planes",
        table=operating,
        caption=caption,
        figure=hypervolume.figure(operating, planes),
        alt="Three panels, one a pair of tasks: a cloud of dots of fixed weights with a line along its upper right "
        "edge, and single markers of LSB, GLS and their mean weights.",
        uses=("scale", "seeds"),
        form="drawing",
    )
