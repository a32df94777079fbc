"""The command line as a person uses it: one small project from data to ONNX, and what mistakes say."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import pagoda
from pagoda.cli.main import MODULES, SPINS, VERBS, main
from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.saving import write_coco_folder
from pagoda.models import list_models
from pagoda.training.last import load_last
from pagoda.training.optim import rate_factor
from pagoda.training.settings import OptimSettings

SMALL = [
    "--model.width",
    "32",
    "--model.head-depth",
    "1",
    "--model.base-channels",
    "16",
    "--model.short-side",
    "64",
    "--model.long-side",
    "64",
]
DETECTOR = """
from pagoda.backbones.resnet import ResNet
from pagoda.detectors.fcos import FCOS
from pagoda.heads.dense import DenseHead
from pagoda.necks.fpn import FPN
from pagoda.preprocess import InputSpec


def small_fcos(num_classes: int) -> FCOS:
    backbone = ResNet(18, levels=(3,))
    neck = FPN(backbone.channels, out_channels=32, top_level=3)
    return FCOS(
        backbone,
        neck,
        class_head=DenseHead(neck.channels, outputs=num_classes, depth=1),
        box_head=DenseHead(neck.channels, outputs=5, depth=1),
        input_spec=InputSpec(short_side=64, long_side=64),
    )
"""


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as exit_code:
        main([str(word) for word in words])
    return exit_code.value.code


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with data/ (drawn, COCO layout) and one finished run."""
    folder = tmp_path_factory.mktemp("project")
    for split, count, seed in (("train", 16, 1), ("val", 6, 2)):
        write_coco_folder(DrawnShapes(count, image_size=(64, 64), seed=seed), folder / "data", split=split)
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert (
            run("train", "fcos_resnet18_fpn", "--data", "data", "--epochs", "2", "--batch-size=4", *SMALL)
            == 0
        )
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def in_project(project, monkeypatch):
    monkeypatch.chdir(project)
    return project


CHECKPOINT = "runs/fcos_resnet18_fpn-1/best.safetensors"
medium = pytest.mark.medium


@medium
def test_a_run_leaves_everything(in_project):
    left = {path.name for path in Path("runs/fcos_resnet18_fpn-1").iterdir()}
    assert {"config.yaml", "metrics.jsonl", "best.safetensors", "last", "report.html", "tensorboard"} <= left
    assert "AP50" in Path("runs/fcos_resnet18_fpn-1/report.html").read_text()


@medium
def test_a_second_run_gets_its_own_folder_and_a_config_is_read_back(in_project, capsys):
    config = "runs/fcos_resnet18_fpn-1/config.yaml"
    assert run("train", "--config", config, "--epochs=1", "optim.learning_rate=0.002", "--print-config") == 0
    printed = capsys.readouterr().out
    assert "epochs: 1" in printed and "learning_rate: 0.002" in printed and "width: 32" in printed
    assert run("train", "--config", config, "--epochs=1", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["run"] == "runs/fcos_resnet18_fpn-2" and "AP" in found["metrics"]


@medium
def test_resuming_a_finished_run_scores_it_again(in_project, capsys):
    assert run("train", "--resume", "runs/fcos_resnet18_fpn-1", "--json") == 0
    assert json.loads(capsys.readouterr().out)["run"] == "runs/fcos_resnet18_fpn-1"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--batch-size", "2"], "batch_size (the run has 4, not 2)"),
        (["--optim.learning-rate", "0.1"], "optim.learning_rate (the run has 0.002, not 0.1)"),
        (["--augment.scale-range", "1", "1"], "augment.scale_range (the run has [0.8, 1.25], not [1.0, 1.0])"),
        (["--model.width", "64"], "model.width (the run has 32, not 64)"),
        (["--precision", "bf16"], "precision (the run has 'fp32', not 'bf16')"),
        (["--seed=3", "--name", "a"], "seed (the run has 0, not 3), name (the run has '', not 'a')"),
        (["--recipe", "rcnn_small"], "recipe (the run has '', not 'rcnn_small')"),
        (["retinanet_resnet18_fpn"], "architecture (the run has 'fcos_resnet18_fpn', not 'retinanet_resnet18_fpn')"),
        (["--epochs", "1"], "has done 2 epochs, so it cannot end after 1: say epochs=2 or more"),
    ],
)  # fmt: skip
@medium
def test_a_run_that_goes_on_refuses_by_name_what_cannot_change(flags, said, in_project, capsys):
    run_folder = Path("runs/fcos_resnet18_fpn-1")
    before = (run_folder / "config.yaml").read_text()
    assert run("train", "--resume", str(run_folder), *flags) == 1
    words = " ".join(capsys.readouterr().err.split())
    assert said in words
    assert (run_folder / "config.yaml").read_text() == before


@medium
def test_a_finished_run_goes_on_to_more_epochs(in_project, capsys, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree("runs/fcos_resnet18_fpn-1", copy)
    assert (
        run("train", "--resume", str(copy), "--batch-size", "4") == 0
    )  # what it has already, and nothing to do
    assert "no epoch is left of 2; --epochs 3 or more goes on" in " ".join(capsys.readouterr().err.split())
    before = load_last(copy)["at"]["step"]
    assert run("train", "--resume", str(copy), "--epochs", "3", "--val-every", "2", "--json") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert f"epochs 2 → 3: from step {before} on the learning rate follows the cosine schedule of 3" in said
    rows = [json.loads(line) for line in (copy / "metrics.jsonl").read_text().splitlines()]
    rates = {row["step"]: row["lr"] for row in rows if row["kind"] == "step"}
    assert list(rates) == list(range(1, before * 3 // 2 + 1))
    optim = OptimSettings()
    expected = optim.learning_rate * rate_factor(before, before * 3 // 2, optim)
    assert rates[before + 1] == pytest.approx(expected)
    settings = yaml.safe_load((copy / "config.yaml").read_text())["train"]
    assert settings["epochs"] == 3 and settings["val_every"] == 2


@medium
def test_a_run_goes_on_in_python(in_project, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree("runs/fcos_resnet18_fpn-1", copy)
    with pytest.raises(ValueError, match=r"optim.learning_rate \(the run has 0.002, not 0.1\)"):
        pagoda.train(resume=copy, optim={"learning_rate": 0.1}, quiet=True)
    with pytest.raises(ValueError, match="unknown setting 'epoch'; did you mean 'epochs'"):
        pagoda.train(resume=copy, epoch=3)
    with pytest.raises(ValueError, match="has its model already"):
        pagoda.train("fcos_resnet18_fpn", resume=copy)
    with pytest.raises(ValueError, match="needs a model and the folder of its data, or resume="):
        pagoda.train("fcos_resnet18_fpn")
    result = pagoda.train(resume=copy, epochs=3, quiet=True)
    assert result.folder == copy and load_last(copy)["at"]["epoch"] == 3


@medium
def test_val_of_a_checkpoint_equals_val_of_its_results(in_project, capsys):
    assert run("val", CHECKPOINT, "--data", "data", "--json") == 0
    by_model = json.loads(capsys.readouterr().out)["metrics"]
    from pagoda.data.dataset import DetectionDataset
    from pagoda.data.formats.reader import open_annotations
    from pagoda.evaluation.runner import detect_dataset

    dataset = DetectionDataset(open_annotations("data", "val"))
    found = detect_dataset(pagoda.load(CHECKPOINT), dataset, batch_size=4)
    Path("results.json").write_text(json.dumps([row for one in found for row in one.to_coco()]))
    assert run("val", "--results", "results.json", "--data", "data", "--json") == 0
    by_file = json.loads(capsys.readouterr().out)["metrics"]
    assert by_file == pytest.approx(by_model, abs=1e-6, nan_ok=True)


@medium
def test_predict_skips_counts_and_lists_corrupt_pictures(in_project, capsys):
    Path("odd").mkdir(exist_ok=True)
    Image.fromarray(np.zeros((1, 1, 3), np.uint8)).save("odd/one.png")
    Path("odd/broken.jpg").write_bytes(b"\xff\xd8\xff not a picture")
    assert run("predict", CHECKPOINT, "data/images/val", "odd", "--out", "found", "--json") == 1
    captured = capsys.readouterr()
    rows = [json.loads(line) for line in captured.out.splitlines()]
    assert len(rows) == 7 and rows[-1]["image_size"] == [1, 1]
    assert "broken.jpg" in captured.err and "1 of 8 pictures" in captured.err
    written = json.loads(Path("found/predictions.json").read_text())
    assert len(written["predictions"]) == 7 and len(written["failed"]) == 1
    assert len(list(Path("found").glob("*.jpg"))) == 7
    run("predict", CHECKPOINT, "odd/one.png", "--out", "found")
    assert Path("found/predictions-2.json").is_file()  # nothing is overwritten


@medium
def test_predict_looks_at_several_views(in_project, capsys):
    picture = sorted(str(path) for path in Path("data/images/val").iterdir())[0]
    found = {}
    for views in ("none", "flip"):
        words = ("--min-score", "0", "--views", views, "--out", f"views-{views}", "--no-pictures", "--json")
        assert run("predict", CHECKPOINT, picture, *words) == 0
        found[views] = json.loads(capsys.readouterr().out)["objects"]
    assert found["none"] and found["flip"] and found["none"] != found["flip"]
    assert run("predict", CHECKPOINT, picture, "--views", "all") == 2
    assert "published" in capsys.readouterr().err


@pytest.mark.medium
def test_export_refuses_to_overwrite(in_project, capsys):
    Path("there.onnx").write_bytes(b"precious")
    assert run("export", CHECKPOINT, "there.onnx") == 1
    assert "there.onnx" in capsys.readouterr().err and Path("there.onnx").read_bytes() == b"precious"
    assert run("export", CHECKPOINT, "new.onnx", "--sliding") == 1
    assert "--sliding is for models of clips, and FCOS looks at single pictures" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model.pth"], "writes .onnx (ONNX) or .xml (OpenVINO), got 'model.pth'"),
        (["model.onnx", "--int8", "--calibrate", "d", "--data", "d"], "CHECKPOINT model.xml --int8"),
        (["model.xml", "--raw-heads"], "CHECKPOINT model.onnx --raw-heads"),
        (["model.xml", "--opset", "20"], "--opset: for ONNX files"),
        (["model.xml", "--int8"], "--int8 needs --calibrate and --data"),
        (["model.xml", "--calibrate", "d"], "--calibrate: for --int8 alone"),
        (["model.xml", "--int8", "--half", "--calibrate", "d", "--data", "d"], "--half and --int8"),
        (["model.onnx", "--raw-heads", "--min-score", "0.5"], "--min-score: raw heads select nothing"),
        (["model.onnx", "--raw-heads", "--sliding"], "--sliding goes without --raw-heads"),
    ],
)
def test_export_says_what_does_not_go_together(words, said, capsys):
    assert run("export", "nothing.pth", *words) == 2
    assert said in " ".join(capsys.readouterr().err.replace("│", " ").split())


@pytest.mark.medium
@pytest.mark.parametrize(
    ("names", "ignored", "said"),
    [
        (["ape", "bee", "cat"], 0, "unknown to the model: ape, bee, cat"),
        (["triangle", "circle", "square"], 1, "no object of"),
    ],
)
def test_data_that_cannot_judge_int8_are_told_before_it_is_made(
    names, ignored, said, in_project, tmp_path, capsys
):
    Image.new("RGB", (32, 32)).save(tmp_path / "1.png")
    document = {
        "images": [{"id": 1, "file_name": "1.png", "width": 32, "height": 32}],
        "categories": [{"id": number, "name": name} for number, name in enumerate(names, 1)],
        "annotations": [
            {"id": n, "image_id": 1, "category_id": n, "bbox": [2, 2, 9, 9], "area": 81, "iscrowd": ignored}
            for n in (1, 2, 3)
        ],
    }
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_val.json").write_text(json.dumps(document))
    words = ("--int8", "--calibrate", tmp_path, "--data", tmp_path)
    assert run("export", CHECKPOINT, "judged.xml", *words) == 1
    told = capsys.readouterr().err
    assert said in told and "calibrating" not in told and not Path("judged.xml").exists()


@pytest.mark.medium
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--opset", "7"], "opset must be 18 … 23 of ONNX, got 7"),
        (["--size", "0", "9"], "size must be (height, width)"),
    ],
)
def test_export_looks_at_numbers_before_it_begins(words, said, in_project, capsys):
    assert run("export", CHECKPOINT, "numbers.onnx", *words) != 0
    assert said in capsys.readouterr().err and not Path("numbers.onnx").exists()


@medium
@pytest.mark.slow
def test_a_composed_detector_trains_and_exports_with_the_same_commands(in_project, capsys):
    Path("small.py").write_text(DETECTOR)
    words = ["small.py:small_fcos", "--data", "data", "--epochs", "1", "--name", "mine"]
    assert run("train", *words) == 0
    assert run("val", "runs/mine-1/best.safetensors", "--data", "data") == 1
    assert "--model FILE.py:FUNCTION" in capsys.readouterr().err
    assert run("val", "runs/mine-1/best.safetensors", "--data", "data", "--model", "small.py:small_fcos") == 0
    assert run("train", "--resume", "runs/mine-1") == 1
    assert "pagoda train FILE.py:FUNCTION --resume RUN" in " ".join(capsys.readouterr().err.split())
    assert run("train", "small.py:small_fcos", "--resume", "runs/mine-1", "--json") == 0
    assert run("train", "--config", "runs/mine-1/config.yaml") == 1
    assert run("train", "small.py:small_fcos", "--config", "runs/mine-1/config.yaml", "--print-config") == 0
    assert run("info", "small.py:small_fcos", "--size", "64", "64") == 0
    words = ["--model", "small.py:small_fcos", "--pictures", "data/images/val", "--min-score", "0.01"]
    assert run("export", "runs/mine-1/best.safetensors", "mine.onnx", *words) == 0
    assert "agree" in capsys.readouterr().out and Path("mine.onnx").is_file()


@medium
def test_doctor_on_clean_data(in_project, capsys):
    assert run("doctor", "data", "--model", CHECKPOINT, "--json") == 0
    assert json.loads(capsys.readouterr().out)["coverage"] is not None


@pytest.mark.medium
def test_info_and_models_print_what_they_should(capsys):
    assert run("info", "fcos_resnet50_fpn", "--size", "200", "280") == 0
    printed = capsys.readouterr().out
    for expected in ("2048", "28×36", "4×5", "1,349"):
        assert expected in printed
    assert run("models", "--json") == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert list(rows) == list_models()
    fcos = rows["fcos_resnet50_fpn"]
    assert (fcos["parameters"], fcos["size"]) == (32_297_370, [800, 1333])
    assert fcos["published"]["ap"] > 37 and "mmdet" in fcos["programs"]
    assert run("models") == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in rows) and "fcos as other programs have it: .original" in printed


@pytest.mark.parametrize("module", ["pagoda", "pagoda.cli.main"])
def test_python_runs_the_package_as_the_command(module):
    words = [sys.executable, "-m", module, "--version"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("pagoda ") and not done.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb, capsys):
    assert run(verb, "--help") == 0
    assert "pagoda" in capsys.readouterr().out


BEHIND = [f"data {word}" for word in ("convert", "merge", "split", "subset", "tile")]
BEHIND += [f"track {word}" for word in ("compare", "eval", "link", "tune")]


@pytest.mark.parametrize("verb", [*(verb for verb in VERBS if verb not in MODULES), *BEHIND])
def test_help_has_examples_on_lines_of_their_own_and_arguments_by_name(verb, capfd):
    run(*verb.split(), "--help")
    said = capfd.readouterr().out
    assert "│ --" in said and "--no-no-" not in said and not re.search(r"│ \[?(STR|PATH)\b", said)
    examples = [line for line in said.splitlines() if line.startswith("$ ")]
    assert all(line.startswith(f"$ pagoda {verb.split()[0]}") for line in examples)
    assert all(line.count(f"pagoda {verb}") == 1 for line in examples)
    assert examples or verb == "replay"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["trian"], 2, "did you mean 'train'"),
        (["info", "fcos_resnet51_fpn"], 1, "did you mean 'fcos_resnet50_fpn'"),
        (["train", "fcos_resnet18_fpn", "--data", "nowhere"], 1, "nowhere"),
        (["train", "fcos_resnet18_fpn", "--data", "d", "--epohcs", "3"], 2, "--epochs"),
        (["train", "fcos_resnet18_fpn", "--data", "d", "--epochs", "0"], 2, "epochs must be at least 1"),
        (["train", "--resume", "nowhere"], 1, "config.yaml"),
        (["train", "--config", "flat.yaml"], 1, "unknown entries: epochs; known: model, options, train"),
        (["train", "--config", "word.yaml"], 1, "optimizer must be one of 'adamw', 'sgd', got 'SGD'"),
        (["train", "fcos_resnet18_fpn", "--data", "d", "--precision", "bfloat16"], 2, "bf16"),
        (
            ["train", "fcos_resnet18_fpn", "--data", "d", "--config", "list.yaml"],
            1,
            "holds no settings by name",
        ),
        (["train", "fcos_resnet18_fpn", "--data", "d", "--config", "words.toml"], 1, "'epochs = 3'"),
        (["train", "fcos_resnet18_fpn", "--data", "d", "--config", "none.yaml"], 1, "there is no folder d"),
        (
            ["train", "fcos_resnet18_fpn", "--data", "d", "--device", "gpu"],
            1,
            "device must be auto or one of",
        ),
        (["train", "fcos_resnet18_fpn", "--data", "d", "--device", "cuda:99"], 1, "got 'cuda:99'"),
        (
            ["train", "fcos_resnet18_fpn", "--data", "d", "--optim.milestones", "8", "11"],
            2,
            "shares of the run",
        ),
        (["track", "link", "det.txt"], 1, "say --image-size HEIGHT WIDTH"),
        (["val", "nowhere.safetensors", "--data", "."], 1, "."),
        (["val", "--data", "."], 1, "either a checkpoint or --results"),
        (["predict", "nowhere.safetensors", "nowhere.jpg"], 1, "nowhere.jpg"),
        (["info", "nowhere.py:f"], 1, "nowhere.py"),
        (["doctor", "nowhere"], 1, "nowhere"),
        (["replay", "nowhere.pt"], 1, "nowhere.pt"),
    ],
)
def test_mistakes_are_explained(words, code, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("flat.yaml").write_text("epochs: 40\ntrain: {data: d}\n")
    Path("list.yaml").write_text("- epochs: 3\n")
    Path("words.toml").write_text("epochs = 3\n")
    Path("none.yaml").write_text("---\n# nothing yet\n")
    Path("det.txt").write_text("1,-1,10,10,20,30,0.9,-1,-1,-1\n")
    Path("word.yaml").write_text("model: fcos_resnet18_fpn\ntrain: {data: d, optim: {optimizer: SGD}}\n")
    assert run(*words) == code
    assert said in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("given", "spins"),
    [({}, SPINS), ({"OMP_WAIT_POLICY": "ACTIVE"}, None), ({"GOMP_SPINCOUNT": "100"}, "100")],
    ids=str,
)
def test_waiting_threads_soon_sleep_unless_a_person_says_otherwise(given, spins, monkeypatch):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, "to be restored")
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert run("models", "--help") == 0
    assert os.environ.get("GOMP_SPINCOUNT") == spins
    assert os.environ.get("OMP_WAIT_POLICY") == given.get("OMP_WAIT_POLICY")


def test_how_threads_wait_is_said_before_torch_is_loaded():
    code = "import sys, pagoda.cli.main; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0


def test_an_error_is_one_line_however_long(capsys):
    nowhere = "/".join(["a folder of pictures"] * 9)
    assert run("doctor", nowhere) == 1
    assert nowhere in capsys.readouterr().err
