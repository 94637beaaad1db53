"""What the chapter found on each claim of its box *What the poster claims*."""

from mtlrepro.pages.findings import Finding

TABLE, TABLES, CURRICULUM, GAPS = (
    "the-table-of-nyuv2",
    "the-printed-numbers-of-both-tables",
    "the-curriculum",
    "gaps-of-magnitude",
)
"""Sections that show the evidence."""
PRINTED = "the printed means, which are in this order, and what their three seeds tell from chance"
RUNS = (
    "our runs, by default of exact scenes of rooms in a small network, seeds shared by all methods, at one learning "
    "rate, which tell only differences larger than the printed ones"
)

FINDINGS = (
    Finding(
        1,
        "By Delta_m MCLGS is better than single tasks, joint training and every method without it on NYUv2",
        TABLE,
        f"{PRINTED}; {RUNS}",
    ),
    Finding(
        2,
        "By Delta_m CAGrad with MCLGS is better than all others on NYUv2, either alone among them",
        TABLE,
        f"{PRINTED}; {RUNS}",
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
        CURRICULUM,
        "algebra alone: by the rule it depends on the similarity, and is 1 at the end of every curriculum that is "
        "shorter than the run; our runs of rooms draw both and judge nothing more",
    ),
    Finding(
        5,
        "Weighing down samples that generate conflicts, as a curriculum removes hard ones, makes the solution better",
        CURRICULUM,
        "our runs, by default of exact scenes of rooms under AdamW at one learning rate, beside controls whose weights "
        "are as large; gradients of single samples of rooms and of two digits; plain SGD is to come",
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
