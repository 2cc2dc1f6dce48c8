"""Estimate what a run takes and reaches before it starts, or choose a run for a time and a device.

PARAMS.yaml         size, memory, time, energy, cost, disk, and bits per byte of this parameter file
--hours 4           choose model, batch, steps and rates for so much time, with the recipe of presets/quick.yaml
--check NAME ...    compare the plans of finished experiments with what they recorded

On this machine the speed is measured in some training steps. `--device t4`, or 8xH100, is modelled; 2x8xH100 are two
machines of eight.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinylm.base.errors import UserError
from tinylm.base.extras import require

if TYPE_CHECKING:
    from tinylm.base.params import Params
    from tinylm.base.runtime import RuntimeParams
    from tinylm.experiments.recorded import Recorded
    from tinylm.planning.checking import Comparison
    from tinylm.planning.estimate import Estimate
    from tinylm.planning.targets import Target
    from tinylm.planning.workload import Workload

RECIPE = "presets/quick.yaml"
MOST_HOURS, MOST_PRICE, MOST_GBIT = 100_000.0, 1e6, 1e6


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    parser = subparsers.add_parser(
        "plan",
        help="estimate a run, or choose one for a time and a device",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    add = parser.add_argument
    add("params", nargs="?", metavar="PARAMS.yaml", help=f"default: params.yaml; with --hours: {RECIPE}")
    add("--hours", type=float, metavar="H", help="choose a run that trains for so long")
    add("--device", metavar="GPU", help="such as t4, 8xH100, or 2x8xH100 for two machines (default: this machine)")
    add("--network", type=float, metavar="GBIT", help="of each of several machines, in Gbit/s (default: 100)")
    add("--no-probe", action="store_true", help="model this machine's speed too, from its kind, and measure nothing")
    add("--price", type=float, metavar="P", help="price of all devices together per hour")
    add("--write", metavar="FILE", help="with --hours: write the chosen run as a parameter file")
    add("--check", nargs="+", metavar="NAME", help="finished experiments, to compare with their plans")
    add("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    require("pipeline", "tinylm plan")
    _check_options(arguments)
    if arguments.check is not None:
        _check_plans(arguments.check, not arguments.no_probe, arguments.json)
    elif arguments.hours is not None:
        _propose(arguments)
    else:
        from tinylm.base.params import read_params
        from tinylm.planning.workload import workload_of

        params = read_params(arguments.params or "params.yaml")
        work = workload_of(params)
        _print(params, _estimate(params, work, _target(arguments, work), arguments.price), arguments.json)
    return 0


def _check_options(arguments: argparse.Namespace) -> None:
    for option, most in (("hours", MOST_HOURS), ("price", MOST_PRICE), ("network", MOST_GBIT)):
        value = getattr(arguments, option)
        if value is not None and not 0 < value <= most:
            raise UserError(f"--{option}: expected more than 0 and at most {most:,.0f}, got {value:g}")
    if arguments.write and arguments.hours is None:
        raise UserError("--write: expected with --hours only; add --hours, or copy the parameter file")
    if arguments.write and Path(arguments.write).is_dir():
        raise UserError(f"--write: expected the name of a file, got the folder {arguments.write}; name a file in it")
    others = arguments.hours, arguments.params, arguments.device, arguments.network, arguments.price
    if arguments.check is not None and any(value is not None for value in others):
        raise UserError("--check: expected experiments and no other run; leave out PARAMS.yaml and the other options")


def _target(arguments: argparse.Namespace, work: "Workload") -> "Target":
    from tinylm.planning.devices import GIGABIT, find_cluster
    from tinylm.planning.targets import NamedTarget, local_target

    network = None if arguments.network is None else GIGABIT * arguments.network
    if not arguments.device:
        return local_target(work, not arguments.no_probe, network)
    return NamedTarget(find_cluster(arguments.device, network))


def _estimate(params: "Params", work: "Workload", target: "Target", price: float | None = None) -> "Estimate":
    from tinylm.planning.estimate import estimate
    from tinylm.planning.law import find_law

    return estimate(work, target, find_law(params), price)


def _print(params: "Params", found: "Estimate", as_json: bool, **more: Any) -> None:
    from tinylm.download.params import DownloadParams
    from tinylm.planning.law import data_of
    from tinylm.planning.lines import lines

    if as_json:
        print(json.dumps(found.as_json() | more, indent=2, ensure_ascii=False))
    else:
        text = " ".join(str(value) for value in data_of(params[DownloadParams]).values())
        print("\n".join(lines(found, text)))


def _propose(arguments: argparse.Namespace) -> None:
    from tinylm.base import atomic, yaml12
    from tinylm.base.params import PARAMS_FILE, check, read_params
    from tinylm.base.reading import read_text
    from tinylm.download.params import DownloadParams
    from tinylm.planning.law import find_law
    from tinylm.planning.parameter_file import apply, differences, replace_values, words
    from tinylm.planning.proposal import fit_memory, propose
    from tinylm.planning.workload import workload_of

    recipe = arguments.params or RECIPE
    params, values = read_params(recipe), yaml12.read(recipe, "")
    base = workload_of(params)
    target = _target(arguments, base)
    proposal = propose(base, params[DownloadParams].source, 3600 * arguments.hours, target, find_law(params))
    changes = proposal.changes | {"train.micro_batch_size": fit_memory(proposal.run, target).train.micro_batch_size}
    changed = apply(values, changes)
    chosen = check(changed, "the proposal")
    found = _estimate(chosen, workload_of(chosen), target, arguments.price)
    here = yaml12.read(PARAMS_FILE, "") if Path(PARAMS_FILE).is_file() else {}
    command = words(differences(here, changed))
    if arguments.write:
        header = f"Chosen by `tinylm plan --hours {arguments.hours:g}` for {target.name}, with the recipe of {recipe}."
        atomic.write_text(arguments.write, replace_values(read_text(recipe, ""), changes, header))
    _print(chosen, found, arguments.json, set_params=changes, command=command, written=arguments.write)
    if not arguments.json:
        print(f"\n{arguments.write}" if arguments.write else f"\n{command}")


def _check_plans(names: list[str], probing: bool, as_json: bool) -> None:
    from tinylm.base.params import check
    from tinylm.experiments.recorded import read_recorded
    from tinylm.planning.checking import Measured, bare_process, compare, table
    from tinylm.planning.workload import workload_of

    runs = [read_recorded(name) for name in names]
    alone, with_compiler = bare_process()
    comparisons: list[Comparison] = []
    for ran in runs:
        params = check(ran.params, f"params.yaml of {ran.name}")
        work = workload_of(params, ran.vocab_size, ran.text_tokens, ran.training["steps"])
        work = replace(work, runtime=_as_it_ran(work.runtime, ran))
        plan = _estimate(params, work, _recorded_target(ran, probing))
        bare = with_compiler if ran.training["compiled"] else alone
        measured = Measured(ran.seconds, ran.peak_memory, ran.bits)
        comparisons += compare(ran.name, plan, measured, bare if ran.training["device"] == "cpu" else 0.0)
        print(f"{ran.name}: {plan.speed.source}", file=sys.stderr)
    if as_json:
        print(json.dumps([vars(row) | {"error": row.error} for row in comparisons], indent=2, ensure_ascii=False))
    else:
        print("\n".join(table(comparisons)))


def _as_it_ran(runtime: "RuntimeParams", recorded: "Recorded") -> "RuntimeParams":
    """Return the parameters with the layout that the run had, whatever memory is free now."""
    names = {"parallel", "activation_checkpointing"}
    had = {name: value for name in names if (value := recorded.training.get(name)) is not None}
    return runtime.model_copy(update=had)


def _recorded_target(recorded: "Recorded", probing: bool) -> "Target":
    """Return the device of a finished run. Raises UserError if it is neither here nor in the table."""
    import torch

    from tinylm.compute.device import Hardware
    from tinylm.planning.devices import Cluster, find_by_driver_name
    from tinylm.planning.targets import LocalTarget, NamedTarget

    ran = recorded.training
    here = Hardware(torch.device(ran["device"]), ran["precision"], ran["threads"])
    if ran["device"] == "cpu" or (torch.cuda.is_available() and here.name == ran["device_name"]):
        torch.set_num_threads(ran["threads"])
        return LocalTarget(here, ran["processes"], probing, ran["compiled"])
    if device := find_by_driver_name(ran["device_name"]):
        return NamedTarget(Cluster(device, ran["processes"]))
    raise UserError(f"{recorded.name}: trained on {ran['device_name']}, which is neither here nor a known device")
