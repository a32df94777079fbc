"""`pagoda track compare`: MOT text beside MOT text, with words, JSON, and what cannot be compared."""

import json

import pytest

from pagoda.cli.main import main

NAMES = [f"MOT17-{number:02}" for number in range(1, 7)]


def run(*words):
    with pytest.raises(SystemExit) as stop:
        main(["track", "compare", *map(str, words)])
    return stop.value.code


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Six videos: all followed; half of the frames followed; no identities; four videos alone."""
    place = tmp_path_factory.mktemp("tracks")
    line = "{frame},{id},{x},20,30,60,1,{last}\n"
    for kind in ("gt", "all", "half", "loose", "few"):
        (place / kind).mkdir()
        for name in NAMES[:4] if kind == "few" else NAMES:
            frames = range(1, 9) if kind != "half" else range(1, 9, 2)
            last = "1,1" if kind == "gt" else "-1,-1,-1"
            own = -1 if kind == "loose" else 1
            rows = [line.format(frame=frame, id=own, x=10 + frame, last=last) for frame in (*frames, 8)]
            (place / kind / f"{name}.txt").write_text("".join(dict.fromkeys(rows)))
    return place


def test_in_words_and_as_json(folders, capsys):
    words = (folders / "half", folders / "all", "--gt", folders / "gt", "--rounds", 100)
    assert run(*words) == 0
    text = capsys.readouterr().out
    assert "HOTA: the second is better by " in text and "6 of 6 videos are otherwise" in text
    assert "better  MOT17-0" in text and "worse" not in text
    assert run(*words, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["parts"]["MOTA"]["ap"] == 1 and len(said["videos"]) == 6
    assert said["verdicts"]["IDF1"].startswith("the second is better by")


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ("all", "nowhere", "nowhere"),
        ("all", "loose", "link them first: pagoda track link"),
        ("all", "few", "MOT17-05"),
    ],
)
def test_what_cannot_be_compared(folders, capsys, first, second, told):
    assert run(folders / first, folders / second, "--gt", folders / "gt") == 1
    assert told in capsys.readouterr().err
    assert run(folders / "all", folders / "all", "--gt", folders / "gt", "--rounds", 0) == 1


def test_a_page_and_its_numbers(folders, tmp_path, capsys):
    words = (folders / "half", folders / "all", "--gt", folders / "gt", "--rounds", 100, "--out", tmp_path)
    assert run(*words) == 0 and run(*words, "--json") == 0
    captured = capsys.readouterr()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "compare-2.html", "compare-2.json", "compare.html", "compare.json",
    ]  # fmt: skip
    assert all(str(path) in captured.err for path in tmp_path.iterdir())
    page = (tmp_path / "compare.html").read_text()
    assert "HOTA: the second is better by" in page and all(name in page for name in NAMES)
    said = json.loads((tmp_path / "compare.json").read_text())
    assert said == json.loads(captured.out.splitlines()[-1])
