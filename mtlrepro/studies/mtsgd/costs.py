"""What a run of the chapter on MTSGD is, what a step of the rule costs, and what all runs cost."""

import json

import pandas as pd

from mtlrepro import files
from mtlrepro.analysis.verdicts import Interval, Verdict, number
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies import costs as studies_costs
from mtlrepro.studies import sizes
from mtlrepro.studies.mtsgd import plan
from mtlrepro.studies.mtsgd.grids import PAPER_DECAY, PAPER_RATES, PAPER_STEPS
from mtlrepro.studies.mtsgd.rule import RHO
from mtlrepro.studies.setting import Setting

BENCHMARK = "bench-mtsgd.json"
"""File of the book's results that `mtlrepro bench balancers --only mtsgd --json FILE` wrote."""
TRUNKS = {"resnet18": "ResNet-18", "mobilenet_v2": "MobileNetV2"}
CLOSE = 1.1
"""Time of a step, in that of T backward passes, up to which the rule costs little."""
ARTICLE = {
    "images to train": "2,975",
    "size of images": "crops of 512 x 512",
    "epochs": f"{max(PAPER_RATES)}",
    "batch size": "16",
    "steps": f"{PAPER_STEPS * max(PAPER_RATES):,}",
    "encoder": "ResNet-50, dilated, and pyramid pooling",
    "encoder's start": "ImageNet",
    "parameters": "not stated",
    "output stride": "not stated",
    "learning rate": ", ".join(f"{rate:g} to epoch {end}" for end, rate in PAPER_RATES.items()),
    "momentum": f"{RHO:g}",
    "weight decay": f"{PAPER_DECAY:g}; 0 in the best row",
    "mirror images": "not stated",
    "scored": "on the validation split",
}
"""What the article says of a run, by item."""


# --- one run ------------------------------------------------------------------------------------------


def run_table(setting: Setting) -> pd.DataFrame:
    """What a run is here, beside the article's.

    Args:
        setting: What all runs share.

    Returns:
        One row an item: `item`, `here` and `article`.
    """
    run = setting.run()
    steps = run.n_train // run.batch_size if run.n_train else 0
    rates = [f"{run.lr * run.factor**i:g} to epoch {end}" for i, end in enumerate([*run.milestones, run.epochs])]
    width = run.model_options.get("width", 1)
    here = {
        "images to train": f"{run.n_train:,}" if run.n_train else "as prepared",
        "size of images": " x ".join(map(str, run.size)) if run.size else "as prepared",
        "epochs": f"{run.epochs}",
        "batch size": f"{run.batch_size}",
        "steps": f"{steps * run.epochs:,}" if steps else "by the images",
        "encoder": f"{run.model_options['encoder']}, dilated, and pyramid pooling"
        + (f", {width:g} of the channels" if width != 1 else ""),
        "encoder's start": str(run.model_options.get("weights") or "random"),
        "parameters": f"{sizes.parameters(run):,}",
        "output stride": f"{run.model_options.get('output_stride', 8)}",
        "learning rate": ", ".join(rates),
        "momentum": f"{run.momentum:g}",
        "weight decay": f"{run.weight_decay:g}",
        "mirror images": f"with a probability of {run.flip:g}",
        "scored": "on the test split, after the last epoch",
    }
    return pd.DataFrame({"item": list(ARTICLE), "here": [here[item] for item in ARTICLE], "article": ARTICLE.values()})


def run_exhibit(setting: Setting) -> Exhibit:
    """Show what a run is here, beside the article's.

    Args:
        setting: What all runs share.
    """
    table = run_table(setting)
    own, theirs = (table.set_index("item")[column].to_dict() for column in ("here", "article"))
    caption = (
        f"One run of this chapter beside one of the article. It has {own['steps']} steps at a batch of "
        f"{own['batch size']} where the article's has {theirs['steps']} at a batch of {theirs['batch size']}, in a "
        "network of the same form. What the article does not state is our choice."
    )
    return Exhibit(name="run", table=table, caption=caption)


# --- a step -------------------------------------------------------------------------------------------


def measured() -> tuple[pd.DataFrame, str]:
    """Read the stored benchmark of a step.

    Returns:
        One row a trunk, number of tasks and size of image: `trunk`, `tasks`, `size`; seconds of a step of joint SGD,
        `plain`, of T backward passes, `floor`, and of MTSGD, `mtsgd`; `ratio`, MTSGD over the floor, with quartiles
        over rounds `ratio low` and `ratio high`; `rows`, memory over joint SGD, in gradients of the shared parameters.
        And where it was measured, in words.
    """
    stored = json.loads(files.book("results", BENCHMARK).read_text(encoding="utf-8"))
    keys = ["trunk", "tasks", "size"]
    rows = pd.DataFrame(stored["rows"]).set_index([*keys, "arm"])
    seconds = rows["seconds"].unstack("arm")[["plain", "floor", "mtsgd"]]
    own = rows.xs("mtsgd", level="arm")
    table = seconds.assign(
        **{"ratio": own["/floor"], "ratio low": own["/floor low"], "ratio high": own["/floor high"]},
        rows=own["rows over plain"],
    ).reset_index()
    origin = stored["provenance"]
    threads = origin["threads"]
    where = (
        f"{threads} thread{'s' if threads > 1 else ''} of {origin['processor'] or origin['device']}, "
        f"torch {origin['torch']}, commit {origin['commit']}"
    )
    return table.assign(trunk=table["trunk"].map(TRUNKS)), where


def step_exhibit() -> Exhibit:
    """Show the time and memory of a step of MTSGD beside joint SGD and T backward passes."""
    table, where = measured()
    two = table[table["tasks"] == 2]
    low, high = two["ratio"].min(), two["ratio"].max()
    against = (two["mtsgd"] / two["plain"]).agg(["min", "max"]).tolist()
    shown = table.rename(
        columns={
            "size": "side of images, px",
            "plain": "joint SGD, s",
            "floor": "T backward passes, s",
            "mtsgd": "MTSGD, s",
            "ratio": "MTSGD over the passes",
            "ratio low": "MTSGD over the passes low",
            "ratio high": "MTSGD over the passes high",
            "rows": "more memory than joint SGD, gradients",
        }
    )
    caption = (
        "Time of a step and its memory. With two tasks a step of MTSGD takes "
        f"{number(against[0])} to {number(against[1])} times as long as one of joint SGD, and {number(low)} to "
        f"{number(high)} times as long as two backward passes, which no method can do without that looks at each "
        "task's gradient. (Batches of random images; medians, in brackets the quartiles of the ratio over rounds; "
        f"memory in copies of the shared parameters; {where}.)"
    )
    return Exhibit(name="step_costs", table=table, shown=shown, caption=caption)


def step_claims() -> list[Verdict]:
    """Ask whether the rule costs little beside the backward passes, by trunk and number of tasks."""
    table, _ = measured()
    return [
        Verdict(
            "A step of MTSGD takes hardly longer than the backward passes of all tasks",
            "our question",
            CLOSE,
            0.0,
            Interval(row["ratio"], row["ratio low"], row["ratio high"]),
            below=True,
            reading="time over that of T backward passes, median over rounds [quartiles]",
            case=f"{row['trunk']}, {row['tasks']} tasks, images of {row['size']} px",
            kind="ours",
        )
        for row in table.to_dict("records")
    ]


# --- all runs -----------------------------------------------------------------------------------------


def exhibit(setting: Setting) -> Exhibit:
    """Show what all runs of the chapter cost, also of what is still to come."""
    return studies_costs.exhibit(
        setting, plan.experiments(setting), "costs", of="All runs, of this page and of its parts to come"
    )
