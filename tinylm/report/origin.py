"""The provenance of a run: its size, parameters and versions, and the diagnosis of its training."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from tinylm.report.inputs import RunFiles
from tinylm.report.numbers import number, rounded

Parameters = Mapping[str, Mapping[str, Any]]  # by section and name
HASH_SHOWN = 16  # characters of a file's checksum


def title(run: RunFiles) -> str:
    """Return the title of the report."""
    return f"A model with {rounded(run.train['parameters'])} parameters"


def glance(run: RunFiles) -> str:
    """Return a summary of the run, as HTML."""
    train, corpus = run.train, run.download
    early = ", stopped early" if train["stopped_early"] else ""
    return (
        f"{number(train['steps'])} steps{early} over {rounded(train['tokens'])} tokens, which is "
        f"{train['epochs']:.2f} epochs of {number(corpus['train']['stories'])} stories"
        f" (source: {escape(corpus['source_used'])}). The weights are those of step {number(train['best_step'])}, "
        "the best on held-out stories."
    )


def facts(run: RunFiles) -> str:
    """Return the main facts of the run, as HTML `dt` and `dd` elements."""
    model, train = run.training["params"]["model"], run.train
    per_token = run.pretokenize["train"]["bytes_per_token"]
    rows = {
        "Architecture": f"{model['architecture']}, {model['layers']} layers, width {model['width']}",
        "Parameters": number(train["parameters"]),
        "Context": f"{number(train['context'])} tokens",
        "Vocabulary": f"{number(run.train_tokenizer['vocab_size'])} ({run.train_tokenizer['kind']})",
        "Training text": f"{rounded(run.pretokenize['train']['tokens'])} tokens, {per_token:.2f} bytes per token",
        "Held out": f"{number(run.pretokenize['val']['stories'])} stories",
        "Trained on": _machine(train),
        "Best validation loss": f"{train['val_loss']:.4f} nats per token",
    }
    return "".join(f"<div><dt>{name}</dt><dd>{escape(str(value))}</dd></div>" for name, value in rows.items())


def _machine(train: dict[str, Any]) -> str:
    parts = [train["device"], train["precision"], f"{train['threads']} threads"]
    if train["processes"] > 1:
        parts.append(f"{train['processes']} processes")
    return ", ".join(parts)


def diagnosis(lines: Sequence[str]) -> str:
    """Return an HTML list of the findings; the word before a colon is the name of the finding."""
    if not lines:
        return '<p class="good">No problems found.</p>'
    return '<ul class="findings">' + "".join(f"<li>{_finding(line)}</li>" for line in lines) + "</ul>"


def _finding(line: str) -> str:
    name, colon, rest = line.partition(":")
    return f"<b>{escape(name)}</b>{colon}{escape(rest)}" if colon else escape(line)


def parameters(sections: Parameters) -> str:
    """Return a collapsible HTML table for each section of parameters."""
    return "".join(f"<details><summary>{name}</summary>{_table(values)}</details>" for name, values in sections.items())


def versions(training: dict[str, Any]) -> str:
    """Return HTML tables of the versions of the software and the checksums of the data."""
    checksums = {name.replace("_", " "): str(value)[:HASH_SHOWN] for name, value in training["data"].items()}
    return _table(training["versions"]) + _table(checksums)


def _table(values: Mapping[str, Any]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td><code>{escape(_value(value))}</code></td></tr>'
        for name, value in values.items()
    )
    return f'<div class="wide"><table class="values"><tbody>{rows}</tbody></table></div>'


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
