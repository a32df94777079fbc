"""Text as people's programs write it: marks, encodings, YAML words that are names, flags of every spelling."""

import codecs
import os
from pathlib import Path

import pytest

from pagoda.files.text import (
    as_name,
    as_number,
    as_whole,
    is_too_deep,
    nesting,
    read_json,
    read_text,
    read_yaml,
    truth_value,
    with_home,
)
from pagoda.pictures.files import find_pictures


@pytest.mark.parametrize(
    "content",
    [
        "wärter\n".encode(),
        codecs.BOM_UTF8 + "wärter\n".encode(),
        "wärter\n".encode("utf-16"),  # what PowerShell's > writes
        codecs.BOM_UTF16_BE + "wärter\n".encode("utf-16-be"),
    ],
)
def test_a_byte_order_mark_is_never_content(tmp_path, content):
    (tmp_path / "a.txt").write_bytes(content)
    assert read_text(tmp_path / "a.txt") == "wärter\n"


def test_text_of_another_encoding_is_named_with_its_byte(tmp_path):
    (tmp_path / "a.txt").write_bytes("wärter".encode("latin-1"))
    with pytest.raises(ValueError, match=r"a\.txt is not UTF-8 text \(byte 1 is 0xe4\); save it as UTF-8"):
        read_text(tmp_path / "a.txt")


def test_json_with_a_mark_is_read_and_a_broken_one_named(tmp_path):
    (tmp_path / "a.json").write_bytes(codecs.BOM_UTF8 + b'{"a": 1}')
    (tmp_path / "b.json").write_text("{")
    assert read_json(tmp_path / "a.json") == {"a": 1}
    with pytest.raises(ValueError, match=r"b\.json is not a JSON file"):
        read_json(tmp_path / "b.json")


def test_names_in_yaml_stay_as_written(tmp_path):
    (tmp_path / "a.yaml").write_text(
        "names: {0: no, 1: 007, 2: null, 3: 2024-01-01, 4: 'a: b'}\nnc: 5\nflag: no\n"
    )
    content = read_yaml(tmp_path / "a.yaml", as_text=("names",))
    assert content["names"] == {0: "no", 1: "007", 2: "null", 3: "2024-01-01", 4: "a: b"}
    assert content["nc"] == 5 and content["flag"] is False


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, "its aliases stand for more than 1000000 values"),
        ("a: &a [1, *a]\n", r"an alias leads back to what it stands in \(line 1\)"),
        ("a: 1\nb: {c: 1, d: 2, c: 3}\n", r"'c' is given twice \(below line 2\)"),
        ("a: 1\na: 2\n", "'a' is given twice"),
        ("a: " + "[" * 80 + "]" * 80, "nested more than 64 deep"),
        ("a: " + "[" * 700 + "]" * 700, "nested without end"),
        ("a: 2026-13-45\n", "month must be in 1..12"),
        ("a: 0b\n", ""),
        ("[1]: 2\n", "unhashable|found unhashable"),
        ("a: !!python/object/apply:os.system [ls]\n", "could not determine a constructor"),
        ("a: " + "x" * 4_000_001, "letters of YAML, at most 4000000 are read"),
    ],
)
def test_yaml_without_end_or_sense_is_refused_by_name(tmp_path, text, message):
    (tmp_path / "a.yaml").write_text(text)
    if not message:
        assert read_yaml(tmp_path / "a.yaml") == {"a": "0b"}
        return
    with pytest.raises(ValueError, match=rf"(?s)cannot read .*a\.yaml: .*({message})"):
        read_yaml(tmp_path / "a.yaml")


def test_aliases_and_merges_are_read(tmp_path):
    (tmp_path / "a.yaml").write_text("a: &a {b: 1, c: 2}\nd: {<<: *a, c: 3}\ne: [*a, *a]\n")
    content = read_yaml(tmp_path / "a.yaml")
    assert content["d"] == {"b": 1, "c": 3} and content["e"] == [{"b": 1, "c": 2}] * 2


@pytest.mark.parametrize("depth", [65, 900, 200_000])
def test_json_without_end_is_refused_by_name(tmp_path, depth):
    (tmp_path / "a.json").write_text("[" * depth + "]" * depth)
    with pytest.raises(ValueError, match=r"a\.json is not a JSON file: .* more than 64 deep"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("text", "depth"),
    [
        ("7", 0), ("[]", 1), ('{"a": [[1], "]]]"]}', 3), (r'["\"[[[", "\\"]', 1), (r'["\\", [[1]]]', 3),
        ('["人[", {"b{": {}}]', 3), ("[" + '"[",' * 600_000 + "[[0]]]", 3), ("", 0),
    ],
)  # fmt: skip
def test_nesting_is_told_without_reading(text, depth):
    assert nesting(text) == depth


def test_values_within_themselves_are_too_deep():
    loop = []
    loop.append({"a": loop})
    wide = [0]
    for _ in range(60):
        wide = [wide, wide]
    assert is_too_deep(loop) and is_too_deep([[[[wide]] * 2] * 2] * 2) and not is_too_deep(wide)
    assert not is_too_deep("text") and not is_too_deep(3)


def test_yaml_that_is_no_mapping_is_empty_and_a_broken_one_named(tmp_path):
    (tmp_path / "a.yaml").write_text("- 1\n")
    (tmp_path / "b.yaml").write_text("a: [1\n")
    assert read_yaml(tmp_path / "a.yaml") == {}
    with pytest.raises(ValueError, match=r"cannot read .*b\.yaml"):
        read_yaml(tmp_path / "b.yaml")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, False), ("", False), (0, False), (0.0, False), ("0", False), (" FALSE ", False), ("no", False),
        (1, True), (1.0, True), (True, True), ("1", True), ("true", True), ("Yes", True),
    ],
)  # fmt: skip
def test_truth_values_of_every_spelling(value, expected):
    assert truth_value(value, "a flag") is expected


@pytest.mark.parametrize("value", [2, -1, 0.5, "Unspecified", "2", [], {}, float("nan")])
def test_what_is_neither_true_nor_false_is_refused_by_name(value):
    with pytest.raises(ValueError, match=r"^a\.json: annotation 3: iscrowd must be 0 or 1"):
        truth_value(value, "a.json: annotation 3: iscrowd")


@pytest.mark.parametrize(
    ("value", "number", "whole"),
    [
        (3, 3.0, 3), (3.0, 3.0, 3), ("3", 3.0, 3), (" +3.0 ", 3.0, 3), ("3.5", 3.5, None), (".5e1", 5.0, None),
        ("inf", float("inf"), None), (2**63, 2.0**63, 2**63), (10**400, None, 10**400), (True, None, None),
        (None, None, None), ("", None, None), ("1_0", None, None), ("3,5", None, None), ("٣", None, None),
        ([3], None, None), (float("nan"), pytest.approx(float("nan"), nan_ok=True), None),
    ],
)  # fmt: skip
def test_numbers_written_as_text(value, number, whole):
    assert as_number(value) == number and as_whole(value) == whole


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("no", "no"),
        (0, "0"),
        (1.5, "1.5"),
        (True, "true"),
        (None, ""),
        ("\ufeff a b ", "a b"),
        ([], None),
        ({}, None),
    ],
)
def test_names_are_text(value, name):
    assert as_name(value) == name


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_named_pipe_is_refused_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(ValueError, match=r"a\.json is a pipe or a device, which may never end"):
        read_json(tmp_path / "a.json")
    with pytest.raises(ValueError, match="/dev/zero is a pipe or a device"):
        read_text("/dev/zero")


def test_a_home_that_nobody_has_stays_the_name_it_is():
    assert with_home("~nobody-of-that-name/a.png") == Path("~nobody-of-that-name/a.png")
    assert with_home("~/a.png") == Path.home() / "a.png"
    with pytest.raises(FileNotFoundError, match=r"there is no ~nobody-of-that-name/a\.png"):
        find_pictures("~nobody-of-that-name/a.png")
