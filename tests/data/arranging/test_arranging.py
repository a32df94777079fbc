"""Data sets put together, divided and chosen from."""

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from pagoda.cli.main import main
from pagoda.data.arranging.choosing import first, fraction, of_classes, of_names, without_empty
from pagoda.data.arranging.merging import merge, same_pictures
from pagoda.data.arranging.splitting import divide, groups, stratify
from pagoda.data.writing.contents import Contents, open_contents
from pagoda.data.writing.folder import plan, write_dataset

SIZE = (8, 10)


def make(
    folder: Path,
    pictures: dict[str, list[str]],
    names: tuple[str, ...],
    *,
    color: int = 0,
    split: str = "train",
):
    """A COCO folder: name of each picture → the classes of its objects; pictures differ in color."""
    place = folder / "images" / split
    images, annotations = [], []
    for number, (file, classes) in enumerate(pictures.items(), 1):
        (place / file).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZE[::-1], (color, number % 256, number // 256)).save(place / file)
        images.append({"id": number, "file_name": file, "height": SIZE[0], "width": SIZE[1]})
        for name in classes:
            box = [1, 1, 2 + len(annotations) % 4, 3]
            entry = {"id": len(annotations) + 1, "image_id": number, "category_id": names.index(name) + 1}
            annotations.append({**entry, "bbox": box, "iscrowd": 0})
    categories = [{"id": number, "name": name} for number, name in enumerate(names, 1)]
    (folder / "annotations").mkdir(exist_ok=True)
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations" / f"{split}.json").write_text(json.dumps(document))
    return folder


def counts(contents: Contents) -> Counter:
    total: Counter = Counter()
    for table in contents.splits.values():
        total.update(table.counts())
    return Counter({name: count for name, count in total.items() if count})


def test_merged_sets_have_the_objects_of_both(tmp_path: Path) -> None:
    a = make(tmp_path / "a", {"1.png": ["cat", "dog"], "2.png": []}, ("cat", "dog"), color=1)
    b = make(tmp_path / "b", {"1.png": ["dog"], "3.png": ["Cat", "bird"]}, ("Cat", "bird", "dog"), color=2)
    make(b, {"4.png": ["bird"]}, ("Cat", "bird", "dog"), color=3, split="val")
    shutil.copy(a / "images" / "train" / "1.png", b / "images" / "val" / "4.png")
    parts = [open_contents(a), open_contents(b)]
    whole = merge(parts)
    assert counts(whole) == counts(parts[0]) + counts(parts[1])
    assert {split: len(table) for split, table in whole.splits.items()} == {"train": 4, "val": 1}
    told = "\n".join(whole.notes)
    assert "the classes 'cat' and 'Cat' look alike and stay two" in told
    assert (
        "1 picture is there more than once, byte for byte" in told
        and "1 picture is in more than one split" in told
    )
    planned = plan(whole, "coco")
    assert [(loss.key, loss.count) for loss in planned.losses] == [("picture_names", 1)]
    back = open_contents(write_dataset(planned, tmp_path / "out"))
    assert counts(back) == counts(whole)
    of = {path.read_bytes(): k for k, path in enumerate(back.pictures["train"])}
    table = back.splits["train"]
    for part in parts:
        for index, path in enumerate(part.pictures["train"]):
            k = of[path.read_bytes()]
            rows = slice(table.offsets[k], table.offsets[k + 1])
            before = part.splits["train"]
            assert (
                table.boxes_xywh[rows].tolist()
                == before.boxes_xywh[before.offsets[index] : before.offsets[index + 1]].tolist()
            )


def test_what_cannot_be_merged_is_refused(tmp_path: Path) -> None:
    a = open_contents(make(tmp_path / "a", {"1.png": ["cat"]}, ("cat",)))
    with pytest.raises(ValueError, match="given twice"):
        merge([a, open_contents(tmp_path / "a" / ".")])
    with pytest.raises(ValueError, match="at least two"):
        merge([a])
    posed = []
    for name, points in (("b", ["nose"]), ("c", ["tail"])):
        folder = make(tmp_path / name, {"1.png": ["cat"]}, ("cat",))
        path = folder / "annotations" / "train.json"
        document = json.loads(path.read_text())
        document["categories"][0]["keypoints"] = points
        path.write_text(json.dumps(document))
        posed.append(open_contents(folder))
    with pytest.raises(ValueError, match=r"same keypoints.*nose.*tail"):
        merge(posed)
    assert merge([a, posed[0]]).label_map.skeleton.names == ("nose",)


@pytest.fixture
def many(tmp_path: Path) -> Contents:
    """Sixty pictures of six cameras, one rare class, three pictures that are there twice."""
    rng = np.random.default_rng(0)
    pictures = {}
    for number in range(60):
        objects = (
            ["car"] * int(rng.integers(0, 5))
            + ["bus"] * int(rng.integers(0, 2))
            + ["tram"] * (number % 10 == 0)
        )
        pictures[f"cam{number % 6}/frame_{number:03d}.png"] = objects
    folder = make(tmp_path / "many", pictures, ("car", "bus", "tram", "boat"))
    for number in (3, 17, 40):
        source = folder / "images" / "train" / f"cam{number % 6}" / f"frame_{number:03d}.png"
        shutil.copy(
            source, folder / "images" / "train" / f"cam{(number + 1) % 6}" / f"frame_{number + 1:03d}.png"
        )
    return open_contents(folder)


@pytest.mark.parametrize("by", ["picture", "folder", "prefix"])
def test_a_division_keeps_groups_and_shares(many: Contents, by: str) -> None:
    shares = {"train": 0.5, "val": 0.3, "test": 0.2}
    divided = divide(many, shares, seed=3, by=by)
    files = [file for table in divided.splits.values() for file in table.files]
    assert sorted(files) == sorted(many.splits["train"].files) and counts(divided) == counts(many)
    where = {file: split for split, table in divided.splits.items() for file in table.files}
    group_of = groups(many, "train", by)
    splits_of: dict[int, set[str]] = {}
    for file, group in zip(many.splits["train"].files, group_of.tolist(), strict=True):
        splits_of.setdefault(group, set()).add(where[file])
    assert all(len(each) == 1 for each in splits_of.values())
    assert not [
        places for places in same_pictures(divided.pictures) if len({split for split, _ in places}) > 1
    ]
    if by == "picture":
        total = counts(many)
        for split, share in shares.items():
            for name, count in divided.splits[split].counts().items():
                assert abs(count - share * total[name]) <= 3, (split, name)
            assert abs(len(divided.splits[split]) - 60 * share) <= 3


def test_seeds_divide_alike_or_otherwise(many: Contents) -> None:
    shares = {"train": 0.8, "val": 0.2}
    once, again, other = (divide(many, shares, seed=seed).splits["val"].files.tolist() for seed in (1, 1, 2))
    assert once == again != other


def test_what_cannot_be_divided_is_refused(tmp_path: Path, many: Contents) -> None:
    lone = open_contents(make(tmp_path / "lone", {"video_1.png": ["cat"], "video_2.png": []}, ("cat",)))
    with pytest.raises(
        ValueError, match="in 1 group by prefix cannot be divided into 2 splits; leave out --by"
    ):
        divide(lone, {"train": 0.5, "val": 0.5}, by="prefix")
    for shares in ({"train": 0.0, "val": 1.0}, {"train": 0.5, "val": 0.6}):
        with pytest.raises(ValueError, match="shares of splits must"):
            divide(lone, shares)


@settings(max_examples=40, deadline=None)
@given(
    arrays(np.int64, st.tuples(st.integers(2, 30), st.integers(1, 4)), elements=st.integers(0, 5)),
    st.integers(0, 9),
)
def test_every_group_is_dealt_once_and_no_split_is_empty(table: np.ndarray, seed: int) -> None:
    shares = np.array([0.7, 0.3])
    sizes = 1 + np.arange(len(table)) % 3
    chosen = stratify(table, sizes, shares, np.random.default_rng(seed))
    assert set(chosen.tolist()) == {0, 1}
    assert (chosen == stratify(table, sizes, shares, np.random.default_rng(seed))).all()


def test_a_subset_of_classes(many: Contents) -> None:
    few = of_classes(many, ["tram", "bus"])
    assert few.label_map.names == ("bus", "tram") and few.label_map.category_ids == (2, 3)
    assert counts(few) == Counter({name: counts(many)[name] for name in ("bus", "tram")})
    assert few.notes[0] == f"{counts(many)['car']} objects of other classes left out"
    assert few.num_pictures == 60
    full = without_empty(few)
    assert all(np.diff(table.offsets).all() for table in full.splits.values()) and counts(full) == counts(few)
    with pytest.raises(ValueError, match="no class 'trm'; did you mean 'tram'"):
        of_classes(many, ["trm"])


def test_a_subset_of_pictures(many: Contents) -> None:
    assert first(many, 7).splits["train"].files.tolist() == many.splits["train"].files.tolist()[:7]
    half, again = (fraction(many, 0.5, seed=2).splits["train"].files.tolist() for _ in range(2))
    assert (
        half == again
        and len(half) == 30
        and half == sorted(half, key=many.splits["train"].files.tolist().index)
    )
    named = of_names(many, ["frame_004.png", "cam2/frame_008.png", "frame_009"])
    assert named.splits["train"].files.tolist() == [
        "cam4/frame_004.png",
        "cam2/frame_008.png",
        "cam3/frame_009.png",
    ]
    with pytest.raises(ValueError, match=r"no picture 'frame_0044\.png'; did you mean"):
        of_names(many, ["frame_0044.png"])
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        fraction(many, 1.5)


def test_the_command_does_all_of_it(tmp_path: Path, many: Contents, capsys: pytest.CaptureFixture) -> None:
    source = str(tmp_path / "many")

    def run(*words: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as stop:
            main(["data", *words])
        said = capsys.readouterr()
        return int(stop.value.code or 0), said.out + said.err

    out = {name: str(tmp_path / name) for name in ("voc", "parts", "few", "both", "none")}
    code, said = run("convert", source, out["voc"], "--to", "voc")
    assert code == 0 and "1 class without objects: lost" in said
    code, said = run("split", out["voc"], out["parts"], "--val", "0.25", "--by", "folder")
    assert (
        code == 0
        and "nothing is lost" in said
        and set(open_contents(out["parts"]).splits) == {"train", "val"}
    )
    code, said = run("subset", source, out["few"], "--classes", "tram", "--first", "20", "--to", "yolo")
    assert code == 0 and open_contents(out["few"]).label_map.names == ("tram",)
    code, said = run("merge", out["few"], out["parts"], out["both"])
    assert code == 0 and "byte for byte" in said and open_contents(out["both"]).num_pictures == 80
    code, said = run("convert", source, out["none"], "--to", "voc", "--dry-run")
    assert code == 0 and not Path(out["none"]).exists()
    code, said = run("convert", source, out["none"], "--to", "voc", "--strict")
    assert code == 1 and "nothing may be lost" in said and not Path(out["none"]).exists()
    code, said = run("split", out["parts"], out["none"], "--val", "0.25")
    assert code == 1 and "--of train+val" in said
    for words in (
        ("merge", source, source, out["none"]),
        ("convert", source, f"{source}/in", "--to", "coco"),
    ):
        assert run(*words)[0] == 1
    assert run("konvert")[0] == 2 and run("--help")[0] == 0
