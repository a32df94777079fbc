"""Runs on tiles: what is learnt from and scored on, resumed to the same bits, refused before anything is written."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml

from pagoda.cli.main import main
from pagoda.data.dataset import DetectionDataset
from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.formats.reader import open_annotations
from pagoda.data.loading import Draw, TrainingView, collate
from pagoda.data.saving import write_coco_folder
from pagoda.data.tiled_dataset import TiledDataset
from pagoda.data.tiles import Tiling, cut_annotations
from pagoda.evaluation.coco.evaluator import DetectionEvaluator
from pagoda.evaluation.runner import evaluate
from pagoda.models import create_model
from pagoda.recipes.datasets import dataset_for, open_data
from pagoda.recipes.target_fields import lighten
from pagoda.recipes.training_run import resume, train, train_on
from pagoda.stopping import Stopped
from pagoda.structures.instances import Detections
from pagoda.training.batches import learnable_batch
from pagoda.training.loop import Trainer
from pagoda.training.settings import AugmentSettings, TrainSettings

TINY = {"base_channels": 8, "width": 8, "norm_groups": 4, "head_depth": 1, "short_side": 64, "long_side": 64}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("shapes")
    for split, seed, count in (("train", 1, 4), ("val", 2, 2)):
        shapes = DrawnShapes(count, (96, 160), seed=seed, max_objects=4, empty_share=0.3)
        write_coco_folder(shapes, path, split=split)
    return path


@pytest.fixture(scope="module")
def model():
    return create_model("fcos_resnet18_fpn", label_map=DrawnShapes(1).label_map, **TINY)


def settings(folder, out, **changes):
    usual = {
        "epochs": 2, "batch_size": 4, "device": "cpu", "precision": "fp32", "val_every": 2, "seed": 3, "tiles": 64,
    }  # fmt: skip
    return TrainSettings(data=str(folder), out=str(out), save_seconds=0.0, **{**usual, **changes})


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(folder, tmp_path, monkeypatch, workers):
    """Also with tiles of other pictures mixed in, and with processes that read."""
    given = settings(
        folder,
        tmp_path,
        tile_overlap=0.3,
        tile_empty=0.5,
        balance="class",
        augment=AugmentSettings(mosaic=0.4),
    )
    whole = train("fcos_resnet18_fpn", given, options=TINY, quiet=True)
    learn = Trainer._learn

    def stop_at_the_fourth(trainer, batch):
        learn(trainer, batch)
        if trainer.at.step == 4:
            trainer.stops.received = 2

    monkeypatch.setattr(Trainer, "_learn", stop_at_the_fourth)
    with pytest.raises(Stopped):
        train("fcos_resnet18_fpn", replace(given, workers=workers), options=TINY, quiet=True)
    monkeypatch.setattr(Trainer, "_learn", learn)
    stopped = next(path for path in tmp_path.iterdir() if path != whole.folder)
    again = resume(stopped, quiet=True)
    ours, theirs = again.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    np.testing.assert_equal(again.result.metrics, whole.result.metrics)
    with pytest.raises(ValueError, match=r"tiles \(the run has 64, not 32\)"):
        resume(stopped, changes={"tiles": 32}, quiet=True)


@pytest.mark.medium
def test_a_run_says_what_was_cut_and_keeps_it(folder, tmp_path, capsys):
    flags = [
        "--epochs",
        "1",
        "--batch-size",
        "8",
        "--precision",
        "fp32",
        "--device",
        "cpu",
        "--out",
        str(tmp_path),
    ]
    small = ["--model.width", "8", "--model.short-side", "64", "--model.long-side", "64"]
    tiled = ["--tiles", "64", "--tile-overlap", "0.3", "--tile-share", "0.6", "--tile-empty", "0"]
    command = ["train", "fcos_resnet18_fpn", "--data", str(folder), *flags, *small, *tiled, "--json"]
    with pytest.raises(SystemExit) as done:
        main(command)
    assert done.value.code == 0
    told = " ".join(capsys.readouterr().err.split())
    train_tiles = cut_annotations(
        open_annotations(folder, "train"), Tiling(size=64, overlap=0.3, min_share=0.6, empty_share=0)
    )
    val_tiles = cut_annotations(open_annotations(folder, "val"), Tiling(size=64, overlap=0.3, min_share=0.6))
    assert f"learning from tiles: {train_tiles.words()}" in told and "left out" in train_tiles.words()
    assert f"scoring on tiles: {val_tiles.words()}" in told
    assert (
        "the model sees a tile at 64×64 pixels; the AP of this run is of tiles, not of whole pictures" in told
    )
    run = tmp_path / "fcos_resnet18_fpn-1"
    kept = yaml.safe_load((run / "config.yaml").read_text())["train"]
    assert {name: kept[name] for name in ("tiles", "tile_overlap", "tile_share", "tile_empty")} == {
        "tiles": 64, "tile_overlap": 0.3, "tile_share": 0.6, "tile_empty": 0.0,
    }  # fmt: skip
    steps = [line for line in (run / "metrics.jsonl").read_text().splitlines() if '"step",' in line]
    assert len(steps) == -(-len(train_tiles) // 8)
    with pytest.raises(SystemExit):
        main(["train", "--config", str(run / "config.yaml"), "--print-config"])
    assert yaml.safe_load(capsys.readouterr().out)["train"] == kept
    with pytest.raises(SystemExit):
        main(["train", "--resume", str(run), "--tile-share", "0.2"])
    assert "tile_share (the run has 0.6, not 0.2)" in " ".join(capsys.readouterr().err.split())


def test_ignored_objects_are_never_learnt_from(folder, model):
    tiles = cut_annotations(open_annotations(folder, "train"), Tiling(size=48, min_share=0.9))
    assert tiles.counts.ignored > 3
    table = tiles.annotations.boxes_only()
    kept = ~table.ignored
    columns = ("boxes_xywh", "labels", "ignored", "areas", "annotation_ids")
    offsets = np.concatenate([[0], np.cumsum(kept)])[table.offsets]
    without = replace(table, offsets=offsets, **{name: getattr(table, name)[kept] for name in columns})
    losses = []
    for each in (table, without):
        view = TrainingView(TiledDataset(replace(tiles, annotations=each)))
        batch = collate([view[Draw(index, 0)] for index in range(0, len(tiles), 3)])
        pictures, targets = learnable_batch(model, batch)
        losses.append(
            {
                name: value.item()
                for name, value in model.losses(model.input_spec.batch(pictures), targets).items()
            }
        )
    assert losses[0] == losses[1]


def test_what_finds_an_ignored_part_is_neither_right_nor_wrong(folder, model):
    """Ignored parts found with the best scores of all cost nothing, and not finding them costs nothing either."""
    tiles = TiledDataset(cut_annotations(open_annotations(folder, "train"), Tiling(size=48, min_share=0.9)))
    table = tiles.annotations
    assert evaluate(model, tiles).num_objects == int((~table.ignored).sum()) < len(table.labels)
    for also_ignored in (False, True):
        evaluator = DetectionEvaluator(table.to_coco(), table.label_map)
        for index in range(len(tiles)):
            targets = tiles.targets(index)
            found = targets if also_ignored else targets.learnable()
            scores = torch.where(found.ignored, 0.9, 0.5)
            evaluator.update(
                Detections(
                    found.boxes,
                    scores,
                    found.labels,
                    found.image_size,
                    table.label_map,
                    image_id=targets.image_id,
                )
            )
        assert evaluator.result().metrics["AP"] == 1.0


def test_all_tiles_are_scored_on_and_a_light_twin_shares_what_was_read(folder, model):
    opened = open_data(settings(folder, "runs", tile_empty=0.0), model)
    train_data, val_data = opened.datasets(model)
    assert isinstance(train_data, TiledDataset) and train_data.tiles.counts.left_out > 0
    assert isinstance(val_data, TiledDataset) and val_data.tiles.counts.left_out == 0
    light = lighten(train_data, model)
    assert isinstance(light, TiledDataset) and light.recent is train_data.recent
    assert light[0][1].masks is None and train_data[0][1].masks is not None
    assert torch.equal(light[0][0], train_data[0][0])


@pytest.mark.slow
def test_pictures_no_larger_than_a_tile_are_learnt_as_without(folder, model, tmp_path, capsys):
    data = open_annotations(folder, "train")
    whole = dataset_for(model, data, tiling=Tiling(size=160))
    assert type(whole) is DetectionDataset and whole.annotations is data
    runs = [
        train("fcos_resnet18_fpn", settings(folder, tmp_path, epochs=1, tiles=tiles), options=TINY)
        for tiles in (0, 200)
    ]
    assert "no picture is larger than a tile of 200×200 pixels" in capsys.readouterr().err
    ours, theirs = (run.model.state_dict() for run in runs)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_clips_are_not_cut(folder, tmp_path):
    with pytest.raises(
        ValueError, match="videos are not cut into tiles, and detect_and_track_resnet18_3d learns from"
    ):
        train("detect_and_track_resnet18_3d", settings(folder, tmp_path), quiet=True)
    assert not list(tmp_path.iterdir())


def test_data_that_somebody_opened_must_be_in_tiles(model, tmp_path):
    shapes = DrawnShapes(2, (96, 128))
    with pytest.raises(
        ValueError, match=r"tiles=64, but 2 drawn pictures .* has pictures of up to 96×128 pixels: hand"
    ):
        train_on(model, shapes, shapes, settings("drawn", tmp_path), quiet=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tiles": -1}, "tiles must be at least 0, got -1"),
        ({"tile_overlap": 0.95}, "tile_overlap must be at most 0.9"),
        ({"tile_share": 1.5}, "tile_share must be at most 1"),
        ({"tile_empty": -0.1}, "tile_empty must be at least 0"),
        (
            {"tiles": 0, "tile_share": 0.7, "tile_empty": 0.1},
            "nothing is cut that tile_share and tile_empty could be of",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        settings("drawn", "runs", **changes)
