"""Balancing, pasting and mixing in whole runs: refused before anything is written, resumed to the same bits."""

import pytest
import torch

from pagoda.cli.main import main
from pagoda.data.augment.mixing import CopyPaste, Mixup, PasteSources
from pagoda.data.augment.transforms import Mosaic
from pagoda.data.dataset import DetectionDataset
from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.saving import write_coco_folder
from pagoda.models import create_model
from pagoda.recipes.augmentation import training_transform
from pagoda.recipes.training_run import resume, train, train_on
from pagoda.stopping import Stopped
from pagoda.training.loop import Trainer
from pagoda.training.settings import AugmentSettings, TrainSettings
from pagoda.weights.files import load_weights

TINY = {"base_channels": 8, "width": 8, "norm_groups": 4, "head_depth": 1, "short_side": 64, "long_side": 64}
MIXED = AugmentSettings(copy_paste=0.7, copy_paste_rare=True, copy_paste_count=3, mixup=0.3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("shapes")
    for split, seed, count in (("train", 1, 14), ("val", 2, 3)):
        write_coco_folder(DrawnShapes(count, (64, 64), seed=seed, empty_share=0.3), path, split=split)
    return path


def settings(folder, out, **changes):
    usual = {"epochs": 2, "batch_size": 4, "device": "cpu", "precision": "fp32", "val_every": 2, "seed": 3}
    return TrainSettings(data=str(folder), out=str(out), save_seconds=0.0, **{**usual, **changes})


def code_of(arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    return caught.value.code


@pytest.mark.slow
@pytest.mark.parametrize("balance", ["repeat-factor", "class"])
def test_a_balanced_run_that_was_stopped_ends_in_the_same_bits(folder, tmp_path, monkeypatch, balance):
    given = settings(
        folder,
        tmp_path,
        balance=balance,
        augment=MIXED,
        **({"balance_threshold": 0.9} if "f" in balance else {}),
    )
    whole = train("fcos_resnet18_fpn", given, options=TINY, quiet=True)
    learn, batches = Trainer._learn, []

    def stop_at_the_sixth(trainer, batch):
        if len(batches) == 5:  # in the second epoch
            raise KeyboardInterrupt
        batches.append(batch.draws)
        learn(trainer, batch)

    monkeypatch.setattr(Trainer, "_learn", stop_at_the_sixth)
    with pytest.raises(Stopped):
        train("fcos_resnet18_fpn", given, options=TINY, quiet=True)
    monkeypatch.setattr(Trainer, "_learn", learn)
    stopped = next(path for path in tmp_path.iterdir() if path != whole.folder)
    again = resume(stopped, quiet=True)
    ours, theirs = again.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert load_weights(stopped / "best.safetensors")[0].keys() == theirs.keys()


@pytest.mark.slow
def test_steps_are_as_many_and_what_is_balanced_is_told(folder, tmp_path, capsys):
    flags = [
        "--epochs",
        "1",
        "--batch-size",
        "4",
        "--precision",
        "fp32",
        "--out",
        str(tmp_path),
        "--device",
        "cpu",
    ]
    model = ["--model.width", "8", "--model.short-side", "64", "--model.long-side", "64"]
    command = ["train", "fcos_resnet18_fpn", "--data", str(folder), *flags, *model]
    assert code_of([*command, "--balance", "class", "--json"]) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert "balanced, objects per epoch:" in told and "14 pictures are drawn, as without" in told
    steps = [
        line
        for line in (tmp_path / "fcos_resnet18_fpn-1/metrics.jsonl").read_text().splitlines()
        if '"step",' in line
    ]
    assert len(steps) == 4
    assert code_of(["train", "--resume", str(tmp_path / "fcos_resnet18_fpn-1"), "--balance", "none"]) != 0
    assert "balance (the run has 'class', not 'none')" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--balance", "repeat_factor"], "invalid choice 'repeat_factor'"),
        (
            ["--balance-threshold", "0.5"],
            "balance_threshold=0.5 is for balance=repeat-factor, and balance is none",
        ),
        (
            ["--balance", "repeat-factor", "--balance-threshold", "2"],
            "balance_threshold must be at most 1, got 2.0",
        ),
        (["--augment.copy-paste", "1.5"], "copy_paste must be at most 1, got 1.5"),
        (["--augment.copy-paste-count", "0"], "copy_paste_count must be at least 1, got 0"),
        (["--augment.copy-paste-rare"], "nothing is pasted that copy_paste_rare could choose"),
        (
            ["--augment.copy-paste", "0.5", "--augment.copy-paste-classes", "squares"],
            "nothing can be pasted of class 'squares'",
        ),
    ],
)
def test_what_people_may_do_wrong_is_refused_before_anything_is_made(folder, tmp_path, capsys, flags, said):
    model = ["--model.width", "8", "--device", "cpu", "--precision", "fp32"]
    command = ["train", "fcos_resnet18_fpn", "--data", str(folder), "--out", str(tmp_path / "runs"), *model]
    assert code_of([*command, *flags]) != 0
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "runs").exists()


def test_nothing_to_paste_of_a_class_without_objects(tmp_path):
    shapes = DrawnShapes(4, (64, 64), seed=1, classes=("circle", "square"))
    empty = next(k for k in range(4) if set(shapes.targets(k).labels.tolist()) <= {0})
    table = shapes.annotations.subset([empty])
    names = table.label_map.names
    absent = names[1]
    with pytest.raises(
        ValueError, match=f"no object of {absent} of .* can be learnt, so there is nothing to paste"
    ):
        PasteSources.of(table, classes=[absent])


def test_masks_are_read_for_pasting_only():
    shapes = DrawnShapes(4, (64, 64), seed=1)
    data = DetectionDataset(shapes.annotations)
    model = create_model("fcos_resnet18_fpn", label_map=shapes.label_map, **TINY)
    given = AugmentSettings(mosaic=0.1, copy_paste=0.5, mixup=0.1)
    steps = {type(step): step for step in training_transform(model, data, given).transforms}
    has_masks = [steps[kind].dataset.annotations.masks is not None for kind in (CopyPaste, Mixup, Mosaic)]
    assert has_masks == [True, False, False]
    masks = create_model(
        "mask_rcnn_resnet18_fpn", label_map=shapes.label_map, width=16, short_side=64, long_side=64
    )
    steps = {type(step): step for step in training_transform(masks, data, given).transforms}
    assert steps[CopyPaste].carry.masks and steps[Mixup].dataset.annotations.masks is not None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mask_rcnn_resnet18_fpn", "keypoint_rcnn_resnet18_fpn"])
def test_masks_and_keypoints_are_learnt_from_mixed_pictures(tmp_path, name):
    shapes, val = (DrawnShapes(count, (64, 64), seed=count) for count in (6, 2))
    options = {"width": 16, "short_side": 64, "long_side": 64}
    model = create_model(name, label_map=shapes.label_map, **options)
    always = AugmentSettings(copy_paste=1.0, mixup=1.0, vertical_flip=0.5)
    given = settings("drawn", tmp_path, epochs=1, balance="class", augment=always)
    result = train_on(model, shapes, val, given, quiet=True)
    assert all(torch.isfinite(value).all() for value in result.model.state_dict().values())


def test_what_is_stretched_is_learnt_from_stretched():
    shapes = DrawnShapes(2, (40, 80), seed=1)
    model = create_model("yolov1_resnet18", num_classes=3, width=8, head_depth=1, canvas=(64, 64))
    steps = training_transform(
        model, shapes, AugmentSettings(scale_range=(1, 1), horizontal_flip=0)
    ).transforms
    assert [type(step).__name__ for step in steps] == ["Carry", "ScaleJitter"]
    picture, before = shapes[0]
    targets = before
    for step in steps:
        picture, targets = step(picture, targets)
    assert picture.shape == (3, 64, 64)
    torch.testing.assert_close(targets.boxes, before.boxes * torch.tensor([0.8, 1.6] * 2))
    assert torch.equal(picture, model.input_spec.resize(shapes[0][0]))
