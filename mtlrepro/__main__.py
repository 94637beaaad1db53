"""`python -m mtlrepro` is the command line."""

import sys

from mtlrepro.cli import main

if __name__ == "__main__":
    sys.exit(main())
