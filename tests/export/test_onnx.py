"""`tinylm export --format onnx`: ONNX Runtime computes the model of a folder, and write.py writes its stories."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from transformers import AutoConfig, AutoTokenizer

from tests.export.conftest import LAYOUTS
from tinylm.base.params import Section
from tinylm.cli.main import main
from tinylm.export import onnx_folder
from tinylm.export.exporting import CHECKSUMS, export
from tinylm.export.onnx_graph import build
from tinylm.export.source import Source, read_source
from tinylm.export.static.write import choose
from tinylm.model.folder import save_tokenizer, save_weights

TOLERANCE = 1e-5  # of logits up to 5
PROMPT = "Once upon a time"

Cache = list[np.ndarray]


class Runtime:
    """A model in ONNX Runtime."""

    def __init__(self, model: str | bytes, p: Section):
        self.p = p
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def __call__(
        self, ids: np.ndarray, cache: Cache | None = None, real: np.ndarray | None = None
    ) -> tuple[np.ndarray, Cache]:
        """Return the logits of ids (B, T) after those in the cache, and the new cache.

        `real` (B, S + T) is 0 for padding, on which no position is spent; None: no padding.
        """
        B, T = ids.shape
        empty = np.zeros((B, self.p.heads, 0, self.p.width // self.p.heads), np.float32)
        cache = cache or [empty] * (2 * self.p.layers)
        if real is None:
            real = np.ones((B, cache[0].shape[2] + T), np.int64)
        positions = np.maximum(real.cumsum(1) - 1, 0)[:, -T:]
        names = [f"past_key_values.{layer}.{part}" for layer in range(self.p.layers) for part in ("key", "value")]
        inputs = {"input_ids": ids, "attention_mask": real, "position_ids": positions}
        logits, *cache = self.session.run(None, inputs | dict(zip(names, cache, strict=True)))
        return logits, cache


@pytest.fixture(scope="module", params=LAYOUTS)
def source(request: pytest.FixtureRequest, make_source: Callable[..., Source]) -> Source:
    return make_source(request.param, norm_eps=1e-3)


@pytest.fixture(scope="module")
def model(source: Source) -> onnx.ModelProto:
    return build(source)


@pytest.fixture(scope="module")
def runtime(source: Source, model: onnx.ModelProto) -> Runtime:
    return Runtime(model.SerializeToString(), source.params)


def random_ids(source: Source, B: int, T: int) -> np.ndarray:
    return np.random.default_rng(B).integers(0, source.vocab_size, (B, T))


def our_logits(source: Source, ids: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return source.model()(torch.from_numpy(ids)).numpy()


def close(actual: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE)


# ---- the graph


def test_it_is_valid_and_made_of_standard_operators_of_2022(model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == {""}
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]
    assert model.ir_version == 8  # both of ONNX 1.12, which ONNX Runtime 1.12 reads


def test_inputs_and_outputs_are_those_that_optimum_and_transformers_js_expect(source: Source, runtime: Runtime) -> None:
    p, session = source.params, runtime.session
    past = ["batch_size", p.heads, "past_sequence_length", p.width // p.heads]
    present = ["batch_size", p.heads, "total_sequence_length", p.width // p.heads]
    parts = [f"{layer}.{part}" for layer in range(p.layers) for part in ("key", "value")]
    tokens, integers = ["batch_size", "sequence_length"], "tensor(int64)"
    assert {value.name: (value.type, value.shape) for value in session.get_inputs()} == {
        "input_ids": (integers, tokens),
        "attention_mask": (integers, ["batch_size", "total_sequence_length"]),
        "position_ids": (integers, tokens),
        **{f"past_key_values.{part}": ("tensor(float)", past) for part in parts},
    }
    assert {value.name: (value.type, value.shape) for value in session.get_outputs()} == {
        "logits": ("tensor(float)", [*tokens, source.vocab_size]),
        **{f"present.{part}": ("tensor(float)", present) for part in parts},
    }


def test_a_tied_embedding_is_stored_once(source: Source, model: onnx.ModelProto) -> None:
    entries = source.vocab_size * source.params.width
    large = [constant.name for constant in model.graph.initializer if np.prod(constant.dims) == entries]
    assert large == ["embedding.weight"] if source.params.tie_embeddings else ["embedding.weight", "head.weight"]


# ---- its logits


def test_logits_in_one_pass(source: Source, runtime: Runtime) -> None:
    ids = random_ids(source, 2, source.params.context)
    close(runtime(ids)[0], our_logits(source, ids))


def test_logits_in_steps_with_the_cache(source: Source, runtime: Runtime) -> None:
    """A prompt, several tokens at once, then token by token."""
    ids = random_ids(source, 3, 40)
    steps, cache = [], None
    for start, end in [(0, 7), (7, 12), *((n, n + 1) for n in range(12, 40))]:
        logits, cache = runtime(ids[:, start:end], cache)
        steps.append(logits)
        assert {part.shape[2] for part in cache} == {end}
    close(np.concatenate(steps, 1), our_logits(source, ids))


def test_padding_on_the_left_changes_nothing(source: Source, runtime: Runtime) -> None:
    ids, paddings = random_ids(source, 3, 30), [0, 4, 19]
    real = np.array([[0] * padding + [1] * (30 - padding) for padding in paddings])
    first, cache = runtime(ids[:, :25], None, real[:, :25])
    steps = [first]
    for n in range(25, 30):
        logits, cache = runtime(ids[:, n : n + 1], cache, real[:, : n + 1])
        steps.append(logits)
    together = np.concatenate(steps, 1)
    assert np.isfinite(together).all()
    for row, padding in enumerate(paddings):
        close(together[row, padding:], our_logits(source, ids[row : row + 1, padding:])[0])


def test_no_bias_for_queries_keys_and_values(make_source: Callable[..., Source]) -> None:
    source = make_source("gpt2", qkv_bias=False)
    ids = random_ids(source, 1, 9)
    close(Runtime(build(source).SerializeToString(), source.params)(ids)[0], our_logits(source, ids))


# ---- the folder


def test_equal_models_give_equal_bytes(source: Source, tmp_path: Path) -> None:
    folders = [export(source, "onnx", "f32", tmp_path / name)[0] for name in "ab"]
    first, second = ((folder / CHECKSUMS).read_bytes() for folder in folders)
    assert first == second


def test_weights_that_one_file_cannot_hold_are_in_a_second_one(
    make_source: Callable[..., Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_source("llama")
    monkeypatch.setattr(onnx_folder, "LARGEST_FILE", 10_000)
    folder, files = export(source, "onnx", "f32", tmp_path)
    sizes = {file.path.name: file.size for file in files}
    assert sizes["model.onnx_data"] > 4 * source.vocab_size * source.params.width
    onnx.checker.check_model(str(folder / "model.onnx"))
    ids = random_ids(source, 1, 9)
    close(Runtime(str(folder / "model.onnx"), source.params)(ids)[0], our_logits(source, ids))


def test_transformers_reads_tokenizer_and_configuration(source: Source, tmp_path: Path) -> None:
    folder, _ = export(source, "onnx", "f32", tmp_path)
    tokenizer, config = AutoTokenizer.from_pretrained(folder), AutoConfig.from_pretrained(folder)
    text = "Lily found the kite."
    assert tokenizer(text)["input_ids"] == source.tokenizer.encode(text).ids
    assert tokenizer.padding_side == "left"
    assert config.to_dict() == AutoConfig.from_pretrained(source.folder).to_dict() | {"_name_or_path": str(folder)}


def test_the_token_that_ends_a_story_has_our_name(make_source: Callable[..., Source], tmp_path: Path) -> None:
    folder = make_source("llama").folder
    path = folder / "tokenizer.json"
    path.write_text(path.read_text(encoding="utf-8").replace("<|endoftext|>", "</s>"), encoding="utf-8")
    source = read_source(folder)
    exported, _ = export(source, "onnx", "f32", tmp_path)
    assert AutoTokenizer.from_pretrained(exported).eos_token_id == source.end_of_text


# ---- write.py


def run_script(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"PYTHONUTF8": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, folder / "write.py", *words]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment, cwd="/")


def our_story(folder: Path, capsys: pytest.CaptureFixture[str], prompt: str) -> tuple[str, str]:
    """What `tinylm write` writes, and what it says about it."""
    assert main(["write", prompt, "--model", str(folder), "--temperature", "0", "--top-p", "none"]) == 0
    captured = capsys.readouterr()
    return captured.out, captured.err


@pytest.mark.parametrize("layout", ["qwen3", "gpt2"])
def test_a_story_to_the_end_of_the_context(
    make_source: Callable[..., Source], tmp_path: Path, capsys: pytest.CaptureFixture[str], layout: str
) -> None:
    source = make_source(layout, context=64)
    expected, note = our_story(source.folder, capsys, PROMPT)
    assert "reached the maximum length: 63 tokens" in note
    done = run_script(export(source, "onnx", "f32", tmp_path)[0], PROMPT, "--temperature", "0")
    assert done.stderr == ""
    assert done.stdout == expected


def test_a_story_that_ends(
    make_source: Callable[..., Source], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The token that ends a story gets the weights of the last one that the model writes for the first time."""
    source = make_source("llama")
    model, end = source.model(), source.end_of_text
    ids = [end, *source.tokenizer.encode(PROMPT).ids]
    for _ in range(8):
        ids.append(int(our_logits(source, np.array([ids]))[0, -1].argmax()))
    with torch.no_grad():
        model.head.weight[[end, ids[-1]]] = model.head.weight[[ids[-1], end]]
    folder = tmp_path / "model"
    save_weights(folder, model.state_dict(), source.params, source.vocab_size, end)
    save_tokenizer(folder, source.folder / "tokenizer.json", end, source.params.context)
    expected, note = our_story(folder, capsys, PROMPT)
    assert "reached end-of-text" in note
    done = run_script(export(read_source(folder), "onnx", "f32", tmp_path)[0], PROMPT, "--temperature", "0")
    assert done.stderr == ""
    assert done.stdout == expected


def test_mistakes_are_one_line_below_the_usage(make_source: Callable[..., Source], tmp_path: Path) -> None:
    source = make_source("llama", context=32)
    folder, _ = export(source, "onnx", "f32", tmp_path)
    assert len(source.tokenizer.encode("#" * 31).ids) == 31
    cases: list[tuple[list[str], int, str]] = [
        (["#" * 30], 0, ""),
        (["#" * 31], 2, "error: prompt: expected fewer than 31 tokens, got 31"),
        (["--temperature", "-1"], 2, "error: --temperature: expected at least 0, got -1.0"),
        (["--temperature", "nan"], 2, "error: --temperature: expected at least 0, got nan"),
    ]
    for words, code, message in cases:
        done = run_script(folder, *words)
        assert done.returncode == code
        assert message in (done.stderr.splitlines() or [""])[-1]


def test_drawing_from_the_distribution() -> None:
    logits = np.log(np.array([1, 4], np.float32)) + 200
    assert choose(logits, 0) == 1
    for temperature, share in ((1.0, 1 / 5), (0.5, 1 / 17), (1e-3, 0.0)):
        drawn = [choose(logits, temperature) for _ in range(2000)]
        assert drawn.count(0) / 2000 == pytest.approx(share, abs=0.06 if share else 0)  # six standard deviations
