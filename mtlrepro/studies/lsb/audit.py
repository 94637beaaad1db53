r"""Table S-3 of loss scale balancing (LSB) audited: 25 trials, five for each of five methods, six metrics (Lee et al.).

The supplement prints the trials, their ranks, averages and average ranks. What follows from the trials is recomputed
here, and LSB ("Proposed") is tested against each other method. The supplement does not say that trials of different
methods share seeds or data order, so samples are independent: five numbers against five.
"""

from collections.abc import Iterable, Iterator
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from mtlrepro.analysis import compare, published
from mtlrepro.analysis.significance import effect_interval, one_against_others, samples_against, trials_needed
from mtlrepro.analysis.verdicts import Interval, Verdict, number
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.pages.figures import strips
from mtlrepro.studies.scores import AVERAGE_RANK, Measure, Scores

PRINTED = Scores(
    {
        "delta_1": Measure("depth ratio below 1.25", "%", True, 1),
        "RMSE": Measure("RMSE of depth", "m", False, 3),
        "delta_30": Measure("normals within 30°", "%", True, 1),
        "mean angle": Measure("angle of normals", "degrees", False, 1),
        "mIoU": Measure("mIoU", "%", True, 1),
        "Acc.": Measure("pixel accuracy", "%", True, 1),
    }
)
"""Metrics of the table, with the decimals printed."""
METRICS = PRINTED.names
DECIMALS = PRINTED.decimals

LSB, SECOND = "Proposed", "Uncert"
"""LSB as the table calls it, and the method that the supplement calls second best."""

TOP = 5
"""Number of trials in the "top 20 %" of 25."""
SOURCE = "Section 4, Table S-3"
ALPHA = 0.05
"""Level of the test that "significantly" is read as."""
HALF_UNIT = 0.005
"""Half a unit of the last printed decimal of an average rank."""
AS_ROUNDED = "of averages as rounded in the table [and as the trials give them]"
TEST_TITLES = {
    "hedges_g": "Hedges' g",
    "cliffs_delta": "Cliff's δ",
    "p_reachable": "smallest possible p",
    "p_holm_measure": "p, Holm over methods",
    "p_holm_all": "p, Holm over all",
}
"""Column of the tests to its title on the page, where that is another one."""

FIGURE_ALT = (
    "The trials of Table S-3: six panels, one a metric, with a line of five dots for each of five methods and a bar at "
    "their mean. LSB's bar is the best in every panel, barely so for the mean angle. In every panel some dots of other "
    "methods are better than LSB's worst."
)


# --- the table ----------------------------------------------------------------------------------------


def trials(numbers: pd.DataFrame) -> pd.DataFrame:
    """Trials as printed.

    Args:
        numbers: Printed numbers, `published.read("lsb_s3")`.

    Returns:
        25 rows: `row` as in `numbers`, `method`, `trial` (1 to 5), a column for each of `METRICS`, its
        printed rank in `rank of ...`, and the printed `rank Min`, `rank Max` and `rank Avg.`.
    """
    table = _rows(numbers, r"(?P<method>.+), trial (?P<trial>\d)")
    return table.astype({"trial": int})


def averages(numbers: pd.DataFrame) -> pd.DataFrame:
    """Averages over five trials as printed: five rows, with the columns of :func:`trials` but for `trial`."""
    return _rows(numbers, r"(?P<method>.+), average")


def _rows(numbers: pd.DataFrame, pattern: str) -> pd.DataFrame:
    """Rows of the printed table whose label has that form, and the parts of the label."""
    table = published.pivot(numbers)
    labels = table.index.str.extract(f"^{pattern}$").set_index(table.index).dropna()
    return labels.join(table).rename_axis(index="row", columns=None).reset_index()


def _printed_ranks(table: pd.DataFrame) -> pd.DataFrame:
    return table[[f"rank of {metric}" for metric in METRICS]].set_axis(METRICS, axis=1)


def _means(table: pd.DataFrame) -> pd.DataFrame:
    """Average of each metric over the trials of a method, with `method` as a column."""
    return table.groupby("method", sort=False)[METRICS].mean().reset_index()


def average_ranks(numbers: pd.DataFrame) -> pd.DataFrame:
    """Average rank of each method over six metrics, printed and recomputed.

    Returns:
        One row a method: `method`; `trials` and `trials, printed`, the mean of its trials' average ranks among
        25; `averages, rounded`, `averages, unrounded` and `averages, printed`, the average rank of its averages
        among five, which are compared as the table rounds them, or as the trials give them.
    """
    table, printed = trials(numbers), averages(numbers)
    means = _means(table)
    five = _rows(numbers, "(?P<method>.+), five trials")
    return pd.DataFrame(
        {
            "method": means["method"],
            "trials": PRINTED.average_ranks(table).groupby(table["method"], sort=False).mean().to_numpy(),
            "trials, printed": five.set_index("method")["rank Avg."].loc[means["method"]].to_numpy(),
            "averages, rounded": PRINTED.average_ranks(means.round(DECIMALS)),
            "averages, unrounded": PRINTED.average_ranks(means),
            "averages, printed": printed["rank Avg."],
        }
    )


# --- what does not follow -----------------------------------------------------------------------------


def audit(numbers: pd.DataFrame) -> pd.DataFrame:
    """Find every printed cell that does not follow from the others.

    Ranks are recomputed from the trials, the average for ties; averages from the trials, rounded as printed; Min, Max
    and Avg. from the ranks, printed or recomputed; the average ranks over five trials from the recomputed ranks. Ranks
    of averages may be those of the rounded or of the unrounded averages, by one rule for a column; where neither gives
    the whole column, the cells that contradict each rule are listed. Only the cells of one rule need be wrong, see
    `fewest`.

    Returns:
        One row a finding: `row` and `column` as in `numbers`, `printed`, `recomputed` and `reason`.
    """
    found = [*_trial_ranks(numbers), *_averages(numbers), *_average_ranks(numbers), *_summaries(numbers)]
    return pd.DataFrame(found, columns=["row", "column", "printed", "recomputed", "reason"])


def fewest(slips: pd.DataFrame) -> int:
    """Least number of printed cells that do not follow, whichever rule each column of ranks of averages has.

    Args:
        slips: As `audit` gives it.
    """
    rule = slips["reason"].str.extract(r"^contradicts ranks of (rounded|unrounded) averages", expand=False)
    by_rule = slips.groupby(["column", rule]).size().unstack(fill_value=0)
    return int(rule.isna().sum() + by_rule.min(axis=1).sum())


Finding = tuple[str, str, float, float, str]


def _unequal(a: pd.Series, b: pd.Series) -> list[int]:
    """Row numbers at which two columns differ."""
    return [int(i) for i in np.flatnonzero(a != b)]


def _cell(table: pd.DataFrame, row: str | int, column: str) -> float:
    return float(table[column].to_dict()[row])


def _trial_ranks(numbers: pd.DataFrame) -> Iterator[Finding]:
    table = trials(numbers)
    printed, found = _printed_ranks(table), PRINTED.ranks(table)
    for metric in METRICS:
        for i in _unequal(printed[metric], found[metric]):
            value, rank = _cell(table, i, metric), _cell(found, i, metric)
            ties = int((table[metric] == value).sum())
            places = f"{rank - (ties - 1) / 2:g} to {rank + (ties - 1) / 2:g}"
            total, added = len(table) * (len(table) + 1) / 2, printed[metric].sum()
            with_printed, with_found = (ranks.loc[i].mean() for ranks in (printed, found))
            average = _cell(table, i, "rank Avg.")
            reason = (
                f"trials with {value:g}: {ties}, which share places {places}; "
                f"the column's printed ranks add up to {added:g}, places 1 to {len(table)} to {total:g};"
                f" the row's average is printed as {average:.2f}, with the printed rank it is {with_printed:.2f}, "
                f"with the recomputed one {with_found:.2f}"
            )
            yield table["row"].tolist()[i], f"rank of {metric}", _cell(printed, i, metric), rank, reason


def _averages(numbers: pd.DataFrame) -> Iterator[Finding]:
    printed, means = averages(numbers), _means(trials(numbers))
    rounded = means.round(DECIMALS)
    as_printed, of_means, stated = PRINTED.ranks(printed), PRINTED.ranks(rounded), _printed_ranks(printed)
    for metric in METRICS:
        for i in _unequal(printed[metric], rounded[metric]):
            reason = (
                f"its trials average {_cell(means, i, metric):.{DECIMALS[metric] + 1}f}; its printed rank is "
                f"{_cell(stated, i, metric):g}, with the recomputed average {_cell(of_means, i, metric):g}, "
                f"with the printed one {_cell(as_printed, i, metric):g}"
            )
            yield printed["row"].tolist()[i], metric, _cell(printed, i, metric), _cell(rounded, i, metric), reason


def _average_ranks(numbers: pd.DataFrame) -> Iterator[Finding]:
    labels = averages(numbers)["row"].tolist()
    printed, means = _printed_ranks(averages(numbers)), _means(trials(numbers))
    rules = {"rounded": means.round(DECIMALS), "unrounded": means}
    for metric in METRICS:
        found = {rule: PRINTED.ranks(table) for rule, table in rules.items()}
        if any(not _unequal(ranks[metric], printed[metric]) for ranks in found.values()):
            continue
        for rule, ranks in found.items():
            for i in _unequal(ranks[metric], printed[metric]):
                reason = (
                    f"contradicts ranks of {rule} averages, here {_cell(rules[rule], i, metric):.5g}; "
                    "neither rounded nor unrounded averages give the whole column"
                )
                yield labels[i], f"rank of {metric}", _cell(printed, i, metric), _cell(ranks, i, metric), reason


def _summaries(numbers: pd.DataFrame) -> Iterator[Finding]:
    table, printed = trials(numbers), averages(numbers)
    for rows, found in ((table, PRINTED.ranks(table)), (printed, PRINTED.ranks(_means(table).round(DECIMALS)))):
        stated = _printed_ranks(rows)
        for name, how in (("Min", "min"), ("Max", "max"), ("Avg.", "mean")):
            column = f"rank {name}"
            given, recomputed = (ranks.agg(how, axis=1).round(2) for ranks in (stated, found))
            for i in sorted({*_unequal(rows[column], given)} & {*_unequal(rows[column], recomputed)}):
                reason = f"{how} of the printed ranks {', '.join(f'{rank:g}' for rank in stated.loc[i])}"
                yield rows["row"].tolist()[i], column, _cell(rows, i, column), float(given.to_numpy()[i]), reason
    five = average_ranks(numbers).round(2)
    for i in _unequal(five["trials"], five["trials, printed"]):
        label = f"{five['method'].tolist()[i]}, five trials"
        reason = "mean of the average ranks of its five trials"
        yield label, "rank Avg.", _cell(five, i, "trials, printed"), _cell(five, i, "trials"), reason


# --- what five trials show ----------------------------------------------------------------------------


def significance(table: pd.DataFrame) -> pd.DataFrame:
    """Test LSB against each other method, on each metric and on the average rank of a trial among all 25.

    The permutation test is exact for independent trials, also for ranks, which do not change when two methods exchange
    trials; with five against five it counts 252 splits, so no p-value is below 2/252 = 0.008. Holm's correction over
    all 28 tests makes even the smallest p-value 28 * 2/252 = 0.22: five trials cannot support a claim over all metrics
    and methods at once.

    Args:
        table: As :func:`trials` gives it.

    Returns:
        28 rows as :func:`mtlrepro.analysis.significance.one_against_others` gives them, positive where LSB is better.
    """
    return one_against_others(PRINTED.measures(table), table["method"], LSB)


def power(table: pd.DataFrame) -> pd.DataFrame:
    """Trials per method that it would take to find the observed effects at 5 %, two-sided, with a power of 80 %.

    Observed effects are uncertain, and of several the largest are overestimates: the number for the end of the
    interval next to 0 says how many trials are enough if the effect is that small. One test alone, so without any
    correction.

    Args:
        table: As :func:`trials` gives it.

    Returns:
        28 rows: `measure`, `against`; `effect` (Hedges' g, positive where LSB is better) with `low` and
        `high` of its 95 % interval; `trials` for the effect, and `trials_at_low` for the end next to 0, NaN
        where the interval holds 0.
    """
    rows = []
    for measure, method, own, other in samples_against(PRINTED.measures(table), table["method"], LSB):
        effect = effect_interval(own, other)
        near = min(effect.low, effect.high, key=abs)
        at_low = trials_needed(near) if effect.low * effect.high > 0 else np.nan
        rows.append((measure, method, effect.value, effect.low, effect.high, trials_needed(effect.value), at_low))
    return pd.DataFrame(rows, columns=["measure", "against", "effect", "low", "high", "trials", "trials_at_low"])


# --- what the supplement says -------------------------------------------------------------------------


def top_places(table: pd.DataFrame) -> pd.DataFrame:
    """Count who holds the first five places, "top 20 %", of each metric; the red marks of the print are not kept.

    Args:
        table: As :func:`trials` gives it.

    Returns:
        One row a metric and method, as `Scores.top_places` gives it.
    """
    return PRINTED.top_places(table, TOP)


def better_than_second(numbers: pd.DataFrame) -> dict[str, Interval]:
    """Exact p-values of "significantly better than the second-best" by two average ranks of LSB and that method.

    Both exchange trials of the two methods in all 252 ways: once the difference is that of the mean ranks of trials,
    which keep their places among all 25; once that of the ranks of the averages among five methods. Other methods'
    trials stay as they are.

    Args:
        numbers: Printed numbers, `published.read("lsb_s3")`.

    Returns:
        `trials` and `averages` to the two-sided p-value (twice the one-sided one, at most 1), with bounds from the
        one-sided to the two-sided one; those of the averages also span averages compared as rounded and as they are.
    """
    table = trials(numbers)
    ranks = PRINTED.average_ranks(table).to_numpy()
    values = table[METRICS].to_numpy() * [-1 if PRINTED.higher[metric] else 1 for metric in METRICS]  # lower is better
    own, second = (np.flatnonzero(table["method"] == name) for name in (LSB, SECOND))
    others = [np.flatnonzero(table["method"] == name) for name in table["method"].unique() if name not in (LSB, SECOND)]
    pool = np.concatenate([own, second])
    splits = [np.array(chosen) for chosen in combinations(range(len(pool)), len(own))]  # the first is the printed one
    groups = np.array([(pool[chosen], np.delete(pool, chosen), *others) for chosen in splits])  # [splits, methods, 5]

    def apart(scores: np.ndarray) -> float:
        """One-sided p of the ranks [splits, methods] of LSB and the second-best method."""
        return _one_sided(scores[:, 1] - scores[:, 0])

    of_trials = apart(ranks[groups].mean(axis=2))
    means = values[groups].mean(axis=2)  # [splits, methods, metrics]
    rounded = np.stack([means[..., i].round(DECIMALS[metric]) for i, metric in enumerate(METRICS)], axis=2)
    of_averages = [apart(stats.rankdata(one, axis=1).mean(axis=2)) for one in (rounded, means.round(9))]
    return {
        "trials": Interval(min(1, 2 * of_trials), of_trials, min(1, 2 * of_trials)),
        "averages": Interval(min(1, 2 * of_averages[0]), min(of_averages), min(1, 2 * max(of_averages))),
    }


def _one_sided(differences: np.ndarray) -> float:
    """Share of arrangements with a difference at least as large as that of the first one, the printed one."""
    return float((differences >= differences[0] - 1e-9).mean())


def claims(numbers: pd.DataFrame) -> list[Verdict]:
    """Judge the supplement's statements about Table S-3 by the printed trials.

    Intervals span what the print leaves open: the order of tied trials, whether averages are compared as rounded or as
    the trials give them, and whether a test has one side or two. Average ranks have half a unit of their last decimal
    as tolerance. The section says twice that LSB is "significantly better" than the second-best method, of two average
    ranks of the same trials; that is one claim with two cases. Nemenyi's test, with metrics as blocks, is none: they
    are of the same runs.

    Args:
        numbers: Printed numbers, `published.read("lsb_s3")`.
    """
    table = trials(numbers)
    ranks = average_ranks(numbers).set_index("method")
    top = top_places(table).query("method == @LSB")[["places", "fewest", "most"]]
    others = 100 * (1 - top.sum() / (TOP * len(METRICS)))
    majorities = (top > TOP / 2).sum()
    means = _means(table).set_index("method")
    alone, first = zip(*(_firsts(rule) for rule in (means.round(DECIMALS), means)), strict=True)
    p_values = better_than_second(numbers)
    tied = "range over the orders of tied trials"

    verdicts = [
        _verdict(
            "LSB's average of five trials is the best, alone or in a tie",
            len(METRICS),
            first,
            reading=f"number of metrics, {AS_ROUNDED}",
        ),
        _verdict(
            "LSB's average of five trials is the best, with none beside it",
            len(METRICS),
            alone,
            reading=f"number of metrics, {AS_ROUNDED}",
        ),
        *(
            Verdict(
                f"LSB's average rank is significantly better than that of {SECOND}",
                SOURCE,
                ALPHA,
                0.0,
                p_values[name],
                below=True,
                reading="a test at 5 % that exchanges trials: exact p, two-sided [one-sided, two-sided]",
                case=case,
                finding=1,
            )
            for name, case in (("trials", "ranks of trials"), ("averages", "ranks of averages"))
        ),
        _verdict(
            "The top 20 % of trials over all metrics are mostly LSB's: others hold less than half",
            50,
            (others["places"], others["fewest"], others["most"]),
            reading=f"share of places in %, {tied}",
            below=True,
        ),
        _verdict(
            "The top 20 % of trials are mostly LSB's on each metric",
            len(METRICS),
            majorities,
            reading=f"number of metrics, {tied}",
        ),
    ]
    average_of_printed = table.groupby("method")["rank Avg."].mean()
    for method in (LSB, SECOND):
        printed = _cell(ranks, method, "trials, printed")
        found = [_cell(ranks, method, "trials"), float(average_of_printed[method])]
        verdicts.append(
            _verdict(
                "The printed average ranks of trials follow from the trials",
                0,
                [value - printed for value in found],
                reading="recomputed less printed, from exact and from printed ranks of trials",
                case=f"{method}, {printed:.2f} printed, {found[0]:.4f} recomputed",
                tolerance=HALF_UNIT,
            )
        )
    for method in (LSB, SECOND):
        printed, *both = (_cell(ranks, method, f"averages, {rule}") for rule in ("printed", "rounded", "unrounded"))
        verdicts.append(
            _verdict(
                "The printed average ranks of averages follow from the trials",
                0,
                [value - printed for value in both],
                reading=f"recomputed less printed, {AS_ROUNDED}",
                case=f"{method}, {printed:.2f} printed, {both[0]:.4f} recomputed",
                tolerance=HALF_UNIT,
            )
        )
    return verdicts


def _verdict(
    claim: str,
    claimed: float,
    found: Iterable[float],
    *,
    reading: str,
    case: str = "",
    tolerance: float = 0.0,
    below: bool = False,
) -> Verdict:
    """Verdict on a statement of the supplement; the first number found is the value, all of them the interval."""
    values = [float(value) for value in found]
    measured = Interval(values[0], min(values), max(values))
    return Verdict(claim, SOURCE, float(claimed), tolerance, measured, below, reading, case, finding=1)


def _firsts(means: pd.DataFrame) -> tuple[int, int]:
    """Number of metrics on which LSB is first alone, and on which it is first alone or in a tie."""
    tied = PRINTED.ranks(means).loc[LSB].to_numpy()
    least = compare.ranks(means.round(9), PRINTED.higher, "min").loc[LSB].to_numpy()
    return int((tied == 1).sum()), int((least == 1).sum())


# --- exhibits -----------------------------------------------------------------------------------------


def trials_exhibit(numbers: pd.DataFrame) -> Exhibit:
    """The trials, a panel for each metric, a line of dots for each method and a bar at its mean.

    Trials 1 to 5 of a method stand below each other, so that ties are seen.
    """
    table = trials(numbers)
    return Exhibit(
        name="trials",
        table=table[["method", "trial", *METRICS]],
        caption="Table S-3 as printed: five trials a method, bars at their means. LSB is called Proposed.",
        figure=strips(table, PRINTED.directed, by="method"),
        alt=FIGURE_ALT,
        form="drawing",
    )


def ranks_exhibit(numbers: pd.DataFrame) -> Exhibit:
    """Average ranks, printed and recomputed."""
    caption = (
        "Average ranks over six metrics, recomputed and printed: of the trials among 25, and of the averages among "
        "five, compared as the table rounds them or as the trials give them."
    )
    return Exhibit(name="average_ranks", table=average_ranks(numbers), caption=caption)


def slips_exhibit(numbers: pd.DataFrame) -> Exhibit:
    """The printed cells that do not follow from the others."""
    slips = audit(numbers)
    caption = (
        f"Printed cells that do not follow from the others, as recomputing all of them shows: at least {fewest(slips)}."
        f" The {len(slips)} rows list the cells that contradict either rule where a column can have one of two."
    )
    return Exhibit(name="slips", table=slips, caption=caption)


def significance_exhibit(numbers: pd.DataFrame) -> Exhibit:
    """Tests of LSB against each other method."""
    tests = significance(trials(numbers))
    second = better_than_second(numbers)["trials"]
    clear = tests[(tests["p_holm_measure"] < ALPHA) & (tests["measure"] != AVERAGE_RANK)]
    ranked = tests[(tests["p_holm_measure"] < ALPHA) & (tests["measure"] == AVERAGE_RANK)]
    methods = tests["against"].nunique()
    caption = (
        f"LSB against each other method, positive where LSB is better; p is exact and two-sided. Against {SECOND}, "
        f"by the average rank, it is {number(second.high)}, and {number(second.low)} one-sided. With Holm's correction "
        f"over {methods} methods LSB is better at 5 % in {len(clear)} of {len(tests) - methods} comparisons of single "
        f"metrics and in {len(ranked)} of {methods} of average ranks; with that over all {len(tests)} tests "
        f"the smallest p is {number(tests['p_holm_all'].min(), 2)}."
    )
    return Exhibit(name="significance", table=tests, shown=tests.rename(columns=TEST_TITLES), caption=caption)


def power_exhibit(numbers: pd.DataFrame) -> Exhibit:
    """Trials that it would take to find the observed effects."""
    found = power(trials(numbers))
    ranked = found[(found["measure"] == AVERAGE_RANK) & (found["against"] == SECOND)].iloc[0]
    caption = (
        "Trials per method with which a t-test at 5 % finds an effect of the observed size with a power of 80 %, and "
        f"of the size at the near end of its interval. The average rank against {SECOND} takes {ranked['trials']:.0f}."
    )
    bounds = ["no bound" if np.isnan(count) else f"{count:.0f}" for count in found["trials_at_low"]]
    return Exhibit(name="power", table=found.assign(trials_at_low=bounds), caption=caption)
