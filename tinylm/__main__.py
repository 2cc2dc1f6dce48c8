"""Entry point of `python -m tinylm COMMAND`."""

import sys

from tinylm.cli.main import main

if __name__ == "__main__":
    sys.exit(main(prog="python -m tinylm"))
