"""What the chapter found on each claim of its box *What the article claims*."""

from mtlrepro.pages.findings import Finding

PREMISE, TABLES, DECAY, LEVELS, CONTROLS, CRITIQUE = (
    "the-premise-figure-3",
    "tables-2-to-4",
    "weight-decay",
    "levels",
    "controls",
    "table-1-read-critically",
)
"""Sections that show the evidence."""
RUNS = "our runs of exact street scenes in a small network of the article's form, SGD as in the article"
PRINTED = "the printed tables, one run a row"

FINDINGS = (
    Finding(
        1,
        "The gradients of disparity are much larger than those of segmentation (Figures 2 and 3)",
        PREMISE,
        f"{RUNS}: ratios of their gradients by element and slice, beside two random vectors of equal size",
    ),
    Finding(
        2,
        "Balancing alone improves joint learning, segmentation above all (Table 2, threshold -1)",
        TABLES,
        f"{RUNS}, seeds shared with joint SGD, with the loss of disparity as it is, there also with learning rates "
        f"searched alike (Section 4), and enlarged; {PRINTED}",
    ),
    Finding(
        3,
        "Clipping slices whose gradients conflict improves both tasks further (Tables 2 to 4)",
        TABLES,
        f"algebra; {RUNS}, with seeds shared by the thresholds, with and without decay, with the losses as they are "
        f"also with learning rates searched alike (Section 4); {PRINTED}",
    ),
    Finding(
        4,
        "Training is better without weight decay, which may harm multi-task learning (Table 3)",
        DECAY,
        f"{RUNS}, at one learning rate, MTSGD at a threshold of 0 and joint SGD, with a decay that alone would leave "
        f"as much of a weight as the article's over its schedule; single tasks without decay are not trained; "
        f"{PRINTED}",
    ),
    Finding(
        5,
        "Directions by channel are better than by filter (Table 4)",
        LEVELS,
        f"{RUNS}, seeds shared by the levels, at one learning rate although steps differ in length by level; {PRINTED}",
    ),
    Finding(
        6,
        "Results do not depend much on the weights of the losses (Section 1)",
        CONTROLS,
        f"{RUNS}, MTSGD at a threshold of 0, with the loss of disparity at three sizes and learning rates searched at "
        "each; joint SGD beside it",
    ),
    Finding(
        7,
        "A task can benefit from the other: joint learning beats disparity alone (Table 2)",
        TABLES,
        f"{RUNS}, single tasks beside joint SGD; {PRINTED}",
    ),
    Finding(
        8,
        "MTSGD is better than the baselines by a large margin, and than other networks (Table 1)",
        CRITIQUE,
        f"{PRINTED}, beside the papers of the comparators; {RUNS}: at one learning rate, taken apart (mask, direction, "
        "length) and, with a scaled loss, against the weight that undoes it; at the best of the rates tried, against "
        "joint SGD, fixed weights and equal weights under AdamW and, with a scaled loss, against joint SGD with that "
        "loss and without (Section 4)",
    ),
)
"""Claims of the box *What the article claims*, by number."""
