"""Generation: a seed gives the same stories in any batch, sampled from the right distribution."""

import copy
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from tests.support import tiny
from tinylm.base.errors import UserError
from tinylm.compute.counter_rng import uniform
from tinylm.model import inference
from tinylm.model.inference import OneRowLinear, PackedLinear, for_inference
from tinylm.model.kv_cache import KVCache
from tinylm.model.layers import Linear
from tinylm.model.transformer import Transformer
from tinylm.sampling.generation import CompiledStep, Generated, generate, stories_at_once, stream
from tinylm.sampling.sampler import Sampling, draw

END = 0
SAMPLING = Sampling(temperature=1.0, top_k=None, top_p=None, max_tokens=40, seed=3)
PROMPTS = [[5], [7, 8, 9, 10, 11], [7, 8, 9, 10, 11], [4] * 20, [12, 13]]
NUMBERS = [0, 1, 2, 3, 4]


@pytest.fixture(params=["llama", "gpt2"])
def model(request: pytest.FixtureRequest) -> Transformer:
    return tiny.make_model(60, spread=0.2, architecture=request.param, qk_norm=request.param == "llama")


def generate_all(model: Transformer, prompts: list[list[int]], numbers: list[int], **changes: Any) -> list[Generated]:
    return list(generate(model, prompts, numbers, [replace(SAMPLING, **changes)] * len(prompts), END))


@torch.no_grad()
def plain_loop(model: Transformer, prompt: list[int], number: int, sampling: Sampling) -> list[int]:
    """Generate one story without a cache."""
    ids = [END, *prompt]
    while len(ids) < min(sampling.max_tokens + 1, model.params.context):
        logits = model(torch.tensor([ids]))[:, -1]
        token = draw(logits, uniform(sampling.seed, np.array([number]), len(ids)), sampling).item()
        if token == END:
            break
        ids.append(token)
    return ids[1 + len(prompt) :]


@pytest.mark.parametrize("changes", [{}, {"temperature": 0.0}, {"top_k": 5}, {"top_p": 0.8, "temperature": 1.3}])
def test_cache_and_batch_do_not_change_the_stories(model: Transformer, changes: dict[str, Any]) -> None:
    sampling = replace(SAMPLING, **changes)
    stories = generate_all(model, PROMPTS, NUMBERS, **changes)
    assert [story.prompt for story in stories] == PROMPTS
    for story, prompt, number in zip(stories, PROMPTS, NUMBERS, strict=True):
        assert story.continuation == plain_loop(model, prompt, number, sampling)


def test_a_story_generated_alone_equals_the_one_from_a_batch(model: Transformer) -> None:
    together = generate_all(model, PROMPTS, NUMBERS)
    alone = [generate_all(model, [prompt], [number])[0] for prompt, number in zip(PROMPTS, NUMBERS, strict=True)]
    assert [story.continuation for story in together] == [story.continuation for story in alone]


@pytest.mark.torture
def test_a_compiled_step_generates_the_same_stories() -> None:
    model = tiny.make_model(60, spread=0.2, layers=1)
    step = CompiledStep(model)
    step.warm_up()
    with torch.compiler.set_stance("fail_on_recompile"):
        for prompt, number in zip(PROMPTS, NUMBERS, strict=True):
            story = list(stream(model, prompt, number, SAMPLING, END, step))
            assert story == list(stream(model, prompt, number, SAMPLING, END))


@pytest.mark.parametrize("together", [True, False])
def test_layers_for_inference_compute_the_same(
    model: Transformer, together: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "CACHED_BYTES", 0)
    fast = for_inference(copy.deepcopy(model), together)
    kind = PackedLinear if together else OneRowLinear
    assert sum(isinstance(module, kind) for module in fast.modules()) == sum(
        isinstance(module, Linear) for module in model.modules()
    )
    assert fast.size() == model.size()
    ids = torch.randint(0, 60, (3, 20), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert (fast(ids) - model(ids)).abs().max() < 1e-4
    for prompt, number in zip(PROMPTS, NUMBERS, strict=True):
        expected = list(stream(model, prompt, number, SAMPLING, END))
        assert list(stream(fast, prompt, number, SAMPLING, END)) == expected


@torch.no_grad()
@pytest.mark.parametrize("outputs", [6, 7])
@pytest.mark.parametrize("rows", [1, 3])
def test_a_layer_for_one_row_also_has_more(outputs: int, rows: int) -> None:
    layer, x = Linear(5, outputs), torch.randn(rows, 1, 5, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(OneRowLinear(layer)(x), layer(x), atol=1e-6)


def test_where_layers_for_inference_are_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    def kinds(dtype: torch.dtype, together: bool) -> set[type]:
        model = for_inference(tiny.make_model(60).to(dtype), together)
        return {type(module) for module in model.modules() if type(module).__name__.endswith("Linear")}

    assert kinds(torch.float32, False) == {Linear}
    assert kinds(torch.float32, True) == kinds(torch.bfloat16, True) == kinds(torch.bfloat16, False) == {PackedLinear}
    monkeypatch.setattr(inference, "CACHED_BYTES", 0)
    assert kinds(torch.float32, False) == {OneRowLinear}
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert kinds(torch.float32, True) == {Linear}


def test_each_story_has_its_own_sampling(model: Transformer) -> None:
    changes: list[dict[str, Any]] = [
        {"temperature": 0.0},
        {"top_k": 5, "seed": 9},
        {},
        {"top_p": 0.8, "temperature": 1.3, "max_tokens": 25},
        {"temperature": 0.0, "max_tokens": 9},
    ]
    prompts = [[5], [7, 8], [7, 8], [4] * 3, [12, 13]]
    samplings = [replace(SAMPLING, **change) for change in changes]
    together = list(generate(model, prompts, NUMBERS, samplings, END))
    for story, prompt, number, sampling in zip(together, prompts, NUMBERS, samplings, strict=True):
        assert story.continuation == plain_loop(model, prompt, number, sampling)
        assert story.ended == (len(story.prompt + story.continuation) < sampling.max_tokens)


def test_bfloat16_logits_are_close_to_float32(model: Transformer) -> None:
    """On CPUs, bfloat16 decoding has its own attention kernel."""
    low = copy.deepcopy(model).to(torch.bfloat16)
    low.compute_dtype = torch.bfloat16
    ids = torch.randint(0, 60, (3, 20), generator=torch.Generator().manual_seed(0))
    cache = low.cache(3, 20)
    with torch.no_grad():
        steps = torch.cat([low(ids[:, position : position + 1], cache) for position in range(20)], 1)
        assert (steps.float() - model(ids)).abs().max() < 0.1 * model(ids).abs().max()


def test_streaming_yields_the_same_story(model: Transformer) -> None:
    for story, prompt, number in zip(generate_all(model, PROMPTS, NUMBERS), PROMPTS, NUMBERS, strict=True):
        assert list(stream(model, prompt, number, SAMPLING, END)) == story.continuation


def test_rows_of_ended_stories_are_dropped(model: Transformer, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = []
    keep = KVCache.keep
    monkeypatch.setattr(KVCache, "keep", lambda cache, kept: (rows.append(len(kept)), keep(cache, kept))[1])
    stories = generate_all(model, [[5]] * 24, list(range(24)))
    assert rows == sorted(set(rows), reverse=True)
    assert all(after <= before * 7 / 8 for before, after in pairwise([24, *rows]))
    going_on = sum(not story.ended for story in stories)
    assert rows[-1] * 7 / 8 <= going_on <= rows[-1] < 24
    for number, story in enumerate(stories):
        assert story.continuation == plain_loop(model, [5], number, SAMPLING)


def test_a_cache_keeps_rows_in_the_order_given() -> None:
    model = tiny.make_model(60)
    cache = model.cache(4, 10)
    ids = torch.randint(0, 60, (4, 6), generator=torch.Generator().manual_seed(1))
    order = torch.tensor([3, 1, 0])
    with torch.no_grad():
        model(ids[:, :5], cache)
        keys, values = ([tensor.clone() for tensor in each] for each in (cache.keys, cache.values))
        cache.keep(order)
        for layer in range(len(keys)):
            assert torch.equal(keys[layer][order][..., :5], cache.keys[layer][..., :5])
            assert torch.equal(values[layer][order][:, :, :5], cache.values[layer][:, :, :5])
        assert torch.allclose(model(ids[order, 5:], cache)[:, 0], model(ids[order])[:, -1], atol=1e-5)


def test_more_stories_than_fit_into_memory(model: Transformer, monkeypatch: pytest.MonkeyPatch) -> None:
    p = model.params
    bytes_per_story = 7 * 2 * p.layers * p.width * 4
    monkeypatch.setattr("tinylm.sampling.generation.CACHE_BYTES", 3 * bytes_per_story + 1)
    assert stories_at_once(model, 7) == 3
    assert stories_at_once(model, 1000) == 1
    batches = []
    cache = model.cache
    monkeypatch.setattr(model, "cache", lambda batch, *rest: (batches.append(batch), cache(batch, *rest))[1])
    stories = generate_all(model, [[5]] * 8, list(range(8)), max_tokens=6)
    assert batches == [3, 3, 2]
    assert [story.continuation for story in stories] == [
        generate_all(model, [[5]], [number], max_tokens=6)[0].continuation for number in range(8)
    ]


def test_the_largest_batch() -> None:
    assert stories_at_once(tiny.make_model(60), 32) == 512


def test_numbers_and_seeds_change_the_story_of_a_prompt(model: Transformer) -> None:
    first, second = generate_all(model, [[5], [5]], [0, 1])
    assert first.continuation != second.continuation
    assert generate_all(model, [[5]], [0], seed=4)[0].continuation != first.continuation


def test_greedy_stories_do_not_depend_on_the_seed(model: Transformer) -> None:
    assert generate_all(model, [[5]], [0], temperature=0.0) == generate_all(model, [[5]], [9], temperature=0.0, seed=8)


def test_a_story_ends_at_its_end_of_text(model: Transformer) -> None:
    stories = generate_all(model, [[5]] * 64, list(range(64)))
    assert {story.ended for story in stories} == {True, False}
    for story in stories:
        assert END not in story.continuation
        assert story.ended == (len(story.continuation) < 39)


@torch.no_grad()
def test_the_log_probability_is_at_temperature_one(model: Transformer) -> None:
    for story in generate_all(model, PROMPTS, NUMBERS, temperature=0.5, top_k=9):
        ids = [END, *story.prompt, *story.continuation, *([END] if story.ended else [])]
        losses = F.cross_entropy(model(torch.tensor([ids[:-1]]))[0], torch.tensor(ids[1:]), reduction="none")
        assert story.log_probability == pytest.approx(-float(losses[len(story.prompt) :].mean()), abs=1e-4)


def test_a_story_does_not_exceed_the_context(model: Transformer) -> None:
    longest = max(
        len(story.continuation) for story in generate_all(model, [[5]] * 16, list(range(16)), max_tokens=10_000)
    )
    assert longest == model.params.context - 2


def test_a_prompt_that_leaves_no_room_is_refused(model: Transformer) -> None:
    with pytest.raises(UserError, match="expected prompts of fewer than 40 tokens, got 40; shorten the prompt"):
        generate_all(model, [[5], [5] * 40], [0, 1])


LOGITS = torch.log(torch.tensor([[0.5, 0.1, 0.3, 0.05, 0.05]]))


def shares(**changes: Any) -> list[float]:
    """Return how often each id is drawn, for uniforms spread evenly over [0, 1)."""
    uniforms = (np.arange(10_000) + 0.5) / 10_000
    drawn = draw(LOGITS.expand(10_000, -1), uniforms, replace(SAMPLING, **changes))
    shares: list[float] = (np.bincount(drawn, minlength=5) / 10_000).tolist()
    return shares


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [0.5, 0.1, 0.3, 0.05, 0.05]),
        ({"top_k": 1}, [1, 0, 0, 0, 0]),
        ({"top_k": 2}, [0.625, 0, 0.375, 0, 0]),
        ({"top_k": 99}, [0.5, 0.1, 0.3, 0.05, 0.05]),
        ({"top_p": 0.4}, [1, 0, 0, 0, 0]),
        ({"top_p": 0.6}, [0.625, 0, 0.375, 0, 0]),
        ({"top_p": 1.0}, [0.5, 0.1, 0.3, 0.05, 0.05]),
        ({"temperature": 0.0}, [1, 0, 0, 0, 0]),
        ({"temperature": 0.5}, [0.25 / 0.355, 0.01 / 0.355, 0.09 / 0.355, 0.0025 / 0.355, 0.0025 / 0.355]),
        ({"temperature": 1e-4}, [1, 0, 0, 0, 0]),
    ],
)
def test_ids_are_drawn_with_the_right_frequency(changes: dict[str, Any], expected: list[float]) -> None:
    assert shares(**changes) == pytest.approx(expected, abs=2e-4)


def test_the_smallest_and_largest_uniform() -> None:
    drawn = draw(LOGITS.expand(2, -1), np.array([0.0, 1 - 2**-53]), SAMPLING)
    assert drawn.tolist() == [0, 4]


@given(
    seed=st.integers(0, 2**31),
    scale=st.sampled_from([0.0, 0.01, 0.3, 2.0, 8.0]),
    top_p=st.floats(0.05, 1.0),
    vocabulary=st.sampled_from([5, 17, 130, 700]),
)
def test_the_nucleus_by_its_definition(seed: int, scale: float, top_p: float, vocabulary: int) -> None:
    """Whatever the way to it: few candidates for peaked distributions, sorting for flat ones."""
    logits = torch.randn(6, vocabulary, generator=torch.Generator().manual_seed(seed)) * scale
    uniforms = np.random.default_rng(seed).random(6)
    drawn = draw(logits, uniforms, replace(SAMPLING, top_p=top_p))
    for p, token, u in zip(logits.softmax(-1).double().numpy(), drawn, uniforms, strict=True):
        order = np.argsort(-p, kind="stable")
        before = p[order].cumsum() - p[order]
        nucleus = order[before < top_p]
        assert p[token] >= p[nucleus[-1]]  # equally likely ids may stand for each other
        cumulative = p[nucleus].cumsum()
        place = min(int((cumulative <= u * cumulative[-1]).sum()), len(nucleus) - 1)
        assert p[token] == pytest.approx(p[nucleus[place]], rel=1e-9)


def test_equally_likely_ids_are_all_drawn() -> None:
    """From a flat distribution over more ids than the candidates."""
    drawn = draw(torch.zeros(1000, 200), (np.arange(1000) + 0.5) / 1000, replace(SAMPLING, top_p=1.0))
    assert np.bincount(drawn, minlength=200).tolist() == [5] * 200
