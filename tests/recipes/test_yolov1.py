"""YOLOv1's recipe, and a run whose objects are shuffled at every step: stopped and gone on with, it ends alike."""

from pathlib import Path

import pytest
import torch

from pagoda.convert.darknet.weights_file import Header, entries_of, write_weights
from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.saving import write_coco_folder
from pagoda.layers.darknet_layer import DarknetLayer
from pagoda.recipes.by_name import recipe_settings
from pagoda.recipes.initial_model import starting_model
from pagoda.recipes.training_run import resume, train
from pagoda.stopping import Stopped
from pagoda.structures.labels import LabelMap
from pagoda.training.loop import Trainer
from pagoda.training.optim import rate_factor
from pagoda.training.settings import TrainSettings
from pagoda.weights.files import load_weights
from pagoda.zoo.yolov1 import NETS

LAYERS = (
    DarknetLayer(
        kind="convolutional", outputs=8, size=3, stride=4, padding=1, batch_norm=True, activation="leaky"
    ),
    DarknetLayer(kind="maxpool", size=4, stride=4, padding=3),
    DarknetLayer(kind="dropout"),
    DarknetLayer(kind="connected"),
)
OPTIONS = {"layers": LAYERS, "side": 2, "canvas": (64, 64)}


def test_the_published_recipe_is_darknets() -> None:
    settings = recipe_settings("yolov1", "VOC")
    optim, total = settings.optim, 40_000
    assert settings.batch_size * optim.accumulate == 64 and settings.epochs * 259 == pytest.approx(
        total, rel=0.01
    )
    rates = {0: 0.0005, 600: 0.005, 19_999: 0.005, 20_001: 0.0005, 30_001: 0.00005}
    for step, rate in rates.items():
        assert optim.learning_rate * rate_factor(step, total, optim) == pytest.approx(rate, rel=0.02)
    assert (optim.optimizer, optim.momentum, optim.weight_decay) == ("sgd", 0.9, 5e-4)


@pytest.mark.medium
def test_a_stopped_run_goes_on_with_the_same_shuffles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    for split, seed, count in (("train", 1, 12), ("val", 2, 2)):
        write_coco_folder(DrawnShapes(count, (64, 64), seed=seed, max_objects=8), data, split=split)
    usual = {"epochs": 2, "batch_size": 4, "device": "cpu", "precision": "fp32", "val_every": 2, "seed": 3}
    settings = TrainSettings(data=str(data), out=str(tmp_path / "runs"), save_seconds=0.0, **usual)
    whole = train("yolov1.darknet", settings, options=OPTIONS, quiet=True)
    learn, batches = Trainer._learn, []

    def stop_at_the_fifth(trainer: Trainer, batch: object) -> None:
        if len(batches) == 4:  # in the second epoch
            raise KeyboardInterrupt
        batches.append(batch)
        learn(trainer, batch)

    monkeypatch.setattr(Trainer, "_learn", stop_at_the_fifth)
    with pytest.raises(Stopped):
        train("yolov1.darknet", settings, options=OPTIONS, quiet=True)
    monkeypatch.setattr(Trainer, "_learn", learn)
    (stopped,) = set((tmp_path / "runs").iterdir()) - {whole.folder}
    again = resume(stopped, quiet=True)
    theirs, ours = (load_weights(run.folder / "best.safetensors")[0] for run in (whole, again))
    assert theirs.keys() == ours.keys() and all(torch.equal(theirs[name], ours[name]) for name in ours)


@pytest.mark.medium
def test_a_run_begins_with_darknets_weights(tmp_path: Path) -> None:
    """Known by their size, with the classes of the data; another canvas is refused, as connected layers are of one."""
    path, net = tmp_path / "yolov1-tiny.weights", NETS["yolov1_tiny"]
    entries = entries_of(net.layers, (3, *net.canvas))
    write_weights(path, Header(), entries, {each.name: torch.full(each.shape, 0.01) for each in entries})
    start = starting_model(str(path), LabelMap.from_names(["dog", "newt"]))
    assert "1 classes with their weights: dog" in start.text and "YOLO LICENSE" in start.text
    assert start.model.head.last.out_features == 49 * 12 and start.model.label_map.names == ("dog", "newt")
    with pytest.raises(ValueError, match=r"read 448×448 pixels .* got \(320, 320\)"):
        starting_model(str(path), LabelMap.from_names(["dog"]), options={"canvas": (320, 320)})
