"""The names of `import pagoda`."""

import subprocess
import sys
import traceback
from pathlib import Path

import pytest
import torch

import pagoda


def test_every_name_is_there_and_callable_even_after_its_rooms_were_imported():
    import pagoda.exporting.onnx
    import pagoda.recipes.training_run

    for name in pagoda.__all__:
        if name != "__version__":
            assert callable(getattr(pagoda, name)), name


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(AttributeError, match="create_model"):
        _ = pagoda.creat_model


def test_import_is_light():
    code = "import sys, pagoda; print(sorted({'torch', 'timm', 'matplotlib', 'pandas'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_unknown_settings_are_refused_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'epochs'"):
        pagoda.train("fcos_resnet18_fpn", "nowhere", epohcs=3)


def test_a_function_in_the_place_of_a_model_is_told_where_it_goes():
    with pytest.raises(
        TypeError, match="got function; a function that builds the model is given as build=FUNCTION"
    ):
        pagoda.train(lambda num_classes: None, "nowhere")


def test_loading_a_model_takes_no_training_along():
    rooms = {
        "pagoda.training",
        "pagoda.evaluation",
        "pagoda.data",
        "pagoda.recipes",
        "torchvision",
        "av",
        "matplotlib",
    }
    code = f"import sys, pagoda; pagoda.load; print(sorted({rooms!r} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_five_frames_lead_from_a_picture_to_its_network():
    """Each of them does something: nothing only passes on."""
    model = pagoda.create_model(
        "fcos_resnet18_fpn", num_classes=2, base_channels=16, short_side=64, long_side=64
    )
    frames: list[str] = []
    first = next(module for module in model.eval().modules() if isinstance(module, torch.nn.Conv2d))
    own = str(Path(pagoda.__file__).parent)

    def note(*_: object) -> None:
        frames.extend(frame.name for frame in traceback.extract_stack() if frame.filename.startswith(own))

    first.register_forward_pre_hook(note)
    model.predict(torch.zeros(3, 64, 64, dtype=torch.uint8))
    assert frames == ["predict", "predict_pictures", "detect", "forward", "forward"]
