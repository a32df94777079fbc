"""Every layout and format that is read or written, as data: docs/formats.md is this table.

What is lost is always told: in the notes of `Annotations`, which train and val print, or as a finding of the doctor.
"""

from dataclasses import dataclass
from typing import Literal

Use = Literal["data set", "video", "results"]


@dataclass(frozen=True)
class Format:
    """One way in which programs lay out annotations, tracks or results."""

    key: str
    name: str
    """of the format, and the programs that write this layout of it"""
    layout: str
    """the files, as they are recognised"""
    kept: str
    lost: str
    """left out or changed, and told"""
    use: Use = "data set"
    is_read: bool = True
    is_written: bool = False


_BOXES = "boxes, classes"
_COCO_KEPT = "boxes, masks, keypoints with skeleton, crowd regions, areas, ids"
_COCO_LOST = "image and annotation fields of other programs; polygons of fewer than three points"
_YOLO_KEPT = "boxes, polygons, keypoints (`kpt_shape`, `flip_idx`, `kpt_names`)"
_YOLO_LOST = "nothing; keypoints without `kpt_shape` and numbers off the picture are refused"
_VOC_KEPT = "boxes, classes, difficult objects (as ignored), sizes"
_VOC_LOST = "parts, poses, truncated and other flags; fractions stay"

FORMATS: tuple[Format, ...] = (
    Format(
        "coco",
        "COCO",
        "`annotations/train.json`, `instances_train2017.json` …, pictures in `images/`, `images/train/`, `train2017/` …",
        _COCO_KEPT,
        _COCO_LOST,
        is_written=True,
    ),
    Format(
        "coco_beside",
        "COCO, as Roboflow writes it",
        "`train/_annotations.coco.json` beside its pictures; also one such file at the root",
        _COCO_KEPT,
        _COCO_LOST,
    ),
    Format(
        "coco_loose",
        "COCO, files in no folder of their own",
        "`train.json` and `val.json` at the root; `train/annotations.json` with `train/images/`",
        _COCO_KEPT,
        _COCO_LOST,
    ),
    Format(
        "coco_labelstudio",
        "COCO, as Label Studio writes it",
        "`result.json` with `images/`",
        "boxes, polygons",
        "the angle of turned boxes, which is not in the file: export Label Studio's own JSON instead",
    ),
    Format(
        "coco_fiftyone", "COCO, as FiftyOne writes it", "`labels.json` with `data/`", _COCO_KEPT, _COCO_LOST
    ),
    Format(
        "coco_cvat",
        "COCO, as CVAT writes it",
        "`annotations/instances_default.json`, pictures in `images/default/…`",
        f"{_COCO_KEPT}; a box with a rotation becomes the polygon it covers and the box around that",
        "other attributes",
    ),
    Format(
        "coco_lvis",
        "COCO, as LVIS writes it",
        "images with `coco_url` in place of `file_name`",
        _COCO_KEPT,
        "lists of categories that were looked for in vain, or not in full",
    ),
    Format(
        "voc",
        "Pascal VOC; CVAT, with sub-folders",
        "`Annotations/…/*.xml`, pictures in `JPEGImages/` or `images/`, splits in `ImageSets/Main/*.txt`",
        _VOC_KEPT,
        _VOC_LOST,
    ),
    Format(
        "voc_beside",
        "VOC, as Roboflow and labelImg write it",
        "`*.xml` beside the pictures, in `train/`, `valid/` … or in one folder",
        _VOC_KEPT,
        _VOC_LOST,
    ),
    Format(
        "voc_near",
        "VOC, as FiftyOne and many collections have it",
        "`labels/*.xml` or `annotations/*.xml` with `images/` or `data/`; the same in each split's folder",
        _VOC_KEPT,
        _VOC_LOST,
    ),
    Format(
        "yolo",
        "YOLO, described by a YAML file",
        "`data.yaml` (or any YAML file given by its path) with `train`, `val`, `test`: folders or lists; labels in the"
        " twin folder `labels/` or beside the pictures",
        _YOLO_KEPT,
        _YOLO_LOST,
    ),
    Format(
        "yolo_names",
        "YOLO, as Label Studio and labelImg write it",
        "`classes.txt` with `images/` and `labels/`, or with pictures and labels in one folder",
        "boxes, polygons",
        _YOLO_LOST,
    ),
    Format(
        "yolo_darknet",
        "YOLO 1.1 of CVAT, Darknet",
        "`obj.data`, `obj.names`, `train.txt`, `obj_train_data/`; `_darknet.labels` of Roboflow",
        _BOXES,
        _YOLO_LOST,
    ),
    Format(
        "labelme",
        "LabelMe, X-AnyLabeling",
        "a `*.json` per picture, at any depth; the picture where `imagePath` says, beside it, or inside (`imageData`)",
        "boxes, polygons, circles, masks, `rotation` and `quadrilateral` as polygons, points of a group as keypoints",
        "lines, points without an object, polygons of fewer than three points; difficult flags; scores and attributes",
    ),
    Format(
        "createml",
        "CreateML; Roboflow",
        "`_annotations.createml.json` or any other name, at the root or in each split's folder",
        _BOXES,
        "nothing",
    ),
    Format(
        "via",
        "VGG Image Annotator 2",
        "`via_project.json` or annotations only, at the root or in each split's folder",
        "rectangles, polygons, circles and ellipses (as polygons); the class: the only attribute, or the one called"
        " `class`",
        "points, lines, other attributes, regions without a class",
    ),
    Format(
        "labelstudio",
        "Label Studio's own JSON",
        "a list of tasks, at the root; pictures below it by the end of their address",
        "rectangles, turned ones as the polygon they cover and the box around that, polygons, ellipses",
        "brush strokes, key points, relations, second annotations of a task",
    ),
    Format(
        "mot",
        "MOTChallenge",
        "`<split>/<sequence>/gt/gt.txt` with `img1/` and `seqinfo.ini`; text files of tracks",
        "boxes, identities, scores",
        "3-D positions; what counts as ground truth: [tracking.md](tracking.md)",
        use="video",
        is_written=True,
    ),
    Format(
        "posetrack",
        "PoseTrack 2017 and 2018",
        "`annotations/<split>/<video>.json` beside the pictures; files of predictions",
        "poses, boxes, head boxes, identities, ignored regions",
        "joints that the other year does not have",
        use="video",
        is_written=True,
    ),
    Format(
        "predictions",
        "predictions of `pagoda predict`, `track` and `track link`",
        "`predictions.json`, `predictions/NAME.json`",
        "names, labels, boxes, scores, masks, keypoints, track ids, file and size of each picture",
        "category ids",
        use="results",
        is_written=True,
    ),
    Format(
        "coco_results",
        "COCO results",
        "a JSON list of image_id, category_id, bbox, score, segmentation, keypoints",
        "boxes, masks, keypoints, scores at full precision",
        "rows of images that are not in the ground truth are refused",
        use="results",
        is_written=True,
    ),
    Format(
        "tracks_csv",
        "table of tracks",
        "`tracks.csv` of `pagoda track`",
        "one row per track: class, first and last frame, frames seen, mean score",
        "the boxes, which stand in `tracks.txt`",
        use="results",
        is_read=False,
        is_written=True,
    ),
)

_TITLES: dict[Use, str] = {
    "data set": "Data sets of pictures",
    "video": "Videos",
    "results": "Results",
}


def page() -> str:
    """docs/formats.md."""
    parts = [_HEAD]
    for use, title in _TITLES.items():
        rows = [row for row in FORMATS if row.use == use]
        parts.append(f"## {title}\n\n| format | files | | kept | lost, and said |\n|---|---|---|---|---|")
        parts[-1] += "".join(f"\n{_line(row)}" for row in rows)
    return "\n\n".join([*parts, _RULES]) + "\n"


def _line(row: Format) -> str:
    ways = " and ".join(word for word, is_so in (("read", row.is_read), ("written", row.is_written)) if is_so)
    return f"| {row.name} | {row.layout} | {ways} | {row.kept} | {row.lost} |"


_HEAD = """\
# Formats

What is read and written, what is kept of it, and what is lost. Made from `pagoda.data.formats` by
`python tools/formats_page.py`; the tests draw an example of every row and open it."""

_RULES = """\
## Rules for all of them

**Which kind.** A folder that could be several is read as COCO before VOC before YOLO before the others, and the first
line of `pagoda doctor DIR` says which others are there.

**Splits.** `valid`, `validation` and `val` are one, and so are `train` and `train2017`. A split that is named but not
there is a note, and an error only where it is asked for. A folder without splits is `train`.

**Depth.** Pictures, and the label files of formats that have one per picture, are found at any depth. Folders called
like a split are splits. Annotation files that no split holds are counted in a note.

**Names of pictures.** As they are written, seen from the annotation file and the usual folders; then with forward
slashes, by the path of a web address, percent-decoded, beside the annotation file; then by the end of the path, the
longest that is there, down to the bare name; at last with other upper and lower case. What was done is said once,
with a count. A name that could be two pictures is an error that names both. Where some names of a folder are right as
they are written, the others of that folder are missing: a file of the same name elsewhere may be a mask or a smaller
copy. A bare name is not looked for in the folders of other splits.

**Pictures inside annotations.** A LabelMe file whose picture is nowhere to be found is read from its `imageData`;
nothing is written beside your data."""
