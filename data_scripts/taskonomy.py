"""Taskonomy, tiny split: fetch the files, prepare them as arrays, verify the arrays.

  python data_scripts/taskonomy.py fetch downloads/taskonomy --accept-licence
  python data_scripts/taskonomy.py prepare downloads/taskonomy data/taskonomy --size 256x256
  python data_scripts/taskonomy.py verify data/taskonomy

SOURCE holds the tar files, or what they contain, by domain or by building. A stopped command goes on where it was when
it is run again.
"""

import argparse
import sys
from collections.abc import Sequence

from mtlrepro.data.real.scripts import Script
from mtlrepro.data.real.taskonomy import prepare as taskonomy


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status."""
    script = Script("taskonomy.py", __doc__)
    fetch = script.fetch(taskonomy.fetch, taskonomy.TERMS, "download eleven domains of the tiny split's buildings")
    fetch.add_argument(
        "--splits", nargs="+", choices=taskonomy.SPLITS, default=taskonomy.SPLITS, help="default: all three"
    )
    prepare = script.prepare(taskonomy.prepare, "write the arrays", "default: 512x512; 256x256 in Lee et al. 2021")
    prepare.add_argument(
        "--every", type=int, default=100, metavar="N", help="one view in N of each building (default: 100; 1 for all)"
    )
    prepare.add_argument("--subset", action="store_true", help="accept missing buildings")
    for command in (fetch, prepare):
        command.add_argument(
            "--woodbine",
            action=argparse.BooleanOptionalAction,
            default=True,
            help="with that training building, on which papers differ",
        )
    verify = script.verify(taskonomy.verify)
    verify.add_argument("--subset", action="store_true", help="accept missing buildings")
    return script.run(argv)


if __name__ == "__main__":
    sys.exit(main())
