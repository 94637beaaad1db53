"""What the chapter found on each claim of its box *What the poster claims*."""

from mtlrepro.pages.findings import Finding

RULE, GRANULARITY, TABLES, GAPS = (
    "the-rule",
    "batches-and-samples",
    "the-tables-of-the-poster",
    "gaps-of-magnitude",
)
"""Sections that show the evidence."""
PRINTED = "the printed means, which are in this order, and what their three seeds tell from chance"

FINDINGS = (
    Finding(
        1,
        "By Delta_m MCLGS is better than single tasks, joint training and every method without it on NYUv2",
        TABLES,
        f"{PRINTED}; our runs of rooms are to come",
    ),
    Finding(
        2,
        "By Delta_m CAGrad with MCLGS is better than all others on NYUv2, either alone among them",
        TABLES,
        f"{PRINTED}; our runs of rooms are to come",
    ),
    Finding(
        3,
        "By Delta_m MCLGS is better than single tasks and all other methods on BDD100K",
        TABLES,
        f"{PRINTED}; our runs of streets are to come",
    ),
    Finding(
        4,
        "The weight depends on the similarity early in training and is 1 at the end",
        RULE,
        "algebra: it is 1 at the end of every curriculum that is shorter than the run; our runs are to come",
    ),
    Finding(
        5,
        "Weighing down samples that generate conflicts, as a curriculum removes hard ones, makes the solution better",
        GRANULARITY,
        "gradients of single samples in a network for two digits; our runs, with controls whose weights are as large "
        "and look at no gradient, are to come",
    ),
    Finding(
        6,
        "Where magnitudes differ much, PCGrad's step is far from the plain one, and its solution not optimal for the "
        "original objective; MCLGS does not manipulate gradients",
        GAPS,
        "quadratics with a known optimum; our runs of rooms with one loss scaled are to come",
    ),
    Finding(
        7,
        "MGDA falls far below single tasks on BDD100K",
        TABLES,
        "the printed mean and standard error; our runs of streets, with labels of different images, are to come",
    ),
)
"""The claims of the box, in its order."""
