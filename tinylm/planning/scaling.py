"""Fit a law to finished runs and write it: `scaling/NAME.json`, with a Markdown table and a picture."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tinylm.base import atomic
from tinylm.base.errors import UserError
from tinylm.base.params import Params
from tinylm.download.params import DownloadParams
from tinylm.model.params import ModelParams
from tinylm.planning.fit import FEWEST_RUNS, FEWEST_VALUES, Fit, Point, fit
from tinylm.planning.law import FOLDER, data_of
from tinylm.planning.sizes import count_parameters
from tinylm.pretokenize.params import PretokenizeParams

WORDS = {"blocks": "without the embeddings and the head", "all": "embeddings and head included"}


def point_of(name: str, params: Params, vocab_size: int, tokens: int, bits: float | None) -> Point:
    """Return a finished run as a point. Raises UserError if it has no bits per byte."""
    if bits is None:
        raise UserError(f"{name}: expected bits per byte, found none, because the tokenizer is lossy; use another one")
    size = count_parameters(params[ModelParams], vocab_size)
    return Point(name, size.blocks, size.total, tokens, bits)


def text_of(params: Params, vocab_size: int, text_tokens: int, part_of: str | None = None) -> dict[str, Any]:
    """Return what identifies the text and the tokens of a run; it is equal for runs that one law can describe.

    `part_of` is the source that own files are a part of: the law is then found for that source. Raises UserError for
    text that is not in own files.
    """
    download = params[DownloadParams]
    text = data_of(download)
    if part_of:
        if download.source != "files":
            raise UserError(f"--part-of: expected runs with download.source=files, got {download.source}")
        text = data_of(download.model_copy(update={"source": part_of})) | {"measured_on": text["paths"]}
    most = {"max_tokens": params[PretokenizeParams].max_tokens}
    return text | most | {"vocab_size": vocab_size, "text_tokens": text_tokens}


def fit_runs(points: Sequence[Point]) -> Fit:
    """Fit a law. Raises UserError if the runs are too few, or do not differ in both size and tokens."""
    sizes, budgets = ({getattr(point, key) for point in points} for key in ("parameters", "tokens"))
    if len(points) < FEWEST_RUNS or min(len(sizes), len(budgets)) < FEWEST_VALUES:
        raise UserError(
            f"expected at least {FEWEST_RUNS} finished runs of {FEWEST_VALUES} sizes and {FEWEST_VALUES} budgets, "
            f"found {len(points)} of {len(sizes)} and {len(budgets)}; run more: tinylm scale"
        )
    return fit(points)


def write(name: str, data: dict[str, Any], points: Sequence[Point], found: Fit, folder: Path = FOLDER) -> list[Path]:
    """Write the law of the series `name` and return the files."""
    from tinylm.planning.picture import draw

    files = [folder / f"{name}.{suffix}" for suffix in ("json", "md", "png")]
    atomic.write_json(files[0], as_json(name, data, points, found))
    lines = [*describe(data, found, points), f"![Bits per byte by tokens and by parameters]({files[2].name})"]
    atomic.write_text(files[1], "\n".join(lines) + "\n")
    draw(points, found, files[2])
    return files


def as_json(name: str, data: dict[str, Any], points: Sequence[Point], found: Fit) -> dict[str, Any]:
    """Return the law with everything that it follows from."""
    sizes = [point.counted(found.counts) for point in points]
    return {
        "name": name,
        "data": data,
        "counts": found.counts,
        "form": found.form,
        "law": asdict(found.law),
        "range95": {key: list(ends) for key, ends in found.intervals.items()},
        "typical_error": found.typical_error,
        "held_out": asdict(found.held_out) | {"error": found.held_out.error},
        "parameters": [min(sizes), max(sizes)],
        "tokens": [min(point.tokens for point in points), max(point.tokens for point in points)],
        "runs": [
            {
                "name": point.name,
                "parameters": point.parameters,
                "blocks": point.blocks,
                "tokens": point.tokens,
                "times_seen": point.tokens / data["text_tokens"],
                "bits_per_byte": point.bits,
                "predicted_from_the_others": prediction.predicted,
            }
            for point, prediction in zip(points, found.left_out, strict=True)
        ],
    }


def describe(data: dict[str, Any], found: Fit, points: Sequence[Point]) -> list[str]:
    """Return the law and its runs as Markdown that is readable on a terminal; `data` is what `text_of` returns."""
    law, ends, held_out = found.law, found.intervals, found.held_out
    lines = [
        f"L(N, D) = {law} bits per byte; N: parameters {WORDS[found.counts]}.",
        "",
        *_text(data),
        "",
        "| number | value | 95%, over the runs |",
        "| --- | ---: | --- |",
        *(f"| {key} | {value:.4g} | {ends[key][0]:.4g} to {ends[key][1]:.4g} |" for key, value in asdict(law).items()),
        "",
        "| run | parameters | in the blocks | tokens | bits per byte | from the other runs | error |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for point, prediction in zip(points, found.left_out, strict=True):
        lines.append(
            f"| {point.name} | {point.parameters:,} | {point.blocks:,} | {point.tokens:,} | {point.bits:.4f} "
            f"| {prediction.predicted:.4f} | {prediction.error:+.1%} |"
        )
    return [
        *lines,
        "",
        f"Each run predicted from the others: typical error {found.typical_error:.2%}.",
        f"The largest model with the most tokens, {held_out.name}: predicted {held_out.predicted:.4f} from the others,",
        f"measured {held_out.measured:.4f}, error {held_out.error:+.1%}.",
        "",
    ]


def _text(data: dict[str, Any]) -> list[str]:
    """Say which text the runs saw."""
    name = " ".join(str(data[key]) for key in ("source", "variant", "paths") if key in data)
    seen = f"Training text: {data['text_tokens']:,} tokens"
    if "measured_on" not in data:
        return [f"{seen} of {name}, repeated in runs that have more."]
    return [f"{seen} of {', '.join(data['measured_on'])}, a part of {name}, repeated in runs that have more."]
