"""Files of entries: lists and lines, what other systems add to them, and how a broken one is told."""

import gzip
import json
import re

import pytest

from eval.entries import read_entries
from eval.errors import InputError

VALUES = [{"a": 1}, {"b": "x\u2028y"}, {"c": [float("inf")]}]


def read(tmp_path, content: bytes) -> list:
    path = tmp_path / "file"
    path.write_bytes(content)
    return read_entries(path, "write it again")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_list_and_lines_hold_the_same_entries(end, mark, pack, tmp_path):
    lines = [json.dumps(value, ensure_ascii=False) for value in VALUES]
    texts = {
        "lines": end.join(["", *lines, "  ", ""]),
        "no end of the last line": end.join(lines),
        "a list": json.dumps(VALUES, ensure_ascii=False),
        "a list over lines": json.dumps(VALUES, indent=2, ensure_ascii=False).replace("\n", end),
    }
    for name, text in texts.items():
        found = read(tmp_path, pack((mark + text).encode()))
        assert (name, [entry.value for entry in found]) == (name, VALUES)


def test_an_entry_says_where_it_is(tmp_path):
    path = tmp_path / "file"
    assert [e.where for e in read(tmp_path, b"\n1\n\n2")] == [f"{path}, line 2", f"{path}, line 4"]
    assert [e.where for e in read(tmp_path, b"[1, 2]")] == [f"{path}, entry {n} (from 0)" for n in (0, 1)]
    assert [(e.where, e.value) for e in read(tmp_path, b'{\n"a": 1\n}')] == [(str(path), {"a": 1})]
    assert [e.value for e in read(tmp_path, b"[1]\n[2]")] == [[1], [2]]
    assert read(tmp_path, b"") == read(tmp_path, b" \r\n") == read(tmp_path, b"[]") == []


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"1\n{", "file, line 2: not JSON (Expecting property name"),
        (b'{"a": "\t"}', "file, line 1: not JSON (Invalid control character"),
        (b"[1,\n2", "file is not valid JSON ("),
        (b"1\n" + b"[" * 100_000, "file, line 2: not JSON (nested too deep); write it again"),
        (b"[" * 100_000, "file is not valid JSON (nested too deep); write it again"),
        (b"1\n" + b"9" * 5_000, "file, line 2: not JSON (a number too long); write it again"),
        (b"[" + b"9" * 5_000 + b"]", "file is not valid JSON (a number too long); write it again"),
        (b"1\n2\n\xff", "file, line 3: not UTF-8 (invalid start byte)"),
        ("1\n2".encode("utf-16"), "file, line 1: not UTF-8"),
        (gzip.compress(b"1\n2", mtime=0)[:-9], "is not a whole gzip file"),
    ],
)
def test_a_broken_file_is_told_with_the_place(content, told, tmp_path):
    with pytest.raises(InputError, match=re.escape(told)) as caught:
        read(tmp_path, content)
    assert "\n" not in str(caught.value)
