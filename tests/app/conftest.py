"""Small models that are sure of something, and a drawn data set, for the page."""

import pytest
import torch

import pagoda
from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.saving import write_coco_folder
from pagoda.weights.files import save_weights

SIDES = {"short_side": 96, "long_side": 128}
SMALL = {
    "fcos": {"base_channels": 8, "width": 8, "norm_groups": 4, **SIDES},
    "retinanet": {"base_channels": 8, "width": 8, "norm_groups": 4, **SIDES},
    "efficientdet": {"base_channels": 8},
    "faster": {"base_channels": 8, **SIDES},
    "mask": {"base_channels": 8, **SIDES},
}


@pytest.fixture(scope="session")
def shapes():
    return DrawnShapes(6, (96, 128), 3, empty_share=0)


@pytest.fixture(scope="session")
def data_folder(shapes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    for split in ("train", "val"):
        write_coco_folder(shapes, folder, split=split)
    return folder


@pytest.fixture(scope="session")
def sure_model(shapes):
    """(name, seed) to a model that has learnt nothing, with scores from low to high."""

    def build(name="fcos_resnet18_fpn", seed=0):
        torch.default_generator.manual_seed(seed)
        model = pagoda.create_model(name, label_map=shapes.label_map, **SMALL[name.split("_")[0]])
        with torch.no_grad():
            if hasattr(model, "rpn_head"):
                model.box_head.classes.weight.mul_(3)
            else:
                last = getattr(model.class_head.predict, "conv_pw", model.class_head.predict)
                last.weight.mul_(100)
                last.bias.fill_(-2)
            if name.startswith("fcos"):
                model.box_head.predict.bias[:4] = 1  # boxes that can be clicked
        return model.eval()

    return build


@pytest.fixture(scope="module")
def checkpoint(sure_model, tmp_path_factory):
    model = sure_model()
    path = tmp_path_factory.mktemp("model") / "a.safetensors"
    save_weights(path, model.state_dict(), model.card())
    return path
