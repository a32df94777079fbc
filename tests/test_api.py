"""The names of `import pagoda`."""

import subprocess
import sys

import pytest

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
