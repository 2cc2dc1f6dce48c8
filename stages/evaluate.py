"""Stage evaluate: score the model on the whole validation split."""

from pathlib import Path

from tinylm.base.params import Params
from tinylm.base.runtime import RuntimeParams
from tinylm.base.stage import log, run
from tinylm.compute.device import resolve_hardware
from tinylm.compute.memory import explaining_out_of_memory
from tinylm.evaluate.outputs import write_score
from tinylm.evaluate.params import EvaluateParams
from tinylm.evaluate.score import score_split
from tinylm.model.folder import load_model
from tinylm.scoring.windows import default_stride
from tinylm.tokenizer.loading import load_tokenizer
from tinylm.tokens.store import open_tokens


def main(params: Params) -> None:
    p, runtime = params[EvaluateParams], params[RuntimeParams]
    hardware = resolve_hardware(runtime, p.precision)
    tokenizer_file = Path("artifacts/model/tokenizer.json")
    tokens = open_tokens(Path("artifacts/tokens"), tokenizer_file)
    model = load_model(Path("artifacts/model"), hardware.dtype, hardware.device)
    stride = p.stride or default_stride(model.params.context)
    with explaining_out_of_memory(hardware.device, f"lower evaluate.batch_size ({p.batch_size})"):
        score = score_split(model, tokens.val, tokens.end_of_text, stride, p.batch_size, runtime.progress)
    metrics = write_score(score, tokens.val, load_tokenizer(tokenizer_file), Path())
    log.info("loss %.4f, perplexity %.2f, top-1 accuracy %.4f", score.loss, score.perplexity, score.accuracy)
    if interval := metrics["range95"]["bits_per_byte"]:
        bits = metrics["bits_per_byte"]
        log.info("%.4f bits per byte (95%%: %.4f to %.4f)", bits, interval["low"], interval["high"])
    else:
        log.warning("warning: the tokenizer is lossy (decoding does not restore the stories): bits per byte are null")


if __name__ == "__main__":
    run(main)
