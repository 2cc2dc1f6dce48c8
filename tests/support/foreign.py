"""Small random models of `transformers`, and a tokenizer as Llama's."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, processors, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tests.support import tiny

VOCAB = 300
LLAMA = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "vocab_size": VOCAB,
}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "vocab_size": VOCAB, "bos_token_id": 0}
GPT2 |= {"eos_token_id": 0, "embd_pdrop": 0.0}
MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**LLAMA)),
    "llama-grouped": lambda: LlamaForCausalLM(LlamaConfig(**LLAMA, num_key_value_heads=2)),
    "llama-one-key": lambda: LlamaForCausalLM(LlamaConfig(**LLAMA, num_key_value_heads=1, tie_word_embeddings=True)),
    "llama-eps": lambda: LlamaForCausalLM(LlamaConfig(**LLAMA, rms_norm_eps=0.01)),
    "llama-theta": lambda: LlamaForCausalLM(
        LlamaConfig(**LLAMA, rope_parameters={"rope_type": "default", "rope_theta": 100.0})
    ),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**LLAMA, head_dim=8, num_key_value_heads=4)),
    "qwen3-grouped": lambda: Qwen3ForCausalLM(
        Qwen3Config(**LLAMA, head_dim=8, num_key_value_heads=2, tie_word_embeddings=True)
    ),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**GPT2)),
    "gpt2-eps": lambda: GPT2LMHeadModel(GPT2Config(**GPT2, layer_norm_epsilon=0.01, n_inner=40)),
    "gpt2-tanh": lambda: GPT2LMHeadModel(GPT2Config(**GPT2, activation_function="gelu_pytorch_tanh")),
}


def make(name: str) -> PreTrainedModel:
    """Return a model with random weights that make its logits differ; norms and biases are random, too."""
    torch.manual_seed(1)
    theirs = MODELS[name]().eval()
    with torch.no_grad():
        for weight in theirs.parameters():
            weight += 0.1 * torch.randn(weight.shape)
    return theirs


def edit(folder: Path, **changes: Any) -> None:
    """Change keys of config.json; None removes a key."""
    config = json.loads((folder / "config.json").read_text()) | changes
    text = json.dumps({key: value for key, value in config.items() if value is not None})
    (folder / "config.json").write_text(text)


def llama_tokenizer() -> Tokenizer:
    """Return a tokenizer as Llama's, of at most VOCAB entries: <s> and </s>, spaces as symbols, bytes for the rest."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    special = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(vocab_size=VOCAB, special_tokens=special, show_progress=False, max_token_length=8)
    tokenizer.train_from_iterator(tiny.stories(512), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def write_llama(folder: Path, **changes: Any) -> Path:
    """Write the folder of a random Llama with its own tokenizer; returns the folder."""
    make("llama-grouped").save_pretrained(folder)
    llama_tokenizer().save(str(folder / "tokenizer.json"))
    edit(folder, **changes)
    return folder
