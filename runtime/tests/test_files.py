"""Files are opened, used and refused; nothing of PyTorch, scipy or Pagoda is imported."""

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

import pagoda_runtime
from pagoda_runtime import ModelFileError, PictureError, backends
from pagoda_runtime.command import main

pytestmark = pytest.mark.medium

onnx = pytest.importorskip("onnx")
SOURCE = Path(pagoda_runtime.__file__).parents[1]
METADATA = {
    "pagoda_version": "0.1.0",
    "model": "drawn",
    "names": json.dumps(["cat", "dog"]),
    "category_ids": json.dumps([17, 18]),
    "input_spec": json.dumps({"short_side": 40, "long_side": 80, "std": [1, 1, 1], "scale": 255.0}),
    "postprocess": json.dumps({"min_score": 0.05}),
}
FOUND = {
    "boxes": np.array([[[0, 0, 20, 20], [30, 10, 60, 39], [5, 5, 9, 9], [0, 0, 0, 0]]], np.float32),
    "scores": np.array([[0.9, 0.4, 0.2, 0]], np.float32),
    "labels": np.array([[0, 1, 1, -1]], np.int64),
}


MORE = {
    "masks": np.zeros((1, 4, 40, 80), bool),
    "keypoints": np.array(
        [[[[5, 6], [7, 8]], [[40, 20], [50, 30]], [[6, 6], [8, 8]], [[0, 0], [0, 0]]]], np.float32
    ),
    "keypoint_scores": np.array([[[0.5, 0.6], [0.7, 0.8], [0.1, 0.2], [0, 0]]], np.float32),
}
MORE["masks"][0, 1, 10:39, 30:60] = True
SKELETON = {"names": ["head", "tail"], "edges": [[0, 1]], "sigmas": [0.1, 0.2], "flip_pairs": None}


def write(
    path: Path,
    metadata: dict[str, str],
    *,
    sides: tuple = ("height", "width"),
    batch: str | int = "batch",
    found: dict[str, np.ndarray] = FOUND,
) -> Path:
    """A file that finds the same in every picture."""
    helper = onnx.helper
    number = onnx.numpy_helper.from_array
    nodes = [helper.make_node("Shape", ["images"], ["count"], start=0, end=1)]
    for name, value in found.items():
        ones = number(np.ones(value.ndim - 1, np.int64))
        nodes += [
            helper.make_node("Constant", [], [f"{name}_of_one"], value=number(value)),
            helper.make_node("Constant", [], [f"{name}_ones"], value=ones),
            helper.make_node("Concat", ["count", f"{name}_ones"], [f"{name}_times"], axis=0),
            helper.make_node("Tile", [f"{name}_of_one", f"{name}_times"], [name]),
        ]
    images = helper.make_tensor_value_info("images", onnx.TensorProto.UINT8, [batch, 3, *sides])
    outputs = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(value.dtype), [batch, *value.shape[1:]]
        )
        for name, value in found.items()
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "drawn", [images], outputs),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    helper.set_model_props(model, metadata)
    onnx.save(model, str(path))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "model.onnx", METADATA)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """As large as twice what the network sees."""
    Image.new("RGB", (160, 80), (9, 99, 200)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_objects_are_in_pixels_of_the_picture(file, picture):
    model = pagoda_runtime.load(file, threads=1)
    found = model.predict(picture)
    np.testing.assert_allclose(found.boxes, FOUND["boxes"][0, :3] * 2)
    assert (
        found.names == ["cat", "dog", "dog"] and found.file == str(picture) and found.image_size == (80, 160)
    )
    assert found.boxes.dtype == found.scores.dtype == np.float32 and found.labels.dtype == np.int64
    assert found.picture.shape == (80, 160, 3) and "drawn of 2 classes, ONNX Runtime" in repr(model)
    assert len(model.predict(Image.open(picture), min_score=0.4)) == 2
    several = model.predict([picture, np.zeros((80, 160, 3), np.uint8)])
    assert [each.file for each in several] == [str(picture), None]


def test_many_pictures_are_looked_at_in_groups_of_one_size(file, tmp_path, monkeypatch):
    model = pagoda_runtime.load(file)
    run, together = model._opened.run, []

    def counted(*given: np.ndarray) -> dict[str, np.ndarray]:
        together.append(len(given[0]))
        return run(*given)

    monkeypatch.setattr(model, "_opened", replace(model._opened, run=counted))
    small, flat = np.zeros((80, 160, 3), np.uint8), np.zeros((40, 160, 3), np.uint8)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"nothing")
    found = list(model.predict_each([*[small] * 10, flat, broken, flat, *[small] * 2]))
    assert together == [8, 2, 1, 1, 2]
    assert [isinstance(each, PictureError) for each in found] == [number == 11 for number in range(15)]
    assert "broken.jpg" in str(found[11])
    assert [each.image_size[0] for each in found if isinstance(each, pagoda_runtime.Detections)] == [
        *[80] * 10, 40, 40, 80, 80,
    ]  # fmt: skip
    with pytest.raises(PictureError, match=r"broken\.jpg"):
        model.predict([small, broken, small])
    with pytest.raises(ValueError, match="min_score must be within"):
        model.predict_each([small], min_score=2.0)  # before anything is read
    together.clear()
    large = np.zeros((3000, 1000, 3), np.uint8)  # which would take much memory
    assert len(model.predict(iter([large, large]))) == 2 and together == [1, 1]


def test_pictures_in_memory_may_be_others_by_the_next(file, picture, tmp_path):
    """A camera's buffer and the frames of an animation are one object, which changes."""
    model = pagoda_runtime.load(file)

    def camera():
        buffer = np.zeros((80, 160, 3), np.uint8)
        for number in range(12):
            buffer[:] = number
            yield buffer

    seen = [found.picture[0, 0, 0] for found in model.predict_each(camera())]
    assert seen == list(range(12))
    frames = [Image.new("L", (16, 8), 20 * number) for number in range(9)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    shown = model.predict(ImageSequence.Iterator(Image.open(tmp_path / "a.gif")))
    assert [found.picture[0, 0, 0] for found in shown] == [20 * number for number in range(9)]
    opened = Image.open(picture)
    assert len(model.predict([opened] * 12)) == 12


def test_what_comes_before_a_failure_is_told(file, picture):
    model = pagoda_runtime.load(file)

    def source():
        yield from [picture, picture, np.zeros((80, 160, 3), np.uint8)]
        raise RuntimeError("the cable is out")

    found = []
    with pytest.raises(RuntimeError, match="cable"):
        found.extend(model.predict_each(source()))
    assert len(found) == 3
    with pytest.raises(TypeError):
        found.extend(model.predict_each([picture, picture, 7, picture]))
    assert len(found) == 5


def test_a_file_of_one_picture_is_given_one_at_a_time(tmp_path, picture):
    model = pagoda_runtime.load(write(tmp_path / "one.onnx", METADATA, batch=1))
    assert [len(each) for each in model.predict([picture] * 3)] == [3, 3, 3]


def test_masks_and_keypoints_come_to_the_picture(tmp_path, picture):
    said = METADATA | {"skeleton": json.dumps(SKELETON)}
    model = pagoda_runtime.load(write(tmp_path / "shapes.onnx", said, found=FOUND | MORE))
    found = model.predict(picture)
    assert found.masks.shape == (3, 80, 160) and found.masks.dtype == bool
    assert found.masks[1, 20:78, 60:120].all() and found.masks.sum() == 58 * 60
    np.testing.assert_allclose(found.keypoints, MORE["keypoints"][0, :3] * 2)
    np.testing.assert_array_equal(found.keypoint_scores, MORE["keypoint_scores"][0, :3])
    assert found.label_map.skeleton.names == ("head", "tail") and found.label_map.skeleton.flip_pairs is None
    cat, dog, _ = found.to_dict()["objects"]
    assert dog["keypoints"] == [80, 40, pytest.approx(0.7), 100, 60, pytest.approx(0.8)]
    assert dog["segmentation"]["size"] == [80, 160] and cat["segmentation"]["counts"] == "P`<"


THRESHOLDS = {"scores": {"dog": 0.4}, "kind": "best_f1", "split": "val", "precision": None, "otherwise": 0.95}


def test_each_class_is_kept_from_its_own_score_on(tmp_path, picture, capsys):
    model = pagoda_runtime.load(
        write(tmp_path / "cut.onnx", METADATA | {"thresholds": json.dumps(THRESHOLDS)})
    )
    assert model.predict(picture, min_score="card").names == ["dog"]  # .4 is kept; the cat of .9 is below .95
    assert [len(each) for each in model.predict([picture, picture], min_score="card")] == [1, 1]
    frames = list(model.track([picture] * 3, min_score="card"))
    assert [each.names for each in frames] == [["dog"]] * 3
    assert main(["predict", str(tmp_path / "cut.onnx"), str(picture), "--min-score", "card"]) == 0
    said = capsys.readouterr()
    assert [each["name"] for each in json.loads(said.out)["objects"]] == ["dog"]
    assert "dog 0.400" in said.err
    with pytest.raises(ValueError, match="min_score must be a number, None or 'card', got 'crad'"):
        model.predict(picture, min_score="crad")


def test_a_file_without_thresholds_says_what_puts_some_there(file, picture, capsys):
    with pytest.raises(
        ValueError, match="holds no thresholds; pagoda val MODEL --data DIR --save-thresholds"
    ):
        pagoda_runtime.load(file).predict(picture, min_score="card")
    assert main(["predict", str(file), str(picture), "--min-score", "card"]) == 2
    assert "--save-thresholds" in capsys.readouterr().err


def test_thresholds_below_what_the_file_gives_are_told(tmp_path, picture):
    low = THRESHOLDS | {"scores": {"cat": 0.01, "dog": 0.4}}
    model = pagoda_runtime.load(write(tmp_path / "low.onnx", METADATA | {"thresholds": json.dumps(low)}))
    with pytest.warns(UserWarning, match=r"no objects below 0\.05, and the thresholds of cat are lower"):
        assert model.predict(picture, min_score="card").names == ["cat", "dog"]


@pytest.mark.parametrize(
    "wrong",
    [[], {}, {"scores": {"fox": 0.5}}, {"scores": {"cat": "x"}}, {"scores": {"cat": 2}}, {"scores": {}}],
)
def test_thresholds_that_are_none_are_refused(tmp_path, wrong):
    with pytest.raises(ModelFileError, match=r"wrong\.onnx: thresholds"):
        pagoda_runtime.load(write(tmp_path / "wrong.onnx", METADATA | {"thresholds": json.dumps(wrong)}))


def pasting(path: Path, **limits: object) -> Path:
    """A file that says what is inside each box, and whose own masks nobody can compute."""
    inside = np.zeros((1, 4, 4, 4), np.float32)
    inside[0, :3, 1:3] = 0.6
    said = METADATA | {"postprocess": json.dumps({"min_score": 0.05, **limits})}
    write(path, said, found=FOUND | {"mask_probabilities": inside})
    model = onnx.load(str(path))
    shape = onnx.numpy_helper.from_array(np.array([7, 11, 13, 17]), "impossible")
    model.graph.initializer.append(shape)
    model.graph.node.append(onnx.helper.make_node("Reshape", ["images", "impossible"], ["masks"]))
    masks = onnx.helper.make_tensor_value_info("masks", onnx.TensorProto.UINT8, [7, 11, 13, 17])
    model.graph.output.insert(3, masks)
    onnx.save(model, str(path))
    return path


def test_masks_are_pasted_at_the_size_of_the_picture_and_the_graphs_are_not_asked_for(tmp_path, picture):
    found = pagoda_runtime.load(pasting(tmp_path / "inside.onnx")).predict(picture)
    assert found.masks.shape == (3, 80, 160) and found.mask_crops.shape == (3, 4, 4)
    # Of the box 0 … 40 rows of cells around 15 and 25 have 0.6, falling to 0 within ten pixels: half at 13.3 and 26.7.
    rows, columns = np.flatnonzero(found.masks[0].any(1)), np.flatnonzero(found.masks[0].any(0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (13, 26, 3, 36)
    strict = pagoda_runtime.load(pasting(tmp_path / "strict.onnx", min_mask_probability=0.7)).predict(picture)
    assert not strict.masks.any() and strict.masks.shape == (3, 80, 160)
    assert len(pagoda_runtime.load(tmp_path / "inside.onnx").predict(picture, min_score=0.5).masks) == 1
    with pytest.raises(ModelFileError, match=r"pastes masks by the rule 'glue'.*install a newer one"):
        pagoda_runtime.load(pasting(tmp_path / "newer.onnx", paste="glue"))


def test_a_threshold_below_the_files_is_refused(file, picture):
    model = pagoda_runtime.load(file)
    for wrong in (0.01, 1.5):
        with pytest.raises(
            ValueError, match=rf"within 0.05, which is built into the file, and 1, got {wrong}"
        ):
            model.predict(picture, min_score=wrong)


def test_frames_are_tracked(file, picture):
    model = pagoda_runtime.load(file)
    for tracker in ("byte", "ocsort", pagoda_runtime.ByteTracker(min_score=0.3)):
        frames = list(model.track([picture] * 3, tracker=tracker))
        assert frames[-1].track_ids.tolist()[0] == 1 and frames[0].file == str(picture)
    assert frames[-1].track_ids.tolist() == [1, 2, -1]
    with pytest.raises(ValueError, match="tracker must be one of byte, ocsort"):
        next(model.track([picture], tracker="bite"))


def test_files_that_cannot_be_used_say_why(tmp_path):
    foreign = write(tmp_path / "foreign.onnx", {})
    some = {name: FOUND[name] for name in ("scores", "labels")}
    raw = write(tmp_path / "raw.onnx", METADATA, found=some)
    newer = write(tmp_path / "newer.onnx", METADATA | {"input_spec": json.dumps({"tiles": 4})})
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"nothing")
    for path, error, said in (
        (foreign, ModelFileError, "another program has written it; write one with `pagoda export"),
        (raw, ModelFileError, "expected outputs boxes, scores and labels, but .* gives scores, labels"),
        (newer, ModelFileError, "tiles, of which this pagoda-runtime knows nothing"),
        (broken, ModelFileError, "ONNX Runtime cannot open"),
        (tmp_path / "none.onnx", FileNotFoundError, "expected a model's file, but there is no"),
        (tmp_path / "best.safetensors", ModelFileError, r"ends in \.onnx or \.xml .*got .*best\.safetensors"),
    ):
        with pytest.raises(error, match=said) as caught:
            pagoda_runtime.load(path)
        assert path.name in str(caught.value)


def test_threads_and_providers_are_checked(file):
    with pytest.raises(ValueError, match=r"threads must be at least 1.*got 0"):
        pagoda_runtime.load(file, threads=0)
    with pytest.raises(ValueError, match=r"no provider Abacus; expected some of .*CPUExecutionProvider"):
        pagoda_runtime.load(file, providers=["Abacus"])


def test_a_file_of_one_size_says_so(tmp_path, picture):
    model = pagoda_runtime.load(write(tmp_path / "fixed.onnx", METADATA, sides=(40, 60)))
    with pytest.raises(ValueError, match=r"one of \(80, 160\) is resized to \(1, 3, 40, 80\)"):
        model.predict(picture)
    assert len(model.predict(np.zeros((80, 120, 3), np.uint8))) == 3


def test_openvino_is_named_with_its_extra(tmp_path, monkeypatch):
    (tmp_path / "model.xml").write_text("<net/>")
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"needs OpenVINO.*pagoda-runtime\[openvino\]"):
        pagoda_runtime.load(tmp_path / "model.xml")


def test_openvino_files_say_the_same(picture, tmp_path):
    openvino = pytest.importorskip("openvino")
    inside = np.full((1, 4, 4, 4), 0.6, np.float32)
    more = {name: MORE[name] for name in ("masks",)} | {"mask_probabilities": inside}
    file = write(tmp_path / "model.onnx", METADATA, found=FOUND | more)
    network = openvino.convert_model(str(file))
    foreign = tmp_path / "foreign.xml"
    openvino.save_model(network, str(foreign))
    with pytest.raises(ModelFileError, match="another program has written it"):
        pagoda_runtime.load(foreign)
    for key, value in METADATA.items():
        network.set_rt_info(value, ["pagoda", key])
    openvino.save_model(network, str(tmp_path / "model.xml"), compress_to_fp16=False)
    model = pagoda_runtime.load(tmp_path / "model.xml", threads=1)
    assert model.engine.startswith("OpenVINO")
    assert "masks" not in model._opened.outputs and model.predict(picture).masks[0, 5:35, 5:35].all()
    assert model.predict(picture).to_dict() == pagoda_runtime.load(file).predict(picture).to_dict()


def test_the_command_writes_a_line_for_each_picture(file, picture, tmp_path, capsys):
    out = tmp_path / "found.json"
    assert (
        main(["predict", str(file), str(picture), str(picture), "--min-score", "0.05", "--out", str(out)])
        == 0
    )
    expected = pagoda_runtime.load(file).predict(picture).to_dict()
    assert [json.loads(line) for line in out.read_text().splitlines()] == [expected] * 2
    assert main(["predict", str(file), str(tmp_path / "none.png"), str(picture)]) == 1
    said = capsys.readouterr()
    assert [entry["score"] > 0.3 for entry in json.loads(said.out)["objects"]] == [True, True]
    assert "skipped: cannot read" in said.err and "no such file" in said.err
    assert main(["predict", str(file), str(picture), "--out", str(out)]) == 2
    assert "found.json exists; choose another name" in capsys.readouterr().err
    assert main(["predict", str(tmp_path / "none.onnx"), str(picture)]) == 2
    assert "there is no" in capsys.readouterr().err


def in_another_process(tmp_path: Path, script: str, *arguments: str | Path) -> str:
    """What a script says that runs with the runtime alone on its path."""
    (tmp_path / "script.py").write_text(textwrap.dedent(script), encoding="utf-8")
    command = [sys.executable, str(tmp_path / "script.py"), str(SOURCE), *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


ALONE = """
    import sys

    class Refuse:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in {"torch", "torchvision", "scipy", "pagoda", "cv2", "onnx"}:
                raise ImportError(f"{name} is not to be imported")

    sys.meta_path.insert(0, Refuse())
    sys.path = [sys.argv[1], *(each for each in sys.path if not each.endswith("src"))]
    before = set(sys.modules)
    import pagoda_runtime
    model = pagoda_runtime.load(sys.argv[2])
    found = list(model.track([sys.argv[3]] * 2, tracker="ocsort"))
    assert len(found[1]) == 3, found
    packages = {name.partition(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)
    print(*sorted(packages - {"pagoda_runtime"}))
"""


def test_fewer_than_ten_packages_are_imported_and_none_of_torch(
    file: Path, picture: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    packages = in_another_process(tmp_path, ALONE, file, picture).split()
    record_property("packages", packages)
    assert {"PIL", "numpy", "onnxruntime"} <= set(packages) and len(packages) < 10


def test_a_folder_is_told(file, tmp_path, capsys):
    assert main(["predict", str(file), str(tmp_path)]) == 1
    assert f"it is a folder; name the pictures in it ({tmp_path}/*)" in capsys.readouterr().err


def test_who_has_read_enough_is_no_error(file, picture):
    command = [sys.executable, "-m", "pagoda_runtime", "predict", str(file), *[str(picture)] * 40]
    where = {**os.environ, "PYTHONPATH": str(SOURCE)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=where) as process:
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 141 and said == b""
