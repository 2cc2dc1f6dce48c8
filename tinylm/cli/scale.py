"""Run models of several sizes with several budgets of tokens, each as an experiment, and fit a scaling law to them.

The law has Hoffmann's form, L(N, D) = E + A / N^alpha + B / D^beta bits per byte, or Kaplan's, L(N, D) = E +
(A / N^alpha + B / D)^beta, whichever predicts better, with intervals and a check on the largest run. It goes to
scaling/NAME.json, where `tinylm plan` finds it. All other parameters are those of params.yaml, so for a law of real
stories: cp presets/quick.yaml params.yaml
"""

import argparse
import re
import sys
from pathlib import Path
from typing import Any

from tinylm.base.errors import UserError
from tinylm.base.extras import require

SIZES, BUDGETS = "0.2M,0.5M,1.3M,3M", "1M,2M,4M"


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    parser = subparsers.add_parser(
        "scale",
        help="fit a scaling law to runs of several sizes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    add = parser.add_argument
    add("--name", default="scale", help="name of the series; its experiments are NAME-SIZE-BUDGET (default: scale)")
    add("--sizes", default=SIZES, metavar="N,...", help=f"parameters of the models, about (default: {SIZES})")
    add("--budgets", default=BUDGETS, metavar="D,...", help=f"training tokens (default: {BUDGETS})")
    add("--jobs", type=int, default=1, metavar="N", help="parallel runs, which share cores and GPUs (default: 1)")
    add("--retry", action="store_true", help="run failed runs again, after the cause is fixed")
    add("--show", action="store_true", help="run nothing: fit the law again to the experiments of the series")
    add("--part-of", choices=["tinystories"], help="the own files are stories of this source: the law is for all of it")


def run(arguments: argparse.Namespace) -> int:
    require("pipeline", "tinylm scale")
    if not re.fullmatch(r"[\w-]+", arguments.name, re.ASCII):
        raise UserError(f"--name: expected letters, digits, - and _, got {arguments.name!r}")
    if arguments.jobs < 1:
        raise UserError(f"--jobs: expected at least 1, got {arguments.jobs}")
    if not Path("dvc.yaml").is_file():
        raise UserError("dvc.yaml: not found; run from the root of the repository")
    if not arguments.show:
        if sys.platform == "win32":
            raise UserError(
                "tinylm scale: expected Linux or macOS, got Windows, which cannot stop single runs; use WSL"
            )
        _run(arguments)
    _fit(arguments.name, arguments.part_of)
    return 0


def _run(arguments: argparse.Namespace) -> None:
    """Run what is missing of the series; it resumes as a sweep does."""
    from tinylm.base.params import check
    from tinylm.experiments.history import read_params_at
    from tinylm.experiments.sweep.listed import list_plan, open_listed
    from tinylm.experiments.sweep.lock import only_one
    from tinylm.experiments.sweep.runner import Options, Runner
    from tinylm.planning.ladder import ladder

    values = read_params_at(None)
    runs = ladder(arguments.sizes, arguments.budgets, check(values, "params.yaml"))
    with only_one(arguments.name):
        study = open_listed(arguments.name, list_plan(runs, values))
        if arguments.retry:
            study.retry()
        Runner(study, Options(len(runs), arguments.jobs, 1, None, ["evaluate"])).run()


def _fit(name: str, part_of: str | None) -> None:
    """Fit the law to the finished runs of the series, print it and write it; `part_of` as `text_of` has it."""
    from tinylm.base.params import check
    from tinylm.experiments.recorded import find_named, read_recorded
    from tinylm.planning import scaling

    found = [read_recorded(run) for run in find_named(re.compile(rf"{re.escape(name)}-[\d.]+[KMB]?-[\d.]+[KMB]?"))]
    points, texts = [], []
    for recorded in found:
        params = check(recorded.params, f"params.yaml of {recorded.name}")
        tokens = recorded.training["tokens"]
        points.append(scaling.point_of(recorded.name, params, recorded.vocab_size, tokens, recorded.bits))
        texts.append(scaling.text_of(params, recorded.vocab_size, recorded.text_tokens, part_of))
    for recorded, text in zip(found, texts, strict=True):
        if text != texts[0]:
            raise UserError(
                f"{recorded.name} and {found[0].name} were trained on other texts ({text}, {texts[0]}); remove the "
                f"experiments of one (dvc exp remove), or use another --name"
            )
    points.sort(key=lambda point: (point.parameters, point.tokens))
    law = scaling.fit_runs(points)
    print("\n".join(scaling.describe(texts[0], law, points)))
    print(*scaling.write(name, texts[0], points, law), sep=", ")
