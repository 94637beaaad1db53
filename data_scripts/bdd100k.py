"""BDD100K: check and unpack the archives, prepare them as arrays, verify the arrays.

  python data_scripts/bdd100k.py fetch downloads/bdd100k --accept-licence --tasks detection segmentation
  python data_scripts/bdd100k.py prepare downloads/bdd100k data/bdd100k --tasks detection segmentation --size 180x320
  python data_scripts/bdd100k.py verify data/bdd100k

The archives have to be downloaded by hand, with an account; `fetch` says which ones and where, and checks and unpacks
those that are in FOLDER. A stopped command goes on where it was when it is run again.
"""

import sys
from collections.abc import Sequence

from mtlrepro.data.real.bdd100k import prepare as bdd100k
from mtlrepro.data.real.scripts import Script


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status."""
    script = Script("bdd100k.py", __doc__)
    fetch = script.fetch(bdd100k.fetch, bdd100k.TERMS, "check and unpack the archives in FOLDER", mirror=False)
    prepare = script.prepare(
        bdd100k.prepare, "write the arrays", "default: as the files, 720x1280 (2.8 MB an image, 3.7 MB with a mask)"
    )
    for command in (fetch, prepare):
        command.add_argument(
            "--tasks",
            nargs="+",
            choices=bdd100k.IMAGES,
            default=("detection", "drivable"),
            metavar="TASK",
            help="detection (100K images), and segmentation (10K images) or drivable (100K images); "
            "default: detection drivable",
        )
    script.verify(bdd100k.verify)
    return script.run(argv)


if __name__ == "__main__":
    sys.exit(main())
