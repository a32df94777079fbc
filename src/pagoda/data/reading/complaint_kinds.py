"""Every kind of complaint that reading a data set may make, what it means, what to do, and whether it stops."""

from typing import Literal, NamedTuple

Severity = Literal["error", "warning", "note"]
Effect = Literal["stops", "left out", "noted"]


class Kind(NamedTuple):
    """How bad it is for the one who trains, what it means, what to do; and what reading does about it.

    >>> READING["no_labels"].severity, READING["no_labels"].effect
    ('error', 'stops')
    """

    severity: Severity
    meaning: str
    remedy: str
    effect: Effect = "noted"


MISSING_FILES = frozenset(("missing_labels", "no_labels", "no_pictures"))
"""Kinds that say that files are missing"""

READING: dict[str, Kind] = {
    # files that cannot be read
    "unreadable_annotations": Kind(
        "error",
        "a file, or a line of it, is not what its format says",
        "Repair it or export it again.",
        "stops",
    ),
    "missing_labels": Kind(
        "error",
        "listed pictures have no annotation file",
        "Add the file, or take the picture off the list.",
        "stops",
    ),
    "no_labels": Kind(
        "error",
        "no picture has a label file",
        "Put the label files where they are looked for, or name the folders in data.yaml.",
        "stops",
    ),
    "no_pictures": Kind(
        "error",
        "a split names no picture",
        "Correct the folder or list in data.yaml, or take the split out.",
        "stops",
    ),
    "lone_labels": Kind(
        "warning", "annotation files belong to no picture", "Add the pictures, or remove the files."
    ),
    "shared_labels": Kind(
        "warning",
        "one label file belongs to several pictures of that name, all of which get its objects",
        "Remove the pictures that are not meant, or rename them and give each its own file.",
    ),
    "other_files": Kind(
        "note",
        "files beside the pictures are of no kind that the installed Pillow reads; they are left out",
        "Convert them to PNG or JPEG, if they are pictures.",
    ),
    "unknown_sizes": Kind(
        "error",
        "nobody says how large a picture is: it has no size in the annotations, and its file cannot be read",
        "Restore the file, write its height and width, or take its entry out.",
        "stops",
    ),
    "sizes_not_given": Kind(
        "note",
        "the annotations do not say how large the pictures are; the files are asked",
        "Write height and width.",
    ),
    "ambiguous_pictures": Kind(
        "error",
        "it is not certain which pictures are meant",
        "Write the path from the data set's folder into the annotations, or move away what is not meant.",
        "stops",
    ),
    "pictures_outside": Kind(
        "note",
        "pictures lie outside the data set's folder: they are named by `..`, by an absolute path or through a link",
        "Nothing, if you know the data set; else look at what it names. --inside-only (inside_only=True) refuses them.",
    ),
    "pictures_refused": Kind(
        "error",
        "pictures or lists lie outside the data set's folder, which inside_only refuses",
        "Move them into the folder, or read without --inside-only (inside_only=True) if you know the data set.",
        "stops",
    ),
    "read_otherwise": Kind(
        "note",
        "names or boxes are written in another program's way and read as told here",
        "Nothing, if the examples are right.",
    ),
    # ids and classes
    "repeated_image_ids": Kind(
        "error",
        "one id stands for several images, so their objects mix",
        "Give every image its own id.",
        "stops",
    ),
    "ids_of_two_kinds": Kind(
        "note",
        'ids stand as numbers in one place and as text in another; 7 and "7" are taken for the same',
        "Nothing, if this is meant; write them in one way.",
    ),
    "repeated_annotation_ids": Kind(
        "warning",
        "objects cannot be told apart by id; they are numbered anew when read",
        "Give every annotation its own id.",
    ),
    "missing_annotation_ids": Kind(
        "note",
        "annotations have no whole number of 64 bits as id; they are numbered when read",
        "Nothing, unless other programs need the ids.",
    ),
    "annotation_id_0": Kind(
        "note",
        "an annotation has the id 0, which COCO's scoring reads as no match; it gets an unused id",
        "Count annotation ids from 1.",
    ),
    "repeated_files": Kind(
        "error",
        "one picture has several image entries, each with a part of its objects",
        "Merge the entries.",
    ),
    "orphan_annotations": Kind(
        "error",
        "annotations name an image that is not listed",
        "Add the image, or remove the annotations.",
        "left out",
    ),
    "foreign_annotations": Kind(
        "error",
        "no annotation names an image of the list",
        "Take annotations and images from the same file.",
        "stops",
    ),
    "bad_categories": Kind(
        "error",
        "a category lacks a whole number or a name, or shares one with another",
        "Give every category its own id and name.",
        "stops",
    ),
    "unnamed_categories": Kind(
        "warning", "a category has no name; it is called by its id", "Give it a name."
    ),
    "trimmed_names": Kind(
        "note",
        "names of classes or keypoints have spaces around them, line breaks or control characters, which are cut off or"
        " become a space",
        "Nothing, unless other programs need them as they are.",
    ),
    "contradicting_counts": Kind(
        "warning",
        "the number of classes is not the number of names; the names count",
        "Correct nc, or add the missing names.",
    ),
    "unknown_categories": Kind(
        "error",
        "annotations name a category that is not listed",
        "Add the category, or correct the annotations.",
        "stops",
    ),
    "shifted_categories": Kind(
        "error",
        "category ids in annotations and in the list are shifted by one",
        "Count both from the same number: from 0 in YOLO, usually from 1 in COCO.",
        "stops",
    ),
    # objects
    "malformed_boxes": Kind(
        "error",
        "a box is not four numbers",
        "Write [x, y, width, height] in COCO, class cx cy width height in YOLO.",
        "stops",
    ),
    "turned_corners": Kind(
        "warning",
        "the corners of a box stand in the wrong order; they are exchanged",
        "Write the smaller coordinate first, and look at the picture.",
    ),
    "equal_corners": Kind(
        "note",
        "corners counted inclusively are equal, so the box is one pixel wide or high",
        "Look at the picture: it may be a click.",
    ),
    "bad_flags": Kind(
        "error", "a flag is neither 0 nor 1", "Write 0 or 1 (or true, false, yes, no).", "stops"
    ),
    "ignore_keys": Kind(
        "note",
        "objects have the key `ignore` without being crowd regions; iscrowd alone counts, as in COCO's scoring",
        "Set iscrowd to 1 where an object must be neither learnt nor counted.",
    ),
    "bad_areas": Kind(
        "warning",
        "an area is not a number; that of the mask or the box counts",
        "Write the pixels of the object, or leave the key out.",
    ),
    "relative_boxes": Kind(
        "error",
        "all boxes lie within the first pixel: they seem to be shares of the picture, 0 … 1",
        "Multiply x and width by the width of the picture, y and height by its height.",
        "stops",
    ),
    "corner_boxes": Kind(
        "warning",
        "boxes that leave their pictures would all fit as corners [x1, y1, x2, y2]; they are read as"
        " [x, y, width, height]",
        "Look at the pictures; subtract x1 from x2 and y1 from y2 where they are corners.",
    ),
    "corners_from_0": Kind(
        "note",
        "corners of a box are 0 where VOC counts from 1; such boxes begin one pixel outside the picture and are cut",
        "Nothing, unless a pixel matters: then add 1 to all corners of these files.",
    ),
    # masks and keypoints
    "malformed_masks": Kind(
        "error",
        "a segmentation is neither polygons nor run lengths of its picture, and stops the reading",
        "Export it again; boxes alone can be read with boxes_only=True.",
        "stops",
    ),
    "short_polygons": Kind(
        "warning",
        "a polygon has fewer than three points; it is left out, and with it perhaps the object's mask",
        "Redraw it, or remove it.",
        "left out",
    ),
    "malformed_keypoints": Kind(
        "error",
        "keypoints are not x, y, visibility of each keypoint of the skeleton, and stop the reading",
        "Write three numbers per keypoint, visibility 0, 1 or 2.",
        "stops",
    ),
    "broken_skeletons": Kind(
        "error",
        "the skeleton of a category contradicts itself",
        "Give every keypoint one name, and one sigma if any; flip pairs and kpt_shape must count the same keypoints.",
        "stops",
    ),
    "bad_skeletons": Kind(
        "warning",
        "categories disagree about keypoints, or a skeleton joins keypoints that are not there",
        "Give all categories with keypoints the same list, and count edges from 1.",
        "left out",
    ),
    "malformed_shapes": Kind(
        "error", "a LabelMe shape lacks what its type needs", "Redraw it, or remove it.", "stops"
    ),
    "shapes_left_out": Kind(
        "warning",
        "what is neither an object of a class nor a keypoint of one is left out",
        "Draw objects as areas, and give points the group of theirs; nothing, where none is meant.",
        "left out",
    ),
    "difficult_objects": Kind(
        "note",
        "shapes are marked as difficult and ignored in training and in scoring, as in VOC",
        "Nothing, if this is meant.",
    ),
}
