"""MOTChallenge's rules as TrackEval applies them itself, on drawn scenes; and files with classes of their own."""

import contextlib
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest

from pagoda.cli.main import main
from pagoda.data.tracks.files import read_tracks
from pagoda.data.tracks.mot_classes import VISDRONE, benchmark_in
from pagoda.evaluation.tracks.evaluator import TrackEvaluator

pytestmark = pytest.mark.medium

BENCHMARKS = ("MOT15", "MOT16", "MOT17", "MOT20")
NAMES = {
    "HOTA": {"HOTA": "HOTA", "DetA": "DetA", "AssA": "AssA", "LocA": "LocA"},
    "CLEAR": {
        "MOTA": "MOTA", "MOTP": "MOTP", "IDSW": "IDSW", "Frag": "Frag", "MT": "MT", "PT": "PT", "ML": "ML",
        "CLR_Re": "Rcll", "CLR_Pr": "Prcn", "CLR_FP": "FP", "CLR_FN": "FN",
    },
    "Identity": {"IDF1": "IDF1", "IDP": "IDP", "IDR": "IDR"},
}  # fmt: skip


def run(*words) -> int:
    with pytest.raises(SystemExit) as exit_code:
        main(["track", "eval", *map(str, words)])
    return exit_code.value.code


def scored(capsys, *words) -> dict:
    assert run(*words, "--json") == 0
    return json.loads(capsys.readouterr().out)


def said_by(capsys) -> str:
    return " ".join(capsys.readouterr().err.split())


def sequence(folder, name, truth, found, *, length=None, labels=None):
    """One sequence and a tracker's file for it; rows are tuples."""
    place = folder / "gt" / name / "gt"
    place.mkdir(parents=True)
    (folder / "pred").mkdir(exist_ok=True)
    for file, rows in ((place / "gt.txt", truth), (folder / "pred" / f"{name}.txt", found)):
        file.write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    if length:
        (folder / "gt" / name / "seqinfo.ini").write_text(f"[Sequence]\nname={name}\nseqLength={length}\n")
    if labels:
        (place / "labels.txt").write_text("\n".join(labels) + "\n", encoding="utf-8")


def box_near(rng, center, size, whole):
    """A box about a place, in fractions of a pixel unless whole."""
    values = np.concatenate([center + rng.normal(0, 1.5, 2), size * rng.uniform(0.85, 1.15, 2)])
    return [round(value) for value in values] if whole else [round(value, 2) for value in values]


def scene(rng, *, num_frames=12, whole=False):
    """Objects of all classes and flags that overlap, the rows in any order, some frames empty on one side or both."""
    truth, found = [], []
    classes = np.concatenate([[1] * 7, np.arange(1, 14)])
    centers, sizes = rng.uniform(0, 240, (len(classes), 2)), rng.uniform(15, 40, (len(classes), 2))
    for frame in range(1, num_frames + 1):
        centers += rng.normal(0, 3, centers.shape)
        rows, more = [], []
        for track, (center, size, kind) in enumerate(zip(centers, sizes, classes, strict=True), 1):
            if rng.random() < 0.85:
                box, flag = box_near(rng, center, size, whole), int(rng.random() < 0.85)
                rows.append((frame, track, *box, flag, kind, round(rng.random(), 2)))
                if rng.random() < 0.3:  # somebody else in nearly the same place
                    place = np.array(box[:2]) + rng.integers(-3, 4, 2)
                    rows.append((frame, 50 + track, *place, *box[2:], 1, int(rng.integers(1, 14)), 1))
            if rng.random() < (0.85 if kind == 1 else 0.4):
                other = track if rng.random() < 0.9 else 30 + track
                box = box_near(rng, center, size, whole)
                more.append((frame, other, *box, round(rng.random(), 3), -1, -1, -1))
        if frame % 5 != 0:
            truth += [rows[i] for i in rng.permutation(len(rows))]
        if frame % 7 != 0:
            found += [more[i] for i in rng.permutation(len(more))]
    return truth, found


def trackeval_says(folder, lengths, benchmark):
    """TrackEval's own readers, preprocessing and metrics on the same files."""
    import trackeval

    names = list(lengths)
    settings = {
        "GT_FOLDER": str(folder / "gt"), "TRACKERS_FOLDER": str(folder), "TRACKERS_TO_EVAL": ["pred"],
        "TRACKER_SUB_FOLDER": "", "BENCHMARK": benchmark, "SKIP_SPLIT_FOL": True, "SEQ_INFO": dict(lengths),
        "PRINT_CONFIG": False,
    }  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = trackeval.datasets.MotChallenge2DBox(settings)
        config = {"THRESHOLD": 0.5, "PRINT_CONFIG": False}
        metrics = {
            "HOTA": trackeval.metrics.HOTA(),
            "CLEAR": trackeval.metrics.CLEAR(config),
            "Identity": trackeval.metrics.Identity(config),
        }
        parts = {key: {} for key in metrics}
        for name in names:
            data = dataset.get_preprocessed_seq_data(dataset.get_raw_seq_data("pred", name), "pedestrian")
            for key, metric in metrics.items():
                parts[key][name] = metric.eval_sequence(data)
    rows = {name: {key: parts[key][name] for key in metrics} for name in names}
    rows["all"] = {key: metric.combine_sequences(parts[key]) for key, metric in metrics.items()}
    return {
        name: {ours: float(np.mean(row[key][theirs])) for key in NAMES for theirs, ours in NAMES[key].items()}
        for name, row in rows.items()
    }


@pytest.mark.parity
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_scores_are_trackevals_on_every_class_flag_and_overlap(tmp_path, capsys, benchmark, whole):
    rng = np.random.default_rng(7 + whole)
    lengths = {f"{benchmark}-0{number}": 12 for number in range(1, 5)}
    for name in lengths:
        sequence(tmp_path, name, *scene(rng, whole=whole), length=12)
    theirs = trackeval_says(tmp_path, lengths, benchmark)
    result = scored(capsys, "--gt", tmp_path / "gt", "--pred", tmp_path / "pred")
    assert f"{benchmark} (TrackEval's MotChallenge2DBox)" in result["protocol"]
    ours = {**result["per_video"], "all": result["metrics"]}
    for name, row in theirs.items():
        assert {key: ours[name][key] for key in row} == pytest.approx(row, abs=1e-9), name
    row = ours["all"]
    assert min(row[name] for name in ("FP", "FN", "IDSW", "Frag", "IDF1")) > 0, "things right and wrong"


@pytest.mark.parity
def test_benchmarks_differ_where_their_distractors_do(tmp_path, capsys):
    """What is found on each class alone: nothing, a mistake, or taken out."""
    found = {}
    for benchmark in BENCHMARKS:
        for kind in range(2, 14):
            folder = tmp_path / f"{benchmark}-{kind}"
            truth = [(1, 1, 100, 100, 20, 40, 1, 1, 1), (1, 2, 10, 10, 20, 40, 0, kind, 1)]
            sequence(folder, "a", truth, [(1, 1, 10, 10, 20, 40, 0.9, -1, -1, -1)], length=1)
            row = scored(capsys, "--gt", folder / "gt", "--pred", folder / "pred", "--benchmark", benchmark)
            assert row["metrics"]["FP"] == trackeval_says(folder, {"a": 1}, benchmark)["all"]["FP"]
            found[benchmark, kind] = row["metrics"]["FP"]
    taken_out = {key for key, false_positives in found.items() if not false_positives}
    common = {(name, kind) for name in ("MOT16", "MOT17", "MOT20") for kind in (2, 7, 8, 12)}
    assert taken_out == common | {("MOT20", 6)}


@pytest.mark.parametrize(
    ("path", "name", "expected"),
    [
        ("/data/MOT20/train/MOT20-01/gt/gt.txt", "MOT20-01", "MOT20"),
        ("/data/MOT17/train/one/gt/gt.txt", "one", "MOT17"),
        ("/data/2DMOT2015/train/TUD-Campus/gt/gt.txt", "TUD-Campus", "MOT15"),
        ("/data/street/seq/gt/gt.txt", "MOT16-02", "MOT16"),
        ("/data/MOT17-02-DPM.txt", "MOT17-02-DPM", "MOT17"),
        ("/data/MOT2/train/seq/gt/gt.txt", "seq", None),
        ("/MOT20/far/above/train/seq/gt/gt.txt", "seq", None),
    ],
)
def test_names_say_which_benchmark_it_is(path, name, expected):
    assert benchmark_in(Path(path), name) == expected


BOX, AWAY = (10, 10, 20, 40), (200, 10, 20, 40)


def test_nobody_is_forgiven_for_what_lies_on_cars_and_unflagged_people(tmp_path, capsys):
    """Without a name MOT17's rules are taken and said; what is left out is counted."""
    truth = [(1, 1, *AWAY, 1, 1, 1)]
    truth += [(1, 2, *BOX, 1, 3, 1), (1, 3, 60, 10, 20, 40, 0, 1, 1), (1, 4, 90, 10, 20, 40, 1, 7, 1)]
    found = [(1, 9, *AWAY, 1), (1, 2, *BOX, 1), (1, 3, 60, 10, 20, 40, 1), (1, 4, 90, 10, 20, 40, 1)]
    sequence(tmp_path, "street", truth, found, length=1)
    result = scored(capsys, "--gt", tmp_path / "gt", "--pred", tmp_path / "pred")
    assert result["metrics"]["MOTA"] == -1 and result["metrics"]["HOTA"] == pytest.approx(1 / 3**0.5)
    assert result["metrics"]["FP"] == 2, "the one on a static person was taken out"
    assert "MOT17 (TrackEval's MotChallenge2DBox, taken because no name says which" in result["protocol"]
    assert result["notes"] == [
        "not counted of the ground truth: 1 row with flag 0, 1 row of class car, 1 row of class static_person",
        "left out of the predictions: 1 matched to a distractor",
    ]
    assert run("--gt", tmp_path / "gt", "--pred", tmp_path / "pred") == 0
    assert capsys.readouterr().out.splitlines()[-2:] == result["notes"]


@pytest.mark.parity
@pytest.mark.parametrize(("shift", "missed"), [(0, 0), (1, 0), (3, 1), (4, 1)])
def test_an_exact_track_near_a_distractor_stays_unless_the_distractor_fits_better(
    tmp_path, capsys, shift, missed
):
    """A person, and a distractor four pixels to the right; the one prediction lies between them."""
    truth = [(1, 1, *BOX, 1, 1, 1), (1, 2, 14, 10, 20, 40, 1, 8, 1)]
    sequence(tmp_path, "a", truth, [(1, 1, 10 + shift, 10, 20, 40, 1, -1, -1, -1)], length=1)
    theirs = trackeval_says(tmp_path, {"a": 1}, "MOT17")["all"]
    ours = scored(capsys, "--gt", tmp_path / "gt", "--pred", tmp_path / "pred")["metrics"]
    assert (ours["FN"], ours["FP"]) == (theirs["FN"], theirs["FP"]) == (missed, 0)


@pytest.mark.parity
def test_rows_without_classes_are_scored_as_mot15(tmp_path, capsys):
    truth = [(frame, 1, *BOX, 1, -1, -1, -1) for frame in range(1, 5)]
    sequence(tmp_path, "TUD", truth, truth, length=4)
    result = scored(capsys, "--gt", tmp_path / "gt", "--pred", tmp_path / "pred")
    assert result["metrics"]["MOTA"] == trackeval_says(tmp_path, {"TUD": 4}, "MOT15")["all"]["MOTA"] == 1
    assert "without classes, as MOT15" in result["protocol"] and result["notes"] == []
    assert run("--gt", tmp_path / "gt", "--pred", tmp_path / "pred", "--benchmark", "MOT17") == 1
    assert "--benchmark MOT15 counts by flags alone" in said_by(capsys)


@pytest.mark.parity
@pytest.mark.parametrize(("left", "width"), [(10.2, 3.3), (0.2, 0.4), (-0.6, 0.2)])
def test_a_pair_a_hair_below_the_limit_is_found_but_not_identified(tmp_path, capsys, left, width):
    """IoU 0.4999999999999999 for what should be .5: CLEAR and HOTA allow for rounding, identity does not."""
    truth = (1, 1, left, 10, width, 10, 1, 1, 1)
    found = (1, 1, left, 10, width / 2, 10, 1, -1, -1, -1)
    sequence(tmp_path, "a", [truth], [found], length=1)
    theirs = trackeval_says(tmp_path, {"a": 1}, "MOT17")["all"]
    ours = scored(capsys, "--gt", tmp_path / "gt", "--pred", tmp_path / "pred")["metrics"]
    for name in ("MOTA", "IDF1", "HOTA"):
        assert ours[name] == theirs[name], name
    assert ours["MOTP"] < 0.5 and (ours["MOTA"], ours["IDF1"]) == (1, 0)


def test_a_flag_that_is_a_score_is_refused_by_its_row(tmp_path, capsys):
    for columns in ((1, 1), (-1, -1, -1)):
        folder = tmp_path / str(len(columns))
        sequence(folder, "a", [(1, 1, *BOX, 1, *columns), (2, 1, *BOX, 0.9, *columns)], [(1, 1, *BOX, 0.9)])
        assert run("--gt", folder / "gt", "--pred", folder / "pred") == 1
        said = said_by(capsys)
        assert (
            "gt.txt line 2: expected 0 or 1 in the seventh column of ground truth" in said and "0.9" in said
        )


OTHER = (60, 10, 30, 30)


def two_classes(tmp_path, found_classes=(-1, -1), *, labels=("car", "bus"), keep=(1, 2)):
    """CVAT's export: an object of each class in five frames, and a tracker that finds both."""
    truth, found = [], []
    for frame in range(1, 6):
        both = zip((1, 2), (BOX, OTHER), (1, 2), found_classes, strict=True)
        for track, box, kind, said in both:
            if kind in keep:
                truth.append((frame, track, *box, 1, kind, 1.0))
            found.append((frame, track, *box, 0.9, said, -1, -1))
    sequence(tmp_path, "seq", truth, found, labels=labels)
    return "--gt", tmp_path / "gt", "--pred", tmp_path / "pred"


@pytest.mark.parametrize("ids", [(1, 2), "each class from 1"])
@pytest.mark.parametrize(
    ("found_classes", "options", "per_class", "together"),
    [
        ((1, 2), (), {"car": 1, "bus": 1}, 1),
        ((2, 1), (), {"car": -1, "bus": -1}, -1),
        ((1, 2), ("--classes", "bus"), {"bus": 1}, 1),
        ((1, 2), ("--classes", "2"), {"bus": 1}, 1),
        ((1, 2), ("--classes", "bus", "1"), {"car": 1, "bus": 1}, 1),
        ((-1, -1), (), {"car": 1, "bus": 1}, 1),
        ((-1, -1), ("--classes", "car"), {"car": 1}, 1),  # as its row among several
    ],
)
def test_classes_of_labels_txt_are_scored_apart_and_together(
    tmp_path, capsys, found_classes, options, per_class, together, ids
):
    """Where each class numbers its objects from 1, predictions without classes must not."""
    words = two_classes(tmp_path, found_classes)
    if ids == "each class from 1":
        files = [tmp_path / "gt" / "seq" / "gt" / "gt.txt"]
        files += [tmp_path / "pred" / "seq.txt"] * (found_classes[0] > 0)
        for file in files:
            file.write_text(re.sub(r"^(\d+),2,", r"\1,1,", file.read_text(), flags=re.MULTILINE))
    result = scored(capsys, *words, *options)
    assert {name: row["MOTA"] for name, row in result["per_class"].items()} == per_class
    assert result["metrics"]["MOTA"] == together
    assert f"the classes of labels.txt: {', '.join(per_class)}" in result["protocol"]
    assert ("the predictions name no classes" in result["protocol"]) == (
        found_classes[0] < 0 and len(per_class) == 2
    )
    left_out = [note for note in result["notes"] if note.startswith("not counted")]
    assert left_out == [
        f"not counted of the ground truth: 5 rows of class {name}"
        for name in ("car", "bus")
        if name not in per_class
    ]


def test_a_prediction_that_says_car_is_wrong_on_a_bus(tmp_path, capsys):
    """It is taken out only where it names no class."""
    found = scored(capsys, *two_classes(tmp_path / "said", (1, 1)), "--classes", "car")
    unsaid = scored(capsys, *two_classes(tmp_path / "unsaid"), "--classes", "car")
    assert (found["metrics"]["MOTA"], unsaid["metrics"]["MOTA"]) == (0, 1)
    assert "left out of the predictions: 5 matched to an object of another class" in unsaid["notes"]


def test_predictions_of_other_classes_are_left_out_and_counted(tmp_path, capsys):
    """MOT17 knows pedestrians; a tracker of several classes is scored on those alone."""
    found = [(1, 1, *BOX, 0.9, 1, -1, -1), (1, 2, *AWAY, 0.9, 3, -1, -1)]
    sequence(tmp_path, "MOT17-02", [(1, 1, *BOX, 1, 1, 1)], found, length=1)
    result = scored(capsys, "--gt", tmp_path / "gt", "--pred", tmp_path / "pred")
    assert result["metrics"]["MOTA"] == 1
    assert result["notes"] == ["left out of the predictions: 1 row of class number 3"]


def test_only_the_second_label_is_drawn(tmp_path, capsys):
    result = scored(capsys, *two_classes(tmp_path, keep=(2,)))
    assert result["metrics"]["objects"] == 5 and result["metrics"]["FP"] == 5 and result["metrics"]["FN"] == 0


def test_one_file_for_each_class_as_they_are_written(tmp_path, capsys):
    words = two_classes(tmp_path, labels=("fire truck", "bus"))
    lines = (tmp_path / "pred" / "seq.txt").read_text().splitlines(keepends=True)
    (tmp_path / "pred" / "seq.txt").unlink()
    (tmp_path / "pred" / "seq-fire_truck.txt").write_text("".join(lines[::2]))
    (tmp_path / "pred" / "seq-bus.txt").write_text("".join(lines[1::2]))
    result = scored(capsys, *words)
    assert {name: row["MOTA"] for name, row in result["per_class"].items()} == {"fire truck": 1, "bus": 1}


def test_the_files_own_numbers_and_motchallenges_names(tmp_path, capsys):
    words = two_classes(tmp_path, (1, 2), labels=None)
    assert scored(capsys, *words)["metrics"]["objects"] == 5, "MOT17: class 2 is a person on a vehicle"
    result = scored(capsys, *words, "--benchmark", "own")
    assert {name: row["MOTA"] for name, row in result["per_class"].items()} == {"class_1": 1, "class_2": 1}
    assert list(scored(capsys, *words, "--benchmark", "own", "--classes", "2")["per_class"]) == ["class_2"]
    result = scored(capsys, *words, "--classes", "pedestrian", "person_on_vehicle")
    assert {name: row["MOTA"] for name, row in result["per_class"].items()} == {
        "pedestrian": 1,
        "person_on_vehicle": 1,
    }
    assert run(*words, "--benchmark", "MOT17", "--classes", "car") == 1
    assert "MOT17 knows pedestrians only; leave --benchmark away" in said_by(capsys)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("--classes", "bux"),
            "there is no class 'bux' in the ground truth; did you mean 'bus'? it has 1 car, 2 bus",
        ),
        (
            ("--classes", "car"),
            "nothing in the ground truth counts as car: 5 rows of class bus; choose other classes",
        ),
        (
            ("--benchmark", "MOT17"),
            "counts as pedestrian: 5 rows of class person_on_vehicle; choose other classes",
        ),
    ],
)
def test_where_nothing_counts_it_is_an_error_with_the_reason(tmp_path, capsys, options, said):
    assert run(*two_classes(tmp_path, keep=(2,)), *options) == 1
    assert said in said_by(capsys)


def test_numbers_beyond_labels_txt_and_motchallenges_classes_are_refused(tmp_path, capsys):
    assert run(*two_classes(tmp_path / "a", labels=("car",))) == 1
    assert "the classes of labels.txt are 1 car, but row 2 is of class 2" in said_by(capsys)
    sequence(tmp_path / "b", "MOT17-02", [(1, 1, *BOX, 1, 99, 1)], [])
    assert run("--gt", tmp_path / "b" / "gt", "--pred", tmp_path / "b" / "pred") == 1
    assert (
        "MOT17 has the classes 1 … 13, got 99; for classes of the file's own say --benchmark own"
        in said_by(capsys)
    )


def visdrone(tmp_path, ids=(1, 2, 3), found=(1,)):
    """A pedestrian, a car, another thing that does not count, and a region to be ignored; some are found."""
    truth, predictions = [], []
    for frame in range(1, 6):
        truth += [(frame, ids[0], *BOX, 1, 1, 0, 0), (frame, ids[1], *OTHER, 1, 4, 0, 1)]
        truth += [(frame, ids[2], *AWAY, 0, 11, 1, 2), (frame, 0, 300, 0, 90, 90, 0, 0, 0, 0)]
        predictions += [
            (frame, 1, *BOX, 0.9, found[0], -1, -1),
            (frame, 8, 310, 10, 20, 20, 0.9, found[0], -1, -1),
        ]
    sequence(tmp_path, "uav1", truth, predictions)
    return "--gt", tmp_path / "gt", "--pred", tmp_path / "pred"


@pytest.mark.parametrize("ids", [(1, 2, 3), (1, 1, 1)])
@pytest.mark.parametrize(
    ("found", "options", "mota", "objects"),
    [
        (1, (), 0.5, 10),
        (-1, (), 0.5, 10),
        (1, ("--classes", "pedestrian"), 1, 5),
        (-1, ("--classes", "pedestrian"), 1, 5),
        (4, ("--classes", "4"), -1, 5),
    ],
)
def test_visdrones_ten_columns_have_classes_and_regions(tmp_path, capsys, ids, found, options, mota, objects):
    result = scored(capsys, *visdrone(tmp_path, ids, (found,)), *options)
    assert (result["metrics"]["MOTA"], result["metrics"]["objects"]) == (mota, objects)
    assert "VisDrone's classes" in result["protocol"]
    assert "5 rows that are ignored regions" in result["notes"][0]
    assert "left out of the predictions: 5 in an ignored region" in result["notes"]
    if not options:
        assert result["notes"][0].endswith("5 rows with flag 0")
        assert result["per_class"]["pedestrian"]["MOTA"] == 1 and result["per_class"]["car"]["MOTA"] == 0


def test_visdrones_names():
    assert (
        VISDRONE.names[0] == "pedestrian" and VISDRONE.label_of(11) == 10 and VISDRONE.names[10] == "others"
    )


def test_classes_of_json_meet_by_name(tmp_path, capsys):
    words = two_classes(tmp_path)
    objects = [("bus", OTHER, 3), ("person", AWAY, 4), ("car", BOX, 5)]
    rows = [
        {
            "file": f"seq/{frame}.jpg", "image_id": None, "image_size": [400, 400],
            "objects": [
                {"name": name, "label": label, "score": 0.9, "track_id": label,
                 "box_xyxy": [box[0] - 1, box[1] - 1, box[0] + box[2] - 1, box[1] + box[3] - 1]}
                for label, (name, box, _) in enumerate(objects)
            ],
        }
        for frame in range(1, 6)
    ]  # fmt: skip
    (tmp_path / "seq.json").write_text(json.dumps({"predictions": rows, "failed": []}))
    result = scored(capsys, *words[:3], tmp_path / "seq.json")
    assert {name: row["MOTA"] for name, row in result["per_class"].items()} == {"car": 1, "bus": 1}
    assert result["notes"] == ["left out of the predictions: 5 rows of class person"]


@pytest.mark.parametrize("flat", [False, True])
def test_ground_truth_that_may_be_too_short_names_the_remedy_that_works(tmp_path, capsys, flat):
    rows = [(frame, 1, *BOX, 1, 1, 1) for frame in range(1, 11)]
    sequence(tmp_path, "seq", rows[:9], rows)
    truth = tmp_path / "gt" / "seq" / "gt" / "gt.txt"
    if flat:
        truth = truth.rename(tmp_path / "gt" / "seq.txt")
        (tmp_path / "gt" / "seq" / "gt").rmdir()
    truths = read_tracks(tmp_path / "gt", is_truth=True)
    with pytest.raises(ValueError, match="9 frames in the ground truth and 10 in the predictions") as error:
        TrackEvaluator().update(truths[0], *read_tracks(tmp_path / "pred", truths=truths))
    words = r"if it has 10 frames, write two lines, (\[Sequence\]) and (seqLength=10), into the file (\S+)"
    remedy = re.search(words, str(error.value))
    words = "--gt", tmp_path / "gt", "--pred", tmp_path / "pred"
    assert run(*words) == 1 and "write two lines" in said_by(capsys)
    Path(remedy[3]).parent.mkdir(exist_ok=True)
    Path(remedy[3]).write_text(f"{remedy[1]}\n{remedy[2]}\n")
    metrics = scored(capsys, *words)["metrics"]
    assert (metrics["FP"], metrics["objects"]) == (1, 9)


def test_a_tracker_that_saw_nobody_at_the_end_missed_them(tmp_path, capsys):
    rows = [(frame, 1, *BOX, 1, 1, 1) for frame in range(1, 11)]
    sequence(tmp_path, "seq", rows, rows[:9])
    metrics = scored(capsys, "--gt", tmp_path / "gt", "--pred", tmp_path / "pred")["metrics"]
    assert (metrics["FN"], metrics["objects"]) == (1, 10)


def test_seqinfo_that_is_too_short_is_named(tmp_path, capsys):
    rows = [(frame, 1, *BOX, 1, 1, 1) for frame in range(1, 11)]
    sequence(tmp_path, "seq", rows[:8], rows, length=9)
    assert run("--gt", tmp_path / "gt", "--pred", tmp_path / "pred") == 1
    assert "9 frames in the ground truth and 10 in the predictions" in (said := said_by(capsys))
    assert "says how long it is (seqLength)" in said


def test_fragments_over_empty_frames_as_the_protocol_says(tmp_path, capsys):
    """Found, missed with nobody predicted, found again: TrackEval has no fragment, py-motmetrics one."""
    truth = [(frame, 1, *BOX, 1, 1, 1) for frame in range(1, 4)]
    sequence(tmp_path, "a", truth, [truth[0], truth[2]], length=3)
    words = "--gt", tmp_path / "gt", "--pred", tmp_path / "pred"
    plain, surviving = scored(capsys, *words), scored(capsys, *words, "--matches-survive-gaps")
    assert (plain["metrics"]["Frag"], surviving["metrics"]["Frag"]) == (0, 1)
    assert "(TrackEval)" in plain["protocol"] and "(py-motmetrics)" in surviving["protocol"]
