"""Runs of the chapter on MTSGD that were never trained, with metrics that follow from what a run is."""

from study_stores import keep

from mtlrepro.runs.store import Store
from mtlrepro.studies.mtsgd import plan
from mtlrepro.studies.setting import Setting

TABLES = ("3, Table 2", "3, Table 2 at the premise", "3, matched decay", "3, Table 4", "3, Table 3")
"""Experiments of the tables."""
SMOKE = {"scale": "smoke", "dataset": "streets", "network": "mtsgd", "seeds": 2, "comparison_seeds": 3}


def numbers(run):
    """Both metrics of a run: mIoU in %, and AEPE in pixels.

    Joint SGD has 40 and 2. MTSGD has 10 points more and half a pixel more at a threshold of -1, and both get better
    with the threshold. Slices by filter cost 2 points, a run without decay gains 1. Differences grow with the seed.
    Fixed weights are best at 0.25 and 0.75, with more disparity where its weight is smaller; a rate of 1e-5 costs 20
    points, the mask without balance 3, and steps of the plain length gain 2.
    """
    miou, aepe = 40.0 + run.seed, 2.0 + 0.1 * run.seed
    if run.method == "fixed":
        above = run.method_options["weights"][0] - 0.25
        miou, aepe = miou + 4 - 8 * abs(above), aepe + 0.2 * above
    if run.lr == 1e-5:
        miou -= 20
    if run.method == "mtsgd":
        above = run.method_options["threshold"] + 1
        miou, aepe = miou + 10 + 4 * above + 0.1 * run.seed, aepe + 0.5 - 0.25 * above + 0.01 * run.seed
        if not run.method_options.get("balance", True):
            miou -= 3 + 0.1 * run.seed
        if run.method_options.get("restore_norm") == "step":
            miou += 2 + 0.1 * run.seed
        if run.method_options.get("level") == "filter":
            miou, aepe = miou - 2 - 0.2 * run.seed, aepe + 0.2
    if run.weight_decay == 0:
        miou, aepe = miou + 1 + 0.1 * run.seed, aepe - 0.05
    return {"segmentation": {"miou": miou}, "disparity": {"aepe": aepe}}


def record(run, of=numbers):
    """Fields of the record of a run with the metrics that `of` gives, the same on both splits and after each epoch."""
    metrics = {task: of(run)[task] for task in run.tasks}
    losses = dict.fromkeys(run.tasks, 1.0)
    # Seeds that only central rows have are of another length.
    observed = {"length": 0.5 if run.seed < 2 else 0.3, "slices_kept": 0.5, "elements_kept": 0.5}
    history = [
        {"epoch": epoch, "losses": losses, "lr": run.lr, "metrics": metrics, "observed": observed}
        for epoch in range(1, run.epochs + 1)
    ]
    validation = {"validation_metrics": metrics} if run.evaluate_on == "both" else {}
    return {"metrics": metrics, "history": history, **validation}


def stored(folder, runs=None, of=numbers, **fields):
    """Setting of `smoke` whose store has some runs: those that a function of the setting gives, or the chapter's."""
    setting = Setting(**SMOKE | fields, store=Store(folder))
    wanted = [runs] if runs else plan.experiments(setting).values()
    for grid in wanted:
        for run in setting.missing(grid(setting)):
            keep(folder, run, **record(run, of))
        # What was chosen by these runs is known only now.
        for run in setting.missing(grid(setting)):
            keep(folder, run, **record(run, of))
    return setting


def broken(folder, *runs):
    """Store the records of runs that broke off as their numbers were no longer finite."""
    for run in runs:
        keep(folder, run, status="failed", error="FloatingPointError: epoch 1: the loss is not finite")
