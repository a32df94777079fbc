"""Which family leaves the house in which form: the table of docs/exporting.md, which the tests try cell by cell."""

from typing import Literal

Family = Literal[
    "FCOS",
    "RetinaNet",
    "EfficientDet",
    "SSD",
    "YOLOv1",
    "Faster R-CNN",
    "Mask R-CNN",
    "Keypoint R-CNN",
    "Detect-and-Track",
]
Form = Literal[
    "onnx",
    "onnx --half",
    "onnx --raw-heads",
    "onnx --sliding",
    "xml",
    "xml --half",
    "xml --int8",
    "xml --sliding",
]

_TWO_STAGES = "second stage reads what the first chose"
_PICTURES = "looks at single pictures, so that nothing slides"
_NO_CLIPS = "clips are neither calibrated on nor scored in eight bits"
FORMS: dict[Form, str] = {
    "onnx": "fp32, pixels to objects, compared box by box",
    "onnx --half": "the network in float16, for GPUs; compared at 2 px and .02 of score",
    "onnx --raw-heads": "the network alone; compared location by location",
    "onnx --sliding": "two files, of single frames and of clips of what is known of these; fp32, compared tube by tube",
    "xml": "OpenVINO, fp32, compared box by box",
    "xml --half": "OpenVINO, weights in float16, compared at 2 px and .02 of score",
    "xml --int8": "OpenVINO, network in int8, judged by AP on annotated pictures",
    "xml --sliding": "OpenVINO, two files as above",
}
"""as --option of `pagoda export CHECKPOINT MODEL.onnx` or MODEL.xml: what the file is, and how it was proven"""
FAMILIES: tuple[Family, ...] = Family.__args__  # type: ignore[attr-defined]
REFUSED: dict[tuple[Family, Form], str] = {
    **{
        (family, "onnx --raw-heads"): _TWO_STAGES
        for family in ("Faster R-CNN", "Mask R-CNN", "Keypoint R-CNN", "Detect-and-Track")
    },
    ("Detect-and-Track", "xml --int8"): _NO_CLIPS,
    **{
        (family, form): _PICTURES
        for family in FAMILIES
        if family != "Detect-and-Track"
        for form in ("onnx --sliding", "xml --sliding")
    },
}
"""what cannot be, and why; everything else can"""


def page() -> str:
    """docs/exporting.md."""
    rows = [
        f"| {family} | " + " | ".join("–" if (family, form) in REFUSED else "yes" for form in FORMS) + " |"
        for family in FAMILIES
    ]
    head = "| | " + " | ".join(f"`{form}`" for form in FORMS) + " |"
    reasons = {
        why: [(family, form) for (family, form), each in REFUSED.items() if each == why]
        for why in REFUSED.values()
    }
    told = [f"* {_told(cells)}: {why}." for why, cells in reasons.items()]
    forms = [f"* `{form}`: {what}." for form, what in FORMS.items()]
    table = "\n".join([head, "|---" * (len(FORMS) + 1) + "|", *rows])
    return "\n\n".join([_HEAD, "\n".join(forms), table, "\n".join(told), _REST]) + "\n"


def _told(cells: list[tuple[Family, Form]]) -> str:
    families, forms = (list(dict.fromkeys(part)) for part in zip(*cells, strict=True))
    return f"{', '.join(families)} {'in any form' if len(forms) == len(FORMS) else ', '.join(forms)}"


_HEAD = """\
# Exporting

`pagoda export CHECKPOINT MODEL.onnx` (or `MODEL.xml`) writes a file that needs no PyTorch: RGB bytes in, objects
out, with classes, sizes and thresholds in its metadata. It is compared with the model before it gets its name, on
your `--pictures` and on drawn ones; a file that differs is not kept. Made from `pagoda.exporting.support` by
`python tools/exports_page.py`; the tests try every cell."""

_REST = """\
Every file of pixels to objects goes where a checkpoint goes (`pagoda predict | val | track MODEL.onnx`), and
[pagoda-runtime](../runtime/README.md) runs it with numpy, Pillow and ONNX Runtime or OpenVINO.

**Clips.** A file of Detect-and-Track takes the frames of one clip, `images` (T, 3, H, W), and gives tubes: `boxes`
(1, D, t, 4), `scores`, `labels`, of poses `keypoints` (1, D, t, K, 2) and `keypoint_scores` (1, D, t, K). The metadata
entry `clip` says how many frames, how far apart in the video, and which of them tubes speak of (all, unless the network
shortens clips); the clip is about frame T // 2. Tubes suppress each other in the graph by the mean of their frames'
IoU, in double precision as in torch. `--sliding` writes two files: NAME.frames.onnx makes `features` and `size` of one
frame, what its stem and first stage say, and NAME.clips.onnx makes tubes of the features of T frames. Whoever slides
over a video so computes them once per frame, not once per clip. Each file holds a digest of the other and is useless
alone; `pagoda track | val NAME.clips.onnx` and pagoda-runtime open both, and refuse two that are not of one export.
Heads look at all D rows of every clip, used or not: where few people are in sight, `--max-detections 20` saves time.

**Masks** of Mask R-CNN leave a file twice: `masks` (B, D, H, W), pasted into the picture as the network sees it, and
`mask_probabilities` (B, D, M, M), of M × M cells inside each box. A mask has one shape at every size, its pixels have
not: whoever scales boxes to the picture and pastes the probabilities there, by `postprocess.paste` and
`postprocess.min_mask_probability` of the metadata, has the model's masks, where scaled `masks` lose fine edges and
small objects. `pagoda` and `pagoda-runtime` do so, and take out of the graph what only `masks` needs before they run
it; a program of your own can take `paste_masks` of `pagoda_runtime.masks`, which needs numpy alone. Files of earlier
versions have `masks` only, which are scaled as before.

**`--size H W`** makes a file of that size, one picture at a time: pictures are scaled into it and grey is put
beside them, as the file's metadata say. Without it every size and batch goes. YOLOv1s that stretch their pictures go on
stretching them; one with connected layers, as darknet's have, has its own size and no other.

**Thresholds** that `pagoda val --save-thresholds` put into the checkpoint go along, for `--min-score card`; into a file
that is there already `pagoda val MODEL.onnx --save-thresholds` puts them. A file gives no objects below the
`--min-score` it was exported with; where a threshold lies below, the command says so.

**`--opset 18 … 23`**, where a runtime asks for one.

**`--int8 --calibrate DIR --data DIR`** keeps the last layers of boxes, masks and keypoints, group norms, decoding and
suppression in fp32 and writes the file if it loses at most `--max-ap-loss` points (half a one), of boxes, masks and
keypoints alike.
Beside the loss stands the 95 % interval that so many pictures allow, by bootstrap over the pictures: where it is wide,
more annotated pictures would tell. The report stands in the file, too.

**`--raw-heads`** is for programs that decode themselves. Input: `images`, RGB float32 0 … 255 (B, 3, H, W), of
`--size` where the program wants fixed shapes (TensorRT, OpenCV). Outputs: `class_logits` (B, P, classes),
`box_outputs` (B, P, 4), `quality_logits` (B, P) where there are any, `priors` (P, 2 or 4). The metadata entry
`decoding` says the rest; in numpy:

```python
def decode(outputs, decoding):
    x, priors = outputs["box_outputs"], outputs["priors"]
    if decoding["boxes"] == "distances":  # points and pixels to the four sides
        return np.concatenate([priors - x[..., :2], priors + x[..., 2:]], axis=-1)
    if decoding["boxes"] == "centers":  # corners of cells, pixels to the centre, sides
        center, half = priors + x[..., :2], x[..., 2:] / 2
        return np.concatenate([center - half, center + half], axis=-1)
    legacy = float(decoding["inclusive"])
    sides = priors[:, 2:] - priors[:, :2] + legacy
    center = priors[:, :2] + sides / 2
    x = x / np.array(decoding["weights"], np.float32)
    limit = np.inf if decoding["max_log_growth"] is None else decoding["max_log_growth"]
    grown = np.clip(x[..., 2:], -limit if decoding["limit_shrinking"] else -np.inf, limit)
    center, half = center + x[..., :2] * sides, np.exp(grown) * sides / 2
    return np.concatenate([center - half, center + half - (legacy and not decoding["exclusive_ends"])], axis=-1)


def scores(outputs, combine, decoding):
    if decoding["background"] == "last":  # SSD: a softmax
        found = np.exp(outputs["class_logits"] - outputs["class_logits"].max(-1, keepdims=True))
        return (found / found.sum(-1, keepdims=True))[..., :-1]
    if not decoding["sigmoid"]:  # probabilities as they are (YOLOv1)
        return outputs["class_logits"] * outputs["quality_logits"][..., None]
    found = 1 / (1 + np.exp(-outputs["class_logits"]))
    if "quality_logits" in outputs:
        found = found / (1 + np.exp(-outputs["quality_logits"][..., None]))
        found = np.sqrt(found) if combine == "root" else found
    return found
```

Suppression then takes `max_iou`, `max_candidates` and `max_detections` of the entry `postprocess`."""
