"""Print the results of a finished pipeline: `python -m tinylm.cli.summary`."""

import json
import sys
from pathlib import Path

from tinylm.base.errors import UserError

STORIES_SHOWN = 3


def read(path: str) -> str:
    """Read a text file. Raises UserError if it is missing."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run the pipeline first: make repro") from None


def main() -> None:
    score = json.loads(read("metrics/evaluate.json"))
    stories = [json.loads(line) for line in read("artifacts/stories/stories.jsonl").split("\n") if line]
    shown = [story for story in stories if story["ended"]] or stories
    spread = max(1, len(shown) // STORIES_SHOWN)  # so that the prompts differ
    for story in shown[::spread][:STORIES_SHOWN]:
        print(f"\n{story['text']}")
    bits = score["bits_per_byte"]
    print(
        f"\nvalidation loss {score['loss']:.4f} nats per token, perplexity {score['perplexity']:.2f}, "
        + ("no bits per byte, because the tokenizer is lossy" if bits is None else f"{bits:.4f} bits per byte")
    )
    print("more stories: artifacts/stories/stories.md; the loss curve: plots/loss_curve.png")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
