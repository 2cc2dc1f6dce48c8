"""Which models of `transformers` this code computes exactly.

All others are refused: a key that is ignored would give a wrong model that still writes plausible text.
"""

from collections.abc import Iterator
from typing import Any

from tinylm.base.errors import quote
from tinylm.base.mistakes import got_value

# Keys that change what a model computes, with the values that this code computes. A missing key is the first of them.
SHARED: dict[str, tuple[Any, ...]] = {
    "quantization_config": (None,),
    "attention_multiplier": (None, 1.0),  # these belong to descendants of Llama, whose layout is otherwise the same
    "embedding_multiplier": (None, 1.0),
    "residual_multiplier": (None, 1.0),
    "logits_scaling": (None, 1.0),
    "final_logit_softcapping": (None,),
    "attn_logit_softcapping": (None,),
}
LLAMA = SHARED | {
    "hidden_act": ("silu", "swish"),
    "attention_bias": (False, None),
    "mlp_bias": (False, None),
    "use_sliding_window": (False, None),
    "partial_rotary_factor": (None, 1.0),
}
GPT2 = SHARED | {
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),  # two names of one function
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False, None),
    "add_cross_attention": (False, None),
}
ROPE_KEYS = {"rope_theta", "rope_type", "type"}


def unsupported(config: dict[str, Any]) -> Iterator[str]:
    """Yield one line for each key of a config.json with a value that this code does not compute."""
    for key, values in (GPT2 if config["model_type"] == "gpt2" else LLAMA).items():
        value = config.get(key, values[0])
        if not any(value == known and isinstance(value, bool) == isinstance(known, bool) for known in values):
            yield f"{key}: expected {got_value(values[0])}, got {got_value(value)}"
    layers = config.get("layer_types") or []
    if layers and (not isinstance(layers, list) or any(kind != "full_attention" for kind in layers)):
        yield f"layer_types: expected full_attention in all layers, got {quote(layers)}"
    for key in ("rope_parameters", "rope_scaling"):
        yield from _unsupported_rope(key, config.get(key))


def _unsupported_rope(key: str, rope: Any) -> Iterator[str]:
    """Yield a line unless `rope` is plain RoPE: no scaling, and not one entry for each kind of layer."""
    if rope is None:
        return
    if isinstance(rope, dict):
        kind = rope.get("rope_type") or rope.get("type") or "default"
        plain = {key for key, value in rope.items() if key in ROPE_KEYS or (key, value) == ("partial_rotary_factor", 1)}
        if kind == "default" and plain == rope.keys():
            return
    yield f"{key}: expected RoPE without scaling, got {quote(rope)}"
