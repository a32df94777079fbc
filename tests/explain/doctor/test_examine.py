"""Plant a defect in healthy data and the doctor finds that, and nothing else."""

import json
import re
import shutil
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from pagoda.data.dataset import DetectionDataset
from pagoda.data.formats.reader import open_annotations
from pagoda.explain.doctor.examine import examine
from pagoda.explain.doctor.kinds import KINDS
from pagoda.models import create_model
from pagoda.recipes.datasets import check_scorable

pytestmark = pytest.mark.medium

BROKEN = float("nan")
SMALL = {"base_channels": 8, "width": 8, "norm_groups": 4}


def kinds(report) -> dict[str, int]:
    return {finding.kind: finding.count for finding in report.findings}


def only_problem(report):
    assert [finding.kind for finding in report.problems] == [report.problems[0].kind], report.text()
    return report.problems[0]


def test_healthy_data_stays_healthy(healthy):
    report = examine(healthy)
    assert report.findings == (), report.text()
    assert report.text().splitlines()[-1] == "Healthy: no errors, no warnings, 0 kinds of note."
    train = open_annotations(healthy, "train")
    assert report.statistics["splits"]["train"]["classes"] == train.counts()
    assert report.statistics["splits"]["train"]["pictures"] == 6


def missing(coco):
    coco.picture(1).unlink()


def other_case(coco):
    coco.picture(2).rename(coco.picture(2).with_suffix(".PNG"))


def truncated(coco):
    path = coco.picture(3)
    path.write_bytes(path.read_bytes()[:2000])


def no_picture_at_all(coco):
    coco.picture(3).write_text("<html>not found</html>")


def wrong_size(coco):
    coco.image(2).update(width=256, height=192)


def turned(coco):
    picture = Image.open(coco.picture(4))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(coco.picture(4), exif=exif)


def same_image_id(coco):
    entry = coco.image(6)
    for annotation in coco.train["annotations"]:
        if annotation["image_id"] == 6:
            annotation["image_id"] = 5
    entry["id"] = 5


def same_annotation_id(coco):
    coco.train["annotations"][1]["id"] = coco.train["annotations"][0]["id"]


def same_file(coco):
    coco.train["images"].append({**coco.image(1), "id": 77})


def orphan(coco):
    coco.add([10, 10, 20, 20], image_id=999)


def shifted(coco):
    for annotation in coco.train["annotations"]:
        annotation["category_id"] -= 1


def unknown_category(coco):
    coco.add([31, 21, 43, 45], category_id=90)


def same_category_twice(coco):
    for document in coco.documents.values():
        document["categories"].append({"id": 9, "name": "circle"})


def class_unknown_to_train(coco):
    coco.val["categories"][0]["name"] = "disc"


def other_order_and_ids(coco):
    coco.val["categories"] = [{**each, "id": 10 - each["id"]} for each in coco.val["categories"][::-1]]
    for annotation in coco.val["annotations"]:
        annotation["category_id"] = 10 - annotation["category_id"]


def fewer_in_val(coco):
    left = coco.val["categories"].pop()["id"]
    coco.val["annotations"] = [each for each in coco.val["annotations"] if each["category_id"] != left]


def more_in_val_without_objects(coco):
    coco.val["categories"].append({"id": 7, "name": "star"})


def three_numbers(coco):
    coco.add([1, 2, 3])


def no_box(coco):
    coco.add(None)


def not_a_number(coco):
    coco.add([BROKEN, 2, 30, 30])


def endless(coco):
    coco.add([1, 2, float("inf"), 30])


def no_width(coco):
    coco.add([10, 10, 0, 20])


def turned_corners(coco):
    coco.add([60, 60, -20, -20])


def far_outside(coco):
    coco.add([300, 10, 20, 20])


def partly_outside(coco):
    coco.add([110, 10, 40, 20])


def one_pixel(coco):
    coco.add([10, 10, 1, 1])


def box_twice(coco):
    coco.add([3, 5, 31, 29])
    coco.add([3, 5, 31, 29])


def box_nearly_twice(coco):
    coco.add([3, 5, 60, 60])
    coco.add([3, 5, 61, 60])


def box_of_two_classes(coco):
    coco.add([3, 5, 31, 29])
    coco.add([3, 5, 31, 29], category_id=2)


def empty_class(coco):
    for document in coco.documents.values():
        document["categories"].append({"id": 4, "name": "star"})


def class_not_in_train(coco):
    empty_class(coco)
    coco.val["annotations"].append({"id": 900, "image_id": 1, "category_id": 4, "bbox": [3, 3, 30, 30]})


def class_not_in_val(coco):
    empty_class(coco)
    coco.add([3, 3, 30, 30], category_id=4)


def rare_class(coco):
    class_not_in_train(coco)
    coco.add([60, 3, 30, 30], category_id=4)
    for n in range(110):
        coco.add([n % 11 * 9, n // 11 * 8, 12, 12], image_id=2)


def copied_in_split(coco):
    # The same pixels in another format: bytes alone would not tell.
    Image.open(coco.picture(1)).save(coco.picture(7).with_suffix(".bmp"))
    coco.train["images"].append({"id": 70, "file_name": "000007.bmp", "height": 96, "width": 128})
    coco.add([10, 10, 30, 30], image_id=70)


def twelve_bits(coco):
    deep = np.asarray(Image.open(coco.picture(4)).convert("L")).astype(np.uint16) * 16
    Image.fromarray(deep).save(coco.picture(4))


def recompressed_in_split(coco):
    Image.open(coco.picture(1)).save(coco.picture(7).with_suffix(".jpg"), quality=60)
    coco.train["images"].append({"id": 70, "file_name": "000007.jpg", "height": 96, "width": 128})
    coco.add([10, 10, 30, 30], image_id=70)


def copied_to_val(coco):
    shutil.copy(coco.picture(1), coco.picture(1, "val"))


def brightened_in_val(coco):
    pixels = np.asarray(Image.open(coco.picture(1))).astype(int) + 9
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(coco.picture(1, "val"))


def neither_crowd_nor_not(coco):
    coco.add([31, 21, 43, 45], iscrowd="maybe")


def annotations_of_another_file(coco):
    for annotation in coco.train["annotations"]:
        annotation["image_id"] = f"other-{annotation['image_id']}"


def class_without_a_name(coco):
    for document in coco.documents.values():
        document["categories"][0]["name"] = " "


def area_in_words(coco):
    coco.train["annotations"][0]["area"] = "large"


PLANTED = [
    # what is done, what must be found, what the first example must say
    (missing, "missing_pictures", "000001.png"),
    (truncated, "broken_pictures", "000003.png"),
    (no_picture_at_all, "broken_pictures", "000003.png"),
    (wrong_size, "size_mismatch", "annotated 192×256 (height×width), the picture is 96×128"),
    (turned, "size_mismatch", "the size before its EXIF rotation"),
    (same_image_id, "repeated_image_ids", "id 5 of 000005.png and 000006.png"),
    (same_annotation_id, "repeated_annotation_ids", "annotation id 1 stands 2 times"),
    (same_file, "repeated_files", "000001.png, again with id 77"),
    (orphan, "orphan_annotations", "no image has the id 999"),
    (shifted, "shifted_categories", "shifted by one, too low"),
    (unknown_category, "unknown_categories", "category 90 of 1 annotation"),
    (same_category_twice, "bad_categories", "id 9 or name 'circle'"),
    (
        class_unknown_to_train,
        "classes_unknown_to_train",
        "val: 4 objects of 'disc', which train does not list",
    ),
    (neither_crowd_nor_not, "bad_flags", "iscrowd must be 0 or 1 (or true, false, yes, no), got 'maybe'"),
    (class_without_a_name, "unnamed_categories", "category 1 has no name; it is called '1'"),
    (area_in_words, "bad_areas", "area large"),
    (three_numbers, "malformed_boxes", "got [1, 2, 3]"),
    (no_box, "malformed_boxes", "no bbox"),
    (not_a_number, "non_finite_boxes", "nan, 2"),
    (endless, "non_finite_boxes", "inf"),
    (no_width, "empty_boxes", "10, 10, 10, 30"),
    (turned_corners, "empty_boxes", "60, 60, 40, 40"),
    (far_outside, "boxes_outside", "300, 10, 320, 30 in 96×128"),
    (partly_outside, "boxes_leaving_picture", "110, 10, 150, 30 in 96×128"),
    (one_pixel, "tiny_boxes", "10, 10, 11, 11"),
    (box_twice, "repeated_boxes", "(circle)"),
    (box_nearly_twice, "near_duplicate_boxes", "IoU 0.984"),
    (box_of_two_classes, "boxes_of_two_classes", "(square)"),
    (empty_class, "empty_classes", "star"),
    (class_not_in_train, "classes_not_in_train", "star"),
    (class_not_in_val, "classes_not_in_val", "star"),
    (rare_class, "class_imbalance", "star 2"),
    (copied_in_split, "duplicate_pictures", "train: 000001.png = train: 000007.bmp"),
    (twelve_bits, "dark_pictures", "to make copies that use the whole range: python -c"),
    (recompressed_in_split, "near_duplicate_pictures", "train: 000001.png ≈ train: 000007.jpg"),
    (copied_to_val, "leaks", "train: 000001.png = val: 000001.png"),
    (brightened_in_val, "near_leaks", "train: 000001.png ≈ val: 000001.png"),
]


@pytest.mark.parametrize(("plant", "kind", "words"), PLANTED, ids=[row[0].__name__ for row in PLANTED])
def test_a_planted_defect_is_the_only_one_found(coco, plant, kind, words):
    plant(coco)
    coco.save()
    finding = only_problem(examine(coco.root))
    assert finding.kind == kind and words in finding.examples[0]
    assert finding.message.count(". ") >= 1, "a finding says what it means and what to do"


@pytest.mark.parametrize(
    ("plant", "words", "problems"),
    [
        (other_order_and_ids, "val: other ids of ", []),
        (fewer_in_val, "val: without ", ["classes_not_in_val"]),
        (more_in_val_without_objects, "val: with star", ["empty_classes"]),
    ],
)
def test_classes_that_meet_by_name_are_a_note(coco, plant, words, problems):
    plant(coco)
    coco.save()
    report = examine(coco.root)
    assert "Errors" not in report.verdict()
    assert [finding.kind for finding in report.problems] == problems
    (note,) = (finding for finding in report.findings if finding.kind == "different_categories")
    assert (
        note.severity == "note" and note.examples[0].startswith(words) and "matched by name" in note.message
    )
    model = create_model(
        "fcos_resnet18_fpn", label_map=open_annotations(coco.root, "train").label_map, **SMALL
    )
    check_scorable(model, DetectionDataset(open_annotations(coco.root, "val")))


def test_where_the_doctor_sees_an_unknown_class_training_is_refused(coco):
    class_unknown_to_train(coco)
    coco.save()
    model = create_model(
        "fcos_resnet18_fpn", label_map=open_annotations(coco.root, "train").label_map, **SMALL
    )
    with pytest.raises(ValueError, match="unknown to the model: disc"):
        check_scorable(model, DetectionDataset(open_annotations(coco.root, "val")))


def test_a_class_whose_objects_are_all_ignored_is_told_from_an_empty_one(coco):
    empty_class(coco)
    coco.add([3, 3, 30, 30], category_id=4, iscrowd=1)
    coco.save()
    finding = only_problem(examine(coco.root))
    assert finding.kind == "ignored_classes" and finding.examples == ("star: 1 object",)


def test_objects_that_train_only_ignores_are_told(coco):
    class_not_in_train(coco)
    coco.add([3, 3, 30, 30], category_id=4, iscrowd=1)
    coco.save()
    finding = only_problem(examine(coco.root))
    assert finding.examples == ("star: 1 object elsewhere; 1 object here, ignored",)


def test_another_case_of_the_name_is_read_and_said(coco):
    other_case(coco)
    report = examine(coco.root)
    assert kinds(report) == {"read_otherwise": 1}, report.text()
    assert (
        "with other upper and lower case: '000002.png' is images/train/000002.PNG"
        in report.findings[0].examples[0]
    )


def test_broken_json_is_one_finding_and_the_rest_is_examined(coco):
    (coco.root / "annotations" / "val.json").write_text("{")
    finding = only_problem(examine(coco.root))
    assert finding.kind == "unreadable_annotations" and "val.json is not a JSON file" in finding.examples[0]


def test_many_defects_are_found_in_one_go(coco):
    for plant in (
        missing,
        truncated,
        wrong_size,
        orphan,
        unknown_category,
        three_numbers,
        not_a_number,
        far_outside,
    ):
        plant(coco)
    coco.save()
    found = kinds(examine(coco.root))
    assert set(found) == {
        "missing_pictures",
        "broken_pictures",
        "size_mismatch",
        "orphan_annotations",
        "unknown_categories",
        "malformed_boxes",
        "non_finite_boxes",
        "boxes_outside",
    }
    with pytest.raises((ValueError, FileNotFoundError)):  # the reader stops at the first
        open_annotations(coco.root, "train")


def lone_picture(coco):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 60, 3), np.uint8)).save(coco.picture(55))


def emptied(coco):
    coco.train["annotations"] = [entry for entry in coco.train["annotations"] if entry["image_id"] != 4]


def grey(coco):
    Image.open(coco.picture(4)).convert("L").save(coco.picture(4))


def sixteen_bits(coco):
    deep = np.asarray(Image.open(coco.picture(4)).convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(coco.picture(4))


def two_frames(coco):
    picture = Image.open(coco.picture(4))
    picture.save(coco.picture(4).with_suffix(".tif"), save_all=True, append_images=[picture.rotate(180)])
    coco.picture(4).unlink()
    coco.image(4)["file_name"] = "000004.tif"


def unknown_format(coco):
    coco.picture(55).with_suffix(".heic").touch()


def exif_behind_the_pixels(coco):
    """The annotated size is the upright one."""
    picture = Image.open(coco.picture(4)).transpose(Image.Transpose.ROTATE_90)
    picture.save(coco.picture(4))
    exif = Image.Exif()
    exif[0x0112] = 6
    chunk = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    content = coco.picture(4).read_bytes()
    coco.picture(4).write_bytes(content[:-12] + chunk + content[-12:])


def cmyk(coco):
    Image.open(coco.picture(4)).convert("CMYK").save(coco.picture(4).with_suffix(".jpg"), quality=95)
    coco.picture(4).unlink()
    coco.image(4)["file_name"] = "000004.jpg"


def upside_down(coco):
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.open(coco.picture(4)).rotate(180).save(coco.picture(4), exif=exif)


def crowd(coco):
    coco.add([3, 3, 60, 60], iscrowd=1)


def without_size(coco):
    del coco.image(4)["height"]


def ignore_key(coco):
    coco.add([3, 3, 60, 60], ignore=1)


def ids_as_text(coco):
    for annotation in coco.train["annotations"]:
        annotation["image_id"] = str(annotation["image_id"])


NOTES = [
    (ignore_key, "ignore_keys", "ignore 1, iscrowd 0"),
    (lone_picture, "pictures_not_mentioned", "000055.png"),
    (emptied, "pictures_without_objects", "train: 000004.png"),
    (grey, "unusual_modes", "1 of mode L, the first is 000004.png"),
    (sixteen_bits, "unusual_modes", "1 of mode I;16"),
    (cmyk, "unusual_modes", "1 of mode CMYK"),
    (two_frames, "several_frames", "000004.tif: 2 frames or pages"),
    (unknown_format, "other_files", "1 file is left out, being no picture that Pillow reads (1 .heic)"),
    (exif_behind_the_pixels, "rotated_pictures", "000004.png: orientation 6"),
    (upside_down, "rotated_pictures", "000004.png: orientation 3"),
    (crowd, "crowd_regions", "train: 1 of "),
    (without_size, "sizes_not_given", "000004.png has height None, width 128"),
]


@pytest.mark.parametrize(("plant", "kind", "words"), NOTES, ids=[row[0].__name__ for row in NOTES])
def test_what_is_good_to_know_is_a_note(coco, plant, kind, words):
    plant(coco)
    coco.save()
    report = examine(coco.root)
    assert report.problems == () and kinds(report) == {kind: 1}, report.text()
    assert words in report.findings[0].examples[0]


def test_ids_written_in_two_ways_are_a_note(coco):
    ids_as_text(coco)
    coco.save()
    report = examine(coco.root)
    assert kinds(report) == {"ids_of_two_kinds": len(coco.train["annotations"])}, report.text()


def test_annotations_of_another_file_stop_reading(coco):
    annotations_of_another_file(coco)
    coco.save()
    report = examine(coco.root)
    assert kinds(report)["foreign_annotations"] == len(coco.train["annotations"]) and not report.is_readable


def test_what_stops_reading_is_said(coco):
    three_numbers(coco)
    no_width(coco)
    coco.save()
    report = examine(coco.root)
    assert {finding.kind: finding.stops for finding in report.problems} == {
        "malformed_boxes": True, "empty_boxes": False,
    }  # fmt: skip
    assert not report.is_readable and report.to_dict()["readable"] is False
    assert report.verdict().endswith("These stop reading: malformed boxes.")
    assert "malformed boxes (1, stops reading): " in report.text()


def test_missing_pictures_are_found_however_few_are_opened(coco):
    missing(coco)
    coco.save()
    report = examine(coco.root, max_pictures=0)
    assert not report.is_readable and kinds(report)["missing_pictures"] == 1


def test_max_pictures_says_what_was_left_out(healthy):
    calls = []
    report = examine(healthy, max_pictures=3, progress=lambda done, total: calls.append((done, total)))
    assert kinds(report) == {"pictures_not_opened": 7} and report.statistics["pictures_opened"] == 3
    assert calls == [(1, 3), (2, 3), (3, 3)]
    with pytest.raises(ValueError, match="max_pictures must be None or at least 0, got -1"):
        examine(healthy, max_pictures=-1)


def test_the_report_is_json_and_text(coco):
    for plant in (missing, crowd, one_pixel):
        plant(coco)
    coco.save()
    report = examine(coco.root)
    copy = json.loads(json.dumps(report.to_dict()))
    assert [finding["kind"] for finding in copy["findings"]] == [
        "missing_pictures",
        "tiny_boxes",
        "crowd_regions",
    ]
    lines = report.text().splitlines()
    assert [line for line in lines if line in ("Errors", "Warnings", "Notes")] == [
        "Errors",
        "Warnings",
        "Notes",
    ]
    assert lines[-1].startswith("Errors: 1 kind of error, 1 kind of warning, 1 kind of note.")


def test_every_kind_says_what_and_what_to_do():
    for kind, (severity, meaning, remedy, effect) in KINDS.items():
        assert severity in ("error", "warning", "note"), kind
        assert effect in ("left out", "noted") or (effect == "stops" and severity == "error"), kind
        assert meaning[0].islower() and not meaning.endswith("."), kind
        assert remedy[0].isupper() and remedy.endswith("."), kind


@pytest.mark.parametrize(
    "name", ["bccd", "bccd/voc", "nuclei", "coco_tiny", "voc_toy", "voc_toy/voc", "mirror_mouse"]
)
def test_real_data_gives_no_errors(shared_data, name):
    report = examine(shared_data / name)
    assert not [finding for finding in report.findings if finding.severity == "error"], report.text()


def test_known_defects_of_the_blood_cells(shared_data):
    found = {
        finding.kind: finding for finding in examine(shared_data / "bccd" / "voc", max_pictures=0).problems
    }
    assert set(found) == {"tiny_boxes", "near_duplicate_boxes"}
    assert sorted(re.findall(r"BloodImage_(\d+)", "".join(found["tiny_boxes"].examples))) == [
        "00338",
        "00343",
    ]
    pairs = re.findall(r"BloodImage_(\d+)", "".join(found["near_duplicate_boxes"].examples))
    assert sorted(pairs) == ["00020", "00100", "00104", "00251", "00284", "00331", "00403"]
