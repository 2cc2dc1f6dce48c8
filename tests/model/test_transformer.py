"""The model equals the one of the same name in `transformers`."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.support import tiny
from tinylm.base.errors import UserError
from tinylm.model.folder import load_model, save_tokenizer, save_weights
from tinylm.model.transformer import Transformer

VOCAB = 300
KINDS = {
    "llama": {"qk_norm": False, "tie_embeddings": True},
    "qwen3": {"qk_norm": True, "tie_embeddings": True},
    "llama-untied": {"qk_norm": False, "tie_embeddings": False, "rope_base": 500_000.0},
    "gpt2": {"architecture": "gpt2", "qk_norm": False, "tie_embeddings": True},
    "gpt2-bias-untied": {"architecture": "gpt2", "qk_norm": False, "qkv_bias": True, "tie_embeddings": False},
}


@pytest.fixture(params=list(KINDS))
def model(request: pytest.FixtureRequest) -> Transformer:
    return tiny.make_model(VOCAB, spread=0.1, **KINDS[request.param])


def random_ids(tokens: int, stories: int = 2) -> torch.Tensor:
    return torch.randint(VOCAB, (stories, tokens), generator=torch.Generator().manual_seed(1))


def save(model: Transformer, folder: Path) -> None:
    save_weights(folder, model.state_dict(), model.params, VOCAB, end_of_text=0)


@torch.no_grad()
def test_transformers_computes_the_same_logits(model: Transformer, tmp_path: Path) -> None:
    save(model, tmp_path)
    theirs, loading = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    ids = random_ids(model.params.context)
    expected = theirs.eval()(ids).logits
    assert expected.std() > 0.3  # logits vary, so the comparison means something
    assert (model(ids) - expected).abs().max() < 1e-4


@torch.no_grad()
def test_a_saved_model_loads(model: Transformer, tmp_path: Path) -> None:
    save(model, tmp_path)
    ids = random_ids(40)
    assert torch.equal(load_model(tmp_path)(ids), model(ids))


def test_saving_twice_gives_the_same_bytes(model: Transformer, tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(model, tmp_path / name)
    for file in ("config.json", "model.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@torch.no_grad()
@pytest.mark.parametrize("granularity", [1, 20])
@pytest.mark.parametrize("parts", [[40], [1] * 40, [7, 1, 1, 20, 11]])
def test_the_cache_does_not_change_the_logits(model: Transformer, parts: list[int], granularity: int) -> None:
    ids = random_ids(40)
    cache = model.cache(2, 48, granularity)
    cached = torch.cat([model(part, cache) for part in ids.split(parts, dim=1)], dim=1)
    assert (cached - model(ids)).abs().max() < 1e-5


@torch.no_grad()
def test_attention_is_causal(model: Transformer) -> None:
    ids = random_ids(40)
    changed = ids.clone()
    changed[:, 20] = (changed[:, 20] + 1) % VOCAB
    difference = (model(ids) - model(changed)).abs().amax(dim=(0, 2))
    assert difference[:20].max() == 0
    assert difference[20:].min() > 0


@torch.no_grad()
def test_training_and_inference_compute_the_same_logits(model: Transformer) -> None:
    """On a CPU, training uses its own attention kernel."""
    ids = random_ids(40)
    assert (model.train()(ids) - model.eval()(ids)).abs().max() < 1e-5


@torch.no_grad()
def test_the_loss_is_the_cross_entropy(model: Transformer) -> None:
    ids, targets = random_ids(30), random_ids(31)[:, 1:]
    expected = F.cross_entropy(model(ids).permute(0, 2, 1), targets)
    assert torch.allclose(model.loss(ids, targets), expected)


def test_a_sequence_longer_than_the_context_is_refused(model: Transformer) -> None:
    with pytest.raises(ValueError, match="expected at most 64 tokens .* got 65"):
        model(random_ids(65))


@torch.no_grad()
def test_a_new_model_predicts_uniformly(model: Transformer) -> None:
    model.initialize(torch.Generator().manual_seed(3))
    loss = model.loss(random_ids(64), random_ids(65)[:, 1:])
    assert abs(loss.item() - torch.log(torch.tensor(VOCAB)).item()) < 0.1


@torch.no_grad()
def test_bf16_logits_are_close_to_float32(model: Transformer) -> None:
    ids = random_ids(40)
    expected = model(ids)
    model.compute_dtype = torch.bfloat16
    assert model(ids).dtype == torch.bfloat16
    assert (model(ids).float() - expected).abs().max() < 0.1 * expected.abs().max()


def test_initial_weights_come_from_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = tiny.make_model(seed=5).state_dict()
    torch.manual_seed(2)
    second = tiny.make_model(seed=5).state_dict()
    other = tiny.make_model(seed=6).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["embedding.weight"], other["embedding.weight"])


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_initial_weights_have_the_std_of_gpt2(architecture: str) -> None:
    """0.02, divided by sqrt(2 x layers) for projections into the residual stream."""
    sizes = {"layers": 3, "width": 128, "mlp_width": 256, "tie_embeddings": False}
    model = tiny.make_model(architecture=architecture, qk_norm=architecture == "llama", **sizes)
    for name, weight in model.named_parameters():
        if weight.ndim == 2:
            residual = ".attention.output." in name or ".mlp.down." in name
            expected = 0.02 / 6**0.5 if residual else 0.02
            assert weight.std().item() == pytest.approx(expected, rel=0.05), name  # standard error: 0.8%
            assert abs(weight.mean().item()) < 0.05 * expected, name
        else:
            assert weight.unique().tolist() == [0.0 if name.endswith("bias") else 1.0], name


def test_dropout_applies_in_training_only() -> None:
    model = tiny.make_model(architecture="gpt2", qk_norm=False, dropout=0.5)
    ids = random_ids(20)
    with torch.no_grad():
        assert torch.equal(model(ids), model(ids))
        model.train()
        assert not torch.equal(model(ids), model(ids))


def test_the_size_counts_shared_weights_once() -> None:
    tied, untied = (tiny.make_model(tie_embeddings=tied) for tied in (True, False))
    assert untied.size().parameters - tied.size().parameters == VOCAB * 32
    assert tied.size().megabytes_fp32 == 2 * tied.size().megabytes_bf16 == tied.size().parameters * 4 / 1e6


def test_transformers_loads_model_and_tokenizer(tmp_path: Path, tiny_store: Path) -> None:
    model = tiny.make_model()
    save(model, tmp_path)
    save_tokenizer(tmp_path, tiny_store / "tokenizer.json", 0, 64)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    ids = tokenizer("Once upon a time", return_tensors="pt")
    assert tokenizer.decode(ids["input_ids"][0]) == "Once upon a time"
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert theirs.generation_config.eos_token_id == 0
    assert theirs.generate(**ids, max_new_tokens=5, do_sample=False).shape[1] <= ids["input_ids"].shape[1] + 5


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.json: not found; run dvc repro, or dvc pull"):
        load_model(tmp_path)


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    save(tiny.make_model(), tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"model\.safetensors: damaged or not a safetensors file"):
        load_model(tmp_path)


def test_weights_that_do_not_match_the_config_are_refused(tmp_path: Path) -> None:
    save(tiny.make_model(), tmp_path)
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace('"intermediate_size": 64', '"intermediate_size": 96'))
    with pytest.raises(UserError, match=r"weights and config\.json do not fit"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"model_type": "bert"}', "expected model_type llama, qwen3 or gpt2, got 'bert'"),
        ('{"model_type": "llama"}', "the key '.*' is missing"),
        ("{", "not valid JSON"),
        ("[]", "expected a JSON object, got list"),
    ],
)
def test_an_unsupported_config_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "config.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        load_model(tmp_path)
