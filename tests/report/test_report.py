"""The report without a browser: its content, its reproducibility, and that no story can inject markup."""

import base64
import dataclasses
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.support import report_data
from tests.support.accessibility import SHAPE_CONTRAST, contrast, least_distance
from tests.support.tiny import PARAMS
from tinylm.base.errors import UserError
from tinylm.report import charts, metrics
from tinylm.report.baseline import Baseline
from tinylm.report.inputs import RunFiles, read_run
from tinylm.report.numbers import label, number, rounded
from tinylm.report.page import STATIC, build_page
from tinylm.report.run import page_of_run

SECTIONS = PARAMS.values("model", "train")
BEFORE = Baseline("0123456789abcdef", "Before <b> & $x", report_data.score(1.25) | {"accuracy": 0.63})


@pytest.fixture
def files(tmp_path: Path) -> RunFiles:
    report_data.write_run(tmp_path)
    return read_run(tmp_path)


class Elements(HTMLParser):
    """The attributes and texts of the elements of a page."""

    def __init__(self, page: str):
        super().__init__()
        self.open: list[str] = []
        self.texts: dict[str, str] = {}
        self.attributes: list[tuple[str, str, str | None]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        name = dict(attrs).get("type") or tag
        self.attributes += [(tag, key, value) for key, value in attrs]
        self.open.append(name)

    def handle_endtag(self, tag: str) -> None:
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts[self.open[-1]] = self.texts.get(self.open[-1], "") + data


def page_of(files: RunFiles, baseline: Baseline | None = None) -> str:
    return build_page(files, SECTIONS, baseline)


def test_the_same_run_gives_the_same_page(files: RunFiles, tmp_path: Path) -> None:
    assert page_of(files, BEFORE) == page_of(read_run(tmp_path), BEFORE)


def test_the_page_shows_the_metrics_of_the_run(files: RunFiles) -> None:
    page = page_of(files, BEFORE)
    for text in ("41,000 parameters", "12 steps", "1.0000", "62.50%", "95%: 0.9000 to 1.1000", "word start", "3.11.7"):
        assert text in page
    assert "<b>gap</b>: validation loss 1.25 &lt;b&gt;, training loss 1" in page
    assert "<code>0123456789</code> “Before &lt;b&gt; &amp; $x”" in page
    assert "<summary>train</summary>" in page
    assert "peak_lr" in page


def test_a_healthy_run_has_no_findings(files: RunFiles) -> None:
    healthy = dataclasses.replace(files, train=files.train | {"diagnosis": []})
    assert "No problems found." in page_of(healthy)


def test_stories_are_embedded_unchanged_and_inject_no_markup(files: RunFiles) -> None:
    page = page_of(files)
    elements = Elements(page)
    data = json.loads(elements.texts["application/json"])
    last = data["checkpoints"][1]["stories"][-1]
    assert last["text"] == f'"Help!" said there was step 12. {report_data.NASTY}'
    assert data["probabilities"][0]["tokens"][4]["text"] == report_data.NASTY
    assert page.count("<script") == 2
    assert "<img" not in page
    assert "<!--" not in page


def test_only_the_scripts_and_styles_of_the_page_may_run(files: RunFiles) -> None:
    elements = Elements(page_of(files))
    policy = next(value for _, key, value in elements.attributes if key == "content" and "default-src" in (value or ""))
    assert policy
    sources = {}
    for kind in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(elements.texts[kind].encode()).digest()).decode()
        sources[f"{kind}-src"] = f"'sha256-{digest}'"
    assert dict(part.split(" ", 1) for part in policy.split("; ")) == sources | {
        "default-src": "'none'",
        "img-src": "data:",
        "base-uri": "'none'",  # this and the next are not covered by default-src
        "form-action": "'none'",
    }


def test_no_element_has_a_url_or_an_inline_style(files: RunFiles) -> None:
    for tag, key, value in Elements(page_of(files)).attributes:
        assert key not in ("src", "style", "srcset", "action")
        if key == "href":
            assert value
            assert value.startswith("#" if tag == "a" else "data:")


@pytest.mark.parametrize(
    ("loss", "accuracy", "texts"),
    [
        (1.25, 0.63, ['class="better">▼ −0.2500 better', 'class="worse">▼ −0.50 points worse', "was 63.00%"]),
        (0.75, 0.5, ['class="worse">▲ +0.2500 worse', 'class="better">▲ +12.50 points better']),
        (1.00001, 0.625, ["unchanged, was 1.0000", "unchanged, was 62.50%"]),
    ],
)
def test_a_change_is_better_or_worse(loss: float, accuracy: float, texts: list[str]) -> None:
    cards = metrics.cards(report_data.score(), Baseline("c", "s", {"loss": loss, "accuracy": accuracy}))
    for text in texts:
        assert text in cards
    assert cards.count("new: not in the previous run") == 2  # perplexity and bits per byte


def test_a_first_run_says_that_it_is_one(files: RunFiles) -> None:
    page = page_of(files)
    assert "There is no earlier committed run to compare with." in page
    assert 'class="change"' not in page


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("text_bytes", 5000, "different text (5,000 bytes, here 4,000)"),
        ("tokens", 900, "into 900 tokens, this one into 1,000; of these metrics only bits per byte is comparable"),
    ],
)
def test_metrics_that_are_not_comparable_are_named(key: str, value: int, message: str) -> None:
    before = Baseline("c", "s", report_data.score() | {"split": report_data.score()["split"] | {key: value}})
    assert message in metrics.comparison(report_data.score(), before)
    assert "Caution" not in metrics.comparison(report_data.score(), Baseline("c", "s", report_data.score(2)))


def test_a_score_of_an_older_format_gives_a_page(files: RunFiles) -> None:
    old = {key: files.evaluate[key] for key in ("loss", "perplexity", "bits_per_byte")}
    page = page_of(dataclasses.replace(files, evaluate=old), BEFORE)
    assert "Bits per byte" in page
    assert "Accuracy</h3>" not in page
    assert "Kind of token" not in page


OPTIONAL = {
    "artifacts/stories/progress.jsonl": "has no stories of its checkpoints",
    "artifacts/stories/probabilities.json": "has no token probabilities",
    "plots/stories_by_step.csv": "has no such metrics",
    "plots/stories_by_temperature.csv": "has no such metrics",
}


@pytest.mark.parametrize("name", OPTIONAL)
def test_missing_optional_data_is_reported(files: RunFiles, tmp_path: Path, name: str) -> None:
    assert OPTIONAL[name] not in page_of(files)
    (tmp_path / name).unlink()
    assert OPTIONAL[name] in page_of(read_run(tmp_path))


def test_empty_files_count_as_missing(tmp_path: Path) -> None:
    report_data.write_run(tmp_path)
    for name in ("loss_by_position", "calibration"):
        (tmp_path / f"plots/{name}.csv").write_text("confidence,accuracy,tokens\n" if name == "calibration" else "")
    assert "This run has no data for these charts." in page_of(read_run(tmp_path))


INVALID = [
    ("artifacts/model/training.json", None, "not found; run dvc repro"),
    ("metrics/evaluate.json", None, "not found; run dvc repro"),
    ("plots/val.csv", None, "not found; run dvc repro"),
    ("metrics/train.json", b"{", "not valid JSON"),
    ("metrics/generate.json", b"\xff", "not UTF-8 at byte 0"),
    ("artifacts/stories/progress.jsonl", b'{}\n{"step', "not valid JSON"),
    ("plots/train.csv", b"step,loss\n1,low\n", "expected numbers only"),
]


@pytest.mark.parametrize(("name", "content", "message"), INVALID)
def test_a_missing_or_invalid_file_is_named(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    report_data.write_run(tmp_path)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=re.escape(f"{tmp_path / name}: {message}")) as error:
        read_run(tmp_path)
    assert "\n" not in str(error.value)


def test_metrics_of_the_model_are_next_to_the_human_ones(files: RunFiles) -> None:
    page = page_of(files)
    assert '<th scope="row">novel 4-grams</th><td>0.25</td><td>0.75</td>' in page
    meaning = '<span class="meaning">number of stories behind these metrics</span>'
    assert f'<th scope="row">stories{meaning}</th><td>4</td><td>–</td>' in page


def test_story_charts_have_the_human_line_and_skip_empty_columns(files: RunFiles) -> None:
    ended, novel = charts.story_charts(files.by_temperature, "temperature")
    assert [line["name"] for line in ended["lines"]] == ["model"]
    assert novel["lines"][0]["points"] == [[0, 0], [0.7, 0.25], [1, None]]
    assert [line["name"] for line in novel["lines"]] == ["model", "human"]


def test_the_loss_is_over_steps_or_tokens(files: RunFiles) -> None:
    loss = charts.curves(files)["loss"]
    assert [(view["name"], view["x"]) for view in loss["views"]] == [("steps", "step"), ("tokens", "tokens")]
    for view, ends in zip(loss["views"], ((1, 12, 0, 12), (256, 3072, 0, 3072)), strict=True):
        training, validation, guess = view["lines"]
        assert [training["points"][0][0], training["points"][-1][0]] == list(ends[:2])
        assert [validation["points"][0], validation["points"][-1]] == [[ends[2], 6.2], [ends[3], 1.25]]
        assert guess["points"] == [[ends[0], 6.2], [ends[1], 6.2]]


def test_the_page_does_not_depend_on_the_clock(files: RunFiles, tmp_path: Path) -> None:
    before = page_of_run(tmp_path, SECTIONS)
    report_data.write(tmp_path / "plots/speed.csv", "step,tokens_per_second,memory_mb\n12,1,1\n")
    assert page_of_run(tmp_path, SECTIONS) == before == page_of(files)


def test_metrics_that_lack_a_part_are_one_line(tmp_path: Path) -> None:
    report_data.write_run(tmp_path)
    report_data.write(tmp_path / "metrics/train.json", "{}")
    with pytest.raises(UserError, match="expected the metrics of a complete run, but one is missing or invalid"):
        page_of_run(tmp_path, SECTIONS)


def run_styles(dark: bool) -> list[tuple[str, str]]:
    """Return the colour and the dash pattern of each run in a chart of several, as page.css sets them."""
    style = (STATIC / "page.css").read_text(encoding="utf-8")
    light_rules, dark_rules = (
        re.findall(r"^ *(\.run-\d.*) \{ --strong: (#\w+); --train: \2; \}", style, re.MULTILINE),
        5,
    )
    rules = light_rules[dark_rules:] if dark else light_rules[:dark_rules]
    colours = {run: colour for runs, colour in rules for run in re.findall(r"run-\d", runs)}
    dashes = {
        run: dash
        for runs, dash in re.findall(r"^(\.strong\.run-.*) path \{ stroke-dasharray: (.*); \}", style, re.MULTILINE)
        for run in re.findall(r"run-\d", runs)
    }
    return [(colours[f"run-{n}"], dashes.get(f"run-{n}", "")) for n in range(len(colours))]


@pytest.mark.parametrize("dark", [False, True])
def test_the_lines_of_several_runs_can_be_told_apart(dark: bool) -> None:
    styles = run_styles(dark)
    assert len(styles) == len(set(styles)) == 8
    assert len({dash for _, dash in styles[:5]}) == 5
    assert len({colour for colour, _ in styles}) == 5
    assert least_distance({colour for colour, _ in styles}) >= 20
    assert all(contrast(colour, "#16181c" if dark else "#fcfbf9") >= SHAPE_CONTRAST for colour, _ in styles)


def test_a_long_line_keeps_its_ends() -> None:
    rows: list[dict[str, float | None]] = [{"step": n, "loss": -n} for n in range(10_001)]
    points = charts.line("training", "thin", rows, "step", "loss")["points"]
    assert len(points) <= charts.MOST_POINTS + 1
    assert (points[0], points[-1]) == ([0, 0], [10_000, -10_000])


def test_numbers_are_short() -> None:
    assert [number(value) for value in (None, 3, 12345, 0.123456, -1.5, 1234.56, 2.0)] == [
        *("–", "3", "12,345", "0.1235", "−1.5", "1,235", "2"),
    ]
    assert [rounded(count) for count in (41_000, 1_377_920, 2 * 10**9)] == ["41,000", "1.38 million", "2 billion"]
    assert label("repeated_4grams") == "repeated 4-grams"
