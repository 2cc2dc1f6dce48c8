"""Judged stories, and the files of the stage generate."""

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
from tinylm.generate.judging import cut_stories, first_words, human_stories, judge_endings
from tinylm.generate.outputs import write_all
from tinylm.generate.params import GenerateParams
from tinylm.generate.run import Inputs, StoryRun, generate_and_judge
from tinylm.generate.stories import Story
from tinylm.generate.token_probabilities import score_tokens
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
    stories = tiny.stories(120)
    for name, texts in (("train", stories[20:]), ("val", stories[:20])):
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
    return generate_and_judge(params(), tiny.FP32_ON_CPU, inputs)


def test_a_prompt_is_the_first_words_of_a_longer_text() -> None:
    assert first_words("Once upon a time there was", 4) == "Once upon a time"
    assert first_words("Once\n upon  a", 2) == "Once\n upon"
    assert first_words("Once upon", 2) is None
    assert first_words("Once upon \n", 2) is None


def test_human_stories_are_cut_at_the_limit(inputs: Inputs, tokenizer: Tokenizer) -> None:
    long = human_stories(inputs.corpus / "val.parquet", tokenizer, SAMPLING, 5, 3)
    assert len(long) == 5
    assert all(story.text.startswith(story.prompt) and not story.ended for story in long)
    assert all(len(tokenizer.encode(story.text).ids) <= 61 for story in long)
    whole = Sampling(0.8, None, 0.9, 500, 1)
    assert all(story.ended for story in human_stories(inputs.corpus / "val.parquet", tokenizer, whole, 5, 3))


def test_a_human_story_reaches_end_of_text_where_a_generated_one_would(inputs: Inputs, tokenizer: Tokenizer) -> None:
    """Both need room for the end-of-text token."""
    text = next(read_stories(inputs.corpus / "val.parquet"))
    tokens = len(tokenizer.encode(text).ids)
    for room, ended in ((tokens, False), (tokens + 1, True)):
        sampling = replace(SAMPLING, max_tokens=room)
        stories = {s.text: s for s in human_stories(inputs.corpus / "val.parquet", tokenizer, sampling, 99, 3)}
        assert stories[text].ended == ended


def test_stories_whose_prompt_leaves_no_room_are_left_out(inputs: Inputs, tokenizer: Tokenizer) -> None:
    stories = human_stories(inputs.corpus / "val.parquet", tokenizer, SAMPLING, 99, 4)
    tokens = sorted(len(tokenizer.encode(story.prompt).ids) for story in stories)
    for room, fitting in ((tokens[0], 0), (tokens[0] + 1, tokens.count(tokens[0])), (tokens[-1] + 1, len(tokens))):
        narrow = replace(SAMPLING, max_tokens=room)
        assert len(human_stories(inputs.corpus / "val.parquet", tokenizer, narrow, 99, 4)) == fitting


def test_generated_and_human_stories_have_the_same_limit(inputs: Inputs) -> None:
    """The context is 64; it limits human stories too."""
    run = generate_and_judge(params(max_tokens=200, checkpoints=False), tiny.FP32_ON_CPU, inputs)
    same = generate_and_judge(params(max_tokens=63, checkpoints=False), tiny.FP32_ON_CPU, inputs)
    assert run.human == same.human
    assert run.human_metrics == same.human_metrics


def test_metrics_of_every_temperature_and_checkpoint(run: StoryRun) -> None:
    assert list(run.judged) == list(run.metrics_by_temperature) == [0.7, 0.4, 1.0]
    assert list(run.metrics_by_step) == [0, 5]
    assert {source: len(texts) for source, texts in run.rated.items()} == {
        "model, step 10": 8, "model, step 5": 8, "human": 8,
    }  # fmt: skip
    prompts = [story.prompt for story in run.human]
    for stories in run.judged.values():
        assert [story.prompt for story in stories] == prompts
    assert run.human_metrics["unknown_words"] < 0.05  # type: ignore[operator] - the last word may be cut
    assert run.metrics_by_temperature[0.7]["unknown_words"] > 0.05  # type: ignore[operator] - untrained
    assert len(run.stories) == 3 * 2 * 5
    assert len(run.progress) == 2 * 5


def test_metrics_include_those_of_human_stories(run: StoryRun) -> None:
    metrics = run.metrics()
    human = metrics["human"]
    assert isinstance(human, dict)
    assert set(human) < set(metrics)
    assert metrics["stories"] == 12
    assert {"ending_rouge2_train", "ending_rouge2_val", "nearest_rouge2"} < set(metrics)


def test_memorized_endings_are_found(inputs: Inputs, tokenizer: Tokenizer) -> None:
    """Of a model that knows the training stories by heart."""
    known = tiny.stories(120)[20:]

    def complete(prompt: str) -> Story:
        text = next((story for story in known if story.startswith(prompt)), prompt + " and more")
        return Story(0, prompt, text, 1, True, 0.0, 1.0, 1)

    cuts = {split: cut_stories(inputs.corpus / f"{split}.parquet", tokenizer, 10, 500, 1) for split in ("train", "val")}
    completed = {split: [complete(cut.prompt) for cut in of_split] for split, of_split in cuts.items()}
    metrics = judge_endings(cuts, completed)
    assert metrics["ending_rouge2_train"] == 1
    assert metrics["ending_rouge2_val"] < 0.9  # type: ignore[operator]


def test_no_held_out_story_is_long_enough(inputs: Inputs) -> None:
    message = r"generate\.judged_words: expected held-out stories of more than 999 words, .* found none; lower it"
    with pytest.raises(UserError, match=message):
        generate_and_judge(params(judged_words=999), tiny.FP32_ON_CPU, inputs)


def test_without_checkpoints(inputs: Inputs, tmp_path: Path) -> None:
    run = generate_and_judge(params(checkpoints=False), tiny.FP32_ON_CPU, inputs)
    write_all(run, tmp_path)
    assert run.metrics_by_step == {}
    assert (tmp_path / "artifacts/stories/progress.jsonl").read_text() == ""
    assert (tmp_path / "plots/stories_by_step.csv").read_text().startswith("step,ended,")


def test_all_files_are_written(run: StoryRun, tmp_path: Path) -> None:
    write_all(run, tmp_path)
    stories = (tmp_path / "artifacts/stories/stories.md").read_text(encoding="utf-8")
    assert stories.count("### Temperature 0.7") == 5
    with open(tmp_path / "plots/stories_by_step.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["0", "5"]
    assert float(rows[0]["human_words"]) == pytest.approx(run.human_metrics["words"])
    with open(tmp_path / "plots/stories_by_temperature.csv", newline="") as file:
        assert [row["temperature"] for row in csv.DictReader(file)] == ["0.4", "0.7", "1"]
    key = json.loads((tmp_path / "artifacts/stories/ratings_key.json").read_text())
    assert set(key.values()) == {"model, step 10", "model, step 5", "human"}
    scored = json.loads((tmp_path / "artifacts/stories/probabilities.json").read_text(encoding="utf-8"))
    for entry, (story, _) in zip(scored, run.scored, strict=True):
        text = "".join(token["text"] for token in entry["tokens"])
        assert story.text.startswith(text.rstrip("\ufffd"))  # the context may be shorter
        assert len(text) > 20


@torch.no_grad()
def test_tokens_have_probabilities_and_alternatives(tokenizer: Tokenizer) -> None:
    model = model_of(tokenizer)
    text = "Lily 😀 was"
    scored = score_tokens(model, tokenizer, Story(0, "Lily", text, 3, True, 0.0, 1.0, 1))
    ids = tokenizer.encode(text).ids
    expected = model(torch.tensor([[end_of_text_id(tokenizer), *ids[:-1]]]))[0].softmax(-1)
    assert [token.probability for token in scored] == pytest.approx(
        [float(expected[position, id_]) for position, id_ in enumerate(ids)], abs=1e-4
    )
    assert "".join(token.text for token in scored) == text
    for token, row in zip(scored, expected, strict=True):
        assert [p for _, p in token.alternatives] == pytest.approx(row.topk(5).values.tolist(), abs=1e-4)
