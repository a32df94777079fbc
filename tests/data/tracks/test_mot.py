"""MOT text: corners and frames from 1, what a column means, there and back, and lines that are no rows."""

import numpy as np
import pytest
import torch

from pagoda.data.tracks.mot import MotWriter, find_mot, read_mot, write_mot
from pagoda.data.tracks.mot_classes import MOT_CLASSES
from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap


def written(tmp_path, text, name="det.txt"):
    file = tmp_path / name
    file.write_text(text)
    return file


def test_frames_and_corners_are_counted_from_1_there_and_from_0_here(tmp_path):
    found = read_mot(written(tmp_path, "2,-1,1,11,30,40,0.5,-1,-1,-1\n"), num_frames=3)
    assert found.frames.tolist() == [1] and found.track_ids.tolist() == [-1] and found.num_frames == 3
    assert found.boxes.tolist() == [[0, 10, 30, 50]] and found.scores.tolist() == [0.5]


def test_scores_that_are_no_probabilities_are_mapped_and_cut(tmp_path):
    text = "".join(f"1,{i},1,1,5,5,{score},-1,-1,-1\n" for i, score in enumerate((-4, 0, 25, 130)))
    assert read_mot(written(tmp_path, text)).scores.tolist() == [-4, 0, 25, 130]
    assert read_mot(written(tmp_path, text), score_range=(0, 50)).scores.tolist() == [0, 0, 0.5, 1]
    with pytest.raises(ValueError, match="needs low < high, got 5 … 5"):
        read_mot(written(tmp_path, text), score_range=(5, 5))


def test_a_trackers_file_without_scores_is_sure(tmp_path):
    assert read_mot(written(tmp_path, "1,3,1,1,5,5,-1,-1,-1,-1\n")).scores.tolist() == [1]


def test_ground_truth_rows_that_do_not_count_are_ignored_and_forgive_nothing(tmp_path):
    mot15 = "1,1,1,1,5,5,1,-1,-1,-1\n1,2,1,1,5,5,0,4.2,3.1,0\n"
    truth = read_mot(written(tmp_path, mot15), is_truth=True)
    assert truth.ignored.tolist() == [False, True] and not truth.regions.any() and truth.distractors is None
    mot17 = "1,1,1,1,5,5,1,1,0.9\n1,2,1,1,5,5,1,7,0.4\n1,3,1,1,5,5,0,1,1\n1,4,1,1,5,5,1,6,1\n"
    truth = read_mot(written(tmp_path, mot17), is_truth=True)
    assert truth.ignored.tolist() == [False, True, True, True] and not truth.regions.any()
    assert truth.distractors.tolist() == [False, True, False, False]
    assert truth.left_out == {"with flag 0": 1, "of class static_person": 1, "of class non_mot_vehicle": 1}
    crowded = read_mot(written(tmp_path, mot17), is_truth=True, benchmark="MOT20")
    assert crowded.distractors.tolist() == [False, True, False, True]


def test_eight_columns_have_a_class_and_no_visibility(tmp_path):
    truth = read_mot(written(tmp_path, "1,1,1,1,5,5,1,1\n1,2,1,1,5,5,1,3\n"), is_truth=True)
    assert truth.left_out == {"of class car": 1}


def test_classes_of_labels_txt_however_it_was_saved(tmp_path):
    (tmp_path / "gt").mkdir()
    file = written(tmp_path, "1,1,1,1,5,5,1,2,1\n1,1,9,9,5,5,1,1,1\n", "gt/gt.txt")
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        (tmp_path / "gt" / "labels.txt").write_text("Fußgänger\nAuto\n\n", encoding=encoding)
        truth = read_mot(file, is_truth=True)
        assert truth.label_map.names == ("Fußgänger", "Auto") and truth.labels.tolist() == [1, 0]
        assert len(set(truth.track_ids.tolist())) == 2, "each class counts its objects from 1"
    (tmp_path / "gt" / "labels.txt").write_text("Auto\nAuto\n")
    with pytest.raises(ValueError, match=r"labels\.txt: name given twice in the label map: Auto"):
        read_mot(file, is_truth=True)
    (tmp_path / "gt" / "labels.txt").write_text("\nAuto\n")
    with pytest.raises(
        ValueError, match=r"labels\.txt should hold one class name per line, but line 1 is empty"
    ):
        read_mot(file, is_truth=True)


def test_motchallenges_own_names_in_labels_txt_are_motchallenges_classes(tmp_path):
    (tmp_path / "gt").mkdir()
    file = written(tmp_path, "1,1,1,1,5,5,1,1,1\n1,2,9,9,5,5,1,8,1\n", "gt/gt.txt")
    (tmp_path / "gt" / "labels.txt").write_text("\n".join(MOT_CLASSES.names))
    truth = read_mot(file, is_truth=True)
    assert truth.label_map.names == ("pedestrian",) and truth.distractors.tolist() == [False, True]
    assert read_mot(file, is_truth=True, benchmark="own").label_map == MOT_CLASSES


def test_detections_of_several_classes_keep_them(tmp_path):
    rows = "1,-1,1,1,5,5,0.5,4,-1,-1\n1,-1,9,9,5,5,0.4,1,-1,-1\n"
    found = read_mot(written(tmp_path, rows))
    assert [found.label_map.names[i] for i in found.labels] == ["car", "pedestrian"]
    wanted = LabelMap(("bus", "car"), (9, 4))
    found = read_mot(written(tmp_path, rows), label_map=wanted)
    assert found.labels.tolist() == [1] and found.left_out == {"of class number 1": 1}


@pytest.mark.parametrize("world", ["-1,-1,-1", "4.2,3.1,0", "0,0,0", "3,1.5,2"])
def test_places_in_the_world_are_no_classes(tmp_path, world):
    text = f"1,1,1,1,5,5,1,{world}\n"
    found, truth = (read_mot(written(tmp_path, text), is_truth=flag) for flag in (False, True))
    assert not found.has_classes and found.label_map.names == truth.label_map.names == ("pedestrian",)
    assert truth.left_out == {}


def test_a_mark_at_the_start_is_no_content(tmp_path):
    (tmp_path / "det.txt").write_text("1,1,1,1,5,5,1\n", encoding="utf-8-sig")
    assert len(read_mot(tmp_path / "det.txt")) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seqLength=3\n", r"seqinfo\.ini: expected the line \[Sequence\]"),
        ("[Sequence]\nseqLength=three\n", "expected a whole number for seqlength, got 'three'"),
    ],
)
def test_a_seqinfo_that_is_none_is_named(tmp_path, text, said):
    (tmp_path / "gt").mkdir()
    (tmp_path / "seqinfo.ini").write_text(text, encoding="utf-8-sig")
    with pytest.raises(ValueError, match=said):
        read_mot(written(tmp_path, "1,1,1,1,5,5,1\n", "gt/gt.txt"), is_truth=True)


@pytest.mark.parity
def test_real_sequences_bring_their_size_and_length(shared_data):
    folder = shared_data / "mot_tud"
    for name, frames, boxes in (("TUD-Campus", 71, 359), ("TUD-Stadtmitte", 179, 1156)):
        truth = read_mot(folder / name / "gt" / "gt.txt", is_truth=True)
        found = read_mot(folder / name / "det" / "det.txt")
        assert truth.name == found.name == name and truth.num_frames == found.num_frames == frames
        assert len(truth) == boxes and truth.image_size == (480, 640)
    assert [file.parts[-3] for file in find_mot(folder)] == ["TUD-Campus", "TUD-Stadtmitte"]
    assert len(find_mot(folder / "results")) == 2


def test_there_and_back(tmp_path):
    text = "1,4,10.5,20.25,30,40,0.875,-1,-1,-1\n3,4,11,21,30,40,0.5,-1,-1,-1\n"
    first = read_mot(written(tmp_path, text))
    write_mot(first, tmp_path / "again.txt")
    again = read_mot(tmp_path / "again.txt")
    for name in ("frames", "track_ids", "boxes", "scores"):
        np.testing.assert_allclose(getattr(again, name), getattr(first, name), atol=1e-3)


def test_an_empty_file_is_a_video_without_anybody(tmp_path):
    assert len(read_mot(written(tmp_path, "\n"), num_frames=5)) == 0


def found(labels, ids, names):
    n = len(labels)
    return Detections(
        torch.tensor([[0.0, 0, 5, 5]] * n).reshape(-1, 4),
        torch.full((n,), 0.5),
        torch.tensor(labels, dtype=torch.long),
        (9, 9),
        LabelMap.from_names(names),
        track_ids=torch.tensor(ids, dtype=torch.long),
    )


def test_frame_by_frame_with_several_classes_in_their_own_files(tmp_path):
    with MotWriter(tmp_path / "t.txt") as writer:
        writer.add(found([0, 1], [3, 4], ["cat", "red fox"]), 0)
        writer.add(found([1, 1], [4, -1], ["cat", "red fox"]), 7)
        assert list(tmp_path.iterdir()) == [], "files appear whole, when all is done"
    assert (tmp_path / "t-red_fox.txt").read_text().splitlines() == [
        "1,4,1.000,1.000,5.000,5.000,0.5,-1,-1,-1",
        "8,4,1.000,1.000,5.000,5.000,0.5,-1,-1,-1",
    ]
    assert (tmp_path / "t-cat.txt").is_file() and not (tmp_path / "t.txt").exists()


def test_one_class_has_a_file_even_when_nobody_came(tmp_path):
    with MotWriter(tmp_path / "t.txt") as writer:
        writer.add(found([], [], ["cat"]), 0)
    assert (tmp_path / "t.txt").read_text() == ""


def test_several_classes_do_not_fit_into_one_file(tmp_path):
    from pagoda.structures.tracks import Tracks

    tracks = Tracks.from_detections([found([0], [1], ["cat", "dog"])])
    with pytest.raises(ValueError, match="a MOT file holds one class, got 2: cat, dog"):
        write_mot(tracks, tmp_path / "t.txt")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1,1,5,5,5,5,1\n1,two,5,5,5,5,1\n", "line 2: expected numbers, got '1,two,5,5,5,5,1'"),
        ("1,1,5,5,5\n", "line 1: expected at least 7 columns"),
        ("1,1,5,5,5,5,1\n2,1,5,5,5,5,1,-1,-1,-1\n", "line 2: expected 7 columns"),
        ("0,1,5,5,5,5,1\n", "line 1: expected a whole frame number from 1 on .*: add 1 to every frame"),
        ("1,1,5,5,-5,5,1\n", "sides of 0 or more"),
        ("1,1.5,5,5,5,5,1\n", "line 1: expected a whole number for the id, got '1,1.5,5,5,5,5,1'"),
        ("1,1,nan,5,5,5,1\n", "line 1: expected numbers that are finite"),
        (
            "1,1,5,5,5,5,1,1.5,1\n",
            "row 1: expected a whole number as class in the eighth of 9 columns, got 1.5",
        ),
        ("1,3,5,5,5,5,1\n1,3,9,9,5,5,1\n", "det.txt cannot be used: .*track id 3 stands twice in frame 0"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, text, said):
    with pytest.raises(ValueError, match=said):
        read_mot(written(tmp_path, text))


def test_frames_beyond_the_end_are_refused(tmp_path):
    with pytest.raises(ValueError, match="its last row is of frame 9, but the video has 5 frames"):
        read_mot(written(tmp_path, "9,1,5,5,5,5,1\n"), num_frames=5)
    (tmp_path / "gt").mkdir()
    (tmp_path / "seqinfo.ini").write_text("[Sequence]\nseqLength=5\n")
    with pytest.raises(
        ValueError, match=r"has 5 frames; .*seqinfo\.ini says how long it is \(seqLength\); correct"
    ):
        read_mot(written(tmp_path, "9,1,5,5,5,5,1\n", "gt/gt.txt"), is_truth=True)


def test_an_unknown_benchmark_gets_the_known_ones(tmp_path):
    with pytest.raises(
        ValueError,
        match="benchmark must be one of 'auto', 'MOT15', 'MOT16', 'MOT17', 'MOT20', 'own', got 'MOT21'",
    ):
        read_mot(written(tmp_path, "1,1,5,5,5,5,1,1,1\n"), is_truth=True, benchmark="MOT21")


@pytest.mark.parametrize(
    ("above", "file", "name"),
    [
        ("MOT20-01", "gt/gt.txt", "MOT20-01"),
        ("MOT20-01/gt", "gt.txt", "MOT20-01"),
        ("MOT20-01", "gt.txt", "MOT20-01"),
        ("MOT20-01", "MOT20-02.txt", "MOT20-02"),
    ],
)
def test_files_are_named_from_the_folder_one_stands_in(tmp_path, monkeypatch, above, file, name):
    (tmp_path / above / file).parent.mkdir(parents=True)
    (tmp_path / above / file).write_text("1,1,1,1,5,5,1,1,1\n")
    if name == "MOT20-01":
        (tmp_path / name / "seqinfo.ini").write_text("[Sequence]\nseqLength=7\n")
    monkeypatch.chdir(tmp_path / above)
    tracks = read_mot(file, is_truth=True)
    assert (tracks.name, tracks.num_frames) == (name, 7 if name == "MOT20-01" else 1)
    assert tracks.rules.startswith("MOT20")


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (["train/a/gt/gt.txt", "train/b/gt/gt.txt", "test/c/det/det.txt"], 2),  # the benchmark's own folder
        (["data/a.txt", "data/b.txt", "pedestrian_summary.csv"], 2),  # TrackEval's folder of a tracker
        (["ByteTrack/data/a.txt"], 1),
        (["a.txt", "data/b.txt"], 1),
    ],
)
def test_files_may_lie_one_folder_lower(tmp_path, files, found):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1,1,1,1,5,5,1\n")
    assert [file.relative_to(tmp_path).as_posix() for file in find_mot(tmp_path)] == files[:found]


def test_a_folder_without_any_says_what_was_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gt/gt\.txt"):
        find_mot(tmp_path)


def test_a_row_far_behind_all_others_is_refused_with_its_line(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("1,1,5,5,5,5,1\n\n9000000,1,5,5,5,5,1\n2,1,5,5,5,5,1\n")
    for is_truth in (False, True):
        with pytest.raises(
            ValueError, match=r"t\.txt line 3: frame 9000000 follows on more than 100000 frames"
        ):
            read_mot(path, is_truth=is_truth)
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "seqinfo.ini").write_text("[Sequence]\nseqLength=9000000\n")
    assert read_mot(path).num_frames == 9_000_000, "somebody says that the video is so long"


def test_a_video_without_objects_has_the_classes_of_its_labels_file(tmp_path):
    (tmp_path / "labels.txt").write_text("person\ndog\n")
    found = read_mot(written(tmp_path, "", "gt.txt"), is_truth=True, num_frames=2)
    assert len(found) == 0 and found.label_map.names == ("person", "dog")
