"""Taskonomy, tiny split: fetch the files, prepare them as arrays, verify the arrays.

  python data_scripts/taskonomy.py fetch downloads/taskonomy --accept-licence
  python data_scripts/taskonomy.py prepare downloads/taskonomy data/taskonomy --size 256x256
  python data_scripts/taskonomy.py verify data/taskonomy

SOURCE holds the tar files, or what they contain, by domain or by building. A stopped command goes on where it was when
it is run again.
"""

import argparse
import sys

from mtlrepro.data.real.scripts import MIRROR, Script, option
from mtlrepro.data.real.taskonomy import prepare as taskonomy

EVERY = option(
    "--every", "one view in N of each building (default: 100; 1 for all)", type=int, default=100, metavar="N"
)
SPLITS = option("--splits", "default: all three", nargs="+", choices=taskonomy.SPLITS, default=taskonomy.SPLITS)
SUBSET = option("--subset", "accept missing buildings", action="store_true")
PAPERS = "with that training building, on which papers differ"
WOODBINE = option("--woodbine", PAPERS, action=argparse.BooleanOptionalAction, default=True)
main = Script(
    "taskonomy.py",
    __doc__,
    taskonomy,
    fetch_help="download eleven domains of the tiny split's buildings",
    size_help="default: 512x512; 256x256 in Lee et al. 2021",
    fetch=[MIRROR, SPLITS, WOODBINE],
    prepare=[EVERY, SUBSET, WOODBINE],
    verify=[SUBSET],
)


if __name__ == "__main__":
    sys.exit(main())
