"""``python -m hymem``: the ``hymem`` command."""

import sys

from hymem.cli import main

if __name__ == "__main__":
    sys.exit(main())
