"""What a finished run has made, and what to do with it: `python -m tinylm.cli.summary`, the end of `make repro`."""

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tinylm.base.console import use_utf8
from tinylm.base.errors import UserError
from tinylm.base.reading import parse_json, read_object, read_text
from tinylm.cli.open import PAGE
from tinylm.experiments import history
from tinylm.experiments.committed import find_differences, find_outdated, read_lock
from tinylm.housekeeping.cache import is_cached

STORIES = "artifacts/stories/stories.jsonl"
STORIES_SHOWN = 3
TRAIN = "metrics/train.json"
RESULTS = "dvc.lock metrics plots"  # what git keeps of a run
MACHINE = ("device_name", "precision", "threads", "processes", "compiled")  # keys of metrics/train.json
NAMED = 3  # differences that are named; the others are counted
WIDTH = 79  # characters
REMEDY = "run the pipeline first: make repro"

Object = Mapping[str, Any]


def main() -> None:
    """Print stories, the score beside that of the committed run, what git shows, and what to try next.

    Raises UserError if a file of the results is damaged.
    """
    if outdated := list(find_outdated()):
        print(f"\nnot up to date: {', '.join(outdated)}; `make repro` runs them and shows the result")
        return
    for story in choose_stories():
        print(f"\n{story}")
    score, committed = read_object(history.SCORE, REMEDY), read_committed(history.SCORE)
    blocks = [show_scores(score, committed)]
    if committed:
        blocks += [explain(score, committed), keep_or_drop()]
    blocks.append(suggest())
    print("\n".join(boxed(blocks)))


def choose_stories() -> list[str]:
    """Return some stories of the final model, of different prompts; those that end, if any do."""
    stories = [parse_json(line, STORIES, REMEDY) for line in read_text(STORIES, REMEDY).split("\n") if line]
    shown = [story["text"] for story in stories if story["ended"]] or [story["text"] for story in stories]
    return shown[:: max(1, len(shown) // STORIES_SHOWN)][:STORIES_SHOWN]


def read_committed(path: str) -> dict[str, Any]:
    """Return the JSON object in HEAD's version of a file; empty if there is none."""
    try:
        found = json.loads(history.read_file("HEAD", path))
    except (UserError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def show_scores(score: Object, committed: Object) -> list[str]:
    """Return the scores of this run and of the committed one as a table."""
    lines = [f"{'':13}  bits per byte  perplexity  loss [nats per token]"]
    for name, of in (("this run", score), ("committed run", committed)):
        if of:
            bits, perplexity, loss = of["bits_per_byte"], of["perplexity"], of["loss"]
            known = "-" if bits is None else f"{bits:.4f}"
            lines.append(f"{name:13}  {known:>13}  {perplexity:>10.4g}  {loss:>21.4f}")
    if score["bits_per_byte"] is None:
        lines.append("There are no bits per byte, because the tokenizer is lossy.")
    return lines


def explain(score: Object, committed: Object) -> list[str]:
    """Return why the scores differ, or that they do not."""
    if score == committed:
        return ["The scores are equal, to the last digit."]
    if differences := find_differences(read_lock("HEAD"), read_lock(None)):
        named = ", ".join(differences[:NAMED])
        more = f" and {len(differences) - NAMED} more" if len(differences) > NAMED else ""
        return [f"The runs differ in {named}{more}.", "`dvc metrics diff` shows the effect on every metric."]
    lines = [
        "Parameters and code are the same. Another processor, number of threads or version of",
        "torch rounds differently, so the last digits may differ; on one machine they do not.",
    ]
    here, there = read_object(TRAIN, REMEDY), read_committed(TRAIN)
    machine = [f"{key} {here[key]}, not {there[key]}" for key in MACHINE if here.get(key) != there.get(key, None)]
    if there and machine:
        lines.append(f"Trained here with {'; '.join(machine)}.")
    return [*lines, *_size(score, committed)]


def _size(score: Object, committed: Object) -> list[str]:
    """Return whether the difference of the scores is within the uncertainty of the committed one."""
    measure = "loss" if score["bits_per_byte"] is None else "bits_per_byte"
    interval = (committed.get("range95") or {}).get(measure)
    if not interval:
        return []
    inside = interval["low"] <= score[measure] <= interval["high"]
    place = "within" if inside else "outside of"
    return [f"The score is {place} the committed one's 95% interval, {interval['low']:.4f} to {interval['high']:.4f}."]


def keep_or_drop() -> list[str]:
    """Return how many files git shows as modified, and the commands that keep or drop them."""
    modified = [line[3:] for line in history.run("git", "status", "--porcelain", "-uno").splitlines()]
    results = [path for path in modified if path.startswith(tuple(RESULTS.split()))]
    if not results:
        return []
    files = "1 modified file" if len(modified) == 1 else f"{len(modified)} modified files"
    others = len(modified) - len(results)
    which = f"; all but {others} are results of this run:" if others else ", the results of this run:"
    lines = [
        f"`git status` shows {files}{which}",
        '  keep them    git commit -am "Results on this machine"',
        f"  drop them    git checkout -- {RESULTS}",
    ]
    if is_cached(Path(), "HEAD"):
        lines[-1] += " && dvc checkout"
    else:
        lines.append("               (the committed model is not in this machine's cache: artifacts/ stays)")
    return lines


def suggest() -> list[str]:
    """Return commands to try next, and where the page is."""
    programs = Path(sys.executable).parent
    tinylm = "tinylm" if shutil.which("tinylm", path=programs) else "python -m tinylm"
    commands = {
        f"{tinylm} open": f"this run as a page: {PAGE}",
        f'{tinylm} write "Once upon a time"': "a story of your own",
        "dvc exp run -S train.peak_lr=0.01": "an experiment; then `dvc metrics diff`",
    }
    active = os.environ.get("VIRTUAL_ENV", sys.base_prefix)
    if Path(active).resolve() != Path(sys.prefix).resolve():
        activate = os.path.relpath(programs / "activate")
        commands = {activate if os.name == "nt" else f". {activate}": "once in each terminal"} | commands
    width = max(map(len, commands))
    return ["Try next:", *(f"  {command:{width}}   {what}" for command, what in commands.items())]


def boxed(blocks: Sequence[Sequence[str]]) -> list[str]:
    """Return the blocks between two rules, with an empty line between them."""
    try:
        "─".encode(sys.stdout.encoding)
        rule = "─" * WIDTH
    except UnicodeEncodeError:
        rule = "-" * WIDTH
    lines = [line for block in blocks if block for line in ("", *block)]
    return ["", rule, *lines[1:], rule]


if __name__ == "__main__":
    use_utf8()
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr] # for terminals without Unicode
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
