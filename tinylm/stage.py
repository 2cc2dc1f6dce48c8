"""What every stage does around its work: read the parameters, say how long it took, end errors in one line."""

import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tinylm.errors import StoppedError, UserError
from tinylm.params import Params, read_params

log = logging.getLogger("tinylm")


def run(main: Callable[[Params], None]) -> None:
    """Call `main(params)` and exit: 0 when it is done, 1 after a user's mistake, 128 + N after signal N."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    logging.captureWarnings(True)
    started = time.perf_counter()
    try:
        main(read_params())
    except UserError as error:
        sys.exit(f"error: {error}" if os.environ.get("RANK", "0") == "0" else 1)  # once, not by every process
    except StoppedError as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(stopped.exit_code)
    except KeyboardInterrupt:
        print("interrupted; nothing is recorded, the same command starts again", file=sys.stderr)
        sys.exit(130)
    log.info("done in %.1f s", time.perf_counter() - started)


def original_root() -> Path:
    """The root of the user's repository, also inside DVC's temporary copy of it (`dvc exp run --temp`)."""
    return Path(os.environ.get("DVC_ROOT", ".")).resolve()
