"""Controls that the article lacks: learning rates searched alike, the step taken apart, fixed weights, scaled losses.

Rows are compared with joint SGD in runs of the same seed: paired 95 % intervals, not corrected. What was chosen was
chosen by the mean Delta_m on the validation split and is reported on the test split, from the same runs. Runs that
diverged are left out and counted: rows without two pairs are left out, and a claim about a row of which a run diverged
is not judged.
"""
