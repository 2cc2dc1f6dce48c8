"""Stories as text, JSON Lines and Markdown."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from tests.support import tiny
from tinylm.generate.outputs import write_jsonl, write_progress, write_stories
from tinylm.generate.stories import Story, StoryGenerator, StorySet
from tinylm.sampling.sampler import Sampling
from tinylm.tokenizer.loading import load_tokenizer

SAMPLING = Sampling(temperature=0.8, top_k=None, top_p=0.9, max_tokens=50, seed=1)
STORY = Story(
    step=7, prompt="Once", text="Once upon.", tokens=3, ended=True, mean_log_probability=-1.5, temperature=0.8, seed=1
)
ODD = "a *b* _c_ <script>x</script>\n# not a heading\n- `code` | [l](u) &amp;"


@pytest.fixture
def tokenizer(tiny_store: Path) -> Tokenizer:
    return load_tokenizer(tiny_store / "tokenizer.json")


def test_stories_start_with_their_prompts(tokenizer: Tokenizer) -> None:
    prompts = ["Once upon a time", "Lily 😀", '"Help!" said']
    stories = StoryGenerator(tiny.make_model(), tokenizer, 12).generate(StorySet(prompts, SAMPLING, 2))[0]
    assert [story.prompt for story in stories] == [prompt for prompt in prompts for _ in range(2)]
    assert all(story.text.startswith(story.prompt) for story in stories)
    assert stories[0].text != stories[1].text
    assert {(story.step, story.temperature, story.seed) for story in stories} == {(12, 0.8, 1)}


def test_the_stories_of_a_prompt_do_not_depend_on_their_number(tokenizer: Tokenizer) -> None:
    model = tiny.make_model()
    one, three = (
        StoryGenerator(model, tokenizer, 0).generate(StorySet(["Once", "Lily"], SAMPLING, n))[0] for n in (1, 3)
    )
    for alone, together in ((one[0], three[0]), (one[1], three[3])):
        assert alone.text == together.text
        assert alone.mean_log_probability == pytest.approx(together.mean_log_probability, abs=1e-5)


def test_a_prompt_given_twice_has_two_stories(tokenizer: Tokenizer) -> None:
    one, other = StoryGenerator(tiny.make_model(), tokenizer, 0).generate(StorySet(["Once", "Once"], SAMPLING))[0]
    assert one.text != other.text


def test_json_lines_contain_all_fields(tmp_path: Path) -> None:
    stories = [STORY, replace(STORY, text=ODD + "\u2028😀")]
    write_jsonl(tmp_path / "stories.jsonl", stories)
    lines = (tmp_path / "stories.jsonl").read_text(encoding="utf-8").split("\n")
    assert [Story(**json.loads(line)) for line in lines[:-1]] == stories


def test_markdown_shows_each_prompt_once_and_marks_cut_stories(tmp_path: Path) -> None:
    hotter = replace(STORY, temperature=1.2, text="Hot.")
    write_stories(tmp_path / "s.md", [STORY, replace(STORY, ended=False), replace(STORY, prompt="Lily"), hotter])
    text = (tmp_path / "s.md").read_text(encoding="utf-8")
    assert text.count("## Once ...") == text.count("## Lily ...") == 1
    assert text.count("> Once upon.  ") == 2
    assert text.count("> Once upon. \\[...\\]") == 1
    assert text.index("### Temperature 0.8") < text.index("### Temperature 1.2") < text.index("## Lily")
    assert "By the weights of step 7" in text


def test_progress_is_ordered_by_step(tmp_path: Path) -> None:
    write_progress(tmp_path / "p.md", [replace(STORY, step=step) for step in (100, 0, 20)])
    text = (tmp_path / "p.md").read_text(encoding="utf-8")
    assert text.index("### Step 0") < text.index("### Step 20") < text.index("### Step 100")


def test_markup_in_stories_is_escaped(tmp_path: Path) -> None:
    write_stories(tmp_path / "s.md", [replace(STORY, text=ODD)])
    lines = (tmp_path / "s.md").read_text(encoding="utf-8").splitlines()
    quoted = [line for line in lines if line.startswith(">")]
    assert len(quoted) == 3
    assert quoted[0] == r"> a \*b\* \_c\_ \<script\>x\</script\>  "
    assert quoted[1].startswith(r"> \# not")
