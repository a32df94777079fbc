"""The fields that the files of each format may have, by their documentation and by what common programs write: which
are read, which say nothing more, and which are lost."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pagoda.messages import counted
from pagoda.plain import checked


@checked
@dataclass(frozen=True)
class Lost:
    """Something that entries have and no reader takes up, to be counted."""

    noun: str
    """what an entry is called"""
    key: str
    """the field, or a short name"""
    many: str = ""
    """several entries; noun with an s where it is empty"""
    having: str = ""
    """how that is said of an entry; with the key where it is empty"""
    becomes: str = "lost, for it is not read"
    """what happens to it"""

    def text(self, count: int) -> str:
        """The sentence of so many entries.

        >>> Lost("category", "color", "categories").text(2)
        '2 categories with color: lost, for it is not read'
        """
        return f"{counted(count, self.noun, self.many)} {self.having or f'with {self.key}'}: {self.becomes}"


@checked
@dataclass(frozen=True)
class Fields:
    """The fields of one kind of entry; a field that stands nowhere here counts as lost, too."""

    noun: str
    """what an entry is called where it is counted"""
    read: tuple[str, ...]
    """what readers take up"""
    silent: tuple[str, ...] = ()
    """what follows from the others or says nothing of the picture: versions, counts, times, colors"""
    lost: tuple[str, ...] = ()
    """what is known and not read"""
    usual: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    """field → values that say nothing there; of the others none, false, 0 and what is empty do"""
    many: str = ""
    """several entries; noun with an s where it is empty"""

    def told(self, entry: object) -> Iterator[str]:
        """The fields of an entry that hold something and are not read.

        >>> list(Fields("shape", ("label",)).told({"label": "cat", "score": 0.5, "text": ""}))
        ['score']
        """
        values = entry if isinstance(entry, dict) else {}
        for key, value in values.items():
            if key not in self.read and key not in self.silent and self._says(key, value):
                yield str(key)

    def count(self, entries: object) -> "Counter[Lost]":
        """How many of the entries, a list or one alone, have each field that is not read.

        >>> Fields("shape", ("label",)).count([{"label": "cat", "score": 0.5}, {"score": 1}])
        Counter({Lost(noun='shape', key='score', many='', having='', becomes='lost, for it is not read'): 2})
        """
        every = entries if isinstance(entries, list) else [entries]
        return Counter(Lost(self.noun, key, self.many) for entry in every for key in self.told(entry))

    def _says(self, key: str, value: object) -> bool:
        if key in self.usual:
            return value is not None and value not in self.usual[key]
        # Ids begin with 0 in many files.
        is_id = str(key).endswith("id") and type(value) is int
        return is_id or says_something(value)


def says_something(value: object) -> bool:
    """Whether there is more in a value than none, false, 0 and emptiness.

    >>> says_something({"flags": [False, None, 0, ""]}), says_something([0.5])
    (False, True)
    """
    if isinstance(value, dict):
        return any(map(says_something, value.values()))
    if isinstance(value, list):
        return any(map(says_something, value))
    return bool(value.strip() if isinstance(value, str) else value)


FIELDS: Mapping[str, Mapping[str, Fields]] = {
    "COCO": {
        "file": Fields(
            "file",
            ("images", "annotations", "categories"),
            ("type",),
            ("info", "licenses", "videos", "tracks", "captions"),
        ),
        "images": Fields(
            "image",
            ("id", "file_name", "height", "width"),
            (),
            (
                "license", "date_captured", "coco_url", "flickr_url", "video_id", "frame_id", "neg_category_ids",
                "not_exhaustive_category_ids", "extra", "tags", "attributes",
            ),
        ),
        "annotations": Fields(
            "annotation",
            ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "segmentation", "keypoints"),
            ("num_keypoints",),
            (
                "attributes", "track_id", "instance_id", "caption", "ignore", "score", "extra", "occluded", "truncated",
                "visibility", "confidence", "tags", "face_box", "face_kpts", "lefthand_kpts", "righthand_kpts",
                "foot_kpts", "face_valid", "lefthand_valid", "righthand_valid", "foot_valid", "dp_masks", "rotation",
            ),
        ),
        "categories": Fields(
            "category",
            ("id", "name", "keypoints", "skeleton", "sigmas", "flip_pairs"),
            ("image_count", "instance_count"),
            ("supercategory", "synonyms", "synset", "def", "frequency", "isthing", "color"),
            {"supercategory": ("", "none", "object")},
            many="categories",
        ),
    },
    "VOC": {
        "file": Fields(
            "file",
            ("filename", "size", "object", "imagesize"),
            ("folder", "path", "verified"),
            ("source", "owner", "segmented", "attributes"),
        ),
        "object": Fields(
            "object",
            ("name", "bndbox", "difficult", "deleted", "polygon", "robndbox", "type"),
            ("id", "date", "verified"),
            ("pose", "truncated", "occluded", "part", "attributes", "actions", "point", "score", "parts"),
        ),
    },
    "YOLO": {
        "file": Fields(
            "file",
            (
                "path", "train", "val", "valid", "validation", "test", "names", "kpt_shape", "flip_idx", "kpt_names",
            ),
            ("nc", "classes"),
            (
                "download", "roboflow", "channels", "task", "description", "license", "author", "version", "date",
                "url", "colors", "skeleton", "kpt_sigmas", "minival", "backup", "masks_dir", "attributes",
            ),
        ),
    },
    "LabelMe": {
        "file": Fields(
            "file",
            ("shapes", "imagePath", "imageData", "imageHeight", "imageWidth"),
            ("version", "lineColor", "fillColor"),
            ("flags", "description", "text", "checked", "manually_edited", "otherData", "attributes"),
        ),
        "shapes": Fields(
            "shape",
            ("label", "points", "shape_type", "mask", "difficult", "group_id"),
            ("line_color", "fill_color", "xanylabeling_shape_id", "is_edited", "is_manually_locked", "direction"),
            ("flags", "description", "attributes", "score", "text", "kie_linking", "track_id", "point_labels"),
        ),
    },
    "CreateML": {
        "file": Fields(
            "picture",
            ("image", "imagefilename", "annotations", "annotation"),
            (),
            ("imageURL", "verified", "attributes"),
        ),
        "annotations": Fields(
            "annotation", ("label", "coordinates"), (), ("score", "confidence", "attributes")
        ),
    },
    "VIA": {
        "file": Fields(
            "picture", ("filename", "regions"), ("size",), ("file_attributes", "base64_img_data", "fileref")
        ),
        "regions": Fields("region", ("shape_attributes", "region_attributes"), ("timestamp",), ()),
    },
    "Label Studio": {
        "file": Fields(
            "task",
            ("data", "annotations", "completions"),
            (
                "id", "inner_id", "project", "created_at", "updated_at", "updated_by", "file_upload", "allow_skip",
                "total_annotations", "cancelled_annotations", "total_predictions", "comment_count",
                "unread_comment_count", "last_comment_updated_at", "comment_authors", "is_labeled", "overlap",
                "draft_exists", "unresolved_comment_count",
            ),
            ("predictions", "drafts", "meta", "agreement"),
        ),
        "results": Fields(
            "result",
            ("id", "type", "value", "original_width", "original_height", "image_rotation"),
            ("from_name", "to_name", "origin", "readonly", "hidden", "parentID"),
            ("meta", "score", "item_index"),
        ),
    },
    "MOTChallenge": {
        "seqinfo.ini": Fields(
            "sequence", ("name", "imdir", "seqlength", "imwidth", "imheight"), ("imext",), ("framerate",)
        ),
    },
    "PoseTrack 2018": {
        "file": Fields(
            "file", ("images", "annotations", "categories"), (), ("info", "licenses", "videos")
        ),
        "images": Fields(
            "image",
            (
                "id", "file_name", "height", "width", "frame_id", "vid_id", "is_labeled", "ignore_regions_x",
                "ignore_regions_y",
            ),
            ("nframes", "image_id", "original_file_name"),
            ("mask_file", "has_no_densepose", "has_labeled_person", "license", "date_captured", "frame_index"),
        ),
        "annotations": Fields(
            "annotation",
            ("image_id", "category_id", "track_id", "bbox", "bbox_head", "keypoints", "score", "scores"),
            ("id", "num_keypoints"),
            (
                "person_id", "iscrowd", "area", "segmentation", "attributes", "dp_I", "dp_U", "dp_V", "dp_x", "dp_y",
                "dp_masks",
            ),
        ),
        "categories": Fields(
            "category",
            ("id", "name", "keypoints"),
            ("skeleton",),
            ("supercategory", "sigmas", "flip_pairs"),
            {"supercategory": ("", "none", "person")},
            many="categories",
        ),
    },
    "PoseTrack 2017": {
        "file": Fields("file", ("annolist",), (), ("mulidx",)),
        "annolist": Fields(
            "frame",
            ("image", "annorect", "is_labeled", "ignore_regions"),
            ("imgnum", "imgname"),
            ("frame_sec", "vididx", "seq_id", "seq_name"),
        ),
        "annorect": Fields(
            "person",
            ("track_id", "score", "annopoints", "x1", "y1", "x2", "y2"),
            ("index",),
            ("scale", "objpos", "head_r", "silhouette", "category_id"),
            many="people",
        ),
        "point": Fields(
            "joint",
            ("id", "x", "y", "score"),
            (),
            ("is_visible", "vid"),
            {"is_visible": (1, [1], True, [True], "1", ["1"], [], "")},
        ),
    },
}  # fmt: skip
"""format → kind of entry → its fields"""
