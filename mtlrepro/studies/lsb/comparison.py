"""Table S-3 of loss scale balancing (LSB) rerun: six methods, three networks, single-task learning as reference."""

from mtlrepro.analysis.verdicts import Interval, Verdict, mean_interval
from mtlrepro.studies import comparison as studies_comparison
from mtlrepro.studies.comparison import ALPHA, Comparison
from mtlrepro.studies.lsb import grids as lsb_grids
from mtlrepro.studies.lsb.scores import TABLE_S3
from mtlrepro.studies.rates import RateSearch, search_rates
from mtlrepro.studies.scores import AVERAGE_RANK
from mtlrepro.studies.setting import Setting
from mtlrepro.training.config import RunConfig

SHARE = 5
"""One run in five belongs to the "top 20 %"."""


def rate_search(setting: Setting) -> RateSearch:
    """Learning rates of each method that were tried; missing runs are trained."""
    return search_rates(setting, lsb_grids.tuning(setting), TABLE_S3)


def compared(setting: Setting, network: str, search: RateSearch | None = None) -> Comparison:
    """LSB against the other methods in one network; missing runs are trained.

    Args:
        setting: What all runs share.
        network: Name of the network.
        search: Where the learning rate of each method comes from; default: that of the scale.
    """
    rates = search.rates if search else None
    return studies_comparison.load(setting, lsb_grids.rerun(setting, network, rates), "lsb", TABLE_S3, rates)


def tuned_runs(setting: Setting) -> list[RunConfig]:
    """Runs that choose the learning rates and, once these are stored, the reruns in all networks with and without."""
    tuning = lsb_grids.tuning(setting)
    if not setting.stored(tuning):
        return tuning
    rates = rate_search(setting).rates
    reruns = [
        run for name in lsb_grids.NETWORKS for own in (None, rates) for run in lsb_grids.rerun(setting, name, own)
    ]
    return [*tuning, *reruns]


def claims(comparison: Comparison) -> list[Verdict]:
    """Judge the statements of Section 4 about Table S-3 by the rerun.

    Share of top places: each run of LSB holds so many, the interval is Student's over these runs. Distance: Welch's
    interval; the best other method is picked after the fact, which counts against LSB. Significance: the largest
    p-value of all other methods, and 1 where LSB is not better; with too few seeds for 5 % it cannot be tested. Best
    averages: the interval begins with the metrics on which LSB is clearly better than every other method (every Welch
    interval above 0) and ends with those on which it is clearly worse than none. Section 4 is about the multi-column
    network; other networks extend it.
    """
    source = "Section 4, Table S-3" if comparison.network == "multi_column" else "Section 4, extended"
    where = f"{comparison.title}, {comparison.scale} scale{', tuned rates' if comparison.rates else ''}"
    metrics = comparison.scores.names
    tests = comparison.significance()
    by_rank = tests[tests["measure"] == AVERAGE_RANK]
    rival = by_rank.sort_values("difference").iloc[0]
    p_value = float(by_rank["p"].where(by_rank["difference"] > 0, 1.0).max())
    can_be_significant = by_rank["p_reachable"].max() < ALPHA
    by_metric = tests[tests["measure"].isin(metrics)].groupby("measure")[["difference", "low", "high"]].min()
    best, least, most = (int((by_metric[name] > 0).sum()) for name in ("difference", "low", "high"))
    distance = Interval(-rival["difference"], -rival["high"], -rival["low"])
    significant = Interval(p_value, p_value, p_value) if can_be_significant else None
    others = mean_interval(_held_by_others(comparison))

    half = f"Other methods hold less than half of the top 20 % of runs over all metrics, in % ({where})"
    below = f"LSB's average rank is below every other method's: distance from the best, {rival['against']} ({where})"
    clear = f"LSB's average rank is significantly better than every other method's: largest exact p ({where})"
    first = f"LSB's average is best; number of metrics ({where})"
    return [
        Verdict(half, source, 50.0, 0.0, others, below=True),
        Verdict(below, source, 0.0, 0.0, distance, below=True),
        Verdict(clear, source, ALPHA, 0.0, significant, below=True),
        Verdict(first, source, float(len(metrics)), 0.0, Interval(best, least, most)),
    ]


def _held_by_others(comparison: Comparison) -> list[float]:
    """Share of the top places in per cent that LSB leaves to others, if all its runs did as well as each one."""
    top = len(comparison.runs) // SHARE
    own = comparison.runs["method"] == comparison.method
    places = (comparison.scores.ranks(comparison.runs) <= top)[own].sum(axis=1)
    return [100 - 100 * count * int(own.sum()) / (top * len(comparison.scores.names)) for count in places]
