"""Worked examples of HOTA, CLEAR and identity, other programs' published scores, and what bad input says."""

import json
from dataclasses import replace

import numpy as np
import pytest

from pagoda.data.tracks.mot import read_mot
from pagoda.evaluation.tracks import hota
from pagoda.evaluation.tracks.evaluator import TrackEvaluator
from pagoda.structures.labels import LabelMap
from pagoda.structures.tracks import Tracks

PERSON = LabelMap.from_names(["person"])
BOX = [0.0, 0, 10, 10]


def tracks(rows, num_frames=4, label_map=PERSON, **more):
    """Rows of frame, id, box and perhaps label."""
    n = len(rows)
    return Tracks(
        np.array([row[0] for row in rows], dtype=np.int64),
        np.array([row[1] for row in rows], dtype=np.int64),
        np.array([row[2] for row in rows], dtype=float).reshape(n, 4),
        np.ones(n),
        np.array([row[3] if len(row) > 3 else 0 for row in rows], dtype=np.int64),
        label_map,
        num_frames,
        (100, 100),
        "v",
        **more,
    )


def score(truth, found, **options):
    evaluator = TrackEvaluator(**options)
    evaluator.update(truth, found)
    return evaluator.result().metrics


FOUR = [(frame, 1, BOX) for frame in range(4)]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        # the id changes after two perfect frames
        (
            [(frame, 5 if frame < 2 else 6, BOX) for frame in range(4)],
            {"HOTA": 0.70711, "DetA": 1, "AssA": 0.5, "IDF1": 0.5, "MOTA": 0.75, "IDSW": 1},
        ),
        # the second frame is missed
        (
            [(frame, 5, BOX) for frame in (0, 2, 3)],
            {"HOTA": 0.75, "DetA": 0.75, "AssA": 0.75, "IDF1": 0.857143, "MOTA": 0.75, "FN": 1},
        ),
        # IoU 0.6 in every frame: 12 of the 19 thresholds are reached
        (
            [(frame, 5, [0, 0, 10, 6]) for frame in range(4)],
            {"HOTA": 12 / 19, "DetA": 12 / 19, "AssA": 12 / 19, "MOTA": 1, "MOTP": 0.6, "IDF1": 1},
        ),
        ([], {"HOTA": 0, "MOTA": 0, "IDF1": 0, "FN": 4}),
    ],
)
def test_worked_examples(found, expected):
    metrics = score(tracks(FOUR), tracks(found))
    assert {name: metrics[name] for name in expected} == pytest.approx(expected, abs=1e-5)


def test_nothing_to_find_is_undefined_but_false_positives_are_counted():
    metrics = score(tracks([]), tracks(FOUR))
    assert np.isnan([metrics[name] for name in ("HOTA", "MOTA", "IDF1", "MOTP")]).all() and metrics["FP"] == 4


@pytest.mark.parity
@pytest.mark.parametrize("matches_survive_gaps", [False, True])
def test_tud_as_py_motmetrics_and_trackeval_score_it(shared_data, matches_survive_gaps):
    folder = shared_data / "eval_cases" / "motmetrics"
    expected = json.loads((folder / "expected.json").read_text())
    evaluator = TrackEvaluator(matches_survive_gaps=matches_survive_gaps)
    for name in ("TUD-Campus", "TUD-Stadtmitte"):
        truth = read_mot(folder / name / "gt.txt", is_truth=True)
        found = read_mot(folder / name / "test.txt", num_frames=truth.num_frames)
        evaluator.update(replace(truth, name=name), replace(found, name=name))
    result = evaluator.result()
    for name, metrics in {**result.per_video, "OVERALL": result.metrics}.items():
        for key, value in expected["recomputed_trackeval"][name].items():
            assert metrics[key.removeprefix("CLR_")] == pytest.approx(value, abs=1e-9), (name, key)
        published = expected["published"][name]
        pairs = {"idf1": "IDF1", "mota": "MOTA", "num_switches": "IDSW", "num_fragmentations": "Frag"}
        assert {k: metrics[v] for k, v in pairs.items()} == pytest.approx(
            {k: published[k] for k in pairs}, abs=1e-6
        )
        assert 1 - metrics["MOTP"] == pytest.approx(published["motp"], abs=1e-6)
    assert round(result.per_video["TUD-Campus"]["HOTA"], 4) == 0.3914
    assert "TUD-Stadtmitte  0.398" in result.table()


BDD = ("pedestrian", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")


def read_scalabel(path, is_truth):
    """BDD100K's layout. Its corners are pixel indices; crowds and unknown classes are regions to ignore."""
    rows, ids = [], {}
    for frame in json.loads(path.read_text()):
        for label in frame["labels"] or []:
            box = label["box2d"]
            crowd = bool((label.get("attributes") or {}).get("crowd")) or label["category"] not in BDD
            corners = [box["x1"], box["y1"], box["x2"] + 1, box["y2"] + 1]
            kind = BDD.index(label["category"]) if label["category"] in BDD else 0
            rows.append((frame["frameIndex"], ids.setdefault(label["id"], len(ids)), corners, kind, crowd))
    ignored = np.array([row[4] for row in rows]) if is_truth else None
    return tracks(rows, 202, LabelMap.from_names(BDD), ignored=ignored)


@pytest.mark.medium
@pytest.mark.parity
def test_bdd_as_scalabel_scores_it(shared_data):
    folder = shared_data / "eval_cases" / "bdd_mot"
    expected = json.loads((folder / "expected.json").read_text())
    evaluator = TrackEvaluator(matches_survive_gaps=True)
    evaluator.update(
        read_scalabel(folder / "track_sample_anns.json", True),
        read_scalabel(folder / "track_predictions.json", False),
    )
    result = evaluator.result()
    names = {"MOTA": "MOTA", "MOTP": "MOTP", "IDF1": "IDF1"}
    counts = {"FP": "FP", "FN": "FN", "IDSw": "IDSW", "MT": "MT", "PT": "PT", "ML": "ML", "FM": "Frag"}
    published = expected["published"]["summary"]
    assert {k: result.metrics[v] for k, v in counts.items()} == {k: published[k] for k in counts}
    for name, row in {**result.per_class, "OVERALL": result.metrics}.items():
        theirs = expected["recomputed_scalabel_0_3_1"]["rows"][name]
        values = {k: None if np.isnan(row[v]) else 100 * row[v] for k, v in names.items()}
        for key, value in values.items():
            assert value == (None if theirs[key] is None else pytest.approx(theirs[key], abs=1e-4)), (
                name,
                key,
            )
        assert {k: row[v] for k, v in counts.items()} == {k: theirs[k] for k in counts}
    means = {k: np.nansum([row[v] for row in result.per_class.values()]) / 8 * 100 for k, v in names.items()}
    assert means == pytest.approx({k: published[f"m{k}"] for k in names}, abs=1e-4)


def test_ignored_regions_take_neither_side():
    region, inside, beside = [50.0, 50, 90, 90], [60.0, 60, 70, 70], [85.0, 60, 99, 70]
    truth = tracks([*FOUR, (0, 9, region)], ignored=np.array([False] * 4 + [True]))
    metrics = score(truth, tracks([*FOUR, (0, 7, inside), (0, 8, beside)]))
    assert (metrics["FP"], metrics["FN"], metrics["objects"]) == (1, 0, 4), "who is mostly outside counts"


def test_classes_are_matched_apart_and_added_up():
    both = LabelMap.from_names(["cat", "dog"])
    truth = tracks([(0, 1, BOX, 0), (0, 2, BOX, 1)], 1, both)
    evaluator = TrackEvaluator()
    evaluator.update(truth, tracks([(0, 1, BOX, 0)], 1, both))
    result = evaluator.result()
    assert result.per_class["cat"]["MOTA"] == 1 and result.per_class["dog"]["MOTA"] == 0
    assert result.metrics["MOTA"] == 0.5 and result.to_dict()["per_class"]["dog"]["MOTP"] is None


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            tracks(FOUR[:3], 3),
            "has 4 frames in the ground truth and 3 in the predictions; frames without objects",
        ),
        (tracks([(0, -1, BOX), (1, 1, BOX)]), "1 of 2 objects in the predictions have no track id"),
        (replace(tracks(FOUR), name="w"), "ground truth is of the video 'v', predictions are of 'w'"),
        (
            tracks(FOUR, label_map=LabelMap.from_names(["car"])),
            "has the classes person in the ground truth and car",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(found, said):
    with pytest.raises(ValueError, match=said):
        score(tracks(FOUR), found)


def test_ground_truth_without_ids_is_refused():
    with pytest.raises(ValueError, match="4 of 4 objects in the ground truth have no track id"):
        score(tracks([(frame, -1, BOX) for frame in range(4)]), tracks(FOUR))


def test_a_video_counts_once_and_none_is_an_error():
    evaluator = TrackEvaluator()
    with pytest.raises(ValueError, match="nothing to score yet"):
        evaluator.result()
    evaluator.update(tracks(FOUR), tracks(FOUR))
    with pytest.raises(ValueError, match="'v' was already added"):
        evaluator.update(tracks(FOUR), tracks(FOUR))


def test_without_trackeval_the_remedy_is_said(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "trackeval.metrics", None)
    with pytest.raises(ImportError, match=r"pip install 'pagoda-vision\[track\]'"):
        hota.create_metrics()
