"""What the chapter on loss scale balancing (LSB) found: the five claims of its box, and what each answer rests on."""

from mtlrepro.pages.findings import Finding

FINDINGS = (
    Finding(
        1,
        "LSB has the best averages and by far the best average rank",
        "table-s-3-rerun",
        "The supplement's printed trials, audited, and our runs of exact scenes in its network, the rerun",
    ),
    Finding(
        2,
        "LSB levels the loss scales much faster than other methods",
        "trends-of-weights-and-loss-scales-figures-s-2-to-s-4",
        "Our runs with three, four and eight tasks, at the growth of β that the supplement states for each",
    ),
    Finding(
        3,
        "With eight tasks, LSB also learns those whose losses are small",
        "where-errors-are-while-eight-tasks-are-learned-figure-s-5",
        "Our runs with eight tasks, whose losses are sized as with the files of Taskonomy; test losses of edges and "
        "keypoints, and of all tasks",
    ),
    Finding(
        4,
        "Priority factors trade two tasks off better than fixed weights",
        "priority-factors-figure-s-6",
        "Our runs with two tasks at a time, by the area that their points dominate",
    ),
    Finding(
        5,
        "LSB's estimates are more accurate in every architecture",
        "estimates-side-by-side-figures-s-7-to-s-9",
        "The whole test split of our runs in three networks; the images of the figures are lost",
    ),
)
"""Claims of the box *What the supplement claims*, by number."""
