"""Convert model parameters and weights to and from the format of `transformers`.

`llama` maps to LlamaForCausalLM, or with `qk_norm` to Qwen3ForCausalLM; `gpt2` maps to GPT2LMHeadModel.
"""

import re
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from tinylm.base.errors import UserError, quote
from tinylm.base.mistakes import explain
from tinylm.model.layers import NORM_EPS
from tinylm.model.params import ModelParams

Weights = dict[str, Tensor]
LARGEST_VOCABULARY = 10_000_000
REMEDY = "use a model folder that this pipeline wrote, or a compatible one"

LLAMA_NAMES = {
    r"embedding\.": "model.embed_tokens.",
    r"blocks\.(\d+)\.attention_norm\.": r"model.layers.\1.input_layernorm.",
    r"blocks\.(\d+)\.attention\.query\.": r"model.layers.\1.self_attn.q_proj.",
    r"blocks\.(\d+)\.attention\.key\.": r"model.layers.\1.self_attn.k_proj.",
    r"blocks\.(\d+)\.attention\.value\.": r"model.layers.\1.self_attn.v_proj.",
    r"blocks\.(\d+)\.attention\.output\.": r"model.layers.\1.self_attn.o_proj.",
    r"blocks\.(\d+)\.attention\.query_norm\.": r"model.layers.\1.self_attn.q_norm.",
    r"blocks\.(\d+)\.attention\.key_norm\.": r"model.layers.\1.self_attn.k_norm.",
    r"blocks\.(\d+)\.mlp_norm\.": r"model.layers.\1.post_attention_layernorm.",
    r"blocks\.(\d+)\.mlp\.(gate|up|down)\.": r"model.layers.\1.mlp.\2_proj.",
    r"norm\.": "model.norm.",
    r"head\.": "lm_head.",
}
GPT2_NAMES = {
    r"embedding\.": "transformer.wte.",
    r"positions\.": "transformer.wpe.",
    r"blocks\.(\d+)\.attention_norm\.": r"transformer.h.\1.ln_1.",
    r"blocks\.(\d+)\.attention\.output\.": r"transformer.h.\1.attn.c_proj.",
    r"blocks\.(\d+)\.mlp_norm\.": r"transformer.h.\1.ln_2.",
    r"blocks\.(\d+)\.mlp\.up\.": r"transformer.h.\1.mlp.c_fc.",
    r"blocks\.(\d+)\.mlp\.down\.": r"transformer.h.\1.mlp.c_proj.",
    r"norm\.": "transformer.ln_f.",
    r"head\.": "lm_head.",
}


def to_config(p: ModelParams, vocab_size: int, end_of_text: int) -> dict[str, Any]:
    """Return the contents of config.json."""
    shared = {
        "vocab_size": vocab_size,
        "bos_token_id": end_of_text,
        "eos_token_id": end_of_text,
        "tie_word_embeddings": p.tie_embeddings,
        "dtype": "float32",
    }
    if p.architecture == "gpt2":
        return {
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "n_embd": p.width,
            "n_layer": p.layers,
            "n_head": p.heads,
            "n_inner": p.mlp_width,
            "n_positions": p.context,
            "activation_function": "gelu_new",
            "layer_norm_epsilon": NORM_EPS,
            "embd_pdrop": p.dropout,
            "attn_pdrop": p.dropout,
            "resid_pdrop": p.dropout,
            **shared,
        }
    return {
        "architectures": ["Qwen3ForCausalLM" if p.qk_norm else "LlamaForCausalLM"],
        "model_type": "qwen3" if p.qk_norm else "llama",
        "hidden_size": p.width,
        "intermediate_size": p.mlp_width,
        "num_hidden_layers": p.layers,
        "num_attention_heads": p.heads,
        "num_key_value_heads": p.heads,
        "head_dim": p.width // p.heads,
        "max_position_embeddings": p.context,
        "hidden_act": "silu",
        "rms_norm_eps": NORM_EPS,
        "rope_theta": p.rope_base,
        "attention_bias": False,
        **shared,
    }


def from_config(config: dict[str, Any], name: str = "config.json") -> tuple[ModelParams, int]:
    """Return (parameters, vocabulary size) of a config.json.

    Raises UserError, which calls the file `name`, if `to_config` could not have written this config.
    """
    kind = config.get("model_type")
    if kind not in ("gpt2", "llama", "qwen3"):
        raise UserError(f"{name}: expected model_type llama, qwen3 or gpt2, got {quote(kind)}")
    try:
        p = _from_gpt2(config) if kind == "gpt2" else _from_llama(config)
        vocab_size = config["vocab_size"]
    except KeyError as error:
        raise UserError(f"{name}: the key {error} is missing; {REMEDY}") from None
    except ValidationError as error:
        raise UserError(f"{name}: {next(explain(error, ModelParams.model_fields))} (named as in params.yaml)") from None
    if type(vocab_size) is not int or not 0 < vocab_size <= LARGEST_VOCABULARY:
        raise UserError(f"{name}: vocab_size: expected 1 to {LARGEST_VOCABULARY:,}, got {quote(vocab_size)}; {REMEDY}")
    for key, message in p.conflicts(p.model_dump()):
        raise UserError(f"{name}: {key}: {message} (named as in params.yaml); {REMEDY}")
    return p, vocab_size


def _from_gpt2(config: dict[str, Any]) -> ModelParams:
    return ModelParams(
        architecture="gpt2",
        layers=config["n_layer"],
        heads=config["n_head"],
        width=config["n_embd"],
        mlp_width=config["n_inner"],
        context=config["n_positions"],
        dropout=config["resid_pdrop"],
        qkv_bias=True,  # transformers always has this bias; `to_hf` writes zeros if the model has none
        qk_norm=False,
        tie_embeddings=config["tie_word_embeddings"],
        rope_base=10_000.0,
    )


def _from_llama(config: dict[str, Any]) -> ModelParams:
    if config["num_key_value_heads"] != config["num_attention_heads"]:
        heads, others = quote(config["num_attention_heads"]), quote(config["num_key_value_heads"])
        raise UserError(
            f"config.json: num_key_value_heads: expected {heads}, as num_attention_heads, got {others}; {REMEDY}"
        )
    return ModelParams(
        architecture="llama",
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        width=config["hidden_size"],
        mlp_width=config["intermediate_size"],
        context=config["max_position_embeddings"],
        dropout=0.0,
        qkv_bias=False,
        qk_norm=config["model_type"] == "qwen3",
        tie_embeddings=config["tie_word_embeddings"],
        rope_base=_rope_base(config),
    )


def _rope_base(config: dict[str, Any]) -> Any:
    """Return the base of RoPE: in `rope_parameters` by Transformers 5, and `rope_theta` by us and older versions."""
    found = config.get("rope_parameters")
    if found is None:
        return config["rope_theta"]
    if not isinstance(found, dict) or found.get("rope_type", "default") != "default":
        raise UserError(f"config.json: rope_parameters: expected rope_type default, got {quote(found)}; {REMEDY}")
    return found["rope_theta"]


def to_hf(weights: Weights, p: ModelParams) -> Weights:
    """Return the weights in float32, contiguous, under the names used by `transformers`."""
    weights = {name: weight.detach().float() for name, weight in weights.items()}
    if p.tie_embeddings:
        weights.pop("head.weight", None)
    if p.architecture == "gpt2":
        weights = _join_gpt2(weights, p)
    names = GPT2_NAMES if p.architecture == "gpt2" else LLAMA_NAMES
    return {_rename(name, names): weight.contiguous() for name, weight in weights.items()}


def from_hf(weights: Weights, p: ModelParams) -> Weights:
    """Return weights named as in `transformers` under our names: the inverse of `to_hf`."""
    names = GPT2_NAMES if p.architecture == "gpt2" else LLAMA_NAMES
    inverse = {_as_pattern(theirs): _as_replacement(ours) for ours, theirs in names.items()}
    ours = {_rename(name, inverse): weight for name, weight in weights.items()}
    if p.architecture == "gpt2":
        ours = _split_gpt2(ours, p)
    if p.tie_embeddings:
        ours["head.weight"] = ours["embedding.weight"]
    return ours


def _rename(name: str, patterns: dict[str, str]) -> str:
    for pattern, replacement in patterns.items():
        renamed, count = re.subn(f"^{pattern}", replacement, name)
        if count:
            return renamed
    return name


def _as_pattern(replacement: str) -> str:
    return replacement.replace(".", r"\.").replace(r"\1", r"(\d+)").replace(r"\2", "(gate|up|down)")


def _as_replacement(pattern: str) -> str:
    return pattern.replace(r"(\d+)", r"\1").replace("(gate|up|down)", r"\2").replace(r"\.", ".")


def _join_gpt2(weights: Weights, p: ModelParams) -> Weights:
    """Fuse query, key and value into one matrix, and transpose linear layers to (in, out), as GPT-2 stores them."""
    joined: Weights = {}
    for name, weight in weights.items():
        if ".attention.key." in name or ".attention.value." in name:
            continue
        if ".attention.query.weight" in name:
            parts = [weights[name.replace("query", part)] for part in ("query", "key", "value")]
            layer = name.split(".")[1]
            joined[f"transformer.h.{layer}.attn.c_attn.weight"] = torch.cat(parts).T
            biases = [weights.get(f"blocks.{layer}.attention.{part}.bias") for part in ("query", "key", "value")]
            joined[f"transformer.h.{layer}.attn.c_attn.bias"] = torch.cat(
                [torch.zeros(p.width) if bias is None else bias.cpu() for bias in biases]
            )
        elif ".attention.query.bias" not in name:
            joined[name] = weight.T if _is_conv1d(name) else weight
    return joined


def _split_gpt2(weights: Weights, p: ModelParams) -> Weights:
    """The inverse of `_join_gpt2`."""
    split: Weights = {}
    for name, weight in weights.items():
        if match := re.fullmatch(r"transformer\.h\.(\d+)\.attn\.c_attn\.(weight|bias)", name):
            layer, kind = match.groups()
            for part, piece in zip(("query", "key", "value"), weight.split(p.width, dim=-1), strict=True):
                split[f"blocks.{layer}.attention.{part}.{kind}"] = piece.T if kind == "weight" else piece
        else:
            split[name] = weight.T if _is_conv1d(name) else weight
    return split


def _is_conv1d(name: str) -> bool:
    return re.search(r"\.(attention\.output|mlp\.up|mlp\.down)\.weight$", name) is not None
