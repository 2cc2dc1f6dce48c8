"""Convert model parameters to and from the config.json of `transformers`; weight_names.py converts the weights.

`llama` maps to LlamaForCausalLM, or with `qk_norm` to Qwen3ForCausalLM; `gpt2` maps to GPT2LMHeadModel.
"""

from typing import Any

from pydantic import ValidationError

from tinylm.base.errors import UserError, quote
from tinylm.base.mistakes import explain
from tinylm.model.params import ModelParams
from tinylm.model.supported import unsupported

LARGEST_VOCABULARY = 10_000_000
REMEDY = "use a model folder that this pipeline wrote, or a compatible one"


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
            "layer_norm_epsilon": p.norm_eps,
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
        "rms_norm_eps": p.norm_eps,
        "rope_theta": p.rope_base,
        "attention_bias": False,
        **shared,
    }


def from_config(config: dict[str, Any], name: str = "config.json") -> tuple[ModelParams, int]:
    """Return (parameters, vocabulary size) of a config.json; missing optional keys have the defaults of `transformers`.

    Raises UserError, which calls the file `name`, if `Transformer` does not compute the model that it describes.
    """
    kind = config.get("model_type")
    if kind not in ("gpt2", "llama", "qwen3"):
        raise UserError(f"{name}: expected model_type llama, qwen3 or gpt2, got {quote(kind)}")
    for line in unsupported(config):
        raise UserError(f"{name}: {line}, which this code does not compute; {REMEDY}")
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
    if kind != "gpt2":
        _check_heads(config, p, name)
    return p, vocab_size


def _from_gpt2(config: dict[str, Any]) -> ModelParams:
    width: Any = config["n_embd"]
    mlp_width: Any = config.get("n_inner")
    if mlp_width is None and type(width) is int:
        mlp_width = 4 * width
    return ModelParams(
        architecture="gpt2",
        layers=config["n_layer"],
        heads=config["n_head"],
        width=width,
        mlp_width=mlp_width,
        context=config["n_positions"],
        dropout=config.get("resid_pdrop", 0.1),
        qkv_bias=True,  # transformers always has this bias; `to_hf` writes zeros if the model has none
        qk_norm=False,
        tie_embeddings=config.get("tie_word_embeddings", True),
        rope_base=10_000.0,
        norm_eps=config.get("layer_norm_epsilon", 1e-5),
    )


def _from_llama(config: dict[str, Any]) -> ModelParams:
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
        tie_embeddings=config.get("tie_word_embeddings", False),
        rope_base=_rope_theta(config),
        norm_eps=config.get("rms_norm_eps", 1e-6),
    )


def _rope_theta(config: dict[str, Any]) -> Any:
    """Transformers 5 writes `rope_parameters`, earlier versions `rope_theta`."""
    rope = config.get("rope_parameters") or {}
    return rope.get("rope_theta", config.get("rope_theta", 10_000.0))


def key_value_heads(config: dict[str, Any], p: ModelParams) -> int:
    """Return how many heads have keys and values of their own; fewer than `p.heads` in grouped-query attention."""
    default = 32 if config["model_type"] == "qwen3" else None
    return config.get("num_key_value_heads", default) or p.heads


def _check_heads(config: dict[str, Any], p: ModelParams, name: str) -> None:
    heads, head_size = key_value_heads(config, p), p.width // p.heads
    if type(heads) is not int or not 0 < heads <= p.heads or p.heads % heads:
        raise UserError(f"{name}: num_key_value_heads: expected a divisor of {p.heads}, got {quote(heads)}; {REMEDY}")
    found = config.get("head_dim", 128 if config["model_type"] == "qwen3" else None)
    if found not in (None, head_size):
        raise UserError(
            f"{name}: head_dim: expected {head_size} (hidden_size / num_attention_heads), got {quote(found)}, "
            f"which this code does not compute; {REMEDY}"
        )
