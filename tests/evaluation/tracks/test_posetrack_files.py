"""`pagoda track eval` on PoseTrack's JSON as people's programs write it: each variant with its right value."""

import json

import numpy as np
import pytest

from pagoda.cli.main import main
from pagoda.structures.posetrack_skeletons import POSETRACK_17

NUM_FRAMES = 4
FIRST = 10_000_100_000


def run(*words) -> int:
    with pytest.raises(SystemExit) as exit_code:
        main(["track", "eval", *map(str, words)])
    return exit_code.value.code


def document(*, found=False):
    """Two people in four frames; ears are never annotated."""
    images, people = [], []
    for frame in range(NUM_FRAMES):
        number = FIRST + frame
        images.append(
            {"id": number, "file_name": f"images/val/000001/{frame:06d}.jpg", "vid_id": "000001",
             "frame_id": number, "is_labeled": True, "nframes": NUM_FRAMES}
        )  # fmt: skip
        for track in range(2):
            triples = [
                [0, 0, 0] if "ear" in name else [100 + 150 * track + 7 * joint + frame, 80 + 9 * joint, 1]
                for joint, name in enumerate(POSETRACK_17.names)
            ]
            person = {"id": len(people), "image_id": number, "category_id": 1, "track_id": track}
            person |= {"keypoints": np.ravel(triples).tolist(), "bbox": [90 + 150 * track, 70, 140, 170]}
            if found:
                person |= {"scores": [0.9] * 17, "score": 0.9}
            else:
                person["bbox_head"] = [100 + 150 * track, 75, 30, 30]
            people.append(person)
    category = {"id": 1, "name": "person", "keypoints": list(POSETRACK_17.names), "skeleton": []}
    return {"images": images, "annotations": people, "categories": [category]}


@pytest.fixture
def linked(tmp_path):
    """(ground truth, folder of `pagoda track link`) of the same people, who are found without fault."""
    for name, found in (("truth", False), ("found", True)):
        (tmp_path / name).mkdir()
        content = document(found=found)
        for image in content["images"]:
            image |= {"height": 300, "width": 500}
        (tmp_path / name / "000001.json").write_text(json.dumps(content))
    with pytest.raises(SystemExit) as exit_code:
        main(["track", "link", str(tmp_path / "found"), "--out", str(tmp_path / "out")])
    assert exit_code.value.code == 0
    return tmp_path / "truth", tmp_path / "out"


@pytest.mark.parametrize("place", [".", "posetrack18", "predictions", "predictions/000001.json"])
def test_what_was_linked_is_scored_by_its_own_joints(linked, capsys, place):
    truth, out = linked
    capsys.readouterr()
    assert run("--gt", truth, "--pred", out / place, "--json") == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["metrics"]["mAP"] == 100
    assert ("posetrack18" in told.err) == (place == "."), told.err
    assert "COCO" not in told.err


def test_what_was_linked_can_be_linked_again(linked, tmp_path, capsys):
    truth, out = linked
    with pytest.raises(SystemExit):
        main(["track", "link", str(out / "predictions"), "--out", str(tmp_path / "again")])
    assert run("--gt", truth, "--pred", tmp_path / "again" / "posetrack18", "--json") == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["mAP"] == 100


def test_the_file_of_a_followed_video_is_called_by_the_video(linked, tmp_path, capsys):
    truth, out = linked
    (tmp_path / "followed").mkdir()
    (tmp_path / "followed" / "tracks.txt").write_text("1,1,1,1,5,5,1,-1,-1,-1\n")
    (out / "posetrack18" / "000001.json").rename(tmp_path / "followed" / "posetrack18.json")
    assert run("--gt", truth, "--pred", tmp_path / "followed", "--json") == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["mAP"] == 100


def test_boxes_alone_are_no_predictions_of_poses(linked, tmp_path, capsys):
    (tmp_path / "boxes").mkdir()
    (tmp_path / "boxes" / "000001.txt").write_text("1,1,1,1,5,5,1,-1,-1,-1\n")
    assert run("--gt", linked[0], "--pred", tmp_path / "boxes") == 1
    assert "holds boxes alone" in " ".join(capsys.readouterr().err.split())


def test_joints_without_names_are_told(linked, capsys):
    truth, out = linked
    file = out / "predictions" / "000001.json"
    content = json.loads(file.read_text())
    for each in content["predictions"]:
        del each["skeleton"]
    file.write_text(json.dumps(content))
    assert run("--gt", truth, "--pred", file) == 0
    assert "they are taken for COCO's" in " ".join(capsys.readouterr().err.split())


def nothing(content):
    pass


def every(key, **values):
    """A change that sets values in, or with None takes keys out of, all images or annotations."""

    def change(content):
        for each in content[key]:
            for name, value in values.items():
                each[name] = value
                if value is None:
                    del each[name]

    return change


def with_a_person_of_a_box_alone(content):
    content["annotations"].append(
        {
            "id": 99,
            "image_id": FIRST,
            "category_id": 1,
            "track_id": 5,
            "keypoints": [],
            "bbox": [300, 10, 40, 90],
        }
    )


def with_scores_in_keypoints(content):
    for each in content["annotations"]:
        triples = [each["keypoints"][3 * joint : 3 * joint + 3] for joint in range(17)]
        each["keypoints"] = np.ravel([[x, y, 0.9 * there] for x, y, there in triples]).tolist()
        del each["scores"]


def without_the_last_frame(content):
    del content["images"][-1]
    content["annotations"] = [
        each for each in content["annotations"] if each["image_id"] < FIRST + NUM_FRAMES - 1
    ]


def half_labelled(content):
    for frame, each in enumerate(content["images"]):
        each["is_labeled"] = frame % 2 == 0
    content["annotations"] = [each for each in content["annotations"] if each["image_id"] % 2 == 0]


def with_flags_as_text(content):
    half_labelled(content)
    for each in content["images"]:
        each["is_labeled"] = "1" if each["is_labeled"] else "0"


def with_the_labelled_frames_alone(content):
    content["images"] = content["images"][::2]
    content["annotations"] = [each for each in content["annotations"] if each["image_id"] % 2 == 0]


def with_other_image_ids(content):
    """Numbered in the order of names as text, and listed so."""
    renamed = {each["id"]: 7 - index for index, each in enumerate(content["images"])}
    for each in content["images"]:
        each["id"] = renamed[each["id"]]
        del each["frame_id"]
    for each in content["annotations"]:
        each["image_id"] = renamed[each["image_id"]]
    content["images"].reverse()


@pytest.mark.parametrize(
    ("truth", "found", "precision", "accuracy", "said"),
    [
        (nothing, nothing, 100, 100, ""),
        (every("images", vid_id=1), nothing, 100, 100, ""),
        (with_a_person_of_a_box_alone, nothing, 100, 100, ""),
        (nothing, every("annotations", scores=None), 100, 100, ""),
        (nothing, with_scores_in_keypoints, 100, 100, ""),
        (nothing, every("annotations", track_id=None), 100, None, "8 predicted objects belong to no track: counted"),
        (nothing, every("annotations", track_id=-1), 100, None, "8 predicted objects belong to no track: counted"),
        (every("annotations", track_id=None), nothing, 100, None, ""),
        (nothing, without_the_last_frame, 75, 100, "1 of 4 frames of '000001_mpii' are not in the predictions"),
        (half_labelled, nothing, 100, 100, ""),
        (with_flags_as_text, nothing, 100, 100, ""),
        (half_labelled, with_the_labelled_frames_alone, 100, 100, "2 of 4 frames of '000001_mpii' are not in"),
        (nothing, with_other_image_ids, 100, 100, ""),
        (with_other_image_ids, nothing, 100, 100, ""),
    ],
)  # fmt: skip
def test_variants_of_perfect_poses(tmp_path, capsys, truth, found, precision, accuracy, said):
    for side, change in (("gt", truth), ("pred", found)):
        content = document(found=side == "pred")
        change(content)
        (tmp_path / side).mkdir()
        (tmp_path / side / "000001_mpii.json").write_text(json.dumps(content), encoding="utf-8-sig")
    assert run("--gt", tmp_path / "gt", "--pred", tmp_path / "pred", "--json") == 0
    captured = capsys.readouterr()
    metrics = json.loads(captured.out)["metrics"]
    assert (metrics["mAP"], metrics["MOTA"]) == (precision, accuracy)
    assert said in captured.err and bool(said) == bool(captured.err)


def test_without_head_boxes_the_remedy_is_said_and_works(tmp_path, capsys):
    truth = document()
    every("annotations", bbox_head=None)(truth)
    for name, content in (("gt", truth), ("pred", document(found=True))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.json").write_text(json.dumps(content))
    words = "--gt", tmp_path / "gt", "--pred", tmp_path / "pred"
    assert run(*words) == 1
    assert (
        "no head boxes (bbox_head" in (said := " ".join(capsys.readouterr().err.split()))
        and "--task boxes" in said
    )
    assert run(*words, "--task", "boxes", "--json") == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["MOTA"] == 1


def test_boxes_in_frames_nobody_annotated_are_no_mistakes(tmp_path, capsys):
    truth = document()
    half_labelled(truth)
    for name, content in (("gt", truth), ("pred", document(found=True))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.json").write_text(json.dumps(content))
    assert run("--gt", tmp_path / "gt", "--pred", tmp_path / "pred", "--task", "boxes", "--json") == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert (metrics["MOTA"], metrics["FP"], metrics["objects"]) == (1, 0, 4)


def test_boxes_that_nobody_linked_are_no_tracks(tmp_path, capsys):
    found = document(found=True)
    every("annotations", track_id=None)(found)
    for name, content in (("gt", document()), ("pred", found)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.json").write_text(json.dumps(content))
    assert run("--gt", tmp_path / "gt", "--pred", tmp_path / "pred", "--task", "boxes") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "none of the 8 predictions in" in said and "pagoda track link" in said


def test_scores_in_keypoints_rank_the_joints(tmp_path, capsys):
    """A surer joint that is wrong costs precision, and one that is unsure nearly none."""
    values = {}
    for wrong_score in (0.1, 0.95):
        found = document(found=True)
        with_scores_in_keypoints(found)
        found["annotations"][0]["keypoints"][:3] = [5, 5, wrong_score]
        folder = tmp_path / str(wrong_score)
        for name, content in (("gt", document()), ("pred", found)):
            (folder / name).mkdir(parents=True)
            (folder / name / "a.json").write_text(json.dumps(content))
        assert run("--gt", folder / "gt", "--pred", folder / "pred", "--json") == 0
        values[wrong_score] = json.loads(capsys.readouterr().out)["per_joint"]["nose"]["AP"]
    assert values == pytest.approx({0.1: 87.5, 0.95: 100 * 7 / 8 * 7 / 8})
