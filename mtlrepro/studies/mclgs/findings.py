"""What the chapter found on each claim of its box *What the poster claims*."""

from mtlrepro.pages.findings import Finding

ROOMS, STREETS, CURRICULUM, SAMPLES, GAPS = (
    "the-table-of-nyuv2",
    "the-table-of-bdd100k",
    "the-curriculum",
    "hard-samples",
    "gaps-of-magnitude",
)
"""Sections that show the evidence."""
RUNS = "our runs on exact scenes with networks and learning rates of our choice"
PRINTED = "the printed means and standard errors"

FINDINGS = (
    Finding(
        1,
        "MCLGS is better than joint training and than other methods on NYUv2",
        ROOMS,
        f"{PRINTED}; {RUNS}: rooms, seeds shared by all methods, learning rates searched alike",
    ),
    Finding(
        2,
        "CAGrad with MCLGS is better than either",
        ROOMS,
        f"{PRINTED}; {RUNS}: rooms, CAGrad on weighted gradients, which is our reading",
    ),
    Finding(
        3,
        "MCLGS is better than all other methods on BDD100K",
        STREETS,
        f"{PRINTED}; {RUNS}: streets, detection and segmentation",
    ),
    Finding(
        4,
        "The weight depends on the similarity early in training and is 1 at the end (figure)",
        CURRICULUM,
        f"algebra; {RUNS}: the weights of every step",
    ),
    Finding(
        5,
        "It weighs down the samples whose gradients conflict, which are the hard ones, early in training",
        SAMPLES,
        f"{RUNS}: controls that take steps of the same lengths, and gradients of single samples",
    ),
    Finding(
        6,
        "Where magnitudes differ PCGrad's step is far from the plain one and its solution not optimal, unlike MCLGS's",
        GAPS,
        f"quadratics with a known optimum; {RUNS}: one loss scaled",
    ),
    Finding(
        7,
        "MGDA falls far below single tasks on BDD100K (table)",
        STREETS,
        f"{RUNS}: labels of different images, with the loss of a task without a label as 0 and as absent",
    ),
)
"""The claims of the box, in its order."""
