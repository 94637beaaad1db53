"""Cityscapes: fetch the packages, prepare them as arrays, verify the arrays.

  python data_scripts/cityscapes.py fetch downloads/cityscapes --accept-licence
  python data_scripts/cityscapes.py prepare downloads/cityscapes data/cityscapes --size 256x512
  python data_scripts/cityscapes.py verify data/cityscapes

`fetch` runs the owner's program csDownload, which asks for your account. SOURCE may also be an unpacked MTAN pack,
which has to be downloaded by hand. A stopped command goes on where it was when it is run again.
"""

import sys
from collections.abc import Sequence

from mtlrepro.data.real.cityscapes import prepare as cityscapes
from mtlrepro.data.real.scripts import Script


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status."""
    script = Script("cityscapes.py", __doc__)
    fetch = script.fetch(cityscapes.fetch, cityscapes.TERMS, "download and unpack the packages (26 GB)", mirror=False)
    prepare = script.prepare(
        cityscapes.prepare, "write the arrays", "default: as the files, 1024x2048 or the MTAN pack's"
    )
    prepare.add_argument(
        "--classes",
        type=int,
        choices=cityscapes.CLASSES,
        default=19,
        help="19 (default): the evaluated classes, of which the 7 categories can be made when loading; 7: the category "
        "of every label id, also of those that are not evaluated, or label_7 of an MTAN pack; 2: label_2 of a pack",
    )
    for command in (fetch, prepare):
        command.add_argument("--no-right", dest="right", action="store_false", help="without the right views")
    script.verify(cityscapes.verify)
    return script.run(argv)


if __name__ == "__main__":
    sys.exit(main())
