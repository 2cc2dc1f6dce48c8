"""GGUF files: parameters, tokenizer and weights, read back; test_llama_cpp.py runs them."""

import dataclasses
import json
import re
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

from tests.export.conftest import LAYOUTS
from tests.support import foreign, tiny
from tinylm.base.errors import UserError
from tinylm.cli.main import main
from tinylm.export.gguf import write
from tinylm.export.gguf_tokenizer import entries
from tinylm.export.interleaved_rope import interleaved
from tinylm.export.source import Source, read_source
from tinylm.model.rope import rope_table, rotate
from tinylm.tokenizer.loading import load_tokenizer

ARCHITECTURES = {"llama": "llama", "llama-tied": "llama", "qwen3": "qwen3", "qwen3-untied": "qwen3", "gpt2": "gpt2"}
MakeSource = Callable[..., Source]


def read(source: Source, type_: str, folder: Path) -> gguf.GGUFReader:
    write(source, type_, folder)
    return gguf.GGUFReader(folder / "model.gguf")


def metadata(reader: gguf.GGUFReader) -> dict[str, Any]:
    return {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}


def weights(reader: gguf.GGUFReader) -> dict[str, np.ndarray]:
    return {tensor.name: gguf.dequantize(tensor.data, tensor.tensor_type) for tensor in reader.tensors}


def types(reader: gguf.GGUFReader) -> dict[str, str]:
    return {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}


# ---- parameters


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_parameters_are_those_that_llama_cpp_reads(
    layout: str, make_source: MakeSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # no params.yaml
    found = metadata(read(make_source(layout, norm_eps=0.001, rope_base=500.0), "q8_0", tmp_path))
    tokenizer = {name: found.pop(name) for name in list(found) if name.startswith("tokenizer.")}
    assert tokenizer.keys() >= {"tokenizer.ggml.tokens", "tokenizer.ggml.merges", "tokenizer.ggml.token_type"}
    name = ARCHITECTURES[layout]
    own = {"attention.layer_norm_epsilon": pytest.approx(0.001)}
    if name != "gpt2":
        own = {"attention.layer_norm_rms_epsilon": pytest.approx(0.001)}
        own |= {"rope.dimension_count": 16, "rope.freq_base": 500.0}
    shared = {"context_length": 256, "embedding_length": 32, "block_count": 2, "feed_forward_length": 64}
    shared |= {"attention.head_count": 2, "attention.head_count_kv": 2, "vocab_size": 300}
    shared |= {"attention.key_length": 16, "attention.value_length": 16}
    assert found == {
        "general.architecture": name,
        "general.type": "model",
        "general.name": "model",
        "general.file_type": 7,
        "general.quantization_version": 2,
        "general.sampling.temp": 1.0,
        "general.sampling.top_k": 0,
        "general.sampling.top_p": 1.0,
        "general.sampling.min_p": 0.0,
        **{f"{name}.{key}": value for key, value in (shared | own).items()},
    }


def test_sampling_is_that_of_tinylm_write(
    make_source: MakeSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = make_source("llama")
    config = json.loads((source.folder / "generation_config.json").read_text())
    config |= {"temperature": 0.5, "top_k": 50, "top_p": 0.9}
    (source.folder / "generation_config.json").write_text(json.dumps(config))
    found = metadata(read(source, "f16", tmp_path))
    assert found["general.sampling.temp"] == 0.5
    assert found["general.sampling.top_k"] == 50
    assert found["general.sampling.top_p"] == pytest.approx(0.9)
    assert (tmp_path / "Modelfile").read_text() == (
        "FROM ./model.gguf\n"
        'TEMPLATE "{{ .Prompt }}"\n'
        "PARAMETER num_ctx 256\n"
        "PARAMETER num_predict 255\n"
        "PARAMETER temperature 0.5\n"
        "PARAMETER top_k 50\n"
        "PARAMETER top_p 0.9\n"
        "PARAMETER repeat_penalty 1\n"
        'PARAMETER stop "<|endoftext|>"\n'
    )


# ---- tokenizer


def test_the_tokenizer_is_ours_and_a_story_begins_with_end_of_text(make_source: MakeSource, tmp_path: Path) -> None:
    source = make_source("llama")
    found = metadata(read(source, "f16", tmp_path))
    config = json.loads(source.tokenizer.to_str())
    assert found["tokenizer.ggml.model"] == "gpt2"
    assert found["tokenizer.ggml.pre"] == "gpt-2"
    assert found["tokenizer.ggml.tokens"] == [source.tokenizer.id_to_token(id_) for id_ in range(300)]
    assert found["tokenizer.ggml.merges"] == [f"{first} {second}" for first, second in config["model"]["merges"]]
    expected_types = [gguf.TokenType.NORMAL] * 300
    expected_types[source.end_of_text] = gguf.TokenType.CONTROL
    assert found["tokenizer.ggml.token_type"] == expected_types
    for key in ("bos_token_id", "eos_token_id", "eot_token_id"):
        assert found[f"tokenizer.ggml.{key}"] == source.end_of_text
    assert found["tokenizer.ggml.add_bos_token"] is True


def test_ids_that_only_the_embedding_has_are_unused(tiny_store: Path) -> None:
    tokenizer = load_tokenizer(tiny_store / "tokenizer.json")
    tokenizer.add_tokens(["moon"])
    names, kinds = entries(tokenizer, 303)
    assert names[299:] == [tokenizer.id_to_token(299), "moon", "[PAD301]", "[PAD302]"]
    assert kinds[300:] == [gguf.TokenType.USER_DEFINED, gguf.TokenType.UNUSED, gguf.TokenType.UNUSED]
    assert len(set(names)) == 303


def test_a_tokenizer_that_llama_cpp_computes_otherwise_is_refused(tmp_path: Path) -> None:
    source = read_source(foreign.write_llama(tmp_path / "theirs"), end_of_text="</s>")
    with pytest.raises(UserError) as refused:
        write(source, "f16", tmp_path)
    assert str(refused.value) == (
        f"{tmp_path}/theirs: expected byte-level BPE as GPT-2's, which llama.cpp computes too, got a normalizer "
        "(Sequence); train a model with such a tokenizer (train_tokenizer.kind: bpe or gpt2)"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]


# ---- weights


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_weight_is_there_once_in_float32(layout: str, make_source: MakeSource, tmp_path: Path) -> None:
    source = make_source(layout)
    reader = read(source, "f32", tmp_path)
    assert set(types(reader).values()) == {"F32"}
    assert weights(reader).keys() == expected_weights(source).keys()
    for name, weight in expected_weights(source).items():
        assert np.array_equal(weights(reader)[name], weight), name
    assert ("output.weight" in weights(reader)) == (not LAYOUTS[layout]["tie_embeddings"])


NAMES = {
    r"^blocks\.": "blk.",
    r"attention\.(q|k)\w+_norm\.": r"attn_\1_norm.",
    r"attention\.(q|k|v)\w+\.": r"attn_\1.",
    r"attention\.output\.": "attn_output.",
    r"attention_norm\.": "attn_norm.",
    r"mlp_norm\.": "ffn_norm.",
    r"mlp\.": "ffn_",
    r"^embedding\.": "token_embd.",
    r"^positions\.": "position_embd.",
    r"^norm\.": "output_norm.",
    r"^head\.": "output.",
}


def expected_weights(source: Source) -> dict[str, np.ndarray]:
    """Return the weights under the names of llama.cpp."""
    expected = {}
    for name, weight in source.weights.items():
        if source.params.architecture == "llama" and not source.params.qk_norm and re.search("query|key", name):
            weight = interleaved(weight, source.params.heads)
        for ours, theirs in NAMES.items():
            name = re.sub(ours, theirs, name)
        expected[name] = weight.numpy()
    if source.params.architecture == "gpt2":
        for layer in range(source.params.layers):
            for kind in ("weight", "bias"):
                parts = [expected.pop(f"blk.{layer}.attn_{part}.{kind}") for part in "qkv"]
                expected[f"blk.{layer}.attn_qkv.{kind}"] = np.concatenate(parts)
    if source.params.tie_embeddings:
        del expected["output.weight"]
    return expected


def test_permuted_rows_and_interleaved_rope_give_our_scores() -> None:
    """The rotation is computed here with complex numbers: each pair of neighbours is one."""
    T, D, heads = 7, 48, 3
    generator = torch.Generator().manual_seed(0)
    x, query, key = (torch.randn(size, D, generator=generator) for size in (T, D, D))
    params = tiny.model_params(architecture="llama", width=D, heads=heads)
    cos, sin = (table[:T] for table in rope_table(params))
    q, k = (rotate((x @ weight.T).view(T, heads, -1).transpose(0, 1), cos, sin) for weight in (query, key))
    ours = (q @ k.mT).numpy()  # (H, T, T)

    turns = np.exp(1j * np.arange(T)[:, None] * params.rope_base ** (-np.arange(0, 16, 2) / 16))  # (T, K / 2)

    def turned(weight: torch.Tensor) -> np.ndarray:
        pairs = (x @ interleaved(weight, heads).T).numpy().reshape(T, heads, 8, 2)
        return (pairs[..., 0] + 1j * pairs[..., 1]) * turns[:, None]  # (T, H, K / 2)

    theirs = np.einsum("thk,shk->hts", turned(query), turned(key).conj()).real
    assert np.abs(theirs - ours).max() < 1e-4 < np.abs(ours).max() / 1e5


def test_queries_without_a_bias_have_one_of_zeros(make_source: MakeSource, tmp_path: Path) -> None:
    source = make_source("gpt2")
    params = source.params.model_copy(update={"qkv_bias": False})
    kept = {name: w for name, w in source.weights.items() if not re.search(r"(query|key|value)\.bias", name)}
    reader = read(dataclasses.replace(source, params=params, weights=kept), "f16", tmp_path)
    assert np.array_equal(weights(reader)["blk.1.attn_qkv.bias"], np.zeros(96))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("type_", "largest"), [("f16", 2e-4), ("bf16", 2e-3), ("q8_0", 4e-3)])
def test_matrices_have_the_type_and_all_else_is_float32(
    type_: str, largest: float, layout: str, make_source: MakeSource, tmp_path: Path
) -> None:
    source = make_source(layout)
    reader = read(source, type_, tmp_path)
    for name, weight in expected_weights(source).items():
        small = weight.ndim == 1 or name == "position_embd.weight"
        assert types(reader)[name] == ("F32" if small else type_.upper()), name
        error = np.abs(weights(reader)[name] - weight).max()
        assert (error == 0) == small, name
        assert error < largest, name


def test_rows_that_blocks_of_32_do_not_fill_are_f16(make_source: MakeSource, tmp_path: Path) -> None:
    found = types(read(make_source("qwen3", width=48, mlp_width=64), "q8_0", tmp_path))
    assert found["blk.0.ffn_down.weight"] == "Q8_0"  # rows of 64
    assert found["blk.0.ffn_up.weight"] == found["token_embd.weight"] == "F16"  # rows of 48


@pytest.mark.parametrize(("type_", "value"), [("f16", 65_520.0), ("q8_0", 1e7), ("bf16", 3.4e38)])
def test_a_weight_that_is_too_large_for_the_type_is_refused(
    type_: str, value: float, make_source: MakeSource, tmp_path: Path
) -> None:
    source = make_source("llama")
    source.weights["blocks.1.mlp.up.weight"][3, 4] = -value
    expected = f"model: blk.1.ffn_up.weight: expected weights that {type_} can hold, got {value:g}; "
    with pytest.raises(UserError, match=re.escape(expected + "export with --type f32")):
        write(source, type_, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert weights(read(source, "f32", tmp_path))["blk.1.ffn_up.weight"][3, 4] == np.float32(-value)


# ---- files


@pytest.mark.parametrize("type_", ["f16", "q8_0"])
def test_equal_models_make_equal_files(type_: str, make_source: MakeSource, tmp_path: Path) -> None:
    source = make_source("llama")
    for name, order in (("a", 1), ("b", -1)):
        (tmp_path / name).mkdir()
        write(dataclasses.replace(source, weights=dict([*source.weights.items()][::order])), type_, tmp_path / name)
    for file in ("model.gguf", "Modelfile"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_full_disk_leaves_nothing(make_source: MakeSource, tmp_path: Path) -> None:
    source = make_source("llama")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, hard))  # bytes
    try:
        with pytest.raises(UserError, match=r"model\.gguf: no space left on the disk"):
            write(source, "f32", tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("type_", ["f16", "f32", "bf16", "q8_0"])
def test_the_command(type_: str, make_source: MakeSource, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = make_source("qwen3")
    arguments = ["export", "--format", "gguf", "--model", str(source.folder), "--output", str(tmp_path)]
    assert main([*arguments, "--type", type_]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines[1:-1]] == ["Modelfile", "model.gguf"]
    assert lines[-1][:2] == ["llama-completion", "--model"]
    assert gguf.GGUFReader(lines[-1][2]).get_field("general.architecture").contents() == "qwen3"
