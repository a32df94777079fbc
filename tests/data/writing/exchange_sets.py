"""Generated data sets with all that formats trip over, as COCO folders, and how two of them are compared."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from pagoda.data.writing.contents import Contents
from pagoda.ops.rle import encode_masks

NAMES = (
    "a.png", "A.PNG", "a.b.png", "b/a.png", "b/ä ö.png", "sub/images/x.png", "frame 1.png", "frame_2.png",
    "x:y.png", "'q'.png", "#1.png", "100%.png", "con.png", "val/a.png", "a.bmp", "labels/a.png", " b.png",
)  # fmt: skip
KEYPOINTS = ("nose", "left_eye", "right_eye")
CLASSES = ("red fox", "cat", "Ünïque", "no", "007")
CLOSE = 1e-6

numbers = st.integers(-40, 200).map(lambda value: value / 8)
shares = st.integers(0, 8).map(lambda value: value / 8)


@st.composite
def polygons(draw: st.DrawFn, size: tuple[int, int]) -> list[float]:
    """Triangles and more, of which some leave the picture."""
    height, width = size
    beyond = draw(st.sampled_from([0.0, 0.0, 0.25]))
    points = []
    for _ in range(draw(st.integers(3, 5))):
        x, y = draw(shares) * (1 + 2 * beyond) - beyond, draw(shares) * (1 + 2 * beyond) - beyond
        points += [x * width, y * height]
    return points


@st.composite
def run_lengths(draw: st.DrawFn, size: tuple[int, int]) -> dict[str, Any]:
    """Pixels by chance, some of them none, some with holes."""
    count, share = size[0] * size[1], draw(st.sampled_from([0, 60, 180, 245]))
    noise = np.frombuffer(draw(st.binary(min_size=count, max_size=count)), np.uint8)
    mask = (noise * np.uint8(167) + np.arange(count) * 89 % 256).reshape(size) % 256 < share
    return {"size": list(size), "counts": encode_masks(mask[None])[0]}


@st.composite
def objects(draw: st.DrawFn, size: tuple[int, int], has_poses: bool) -> dict[str, Any]:
    height, width = size
    entry: dict[str, Any] = {"category_id": draw(st.sampled_from([3, 4, 9])), "iscrowd": 0}
    kind = draw(st.sampled_from(["box", "box", "polygon", "parts", "pixels"]))
    entry["bbox"] = draw(
        st.one_of(
            st.tuples(numbers, numbers, numbers, numbers),
            st.tuples(shares, shares, shares, shares).map(
                lambda v: (v[0] * width / 2, v[1] * height / 2, v[2] * width / 2, v[3] * height / 2)
            ),
        )
    )
    if kind == "polygon":
        entry["segmentation"] = [draw(polygons(size))]
    elif kind == "parts":
        entry["segmentation"] = [draw(polygons(size)) for _ in range(draw(st.integers(2, 3)))]
    elif kind == "pixels":
        entry["segmentation"] = draw(run_lengths(size))
    if draw(st.booleans()):
        entry["area"] = draw(st.integers(1, 400)) / 4
    entry["iscrowd"] = draw(st.sampled_from([0, 0, 0, 1]))
    if has_poses and draw(st.booleans()):
        points = [(draw(numbers), draw(numbers), draw(st.sampled_from([0, 1, 2]))) for _ in KEYPOINTS]
        entry["keypoints"] = [value for x, y, v in points for value in ((x, y, v) if v else (0, 0, 0))]
        entry["num_keypoints"] = sum(v > 0 for _, _, v in points)
    return entry


@st.composite
def documents(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    """Split → a COCO document; of each image, "color" is what its picture is filled with."""
    has_poses = draw(st.sampled_from([False, False, True]))
    skeleton = {"keypoints": list(KEYPOINTS), "skeleton": [[1, 2], [1, 3]]} if has_poses else {}
    names = draw(st.permutations(CLASSES))
    categories = [
        {"id": number, "name": name, **skeleton}
        for number, name in zip((3, 4, 9, 12), names[:4], strict=True)
    ]
    splits = draw(st.sampled_from([("train",), ("train", "val"), ("default",)]))
    found, color = {}, 0
    for split in splits:
        files = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
        step = draw(st.sampled_from([1, 3]))
        images, annotations = [], []
        for number, file in enumerate(files):
            color += 1
            size = draw(st.integers(6, 20)), draw(st.integers(6, 20))
            image = {"id": 1 + step * number, "file_name": file, "height": size[0], "width": size[1]}
            images.append({**image, "color": color})
            for entry in draw(st.lists(objects(size, has_poses), max_size=4)):
                annotations.append({"id": 1 + step * len(annotations), "image_id": image["id"], **entry})
        found[split] = {"images": images, "categories": categories, "annotations": annotations}
    return found


def draw_set(documents: dict[str, dict[str, Any]], folder: Path) -> Path:
    """The documents as a COCO folder with its pictures."""
    (folder / "annotations").mkdir(parents=True)
    for split, document in documents.items():
        for image in document["images"]:
            place = folder / "images" / split / image["file_name"]
            place.parent.mkdir(parents=True, exist_ok=True)
            picture = Image.new("RGB", (image["width"], image["height"]), (image["color"], 7, 9))
            picture.save(place)
        path = folder / "annotations" / f"instances_{split}.json"
        path.write_text(json.dumps(document), encoding="utf-8")
    return folder


def same(a: Contents, b: Contents) -> None:
    """Asserts that two data sets are one, to a millionth of a pixel; where files have no ids, their order counts."""
    assert set(a.splits) == set(b.splits)
    names = keypoint_names(a, b)
    assert sorted_classes(a) == sorted_classes(b)
    assert a.label_map.skeleton == b.label_map.skeleton
    for split, table in a.splits.items():
        other = b.splits[split]
        assert [path_end(file, split) for file in table.files] == [
            path_end(file, split) for file in other.files
        ]
        assert [path.read_bytes() for path in a.pictures[split]] == [
            p.read_bytes() for p in b.pictures[split]
        ]
        assert table.image_ids.tolist() == other.image_ids.tolist()
        assert table.sizes.tolist() == other.sizes.tolist()
        assert table.offsets.tolist() == other.offsets.tolist()
        assert table.annotation_ids.tolist() == other.annotation_ids.tolist()
        assert class_names(table) == class_names(other)
        assert table.ignored.tolist() == other.ignored.tolist()
        np.testing.assert_allclose(table.boxes_xywh, other.boxes_xywh, rtol=0, atol=CLOSE)
        np.testing.assert_allclose(table.areas, other.areas, rtol=1e-6, atol=CLOSE)
        np.testing.assert_allclose(poses(table, names), poses(other, names), rtol=0, atol=CLOSE)
        for (known, mask), (other_known, other_mask) in zip(masks(table), masks(other), strict=True):
            assert known == other_known and (mask == other_mask).all()


def path_end(file: str, split: str) -> str:
    """Readers of a lone picture may take its folder for the root; names are told apart by the bytes, too."""
    return file.rpartition("/")[2]


def sorted_classes(contents: Contents) -> list[tuple[str, int]]:
    labels = contents.label_map
    return sorted(zip(labels.names, labels.category_ids, strict=True))


def class_names(table) -> list[str]:
    return [table.label_map.names[label] for label in table.labels.tolist()]


def keypoint_names(*sets: Contents) -> tuple[str, ...]:
    """Of the first that has keypoints."""
    return next((each.label_map.skeleton.names for each in sets if each.label_map.skeleton is not None), ())


def poses(table, names: tuple[str, ...]) -> np.ndarray:
    """(M, K, 3) of the keypoints of these names; zeros for those that are not labelled or not there."""
    full = np.zeros((len(table.labels), len(names), 3))
    if table.keypoints is None:
        return full
    triples = table.keypoints.dense(np.arange(len(table.labels)))
    triples[triples[..., 2] == 0] = 0
    own = table.label_map.skeleton.names
    for place, name in enumerate(names):
        if name in own:
            full[:, place] = triples[:, own.index(name)]
    return full


def masks(table) -> list[tuple[bool, np.ndarray]]:
    """Of each object whether it has a mask, and its pixels."""
    found = []
    for index in range(len(table)):
        size = tuple(table.sizes[index].tolist())
        for row in range(table.offsets[index], table.offsets[index + 1]):
            is_known = table.masks is not None and bool(table.masks.is_known[row])
            pixels = table.masks.decode(np.array([row]), size)[0] if is_known else np.zeros(size, bool)
            found.append((is_known, pixels))
    return found


def counts_of(losses) -> Counter:
    return Counter({loss.key: loss.count for loss in losses})
