"""Convert weights to and from the names and layouts of `transformers`."""

import re

import torch
from torch import Tensor

from tinylm.base.errors import UserError
from tinylm.model.params import ModelParams

Weights = dict[str, Tensor]

BUFFERS = re.compile(r"\.attn\.(bias|masked_bias)$|\.rotary_emb\.inv_freq$")  # computed, not learned
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


def to_hf(weights: Weights, p: ModelParams) -> Weights:
    """Return the weights in float32, contiguous, under the names used by `transformers`."""
    weights = {name: weight.detach().float() for name, weight in weights.items()}
    if p.tie_embeddings:
        weights.pop("head.weight", None)
    if p.architecture == "gpt2":
        weights = _join_gpt2(weights, p)
    names = GPT2_NAMES if p.architecture == "gpt2" else LLAMA_NAMES
    return {_rename(name, names): weight.contiguous() for name, weight in weights.items()}


def from_hf(weights: Weights, p: ModelParams, key_value_heads: int | None = None) -> Weights:
    """Return weights named as in `transformers` under our names: the inverse of `to_hf`.

    With fewer `key_value_heads` than heads (grouped-query attention, Ainslie et al. 2023, arXiv:2305.13245), the keys
    and values of each group are repeated for its heads. That gives the same logits with more parameters.
    """
    names = GPT2_NAMES if p.architecture == "gpt2" else LLAMA_NAMES
    inverse = {_as_pattern(theirs): _as_replacement(ours) for ours, theirs in names.items()}
    prefix = "transformer." if p.architecture == "gpt2" else "model."
    ours = {_rename(name, inverse): weight for name, weight in _with_prefix(weights, prefix).items()}
    if p.architecture == "gpt2":
        ours = _split_gpt2(ours, p)
    elif key_value_heads and key_value_heads < p.heads:
        ours = _repeat_groups(ours, p, key_value_heads)
    if p.tie_embeddings and "embedding.weight" in ours:
        ours["head.weight"] = ours["embedding.weight"]
    return ours


def _with_prefix(weights: Weights, prefix: str) -> Weights:
    """Add the prefix that files of a bare model lack (GPT-2 on the Hub), and drop buffers of old versions."""
    if not any(name.startswith(prefix) for name in weights):
        weights = {name if name.startswith("lm_head.") else prefix + name: weight for name, weight in weights.items()}
    return {name: weight for name, weight in weights.items() if not BUFFERS.search(name)}


def _repeat_groups(weights: Weights, p: ModelParams, key_value_heads: int) -> Weights:
    """Repeat the keys and values of each head that has some, (key_value_heads * K, D), to (D, D)."""
    head_size = p.width // p.heads
    repeated = dict(weights)
    for name, weight in weights.items():
        if re.search(r"\.attention\.(key|value)\.weight$", name):
            if weight.shape[0] != (rows := key_value_heads * head_size):
                raise UserError(
                    f"weights and config.json do not fit ({name}: expected {rows} rows, {key_value_heads} heads with "
                    f"keys and values, got {weight.shape[0]}); copy the model again"
                )
            groups = weight.unflatten(0, (key_value_heads, head_size))
            repeated[name] = groups.repeat_interleave(p.heads // key_value_heads, 0).flatten(0, 1)
    return repeated


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
        match = re.fullmatch(r"transformer\.h\.(\d+)\.attn\.c_attn\.(weight|bias)", name)
        if match and weight.shape[-1] == 3 * p.width:
            layer, kind = match.groups()
            for part, piece in zip(("query", "key", "value"), weight.split(p.width, dim=-1), strict=True):
                split[f"blocks.{layer}.attention.{part}.{kind}"] = piece.T if kind == "weight" else piece
        else:
            split[name] = weight.T if _is_conv1d(name) else weight
    return split


def _is_conv1d(name: str) -> bool:
    return re.search(r"\.(attention\.output|mlp\.up|mlp\.down)\.weight$", name) is not None
