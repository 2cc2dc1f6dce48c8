"""Stage evaluate: the model's score on the whole validation split."""

from pathlib import Path

from tinylm import atomic
from tinylm.checkpoint import load_model
from tinylm.device import resolve_hardware
from tinylm.evaluation import score_split
from tinylm.params import Params
from tinylm.params.evaluate import EvaluateParams
from tinylm.params.runtime import RuntimeParams
from tinylm.stage import log, run
from tinylm.tokens import open_tokens


def main(params: Params) -> None:
    p, runtime = params[EvaluateParams], params[RuntimeParams]
    hardware = resolve_hardware(runtime, p.precision)
    tokens = open_tokens(Path("artifacts/tokens"), Path("artifacts/model/tokenizer.json"))
    model = load_model(Path("artifacts/model"), hardware.dtype, hardware.device)
    stride = p.stride or model.params.context // 2
    score = score_split(model, tokens.val, tokens.end_of_text, stride, p.batch_size, runtime.progress)
    metrics = {
        "loss": score.loss,
        "perplexity": score.perplexity,
        "bits_per_byte": score.bits_per_byte,
        "tokens": score.tokens,
        "text_bytes": score.text_bytes,
    }
    atomic.write_json("metrics/evaluate.json", metrics)
    log.info("loss %.4f, perplexity %.2f, %.4f bits per byte", score.loss, score.perplexity, score.bits_per_byte)


if __name__ == "__main__":
    run(main)
