"""Table S-3 of loss scale balancing (LSB) rerun: six methods, three networks, single-task learning as reference."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from mtlrepro.analysis.verdicts import Interval, Verdict, percent_interval
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.runs.tables import flat
from mtlrepro.studies import comparison as studies_comparison
from mtlrepro.studies.comparison import ALPHA, EQUAL, Comparison
from mtlrepro.studies.lsb import grids as lsb_grids
from mtlrepro.studies.lsb.scores import TABLE_S3
from mtlrepro.studies.lsb.trends import OWN
from mtlrepro.studies.rates import RateSearch, rate_finding, search_rates
from mtlrepro.studies.scores import AVERAGE_RANK, DELTA, method_title
from mtlrepro.studies.setting import Setting
from mtlrepro.training.config import RunConfig

SHARE = 5
"""One run in five belongs to the "top 20 %"."""
SOURCE = "Section 4, Table S-3"
EXTENDED = "Section 4 in another network"
BRACKETS = "[paired 95 %, not corrected]"
POINTS = f"points of % by which the other's {DELTA} is better, in runs of one seed {BRACKETS}"
"""What a difference of Delta_m is read as; what is left of it after correction, the caption of the tests says."""
_OURS: Mapping[str, Any] = {"source": "our question", "kind": "ours"}


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


def own_rate_search(setting: Setting) -> RateSearch:
    """Learning rates that were tried for the parameters of uncertainty weighting alone; missing runs are trained.

    Delta_m on the validation split is against the mean of all of these runs, so that no other method is needed.

    Args:
        setting: What all runs share.
    """
    configs = lsb_grids.own_rate_search(setting)
    setting.trained(configs)
    records = setting.records(configs)
    metrics = [flat(records[config.hash]["validation_metrics"]) for config in configs]
    keys = [{"method": config.method, "lr": config.balancer_lr, "seed": config.seed} for config in configs]
    runs = pd.DataFrame([{**key, **own} for key, own in zip(keys, metrics, strict=True)])
    score = TABLE_S3.delta_m(runs, runs[TABLE_S3.names].mean())
    return RateSearch(runs[["method", "lr", "seed"]].assign(score=score), TABLE_S3.sign)


def beside_own_rate(setting: Setting) -> list[RunConfig]:
    """Runs that uncertainty weighting with a learning rate of its own is held against, those of single tasks with them.

    Args:
        setting: What all runs share.
    """
    few = replace(setting, comparison_seeds=setting.seeds)
    plain = studies_comparison.methods_grid(few, ["equal", "uncertainty", "lsb"], "multi_decoder")
    return [*plain, *studies_comparison.single_tasks(few)]


def own_rate_compared(setting: Setting, rate: float) -> Comparison:
    """Uncertainty weighting with a learning rate of its own against itself, equal weighting and LSB, in one network.

    It is the multi-decoder network of the search, with the seeds of all experiments but the comparison.

    Args:
        setting: What all runs share.
        rate: Learning rate of its parameters.
    """
    few = replace(setting, comparison_seeds=setting.seeds)
    loaded = studies_comparison.load(few, beside_own_rate(setting), "lsb", TABLE_S3)
    own = few.trained(lsb_grids.own_rate(few, lsb_grids.TASKS, rate)).assign(method=OWN)
    return replace(loaded, method=OWN, runs=pd.concat([loaded.runs, own], ignore_index=True))


def own_rate_exhibits(search: RateSearch, compared: Comparison) -> list[Exhibit]:
    """Search of the learning rate of uncertainty weighting's own parameters, and what it gains on the test split.

    Args:
        search: What `own_rate_search` gives.
        compared: What `own_rate_compared` gives.
    """
    tried = search.exhibit("own_rates")
    caption = (
        f"Uncertainty weighting at each learning rate of its own parameters: {DELTA} against the mean of these runs, "
        f"in %. {rate_finding(tried.table)} (Validation split; mean, and the range of seeds in brackets.)"
    )
    return [replace(tried, caption=caption), compared.exhibit("own_rate")]


def own_rate_claims(compared: Comparison) -> list[Verdict]:
    """Whether a learning rate of its own makes uncertainty weighting better than without, and than LSB.

    Args:
        compared: What `own_rate_compared` gives.
    """
    tests = compared.significance()
    tests = tests[tests["measure"] == DELTA]
    return [
        _ahead(
            tests[tests["against"] == name],
            f"Uncertainty weighting with a learning rate of its own has a better {DELTA} than {title}",
            POINTS,
            compared.title,
            _OURS,
        )
        for name, title in ((method_title("uncertainty"), "with the network's"), (method_title("lsb"), "LSB"))
    ]


def claims(comparison: Comparison) -> list[Verdict]:
    """Judge the statements of Section 4 about Table S-3 by the rerun, and two of ours by Delta_m.

    Section 4 is about the multi-column network; in others the questions are ours. Each run of LSB holds a share of the
    top places, and the interval is over these runs. Differences are those of runs of one seed. The best other method
    is picked after the fact, which counts against LSB. That LSB is better than *every* other method needs the largest
    p-value of all, so no correction; it is 1 where LSB is not better. Best averages: the interval begins with the
    metrics on which LSB is clearly better than every other method (every paired interval above 0) and ends with those
    on which it is clearly worse than none.
    """
    told = comparison.network == "multi_column"
    about: dict[str, Any] = {"source": SOURCE, "finding": 1} if told else {"source": EXTENDED, "kind": "ours"}
    place = comparison.title + (", tuned learning rates" if comparison.rates else "")
    tests = comparison.significance()
    by_rank, by_delta = (tests[tests["measure"] == measure] for measure in (AVERAGE_RANK, DELTA))
    by_metric = tests[tests["measure"].isin(comparison.scores.names)].groupby("measure")
    best, least, most = (int((by_metric[name].min() > 0).sum()) for name in ("difference", "low", "high"))
    p_value = float(by_rank["p"].where(by_rank["difference"] > 0, 1.0).max())
    return [
        Verdict(
            "The top 20 % of trials are mostly LSB's",
            claimed=50.0,
            tolerance=0.0,
            measured=percent_interval(_held_by_others(comparison)),
            below=True,
            reading="places of other methods among the best fifth of all runs, over all metrics, in %",
            case=place,
            **about,
        ),
        _ahead(
            by_rank,
            "LSB's average rank is better than every other method's",
            f"places by which the best other method's mean is better, in runs of one seed {BRACKETS}",
            place,
            about,
        ),
        Verdict(
            "LSB's average rank is significantly better than every other method's",
            claimed=ALPHA,
            tolerance=0.0,
            measured=Interval(p_value, p_value, p_value),
            below=True,
            reading="largest p-value of two-sided paired tests, 1 where LSB is not better",
            case=place,
            **about,
        ),
        Verdict(
            "LSB has the best average on every metric",
            claimed=float(len(comparison.scores.names)),
            tolerance=0.0,
            measured=Interval(best, least, most),
            reading="number of metrics; from where LSB is clearly best to where it is clearly behind none, by paired "
            "95 % intervals, not corrected",
            case=place,
            **about,
        ),
        _ahead(by_delta, f"LSB's {DELTA} is better than every other method's", POINTS, place, _OURS),
        _ahead(
            by_delta[by_delta["against"] == EQUAL],
            f"LSB's {DELTA} is better than that of equal weighting",
            POINTS,
            place,
            _OURS,
        ),
    ]


def _ahead(tests: pd.DataFrame, claim: str, reading: str, place: str, about: Mapping[str, Any]) -> Verdict:
    """Whether LSB is ahead of the best of some other methods, by tests on one measure."""
    rival = tests.sort_values("difference").iloc[0]
    measured = Interval(-rival["difference"], -rival["high"], -rival["low"])
    return Verdict(
        claim,
        claimed=0.0,
        tolerance=0.0,
        measured=measured,
        below=True,
        reading=reading,
        case=place,
        circumstances="" if len(tests) == 1 else f"best other {rival['against']}",
        **about,
    )


def _held_by_others(comparison: Comparison) -> list[float]:
    """Share of the top places in per cent that LSB leaves to others, if all its runs did as well as each one."""
    top = len(comparison.runs) // SHARE
    own = comparison.runs["method"] == comparison.method
    places = (comparison.scores.ranks(comparison.runs) <= top)[own].sum(axis=1)
    return [100 - 100 * count * int(own.sum()) / (top * len(comparison.scores.names)) for count in places]
