"""Formats as other programs read them, pictures, names, places that are refused, and what no reader takes up."""

import base64
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pagoda.cli.main import main
from pagoda.data.drawn.walking import WalkingFigures
from pagoda.data.tracks.folders import open_videos, write_video_folder
from pagoda.data.writing.contents import open_contents
from pagoda.data.writing.folder import plan, write_dataset
from pagoda.data.writing.mask_outlines import cut, join, joined_alike, pixel_outlines, without_holes
from pagoda.data.writing.videos import open_video_contents
from pagoda.files.atomic import whole_folder
from pagoda.ops.rle import decode_masks, draw_polygons, encode_masks

SIZE = (12, 16)


def image(number: int, name: str) -> dict:
    return {"id": number, "file_name": name, "height": SIZE[0], "width": SIZE[1]}


def annotation(number: int, image_id: int, box: list[float], **more: object) -> dict:
    return {"id": number, "image_id": image_id, "category_id": 1, "iscrowd": 0, "bbox": box, **more}


def coco(
    folder: Path, images: list[dict], annotations: list[dict], names: tuple[str, ...] = ("cat",)
) -> Path:
    """A COCO folder with one split and pictures of different greys."""
    (folder / "annotations").mkdir(parents=True)
    for entry in images:
        place = folder / "images" / "train" / entry["file_name"]
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", SIZE[::-1], 10 * entry["id"]).save(place)
    categories = [{"id": number, "name": name} for number, name in enumerate(names, 1)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations" / "train.json").write_text(json.dumps(document), encoding="utf-8")
    return folder


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Two pictures, one of them empty; a box, a polygon and a ring of pixels."""
    ring = np.zeros(SIZE, bool)
    ring[2:8, 3:9] = True
    ring[4:6, 5:7] = False
    ring_text = {"size": list(SIZE), "counts": encode_masks(ring[None])[0]}
    objects = [
        annotation(1, 1, [1.5, 2, 4, 5.25]),
        annotation(2, 1, [4, 4, 6, 6], segmentation=[[4, 4, 10, 4, 10, 10]], area=18),
        annotation(3, 1, [3, 2, 6, 6], segmentation=ring_text),
    ]
    return coco(tmp_path / "small", [image(1, "a.png"), image(2, "b/c.png")], objects, ("cat", "dog"))


def written(source: Path, name: str, **options: str) -> Path:
    return write_dataset(plan(open_contents(source), name), source.parent / name, **options)


def test_pycocotools_loads_what_is_written_as_coco(small: Path) -> None:
    coco_api = pytest.importorskip("pycocotools.coco")
    contents = open_contents(small)
    api = coco_api.COCO(str(written(small, "coco") / "annotations" / "instances_train.json"))
    table = contents.splits["train"]
    assert api.getImgIds() == table.image_ids.tolist()
    for row, each in enumerate(api.loadAnns(api.getAnnIds())):
        assert each["bbox"] == table.boxes_xywh[row].tolist()
    pixels = table.masks.decode(np.array([1, 2]), SIZE)
    for each, mask in zip(api.loadAnns([2, 3]), pixels, strict=True):
        assert (api.annToMask(each).astype(bool) == mask).all()


@pytest.mark.parametrize("name", ["coco", "yolo", "voc"])
def test_supervision_loads_the_same_boxes(small: Path, name: str) -> None:
    sv = pytest.importorskip("supervision")
    contents = open_contents(small)
    whole = [[1, 2, 5, 7], [4, 4, 10, 10], [3, 2, 9, 8]]
    table = contents.splits["train"]
    table.boxes_xywh[0] = [1, 2, 4, 5]  # supervision reads VOC's corners as whole numbers
    folder = write_dataset(plan(contents, name), small.parent / name)
    if name == "coco":
        found = sv.DetectionDataset.from_coco(
            str(folder / "images" / "train"), str(folder / "annotations" / "instances_train.json")
        )
    elif name == "yolo":
        found = sv.DetectionDataset.from_yolo(
            str(folder / "images" / "train"), str(folder / "labels" / "train"), str(folder / "data.yaml")
        )
    else:
        found = sv.DetectionDataset.from_pascal_voc(str(folder / "JPEGImages"), str(folder / "Annotations"))
    boxes = next(each.xyxy for path, _, each in found if path.endswith("a.png"))
    np.testing.assert_allclose(boxes, whole, atol=1e-3)


def test_losses_are_told_in_numbers_and_written_down(small: Path) -> None:
    planned = plan(open_contents(small), "yolo")
    assert "1 mask with holes: filled, for YOLO polygons cannot hold holes" in planned.text()
    folder = write_dataset(planned, small.parent / "out")
    report = json.loads((folder / "losses.json").read_text(encoding="utf-8"))
    assert [each["what"] for each in report["losses"]] == [loss.key for loss in planned.losses]
    assert report["to"] == "yolo" and report["splits"] == {"train": 2}


def test_nothing_is_written_where_nothing_may_be_lost(small: Path) -> None:
    with pytest.raises(ValueError, match=r"--strict nothing may be lost: .*holes"):
        write_dataset(plan(open_contents(small), "yolo"), small.parent / "out", strict=True)
    assert not (small.parent / "out").exists()
    assert write_dataset(plan(open_contents(small), "coco"), small.parent / "out", strict=True).is_dir()


@pytest.mark.parametrize("link", ["copy", "hard", "sym"])
def test_pictures_come_byte_for_byte(small: Path, link: str) -> None:
    folder = written(small, "coco", link=link)
    for name in ("a.png", "b/c.png"):
        source, target = small / "images" / "train" / name, folder / "images" / "train" / name
        assert source.read_bytes() == target.read_bytes()
        assert target.is_symlink() == (link == "sym")
        assert os.path.samefile(source, target) == (link != "copy")
    assert open_contents(folder).num_pictures == 2


def test_links_that_yolo_would_follow_are_refused(small: Path) -> None:
    with pytest.raises(ValueError, match="--link hard"):
        written(small, "yolo", link="sym")


def test_places_that_are_not_free_are_refused(small: Path) -> None:
    (small.parent / "full").mkdir()
    (small.parent / "full" / "mine.txt").write_text("mine")
    for out, error in ((small.parent / "full", FileExistsError), (small / "out", ValueError)):
        with pytest.raises(error, match=r"is there already|lies in"):
            write_dataset(plan(open_contents(small), "coco"), out)
    assert [path.name for path in (small.parent / "full").iterdir()] == ["mine.txt"]
    assert not (small / "out").exists()


def test_a_folder_that_cannot_be_finished_leaves_nothing(small: Path) -> None:
    contents = open_contents(small)
    planned = plan(contents, "coco")
    contents.pictures["train"][1].unlink()
    with pytest.raises(ValueError, match=r"c\.png"):
        write_dataset(planned, small.parent / "out")
    assert sorted(path.name for path in small.parent.iterdir()) == ["small"]


def test_a_folder_appears_when_it_is_whole(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "out") as draft:
        (draft / "a.txt").write_text("a")
        assert not (tmp_path / "out").exists()
    assert (tmp_path / "out" / "a.txt").read_text() == "a"
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "other") as draft:
        (draft / "a.txt").write_text("a")
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_pictures_of_another_size_are_refused_where_shares_are_written(small: Path) -> None:
    Image.new("L", (9, 9)).save(small / "images" / "train" / "a.png")
    with pytest.raises(ValueError, match=r"9×9.*12×16"):
        written(small, "yolo")
    assert written(small, "voc").is_dir()


def test_names_that_would_share_a_label_file_are_told_apart(tmp_path: Path) -> None:
    images = [image(1, "a.png"), image(2, "a.bmp"), image(3, "A.png"), image(4, "con.png")]
    source = coco(tmp_path / "set", images, [annotation(n, n, [n, 1, 2, 2]) for n in range(1, 5)])
    planned = plan(open_contents(source), "yolo")
    assert {loss.key: loss.count for loss in planned.losses}["picture_names"] == 3
    back = open_contents(write_dataset(planned, tmp_path / "out"))
    boxes = {
        path.read_bytes(): table.boxes_xywh[k, 0]
        for table in back.splits.values()
        for k, path in enumerate(back.pictures["train"])
    }
    for number, name in enumerate(("a.png", "a.bmp", "A.png", "con.png"), 1):
        content = (source / "images" / "train" / name).read_bytes()
        assert boxes[content] == pytest.approx(number)


def test_a_picture_inside_a_labelme_file_comes_out_as_it_was(tmp_path: Path) -> None:
    picture = tmp_path / "a.jpg"
    Image.new("RGB", (16, 12), (9, 99, 200)).save(picture)
    content = picture.read_bytes()
    shape = {"label": "cat", "points": [[1, 2], [5, 7]], "shape_type": "rectangle"}
    document = {"shapes": [shape], "imagePath": "gone.jpg", "imageData": base64.b64encode(content).decode()}
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "x.json").write_text(json.dumps({**document, "imageHeight": 12, "imageWidth": 16}))
    folder = write_dataset(plan(open_contents(tmp_path / "set"), "coco"), tmp_path / "out")
    (found,) = (folder / "images" / "train").iterdir()
    assert found.suffix == ".jpg" and found.read_bytes() == content


def test_what_no_reader_takes_up_is_counted(small: Path) -> None:
    path = small / "annotations" / "train.json"
    document = json.loads(path.read_text())
    document["annotations"][0] |= {"attributes": {"color": "red"}, "ignore": 1}
    document["annotations"][1] |= {"attributes": {}}
    path.write_text(json.dumps(document))
    planned = plan(open_contents(small), "coco")
    told = {loss.key: loss.text for loss in planned.losses}
    assert told["unread attributes"] == "1 annotation with attributes: lost, for it is not read"
    assert set(told) == {"unread attributes", "unread ignore"}
    folder = written(small, "voc")
    place = folder / "Annotations" / "a.xml"
    place.write_text(place.read_text().replace("<truncated>0<", "<truncated>1<", 2))
    again = plan(open_contents(folder), "voc")
    assert [(loss.key, loss.count) for loss in again.losses] == [("unread truncated", 2)]


def test_a_mask_of_pixels_is_its_outline() -> None:
    rng = np.random.default_rng(3)
    for share in (0.2, 0.5, 0.8, 0.95) * 5:
        size = tuple(rng.integers(2, 15, 2).tolist())
        mask = without_holes(rng.random(size) < share)
        outlines = pixel_outlines(mask)
        if outlines:
            assert (decode_masks([draw_polygons(outlines, size)], size)[0] == mask).all()
            assert (decode_masks([draw_polygons([join(outlines)], size)], size)[0] == mask).all()


def test_a_hole_between_parts_that_overlap_is_counted(tmp_path: Path) -> None:
    bars = [
        [2, 2, 10, 2, 10, 4, 2, 4],
        [2, 8, 10, 8, 10, 10, 2, 10],
        [2, 2, 4, 2, 4, 10, 2, 10],
        [8, 2, 10, 2, 10, 10, 8, 10],
    ]
    source = coco(tmp_path / "set", [image(1, "a.png")], [annotation(1, 1, [2, 2, 8, 8], segmentation=bars)])
    planned = plan(open_contents(source), "yolo")
    lost = {loss.key for loss in planned.losses}
    assert "holes" in lost and not lost & {"run_lengths", "parts", "rims"}
    masks = open_contents(write_dataset(planned, tmp_path / "out")).splits["train"].masks
    assert masks is not None and masks.decode(np.array([0]), SIZE)[0].sum() == 64


def test_parts_that_overlap_keep_their_pixels_when_joined() -> None:
    parts = [[1, 1, 8, 1, 8, 6, 1, 6], [4, 3, 12, 3, 12, 9, 4, 9]]
    assert draw_polygons([joined_alike(parts, SIZE)], SIZE) == draw_polygons(parts, SIZE)


def test_an_outline_is_cut_to_the_picture() -> None:
    assert cut([-5, -5, -1, -5, -1, -1], SIZE) == []
    points = np.reshape(cut([-4, 6, 8, -6, 20, 6, 8, 18], SIZE), (-1, 2))
    assert points.min() == 0 and (points.max(0) == [16, 12]).all() and len(points) == 8


@pytest.fixture
def walks(tmp_path: Path) -> Path:
    return write_video_folder(
        WalkingFigures(num_videos=2, num_frames=3, image_size=(32, 40), seed=1), tmp_path / "walks", "train"
    )


def test_frames_of_videos_become_pictures_with_track_ids(walks: Path) -> None:
    planned = plan(open_video_contents(walks), "coco")
    folder = write_dataset(planned, walks.parent / "coco")
    document = json.loads((folder / "annotations" / "instances_train.json").read_text())
    videos = open_videos(walks, "train")
    expected = [track for video in videos for track in video.tracks.track_ids.tolist()]
    assert [entry["track_id"] for entry in document["annotations"]] == expected
    back = open_contents(folder)
    assert back.num_pictures == 6 and back.label_map.skeleton == videos[0].tracks.label_map.skeleton
    lost = {loss.key: loss.count for loss in plan(open_video_contents(walks), "yolo").losses}
    assert lost["track_ids"] == len(expected)


def test_videos_come_through_posetrack_and_mot(walks: Path) -> None:
    truth = [video.tracks for video in open_videos(walks, "train")]
    poses = write_dataset(plan(open_video_contents(walks), "posetrack"), walks.parent / "poses")
    mot_plan = plan(open_video_contents(poses), "mot")
    lost = {loss.key: loss.count for loss in mot_plan.losses}
    assert lost["poses"] == sum(map(len, truth)) and lost["frame_names"] == 6
    mot = write_dataset(mot_plan, walks.parent / "mot")
    for folder in (poses, mot):
        for a, b in zip(truth, (video.tracks for video in open_videos(folder, "train")), strict=True):
            assert (a.track_ids == b.track_ids).all() and (a.frames == b.frames).all()
            assert a.label_map.names == b.label_map.names and a.name == b.name
            np.testing.assert_allclose(a.boxes, b.boxes, atol=1e-6)
            assert (folder == poses) == (b.keypoints is not None)
            if b.keypoints is not None:
                np.testing.assert_allclose(a.keypoints, b.keypoints, atol=1e-6)


def test_pictures_do_not_become_videos(small: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["data", "convert", str(small), str(small.parent / "out"), "--to", "mot"])
    assert stop.value.code == 1 and "without track ids; write COCO" in capsys.readouterr().err
