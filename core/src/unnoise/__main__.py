"""``python -m unnoise``: the command line, where the script is not on the path."""

import sys

from unnoise.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
