"""Two thousand bad inputs: each succeeds or ends with one short error line, within seconds, never with a traceback."""

import contextlib
import io
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import report_data, tiny
from tinylm.base.errors import LONGEST_LINE, explain
from tinylm.base.params import check, read_params
from tinylm.cli.main import main
from tinylm.corpus.storage import RowGroup, read_row_group, read_stories
from tinylm.download import files
from tinylm.download.sources import Source
from tinylm.download.split import write_corpus
from tinylm.experiments import compare, history, review
from tinylm.experiments.ratings import read_sheets
from tinylm.generate.ratings_sheet import CRITERIA
from tinylm.model.folder import load_model, trained_steps
from tinylm.pretokenize.encoding import make_encoder
from tinylm.report.inputs import read_run
from tinylm.sampling.request import GenerationRequest
from tinylm.serve.defaults import read_defaults
from tinylm.tokenizer.loading import end_of_text_id, load_tokenizer
from tinylm.tokens.store import open_tokens
from tinylm.train.resume.run_key import run_key

SECONDS = 5  # of CPU time, so that other load on the machine does not matter
TEXT = (tiny.ROOT / "params.yaml").read_text(encoding="utf-8")
GOOD: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)
FIELDS = [(section, key) for section in GOOD for key in GOOD[section]]

pytestmark = pytest.mark.timeout(600)


def cases(count: int) -> settings:
    """Hypothesis settings for the same `count` cases in each run."""
    return settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


@contextlib.contextmanager
def soon() -> Iterator[None]:
    """Raise AssertionError if the block takes more than `SECONDS` of CPU time."""

    def stop(*_: object) -> None:
        raise AssertionError(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def try_out(act: Callable[[], object]) -> None:
    """Call `act`; if it raises, the error must have a message for users, in short lines without control characters."""
    with soon():
        try:
            act()
        except Exception as error:
            message = explain(error)
            if message is None:
                raise
            check_message(message)


def check_message(message: str) -> None:
    assert message
    for line in message.split("\n"):
        assert len(line) <= LONGEST_LINE, line
        assert line.isprintable(), line


# Values as left by people, programs and typos.
texts = st.text(st.characters(codec=None), max_size=20) | st.sampled_from(
    [
        "",
        " ",
        "\0",
        "\ud800",
        "null",
        "true",
        "1e5",
        "-1",
        "a\nb",
        "~nosuchuser/x",
        "/",
        ".",
        "..",
        "x" * 5000,
        "😀" * 99,
    ]
)
numbers = (
    st.integers(-(10**40), 10**40)
    | st.floats()
    | st.sampled_from([0, 1, 2, -1, 2**31, 2**63, 2**64, 1e-300, 1e-40, 1e300, 0.5, 1.0])
)
scalars = st.none() | st.booleans() | numbers | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)
json_scalars = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | texts
json_values = st.recursive(
    json_scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)


@cases(500)
@given(st.lists(st.tuples(st.sampled_from(FIELDS), values), min_size=1, max_size=3))
def test_parameters(changes: list[tuple[tuple[str, str], Any]]) -> None:
    changed: dict[str, Any] = {section: dict(keys) for section, keys in GOOD.items()}
    for (section, key), value in changes:
        changed[section][key] = value
    try_out(lambda: check(changed, "params.yaml"))


@cases(150)
@given(st.dictionaries(st.sampled_from([*GOOD, "trian"]) | scalars, values, max_size=3), st.booleans())
def test_sections(changes: dict[Any, Any], others: bool) -> None:
    try_out(lambda: check(GOOD | changes if others else changes, "params.yaml"))


PIECES = st.sampled_from(
    [
        "&a ",
        "*a",
        "<<: *a",
        "!!int ",
        "!!bool x",
        "- ",
        "? ",
        ": ",
        "{",
        "}",
        "[",
        "]",
        "'",
        '"',
        "|\n",
        "#",
        "%YAML 1.1\n",
        "---\n",
        "\t",
        "\n",
        "  ",
        "\r",
        "\x85",
        "\u2028",
        "=",
        "~",
        "!",
        "@",
        "`",
        "1e400",
        "9" * 5000,
        "2024-13-45",
        "[" * 50,
    ]
)


@st.composite
def damaged(draw: st.DrawFn, text: str) -> str:
    """Return `text` with pieces inserted, repeated or removed."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.sampled_from([0, 0, 1, 10, 1000])))
        text = text[:start] + draw(PIECES | texts) + text[draw(st.sampled_from([start, end])) :]
    return text


@cases(150)
@given(damaged(TEXT) | st.text(max_size=50))
def test_a_parameter_file(text: str) -> None:
    path = Path("params.yaml")
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try_out(lambda: read_params(path))


@cases(50)
@given(damaged((tiny.ROOT / "dvc.yaml").read_text(encoding="utf-8")))
def test_a_pipeline_file(text: str) -> None:
    Path("dvc.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
    Path("params.yaml").write_text(TEXT, encoding="utf-8")
    try_out(lambda: run_key("train"))


@st.composite
def damaged_json(draw: st.DrawFn, document: Any) -> bytes:
    """Return a JSON document with a value changed or removed, or with its text damaged."""
    document = json.loads(json.dumps(document))
    if draw(st.integers(0, 9)) == 0:
        return json.dumps(draw(json_values)).encode()
    place, key = None, None
    inner = document
    while isinstance(inner, dict | list) and inner and (place is None or draw(st.booleans())):
        key = draw(st.sampled_from(sorted(inner))) if isinstance(inner, dict) else draw(st.integers(0, len(inner) - 1))
        place, inner = inner, inner[key]
    if place is not None and draw(st.booleans()) and isinstance(place, dict):
        del place[key]
    elif place is not None:
        place[key] = draw(json_values)
    content = json.dumps(document).encode()
    if draw(st.integers(0, 5)) == 0:
        at = draw(st.integers(0, len(content)))
        content = content[:at] + draw(st.sampled_from([b"", b"\xff", b"[" * 9999, b"NaN", b"9" * 5000, b"{", b"\0"]))
    return content


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working folder for the tests of this file: hypothesis runs all cases of a test in one folder."""
    folder = tmp_path_factory.mktemp("fuzz")
    with contextlib.chdir(folder):
        yield folder


@pytest.fixture(scope="module")
def store(tiny_store: Path, place: Path) -> Path:
    (place / "tokens").mkdir()
    for path in (tiny_store / "tokens").iterdir():
        (place / "tokens" / path.name).write_bytes(path.read_bytes())
    (place / "tokenizer.json").write_bytes((tiny_store / "tokenizer.json").read_bytes())
    return place


@pytest.fixture(scope="module")
def model(tiny_model: Path, place: Path) -> Path:
    folder = place / "model"
    folder.mkdir()
    for path in tiny_model.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_descriptions_of_tokens(store: Path) -> None:
    path = store / "tokens/tokens.json"

    @cases(100)
    @given(damaged_json(read_json(path)))
    def run(content: bytes) -> None:
        path.write_bytes(content)
        try_out(lambda: open_tokens(path.parent, store / "tokenizer.json"))

    run()


def test_configurations_of_models(model: Path) -> None:
    path = model / "config.json"

    @cases(100)
    @given(damaged_json(read_json(path)))
    def run(content: bytes) -> None:
        path.write_bytes(content)
        try_out(lambda: load_model(model))

    run()


def test_weights_of_models(model: Path, tiny_model: Path) -> None:
    (model / "config.json").write_bytes((tiny_model / "config.json").read_bytes())
    path = model / "model.safetensors"
    content = path.read_bytes()

    @cases(50)
    @given(st.integers(0, 400), st.binary(max_size=20), st.booleans())
    def run(at: int, new: bytes, cut: bool) -> None:
        path.write_bytes(content[:at] + new + (b"" if cut else content[at + len(new) :]))
        try_out(lambda: load_model(model))

    run()


def test_tokenizers(tiny_store: Path) -> None:
    path = Path("a_tokenizer.json")

    def use() -> None:
        tokenizer = load_tokenizer(path)
        end_of_text_id(tokenizer)
        tokenizer.decode(tokenizer.encode("Once upon a time").ids)
        list(make_encoder(tokenizer).encode([b"Once upon a time"]))

    @cases(150)
    @given(damaged_json(read_json(tiny_store / "tokenizer.json")))
    def run(content: bytes) -> None:
        path.write_bytes(content)
        try_out(use)

    run()


READERS: dict[str, tuple[Any, Callable[[], object]]] = {
    "metrics/evaluate.json": (report_data.score(), lambda: (history.read_score(None), read_run(Path()))),
    "generation_config.json": ({"temperature": 0.5, "top_k": 5, "top_p": 0.5}, lambda: read_defaults(Path(), 64)),
    "training.json": ({"step": 5, "params": {"model": {}}}, lambda: trained_steps(Path())),
    "ratings_key.json": ({"a": "model"}, lambda: read_sheets([Path("sheet.csv")], Path("ratings_key.json"))),
}


@pytest.mark.parametrize("name", READERS)
def test_json_files(name: str, place: Path) -> None:
    document, read = READERS[name]
    report_data.write_run(place)
    (place / "sheet.csv").write_text(f"id,{','.join(CRITERIA)}\na,1,2,3\n")

    @cases(40)
    @given(damaged_json(document))
    def run(content: bytes) -> None:
        (place / name).write_bytes(content)
        try_out(read)

    run()


cells = st.lists(
    st.sampled_from(["1", "a", "", "nan", "-1", '"', "\0", ";", "\n", "1" * 200_000, "😀", "nats"]), max_size=9
)


@cases(100)
@given(
    st.lists(cells, max_size=4), st.sampled_from(["nats,text_bytes", "step,loss", "id," + ",".join(CRITERIA), "x", ""])
)
def test_tables(rows: list[list[str]], head: str) -> None:
    text = "\n".join([head, *(",".join(row) for row in rows)])
    report_data.write_run(Path())
    for path in ("artifacts/evaluation/stories.csv", "plots/val.csv", "sheet.csv"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text, encoding="utf-8")
    Path("ratings_key.json").write_text('{"a": "model"}')
    try_out(lambda: compare.read_run("workspace"))
    try_out(lambda: review.read_side("workspace"))
    try_out(lambda: read_sheets([Path("sheet.csv")], Path("ratings_key.json")))


pieces_of_text = st.lists(
    st.sampled_from(
        [
            b"Once.",
            b"<|endoftext|>",
            b"\n\n",
            b"\r",
            b"\n",
            b" \t",
            b"\xff",
            b"\xef\xbb\xbf",
            b"\0",
            "â€œ".encode(),
            "😀".encode(),
            b'{"text": "a"}\n',
            b'{"text": 5}\n',
            b'{"text": "\\ud800"}\n',
            b"[" * 9999,
            b'{"text": null}\n',
            b"\xed\xa0\x80",
            b"{",
        ]
    )
    | st.binary(max_size=9),
    max_size=12,
).map(b"".join)


def make_corpus(path: Path, options: dict[str, Any]) -> None:
    params = tiny.download_params(paths=[str(path)], val_fraction=0.5, **options)
    found = files.read(files.find(params.paths, Path(), "download.paths"), params.separator, params.text_field)
    write_corpus(Source("files", found, None, {}, "give more text"), params, Path("corpus"))


@cases(150)
@given(
    pieces_of_text,
    st.sampled_from(["a.txt", "a.jsonl", "a.parquet"]),
    st.sampled_from(["endoftext", "blank_line"]),
    st.integers(0, 9),
)
def test_own_text(content: bytes, name: str, separator: str, min_chars: int) -> None:
    Path(name).write_bytes(content)
    try_out(lambda: make_corpus(Path(name), {"separator": separator, "min_chars": min_chars}))


columns = st.sampled_from(
    [
        pa.array(["a", "b", None]),
        pa.array([1, 2, 3]),
        pa.array([b"\xff", b"a", b"b"]),
        pa.array([["a"], [], None]),
        pa.array(["a", "a", "b"]).dictionary_encode(),
        pa.array([None, None, None]),
        pa.array([{"text": "a"}, None, None]),
    ]
)


@cases(100)
@given(
    st.lists(st.tuples(st.sampled_from(["text", "", "x" * 999, "text\n", "a.b"]), columns), min_size=1, max_size=3),
    st.none() | st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=9)),
)
def test_parquet(table: list[tuple[str, pa.Array]], damage: tuple[float, bytes] | None) -> None:
    path = Path("b.parquet")
    pq.write_table(pa.table([column for _, column in table], names=[name for name, _ in table]), path)
    if damage:
        content, at = path.read_bytes(), int(damage[0] * path.stat().st_size)
        path.write_bytes(content[:at] + damage[1] + content[at + len(damage[1]) :])
    try_out(lambda: list(read_stories(path)))
    try_out(lambda: read_row_group(RowGroup(path, 0, 1)))
    try_out(lambda: make_corpus(path, {}))


@cases(90)
@given(st.dictionaries(st.sampled_from(["prompt", "temperature", "top_k", "top_p", "max_tokens", "seed", "x"]), values))
def test_requests_for_stories(asked: dict[str, Any]) -> None:
    try_out(lambda: GenerationRequest.of(asked))


paths = st.sampled_from(
    [
        "nowhere",
        "/",
        ".",
        "",
        "/dev/null",
        "/dev/zero",
        "x" * 300,
        "x" * 5000,
        "metrics",
        "params.yaml",
        "a\nb",
        "\ud800",
        "~nosuchuser/x",
    ]
)
words = texts.filter(lambda text: "\0" not in text) | paths | numbers.map(str) | st.just("9" * 5000)
COMMANDS: dict[str, st.SearchStrategy[list[str]]] = {
    "write": st.lists(
        st.sampled_from(["--temperature", "--top-k", "--top-p", "--seed", "--count", "--max-tokens"]) | words
    ),
    "serve": st.tuples(st.just("--port"), words).map(list),
    "ratings": st.lists(paths | st.just("--key"), max_size=4),
    "sweep": st.lists(
        st.sampled_from(
            [
                "--trials",
                "--name",
                "--jobs",
                "train.peak_lr=log(1e-4,1e-2)",
                "train.seed=1,2",
                "a=b",
                "train.steps=int(1,x)",
            ]
        )
        | words,
        max_size=4,
    ),
    "plan": st.lists(
        st.sampled_from(
            ["--hours", "--device", "--network", "--price", "--write", "--check", "--no-probe", "t4", "2x2xt4", "4"]
        )
        | words,
        max_size=4,
    ),
    "scale": st.lists(st.sampled_from(["--name", "--sizes", "--budgets", "--jobs", "--show"]) | words, max_size=4),
    "compare": st.lists(words | st.sampled_from(["--a", "--b", "HEAD", "workspace"]), max_size=4),
    "review": st.lists(words | st.sampled_from(["--baseline", "--out", "workspace"]), max_size=3),
    "disk": st.lists(words, max_size=1),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_command_lines(command: str, place: Path) -> None:
    for name in ("dvc.yaml", "params.yaml"):
        (place / name).unlink(missing_ok=True)

    @cases(22)
    @given(COMMANDS[command])
    def run(options: list[str]) -> None:
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()), soon():
            try:
                code = main([command, *options, *(["--model", "nowhere"] if command in ("write", "serve") else [])])
            except SystemExit as end:  # by argparse
                code = end.code if isinstance(end.code, int) else 1
        if code:
            check_message(said.getvalue().removesuffix("\n").removeprefix("error: "))

    run()


def test_valid_inputs_are_accepted(tiny_store: Path, tiny_model: Path) -> None:
    """Fuzzing would show nothing if everything were refused."""
    check(GOOD, "params.yaml")
    assert np.max(open_tokens(tiny_store / "tokens", tiny_store / "tokenizer.json").val.tokens) < 300
    load_model(tiny_model)
    tokenizer = load_tokenizer(tiny_store / "tokenizer.json")
    assert tokenizer.decode(tokenizer.encode("Once").ids) == "Once"
