"""Streaming: the pieces add up to the story of the pipeline, and invalid requests are refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support import foreign, tiny
from tinylm.base.errors import UserError
from tinylm.base.fields import LONGEST_PROMPT
from tinylm.generate.stories import StoryGenerator, StorySet
from tinylm.model.folder import save_weights
from tinylm.sampling import streaming
from tinylm.sampling.request import GenerationRequest
from tinylm.sampling.sampler import Sampling
from tinylm.sampling.streaming import TextGenerator, open_generator
from tinylm.serve.defaults import read_defaults
from tinylm.train_tokenizer.training import train_bpe

REQUEST = GenerationRequest(prompt="Once", temperature=1.0, top_k=None, top_p=0.9, max_tokens=60, seed=3)
TOKENIZER = train_bpe(tiny.stories(256), 300, 2)
GENERATOR = TextGenerator(tiny.make_model(300, spread=0.1, context=128), TOKENIZER)
TEXT = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=12)


def ask(**changes: Any) -> GenerationRequest:
    return GenerationRequest.of(REQUEST.model_dump() | changes)


@settings(max_examples=25, deadline=None)
@given(TEXT, st.integers(0, 99))
@example("", 0)
@example("😀 naïve 漢字かな \ufffd", 1)
def test_the_pieces_add_up_to_the_story_of_the_pipeline(prompt: str, seed: int) -> None:
    stream = GENERATOR.stream(ask(prompt=prompt, seed=seed))
    text = stream.prompt + "".join(stream)
    sampling = Sampling(temperature=1.0, top_k=None, top_p=0.9, max_tokens=60, seed=seed)
    story = StoryGenerator(GENERATOR.model, TOKENIZER, 0).generate(StorySet([prompt], sampling, 1))[0][0]
    assert stream.prompt == prompt
    assert text == story.text
    assert (stream.ended, stream.tokens) == (story.ended, story.tokens)


def test_stories_end_at_end_of_text_or_at_the_limit() -> None:
    streams = [GENERATOR.stream(REQUEST, number) for number in range(40)]
    for stream in streams:
        assert "".join(stream)
        assert stream.tokens_per_second > 0
    assert {stream.ended for stream in streams} == {True, False}
    assert {stream.tokens for stream in streams if not stream.ended} == {60}


def test_story_n_is_the_nth_story_of_the_pipeline() -> None:
    sampling = Sampling(temperature=1.0, top_k=None, top_p=0.9, max_tokens=60, seed=3)
    stories = StoryGenerator(GENERATOR.model, TOKENIZER, 0).generate(StorySet(["Once"], sampling, 3))[0]
    streams = [GENERATOR.stream(REQUEST, number) for number in range(3)]
    assert [stream.prompt + "".join(stream) for stream in streams] == [story.text for story in stories]


def test_a_character_is_yielded_once_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = TOKENIZER.encode("é漢😀!").ids
    assert len(ids) == 10  # bytes
    monkeypatch.setattr(streaming, "stream", lambda *_: iter(ids))
    assert list(GENERATOR.stream(REQUEST)) == ["é", "漢", "😀", "!"]


def test_incomplete_characters_are_yielded_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = TOKENIZER.encode("a😀").ids[:-1]
    monkeypatch.setattr(streaming, "stream", lambda *_: iter(ids))
    assert list(GENERATOR.stream(REQUEST)) == ["a", TOKENIZER.decode(ids)[1:]]


def test_a_random_seed_reproduces_its_story() -> None:
    first, other = (GENERATOR.stream(ask(seed=None)) for _ in range(2))
    again = GENERATOR.stream(ask(seed=first.seed))
    assert first.seed != other.seed
    assert list(first) == list(again) != list(other)


def test_a_story_does_not_exceed_the_context() -> None:
    lengths = set()
    for number in range(5):
        stream = GENERATOR.stream(ask(max_tokens=9999), number)
        list(stream)
        lengths.add(stream.tokens)
    assert max(lengths) == GENERATOR.longest == 127


def test_a_prompt_that_leaves_no_room_is_refused() -> None:
    room = TOKENIZER.encode("x" * 59).ids
    assert len(room) == 59
    list(GENERATOR.stream(ask(prompt="x" * 59)))
    message = r"prompt: expected fewer than 60 tokens \(the longest story\), got 60; raise max_tokens"
    with pytest.raises(UserError, match=message):
        GENERATOR.stream(ask(prompt="x" * 60))
    with pytest.raises(UserError, match=r"expected fewer than 127 tokens .*, got 127; shorten it"):
        GENERATOR.stream(ask(prompt="x" * 127, max_tokens=500))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": 5}, "prompt: expected text, got 5"),
        ({"prompt": "x" * (LONGEST_PROMPT + 1)}, "prompt: expected at most 4000 characters, got 4001"),
        ({"prompt": "a\0"}, "prompt: expected text without control characters, got U+0000"),
        ({"prompt": "a\x1b[2J"}, "prompt: expected text without control characters, got U+001B"),
        ({"prompt": "a\udcff"}, "prompt: expected Unicode text (UTF-8), got the lone surrogate U+DCFF"),
        ({"prompt": "a<|endoftext|>"}, "prompt: expected one story, got <|endoftext|>, which ends one"),
        ({"temperature": -1}, "temperature: expected 0, or 0.001 to 10, got -1"),
        ({"temperature": 11}, "temperature: expected 0, or 0.001 to 10, got 11"),
        ({"temperature": 1e-40}, "temperature: expected 0, or 0.001 to 10, got 1e-40"),
        ({"temperature": float("nan")}, "temperature: expected a finite number, got nan"),
        ({"temperature": None}, "temperature: expected a number, got null"),
        ({"temperature": "\n\u2028" * 99}, r"temperature: expected a number, got '\n\u2028"),
        ({"top_k": 0}, "top_k: expected at least 1, got 0"),
        ({"top_k": 2.0}, "top_k: expected a whole number, got 2.0"),
        ({"top_k": True}, "top_k: expected a whole number, got true"),
        ({"top_p": 0}, "top_p: expected more than 0, got 0"),
        ({"top_p": 1.1}, "top_p: expected at most 1, got 1.1"),
        ({"max_tokens": 0}, "max_tokens: expected at least 1, got 0"),
        ({"seed": -1}, "seed: expected at least 0, got -1"),
        ({"seed": 2**53}, "seed: expected at most 9,007,199,254,740,991"),
        ({"colour": 1}, "colour: unknown key; expected prompt, temperature, top_k"),
        ({"seed": "x", "top_k": "y"}, "top_k: expected a whole number, got 'y'; seed: expected a whole number, got"),
    ],
)
def test_invalid_requests_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        ask(**changes)
    assert str(error.value).startswith(message)
    assert str(error.value).isprintable()


def test_the_limits_are_inclusive() -> None:
    for changes in ({"temperature": 0}, {"temperature": 0.001}, {"top_k": None}, {"top_p": 1}, {"seed": 2**53 - 1}):
        list(GENERATOR.stream(ask(**changes)))
    ask(prompt="x" * LONGEST_PROMPT)
    ask(prompt="tab\t and lines\r\n")


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def write_smaller(folder: Path) -> None:
    """Replace the model by one with 280 entries; the tokenizer has 300."""
    model = tiny.make_model(280)
    save_weights(folder, model.state_dict(), model.params, 280, 0)


BROKEN: dict[str, Callable[[Path], Any]] = {
    "no folder": shutil.rmtree,
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "damaged weights": lambda folder: (folder / "model.safetensors").write_bytes(b"torn"),
    "no tokenizer": lambda folder: (folder / "tokenizer.json").unlink(),
    "not JSON": lambda folder: (folder / "config.json").write_text("{"),
    "not an object": lambda folder: (folder / "config.json").write_text("[]"),
    "unsupported architecture": lambda folder: edit_config(folder, model_type="bert"),
    "not a number": lambda folder: edit_config(folder, num_hidden_layers="two"),
    "division by zero": lambda folder: edit_config(folder, num_attention_heads=0, num_key_value_heads=0),
    "wrong size": lambda folder: edit_config(folder, hidden_size=34),
    "a smaller vocabulary": write_smaller,
}


@pytest.mark.parametrize("defect", BROKEN)
def test_the_error_names_a_broken_folder_and_the_remedy(defect: str, tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    open_generator(folder)
    BROKEN[defect](folder)
    with pytest.raises(UserError) as error:
        open_generator(folder)
    assert str(error.value).startswith(str(folder))
    assert "`make repro`, or name another folder with --model" in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_checkpoint_uses_the_tokenizer_of_the_final_model(tiny_model: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoints" / "step_000250"
    shutil.copytree(tiny_model, tmp_path / "model")
    shutil.copytree(tiny_model, checkpoint)
    (checkpoint / "tokenizer.json").unlink()
    assert list(open_generator(checkpoint).stream(REQUEST)) == list(open_generator(tiny_model).stream(REQUEST))


def test_defaults_come_from_the_folder_then_params_yaml_then_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own = {"temperature": 1.0, "top_k": None, "top_p": None, "max_tokens": 127, "seed": None}
    assert read_defaults(tmp_path, 128) == own
    shutil.copy(tiny.ROOT / "params.yaml", tmp_path)
    pipeline = {"temperature": 0.7, "top_k": None, "top_p": 0.95, "max_tokens": 127, "seed": None}
    assert read_defaults(tmp_path, 128) == pipeline
    assert read_defaults(tmp_path, 1024)["max_tokens"] == 250
    config = tmp_path / "generation_config.json"
    config.write_text('{"temperature": 0.5, "top_k": 0, "max_length": 1024}')
    assert read_defaults(tmp_path, 128) == pipeline | {"temperature": 0.5}
    for text, message in (
        ('{"temperature": 99}', "temperature: expected 0, or 0.001 to 10, got 99"),
        ("[]", "expected a JSON object, got list"),
        ("{", "not valid JSON"),
    ):
        config.write_text(text)
        with pytest.raises(UserError, match=rf"generation_config\.json: {message}.*; fix or remove it"):
            read_defaults(tmp_path, 128)


@pytest.mark.torture
def test_a_compiled_model_writes_the_same_story(tiny_model: Path) -> None:
    stories = []
    for compiled in (False, True):
        generator = open_generator(tiny_model, compiled=compiled)
        assert (generator.step is not None) == compiled
        stream = generator.stream(REQUEST)
        stories.append(stream.prompt + "".join(stream))
    assert stories[0] == stories[1]


@pytest.mark.parametrize("end", ["<s>", "</s>"])
def test_a_foreign_model_writes_with_its_own_tokenizer(end: str, tmp_path: Path) -> None:
    """Llama's decoder strips the first space of a text, which a piece of it must keep."""
    generator = open_generator(foreign.write_llama(tmp_path), end_of_text=end)
    assert generator.end_of_text == foreign.llama_tokenizer().token_to_id(end)
    story = generator.stream(REQUEST.model_copy(update={"prompt": "Once upon a time", "max_tokens": 60}))
    text = story.prompt + "".join(story)
    assert text.startswith("Once upon a time")
    assert story.drawn > 5
    again = generator.stream(REQUEST.model_copy(update={"prompt": "Once upon a time", "max_tokens": 60}))
    assert again.prompt + "".join(again) == text


def test_a_foreign_model_with_two_candidates_for_the_end_of_text_asks(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected one token that ends a story, got '<s>' and '</s>'"):
        open_generator(foreign.write_llama(tmp_path))
