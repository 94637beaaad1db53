"""BDD100K: check and unpack the archives, prepare them as arrays, verify the arrays.

  python data_scripts/bdd100k.py fetch downloads/bdd100k --accept-licence --tasks detection segmentation
  python data_scripts/bdd100k.py prepare downloads/bdd100k data/bdd100k --tasks detection segmentation --size 180x320
  python data_scripts/bdd100k.py verify data/bdd100k

The archives have to be downloaded by hand, with an account; `fetch` says which ones and where, and checks and unpacks
those that are in FOLDER. A stopped command goes on where it was when it is run again.
"""

import sys

from mtlrepro.data.real.bdd100k import prepare as bdd100k
from mtlrepro.data.real.scripts import Script, option

TASKS = option(
    "--tasks",
    "detection (100K images), and segmentation (10K images) or drivable (100K images); default: detection drivable",
    nargs="+",
    choices=bdd100k.IMAGES,
    default=("detection", "drivable"),
    metavar="TASK",
)
main = Script(
    "bdd100k.py",
    __doc__,
    bdd100k,
    fetch_help="check and unpack the archives in FOLDER",
    size_help="default: as the files, 720x1280 (2.8 MB an image, 3.7 MB with a mask)",
    fetch=[TASKS],
    prepare=[TASKS],
)


if __name__ == "__main__":
    sys.exit(main())
