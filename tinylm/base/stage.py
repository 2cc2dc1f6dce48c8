"""Entry point of every stage: read the parameters, run, log the time taken, report errors in one line."""

import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tinylm.base.errors import StoppedError, UserError, explain
from tinylm.base.params import Params, read_params

log = logging.getLogger("tinylm")


def run(main: Callable[[Params], None]) -> None:
    """Call `main(params)` and exit: 0 on success, 1 on a user's mistake, 128 + N after signal N."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    logging.captureWarnings(True)
    code = _run(main)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        # One of several processes: the communication threads have been seen to hang at interpreter exit.
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _run(main: Callable[[Params], None]) -> int:
    started = time.perf_counter()
    try:
        main(read_params())
    except (UserError, OSError) as error:
        if (line := explain(error)) is None:
            raise
        if os.environ.get("RANK", "0") == "0":  # print it once, not in every process of the run
            print(f"error: {line}", file=sys.stderr)
        return 1
    except StoppedError as stopped:
        print(stopped, file=sys.stderr)
        return stopped.exit_code
    except KeyboardInterrupt:
        print("interrupted; nothing was recorded; run the same command to start again", file=sys.stderr)
        return 130
    log.info("done in %.1f s", time.perf_counter() - started)
    return 0


def original_root() -> Path:
    """Return the root of the user's repository, even inside DVC's temporary copy of it (`dvc exp run --temp`)."""
    return Path(os.environ.get("DVC_ROOT", ".")).resolve()
