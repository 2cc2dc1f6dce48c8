"""Write an export for ONNX Runtime, Optimum and transformers.js."""

import shutil
from pathlib import Path

import onnx

from tinylm.base import atomic
from tinylm.export.onnx_graph import build
from tinylm.export.source import Source
from tinylm.model.folder import CONFIG, save_tokenizer
from tinylm.model.huggingface import to_config

MODEL = "model.onnx"
EXTERNAL = "model.onnx_data"  # weights of a large model, under the name that transformers.js expects
LARGEST_FILE = 2_000_000_000  # bytes of weights; a file of protobuf ends at 2 GiB
SCRIPT = Path(__file__).parent / "static" / "write.py"


def write(source: Source, _type: str, folder: Path) -> None:
    """Write the graph, the tokenizer and configuration as model folders have them, and a script that writes stories."""
    write_graph(source, folder)
    atomic.write_json(folder / CONFIG, to_config(source.params, source.vocab_size, source.end_of_text))
    atomic.write_text(folder / "tokenizer.json", source.tokenizer.to_str(pretty=True))
    save_tokenizer(folder, folder / "tokenizer.json", source.end_of_text, source.params.context)
    shutil.copyfile(SCRIPT, folder / SCRIPT.name)


def write_graph(source: Source, folder: Path) -> None:
    """Write the graph with its weights; those of a large model are in a file of their own."""
    model = build(source)
    large = sum(len(constant.raw_data) for constant in model.graph.initializer) > LARGEST_FILE
    onnx.save_model(model, folder / MODEL, save_as_external_data=large, location=EXTERNAL)
