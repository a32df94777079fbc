"""Exported files in the place of a model, ONNX and OpenVINO alike: predict, val, limits, and what is refused."""

import json
import os
import shutil
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from pagoda.api import export
from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.evaluation.coco.result import ApDifference
from pagoda.evaluation.runner import detect_dataset, evaluate
from pagoda.explain.why.examine import why
from pagoda.exporting import engines
from pagoda.exporting.engines import open_engine, silent_import
from pagoda.exporting.exported import load_exported
from pagoda.exporting.metadata import INCLUSIVE, change_metadata, fixed_input, metadata
from pagoda.exporting.openvino import Int8Error, export_int8, export_openvino
from pagoda.exporting.parity_pictures import drawn_pictures
from pagoda.models import is_exported
from pagoda.ops.boxes import pairwise_iou
from pagoda.structures.instances import Detections

sys.path.insert(0, str(Path(__file__).parent))
from small import FACE, LABELS

onnx = pytest.importorskip("onnx", reason="needs pip install 'pagoda-vision[export]'")
pytest.importorskip("onnxruntime", reason="needs pip install 'pagoda-vision[export]'")
pytestmark = pytest.mark.medium
# Slow, for what torch traces takes seconds, and openvino is not among what the tests install.
needs_openvino = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(map(find_spec, ("openvino", "nncf"))), reason="needs pip install 'pagoda-vision[openvino]'"
    ),
]
ENDINGS = [".onnx", pytest.param(".xml", marks=needs_openvino)]


def with_marks(test):
    for mark in needs_openvino:
        test = mark(test)
    return test


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("exported")


@pytest.fixture(scope="session")
def fcos(folder, exported_fcos):
    """(the model, {ending: its file}); made once."""
    model, path, _ = exported_fcos
    return model.eval(), Files(model, folder / "fcos.xml", path, min_score=0.2, max_detections=30)


@pytest.fixture(scope="session")
def regions(folder, exported_regions):
    model, path, _ = exported_regions
    return model.eval(), Files(model, folder / "regions.xml", path, max_detections=25)


class Files(dict):
    """{ending: file}; OpenVINO's is written when first asked for."""

    def __init__(self, model, xml: Path, onnx: Path, **limits) -> None:
        super().__init__({".onnx": onnx})
        self.model, self.xml, self.limits = model, xml, limits

    def __missing__(self, ending: str) -> Path:
        export_openvino(self.model, self.xml, **self.limits)
        self[ending] = self.xml
        return self.xml


def pictures() -> list[torch.Tensor]:
    sizes = ((120, 160), (90, 70), (120, 160), (300, 420))
    return [drawn_pictures(size, number + 1)[number] for number, size in enumerate(sizes)]


def assert_alike(ours: Detections, theirs: Detections) -> None:
    """Nearly all of the sure ones have a twin: which of two equals is taken is left to rounding."""
    sure = theirs.above(0.3)
    sure = sure[(sure.boxes[:, 2:] - sure.boxes[:, :2]).amin(1) > 1]  # what lay in a border is cut to nothing
    overlap = pairwise_iou(sure.boxes, ours.boxes)
    close = (sure.scores[:, None] - ours.scores[None]).abs() < 1e-3
    twins = ((overlap > 0.99) & close & (sure.labels[:, None] == ours.labels[None])).any(1)
    assert len(sure) > 3 and twins.float().mean() > 0.95
    assert ours.image_size == theirs.image_size and ours.label_map == theirs.label_map


@pytest.mark.parametrize("ending", ENDINGS)
def test_pictures_of_several_sizes_in_one_batch(fcos, ending):
    model, files = fcos
    exported = load_exported(files[ending])
    assert exported.label_map == LABELS and not exported.learns
    for ours, theirs in zip(
        exported.predict(pictures(), batch_size=4), model.predict(pictures(), max_detections=30), strict=True
    ):
        assert_alike(ours, theirs)


@pytest.mark.slow
@pytest.mark.parametrize("ending", ENDINGS)
def test_masks_and_keypoints_are_those_of_the_picture(regions, ending):
    model, files = regions
    exported = load_exported(files[ending])
    assert exported.learns == {"masks", "keypoints"} and exported.label_map.skeleton == FACE
    shown = [*drawn_pictures((128, 160), 1), *pictures()]  # as it is, and resized
    for ours, theirs in zip(exported.predict(shown), model.predict(shown, max_detections=25), strict=True):
        assert ours.masks.shape == (len(ours), *theirs.image_size)
        overlap = pairwise_iou(theirs.boxes, ours.boxes) * (theirs.labels[:, None] == ours.labels[None])
        best, twin = overlap.max(1)
        same = best > 0.99
        assert same.float().mean() > 0.9
        masks, others = theirs.masks[same], ours.masks[twin[same]]
        union, wrong = (masks | others).flatten(1).sum(1), (masks ^ others).flatten(1).sum(1)
        assert (wrong <= 0.01 * union + 2).float().mean() > 0.9
        away = (theirs.keypoints[same] - ours.keypoints[twin[same]]).abs().amax(-1)
        assert (away < 0.5).float().mean() > 0.9


def twins(ours: Detections, theirs: Detections) -> tuple[torch.Tensor, torch.Tensor]:
    """(rows of ours, rows of theirs): the same object in the same place, not another that a border cut to its box."""
    apart = (ours.boxes[:, None] - theirs.boxes[None]).abs().amax(2)
    close = (ours.scores[:, None] - theirs.scores[None]).abs() < 1e-5
    same = (apart < 1e-3) & close & (ours.labels[:, None] == theirs.labels[None])
    return same.nonzero().unbind(1)


LIMITS = [{}, {"paste": "whole_pixels", "min_mask_probability": 0.4}]
FRAMES = [{}, {"fit": "letterbox", "canvas": (130, 170)}, {"fit": "corner", "canvas": (200, 210)}]


@pytest.mark.parametrize("frame", FRAMES, ids=["resized", "letterbox", "corner"])
@pytest.mark.parametrize("limits", LIMITS, ids=["as in the file", "changed"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_masks_are_pasted_at_the_pictures_size_by_any_rule(regions, ending, limits, frame):
    """Also smaller and larger than what the network sees, and where a border is around that."""
    model, exported = deepcopy(regions[0]), load_exported(regions[1][ending])
    model.input_spec = replace(model.input_spec, **frame)
    exported.input_spec = replace(exported.input_spec, **frame)
    model.postprocess = model.postprocess.with_limits(max_detections=25)
    wrong = pixels = count = 0
    for picture in pictures():
        size = tuple(picture.shape[1:])
        select, other = (replace(each.postprocess, **limits) for each in (model, exported))
        (theirs,) = model.detect(model.input_spec.prepare([picture]), postprocess=select, sizes=[size])
        (ours,) = exported.detect(exported.input_spec.prepare([picture]), postprocess=other, sizes=[size])
        assert ours.masks.shape == (len(ours), *size) and ours.masks.dtype == torch.bool
        rows, columns = twins(ours, theirs)
        count += len(rows)
        wrong += int((ours.masks[rows] ^ theirs.masks[columns]).sum())
        pixels += int((ours.masks[rows] | theirs.masks[columns]).sum())
    # What boxes and probabilities differ by, 1e-5, decides about few pixels; masks that are resized differ in twenty
    # times as many.
    assert count > 40 and pixels > 10_000 and wrong <= 5e-3 * pixels


@pytest.mark.parametrize("ending", ENDINGS)
def test_masks_of_a_frame_are_pasted_there_and_moved_like_a_models(regions, ending):
    model, exported = regions[0], load_exported(regions[1][ending])
    images = exported.input_spec.prepare(pictures()[:2])
    found = exported.detect(images)
    assert [each.masks.shape[1:] for each in found] == [(128, 171), (165, 128)]
    asked = exported.detect(images, sizes=[(120, 160), (90, 70)])
    for before, after in zip(asked, exported.restore(found, [(120, 160), (90, 70)]), strict=True):
        assert torch.equal(before.masks, after.masks) and torch.equal(before.boxes, after.boxes)
        assert torch.equal(
            after.masks, model.postprocess.masks(after.mask_crops, after.boxes, after.image_size)
        )


def refuse_to_paste(path: Path, to: Path) -> Path:
    """The ONNX file with an operator behind its `masks` that fails when it runs."""
    program = onnx.load(str(path))
    for node in program.graph.node:
        node.output[:] = ["pasted" if name == "masks" else name for name in node.output]
    shape = onnx.numpy_helper.from_array(torch.tensor([7, 11, 13, 17]).numpy(), "impossible")
    program.graph.initializer.append(shape)
    program.graph.node.append(onnx.helper.make_node("Reshape", ["pasted", "impossible"], ["masks"]))
    onnx.save(program, str(to))
    return to


def test_nothing_is_pasted_in_the_graph_for_our_readers(regions, folder):
    path = refuse_to_paste(regions[1][".onnx"], folder / "refusing.onnx")
    with pytest.raises(Exception, match="Reshape"):
        open_engine(path)(pictures()[0][None])
    assert len(load_exported(path).predict(pictures()[0]).masks) > 10


@pytest.mark.skipif(find_spec("openvino") is None, reason="needs pip install 'pagoda-vision[openvino]'")
def test_a_file_is_compiled_once_whatever_threshold_is_wanted(fcos, monkeypatch):
    """Not when it is opened: that is with its own threshold."""
    path = fcos[1][".xml"]  # which is written here
    compiled, compile_model = [], engines.compile_model
    monkeypatch.setattr(
        engines, "compile_model", lambda model: (compiled.append(model), compile_model(model))[1]
    )
    model = load_exported(path)
    assert compiled == []
    for _ in range(2):
        model.predict(pictures()[0].permute(1, 2, 0).numpy(), min_score=0.4)
    assert len(compiled) == 1


@pytest.mark.skipif(find_spec("openvino") is None, reason="needs pip install 'pagoda-vision[openvino]'")
def test_what_the_plugin_cannot_compile_is_told(fcos, monkeypatch):
    class Fails:
        class Core:
            def compile_model(self, *_):
                raise RuntimeError("Check 'it' failed\nat somewhere.cpp:1")

    engine = open_engine(fcos[1][".xml"])
    monkeypatch.setattr(engines, "silent_import", lambda _: Fails)
    with pytest.raises(ValueError, match=r"^OpenVINO cannot run it: Check 'it' failed$"):
        engine(pictures()[0][None])


@with_marks
@pytest.mark.parametrize("kind", ["fcos", "regions"])
def test_a_shape_that_comes_often_gets_a_model_of_its_own(kind, request, monkeypatch):
    """It says the same; of more shapes than are kept the oldest goes."""
    path = request.getfixturevalue(kind)[1][".xml"]
    sizes, compile_model = [], engines.compile_model
    monkeypatch.setattr(engines, "OFTEN", 4)
    monkeypatch.setattr(engines, "FIXED_SHAPES", 1)
    monkeypatch.setattr(
        engines,
        "compile_model",
        lambda model: (sizes.append(str(model.input(0).partial_shape)), compile_model(model))[1],
    )
    engine = open_engine(path)
    whole = pictures()[0][None, :, :64, :96].contiguous()
    shown = [whole, whole[..., :64].contiguous()]
    first = [engine(images) for images in shown]
    assert len(sizes) == 1
    for _ in range(4):
        again = [engine(images) for images in shown]
        for before, now in zip(first, again, strict=True):
            for name in before:
                torch.testing.assert_close(now[name], before[name], rtol=0, atol=1e-3)
    assert sizes[1:3] == ["[1,3,64,96]", "[1,3,64,64]"]


@with_marks
def test_nothing_is_pasted_in_the_graph_of_openvino_either(regions):
    engine = open_engine(regions[1][".xml"], pasted=False)
    assert "masks" in open_engine(regions[1][".xml"])(pictures()[0][None])
    assert "masks" not in engine(pictures()[0][None])
    frame = (1, 25, *pictures()[0].shape[1:])
    assert not any(
        tuple(side.get_length() if side.is_static else -1 for side in output.partial_shape) == frame
        for node in engine._compiled.of((1, *pictures()[0].shape)).get_runtime_model().get_ordered_ops()
        for output in node.outputs()
        if output.partial_shape.rank.is_static
    )


def without_probabilities(path: Path, to: Path) -> Path:
    """The ONNX file as earlier versions wrote it."""
    program = onnx.load(str(path))
    kept = [value for value in program.graph.output if value.name != "mask_probabilities"]
    del program.graph.output[:]
    program.graph.output.extend(kept)
    for entry in program.metadata_props:
        entry.value = (
            entry.value.partition(" mask_probabilities:")[0] if entry.key == "usage" else entry.value
        )
    onnx.save(program, str(to))
    return to


def test_files_of_earlier_versions_have_their_masks_resized(regions, folder):
    path = without_probabilities(regions[1][".onnx"], folder / "earlier.onnx")
    new, old = load_exported(regions[1][".onnx"]), load_exported(path)
    assert old.learns == {"masks", "keypoints"}
    for picture in pictures():
        expected, found = new.predict(picture), old.predict(picture)
        assert torch.equal(found.boxes, expected.boxes) and found.mask_crops is None
        union = (found.masks | expected.masks).sum()
        assert (
            0.8 < 1 - (found.masks ^ expected.masks).sum() / union < 1
        )  # these masks are all edges and holes
    changed = replace(old.postprocess, min_mask_probability=0.4)
    with pytest.raises(
        ValueError, match=r"min_mask_probability is 0\.5 in .* cannot be changed there, got 0\.4"
    ):
        old.detect(old.input_spec.prepare(pictures()[:1]), postprocess=changed)


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_threshold_is_one_number_of_the_graph(fcos, ending):
    exported = load_exported(fcos[1][ending])
    every = exported.predict(pictures()[0])
    middle = float(every.scores.median())
    few = exported.predict(pictures()[0], min_score=middle)
    assert 0 < len(few) < len(every) and few.scores.min() >= middle
    assert (open_engine(fcos[1][ending], min_score=middle)(pictures()[0][None])["labels"] >= 0).sum() == len(
        few
    )
    assert len(exported.predict(pictures()[0], min_score=0.001)) == len(every)
    assert len(exported.predict(pictures()[0], max_detections=3)) == 3


def test_limits_that_are_built_in_are_refused(fcos):
    exported = load_exported(fcos[1][".onnx"])
    with pytest.raises(ValueError, match=r"max_iou is 0\.6 in .* cannot be changed there, got 0\.3"):
        exported.predict(pictures()[0], max_iou=0.3)
    with pytest.raises(ValueError, match="gives at most 30 detections, got max_detections=300"):
        exported.predict(pictures()[0], max_detections=300)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_is_scored_like_its_model(fcos, ending):
    model, files = fcos
    data = DrawnShapes(6, image_size=(120, 160))
    object.__setattr__(model, "label_map", data.label_map)
    try:
        limits = {"min_score": 0.2, "max_detections": 30}
        expected = evaluate(model, data, limits=limits).metrics
        exported = load_exported(files[ending])
        exported.label_map = data.label_map
        assert evaluate(exported, data, limits=limits).metrics["AP"] == pytest.approx(
            expected["AP"], abs=2e-3
        )
        assert len(list(detect_dataset(exported, data, limits=limits))) == 6
    finally:
        object.__setattr__(model, "label_map", LABELS)


def test_boxes_that_end_with_their_last_pixel_stay_so(fcos, tmp_path):
    """Weights of maskrcnn-benchmark and Caffe2: their files are scored by sides + 1, as the model is."""
    model, paths = fcos
    legacy = deepcopy(model)
    legacy.inclusive = True
    said = metadata(legacy, legacy.postprocess)
    assert said[INCLUSIVE] == "true" and INCLUSIVE not in metadata(model, model.postprocess)
    path = shutil.copy(paths[".onnx"], tmp_path / "legacy.onnx")
    change_metadata(path, INCLUSIVE, said[INCLUSIVE])
    picture = pictures()[0]
    plain, ending = (load_exported(each).predict(picture) for each in (paths[".onnx"], path))
    assert torch.equal(ending.boxes, plain.boxes) and len(plain)
    assert torch.equal(ending.boxes_xywh[:, 2:], plain.boxes_xywh[:, 2:] + 1)


def test_why_tells_of_a_file_what_its_detections_say(fcos):
    """What its model misses, too; of the reasons those that weak detections show."""
    model, exported = deepcopy(fcos[0]), load_exported(fcos[1][".onnx"])
    data = DrawnShapes(6, image_size=(120, 160))
    model.label_map = exported.label_map = data.label_map
    limits = {"min_score": 0.2, "max_detections": 30}
    told, theirs = (why(each, data, limits=limits) for each in (exported, model))
    assert told.miss_counts().keys() <= {"not told", "low score", "loose box", "wrong class", "taken"}
    assert any("an exported file gives detections alone" in line for line in told.left_out)
    missed, others = ({(miss.image_id, miss.object) for miss in each.misses} for each in (told, theirs))
    assert missed and len(missed ^ others) <= 0.1 * told.num_objects and not told.suspects


def test_several_threads_may_ask_for_several_thresholds(fcos):
    from concurrent.futures import ThreadPoolExecutor

    exported = load_exported(fcos[1][".onnx"])
    scores = [round(float(score), 3) for score in exported.predict(pictures()[0]).scores[[5, 15, 25]]]
    alone = {score: len(exported.predict(pictures()[0], min_score=score)) for score in scores}
    asked = scores * 4
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda score: len(exported.predict(pictures()[0], min_score=score)), asked))
    assert found == [alone[score] for score in asked]


@with_marks
def test_int8_is_judged_by_ap(fcos, folder):
    model, path = fcos[0], folder / "int8.xml"

    def compare(int8, fp32):
        assert (type(int8).__name__, type(fp32).__name__) == ("ExportedDetector", "FCOS")
        boxes = ApDifference(ap=0.5, other_ap=0.501, low=-0.004, high=0.002)
        return {"AP": boxes, "segm/AP": replace(boxes, ap=0.4, other_ap=0.403)}

    report = export_int8(model, path, calibration=pictures(), compare=compare)
    assert "AP 50.00 (fp32 50.10; 95 % interval of the loss -0.20 … +0.40)" in report.summary()
    assert report.passed and report.ap_loss == pytest.approx(0.3) and report.calibration_pictures == 4
    # The stem, the stage's four convolutions, the neck's and the heads' towers; not the three that predict.
    assert report.quantized >= 8 and report.kept >= 2
    nodes = silent_import("openvino").Core().read_model(path).get_ordered_ops()
    kinds = [node.get_type_name() for node in nodes]
    rounded = [node.get_friendly_name() for node in nodes if node.get_type_name() == "FakeQuantize"]
    assert kinds.count("MVN") >= 2 and not any(
        "Norm" in name for name in rounded
    )  # group norms are left whole
    engine = open_engine(path)
    assert json.loads(engine.metadata["int8"])["ap_loss"] == pytest.approx(0.3)
    found = load_exported(path).predict(pictures()[0], min_score=0.0)
    assert len(found) and torch.isfinite(found.boxes).all()


@with_marks
def test_int8_tells_nobody_and_leaves_nothing_behind(tmp_path):
    """In a process of its own: NNCF takes pytest for a test farm."""
    program = """
import sys
sys.addaudithook(lambda event, _: event == "urllib.Request" and print("asked"))
import numpy as np
from pagoda.exporting.engines import on_a_test_farm, silent_import
openvino = silent_import("openvino")
ops = openvino.opset13
pixels = ops.parameter([1, 3, 8, 8], np.float32)
kernel = ops.constant(np.ones((4, 3, 3, 3), np.float32))
model = openvino.Model([ops.convolution(pixels, kernel, [1, 1], [1, 1], [1, 1], [1, 1])], [pixels], "one")
with on_a_test_farm():
    nncf = silent_import("nncf")
    nncf.quantize(model, nncf.Dataset([np.zeros((1, 3, 8, 8), np.float32)] * 2))
"""
    environment = {key: value for key, value in os.environ.items() if key not in ("CI", "NNCF_CI")}
    environment |= {"HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "asked" not in done.stdout and not (tmp_path / "intel").exists()


@with_marks
def test_int8_that_loses_too_much_is_not_written(fcos, folder):
    path = folder / "lossy.xml"

    def compare(int8, fp32):
        return {"AP": ApDifference(ap=0.4, other_ap=0.5, low=-0.12, high=-0.08)}

    with pytest.raises(
        Int8Error,
        match=r"was not kept: int8 AP 40\.00 \(fp32 50\.00; .* \+8\.00 … \+12\.00\): \+10\.00 points lost",
    ):
        export_int8(fcos[0], path, calibration=pictures(), compare=compare)
    with pytest.raises(ValueError, match="--calibrate DIR"):
        export_int8(fcos[0], path, calibration=[], compare=compare)
    assert not path.exists() and not path.with_suffix(".bin").exists()


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_fixed_size(fcos, folder, ending):
    model, path = fcos[0], folder / f"fixed{ending}"
    report = export(model, path, size=(120, 160))
    assert set(report.batches) == {(1, 120, 160)} and report.passed and "8 of 1×120×160" in report.summary()
    assert json.loads(open_engine(path).metadata["size"]) == [120, 160]
    fixed = deepcopy(model)
    fixed.input_spec = fixed_input(model.input_spec, (120, 160))
    expected = fixed.predict(pictures())
    for together in (1, 4):  # the file takes one at a time
        for ours, theirs in zip(
            load_exported(path).predict(pictures(), batch_size=together), expected, strict=True
        ):
            assert_alike(ours, theirs)


def test_other_endings_are_refused(fcos, folder):
    with pytest.raises(ValueError, match=r"end in \.onnx \(ONNX\) or \.xml \(OpenVINO\), got"):
        export(fcos[0], folder / "model.pth")


def test_what_is_no_file_of_ours_is_refused(folder, monkeypatch):
    assert is_exported("a.ONNX") and not is_exported("a.pth")
    with pytest.raises(FileNotFoundError, match="no exported file"):
        open_engine(folder / "nothing.onnx")
    with pytest.raises(ValueError, match=r"expected an exported file \(\.onnx or \.xml\)"):
        open_engine(folder / "nothing.pth")
    (folder / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(ValueError, match=r"broken\.onnx cannot be run"):
        open_engine(folder / "broken.onnx")
    same = onnx.helper.make_node("Identity", ["images"], ["boxes"])
    value = [onnx.helper.make_tensor_value_info(name, 1, [1]) for name in ("images", "boxes")]
    graph = onnx.helper.make_graph([same], "other", value[:1], value[1:])
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)]), folder / "other.onnx"
    )
    with pytest.raises(ValueError, match="was not written by pagoda export: its metadata lack names"):
        open_engine(folder / "other.onnx")


@with_marks
def test_half_of_a_pair_is_refused(folder):
    (folder / "half.xml").write_text("<net/>")
    with pytest.raises(FileNotFoundError, match=r"half\.bin, which is not beside it"):
        open_engine(folder / "half.xml")


def test_a_missing_package_names_its_extra(folder, monkeypatch):
    from pagoda.exporting import engines

    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'pagoda-vision\[openvino\]'"):
        open_engine(folder / "model.xml")
