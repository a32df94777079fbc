"""Thresholds in files: chosen by `pagoda val`, kept beside weights that stay as they are, used by whoever predicts."""

import json
import os
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
import torch

from pagoda.api import evaluate, track
from pagoda.cli.main import main
from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.saving import write_coco_folder
from pagoda.evaluation.runner import detect_dataset
from pagoda.exporting.metadata import change_metadata, metadata
from pagoda.models import create_model, load
from pagoda.recipes.thresholds_file import check_takes_thresholds, save_thresholds
from pagoda.structures.thresholds import ScoreThresholds, below
from pagoda.training.settings import TrainSettings
from pagoda.transfer.classes import adapt_classes
from pagoda.weights.files import load_weights, read_card, save_torch, save_weights
from pagoda.weights.tensors import read_header

pytestmark = pytest.mark.medium
SHAPES = DrawnShapes(6, image_size=(64, 64), seed=3)
NAMES = SHAPES.label_map.names
CHOSEN = ScoreThresholds(scores={NAMES[0]: 0.5, NAMES[1]: 0.25}, kind="best_f1", split="val")


def spread(**options):
    """A small detector whose scores are spread as after training."""
    torch.manual_seed(2)
    small = {
        "width": 16,
        "base_channels": 8,
        "norm_groups": 4,
        "head_depth": 1,
        "short_side": 64,
        "long_side": 64,
    }
    model = create_model(
        "fcos_resnet18_fpn", label_map=SHAPES.label_map, levels=(3,), top_level=4, **small, **options
    )
    with torch.no_grad():
        model.class_head.predict.weight.normal_(std=0.5)
        model.class_head.predict.bias.fill_(-1)
        model.box_head.predict.bias.fill_(1.0)
    return model.eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    write_coco_folder(SHAPES, folder, split="val")
    return folder


@pytest.fixture
def checkpoint(tmp_path):
    model = spread()
    card = {**model.card(), "metrics": {"AP": 0.5}, "epoch": 3}
    return save_weights(tmp_path / "best.safetensors", model.state_dict(), card)


def run(capsys, *words):
    """(exit code, standard output, standard error)."""
    with pytest.raises(SystemExit) as stop:
        main(list(map(str, words)))
    said = capsys.readouterr()
    return stop.value.code, said.out, " ".join(said.err.split())


def tensor_bytes(path):
    content = path.read_bytes()
    return content[8 + int.from_bytes(content[:8], "little") :]


def test_a_checkpoint_gains_thresholds_and_nothing_else_changes(checkpoint):
    before, state, card = tensor_bytes(checkpoint), load_weights(checkpoint)[0], read_card(checkpoint)
    names = list(read_header(checkpoint))
    save_thresholds(checkpoint, CHOSEN)
    assert tensor_bytes(checkpoint) == before and list(read_header(checkpoint)) == names
    assert read_card(checkpoint) == {**card, "thresholds": CHOSEN.to_dict()}
    assert all(torch.equal(tensor, state[name]) for name, tensor in load_weights(checkpoint)[0].items())
    content = checkpoint.read_bytes()
    save_thresholds(checkpoint, CHOSEN)
    assert checkpoint.read_bytes() == content and sorted(os.listdir(checkpoint.parent)) == [
        "best.safetensors"
    ]
    again = load(checkpoint)
    assert again.thresholds == CHOSEN and again.card()["thresholds"] == CHOSEN.to_dict()
    assert json.loads(metadata(again, again.postprocess)["thresholds"]) == CHOSEN.to_dict()


def test_a_link_stays_one(checkpoint, tmp_path):
    link = tmp_path / "link.safetensors"
    link.symlink_to(checkpoint)
    save_thresholds(link, CHOSEN)
    assert link.is_symlink() and load(checkpoint).thresholds == CHOSEN


def test_detections_are_kept_from_the_score_of_their_class_on(checkpoint):
    model = load(checkpoint)
    everything = list(detect_dataset(model, SHAPES))
    # Just below scores that are there, which are the same to rounding however many pictures are seen together.
    scores = {
        name: sorted(s for each in everything for s in each.scores[each.labels == label].tolist())[-10] - 1e-5
        for label, name in enumerate(NAMES[:2])
    }
    model.thresholds = replace(CHOSEN, scores=scores)
    pictures = [SHAPES[index][0] for index in range(len(SHAPES))]
    found = model.predict(pictures, min_score="card")
    bars = torch.tensor([scores.get(name, 0.3) for name in NAMES])
    for each, whole in zip(found, everything, strict=True):
        wanted = whole[whole.scores >= bars[whole.labels]]
        assert torch.equal(each.labels, wanted.labels) and torch.allclose(each.scores, wanted.scores)
        assert torch.allclose(each.boxes, wanted.boxes, atol=1e-3)
    kept = torch.cat([each.scores[each.labels == 0] for each in found])
    assert len(kept) == 10 and kept.min().item() == pytest.approx(scores[NAMES[0]], abs=2e-5)


def test_a_limit_on_something_else_than_the_score_keeps_all_the_same(checkpoint):
    """FCOS's first code compares the class's probability, which may be less than the score."""
    model = load(checkpoint)
    model.postprocess = replace(model.postprocess, threshold_on="class")
    everything = list(detect_dataset(model, SHAPES))
    model.thresholds = replace(CHOSEN, scores=dict.fromkeys(NAMES, 0.3))
    found = model.predict([SHAPES[index][0] for index in range(len(SHAPES))], min_score="card")
    assert [len(each) for each in found] == [len(each.above(0.3)) for each in everything]


def test_val_writes_them_and_predict_uses_them(checkpoint, folder, tmp_path, capsys):
    words = ("--data", folder, "--precision-at", 0.2, "--rounds", 20, "--report", tmp_path / "page.html")
    code, out, said = run(capsys, "val", checkpoint, *words, "--save-thresholds", "--calibration", "--json")
    assert code == 0 and "now holds thresholds (precision 0.2 at IoU 0.5 on split val)" in said
    operating = json.loads(out)["operating"]
    written = read_card(checkpoint)["thresholds"]
    reached = {name: each["at_precision"] for name, each in operating["thresholds"].items()}
    assert written["scores"] == {name: p["score"]["value"] for name, p in reached.items() if p is not None}
    assert written["kind"] == "precision" and written["precision"] == 0.2 and written["split"] == "val"
    assert sum(map(sum, operating["confusion"]["counts"][:3])) == json.loads(out)["num_objects"]
    page = (tmp_path / "page.html").read_text()
    assert (
        "scores to cut at" in page
        and page.count("image/svg+xml") == 3
        and "http" not in page.split("</style>")[1]
    )
    picture = folder / "images" / "val"
    code, out, said = run(
        capsys, "predict", checkpoint, picture, "--min-score", "card", "--json", "--out", tmp_path / "o"
    )
    assert code == 0 and "thresholds (precision 0.2" in said
    rows = [each for line in out.splitlines() for each in json.loads(line)["objects"]]
    assert all(each["score"] >= written["scores"].get(each["name"], written["otherwise"]) for each in rows)


def test_python_says_what_the_command_says(checkpoint, folder):
    result = evaluate(load(checkpoint), folder, precision_at=0.2, rounds=10)
    chosen = result.operating.score_thresholds(NAMES, split="val", counted_from=0.001)
    save_thresholds(checkpoint, chosen)
    assert load(checkpoint).thresholds == chosen


def test_without_thresholds_the_remedy_is_said_and_works(checkpoint, folder, tmp_path, capsys):
    picture = next((folder / "images" / "val").iterdir())
    for words in (("predict", checkpoint, picture), ("track", checkpoint, folder / "images" / "val")):
        code, _, said = run(capsys, *words, "--min-score", "card", "--out", tmp_path / "out")
        remedy = f"pagoda val {checkpoint} --data DIR --save-thresholds"
        assert code == 1 and remedy in said and not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="holds no thresholds; pagoda val CKPT --data DIR --save-thresholds"):
        load(checkpoint).predict(picture, min_score="card")
    assert run(capsys, "predict", checkpoint, picture, "--min-score", "crad")[0] == 2
    assert run(capsys, "val", checkpoint, "--data", folder, "--save-thresholds", "--rounds", 0)[0] == 0
    assert (
        run(capsys, "predict", checkpoint, picture, "--min-score", "card", "--out", tmp_path / "out")[0] == 0
    )


def test_tracks_are_of_what_is_kept(checkpoint, folder):
    model = load(checkpoint)
    model.thresholds = replace(CHOSEN, scores=dict.fromkeys(NAMES, 1.0))
    seen = []
    source = folder / "images" / "val"
    track(model, source, min_score="card", on_frame=seen.append, quiet=True)
    assert len(seen) == len(SHAPES) and not any(len(each) for each in seen)
    model.thresholds, seen = replace(CHOSEN, scores={NAMES[0]: 1.0}, otherwise=0.3), []
    track(model, source, min_score="card", on_frame=seen.append, quiet=True)
    found = model.predict(sorted(source.iterdir()), min_score="card")
    assert [len(each) for each in seen] == [len(each) for each in found] and any(map(len, seen))


def test_files_that_take_none_are_told_before_pictures_are_looked_at(checkpoint, folder, tmp_path, capsys):
    foreign = tmp_path / "theirs.pth"
    save_torch(foreign, {"w": torch.ones(2)})
    with pytest.raises(ValueError, match=rf"pagoda convert {foreign} NEW\.safetensors"):
        check_takes_thresholds(foreign)
    with pytest.raises(ValueError, match="is an address, which cannot be written to"):
        check_takes_thresholds("https://host/best.safetensors")
    with pytest.raises(FileNotFoundError, match="no file"):
        check_takes_thresholds(tmp_path / "gone.safetensors")
    results = tmp_path / "results.json"
    results.write_text("[]")
    code, _, said = run(capsys, "val", "--results", results, "--data", folder, "--save-thresholds")
    assert code == 1 and "--results has none" in said
    code, _, said = run(capsys, "val", checkpoint, "--data", folder, "--precision-at", 95)
    assert code == 1 and "95 % is 0.95" in said


def test_a_file_that_was_replaced_meanwhile_gets_none(checkpoint):
    seen = check_takes_thresholds(checkpoint)
    state, card = load_weights(checkpoint)
    save_weights(checkpoint, state, card)
    with pytest.raises(ValueError, match="written anew while it was scored"):
        save_thresholds(checkpoint, CHOSEN, seen=seen)
    assert "thresholds" not in read_card(checkpoint)


def test_other_weights_have_none(checkpoint, folder, tmp_path):
    from pagoda.recipes.training_run import train_on

    save_thresholds(checkpoint, CHOSEN)
    model = load(checkpoint)
    assert adapt_classes(model, replace(SHAPES.label_map, names=("a", "b", "c"))).model.thresholds is None
    settings = TrainSettings(data=str(folder), epochs=1, batch_size=6, out=str(tmp_path), workers=0)
    run_result = train_on(model, SHAPES, SHAPES, settings, quiet=True)
    assert "thresholds" not in read_card(run_result.folder / "best.safetensors")
    assert "scores to cut at" in (run_result.folder / "report.html").read_text()


HOSTILE = [
    (None, "thresholds must hold settings by name, got None"),
    ([0.5], "thresholds must hold settings by name"),
    ({}, "thresholds.scores"),
    ({"scores": [0.5]}, "scores must be a mapping"),
    ({"scores": {NAMES[0]: "high"}}, "scores must be a mapping"),
    ({"scores": {NAMES[0]: True}}, "scores must be a mapping"),
    ({"scores": {NAMES[0]: float("nan")}}, "scores must be"),
    ({"scores": {NAMES[0]: 1.5}}, "scores must be from 0 to 1, got 1.5"),
    ({"scores": {NAMES[0]: -0.5}}, "scores must be from 0 to 1, got -0.5"),
    ({"scores": {NAMES[0] + "s": 0.5}}, f"no class is called '{NAMES[0]}s'; did you mean '{NAMES[0]}'"),
    ({"kind": "best"}, "kind must be one of 'best_f1', 'precision', got 'best'"),
    ({"kind": "precision"}, "precision belongs to kind 'precision'"),
    ({"precision": 7}, "precision must be from 0 to 1, got 7"),
    ({"iou": 2}, "iou must be from 0 to 1"),
    ({"counted_from": "x"}, "counted_from must be a number"),
    ({"otherwise": -1}, "otherwise must be from 0 to 1"),
    ({"split": 3}, "split' must be text"),
    ({"unheard_of": 3}, "unknown setting 'thresholds.unheard_of'"),
]


@pytest.mark.parametrize(("change", "message"), HOSTILE)
def test_thresholds_that_are_none_are_refused_with_file_and_entry(tmp_path, change, message):
    model = spread()
    value = {**CHOSEN.to_dict(), **change} if isinstance(change, dict) and change else change
    path = save_weights(tmp_path / "a.safetensors", model.state_dict(), {**model.card(), "thresholds": value})
    with pytest.raises(ValueError, match=message) as refused:
        load(path)
    assert str(refused.value).startswith(str(path))


def test_what_an_exported_file_cannot_give_is_said():
    assert below(CHOSEN, SHAPES.label_map, 0.1) == ""
    told = below(CHOSEN, SHAPES.label_map, 0.27)
    assert f"{NAMES[1]} 0.250" in told and NAMES[0] not in told and "--min-score 0.249" in told


def tiny_file(path):
    """An .onnx that finds the same in every picture: quickly made."""
    onnx = pytest.importorskip("onnx", reason="needs pip install 'pagoda-vision[export]'")
    found = {
        "boxes": np.array([[[0, 0, 9, 9], [2, 2, 8, 8], [0, 0, 0, 0]]], np.float32),
        "scores": np.array([[0.75, 0.25, 0]], np.float32),
        "labels": np.array([[1, 0, -1]], np.int64),
    }
    helper = onnx.helper
    nodes = [
        helper.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(value))
        for name, value in found.items()
    ]
    images = helper.make_tensor_value_info("images", onnx.TensorProto.UINT8, ["batch", 3, "height", "width"])
    outputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in found.items()
    ]
    opset, graph = helper.make_opsetid("", 18), helper.make_graph(nodes, "tiny", [images], outputs)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=9)
    detector = spread()
    helper.set_model_props(model, metadata(detector, detector.postprocess))
    onnx.save(model, str(path))
    return path


def test_an_onnx_file_gains_an_entry_and_nothing_else_changes(tmp_path):
    onnx = pytest.importorskip("onnx", reason="needs pip install 'pagoda-vision[export]'")
    path = tiny_file(tmp_path / "tiny.onnx")
    before = onnx.load(str(path))
    save_thresholds(path, replace(CHOSEN, split="test"))
    save_thresholds(path, CHOSEN)
    after = onnx.load(str(path))
    said, now = ({entry.key: entry.value for entry in each.metadata_props} for each in (before, after))
    assert now == said | {"thresholds": json.dumps(CHOSEN.to_dict())}
    for each in (before, after):
        del each.metadata_props[:]
    assert before == after and load(path).thresholds == CHOSEN


@pytest.mark.parametrize(
    ("text", "message"), [("{", "tiny"), ("3", "settings by name, got 3"), ("[" * 99 + "]" * 99, "nested"), *(
        (json.dumps({**CHOSEN.to_dict(), **change} if change else change), message)
        for change, message in HOSTILE if isinstance(change, dict)
    )],
)  # fmt: skip
def test_thresholds_of_an_exported_file_that_are_none_are_refused(tmp_path, text, message):
    path = tiny_file(tmp_path / "tiny.onnx")
    change_metadata(path, "thresholds", text)
    with pytest.raises(ValueError, match=message) as refused:
        load(path)
    assert str(path) in str(refused.value)


@pytest.mark.slow
def test_exported_files_carry_and_gain_them(tmp_path, folder, capsys):
    pytest.importorskip("onnx", reason="needs pip install 'pagoda-vision[export]'")
    pagoda_runtime = pytest.importorskip("pagoda_runtime", reason="needs pip install ./runtime")
    from pagoda.exporting.onnx import export_onnx

    model, path = spread(), tmp_path / "model.onnx"
    model.thresholds = replace(CHOSEN, scores={NAMES[0]: 0.45, NAMES[1]: 0.35})
    export_onnx(model, path, min_score=0.2, max_detections=50)
    exported, pictures = load(path), sorted((folder / "images" / "val").iterdir())
    assert exported.thresholds == model.thresholds
    wanted = [
        (each.labels.tolist(), each.scores.tolist())
        for each in model.predict(pictures, min_score="card", max_detections=50)
    ]
    assert any(labels for labels, _ in wanted)
    small = pagoda_runtime.load(path)
    for found in (exported.predict(pictures, min_score="card"), small.predict(pictures, min_score="card")):
        assert [each.labels.tolist() for each in found] == [labels for labels, _ in wanted]
        for each, (_, scores) in zip(found, wanted, strict=True):
            np.testing.assert_allclose(np.asarray(each.scores), scores, atol=1e-4)
    import onnx

    graph = sha256(onnx.load(str(path)).graph.SerializeToString()).hexdigest()
    code, _, said = run(
        capsys, "val", path, "--data", folder, "--save-thresholds", "--rounds", 0, "--max-detections", 50
    )
    assert code == 0 and "now holds thresholds (best F1" in said
    assert sha256(onnx.load(str(path)).graph.SerializeToString()).hexdigest() == graph
    now = load(path).thresholds
    assert now.kind == "best_f1" and now != model.thresholds
    assert pagoda_runtime.load(path).thresholds.scores == now.scores


@pytest.mark.slow
def test_an_openvino_file_gains_them_and_its_weights_stay(tmp_path):
    pytest.importorskip("openvino", reason="needs pip install 'pagoda-vision[openvino]'")
    from pagoda.exporting.openvino import export_openvino

    model, path = spread(), tmp_path / "model.xml"
    export_openvino(model, path)
    weights = path.with_suffix(".bin").read_bytes()
    assert load(path).thresholds is None
    save_thresholds(path, CHOSEN)
    save_thresholds(path, replace(CHOSEN, split="test"))
    again = load(path)
    assert (
        again.thresholds == replace(CHOSEN, split="test") and path.with_suffix(".bin").read_bytes() == weights
    )
    picture = SHAPES[0][0]
    assert torch.allclose(again.predict(picture).scores, model.predict(picture).scores, atol=1e-4)
