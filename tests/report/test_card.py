"""The model card: the front matter that the Hub reads, and honest words for each source of stories."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from tests.support import report_data
from tinylm.base.atomic import sha256
from tinylm.base.errors import UserError
from tinylm.model.card import compose, escape, size
from tinylm.report.run import card_of_run

REVISION = "f54c09fd23315a6f9c86f9dc80f725de7d8f9c64"
HUB = {"repository": "roneneldan/TinyStories", "revision": REVISION, "variant": "v1"}
FILES = {"paths": [{"path": "/home/me/private.txt"}]}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    report_data.write_run(tmp_path)
    return tmp_path


def change(root: Path, name: str, **values: Any) -> None:
    path = root / f"metrics/{name}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def read(root: Path) -> ModelCard:
    """Return the card as huggingface_hub parses it: `data` is the front matter."""
    return ModelCard(card_of_run(root))


def test_the_front_matter_is_what_the_hub_reads(root: Path) -> None:
    data = read(root).data
    assert (data.library_name, data.pipeline_tag, data.language) == ("transformers", "text-generation", "en")
    assert data.tags == ["tinylm", "stories"]
    assert data.model_name == "tinylm-41K"
    scores = {result.metric_type: result for result in data.eval_results}
    assert {name: result.metric_value for name, result in scores.items()} == {
        "loss": 1.0,
        "perplexity": 2.718282,
        "bits_per_byte": 0.5,
        "accuracy": 0.625,
    }
    assert scores["bits_per_byte"].metric_name == "Bits per byte (95%: 0.4500 to 0.5500)"
    assert scores["perplexity"].metric_name == "Perplexity (95%: 2.4596 to 3.0042)"
    assert {result.task_type for result in scores.values()} == {"text-generation"}


def test_built_in_stories(root: Path) -> None:
    card = read(root)
    assert card.data.license == "apache-2.0"
    assert card.data.datasets is None
    assert card.data.eval_results[0].dataset_type == "tinylm-sample"
    assert "360 stories of tinylm's built-in generator" in card.text
    assert "the score says nothing about other text" in card.text


def test_tinystories(root: Path) -> None:
    change(root, "download", source_used="tinystories", provenance=HUB)
    card = read(root)
    assert card.data.license == "cdla-sharing-1.0"
    assert card.data.datasets == ["roneneldan/TinyStories"]
    (revision,) = {result.dataset_revision for result in card.data.eval_results}
    assert revision == REVISION
    assert f"TinyStories) (v1, revision `{REVISION}`)" in card.text


def test_own_files_claim_no_licence_and_keep_their_names(root: Path) -> None:
    change(root, "download", source_used="files", provenance=FILES)
    card = read(root)
    assert card.data.license is card.data.language is card.data.datasets is None
    assert "No licence is claimed" in card.text
    assert "private" not in card.content.replace("private or protected", "")


def test_the_score_has_its_interval_and_its_caveats(root: Path) -> None:
    text = read(root).text
    assert "| Bits per byte | 0.5000 | 0.4500 to 0.5500 | comparable across tokenizers |" in text
    assert "On all 10 held-out stories (1,000 tokens, 4,000 bytes)." in text
    assert "chosen by their loss on 8 of these stories, which flatters the score" in text


def test_what_is_not_known_is_left_out_and_said(root: Path) -> None:
    change(root, "evaluate", bits_per_byte=None, range95=None)
    change(root, "generate", known_8grams=None)
    card = read(root)
    assert [result.metric_type for result in card.data.eval_results] == ["loss", "perplexity", "accuracy"]
    assert card.data.eval_results[0].metric_name == "Loss (nats per token)"
    assert "| Loss | 1.0000 | not known |" in card.text
    assert "There are no bits per byte" in card.text
    assert "repeat its training text" not in card.text
    assert "offensive, biased or harmful has not been measured" in card.text


def test_how_much_it_repeats_is_a_limit(root: Path) -> None:
    change(root, "generate", known_8grams=0.84, human={"known_8grams": 0.78})
    assert "84% of its sequences of 8 words are from it (78% in held-out stories)" in read(root).text


def test_the_first_story_of_each_prompt_is_quoted(root: Path) -> None:
    text = read(root).text
    for prompt in report_data.PROMPTS:
        assert f"> {prompt} there was number 0." in text
    assert "number 1" not in text
    assert "The first story for each of 2 prompts, at temperature 0.7, unselected." in text
    assert "<script>" not in text.replace(r"\<", "")
    (root / "artifacts/stories/stories.jsonl").unlink()
    assert "The run has written none." in read(root).text


def test_a_cut_story_is_marked(root: Path) -> None:
    cut = report_data.story("One", 12, " day") | {"ended": False}
    report_data.write(root / "artifacts/stories/stories.jsonl", report_data.json_lines([cut]))
    assert r"> One day \[...\]" in read(root).text


def test_it_names_the_weights_that_it_describes(root: Path) -> None:
    weights = root / "artifacts/model/model.safetensors"
    assert f"`model.safetensors` has the SHA-256 `{sha256(weights)}`" in card_of_run(root)
    weights.unlink()
    with pytest.raises(UserError, match=r"model\.safetensors: not found; run dvc repro"):
        card_of_run(root)


def test_equal_runs_make_equal_cards(root: Path) -> None:
    before = card_of_run(root)
    report_data.write(root / "metrics/speed.json", '{"seconds": 1}')
    assert card_of_run(root) == before
    assert not re.search(r"\d{4}-\d\d-\d\d|\d\d:\d\d", before)


def test_a_damaged_metric_is_one_line(root: Path) -> None:
    change(root, "evaluate", split=None)
    with pytest.raises(UserError, match="expected the metrics of a complete run"):
        card_of_run(root)


def test_the_loading_code_has_three_lines(root: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", card_of_run(root), re.DOTALL)
    assert len(code.splitlines()) == 3
    compile(code, "card", "exec")


@pytest.mark.parametrize(("count", "name"), [(999, "999"), (41_000, "41K"), (1_377_920, "1.38M"), (2 * 10**9, "2B")])
def test_sizes_are_as_in_names(count: int, name: str) -> None:
    assert size(count) == name


def test_a_card_is_front_matter_and_sections() -> None:
    assert compose({"b": 1, "a": ["x: y"]}, ["# T", "text"]) == "---\nb: 1\na:\n- 'x: y'\n---\n\n# T\n\ntext\n"
    assert escape("<a> & *b*") == r"\<a\> \& \*b\*"
