"""mlx: the folder keeps to the rules by which mlx_lm loads one, and where mlx_lm is installed, it gives our stories."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from tinylm.base.errors import UserError
from tinylm.export import mlx as writer
from tinylm.export.source import Source, read_source
from tinylm.model.folder import load_model
from tinylm.sampling.generation import stream
from tinylm.sampling.sampler import Sampling

TOKENS = 200
TOLERANCE = {"f32": 2e-5, "f16": 0.03, "bf16": 0.2}  # logits have a deviation of 0.6; measured: 3e-6, 0.01, 0.06
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
CHANGES: dict[str, dict[str, Any]] = {"gpt2": {"mlp_width": 128}}  # mlx_lm: four times the width
LAYOUTS = ("llama", "llama-tied", "qwen3", "qwen3-untied", "gpt2")
# What mlx_lm's classes are made from (models/llama.py, qwen3.py and gpt2.py of version 0.32), for the tiny models.
LLAMA_KEYS = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "intermediate_size": 64,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10_000.0,
    "max_position_embeddings": 256,
    "vocab_size": 300,
}
GPT2_KEYS = {"n_ctx": 256, "n_positions": 256, "n_embd": 32, "n_head": 2, "n_layer": 2, "vocab_size": 300}
LLAMA_NAMES = ["model.embed_tokens.weight", "model.norm.weight"] + [
    f"model.layers.{layer}.{part}.weight"
    for layer in range(2)
    for part in (
        *("input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
        *("post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
    )
]
QWEN3_NAMES = [f"model.layers.{layer}.self_attn.{part}_norm.weight" for layer in range(2) for part in "qk"]
GPT2_SHAPES = {  # as OpenAI released them: mlx_lm transposes matrices with just these names
    "ln_1.weight": (32,),
    "ln_1.bias": (32,),
    "attn.c_attn.weight": (32, 96),
    "attn.c_attn.bias": (96,),
    "attn.c_proj.weight": (32, 32),
    "attn.c_proj.bias": (32,),
    "ln_2.weight": (32,),
    "ln_2.bias": (32,),
    "mlp.c_fc.weight": (32, 128),
    "mlp.c_fc.bias": (128,),
    "mlp.c_proj.weight": (128, 32),
    "mlp.c_proj.bias": (32,),
}


@pytest.fixture
def write(make_source: Callable[..., Source], tmp_path: Path) -> Callable[..., tuple[Source, Path]]:
    """Return a function that exports a model of a layout, and returns the model and the folder."""

    def write(layout: str, type_: str = "f32", **changes: Any) -> tuple[Source, Path]:
        source = make_source(layout, **CHANGES.get(layout, {}) | changes)
        writer.write(source, type_, tmp_path)
        return source, tmp_path

    return write


def config(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return content


class TestConfig:
    @pytest.mark.parametrize("layout", ["llama", "llama-tied", "qwen3", "qwen3-untied"])
    def test_llama(self, write: Callable[..., tuple[Source, Path]], layout: str) -> None:
        got = config(write(layout)[1])
        assert got["model_type"] == layout.split("-")[0]
        assert LLAMA_KEYS.items() <= got.items()
        assert got["tie_word_embeddings"] is (layout in ("llama-tied", "qwen3"))

    def test_gpt2(self, write: Callable[..., tuple[Source, Path]]) -> None:
        got = config(write("gpt2")[1])
        assert got["model_type"] == "gpt2"
        assert (GPT2_KEYS | {"layer_norm_epsilon": 1e-5}).items() <= got.items()

    @pytest.mark.parametrize(("type_", "expected"), [("f32", "float32"), ("f16", "float16"), ("bf16", "bfloat16")])
    def test_type(self, write: Callable[..., tuple[Source, Path]], type_: str, expected: str) -> None:
        _, folder = write("llama", type_)
        assert config(folder)["dtype"] == expected
        assert {weight.dtype for weight in load_file(folder / "model.safetensors").values()} == {DTYPES[type_]}


class TestWeights:
    @pytest.mark.parametrize(
        ("layout", "expected"),
        [
            ("llama", [*LLAMA_NAMES, "lm_head.weight"]),
            ("llama-tied", LLAMA_NAMES),
            ("qwen3", [*LLAMA_NAMES, *QWEN3_NAMES]),
            ("qwen3-untied", [*LLAMA_NAMES, *QWEN3_NAMES, "lm_head.weight"]),
        ],
    )
    def test_names(self, write: Callable[..., tuple[Source, Path]], layout: str, expected: list[str]) -> None:
        assert sorted(load_file(write(layout)[1] / "model.safetensors")) == sorted(expected)

    def test_names_and_shapes_of_gpt2(self, write: Callable[..., tuple[Source, Path]]) -> None:
        got = {name: tuple(weight.shape) for name, weight in load_file(write("gpt2")[1] / "model.safetensors").items()}
        expected = {f"h.{layer}.{name}": shape for layer in range(2) for name, shape in GPT2_SHAPES.items()}
        expected |= {"wte.weight": (300, 32), "wpe.weight": (256, 32), "ln_f.weight": (32,), "ln_f.bias": (32,)}
        assert got == expected

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_we_load_them(self, write: Callable[..., tuple[Source, Path]], layout: str) -> None:
        source, folder = write(layout)
        got = load_model(folder).state_dict()
        assert all(torch.equal(weight, got[name]) for name, weight in source.weights.items())


class TestTokenizer:
    def test_a_prompt_follows_the_end_of_text(self, write: Callable[..., tuple[Source, Path]]) -> None:
        source, folder = write("llama")
        ids = Tokenizer.from_file(str(folder / "tokenizer.json")).encode("Once upon a time").ids
        assert ids == [source.end_of_text, *source.tokenizer.encode("Once upon a time").ids]

    def test_our_own_commands_add_none(self, write: Callable[..., tuple[Source, Path]]) -> None:
        source, folder = write("llama")
        assert read_source(folder).tokenizer.encode("Once").ids == source.tokenizer.encode("Once").ids

    def test_the_end_of_text_ends_a_story(self, write: Callable[..., tuple[Source, Path]]) -> None:
        source, folder = write("llama")
        tokenizer_config = json.loads((folder / "tokenizer_config.json").read_text())
        assert tokenizer_config["eos_token"] == tokenizer_config["bos_token"] == "<|endoftext|>"
        assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == source.end_of_text


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"mlp_width": 64}, "expected model.mlp_width = 128, .* got 64; .*--set-param model.mlp_width=128"),
            ({"tie_embeddings": False}, "expected model.tie_embeddings = true, .* got false; .*tie_embeddings=true"),
        ],
    )
    def test_gpt2(self, write: Callable[..., tuple[Source, Path]], changes: dict[str, Any], message: str) -> None:
        with pytest.raises(UserError, match=message):
            write("gpt2", **changes)

    def test_weights_too_large_for_the_type(self, make_source: Callable[..., Source], tmp_path: Path) -> None:
        source = make_source("llama")
        source.weights["norm.weight"][3] = -1e5
        with pytest.raises(
            UserError, match=r"model.norm.weight: expected weights that f16 can hold, got 100000; .*f32"
        ):
            writer.write(source, "f16", tmp_path)
        assert not list(tmp_path.iterdir())


class TestMlxLm:
    """The real thing, where it is installed (`uv pip install --group runtimes`)."""

    @pytest.mark.parametrize("type_", DTYPES)
    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_logits(self, write: Callable[..., tuple[Source, Path]], layout: str, type_: str) -> None:
        mlx_lm, mx = pytest.importorskip("mlx_lm"), pytest.importorskip("mlx.core")
        source, folder = write(layout, type_)
        ids = np.random.default_rng(0).integers(0, 300, (1, TOKENS))
        model, _ = mlx_lm.load(str(folder))
        with torch.no_grad():
            expected = source.model()(torch.from_numpy(ids)).numpy()
        assert np.abs(np.array(model(mx.array(ids)).astype(mx.float32)) - expected).max() < TOLERANCE[type_]

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_greedy_story(self, write: Callable[..., tuple[Source, Path]], layout: str) -> None:
        mlx_lm = pytest.importorskip("mlx_lm")
        source, folder = write(layout)
        prompt = "Once upon a time"
        ids, sampling = source.tokenizer.encode(prompt).ids, Sampling(0, None, None, TOKENS, 0)
        ours = list(stream(source.model(), ids, 0, sampling, source.end_of_text))
        pieces = mlx_lm.stream_generate(*mlx_lm.load(str(folder)), prompt, max_tokens=len(ours))
        assert [piece.token for piece in pieces] == ours
