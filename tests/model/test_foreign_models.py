"""Models of `transformers` compute the same here, or are refused with one line."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import GPT2Model, LlamaForCausalLM

from tests.support.foreign import MODELS, VOCAB, edit, make
from tinylm.base.errors import UserError
from tinylm.model.folder import load_model, save_weights


@torch.no_grad()
def assert_equal_logits(theirs: nn.Module, folder: Path, largest: float = 1e-4) -> None:
    ids = torch.randint(VOCAB, (2, 64), generator=torch.Generator().manual_seed(2))
    expected = theirs(ids).logits
    assert expected.std() > 0.3
    assert (load_model(folder)(ids) - expected).abs().max() < largest


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    make("llama-grouped").save_pretrained(tmp_path)
    return tmp_path


@pytest.fixture
def gpt2(tmp_path: Path) -> Path:
    make("gpt2").save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", list(MODELS))
def test_the_logits_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    theirs = make(name)
    theirs.save_pretrained(tmp_path)
    assert_equal_logits(theirs, tmp_path)


def test_the_epsilon_matters(tmp_path: Path) -> None:
    """Or else the models with another epsilon would prove nothing."""
    theirs = make("llama-eps")
    theirs.save_pretrained(tmp_path)
    edit(tmp_path, rms_norm_eps=1e-5)
    with pytest.raises(AssertionError):
        assert_equal_logits(theirs, tmp_path)


@pytest.mark.parametrize("name", ["llama-grouped", "llama-eps", "qwen3-grouped", "gpt2-eps"])
def test_a_foreign_model_can_be_saved_again(name: str, tmp_path: Path) -> None:
    theirs = make(name)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = load_model(tmp_path / "theirs")
    save_weights(tmp_path / "ours", ours.state_dict(), ours.params, VOCAB, 0)
    assert_equal_logits(theirs, tmp_path / "ours")


@pytest.mark.parametrize("name", ["llama-grouped", "gpt2"])
def test_weights_in_several_files(name: str, tmp_path: Path) -> None:
    theirs = make(name)
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    assert_equal_logits(theirs, tmp_path)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_in_half_precision(dtype: torch.dtype, tmp_path: Path) -> None:
    make("llama").to(dtype).save_pretrained(tmp_path)
    assert_equal_logits(LlamaForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval(), tmp_path)


def test_a_bare_gpt2_with_masks_as_on_the_hub(tmp_path: Path) -> None:
    theirs = make("gpt2")
    theirs.save_pretrained(tmp_path)
    bare = GPT2Model(theirs.config)
    bare.load_state_dict(theirs.transformer.state_dict())
    masks = {f"h.{layer}.attn.bias": torch.ones(1, 1, 64, 64, dtype=torch.uint8).tril() for layer in range(2)}
    save_file(bare.state_dict() | masks, tmp_path / "model.safetensors")
    assert_equal_logits(theirs, tmp_path)


def test_old_files_name_the_base_of_rope_otherwise(tmp_path: Path) -> None:
    theirs = make("llama-theta")
    theirs.save_pretrained(tmp_path)
    edit(tmp_path, rope_parameters=None, rope_theta=100.0)
    assert_equal_logits(theirs, tmp_path)


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("llama", ["rope_parameters", "rms_norm_eps", "head_dim", "tie_word_embeddings", "hidden_act"]),
        ("llama", ["num_key_value_heads", "attention_bias", "mlp_bias"]),
        ("gpt2", ["n_inner", "layer_norm_epsilon", "tie_word_embeddings", "activation_function", "resid_pdrop"]),
    ],
)
def test_a_missing_key_has_the_default_of_transformers(name: str, keys: list[str], tmp_path: Path) -> None:
    theirs = make(name)
    theirs.save_pretrained(tmp_path)
    edit(tmp_path, **dict.fromkeys(keys))
    assert_equal_logits(type(theirs).from_pretrained(tmp_path).eval(), tmp_path)


def test_qwen3_without_a_head_size_has_heads_of_128(tmp_path: Path) -> None:
    make("qwen3").save_pretrained(tmp_path)
    edit(tmp_path, head_dim=None)
    with pytest.raises(UserError, match=r"head_dim: expected 8 .*, got 128"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_act": "gelu"}, "hidden_act: expected 'silu', got 'gelu', which this code does not compute"),
        ({"attention_bias": True}, "attention_bias: expected false, got true"),
        ({"mlp_bias": True}, "mlp_bias: expected false, got true"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling: expected RoPE without scaling"),
        ({"rope_scaling": "linear"}, "rope_scaling: expected RoPE without scaling"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, "rope_parameters: expected RoPE without scaling"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1e4}}}, "rope_parameters: expected RoPE without"),
        ({"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}}, "expected RoPE without scaling"),
        ({"head_dim": 16}, r"head_dim: expected 8 \(hidden_size / num_attention_heads\), got 16"),
        ({"use_sliding_window": True}, "use_sliding_window: expected false, got true"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "layer_types: expected full_attention in all"),
        ({"attention_multiplier": 0.5}, "attention_multiplier: expected null, got 0.5"),
        ({"quantization_config": {"bits": 4}}, "quantization_config: expected null"),
        ({"num_key_value_heads": 3}, "num_key_value_heads: expected a divisor of 4, got 3"),
        ({"num_key_value_heads": 1}, "do not fit .*expected 8 rows, 1 heads with keys and values, got 16"),
        ({"rms_norm_eps": "small"}, "norm_eps: expected a number, got 'small'"),
        ({"model_type": "gpt_neo"}, "expected model_type llama, qwen3 or gpt2, got 'gpt_neo'"),
    ],
)
def test_a_llama_that_is_not_computed(changes: dict[str, Any], message: str, llama: Path) -> None:
    edit(llama, **changes)
    with pytest.raises(UserError, match=message):
        load_model(llama)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation_function": "gelu"}, "activation_function: expected 'gelu_new', got 'gelu'"),
        ({"scale_attn_weights": False}, "scale_attn_weights: expected true, got false"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx: expected false, got true"),
        ({"add_cross_attention": True}, "add_cross_attention: expected false, got true"),
        ({"n_embd": [32]}, r"width: expected a whole number, got \[32\]"),
        ({"tie_word_embeddings": False}, "weights and config.json do not fit .*head.weight"),
        ({"n_inner": 64}, "weights and config.json do not fit"),
    ],
)
def test_a_gpt2_that_is_not_computed(changes: dict[str, Any], message: str, gpt2: Path) -> None:
    edit(gpt2, **changes)
    with pytest.raises(UserError, match=message):
        load_model(gpt2)


def test_pickled_weights_are_refused(llama: Path) -> None:
    (llama / "model.safetensors").unlink()
    (llama / "pytorch_model.bin").write_bytes(pickle.dumps({}))
    with pytest.raises(UserError, match=r"pytorch_model\.bin: pickled weights .* are refused; .*save_pretrained"):
        load_model(llama)


def test_weights_of_another_kind_of_number_are_refused(llama: Path) -> None:
    weights = load_file(llama / "model.safetensors")
    save_file(weights | {"model.norm.weight": torch.ones(32, dtype=torch.int8)}, llama / "model.safetensors")
    with pytest.raises(UserError, match="expected float32, float16 or bfloat16, got int8; use weights without quanti"):
        load_model(llama)


def test_a_tensor_that_the_model_has_not_is_refused(llama: Path) -> None:
    weights = load_file(llama / "model.safetensors")
    save_file(weights | {"model.layers.0.self_attn.sinks": torch.ones(4)}, llama / "model.safetensors")
    with pytest.raises(UserError, match="do not fit .*sinks: expected shape None"):
        load_model(llama)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda names: names | {"lm_head.weight": "../x.safetensors"}, "expected names of files beside it, got"),
        (lambda names: names | {"more": "model-00001-of-00003.safetensors"}, "more is in none of its files"),
        (lambda names: names | {"lm_head.weight": "gone.safetensors"}, r"gone\.safetensors: not found"),
        (lambda names: [], "weight_map: expected `key: value` pairs"),
    ],
)
def test_an_index_that_does_not_fit(change: Callable[[dict[str, str]], Any], message: str, tmp_path: Path) -> None:
    make("llama").save_pretrained(tmp_path, max_shard_size="40KB")
    shards = len(list(tmp_path.glob("*.safetensors")))
    path = tmp_path / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"] = change(index["weight_map"])
    path.write_text(json.dumps(index).replace("of-00003", f"of-{shards:05d}"))
    with pytest.raises(UserError, match=message):
        load_model(tmp_path)
