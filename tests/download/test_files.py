"""The user's own text: what is read, and the errors for files that cannot be."""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tinylm.base.errors import UserError
from tinylm.download import files, plain_text
from tinylm.download.plain_text import Separator

BITS = st.sampled_from(["A", "é", "🦊", "<|endoftext|>", "<|endof", "|>", "\n", "\r\n", "\r", " ", "\t"])


def write(path: Path, content: str | bytes) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def read(
    paths: Sequence[str], separator: Separator = "endoftext", field: str = "text", root: Path = Path()
) -> list[str]:
    return list(files.read(files.find(paths, root, "download.paths"), separator, field))


def stripped(stories: Sequence[str]) -> list[str]:
    return [story.strip() for story in stories]


def fails(*paths: str, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        read(paths, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_txt_stories_end_at_endoftext_anywhere(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "One.\n\nStill one.\n<|endoftext|>\nTwo.<|endoftext|>Three.\n<|endoftext|>\n")
    assert stripped(read([path])) == ["One.\n\nStill one.", "Two.", "Three."]


def test_an_empty_story_is_only_between_two_endoftext(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "\n<|endoftext|>One.<|endoftext|> \n<|endoftext|>Two.<|endoftext|>\n")
    assert stripped(read([path])) == ["One.", "", "Two."]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_txt_stories_end_at_blank_lines_when_asked(tmp_path: Path, end: str) -> None:
    text = end.join(["", "One.", "Still one.", "", "", "Two.", " \t", "  Three.", "", ""])
    path = write(tmp_path / "a.txt", text)
    assert stripped(read([path], "blank_line")) == [f"One.{end}Still one.", "Two.", "Three."]


@settings(deadline=None)
@given(bits=st.lists(BITS, min_size=1), chunk=st.integers(1, 20))
@example(bits=["A<|endof", "text|>é"], chunk=3)
def test_endoftext_may_span_chunks(tmp_path_factory: pytest.TempPathFactory, bits: list[str], chunk: int) -> None:
    pieces = "".join(bits).split("<|endoftext|>")
    first, inner, last = pieces[0], pieces[1:-1], pieces[-1] if len(pieces) > 1 else ""
    expected = [story for story in [first] if story.strip()] + inner + [story for story in [last] if story.strip()]
    assert in_chunks(tmp_path_factory, "".join(bits), "endoftext", chunk) == expected


@settings(deadline=None)
@given(bits=st.lists(BITS, min_size=1), chunk=st.integers(1, 20))
@example(bits=["A\n\n", "\n\nA"], chunk=3)
@example(bits=["A\n", " ", "\nA"], chunk=2)
@example(bits=["A\r", "\nA"], chunk=2)
def test_blank_lines_may_span_chunks(tmp_path_factory: pytest.TempPathFactory, bits: list[str], chunk: int) -> None:
    text = "".join(bits)
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    expected = [story for story in re.split(r"\n(?:[ \t]*\n)+", lines) if story.strip()]
    found = in_chunks(tmp_path_factory, text, "blank_line", chunk)
    assert stripped([story.replace("\r\n", "\n").replace("\r", "\n") for story in found]) == stripped(expected)


def in_chunks(factory: pytest.TempPathFactory, text: str, separator: Separator, chunk: int) -> list[str]:
    path = factory.getbasetemp() / "chunks.txt"
    path.write_bytes(text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain_text, "CHUNK", chunk)
        return list(plain_text.read_txt(path, "chunks.txt", separator))


@settings(deadline=None)
@given(before=st.text(st.characters(codec="utf-8")), bad=st.sampled_from([b"\xff", b"\x80", b"\xe9t\xe9", b"\xc3"]))
@pytest.mark.parametrize("ending", ["txt", "jsonl"])
def test_invalid_utf8_is_reported_with_its_position(
    tmp_path_factory: pytest.TempPathFactory, ending: str, before: str, bad: bytes
) -> None:
    if ending == "jsonl":
        start = "".join(json.dumps({"text": line}, ensure_ascii=False) + "\n" for line in before.split("\n")).encode()
    else:
        start = f"{before}<|endoftext|>\nTwo.\n".encode()
    path = write(tmp_path_factory.getbasetemp() / f"bad.{ending}", start + bad + b"\n")
    line = start.count(b"\n") + 1
    message = (
        f"expected UTF-8, found the byte 0x{bad[0]:02x} at offset {len(start)}, line {line}; save the file as UTF-8"
    )
    assert fails(path) == f"{path}: {message}"


def test_offsets_count_a_byte_order_mark(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", b'\xef\xbb\xbf{"text": "\xff"}\n')
    assert "found the byte 0xff at offset 13, line 1;" in fails(path)


def test_utf16_is_not_utf8(tmp_path: Path) -> None:
    for ending in ("txt", "jsonl"):
        assert "expected UTF-8, found the byte 0xff at offset 0" in fails(
            write(tmp_path / f"a.{ending}", '{"text": "One."}'.encode("utf-16"))
        )


def test_a_large_file_without_a_separator_is_an_error(tmp_path: Path) -> None:
    text = "Once upon a time.\n" * 70_000
    path = write(tmp_path / "a.txt", text)
    assert fails(path) == (
        f"{path}: expected <|endoftext|> between stories, found none in {len(text)} bytes; set download.separator: "
        "blank_line, or put <|endoftext|> after every story, even a single one"
    )
    assert "set download.separator: endoftext, or put a blank line" in fails(path, separator="blank_line")
    path = write(tmp_path / "a.txt", text + "<|endoftext|>" + text)
    assert read([path]) == [text, text]


def test_the_size_of_a_story_is_limited(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", b"One.<|endoftext|>" + b"x" * (18 << 20))
    assert "found none in more than 16 MB after byte 17" in fails(path)
    path = write(tmp_path / "a.jsonl", b'{"text": "One."}\n[' + b" " * (18 << 20))
    assert "line 2: expected one JSON object per line, found more than 16 MB" in fails(path)


def test_jsonl(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl",
        '\ufeff{"text": "One\\nline.", "id": 1}\r\n\n  \n{"id": 2, "text": "\\ud83e\\udd8a"}\n'
        '{"text": null}\n{"text": ""}',
    )
    assert read([path]) == ["One\nline.", "🦊", "", ""]
    assert read([write(tmp_path / "a.jsonl", '{"story": "One."}\n{"story": "Two."}')], field="story") == [
        "One.",
        "Two.",
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{'text': 'x'}", 'expected a JSON object such as {"text": ...}, but Expecting property name'),
        ("[", 'expected a JSON object such as {"text": ...}, but Expecting value'),
        ("[" * 100_000, 'expected a JSON object such as {"text": ...}, but maximum recursion depth'),
        ("[1, 2]", "expected a JSON object with the key 'text', found list"),
        ('{"story": "x", "id": 3}', "expected the key 'text', found 'story', 'id'; set download.text_field"),
        ("{}", "expected the key 'text', found none; set download.text_field"),
        ('{"text": 3}', "expected text under 'text', found int"),
        ('{"text": "\\ud83e"}', "expected Unicode text under 'text', but surrogates not allowed"),
    ],
)
def test_bad_jsonl_is_reported_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path / "a.jsonl", '{"text": "One."}\n\n' + line + "\n")
    assert fails(path).startswith(f"{path}: line 3: {message}")


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_parquet(tmp_path: Path, kind: pa.DataType) -> None:
    table = pa.table({"id": [1, 2, 3, 4], "story": pa.array(["One.", "", None, "é"]).cast(kind)})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    assert read([str(tmp_path / "a.parquet")], field="story") == ["One.", "", "", "é"]


def test_bad_parquet(tmp_path: Path) -> None:
    path = str(tmp_path / "a.parquet")
    pq.write_table(pa.table({"story": ["One."], "id": [1]}), path)
    assert fails(path) == f"{path}: expected a column 'text', found 'story', 'id'; set download.text_field"
    assert fails(path, field="id") == f"{path}: expected text in column 'id', found int64; set download.text_field"
    not_utf8 = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff\xfe"]).buffers())
    pq.write_table(pa.table({"text": not_utf8}), path)
    assert fails(path).startswith(f"{path}: expected a Parquet file of UTF-8 text, but 'utf-8' codec can't decode")
    write(Path(path), "Once upon a time.")
    assert fails(path).startswith(f"{path}: expected a Parquet file of UTF-8 text, but ")


def test_many_paths_and_folders_are_read_in_order(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    write(tmp_path / "deep" / "b.txt", "b<|endoftext|>c")
    write(tmp_path / "deep" / "a.JSONL", '{"text": "a"}')
    write(tmp_path / "deep" / "er" / "d.txt", "d")
    write(tmp_path / "z.txt", "z")
    assert read(["z.txt", "deep"], root=tmp_path) == ["z", "a", "b", "c", "d"]
    assert [file.name for file in files.find(["deep"], tmp_path, "")] == ["deep/a.JSONL", "deep/b.txt", "deep/er/d.txt"]


def test_skipped_files_in_a_folder_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "a.txt", "a")
    write(tmp_path / "empty.txt", "")
    write(tmp_path / "README.md", "# Stories")
    assert read([str(tmp_path)]) == ["a"]
    assert caplog.messages == [f"warning: {tmp_path}: skipped 2 files that are empty or of another type"]


def test_paths_that_hold_no_stories(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    write(tmp_path / "empty.txt", "")
    write(tmp_path / "blank.txt", "\n \n")
    write(tmp_path / "blank.jsonl", "\n \n")
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "none.parquet")
    write(tmp_path / "a.csv", "text\nOne.")
    expected = {
        "no.txt": f"{tmp_path}/no.txt: not found; fix download.paths, whose paths are absolute or relative to the "
        "repository's root",
        "folder": "download.paths: expected .txt, .jsonl, .parquet files in the folder folder, found none",
        "empty.txt": "download.paths: expected stories, but empty.txt is an empty file",
        "a.csv": "download.paths: expected .txt, .jsonl, .parquet or a folder, got a.csv; convert or rename it",
        "blank.txt": "blank.txt: expected stories, found none; remove it from the paths",
        "blank.jsonl": "blank.jsonl: expected stories, found none; remove it from the paths",
        "none.parquet": "none.parquet: expected stories, found none; remove it from the paths",
    }
    assert {name: fails(name, root=tmp_path) for name in expected} == expected


def test_an_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.txt", "One.")

    def forbidden(*_: object) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(plain_text, "open", forbidden, raising=False)
    assert fails(path) == f"{path}: cannot be read: [Errno 13] Permission denied: '{path}'"


def test_a_path_that_is_neither_a_file_nor_a_folder(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "link.txt").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / os.fsdecode(b"\xff.txt")).write_text("One.")
    assert fails("pipe.txt", root=tmp_path).startswith(f"{tmp_path}/pipe.txt: expected a file, got a pipe; fix downl")
    assert fails("link.txt", root=tmp_path).startswith(f"{tmp_path}/link.txt: not found; fix download.paths")
    assert fails("~nosuchuser/a.txt") == (
        "download.paths: ~nosuchuser/a.txt: there is no such user; write the full path"
    )
    assert "expected file names in UTF-8, got '" in fails("folder", root=tmp_path)
    with pytest.raises(OSError, match="File name too long"):
        files.find(["x" * 5000], tmp_path, "download.paths")  # which base/stage.py turns into a message


def test_an_unreadable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    write(tmp_path / "a.txt", "One.")
    monkeypatch.setattr(os, "scandir", forbidden)
    with pytest.raises(PermissionError):
        files.find([str(tmp_path)], tmp_path, "download.paths")


def test_a_duplicate_column(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table([pa.array(["One."]), pa.array(["Two."])], names=["text", "text"]), path)
    assert fails(str(path)) == f"{path}: expected one column 'text', found 2 of that name; rename them"


def test_a_story_of_too_many_megabytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LONGEST_STORY", 1 << 20)
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["One.", "x" * (3 << 20)]}), path)
    assert fails(str(path)) == f"{path}: expected stories of at most 1 MB, found one of 3 MB; split it into stories"


def test_files_are_described_by_their_content(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "One.")
    assert files.describe(files.find(["a.txt"], tmp_path, "")) == [
        {
            "path": "a.txt",
            "bytes": 4,
            "sha256": "70277bfc409b502132d7a48b2a3b386294264b31f7bf024a5fb0cafabb8ac122",
        }
    ]
