"""The formats of `tinylm export`: who reads them, and the command that runs an export."""

from dataclasses import dataclass

PROMPT = "Once upon a time"


@dataclass(frozen=True)
class Format:
    """A format; its export is a folder."""

    readers: str  # programs that read it
    types: tuple[str, ...]  # how it may store weights; the first is the default
    command: str  # runs the export in {folder}


FORMATS = {
    "gguf": Format(
        "llama.cpp, Ollama, LM Studio",
        ("f16", "f32", "bf16", "q8_0"),
        f'llama-completion --model {{folder}}/model.gguf --prompt "{PROMPT}"',
    ),
    "onnx": Format("ONNX Runtime", ("f32",), f'python {{folder}}/write.py "{PROMPT}"'),
    "web": Format("browsers, from any static host", ("f32",), "python -m http.server --directory {folder}"),
    "llama2c": Format("llama2.c", ("f32",), f'./run {{folder}}/model.bin -z {{folder}}/tokenizer.bin -i "{PROMPT}"'),
    "mlx": Format(
        "MLX, on Apple computers",
        ("f32", "f16", "bf16"),
        f'mlx_lm.generate --model {{folder}} --prompt "{PROMPT}"',
    ),
}
