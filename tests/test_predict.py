"""model.predict: every kind of source, one in → one out, and pictures of extreme size."""

from dataclasses import replace
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.models import create_model
from pagoda.pictures.errors import PictureError
from pagoda.postprocess.test_time_augmentation import PictureViews
from pagoda.predict import read_resized
from pagoda.preprocess import InputSpec
from pagoda.structures.instances import Detections


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = create_model(
        "fcos_resnet18_fpn", num_classes=3, width=32, head_depth=1, short_side=64, long_side=96
    ).eval()
    with torch.no_grad():
        model.class_head.predict.bias.zero_()  # scores near .5: something is found everywhere
    return model


@pytest.fixture(scope="module")
def picture():
    return DrawnShapes(1, image_size=(48, 80), seed=4)[0][0].permute(1, 2, 0).contiguous().numpy()


def test_every_kind_of_source_gives_the_same(model, picture, tmp_path):
    file = tmp_path / "a.png"
    Image.fromarray(picture).save(file)
    tensor = torch.from_numpy(picture).permute(2, 0, 1)
    expected = model.predict(picture)
    assert isinstance(expected, Detections) and len(expected) > 0
    content = file.read_bytes()
    encoded = (content, bytearray(content), memoryview(content), BytesIO(content))
    for source in (str(file), file, *encoded, Image.fromarray(picture), tensor, tensor / 255, picture / 255):
        found = model.predict(source)
        torch.testing.assert_close(found.boxes, expected.boxes, atol=1e-3, rtol=0)
        torch.testing.assert_close(found.scores, expected.scores, atol=1e-5, rtol=0)
    assert model.predict(file).file == str(file)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the given bytes: empty, or no picture"),
        (b"<svg></svg>", "the given bytes: no picture, but an SVG"),
        (b"a.png", "the given bytes"),
    ],
)
def test_bytes_that_are_no_picture_are_refused(model, content, words):
    with pytest.raises(PictureError, match=words):
        model.predict(content)


@pytest.fixture
def samples(tmp_path, picture):
    """A data set as supervision reads it: pictures of strong colours, by cv2."""
    supervision = pytest.importorskip("supervision")
    for number, pixels in enumerate((picture, picture[::-1])):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        Image.fromarray(pixels).save(tmp_path / f"{number}.jpg", quality=70)
    files = sorted(map(str, tmp_path.iterdir()))
    empty = supervision.Detections.empty()
    return supervision.DetectionDataset(classes=["a"], images=files, annotations=dict.fromkeys(files, empty))


def test_samples_of_supervision_are_seen_in_the_right_colours(model, samples):
    """supervision hands over BGR; as arrays, these pictures are others."""
    found = model.predict(iter(samples))
    assert [each.file for each in found] == list(samples.image_paths)
    for sample, each in zip(samples, found, strict=True):
        expected = model.predict(sample[0])
        for alone in (
            each,
            model.predict(sample),
            model.predict((sample[0], sample[1][..., ::-1], sample[2])),
        ):
            assert torch.equal(alone.boxes, expected.boxes) and torch.equal(alone.scores, expected.scores)
            assert np.array_equal(alone.picture, expected.picture)
        assert not torch.equal(model.predict(sample[1]).scores, expected.scores)
    assert isinstance(model.predict(samples[0]), Detections)
    theirs = found[0].to_supervision()
    assert np.array_equal(theirs.xyxy, found[0].boxes.numpy()) and len(theirs) == len(found[0])


@pytest.mark.parametrize(
    "change", [lambda array: array[:, ::-1], lambda array: array[:20], lambda array: 255 - array]
)
def test_a_sample_whose_array_is_another_picture_is_refused(model, samples, change):
    path, array, annotations = samples[0]
    with pytest.raises(
        PictureError, match=r"an array that is not the picture of the file.*array\[\.\.\., ::-1\]"
    ):
        model.predict((path, change(array), annotations))


def test_samples_with_a_filepath_stand_for_their_files(model, tmp_path, picture):
    """As FiftyOne's do."""
    Image.fromarray(picture).save(tmp_path / "a.png")
    sample = SimpleNamespace(filepath=str(tmp_path / "a.png"), ground_truth=None)
    alone, (listed,) = model.predict(sample), model.predict([sample])
    assert alone.file == listed.file == sample.filepath and torch.equal(
        alone.boxes, model.predict(picture).boxes
    )
    with pytest.raises(PictureError, match="there is no such file"):
        model.predict(SimpleNamespace(filepath=str(tmp_path / "gone.png")))
    with pytest.raises(TypeError, match="a sample of supervision or FiftyOne, got SimpleNamespace"):
        model.predict(SimpleNamespace(filepath=None))


def test_a_picture_that_was_made_smaller_while_it_was_read_gives_the_same(model, picture, tmp_path):
    file = tmp_path / "a.png"
    Image.fromarray(picture).save(file)
    if not model.input_spec.takes_strips:
        pytest.skip("strips are for processors with AVX2")
    small = read_resized(file, model.input_spec, factor=3)
    assert small.drawing.shape == (16, 27, 3)
    found, expected = model.predict([small, file])
    together = model.predict([small, file], batch_size=2)
    for each, whole in ((found, expected), together):
        assert (
            len(each) > 0 and torch.equal(each.boxes, whole.boxes) and torch.equal(each.scores, whole.scores)
        )
        assert each.image_size == whole.image_size == (48, 80) and each.file == whole.file == str(file)
        assert each.picture is None and whole.picture is not None
    with pytest.raises(
        ValueError, match=r"views need all pixels of .*a\.png, which was made smaller; read it whole"
    ):
        model.predict(small, views=PictureViews())
    other = replace(small, spec=InputSpec())
    with pytest.raises(ValueError, match="was made smaller for a model of another input_spec; read it again"):
        model.predict(other)


def test_one_in_one_out_list_in_list_out_stream_gives_an_iterator(model, picture):
    assert isinstance(model.predict([picture]), list)
    assert model.predict([]) == []
    stream = model.predict([picture, picture[:30]], stream=True, batch_size=2)
    assert [found.image_size for found in stream] == [(48, 80), (30, 80)]


def test_batches_do_not_change_results(model, picture):
    pictures = [picture, picture[:32], picture[:, ::-1].copy()]
    for alone, together in zip(
        map(model.predict, pictures), model.predict(pictures, batch_size=3), strict=True
    ):
        assert len(alone) == len(together)
        torch.testing.assert_close(alone.scores[:5], together.scores[:5], atol=1e-4, rtol=0)


def test_min_score_is_of_the_score_shown_also_where_the_model_compares_class_probabilities(model, picture):
    model.postprocess = replace(before := model.postprocess, threshold_on="class", min_score=0.05)
    lowest = float(model.predict(picture, min_score=0.4).scores.min())
    with torch.no_grad():
        model.box_head.predict.bias[4] = -1  # little centerness: scores fall below class probabilities
    found = model.predict(picture, min_score=0.4)
    with torch.no_grad():
        model.box_head.predict.bias[4] = 0
    assert lowest >= 0.4 and (found.scores >= 0.4).all()
    model.postprocess = before


def test_limits_hold_and_the_model_keeps_its_own(model, picture):
    before, mode = model.postprocess, model.training
    found = model.predict(picture, min_score=0.5, max_detections=7)
    assert len(found) <= 7 and (found.scores > 0.5).all()
    assert len(model.predict(picture, min_score=0.999)) == 0
    assert model.postprocess is before and model.training is mode


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"batch_size": -2}, "batch_size must be at least 1, got -2"),
        ({"max_detections": -1}, "max_detections must be at least 1, got -1"),
        ({"max_detections": 10**30}, "max_detections must be a whole number or None"),
        ({"min_score": 30.0}, "min_score must be at most 1"),
        ({"max_iou": -0.5}, "max_iou must be a share of overlap from 0 on"),
    ],
)
def test_limits_that_would_find_nothing_are_refused(model, picture, limits, words):
    with pytest.raises(ValueError, match=words):
        model.predict([picture], **limits)


def test_boxes_lie_inside_the_picture_and_are_sorted(model, picture):
    found = model.predict(picture)
    assert (found.boxes >= 0).all()
    assert (found.boxes[:, 2] <= 80).all() and (found.boxes[:, 3] <= 48).all()
    assert (found.scores.diff() <= 0).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1)])
def test_tiny_and_thin_pictures(model, size):
    found = model.predict(np.zeros((*size, 3), np.uint8))
    assert found.image_size == size
    assert torch.isfinite(found.boxes).all()


@pytest.mark.medium
def test_a_hundred_megapixels(model, tmp_path):
    file = tmp_path / "huge.png"
    Image.new("RGB", (10_000, 10_000)).save(file, compress_level=1)
    assert model.predict(file).image_size == (10_000, 10_000)


def test_results_turn_into_what_others_read(model, picture):
    found = model.predict(picture, max_detections=5)
    assert found.plot().shape == picture.shape
    assert len(found.to_pandas()) == len(found.to_supervision()) == len(found.to_coco(7)) == 5
    assert found.to_coco(7)[0]["image_id"] == 7
    with pytest.raises(ValueError, match="image_id"):
        found.to_coco()
