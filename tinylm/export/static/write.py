"""Write a story with ONNX Runtime, from the files beside this script.

It needs three packages: pip install numpy onnxruntime tokenizers
"""

import argparse
import io
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

FOLDER = Path(__file__).parent
INCOMPLETE = "\ufffd"  # at the end of a text: the first bytes of a character


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a story.")
    parser.add_argument("prompt", nargs="?", default="", help="start of the story")
    parser.add_argument("--temperature", type=float, default=1.0, help="0: the most likely token (%(default)s)")
    options = parser.parse_args()
    if not options.temperature >= 0:
        parser.error(f"--temperature: expected at least 0, got {options.temperature}")
    config = json.loads((FOLDER / "generation_config.json").read_text(encoding="utf-8"))
    end_of_text, context = config["eos_token_id"], config["max_length"]
    tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    ids = tokenizer.encode(options.prompt, add_special_tokens=False).ids
    if len(ids) + 1 >= context:
        parser.error(f"prompt: expected fewer than {context - 1} tokens, got {len(ids)}")

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without Unicode must not end a story
    session = onnxruntime.InferenceSession(FOLDER / "model.onnx", providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs() if value.name.startswith("past_key_values.")]
    _, heads, _, head_size = session.get_inputs()[-1].shape
    cache = [np.zeros((1, heads, 0, head_size), np.float32)] * len(names)  # keys and values of the tokens so far
    new, length, shown = [end_of_text, *ids], 0, 0  # a story starts after the token that ended the one before
    while True:
        text = tokenizer.decode(ids)
        if not text.endswith(INCOMPLETE):
            print(text[shown:], end="", flush=True)
            shown = len(text)
        if length + len(new) == context:
            break
        positions = np.arange(length, length + len(new))[None]
        inputs = {"input_ids": np.array([new]), "position_ids": positions}
        inputs["attention_mask"] = np.ones((1, length + len(new)), np.int64)
        logits, *cache = session.run(None, inputs | dict(zip(names, cache, strict=True)))
        length += len(new)
        new = [choose(logits[0, -1], options.temperature)]
        if new == [end_of_text]:
            break
        ids += new
    print(tokenizer.decode(ids)[shown:])


def choose(logits: np.ndarray, temperature: float) -> int:
    """Draw an id from logits (V,): the largest at temperature 0."""
    if temperature == 0:
        return int(logits.argmax())
    weights = np.exp((logits - logits.max()).astype(np.float64) / temperature)
    return int(np.random.default_rng().choice(len(weights), p=weights / weights.sum()))


if __name__ == "__main__":
    main()
