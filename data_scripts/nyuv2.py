"""NYU Depth v2: fetch the files, prepare them as arrays, verify the arrays.

  python data_scripts/nyuv2.py fetch downloads/nyuv2 --accept-licence [--ladicky]
  python data_scripts/nyuv2.py prepare downloads/nyuv2 data/nyuv2 --size 288x384
  python data_scripts/nyuv2.py verify data/nyuv2

SOURCE may also be the unpacked MTAN pack, which has to be downloaded by hand; given an empty SOURCE, `prepare` says
where it is. A stopped command goes on where it was when it is run again.
"""

import sys
from collections.abc import Sequence

from mtlrepro.data.real.nyuv2 import prepare as nyuv2
from mtlrepro.data.real.scripts import Script


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status."""
    script = Script("nyuv2.py", __doc__)
    fetch = script.fetch(nyuv2.fetch, nyuv2.TERMS, "download the official files (3 GB)")
    fetch.add_argument("--ladicky", action="store_true", help="also the normals of Ladicky et al. 2014")
    prepare = script.prepare(nyuv2.prepare, "write the arrays", "default: 480x640, of the MTAN pack 288x384")
    prepare.add_argument(
        "--depth",
        choices=nyuv2.DEPTHS,
        default="raw",
        help="raw (default): with the sensor's holes; filled: holes of depth and normals filled by colorization",
    )
    prepare.add_argument(
        "--normals",
        choices=nyuv2.NORMALS,
        help="of the official files: planes fitted to depth (default), or files of Ladicky or Eigen in SOURCE",
    )
    verify = script.verify(nyuv2.verify)
    verify.add_argument("--subset", action="store_true", help="accept any number of images")
    return script.run(argv)


if __name__ == "__main__":
    sys.exit(main())
