"""GGUF, the format of llama.cpp: one file with the parameters, the tokenizer and the weights of a model.

Keys and tensors have the names that the package `gguf` of llama.cpp gives them.
"""

import contextlib
import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf

from tinylm.base import atomic
from tinylm.export.gguf_tensors import architecture, tensors
from tinylm.export.gguf_tokenizer import add_tokenizer, check_tokenizer
from tinylm.export.modelfile import modelfile
from tinylm.export.source import Source
from tinylm.serve.defaults import read_defaults

MODEL, MODELFILE = "model.gguf", "Modelfile"
FILE_TYPES = {
    "f32": gguf.LlamaFileType.ALL_F32,
    "f16": gguf.LlamaFileType.MOSTLY_F16,
    "bf16": gguf.LlamaFileType.MOSTLY_BF16,
    "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
}


def write(source: Source, type_: str, folder: Path) -> None:
    """Write model.gguf, and a Modelfile for Ollama beside it; equal models make equal files.

    Raises UserError if llama.cpp has no equal tokenizer, or if a weight is too large for the type.
    """
    check_tokenizer(source)
    defaults = read_defaults(source.folder, source.params.context)
    defaults |= {"top_k": defaults["top_k"] or 0, "top_p": defaults["top_p"] or 1.0}  # llama.cpp has no null
    writer = gguf.GGUFWriter(None, gguf.MODEL_ARCH_NAMES[architecture(source.params)])
    _add_description(writer, source.name, type_, defaults)
    _add_parameters(writer, source)
    add_tokenizer(writer, source)
    for name, stored, stored_as in tensors(source, gguf.GGMLQuantizationType[type_.upper()]):
        writer.add_tensor(name, stored, raw_dtype=stored_as)
    _write(writer, folder / MODEL)
    atomic.write_text(folder / MODELFILE, modelfile(MODEL, source.params.context, defaults))


def _add_description(writer: gguf.GGUFWriter, name: str, type_: str, defaults: Mapping[str, Any]) -> None:
    """Add name and type, and how llama.cpp samples unless it is told otherwise: as `tinylm write` does.

    The model folder does not say under which licence the model is, so neither does the file.
    """
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(name)
    writer.add_file_type(FILE_TYPES[type_])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_sampling_temp(defaults["temperature"])
    writer.add_sampling_top_k(defaults["top_k"])
    writer.add_sampling_top_p(defaults["top_p"])
    writer.add_sampling_min_p(0.0)


def _add_parameters(writer: gguf.GGUFWriter, source: Source) -> None:
    p = source.params
    head_size = p.width // p.heads
    writer.add_vocab_size(source.vocab_size)
    writer.add_context_length(p.context)
    writer.add_embedding_length(p.width)
    writer.add_block_count(p.layers)
    writer.add_feed_forward_length(p.mlp_width)
    writer.add_head_count(p.heads)
    writer.add_head_count_kv(p.heads)
    writer.add_key_length(head_size)
    writer.add_value_length(head_size)
    if p.architecture == "gpt2":
        writer.add_layer_norm_eps(p.norm_eps)
    else:
        writer.add_layer_norm_rms_eps(p.norm_eps)
        writer.add_rope_dimension_count(head_size)
        writer.add_rope_freq_base(p.rope_base)


def _write(writer: gguf.GGUFWriter, path: Path) -> None:
    with atomic.replacing(path) as temporary, contextlib.closing(writer):
        try:
            writer.write_header_to_file(temporary)
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        except OSError as error:
            if error.errno is None:  # NumPy says how much it could not write, but not why
                error.errno = errno.ENOSPC
            raise
