"""The outputs of a small run, for the tests of its report."""

import json
import math
from pathlib import Path
from typing import Any

PROMPTS = ("Once upon a time", '"Help!" said')
STEPS = (0, 6, 12)
NASTY = "</script><script>alert(1)</script><!-- <img src=http://example.invalid/x onerror=alert(2)> & $style \u2028 é"


def story(prompt: str, step: int, text: str) -> dict[str, Any]:
    return {
        "step": step,
        "prompt": prompt,
        "text": f"{prompt}{text}",
        "tokens": 20,
        "ended": step > 0,
        "mean_log_probability": -1.5,
        "temperature": 0.7,
        "seed": 1,
    }


def scored(prompt: str, words: tuple[str, ...]) -> dict[str, Any]:
    """Return a scored story; the n-th token has a probability of 1 / (n + 1)."""
    alternatives = [[f" other{n}", 0.1 / (n + 1)] for n in range(5)]
    tokens = [
        {"text": text, "probability": 1 / (n + 1), "alternatives": [[text, 0.5], *alternatives[:4]]}
        for n, text in enumerate((prompt, *words))
    ]
    return {"prompt": prompt, "step": 12, "tokens": tokens}


def score(loss: float = 1.0) -> dict[str, Any]:
    return {
        "loss": loss,
        "perplexity": math.exp(loss),
        "bits_per_byte": loss / 2,
        "accuracy": 0.625,
        "range95": {
            "loss": {"low": loss - 0.1, "high": loss + 0.1},
            "bits_per_byte": {"low": loss / 2 - 0.05, "high": loss / 2 + 0.05},
            "accuracy": {"low": 0.6, "high": 0.65},
        },
        "reliability": {"calibration_error": 0.0123},
        "split": {"stories": 10, "tokens": 1000, "text_bytes": 4000},
        "token_kinds": {
            "word_start": {"tokens": 600, "loss": 1.5, "accuracy": 0.5},
            "end_of_text": {"tokens": 0, "loss": None, "accuracy": None},
        },
    }


TRAIN = {
    "val_loss": 1.25,
    "val_stories": 8,
    "best_step": 12,
    "guess_loss": 6.2,
    "steps": 12,
    "stopped_early": False,
    "tokens": 3072,
    "epochs": 0.5,
    "parameters": 41000,
    "context": 64,
    "device": "cpu",
    "precision": "fp32",
    "threads": 1,
    "processes": 1,
    "diagnosis": ["gap: validation loss 1.25 <b>, training loss 1"],
}
TRAINING = {
    "step": 12,
    "params": {"model": {"architecture": "llama", "layers": 1, "width": 32}},
    "data": {"tokenizer_sha256": "0123456789abcdef" * 4},
    "versions": {"python": "3.11.7", "torch": "2.13.0"},
}
TOKENS = {"tokens": 6100, "stories": 360, "bytes_per_token": 2.5}


def write_run(root: Path) -> None:
    """Write every file that the report is built from below `root`."""
    metrics = {
        "download": {"source_used": "sample", "train": {"stories": 360}, "provenance": {"seed": 1, "stories": 400}},
        "train_tokenizer": {"kind": "bpe", "vocab_size": 512},
        "pretokenize": {"train": TOKENS, "val": TOKENS},
        "train": TRAIN,
        "generate": {"stories": 4, "novel_4grams": 0.25, "human": {"stories": None, "novel_4grams": 0.75}},
        "evaluate": score(),
    }
    for name, values in metrics.items():
        write(root / f"metrics/{name}.json", json.dumps(values))
    write(root / "artifacts/model/training.json", json.dumps(TRAINING))
    write(root / "artifacts/model/model.safetensors", "weights")
    written = [story(prompt, 12, f" there was number {n}.\n{NASTY}") for prompt in PROMPTS for n in range(2)]
    write(root / "artifacts/stories/stories.jsonl", json_lines(written))
    generated = [story(prompt, step, f" there was step {step}. {NASTY}") for prompt in PROMPTS for step in STEPS]
    write(root / "artifacts/stories/progress.jsonl", json_lines(generated))
    scores = [scored(prompt, (" there", " was", "\n", NASTY, " end.")) for prompt in PROMPTS]
    write(root / "artifacts/stories/probabilities.json", json.dumps(scores))
    for name, text in PLOTS.items():
        write(root / f"plots/{name}.csv", text)


PLOTS = {
    "train": "step,tokens,loss,bits_per_byte,learning_rate,grad_norm\n"
    + "".join(f"{step},{step * 256},{6.2 - step / 3},{3 - step / 6},0.001,0.5\n" for step in range(1, 13)),
    "val": "step,tokens,loss,bits_per_byte\n0,0,6.2,3.1\n6,1536,4.2,2.1\n12,3072,1.25,0.625\n",
    "loss_by_position": "position,loss\n0,3.5\n1,2.5\n8,1.5\n63,1.0\n",
    "calibration": "confidence,accuracy,tokens\n0.05,0.1,400\n0.5,,0\n0.95,0.9,600\n",
    "stories_by_step": "step,ended,novel_4grams,human_ended,human_novel_4grams\n"
    "0,0.0,1.0,,0.75\n6,0.5,0.5,,0.75\n12,1.0,0.25,,0.75\n",
    "stories_by_temperature": "temperature,ended,novel_4grams,unknown,human_ended,human_novel_4grams\n"
    "0.0,1.0,0.0,,,0.75\n0.7,0.75,0.25,,,0.75\n1.0,0.5,nan,,,0.75\n",
}


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def json_lines(values: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)
