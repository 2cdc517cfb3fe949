"""What people write is read strictly: a mistake is one line with its place, never silence."""

import os
from pathlib import Path
from typing import Any

import pytest

from traitvec_core.errors import DefinitionError
from traitvec_core.user_files import parse_json, parse_table, parse_text, parse_yaml, read_file

MOST = 1_000_000


def problem(call: Any, *arguments: Any) -> str:
    with pytest.raises(DefinitionError) as caught:
        call(*arguments)
    message = str(caught.value)
    assert message.startswith("mine: ")
    assert len(message.splitlines()) == 1
    assert len(message) < 200
    return message.removeprefix("mine: ")


def json_problem(text: str | bytes) -> str:
    return problem(parse_json, text.encode() if isinstance(text, str) else text, "mine", MOST)


def yaml_problem(text: str) -> str:
    return problem(parse_yaml, text, "mine", MOST)


def table_problem(text: str | bytes) -> str:
    return problem(parse_table, text.encode() if isinstance(text, str) else text, "mine", MOST)


# -- JSON -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": 1,\n"b": 2,\n"a": 3}', "has the key 'a' twice, in lines 1 and 3; remove one"),
        ('[{"x": {"deep": [\n{"k": 1, "k": 1}]}}]', "the key 'k' twice, in lines 2 and 2"),
        # An escape is the same key, and a string that looks like one is none.
        ('{"a": "\\"a\\": 1",\n"\\u0061": 2}', "the key 'a' twice, in lines 1 and 2"),
        ('{"a": ["a", "a"], "b": {"a": 1}, "a": 0}', "the key 'a' twice"),
        ('{"a": [1,\nNaN]}', "contains NaN in line 2, which is no JSON number"),
        ('{"a": "NaN", "b": -Infinity}', "contains -Infinity in line 1"),
        ('{"a":\n 1e999}', "contains 1e999 in line 2"),
        ('{"a": ' + "9" * 5000 + "}", "a number too long to read"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ('{"a": "b\0c"}', "is not valid JSON: Invalid control character at line 1, column 9"),
        ("{'a': 1}", "is not valid JSON"),
        ('{"a": 1} x', "is not valid JSON: Extra data"),
        ("", "is not valid JSON"),
        (" " * (MOST + 1), "is 1,000,001 bytes long; the limit is 1,000,000"),
        (b"\xff\xfe{\0}\0", "is not UTF-8 (it is UTF-16); save it as UTF-8"),
        (b'{"a": "\xe9"}', "is not UTF-8 (byte 7); save it as UTF-8"),
        ('{"' + "k" * 5000 + '": 1, "' + "k" * 5000 + '": 1}', "twice"),
        ('{"\x7f\u202e": 1, "\x7f\u202e": 1}', r"has the key '\x7f\u202e' twice"),
    ],
)
def test_json_that_python_would_read_silently_or_not_at_all(
    text: str | bytes, expected: str
) -> None:
    assert expected in json_problem(text)


def test_json_is_read_as_it_is_written() -> None:
    data = b'\xef\xbb\xbf{"a": [1, 2.5, "\\u00e9"],\r\n "b": {"a": null}}'
    assert parse_json(data, "", MOST) == {"a": [1, 2.5, "é"], "b": {"a": None}}


# -- YAML -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3", "has the key 'a' twice, in lines 1 and 3; remove one"),
        ("a:\n  b: 1\n  b: 2", "has the key 'b' twice, in lines 2 and 3"),
        ("- {x: {y: 1, 'y': 2}}", "has the key 'y' twice, in lines 1 and 1"),
        ("a: &x 1\nb: *x", "uses the alias *x in line 2; write its value out"),
        ("a: &x [*x]", "uses the alias *x"),
        ("[" * 20_000, "nested too deeply"),
        ("a: [b", "is not valid YAML: expected ',' or ']'"),
        ("a: b: c", "is not valid YAML: mapping values are not allowed here at line 1, column 5"),
        ("a: \x1b[2J", r"is not valid YAML"),
        ("a: 2024-99-99", "is not valid YAML: a value cannot be read"),
        ("a: !!int ''", "a value cannot be read"),
        ("a: !!bool maybe", "a value cannot be read"),
        ("a: !!timestamp x", "a value cannot be read"),
        ("a: " + "9" * 5000, "a value cannot be read"),
        ("? [1]\n: 2", "is not valid YAML"),
        ("a: 1\n---\na: 2", "is not valid YAML"),
        ("a" * (MOST + 1), "the limit is 1,000,000"),
        ("a: !!python/object/apply:os.system [true]", "is not valid YAML"),
    ],
)
def test_yaml_that_pyyaml_would_read_silently_or_not_at_all(text: str, expected: str) -> None:
    assert expected in yaml_problem(text)


def test_a_key_may_be_in_two_mappings_and_an_anchor_without_an_alias_is_a_value() -> None:
    assert parse_yaml("a: {b: 1}\nc: {b: 1}\nd: &x 2", "", MOST) == {
        "a": {"b": 1}, "c": {"b": 1}, "d": 2,
    }  # fmt: skip
    assert parse_yaml("1: a\n'1': b", "", MOST) == {1: "a", "1": "b"}


# -- tables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a,b,a\n1,2,3\n", "has the column 'a' twice; remove one"),
        ("a,b\n1,8,5\n", "line 2 has 3 cells, but the header has 2"),
        ('a,b\n1,"open\n2,3\n', "is not a CSV table: unexpected end of data"),
        ('a,b\n1,"x"y\n', "is not a CSV table"),
        (b"\xff\xfea\0", "is not UTF-8 (it is UTF-16)"),
        ("a" * (MOST + 1), "the limit is 1,000,000"),
    ],
)
def test_tables_of_which_a_part_would_be_lost(text: str | bytes, expected: str) -> None:
    assert expected in table_problem(text)


def test_texts_of_a_table_are_kept() -> None:
    names, rows = parse_table(
        '\ufeffa,b,,\n"=cmd()","\x1b[2J\r\n,"\n\nNA\n1,2,,\n'.encode(), "", MOST
    )
    assert names == ("a", "b", "", "")
    assert [row.cells["a"] for row in rows] == ["=cmd()", "NA", "1"]
    assert [row.cells["b"] for row in rows] == ["\x1b[2J\r\n,", "", "2"]
    assert [row.line for row in rows] == [3, 5, 6]


# -- files ----------------------------------------------------------------------------------------


def test_a_file_is_not_read_beyond_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "big"
    with path.open("wb") as file:
        file.truncate(10**12)  # a hole: it has no blocks
    assert problem(read_file, path, "mine", MOST) == (
        "is 1,000,000,000,000 bytes long; the limit is 1,000,000"
    )
    path.write_bytes(b"x" * 10)
    assert read_file(path, "mine", 10) == b"x" * 10


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_may_never_end_is_not_opened(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "odd"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    assert "it is a pipe or a device; replace it" in problem(read_file, path, "mine", MOST)


def test_line_ends_and_marks_are_kept_in_texts() -> None:
    assert parse_text(b"\xef\xbb\xbfa\r\nb", "", MOST) == "a\r\nb"
