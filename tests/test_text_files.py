"""Text as people's programs write it: marks, encodings, YAML words that are names, flags of every spelling."""

import codecs

import pytest

from pagoda.text_files import as_name, as_number, as_whole, read_json, read_text, read_yaml, truth_value


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
