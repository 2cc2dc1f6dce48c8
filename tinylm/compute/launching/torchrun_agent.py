"""One attempt of a run on several machines, by the agent of torchrun: meet the others, start the processes, watch them.

hosts.py starts this module in a process of its own, for which the agent is made: its store and its signal handlers
end with it. Unlike the command `torchrun` it prints no traceback for what the processes have reported themselves.
"""

import logging
import os
import signal
import sys

from torch import distributed as dist
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import RendezvousError
from torch.distributed.launcher.api import LaunchConfig, launch_agent

from tinylm.base.errors import LostProcessError
from tinylm.compute.signals import stop_with_parent

STORE_TIMEOUT = 15  # seconds for an operation of the store in which the machines meet
LONGEST_SAVE = 600  # seconds that the processes have to save a resume checkpoint after a signal


def main(module: str, rendezvous: str, own: str, leads: str, hosts: str, processes: str, patience: str) -> int:
    """Run `python -m module` in `processes` processes on each of `hosts` machines; return the exit code.

    0: all have succeeded; 75: the machines did not meet, or one of them was lost; 1: a mistake, which has been printed;
    128 + N: stopped by signal N.
    """
    stop_with_parent()
    logging.disable(logging.CRITICAL)  # of torch, about what is reported here
    os.environ["TORCH_CPP_LOG_LEVEL"] = "ERROR"  # of the processes; the agent's own is lower (hosts.py)
    store = {"is_host": leads == "1", "timeout": int(patience), "join_timeout": int(patience)}
    config = LaunchConfig(
        min_nodes=int(hosts),
        max_nodes=int(hosts),
        nproc_per_node=int(processes),
        run_id="tinylm",
        rdzv_backend="c10d",
        rdzv_endpoint=rendezvous,
        rdzv_configs=store | {"read_timeout": STORE_TIMEOUT},
        max_restarts=0,  # hosts.py makes the next attempt
        local_addr=own,
        logs_specs=DefaultLogsSpecs(log_dir=os.devnull),
        shutdown_timeout=LONGEST_SAVE,
    )
    try:
        launch_agent(config, sys.executable, ["-m", module])
    except ChildFailedError as error:
        return _report([failure.exitcode for failure in error.failures.values()])
    except SignalException as stopped:
        return 128 + int(stopped.sigval)
    except (RendezvousError, dist.DistError):  # a machine is not there yet, or no longer
        return LostProcessError.exit_code
    return 0


def _report(codes: list[int]) -> int:
    """Return the exit code of the attempt from those of the processes; print an error if one was killed.

    The agent itself ends the others by SIGTERM once one has failed.
    """
    for code in codes:
        if code < 0 and code != -signal.SIGTERM:
            name = signal.Signals(-code).name
            print(f"error: a process of this machine was killed by {name}; the others were stopped", file=sys.stderr)
            return 1
    own = (code for code in codes if code not in (LostProcessError.exit_code, -signal.SIGTERM))
    return next(own, LostProcessError.exit_code)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
