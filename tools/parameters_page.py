"""The reference page of the parameters, from their types, params.yaml and dvc.yaml."""

import json
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from inspect import getclosurevars
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from tinylm.base import fields, yaml12
from tinylm.base.errors import UserError
from tinylm.base.params import PARAMS_FILE, Section, check, section_classes
from tools.markdown import ROOT, generated, table

ORDER = ("download", "train_tokenizer", "pretokenize", "model", "train", "generate", "evaluate", "runtime")

# Types whose check is a function, which does not say what it accepts.
CHECKED = (
    (fields.Temperature, f"0, or a number from {fields.COLDEST} to {fields.HOTTEST:g}"),
    (fields.Prompt, f"text of at most {fields.LONGEST_PROMPT:,} characters"),
    (fields.Name, f"one line of at most {fields.LONGEST_NAME} characters"),
    (fields.Endpoint, "a host and a port, such as `10.0.0.1:29400`"),
    (fields.Path, f"a path of at most {fields.LONGEST_PATH:,} characters"),
)

# Units of the parameters whose line in params.yaml does not have one in brackets.
UNITS = {
    "steps": "train.steps train.warmup_steps train.log_every train.val_every train.checkpoint_every "
    "train.resume_every runtime.sample_every",
    "stories": "train.val_stories generate.stories_per_prompt generate.judged_stories",
    "sequences": "train.batch_size train.micro_batch_size",
    "tokens": "pretokenize.max_tokens train.stride generate.top_k evaluate.stride",
    "words": "generate.judged_words",
    "epochs": "train.epochs",
    "validations": "train.early_stop_evals",
    "windows": "evaluate.batch_size",
    "entries": "train_tokenizer.vocab_size",
    "occurrences": "train_tokenizer.min_frequency",
    "processes": "runtime.processes runtime.workers",
    "threads": "runtime.threads",
    "minutes": "runtime.resume_minutes",
    "machines": "runtime.hosts",
    "MB": "download.shard_mb",
}

# Values that are wrong only together, one example for each rule; the page shows what the check says.
CONFLICTS: tuple[dict[str, Any], ...] = (
    {"download.source": "files", "download.paths": []},
    {"download.source": "sample", "download.shard_mb": 500},
    {"train_tokenizer.kind": "file", "train_tokenizer.path": None},
    {"train_tokenizer.kind": "bpe", "train_tokenizer.end_of_text": "</s>"},
    {"model.width": 128, "model.heads": 3},
    {"model.architecture": "llama", "model.width": 130, "model.heads": 2},
    {"model.architecture": "llama", "model.dropout": 0.1},
    {"model.architecture": "llama", "model.qkv_bias": True},
    {"model.architecture": "gpt2", "model.qk_norm": True},
    {"train.steps": 1000, "train.epochs": 1.0},
    {"train.batch_size": 16, "train.micro_batch_size": 3},
    {"train.sequences": "random", "train.stride": 64},
    {"train.sequences": "strided", "train.align": "story", "train.stride": 64},
    {"train.sequences": "strided", "train.stride": 300, "model.context": 256},
    {"train.steps": 1000, "train.warmup_steps": 2000},
    {"generate.max_tokens": 256, "model.context": 256},
    {"evaluate.stride": 300, "model.context": 256},
    {"runtime.launcher": "torchrun", "runtime.hosts": None, "runtime.rendezvous": "10.0.0.1:29400"},
    {"runtime.launcher": "torchrun", "runtime.hosts": 2, "runtime.rendezvous": None},
    {"runtime.launcher": "none", "runtime.hosts": 2},
)


def parameters_page() -> str:
    """Return the page of all parameters, by section."""
    text = (ROOT / PARAMS_FILE).read_text(encoding="utf-8")
    defaults, meanings, classes = yaml12.read(ROOT / PARAMS_FILE, ""), comments(text), section_classes()
    lines = [
        "# Parameters",
        "",
        "All parameters are in `params.yaml`, and every one has to be there: the code has no defaults. The column",
        "*default* has the committed values. `null` stands for what the meaning says. A value of the wrong type or",
        "outside its bounds, an unknown key and a missing one are reported before any work starts, all at once.",
    ]
    for section in ORDER:
        lines += ["", f"## {section}", "", _reruns(section), ""]
        rows = []
        for key, hint in hints(classes[section]):
            meaning, unit = _meaning(f"{section}.{key}", meanings)
            rows.append((f"`{key}`", meaning, accepts(hint), unit, _value(defaults[section][key])))
        lines += table(("parameter", "meaning", "accepts", "unit", "default"), rows)
    lines += ["", "## Values that exclude each other", "", "Examples, with the error that each gives:", ""]
    lines += table(("values", "error"), [(_assignments(change), conflict(change)) for change in CONFLICTS])
    return generated("tinylm/*/params.py and the comments of params.yaml", lines)


def hints(section: type[Section]) -> Iterator[tuple[str, Any]]:
    """Yield the keys of a section with their types."""
    for key, hint in get_type_hints(section, include_extras=True).items():
        if key in section.model_fields:
            yield key, hint


def comments(text: str) -> dict[str, str]:
    """Return the comment of each parameter in the text of params.yaml, by "section.key"."""
    found, section = {}, ""
    for line in text.splitlines():
        if match := re.match(r"(\w+):", line):
            section = match[1]
        elif match := re.match(r"  (\w+):.* # (.*)", line):
            found[f"{section}.{match[1]}"] = match[2]
    return found


def _meaning(name: str, meanings: Mapping[str, str]) -> tuple[str, str]:
    """Return the meaning of a parameter and its unit, which its comment has in brackets or UNITS has."""
    meaning = meanings[name].replace("<", "&lt;")
    if match := re.search(r" \[([^\]]+)\]", meaning):
        return meaning.replace(match[0], ""), match[1]
    return meaning, next((unit for unit, names in UNITS.items() if name in names.split()), "")


def _value(value: Any) -> str:
    """Return a value as in YAML, as code."""
    return f"`{json.dumps(value, ensure_ascii=False)}`" if not isinstance(value, str) else f"`{value}`"


def _assignments(change: Mapping[str, Any]) -> str:
    return ", ".join(f"`{name}: {_value(value)[1:-1]}`" for name, value in change.items())


def accepts(hint: Any) -> str:
    """Return what a field's type accepts, in words."""
    for checked, description in CHECKED:
        if hint == checked:
            return description
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _bounded(arguments[0], arguments[1:])
    if origin in (Union, types.UnionType):
        return " or ".join(accepts(argument) for argument in arguments)
    if origin is Literal:
        return _list(arguments, "or")
    words: dict[Any, str] = {bool: "`true` or `false`", types.NoneType: "`null`"}
    return words[hint]


def _bounded(kind: Any, metadata: Sequence[Any]) -> str:
    """Return the words for an annotated type: its bounds, or the length of its list."""
    bounds: dict[str, Any] = {}
    for entry in metadata:
        if isinstance(entry, FieldInfo):
            bounds |= {
                key: getattr(m, key) for m in entry.metadata for key in ("gt", "ge", "lt", "le") if hasattr(m, key)
            }
        elif isinstance(entry, BeforeValidator):  # fields.listed
            bounds |= getclosurevars(entry.func).nonlocals
    if get_origin(kind) is tuple:
        return f"a list of {bounds['least']} to {bounds['most']:,}, each {accepts(get_args(kind)[0])}"
    if kind is int:
        return f"a whole number from {bounds['ge'] if 'ge' in bounds else bounds['gt'] + 1:,} to {bounds['le']:,}"
    low, high = (_number(bounds[next(key for key in keys if key in bounds)]) for keys in (("gt", "ge"), ("lt", "le")))
    if "ge" in bounds and "le" in bounds:
        return f"a number from {low} to {high}"
    return f"a number {'above' if 'gt' in bounds else 'from'} {low}, {'below' if 'lt' in bounds else 'at most'} {high}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"


def _reruns(section: str) -> str:
    """Return the sentence that says which stages a change in `section` reruns."""
    stages = yaml12.read(ROOT / "dvc.yaml", "")["stages"]
    readers = [name for name, stage in stages.items() if section in stage["params"] and name != "report"]
    if not readers:
        return (
            "A change reruns nothing: these values change no result, or only its last digits, and no stage lists them."
        )
    later = downstream(stages, readers)
    words = f"A change reruns {_list(readers)}"
    return f"{words}, and then {_list(later)} if what they read has changed." if later else words + "."


def _list(values: Sequence[Any], word: str = "and") -> str:
    quoted = [f"`{value}`" for value in values]
    return f" {word} ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)


def downstream(stages: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Return the stages that read, directly or not, what the stages `names` write, in the order of dvc.yaml."""
    found = list(names)
    for name, stage in stages.items():  # a stage is listed after those that it reads from
        if any(dep in _outputs(stages[other]) for dep in stage["deps"] for other in found) and name not in found:
            found.append(name)
    return found[len(names) :]


def _outputs(stage: Mapping[str, Any]) -> set[str]:
    listed = [output for kind in ("outs", "metrics", "plots") for output in stage.get(kind, [])]
    return {output if isinstance(output, str) else next(iter(output)) for output in listed}


def conflict(change: Mapping[str, Any]) -> str:
    """Return the mistake that the check finds in params.yaml with these values."""
    values = yaml12.read(ROOT / PARAMS_FILE, "")
    for name, value in change.items():
        section, key = name.split(".")
        values[section][key] = value
    try:
        check(values, PARAMS_FILE)
    except UserError as error:
        return str(error).partition(": ")[2].strip().replace("\n  ", "; ")
    raise AssertionError(f"{change} is no conflict")
