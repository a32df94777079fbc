"""Data as other programs leave them are trained on, scored and predicted, not only opened."""

import base64
import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pagoda

BOX = (10, 12, 40, 44)
TINY = {"width": 16, "head_depth": 1, "base_channels": 16, "short_side": 64, "long_side": 96}


def picture(seed: int) -> Image.Image:
    image = Image.fromarray(np.random.default_rng(seed).integers(0, 120, (64, 96, 3), np.uint8))
    image.paste((255, 0, 0), BOX)
    return image


def labelme_with_pictures_inside(root: Path) -> Path:
    for split in ("train", "val"):
        (root / split).mkdir()
        for number in range(2):
            buffer = BytesIO()
            picture(number).save(buffer, "png")
            shape = {"label": "a", "points": [BOX[:2], BOX[2:]], "shape_type": "rectangle", "group_id": None}
            file = {"shapes": [shape], "imagePath": "C:\\gone.png", "imageHeight": 64, "imageWidth": 96}
            file["imageData"] = base64.b64encode(buffer.getvalue()).decode()
            (root / split / f"{number}.json").write_text(json.dumps(file))
    return root / "train/0.json"


def yolo_whose_test_was_never_exported(root: Path) -> Path:
    for split in ("train", "valid"):
        for folder in ("images", "labels"):
            (root / split / folder).mkdir(parents=True)
        for number in range(2):
            picture(number).save(root / split / f"images/{number}.png")
            (root / split / f"labels/{number}.txt").write_text("0 0.26 0.4375 0.3125 0.5\n")
    places = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n"
    (root / "data.yaml").write_text(f"{places}nc: 1\nnames: ['a']\n")
    return root / "train/images/0.png"


@pytest.mark.medium
@pytest.mark.parametrize("draw", [labelme_with_pictures_inside, yolo_whose_test_was_never_exported])
def test_they_train_score_and_predict(tmp_path: Path, draw: Callable[[Path], Path]) -> None:
    data = tmp_path / "data"
    data.mkdir()
    one = draw(data)
    before = sorted(path.relative_to(data) for path in data.rglob("*"))
    run = pagoda.train(
        "fcos_resnet18_fpn",
        data,
        options=TINY,
        epochs=1,
        batch_size=2,
        device="cpu",
        out=str(tmp_path / "runs"),
        quiet=True,
    )
    assert run.model.label_map.names == ("a",)
    assert pagoda.evaluate(run.model, data).to_dict().keys() == run.result.to_dict().keys()
    assert run.model.predict(one, min_score=0.0).image_size == (64, 96)
    assert sorted(path.relative_to(data) for path in data.rglob("*")) == before, (
        "nothing is written beside the data"
    )
