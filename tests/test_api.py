"""The names of `import pagoda`."""

import subprocess
import sys

import pytest

import pagoda
from measure_house import frames_to_the_network
from pagoda.weights.files import save_weights


def test_every_name_is_there_and_callable_even_after_its_rooms_were_imported():
    import pagoda.exporting.onnx
    import pagoda.recipes.training_run

    assert {"load", "create_model", "train"} <= set(pagoda.__all__)
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


@pytest.mark.medium
def test_loading_a_checkpoint_takes_along_what_its_card_needs(tmp_path):
    model = pagoda.create_model("fcos_resnet18_fpn", num_classes=1, width=32, head_depth=0)
    path = save_weights(tmp_path / "fcos.safetensors", model.state_dict(), model.card())
    rooms = {
        "pagoda.convert.read",
        "pagoda.drawing",
        "pagoda.pictures",
        "pagoda.training",
        "pagoda.evaluation",
        "pagoda.data",
        "pagoda.recipes",
        "torchvision",
        "av",
        "matplotlib",
    }
    code = f"import sys, pagoda; pagoda.load({str(path)!r}); print(sorted({rooms!r} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.medium
@pytest.mark.parametrize("model", ["fcos_resnet18_fpn", "mask_rcnn_resnet18_fpn"])
def test_predicting_leaves_torchs_compiler_alone(model):
    """torchvision would bring it along, as would operators of `torch.library.custom_op`: 1.5 s, 140 MB."""
    code = (
        "import sys, numpy, pagoda;"
        f" model = pagoda.create_model('{model}', num_classes=1, width=32, short_side=64, long_side=64);"
        " model.predict(numpy.zeros((90, 90, 3), numpy.uint8), min_score=0.0);"
        " print('torchvision' in sys.modules, 'torch._dynamo' in sys.modules);"
        " from torchvision.ops import nms; import torch;"
        " print(nms(torch.tensor([[0., 0., 9., 9.], [0., 0., 9., 8.]]), torch.tensor([.5, .6]), .5).tolist())"
    )
    said = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert said.splitlines() == ["False False", "[1]"]


@pytest.mark.medium
def test_verbs_that_only_look_leave_the_compiler_and_statistics_alone():
    """They would take longer to import than a small validation takes to look at its pictures."""
    verbs = ", ".join(f"pagoda.cli.{verb}" for verb in ("val", "why", "compare", "train"))
    heavy = {"torchvision", "torch._dynamo", "scipy.stats", "matplotlib", "supervision", "cv2"}
    code = f"import sys, {verbs}; print(sorted({heavy!r} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_five_frames_lead_from_a_picture_to_its_network():
    """Each of them does something: nothing only passes on."""
    names = [frame.partition(":")[2] for frame in frames_to_the_network()]
    assert names == ["predict", "predict_pictures", "detect", "forward", "forward"]
