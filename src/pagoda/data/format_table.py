"""Every layout and format that is read or written, as data: docs/formats.md is this table."""

from dataclasses import dataclass
from typing import Literal

from pagoda.plain import checked

Use = Literal["data set", "video", "results"]


@checked
@dataclass(frozen=True)
class Format:
    """One way in which programs lay out annotations, tracks or results."""

    key: str
    """short name, by which tests draw an example"""
    name: str
    """of the format, and the programs that write this layout of it"""
    layout: str
    """the files, as they are recognised"""
    kept: str
    """what is read of it, or written"""
    told: str
    """left out, changed or refused: counted in a note, or named by an error"""
    not_read: str
    """what nobody looks at, or is not written"""
    use: Use = "data set"
    """the table of the page in which it stands"""
    is_read: bool = True
    """by `pagoda`"""
    is_written: bool = False
    """by `pagoda`"""


_BOXES = "boxes, classes"
_COCO_KEPT = "boxes, masks, keypoints with skeleton, crowd regions, areas, ids"
_COCO_TOLD = (
    "polygons of fewer than three points, annotations of images that are not listed; polygons written as one flat list"
    " or as points, and boxes taken around a segmentation where there is no bbox"
)
_COCO_NOT = "fields that COCO does not have"
_YOLO_KEPT = "boxes, polygons, keypoints (`kpt_shape`, `flip_idx`, `kpt_names`)"
_YOLO_TOLD = "label files of no picture; refused: keypoints without `kpt_shape`, numbers off the picture"
_VOC_KEPT = "boxes with their fractions, classes, difficult objects (as ignored), sizes"
_VOC_NOT = "parts, poses, truncated, other attributes"

FORMATS: tuple[Format, ...] = (
    Format(
        "coco",
        "COCO",
        "`annotations/train.json`, `instances_train2017.json` …, pictures in `images/`, `images/train/`, `train2017/`",
        _COCO_KEPT,
        _COCO_TOLD,
        _COCO_NOT,
        is_written=True,
    ),
    Format(
        "coco_beside",
        "COCO, as Roboflow writes it",
        "`train/_annotations.coco.json` beside its pictures; also one such file at the root",
        _COCO_KEPT,
        _COCO_TOLD,
        _COCO_NOT,
    ),
    Format(
        "coco_loose",
        "COCO, files in no folder of their own",
        "`train.json` and `val.json` at the root; `train/annotations.json` with `train/images/`",
        _COCO_KEPT,
        _COCO_TOLD,
        _COCO_NOT,
    ),
    Format(
        "coco_labelstudio",
        "COCO, as Label Studio writes it",
        "`result.json` with `images/`",
        "boxes, polygons",
        _COCO_TOLD,
        "the angle of turned boxes, which is not in the file: export Label Studio's own JSON instead",
    ),
    Format(
        "coco_fiftyone",
        "COCO, as FiftyOne writes it",
        "`labels.json` with `data/`",
        _COCO_KEPT,
        _COCO_TOLD,
        _COCO_NOT,
    ),
    Format(
        "coco_cvat",
        "COCO, as CVAT writes it",
        "`annotations/instances_default.json`, pictures in `images/default/…`",
        f"{_COCO_KEPT}; a box with a rotation becomes the polygon it covers and the box around that",
        f"{_COCO_TOLD}; turned boxes",
        "other attributes",
    ),
    Format(
        "coco_lvis",
        "COCO, as LVIS writes it",
        "images with `coco_url` in place of `file_name`",
        _COCO_KEPT,
        _COCO_TOLD,
        "which categories were looked for in vain, or not in full",
    ),
    Format(
        "voc",
        "Pascal VOC; CVAT, with sub-folders",
        "`Annotations/…/*.xml`, pictures in `JPEGImages/` or `images/`, splits in `ImageSets/Main/*.txt`, else in lists"
        " in `ImageSets/` or at the root; VoTT's lists of classes where there are no others",
        f"{_VOC_KEPT}; a box with a rotation, `robndbox` of roLabelImg and polygons of LabelMe's XML become the box"
        " around what they cover",
        "files of no split; turned boxes and polygons; objects marked as deleted are left out",
        _VOC_NOT,
        is_written=True,
    ),
    Format(
        "voc_beside",
        "VOC, as Roboflow and labelImg write it",
        "`*.xml` beside the pictures, in `train/`, `valid/` … or in one folder",
        _VOC_KEPT,
        "files of no split",
        _VOC_NOT,
    ),
    Format(
        "voc_near",
        "VOC, as FiftyOne and many collections have it",
        "`labels/*.xml` or `annotations/*.xml` with `images/` or `data/`; the same in each split's folder",
        _VOC_KEPT,
        "files of no split",
        _VOC_NOT,
    ),
    Format(
        "yolo",
        "YOLO, described by a YAML file",
        "`data.yaml` (or any YAML file given by its path) with `train`, `val`, `test`: folders or lists; labels in the"
        " twin folder `labels/` or beside the pictures",
        _YOLO_KEPT,
        _YOLO_TOLD,
        "augmentation and download keys",
        is_written=True,
    ),
    Format(
        "yolo_names",
        "YOLO, as Label Studio and labelImg write it",
        "`classes.txt` with `images/` and `labels/`, or with pictures and labels in one folder",
        "boxes, polygons",
        _YOLO_TOLD,
        "`notes.json`",
    ),
    Format(
        "yolo_darknet",
        "YOLO 1.1 of CVAT, Darknet",
        "`obj.data`, `obj.names`, `train.txt`, `obj_train_data/`; `_darknet.labels` of Roboflow",
        "boxes, polygons",
        _YOLO_TOLD,
        "`backup`",
    ),
    Format(
        "labelme",
        "LabelMe, X-AnyLabeling",
        "a `*.json` per picture, at any depth; the picture where `imagePath` says, beside it, or inside (`imageData`)",
        "boxes, polygons, circles, masks, `rotation`, `quadrilateral` and `oriented_rectangle` as polygons, points of a"
        " group as keypoints, difficult shapes (as ignored)",
        "lines, points without an object, polygons of fewer than three points",
        "other flags, scores, descriptions, attributes",
        is_written=True,
    ),
    Format(
        "createml",
        "CreateML; Roboflow, labelImg",
        "`_annotations.createml.json` or any other name, at the root or in each split's folder; or a file per picture",
        _BOXES,
        "nothing",
        "other keys",
    ),
    Format(
        "via",
        "VGG Image Annotator 2",
        "`via_project.json` or annotations only, at the root or in each split's folder",
        "rectangles, polygons, circles and ellipses (as polygons); the class: the only attribute, or the one called"
        " `class`",
        "points, lines, regions without a class; other attributes",
        "file attributes",
    ),
    Format(
        "labelstudio",
        "Label Studio's own JSON, JSON-MIN",
        "a list of tasks, at the root; pictures below it by the end of their address",
        "rectangles, turned ones as the polygon they cover and the box around that, polygons, ellipses",
        "brush strokes, key points, relations, second annotations of a task, second labels of an object; tasks without"
        " an annotation, or with a cancelled one",
        "predictions, scores",
    ),
    Format(
        "mot",
        "MOTChallenge",
        "`<split>/<sequence>/gt/gt.txt` with `img1/` and `seqinfo.ini`; text files of tracks",
        "boxes, identities, scores",
        "what does not count as ground truth: [tracking.md](tracking.md)",
        "3-D positions",
        use="video",
        is_written=True,
    ),
    Format(
        "posetrack",
        "PoseTrack 2017 and 2018",
        "`annotations/<split>/<video>.json` beside the pictures; files of predictions",
        "poses, boxes, head boxes, identities, ignored regions",
        "nothing",
        "joints that the other year does not have",
        use="video",
        is_written=True,
    ),
    Format(
        "predictions",
        "predictions of `pagoda predict` and `track link`",
        "`predictions.json`, `predictions/NAME.json`",
        "names, labels, boxes, scores, masks, keypoints (null where one is not there) with their skeleton, track ids,"
        " file and size of each picture; read by `track link` and `track eval`: all but the masks",
        "17 keypoints in a file without a skeleton are taken for COCO's; refused: files of which pictures could not be"
        " read",
        "category ids",
        use="results",
        is_written=True,
    ),
    Format(
        "coco_results",
        "COCO results",
        "a JSON list of image_id, category_id, bbox, score, segmentation, keypoints",
        "boxes, masks, keypoints, scores at full precision",
        "refused: rows of images that are not in the ground truth",
        "other keys",
        use="results",
        is_written=True,
    ),
    Format(
        "tracks_csv",
        "table of tracks",
        "`tracks.csv` of `pagoda track`",
        "one row per track: class, first and last frame, frames seen, mean score",
        "nothing",
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
    """The text of docs/formats.md.

    >>> page().splitlines()[0]
    '# Formats'
    """
    parts = [_HEAD]
    for use, title in _TITLES.items():
        rows = [row for row in FORMATS if row.use == use]
        lines = [f"## {title}\n", *_HEADER, *map(_line, rows)]
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, _RULES]) + "\n"


def _line(row: Format) -> str:
    ways = " and ".join(word for word, is_so in (("read", row.is_read), ("written", row.is_written)) if is_so)
    return f"| {row.name} | {row.layout} | {ways} | {row.kept} | {row.told} | {row.not_read} |"


_HEADER = (
    "| format | files | | kept | left out or changed, and said | lost |",
    "|---|---|---|---|---|---|",
)

_HEAD = """\
# Formats

What is read and written, what is kept of it, and what is lost. What is left out or changed is said where data are
read: in the notes of `pagoda train` and `pagoda val`, or as a finding of `pagoda doctor`. Made from
`pagoda.data.format_table` by `python tools/formats_page.py`; the tests draw an example of every row on data sets and
open it. What is kept where one is written from another: [Exchange of data sets](data_exchange.md)."""

_RULES = """\
## Rules for all of them

**Which kind.** A folder that could be several is read as COCO before VOC before YOLO before the others, and the first
line of `pagoda doctor DIR` says which others are there. A list of class names beside pictures that have no label file
is no YOLO data set where another kind is there.

**Splits.** `valid`, `validation` and `val` are one, and so are `train` and `train2017`. A split that is named but not
there is a note, and an error only where it is asked for. A folder without splits is `train`. Upper and lower case do
not matter: CVAT's `Train` and `Validation` are splits.

**Endings.** In small letters or capitals; the `._` files that Macs leave beside others are none.

**Not read.** KITTI, BDD100K, Supervisely, CVAT's XML, Datumaro, VoTT, V7, DOTA, WIDER FACE, Open Images, CSV tables,
TFRecord and archives are recognised and refused by name, with what to export or do instead. A folder given one too
high or too low is told which to give.

**Depth.** Pictures, and the label files of formats that have one per picture, are found at any depth. Folders called
like a split are splits. Annotation files that no split holds are counted in a note.

**Names of pictures.** As they are written, seen from the annotation file and the usual folders; then with forward
slashes, by the path of a web address, percent-decoded, beside the annotation file; then by the end of the path, the
longest that is there, down to the bare name; with other upper and lower case; at last, where it has no ending, with
that of a picture. Uploads of Label Studio are looked for under their own names, too, and lists of a YAML file from
its `path`. What was done is said once, with a count. A name that could be two pictures is an error that names both.
Where some names of a folder are right as they are written, the others are looked for in its sub-folders alone: a file
of that name elsewhere may be a mask or a smaller copy. A bare name is not looked for in the folders of other splits.

**Names that lead elsewhere.** Pictures outside the data set's folder (by `..`, an absolute path or a link) are read,
and said once with a count; `--inside-only` (`inside_only=True`) refuses them before one is opened.

**Names of classes and keypoints.** Text on one line: line breaks and control characters become a space, spaces around
a name are cut off, and both are said. Letters that the font of drawn pictures lacks are said by `pagoda doctor`.

**Pictures inside annotations.** A LabelMe file whose picture is nowhere to be found is read from its `imageData`;
nothing is written beside your data."""
