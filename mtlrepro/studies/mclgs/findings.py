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
        "By Delta_m MCLGS is better than single tasks, joint training and every method without it on NYUv2",
        ROOMS,
        f"{PRINTED}; {RUNS}: rooms, seeds shared by all methods, learning rates searched alike",
    ),
    Finding(
        2,
        "By Delta_m CAGrad with MCLGS is better than all others on NYUv2, either alone among them",
        ROOMS,
        f"{PRINTED}; {RUNS}: rooms, CAGrad on weighted gradients, which is our reading",
    ),
    Finding(
        3,
        "By Delta_m MCLGS is better than single tasks and all other methods on BDD100K",
        STREETS,
        f"{PRINTED}; {RUNS}: streets, detection and segmentation",
    ),
    Finding(
        4,
        "The weight depends on the similarity early in training and is 1 at the end",
        CURRICULUM,
        f"algebra, with the length of the curriculum that we chose; {RUNS}: the weights of every step",
    ),
    Finding(
        5,
        "Weighing down samples that generate conflicts, as a curriculum removes hard ones, makes the solution better",
        SAMPLES,
        f"{RUNS}: controls with weights as large that look at no gradient, and gradients of single samples; the same "
        "in a network for two digits",
    ),
    Finding(
        6,
        "Where magnitudes differ much, PCGrad's step is far from the plain one, and its solution not optimal for the "
        "original objective; MCLGS does not manipulate gradients",
        GAPS,
        f"quadratics with a known optimum; {RUNS}: one loss scaled, and the training objective",
    ),
    Finding(
        7,
        "MGDA falls far below single tasks on BDD100K",
        STREETS,
        f"{RUNS}: streets, and labels of different images with the loss of a task without a label as 0 and as absent",
    ),
)
"""The claims of the box, in its order."""
