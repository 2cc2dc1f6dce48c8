"""Run many settings, each as a DVC experiment; or show the results, best first.

'train.peak_lr=log(1e-4,1e-2)'    a number in a range, on a logarithmic scale
'model.dropout=uniform(0,0.3)'    a number in a range
'model.layers=int(2,6)'           a whole number in a range (logint: on a logarithmic scale)
'train.batch_size=8,16,32'        one of these values
"""

import argparse
import sys
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinylm.base.errors import UserError
from tinylm.base.extras import require

if TYPE_CHECKING:
    from tinylm.experiments.sweep.space import Space
    from tinylm.experiments.sweep.watched import Place

SEARCHES = ("grid", "random", "guided")
PRUNING = ("none", "median", "halving")
PLACES = ("here", "slurm", "ray", "sky")
STARTUP = 5
TRIALS = 20


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    parser = subparsers.add_parser(
        "sweep",
        help="run many settings, each as an experiment",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    add = parser.add_argument
    add("space", nargs="*", metavar="PARAMETER=VALUES", help="what to vary, as above")
    add("--name", default="sweep", help="name of the sweep; its experiments are NAME-000, ... (default: sweep)")
    add("--search", choices=SEARCHES, help="default: grid if all values are listed, else guided")
    add("--trials", type=int, metavar="N", help=f"total number of trials (default: the whole grid, or {TRIALS})")
    add("--jobs", type=int, default=1, metavar="N", help="parallel trials, which share cores and GPUs (default: 1)")
    add("--seed", type=int, default=0, help="random seed of the search (default: 0)")
    add("--prune", choices=PRUNING, help="how to end bad trials early (default: none for a grid, else median)")
    add("--startup", type=int, default=STARTUP, metavar="N", help=f"trials before guidance and pruning ({STARTUP})")
    add("--retry", action="store_true", help="run failed trials again, after the cause is fixed")
    add("--on", choices=PLACES, default="here", help="where trials run (default: here, on this machine)")
    add("--cpus", type=int, metavar="N", help="on a cluster: CPU cores of each trial (default: 1)")
    add("--gpus", type=int, metavar="N", help="on a cluster: GPUs of each trial (default: 0)")
    add("--cluster-options", metavar="WORDS", help="options for sbatch or sky jobs launch; for Ray: RESOURCE=AMOUNT")
    add("--through", metavar="REMOTE", help="git remote between here and nodes that do not share this file system")
    add("--setup", metavar="COMMANDS", help="what makes dvc and python available on a node (default: this Python's)")
    add("--stories", action="store_true", help="run the whole pipeline in each trial, not only up to `evaluate`")
    add(
        "--show",
        nargs="*",
        metavar="NAME",
        help="show sweeps, experiments, patterns ('lr-*'); without names: HEAD and its experiments",
    )
    add("--json", action="store_true", help="with --show: print JSON, and write no table and no figure")


def run(arguments: argparse.Namespace) -> int:
    require("pipeline", "tinylm sweep")
    if arguments.show is not None:
        if arguments.space:
            raise UserError("--show: expected names only, got PARAMETER=VALUES, too; leave them out")
        _summarize(arguments.show, arguments.json)
        return 0
    if arguments.json:
        raise UserError("--json: expected with --show only; add --show")
    if not arguments.space:
        raise UserError("nothing to vary: give parameters, such as 'train.peak_lr=log(1e-4,1e-2)', or --show [NAME]")
    if not Path("dvc.yaml").is_file():
        raise UserError("dvc.yaml: not found; run from the root of the repository")
    if sys.platform == "win32":
        raise UserError(
            "tinylm sweep: expected Linux or macOS, got Windows, which cannot stop single trials; use WSL, "
            "or queue a grid with DVC: dvc exp run --queue -S 'train.peak_lr=1e-3,3e-3'"
        )
    from tinylm.experiments.history import read_params_at
    from tinylm.experiments.sweep.space import check_space, parse_space

    _check(arguments)
    space = parse_space(arguments.space)
    check_space(space, read_params_at(None))
    _run(arguments, space)
    _summarize([arguments.name])
    return 0


def _check(arguments: argparse.Namespace) -> None:
    for option, least in (("trials", 1), ("jobs", 1), ("startup", 1), ("seed", 0), ("cpus", 1), ("gpus", 0)):
        value = getattr(arguments, option)
        if value is not None and value < least:
            raise UserError(f"--{option}: expected at least {least}, got {value}")
    if arguments.on == "here":
        for option in ("cpus", "gpus", "cluster_options", "through", "setup"):
            if getattr(arguments, option) is not None:
                raise UserError(
                    f"--{option.replace('_', '-')}: expected with --on slurm, ray or sky only; leave it out"
                )
    if not arguments.name.replace("-", "").replace("_", "").isalnum():
        raise UserError(f"--name: expected letters, digits, - and _, got {arguments.name!r}")


def _run(arguments: argparse.Namespace, space: "Space") -> None:
    from tinylm.experiments.history import read_params_at
    from tinylm.experiments.sweep.lock import only_one
    from tinylm.experiments.sweep.plan import plan_of
    from tinylm.experiments.sweep.runner import Options, Runner
    from tinylm.experiments.sweep.search import pruner
    from tinylm.experiments.sweep.space import Choices, count, grid
    from tinylm.experiments.sweep.study import open_study

    all_listed = all(isinstance(values, Choices) for values in space.values())
    search = arguments.search or ("grid" if all_listed else "guided")
    space_size = len(grid(space)) if search == "grid" else count(space)
    trials = arguments.trials or (space_size if search == "grid" else None) or TRIALS
    trials = min(trials, space_size or trials)
    prune = arguments.prune or ("none" if search == "grid" else "median")
    with only_one(arguments.name):
        study = open_study(arguments.name, plan_of(search, space, arguments.seed, read_params_at(None)), space)
        if arguments.retry:
            study.retry()
        targets = [] if arguments.stories else ["evaluate"]
        options = Options(trials, arguments.jobs, arguments.startup, pruner(prune, arguments.startup), targets)
        Runner(study, options, _place(arguments, prune)).run()


def _place(arguments: argparse.Namespace, prune: str) -> "Place | None":
    """Return the cluster on which the trials run; None for this machine."""
    if arguments.on == "here":
        return None
    from tinylm.experiments.sweep.cluster.opening import open_cluster

    if arguments.through and prune != "none":
        raise UserError(f"--prune {prune}: losses of nodes behind a remote are not seen here; add --prune none")
    cpus, gpus, options = arguments.cpus or 1, arguments.gpus or 0, arguments.cluster_options or ""
    return open_cluster(arguments.on, arguments.through, cpus, gpus, options, arguments.setup)


def _summarize(names: list[str], json: bool = False) -> None:
    from tinylm.experiments.sweep.summary import as_json, summarize

    if json:
        print(dumps(as_json(names), indent=2, ensure_ascii=False))
    else:
        summarize(names)
