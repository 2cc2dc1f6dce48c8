"""Score a model folder on the held-out stories of artifacts/corpus, with the folder's own tokenizer.

The folder may come from elsewhere (Llama, Qwen3 or GPT-2, as transformers saves them). No output of the pipeline
changes. `tinylm compare DIR HEAD` tests whether the difference from a run is significant.
"""

import argparse
from pathlib import Path
from typing import Any

from tinylm.base.extras import require
from tinylm.cli.model_option import add_model_option


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    parser = subparsers.add_parser(
        "evaluate",
        help="score any model folder on the held-out stories",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_model_option(parser)
    parser.add_argument("--json", action="store_true", help="print the metrics as JSON, as in metrics/evaluate.json")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    import json

    require("pipeline", "tinylm evaluate")
    from tinylm.base.params import read_params
    from tinylm.experiments.folder_score import score_folder

    model: Path = options.model
    score = score_folder(model, read_params(), options.end_of_text)
    metrics = score.metrics
    if options.json:
        print(json.dumps(metrics, indent=2, ensure_ascii=False))
        return 0
    bits, interval, split = metrics["bits_per_byte"], metrics["range95"]["bits_per_byte"], metrics["split"]
    print(f"{bits:.4f} bits per byte (95%: {interval['low']:.4f} to {interval['high']:.4f})  {model}")
    print(
        f"on {split['stories']:,} stories of {split['text_bytes']:,} bytes, {split['tokens']:,} tokens of its "
        f"tokenizer; {score.parameters:,} parameters, context {score.context}, {score.entries:,} entries"
    )
    print(
        f"per token, which compares only between models with one tokenizer: loss {metrics['loss']:.4f}, "
        f"perplexity {metrics['perplexity']:.2f}, accuracy {metrics['accuracy']:.4f}"
    )
    return 0
