"""Entry point of every stage: say where the pipeline is, run, log the time taken, report errors in one line."""

import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tinylm.base import durations
from tinylm.base.console import use_utf8
from tinylm.base.errors import StoppedError, UserError, explain
from tinylm.base.params import Params, read_params, section_classes

log = logging.getLogger("tinylm")


def run(main: Callable[[Params], None], speed: Path | None = None) -> None:
    """Call `main(params)` and exit: 0 on success, 1 on a user's mistake, 128 + N after signal N.

    A stage that resumes interrupted runs names the file in which it writes the `seconds` that the whole run took.
    """
    use_utf8()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    logging.captureWarnings(True)
    code = _run(main, speed)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        # One of several processes: the communication threads have been seen to hang at interpreter exit.
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _run(main: Callable[[Params], None], speed: Path | None = None) -> int:
    started = time.perf_counter()
    try:
        params = read_params()
        params.check_files()
        with _placed(params, started, speed):
            main(params)
    except (UserError, OSError) as error:
        if (line := explain(error)) is None:
            raise
        _print_once(f"error: {line}")
        return error.exit_code if isinstance(error, UserError) else 1
    except StoppedError as stopped:
        _print_once(str(stopped))
        return stopped.exit_code
    except KeyboardInterrupt:
        print("interrupted; nothing was recorded; run the same command to start again", file=sys.stderr)
        return 130
    if os.environ.get("RANK", "0") == "0":
        log.info("done in %.1f s", time.perf_counter() - started)
    return 0


def _print_once(line: str) -> None:
    """Print a line in one of the processes that train on this machine, not in each."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(line, file=sys.stderr)


@contextlib.contextmanager
def _placed(params: Params, started: float, speed: Path | None) -> Iterator[None]:
    """Log where the pipeline is, and record how long the stage took; if DVC runs it, and in one process of several."""
    stage = os.environ.get("DVC_STAGE", "").rpartition(":")[2]  # in a subfolder, DVC puts "../dvc.yaml:" before it
    if not stage or int(os.environ.get("WORLD_SIZE", "1")) > 1:
        yield
        return
    root, digest = original_root(), durations.digest(params.values(*section_classes()))
    log.info(durations.describe(stage, durations.read_durations(root), digest))
    yield
    durations.record(root, stage, durations.Duration(seconds=time.perf_counter() - started, params=digest), speed)


def original_root() -> Path:
    """Return the root of the user's repository, even inside DVC's temporary copy of it (`dvc exp run --temp`)."""
    return Path(os.environ.get("DVC_ROOT", ".")).resolve()
