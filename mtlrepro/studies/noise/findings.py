"""What the chapter found on each claim of its box *What the paper claims*."""

from mtlrepro.pages.findings import Finding

TRIALS = "trials on frozen networks, one for each seed, where the exact gradient and its covariance are known"

FINDINGS = (
    Finding(1, "The mini-batch gradient is unbiased (Eq. 1 and 2).", "a-unbiased-mini-batches", f"algebra; {TRIALS}"),
    Finding(
        2,
        "Any strictly monotone, continuous combination of losses is a set of task weights (Eq. 3 to 5).",
        "e-combinations-of-losses-are-weights",
        "chain rule, checked on frozen networks; counterexamples to the conditions",
    ),
    Finding(3, "The gradient noise is Gaussian (Eq. 6).", "d-is-the-noise-gaussian", TRIALS),
    Finding(
        4,
        "Momentum shrinks the noise by a fixed factor (Eq. 7 and 8).",
        "c-momentum-and-noise",
        f"{TRIALS}; for the last claim training runs, several for each seed",
    ),
    Finding(
        5, "The noise power is the trace of C over the batch size (Section 5).", "b-noise-power-and-batch-size", TRIALS
    ),
    Finding(
        6,
        "Weights that maximise each task's gradient-to-noise ratio improve results (main paper).",
        "f-gradient-to-noise-ratios-a-reconstruction",
        "none: algorithm and results are in the main paper, whose text was not available",
    ),
)
