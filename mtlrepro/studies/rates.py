"""Learning rates that are tried for every method: the grid, the choice on the validation split, and what it changes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from mtlrepro.analysis.verdicts import mean_interval
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies.comparison import Comparison, columns, fixed
from mtlrepro.studies.scores import DELTA, Scores, method_title
from mtlrepro.studies.setting import Setting
from mtlrepro.training.config import RunConfig

CHANGE = tuple(f"change, points of %{bound}" for bound in ("", " low", " high"))
"""Columns of what tuning changes."""
DIVERGED = "diverged"


def rates_grid(setting: Setting, methods: Iterable[str], rates: Sequence[float], seeds: int = 2) -> list[RunConfig]:
    """Every method at each of some learning rates, scored on the validation split."""
    return [
        setting.run(method=method, lr=rate, seed=seed, evaluate_on="val", probe_every=0)
        for method in methods
        for rate in rates
        for seed in range(seeds)
    ]


def rate_scores(runs: pd.DataFrame, reference: float, scores: Scores) -> pd.DataFrame:
    """Delta_m of each run at each learning rate, against the mean of equal weighting at the rate `reference`.

    Args:
        runs: One row a run: `method`, `lr`, `seed` and the columns of the metrics, on the validation split.
        reference: Learning rate of the baseline.
        scores: Metrics, and the convention of Delta_m.

    Returns:
        One row a run: `method`, `lr`, `seed` and `score` in per cent.

    Raises:
        ValueError: The baseline or a run is missing or has no number.
    """
    baseline = runs[(runs["method"] == "equal") & (runs["lr"] == reference)][scores.names].mean()
    return runs[["method", "lr", "seed"]].assign(score=scores.delta_m(runs, baseline))


def best_rates(scored: pd.DataFrame, sign: int = 1) -> dict[str, float]:
    """Choose a learning rate for each method: the one with the best mean Delta_m on the validation split.

    Args:
        scored: As `rate_scores` gives it, as many seeds for every method and rate.
        sign: 1 if a higher score is better, else -1.
    """
    best = (sign * scored.pivot_table(index="method", columns="lr", values="score", sort=False)).idxmax(axis=1)
    return {str(method): float(rate) for method, rate in best.items()}


def rate_table(scored: pd.DataFrame, sign: int = 1) -> pd.DataFrame:
    """Delta_m on the validation split by method and learning rate.

    Args:
        scored: As `rate_scores` gives it.
        sign: 1 if a higher score is better, else -1.

    Returns:
        One row a method: `method`; a column for each rate with the mean and the range over seeds in per cent, as
        text, or `diverged` where the method has no runs at that rate; `best`; and `at the edge`, whether the best rate
        is the smallest or the largest tried, so that a still better one may lie outside.
    """
    best = best_rates(scored, sign)
    edges = scored["lr"].min(), scored["lr"].max()
    rows = []
    for method, own in scored.groupby("method", sort=False):
        cells = {
            f"{rate:g}": f"{fixed(seeds.mean())} ({fixed(seeds.min())} to {fixed(seeds.max())})"
            for rate, seeds in own.groupby("lr")["score"]
        }
        name, rate = str(method), best[str(method)]
        edge = "yes" if rate in edges else "no"
        rows.append({"method": method_title(name), **cells, "best": rate, "at the edge": edge})
    return pd.DataFrame(rows).fillna(DIVERGED)


def rate_finding(table: pd.DataFrame) -> str:
    """For which methods the best rate lies at the edge of those tried, in a sentence.

    Args:
        table: As `rate_table` gives it.
    """
    edge = table[table["at the edge"] == "yes"]["method"].tolist()
    if not edge:
        return "No best learning rate lies at the edge of those tried."
    return (
        f"The best learning rate lies at the edge of those tried for {', '.join(edge)}: "
        "a still better one may lie outside."
    )


@dataclass(frozen=True)
class RateSearch:
    """Learning rates that were tried for every method.

    Attributes:
        scored: As `rate_scores` gives it.
        sign: 1 if a higher score is better, else -1.
        baseline: What improvements are over, in words.
        lost: Method that diverged at every rate, and is not scored, to how many of its runs did.
    """

    scored: pd.DataFrame
    sign: int = 1
    baseline: str = ""
    lost: Mapping[str, int] = field(default_factory=dict)

    @property
    def rates(self) -> dict[str, float]:
        """Method that is scored to its best learning rate."""
        return best_rates(self.scored, self.sign)

    def exhibit(self, name: str) -> Exhibit:
        """Delta_m by method and rate as an exhibit of that name."""
        table, over = rate_table(self.scored, self.sign), f" over {self.baseline}" if self.baseline else ""
        caption = (
            f"{DELTA} of every method at every learning rate that was tried{over}, in %. {rate_finding(table)}"
            f"{self.left_out} (Validation split; mean, and the range of seeds in brackets.)"
        )
        return Exhibit(name=name, table=table, caption=caption)

    @property
    def left_out(self) -> str:
        """Say which methods diverged at every rate, in a sentence after others; empty if none did."""
        names = ", ".join(map(method_title, self.lost))
        return f" At every rate diverged, and are left out: {names}." if names else ""


def search_rates(setting: Setting, configs: Iterable[RunConfig], scores: Scores) -> RateSearch:
    """Read or train the runs of a search of learning rates, see `rates_grid`."""
    return RateSearch(rate_scores(setting.trained(configs), setting.run().lr, scores), scores.sign)


def beside(untuned: Comparison, tuned: Comparison) -> pd.DataFrame:
    """Compare both choices of the learning rate in one network by Delta_m against the untuned baseline.

    Intervals have the spread of the single-task runs too, see `Comparison.deltas`.

    Returns:
        One row a method: `network`, `method`, its `tuned rate`; `untuned, %` and `tuned, %`, Delta_m; `change, points
        of %`, the mean difference of runs of one seed, positive where tuning is better and 0 where the rate is that of
        the scale; each with `... low` and `... high` of its 95 % interval over seeds; and `untuned place` and `tuned
        place` of the method by mean.

    Raises:
        ValueError: The second comparison has no rates.
    """
    if tuned.rates is None:
        raise ValueError("tuned has no rates; accepted: a comparison with a learning rate for each method")
    scores = untuned.scores
    before, after = (
        runs.assign(score=scores.paired_delta_m(runs, untuned.single)).pivot(
            index="seed", columns="method", values="score"
        )
        for runs in (untuned.runs, tuned.runs)
    )
    places = [(scores.sign * values.mean()).rank(ascending=False).astype(int) for values in (before, after)]
    rows = []
    for key, rate in tuned.rates.items():
        name = method_title(key)
        row = {"network": untuned.title, "method": name, "tuned rate": rate}
        row |= columns("untuned, %", mean_interval(before[name])) | columns("tuned, %", mean_interval(after[name]))
        row |= columns(CHANGE[0], mean_interval(scores.sign * (after[name] - before[name])))
        row |= {f"{title} place": int(place[name]) for title, place in zip(("untuned", "tuned"), places, strict=True)}
        rows.append(row)
    return pd.DataFrame(rows)


def beside_finding(pairs: pd.DataFrame, method: str) -> str:
    """What tuning changes, and a method's rank by Delta_m without and with it, in two sentences.

    Args:
        pairs: As `beside` gives it, of any number of networks.
        method: Title of the method.
    """
    change = list(CHANGE)
    _, low, high = CHANGE
    changed = pairs[(pairs[change] != 0).any(axis=1)]
    better, worse = int((changed[low] > 0).sum()), int((changed[high] < 0).sum())
    kept = len(pairs) - len(changed)
    places = [
        f"{row['network']} {row['untuned place']} and {row['tuned place']}"
        for _, row in pairs[pairs["method"] == method].iterrows()
    ]
    return (
        f"{kept} of {len(pairs)} cases keep the rate of the scale and cannot change. Where the rate changes, the "
        f"interval of the change of {DELTA} lies above 0 in {better} and below 0 in {worse} of {len(changed)}. "
        f"{method}'s place of {pairs['method'].nunique()}, untuned and tuned: {', '.join(places)}."
    )


def tuned_beside(pairs: Iterable[tuple[Comparison, Comparison]], name: str) -> Exhibit:
    """Untuned beside tuned learning rates in several networks.

    Args:
        pairs: Comparison with the learning rate of the scale and with tuned ones, for each network.
        name: Name of the table.
    """
    pairs = list(pairs)
    table = pd.concat([beside(untuned, tuned) for untuned, tuned in pairs])
    first = pairs[0][0]
    seeds = first.runs["seed"].nunique()
    caption = (
        f"{DELTA} with the learning rate of the scale beside that with the rate chosen for each method. "
        f"{beside_finding(table, first.method)} (Test split, {seeds} seeds; brackets: 95 %, with the spread of the "
        "single-task runs; a change is that of runs of one seed.)"
    )
    places = [f"{row['untuned place']}, {row['tuned place']}" for row in table.to_dict("records")]
    shown = table.drop(columns=["untuned place", "tuned place"]).assign(**{"place, untuned and tuned": places})
    return Exhibit(name=name, table=table, shown=shown, caption=caption)
