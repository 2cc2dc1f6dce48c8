"""params.yaml is read as DVC reads it, and checked as a whole before any work."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.utils.serialize import parse_yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.support.tiny import ROOT
from tinylm.base import yaml12
from tinylm.base.errors import UserError
from tinylm.base.params import check, read_params, section_classes
from tinylm.train.params import TrainParams

GOOD: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


def changed(*changes: tuple[str, Any]) -> dict[str, Any]:
    values = {name: dict(section) for name, section in GOOD.items()}
    for path, value in changes:
        section, key = path.split(".")
        values[section][key] = value
    return values


def mistakes(values: Any) -> str:
    with pytest.raises(UserError) as caught:
        check(values, "params.yaml")
    return str(caught.value)


def test_the_committed_file_is_valid() -> None:
    assert read_params(ROOT / "params.yaml")[TrainParams].optimizer in ("adamw", "muon")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("model.heads", 3), "model.heads: expected a divisor of model.width = "),
        (("train.steps", -5), "train.steps: expected more than 0, got -5"),
        (("train.peek_lr", 0.1), "train.peek_lr: unknown key; did you mean peak_lr?"),
        (("train.batch_size", "16"), "train.batch_size: expected a whole number, got '16'"),
        (("train.batch_size", True), "train.batch_size: expected a whole number, got true"),
        (("train.peak_lr", "3e-4x"), "train.peak_lr: expected a number, got '3e-4x'"),
        (("train.peak_lr", float("nan")), "train.peak_lr: expected a finite number, got nan"),
        (("train.optimizer", "sgd"), "train.optimizer: expected 'adamw' or 'muon', got 'sgd'"),
        (("train.epochs", 3), "train.steps: expected either train.steps or train.epochs, the other null; got both"),
        (
            ("train.steps", None),
            "train.steps: expected either train.steps or train.epochs, the other null; got neither",
        ),
        (("train.micro_batch_size", 5), "train.micro_batch_size: expected a divisor of train.batch_size = "),
        (("train.warmup_steps", 10**6), "train.warmup_steps: expected at most train.steps"),
        (("model.dropout", 0.1), "model.dropout: expected 0.0 with model.architecture: llama, got 0.1"),
        (("model.context", 16), "model.context: expected at least 32, got 16"),
        (
            ("train_tokenizer.vocab_size", 100),
            "train_tokenizer.vocab_size: expected at least 257, got 100",
        ),
        (("train_tokenizer.kind", "file"), "train_tokenizer.path: expected a tokenizer.json"),
        (("download.source", "files"), "download.paths: expected at least one path with download.source: files"),
        (("generate.prompts", []), "generate.prompts: expected"),
        (("runtime.compile", "yes"), "runtime.compile: expected "),
    ],
)
def test_a_mistake_is_named_with_what_was_expected_and_got(change: tuple[str, Any], message: str) -> None:
    text = mistakes(changed(change))
    assert text.startswith("params.yaml has 1 mistake: ")
    assert message in text
    assert "\n" not in text


def test_a_stride_with_sequences_aligned_to_stories() -> None:
    text = mistakes(changed(("train.sequences", "strided"), ("train.align", "story"), ("train.stride", 5)))
    assert "train.stride: expected null with train.align: story (one sequence a story), got 5" in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.sequences": "random", "train.stride": 5}, "train.stride: expected null with train.sequences: random"),
        ({"generate.max_tokens": 256}, "generate.max_tokens: expected less than model.context = 256, since a story"),
        ({"model.context": 100, "generate.max_tokens": 100}, "generate.max_tokens: expected less than model.context"),
        ({"evaluate.stride": 257}, "evaluate.stride: expected at most model.context = 256, got 257"),
        (
            {"train.sequences": "strided", "train.stride": 257},
            "train.stride: expected at most model.context = 256, or tokens are never trained on; got 257",
        ),
    ],
)
def test_conflicting_sections_are_found_before_any_work(changes: dict[str, Any], message: str) -> None:
    assert mistakes(changed(*changes.items())).startswith(f"params.yaml has 1 mistake: {message}")


def test_the_largest_values_without_conflict() -> None:
    strided = (("train.sequences", "strided"), ("train.stride", 256))
    check(changed(("generate.max_tokens", 255), ("evaluate.stride", 256), *strided), "params.yaml")


def test_all_mistakes_are_reported_together() -> None:
    values = changed(("model.heads", 3), ("train.steps", -5), ("train.peek_lr", 1), ("train.micro_batch_size", 5))
    del values["evaluate"]
    values["trian"] = {}
    text = mistakes(values)
    assert text.startswith("params.yaml has 6 mistakes:")
    for part in (
        "model.heads",
        "train.steps",
        "peek_lr",
        "micro_batch_size",
        "evaluate: the section",
        "trian: unknown",
    ):
        assert part in text


HUGE = (10**30, 16**5000, 1e30, float("inf"), "x" * 10**5, ["x"] * 10_001, [1.0] * 10_001)
OUT_OF_BOUNDS = (-(10**30), -1, -1e-300, "", " ", "\0", "\ud800", [""], ["\0"], [-1.0])
GPT2 = (("model.architecture", "gpt2"), ("model.qk_norm", False))  # llama accepts no dropout, whatever its value


@pytest.mark.parametrize("name", [f"{section}.{key}" for section in GOOD for key in GOOD[section]])
def test_every_field_has_bounds(name: str) -> None:
    """No field accepts a value that can only be a typo, or that is not text, a number or a path."""
    for value in (*HUGE, *OUT_OF_BOUNDS):
        if (value in ("", " ") and name == "runtime.sample_prompt") or (value == [""] and name == "generate.prompts"):
            continue  # an empty prompt is allowed: unconditional generation
        message = mistakes(changed((name, value), *(GPT2 if name == "model.dropout" else ())))
        assert message.startswith(f"params.yaml has 1 mistake: {name}")
        assert message.isprintable()
        assert len(message) <= 300


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("train.seed", 2**64), "train.seed: expected at most 9,007,199,254,740,991, got 18446744073709551616"),
        (("train_tokenizer.vocab_size", 10**9), "train_tokenizer.vocab_size: expected at most 1,000,000, got"),
        (("train_tokenizer.min_frequency", 10**20), "train_tokenizer.min_frequency: expected at most 1,000,000,000"),
        (("model.context", 10**9), "model.context: expected at most 131,072, got 1000000000"),
        (("runtime.threads", 5000), "runtime.threads: expected at most 256, got 5000"),
        (("train.weight_decay", 1e30), "train.weight_decay: expected at most 10, got 1e+30"),
        (("train.grad_clip", 1e-300), "train.grad_clip: expected at least 1e-06, got 1e-300"),
        (("generate.temperature", 1e-40), "generate.temperature: expected 0, or 0.001 to 10, got 1e-40"),
        (("generate.other_temperatures", [0.5, 1e-40]), "generate.other_temperatures.1: expected 0, or 0.001 to 10"),
        (("generate.prompts", ["a", "\ud800"]), "generate.prompts.1: expected Unicode text (UTF-8), got the lone"),
        (("generate.prompts", "Once"), "generate.prompts: expected a list such as [a, b], got 'Once'"),
        (("generate.prompts", ["<|endoftext|>"]), "generate.prompts.0: expected one story, got <|endoftext|>"),
        (("download.paths", [""]), "download.paths.0: expected text, got '', which is blank"),
        (("download.paths", "a.txt"), "download.paths: expected a list such as [a, b], got 'a.txt'"),
        (("download.revision", 5), "download.revision: expected text, got 5; put quotation marks around it"),
        (("train.checkpoints", 5), "train.checkpoints: unknown key; "),
        (
            ("generate.checkpoints", "true"),
            "generate.checkpoints: expected true or false, got 'true'; leave out the quot",
        ),
        (("train.steps", "1e3"), "train.steps: expected a whole number, got '1e3'; leave out the quotation marks"),
        (("runtime.compile", None), "runtime.compile: expected 'auto' or true or false, got null"),
    ],
)
def test_bounds_and_types_in_plain_words(change: tuple[str, Any], message: str) -> None:
    assert mistakes(changed(change)).startswith(f"params.yaml has 1 mistake: {message}")


@pytest.mark.parametrize(
    ("text", "key"), [("? [a, b]\n: 1", "('a', 'b')"), ("5: 1", "5"), ("null: 1", "None"), ("1.5: 1", "1.5")]
)
def test_a_key_that_is_not_text_is_unknown(text: str, key: str) -> None:
    found = yaml12.parse(text, "p.yaml")
    unknown = f"{key}: unknown key; params.yaml holds all keys"
    assert mistakes(GOOD | found) == f"params.yaml has 1 mistake: {unknown}"
    assert mistakes(GOOD | {"train": GOOD["train"] | found}) == f"params.yaml has 1 mistake: train.{unknown}"


def test_a_file_with_only_mistakes_reports_the_first(tmp_path: Path) -> None:
    lines = mistakes({f"key{n}\n": n for n in range(1000)}).split("\n  ")
    assert lines[0] == "params.yaml has 1008 mistakes:"
    assert lines[1] == "'key0\\n': unknown key; params.yaml holds all keys"
    assert lines[-1] == "and 988 more"
    assert len(lines) == 22


@pytest.mark.parametrize("section", sorted(GOOD))
def test_no_value_has_a_default_in_the_code(section: str) -> None:
    for key in GOOD[section]:
        values = changed()
        del values[section][key]
        assert f"{section}.{key}: missing" in mistakes(values)


def test_every_section_of_the_file_has_a_class() -> None:
    assert set(section_classes()) == set(GOOD)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not found; run from the root"):
        read_params(tmp_path / "params.yaml")


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes(b"train: \xff")
    with pytest.raises(UserError, match="not UTF-8 at byte 7"):
        read_params(tmp_path / "params.yaml")


@pytest.mark.parametrize("text", ["train: [", "train: {a: 1}\ntrain: {b: 2}", "a: !!python/object:os.system {}"])
def test_a_file_that_is_not_accepted_yaml(text: str) -> None:
    with pytest.raises(UserError, match=r"p\.yaml: not valid YAML"):
        yaml12.parse(text, "p.yaml")


@pytest.mark.parametrize("text", ["just words", "- a\n- b", ""])
def test_a_file_without_sections(text: str) -> None:
    assert "expected sections such as `train:`" in mistakes(yaml12.parse(text, "p.yaml"))


TRAPS = """3e-4 1e-05 1E5 1e+5 .5 5. -.5e-3 1_000 1_0.5 yes no on off y n true True TRUE false 010 0o10 0x1F 0b11
12:30 1:20:30 2024-01-01 2024-01-01T10:00:00 = ~
null Null NULL .inf -.inf .5e3 +3 -0 0 1e 1.e5 e5 2024-01-01x 1.2.3 0.1e-7""".split()


@pytest.mark.parametrize("scalar", TRAPS)
def test_scalars_are_read_as_dvc_reads_them(scalar: str) -> None:
    check_as_dvc(f"a: {scalar}")


DOCUMENTS = [
    "b: &x {p: 1}\na:\n  <<: *x\n  q: 2",
    "%YAML 1.1\n---\na: yes\nb: 010\nc: 12:30",
    "%YAML 1.2\n---\na: yes",
    "? [1, 2]\n: x",
    "{a: 1}: x",
    "a: 1\na: 2",
    "<<: 3",
    "a: b\x85c",
    "a: !!bool x",
    "a: !!int x",
    "a: !!omap [x: 1]",
    "a: *unknown",
    f"a: {'9' * 5000}",
    "a: 2024-13-45",
]


@pytest.mark.parametrize("text", DOCUMENTS)
def test_documents_are_read_as_dvc_reads_them(text: str) -> None:
    check_as_dvc(text)


def check_as_dvc(text: str) -> None:
    """Check that both parsers read the same from `text`, or both refuse it."""
    try:
        theirs = parse_yaml(text, "p")
    except Exception:
        with pytest.raises(UserError, match="p: not valid YAML: "):
            yaml12.parse(text, "p")
        return
    ours = yaml12.parse(text, "p")
    assert repr(ours) == repr(theirs)  # the types are equal too


def lists_of_aliases(text: str, levels: int) -> str:
    """Return a document that grows ninefold with each level."""
    lines = ["l0: &l0 {a: 1}"]
    lines += [f"l{n}: &l{n} " + text.replace("ALIASES", ", ".join([f"*l{n - 1}"] * 9)) for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (lists_of_aliases("[ALIASES]", 10), "expected at most 20000 values with all aliases expanded"),
        (lists_of_aliases("{<<: [ALIASES]}", 10), "expected at most 20000 values with all aliases expanded"),
        (f"a: {'[' * 5000}{']' * 5000}", "levels deep, got more"),
        ("- " * 5000, "levels deep, got more"),
        ("{a: " * 5000, "levels deep, got more"),
        ("a: &x [*x]", r"the alias \*x is inside its own anchor"),
        ("a: &x {b: {c: *x}}", r"the alias \*x is inside its own anchor"),
        (" " * 10**6, "expected at most 262144 characters of YAML, got 1000000"),
    ],
)
@pytest.mark.timeout(60)
def test_the_expanded_size_of_a_document_is_bounded(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        yaml12.parse(text, "p.yaml")


def test_anchors_and_aliases_are_accepted_within_bounds() -> None:
    assert yaml12.parse("a: &x [1, 2]\nb: *x\nc: &y 3\nd: [*y]", "p") == {
        "a": [1, 2], "b": [1, 2], "c": 3, "d": [3]
    }  # fmt: skip


def test_a_mistake_in_yaml_is_named_by_line_and_column() -> None:
    with pytest.raises(UserError, match=r"^p\.yaml: not valid YAML: line 2, column 5: mapping values are not allowed"):
        yaml12.parse("a: 1\nb: c: d", "p.yaml")


@given(st.from_regex(r"[-+]?[0-9_]{0,4}\.?[0-9]{0,4}([eE][-+]?[0-9]{1,2})?", fullmatch=True))
def test_what_looks_like_a_number_is_read_as_dvc_reads_it(scalar: str) -> None:
    check_as_dvc(f"a: {scalar}")


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_what_dvc_writes_for_a_float_is_read_back(value: float) -> None:
    assert yaml12.parse(f"a: {value!r}", "p") == {"a": value}
