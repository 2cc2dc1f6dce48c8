"""A model folder in other programs: Transformers loads it, saves it again and writes with it; vLLM reads its config."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, pipeline

from tests.support import tiny
from tinylm.base.errors import UserError
from tinylm.model import huggingface
from tinylm.model.folder import load_model, save_tokenizer, save_weights
from tinylm.model.transformer import Transformer
from tinylm.sampling.streaming import open_generator

VOCAB, CONTEXT = 300, 64
KINDS = {
    "llama": {"qk_norm": False, "rope_base": 500.0},
    "qwen3": {"qk_norm": True, "tie_embeddings": True},
    "gpt2": {"architecture": "gpt2", "qk_norm": False, "tie_embeddings": True},
}


@pytest.fixture(params=list(KINDS))
def model(request: pytest.FixtureRequest) -> Transformer:
    return tiny.make_model(VOCAB, spread=0.1, context=CONTEXT, **KINDS[request.param])


@pytest.fixture
def folder(model: Transformer, tiny_store: Path, tmp_path: Path) -> Path:
    save_weights(tmp_path, model.state_dict(), model.params, VOCAB, end_of_text=0)
    save_tokenizer(tmp_path, tiny_store / "tokenizer.json", 0, CONTEXT)
    return tmp_path


@torch.no_grad()
def test_what_transformers_saves_again_loads(model: Transformer, folder: Path) -> None:
    """Transformers 5 writes the base of RoPE under another name."""
    again = folder / "again"
    AutoModelForCausalLM.from_pretrained(folder).save_pretrained(again)
    AutoTokenizer.from_pretrained(folder).save_pretrained(again)
    config = json.loads((again / "config.json").read_text())
    assert "rope_theta" not in config  # else this test shows nothing
    assert ("rope_parameters" in config) == (model.params.architecture == "llama")
    loaded, ids = load_model(again), torch.arange(40)[None]
    assert loaded.params == model.params.model_copy(update={"qkv_bias": model.params.architecture == "gpt2"})
    assert torch.equal(loaded(ids), model(ids))
    before, after = (open_generator(each).tokenizer.encode("One day").ids for each in (folder, again))
    assert before == after


@pytest.mark.parametrize(
    "parameters", [{"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0}, [500.0]], ids=["scaled", "list"]
)
def test_another_kind_of_rope_is_refused(parameters: Any) -> None:
    config = huggingface.to_config(tiny.model_params(), VOCAB, 0) | {"rope_parameters": parameters}
    with pytest.raises(UserError, match=r"config\.json: rope_parameters: expected RoPE without scaling, got") as error:
        huggingface.from_config(config)
    assert "use a model folder that this pipeline wrote" in str(error.value)


def test_rope_parameters_come_before_rope_theta() -> None:
    config = huggingface.to_config(tiny.model_params(), VOCAB, 0)
    for parameters, base in (({"rope_theta": 500.0}, 500.0), (None, 10_000.0)):
        p, _ = huggingface.from_config(config | {"rope_theta": 10_000.0, "rope_parameters": parameters})
        assert p.rope_base == base


def test_a_pipeline_writes_within_the_context(model: Transformer, folder: Path) -> None:
    write = pipeline("text-generation", str(folder))
    write.model.generation_config.eos_token_id = None  # so that nothing but the context ends it
    (found,) = write("Once upon a time", return_tensors=True)
    assert len(found["generated_token_ids"]) == CONTEXT


def test_a_batch_of_prompts_gives_what_each_gives_alone(folder: Path) -> None:
    write = pipeline("text-generation", str(folder), do_sample=False, max_new_tokens=5)
    prompts = ["Once upon a time, there was", "One"]
    together = [story["generated_text"] for (story,) in write(prompts, batch_size=2)]
    assert together == [write(prompt)[0]["generated_text"] for prompt in prompts]
    assert all(map(str.startswith, together, prompts))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.padding_side == "left"  # also without a pipeline
    # Transformers 4 would give token_type_ids too, and its `generate` then refuses the batch.
    assert (
        json.loads((folder / "tokenizer_config.json").read_text())["model_input_names"] == tokenizer.model_input_names
    )


def test_the_config_keeps_the_rules_of_vllm(model: Transformer, folder: Path) -> None:
    """As in vLLM's ModelArchConfigConvertorBase and patch_rope_parameters, which read the config of Transformers."""
    p, config = model.params, AutoConfig.from_pretrained(folder)
    assert config.architectures in (["LlamaForCausalLM"], ["Qwen3ForCausalLM"], ["GPT2LMHeadModel"])
    assert (config.num_hidden_layers, config.num_attention_heads) == (p.layers, p.heads)
    assert (config.hidden_size, config.vocab_size) == (p.width, VOCAB)
    assert getattr(config, "head_dim", p.width // p.heads) == p.width // p.heads
    assert getattr(config, "num_key_value_heads", p.heads) == p.heads
    assert config.max_position_embeddings == CONTEXT
    assert config.dtype == torch.float32
    assert config.tie_word_embeddings == p.tie_embeddings
    assert config.bos_token_id == config.eos_token_id == 0
    if p.architecture == "llama":
        config.standardize_rope_params()
        config.validate_rope()
        assert config.rope_parameters == {"rope_type": "default", "rope_theta": p.rope_base}
    else:  # which its GPT-2 asserts
        others = ("add_cross_attention", "scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn")
        assert not any(getattr(config, name) for name in others)
