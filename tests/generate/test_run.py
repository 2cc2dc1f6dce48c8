"""Stories that are written to be judged, and what the stage generate leaves of them."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from tests.support import tiny
from tinylm.base.errors import UserError
from tinylm.corpus.storage import read_stories, writing_stories
from tinylm.generate.judging import StoryGenerator, first_words, human_stories, judge_endings
from tinylm.generate.outputs import write_all
from tinylm.generate.params import GenerateParams
from tinylm.generate.run import Inputs, StoryRun, write_and_judge
from tinylm.generate.stories import Story
from tinylm.generate.token_probabilities import read_story
from tinylm.model.folder import TRAINING, checkpoint_folder, save_tokenizer, save_weights
from tinylm.model.transformer import Transformer
from tinylm.sampling.sampler import Sampling
from tinylm.tokenizer.loading import end_of_text_id, load_tokenizer

SAMPLING = Sampling(temperature=0.8, top_k=None, top_p=0.9, max_tokens=60, seed=1)


@pytest.fixture(scope="module")
def tokenizer(tiny_store: Path) -> Tokenizer:
    return load_tokenizer(tiny_store / "tokenizer.json")


@pytest.fixture(scope="module")
def inputs(tiny_store: Path, tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """A corpus, an untrained model and two checkpoints."""
    root = tmp_path_factory.mktemp("run")
    made = tiny.stories(120)
    for name, texts in (("train", made[20:]), ("val", made[:20])):
        with writing_stories(root / f"corpus/{name}.parquet") as writer:
            for text in texts:
                writer.write(text.encode())
    for step in (0, 5, 10):
        model = model_of(tokenizer, seed=step)
        folder = root / "model" if step == 10 else checkpoint_folder(root / "checkpoints", step)
        save_weights(folder, model.state_dict(), model.params, model.vocab_size, end_of_text_id(tokenizer))
        (folder / TRAINING).write_text(json.dumps({"step": step}))
    save_tokenizer(root / "model", tiny_store / "tokenizer.json", end_of_text_id(tokenizer), 64)
    return Inputs(root / "model", root / "checkpoints", root / "corpus")


def model_of(tokenizer: Tokenizer, seed: int = 0) -> Transformer:
    return tiny.make_model(tokenizer.get_vocab_size(), spread=0.05 + seed / 1000).eval()


def params(**changes: object) -> GenerateParams:
    p = tiny.PARAMS[GenerateParams].model_copy(update={"judged_stories": 12, "judged_words": 4, "max_tokens": 60})
    return p.model_copy(update=changes)


@pytest.fixture(scope="module")
def run(inputs: Inputs) -> StoryRun:
    return write_and_judge(params(), tiny.FP32_ON_CPU, False, inputs)


def test_the_beginning_is_the_first_words() -> None:
    assert first_words("Once upon a time there was", 4) == "Once upon a time"
    assert first_words("Once\n upon  a", 2) == "Once\n upon"
    assert first_words("Once upon", 2) is None
    assert first_words("Once upon \n", 2) is None


def test_people_write_no_more_than_the_model_may(inputs: Inputs, tokenizer: Tokenizer) -> None:
    long = human_stories(inputs.corpus / "val.parquet", tokenizer, SAMPLING, 5, 3)
    assert len(long) == 5
    assert all(story.text.startswith(story.beginning) and not story.ended for story in long)
    assert all(len(tokenizer.encode(story.text).ids) <= 61 for story in long)
    whole = Sampling(0.8, None, 0.9, 500, 1)
    assert all(story.ended for story in human_stories(inputs.corpus / "val.parquet", tokenizer, whole, 5, 3))


def test_a_human_story_ends_within_the_limit_where_a_models_would(inputs: Inputs, tokenizer: Tokenizer) -> None:
    """Both need room for an end-of-text id."""
    text = next(read_stories(inputs.corpus / "val.parquet"))
    tokens = len(tokenizer.encode(text).ids)
    for room, ended in ((tokens, False), (tokens + 1, True)):
        sampling = replace(SAMPLING, max_tokens=room)
        stories = {s.text: s for s in human_stories(inputs.corpus / "val.parquet", tokenizer, sampling, 99, 3)}
        assert stories[text].ended == ended


def test_first_words_that_fill_all_the_room_are_left_out(inputs: Inputs, tokenizer: Tokenizer) -> None:
    stories = human_stories(inputs.corpus / "val.parquet", tokenizer, SAMPLING, 99, 4)
    tokens = sorted(len(tokenizer.encode(story.beginning).ids) for story in stories)
    for room, fitting in ((tokens[0], 0), (tokens[0] + 1, tokens.count(tokens[0])), (tokens[-1] + 1, len(tokens))):
        narrow = replace(SAMPLING, max_tokens=room)
        assert len(human_stories(inputs.corpus / "val.parquet", tokenizer, narrow, 99, 4)) == fitting


def test_model_and_people_have_one_limit(inputs: Inputs) -> None:
    """The model's context is 64: a limit beyond it binds people too."""
    run = write_and_judge(params(max_tokens=200, checkpoints=False), tiny.FP32_ON_CPU, False, inputs)
    same = write_and_judge(params(max_tokens=63, checkpoints=False), tiny.FP32_ON_CPU, False, inputs)
    assert run.people == same.people
    assert run.human_figures == same.human_figures


def test_figures_of_every_temperature_and_checkpoint(run: StoryRun) -> None:
    assert list(run.judged) == list(run.figures) == [0.7, 0.4, 1.0]
    assert list(run.step_figures) == [0, 5]
    assert {source: len(texts) for source, texts in run.rated.items()} == {
        "model, step 10": 8, "model, step 5": 8, "people": 8,
    }  # fmt: skip
    beginnings = [story.beginning for story in run.people]
    for told in run.judged.values():
        assert [story.prompt for story in told] == beginnings
    assert run.human_figures["unknown_words"] < 0.05  # type: ignore[operator] - the last word may be cut
    assert run.figures[0.7]["unknown_words"] > 0.05  # type: ignore[operator] - untrained
    assert len(run.stories) == 3 * 2 * 5
    assert len(run.progress) == 2 * 5


def test_metrics_stand_beside_those_of_people(run: StoryRun) -> None:
    metrics = run.metrics()
    human = metrics["human"]
    assert isinstance(human, dict)
    assert set(human) < set(metrics)
    assert metrics["stories"] == 12
    assert {"ending_rouge2_train", "ending_rouge2_val", "nearest_rouge2"} < set(metrics)


def test_endings_that_were_learned_by_heart_are_found(inputs: Inputs, tokenizer: Tokenizer) -> None:
    """A stand-in for a model that knows the training stories."""
    known = tiny.stories(120)[20:]

    class Parrot(StoryGenerator):
        def write(self, prompts, sampling, each=1):  # type: ignore[no-untyped-def]
            return [self.go_on(prompt) for prompt in prompts]

        def go_on(self, prompt: str) -> Story:
            text = next((story for story in known if story.startswith(prompt)), prompt + " and more")
            return Story(0, prompt, text, 1, True, 0.0, 1.0, 1)

    whole = Sampling(0.8, None, 0.9, 500, 1)
    figures = judge_endings(Parrot(model_of(tokenizer), tokenizer, 0), inputs.corpus, whole, 10)
    assert figures["ending_rouge2_train"] == 1
    assert figures["ending_rouge2_val"] < 0.9  # type: ignore[operator]


def test_no_story_to_begin_with(inputs: Inputs) -> None:
    with pytest.raises(UserError, match=r"generate\.judged_words: no held-out story goes on after its first 999 words"):
        write_and_judge(params(judged_words=999), tiny.FP32_ON_CPU, False, inputs)


def test_without_checkpoints(inputs: Inputs, tmp_path: Path) -> None:
    run = write_and_judge(params(checkpoints=False), tiny.FP32_ON_CPU, False, inputs)
    write_all(run, tmp_path)
    assert run.step_figures == {}
    assert (tmp_path / "artifacts/stories/progress.jsonl").read_text() == ""
    assert (tmp_path / "plots/stories_by_step.csv").read_text().startswith("step,ended,")


def test_everything_is_left_on_the_disk(run: StoryRun, tmp_path: Path) -> None:
    write_all(run, tmp_path)
    stories = (tmp_path / "artifacts/stories/stories.md").read_text(encoding="utf-8")
    assert stories.count("### Temperature 0.7") == 5
    with open(tmp_path / "plots/stories_by_step.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["0", "5"]
    assert float(rows[0]["human_words"]) == pytest.approx(run.human_figures["words"])
    with open(tmp_path / "plots/stories_by_temperature.csv", newline="") as file:
        assert [row["temperature"] for row in csv.DictReader(file)] == ["0.4", "0.7", "1"]
    key = json.loads((tmp_path / "artifacts/stories/ratings_key.json").read_text())
    assert set(key.values()) == {"model, step 10", "model, step 5", "people"}
    read = json.loads((tmp_path / "artifacts/stories/probabilities.json").read_text(encoding="utf-8"))
    for story, (told, _) in zip(read, run.read, strict=True):
        text = "".join(token["text"] for token in story["tokens"])
        assert told.text.startswith(text.rstrip("\ufffd"))  # the model's context may end before
        assert len(text) > 20


@torch.no_grad()
def test_each_token_has_its_probability_and_the_likeliest_ones(tokenizer: Tokenizer) -> None:
    model = model_of(tokenizer)
    text = "Lily 😀 was"
    read = read_story(model, tokenizer, Story(0, "Lily", text, 3, True, 0.0, 1.0, 1))
    ids = tokenizer.encode(text).ids
    expected = model(torch.tensor([[end_of_text_id(tokenizer), *ids[:-1]]]))[0].softmax(-1)
    assert [token.probability for token in read] == pytest.approx(
        [float(expected[place, id_]) for place, id_ in enumerate(ids)], abs=1e-4
    )
    assert "".join(token.text for token in read) == text
    for token, row in zip(read, expected, strict=True):
        assert [share for _, share in token.alternatives] == pytest.approx(row.topk(5).values.tolist(), abs=1e-4)
