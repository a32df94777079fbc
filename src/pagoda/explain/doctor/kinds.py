"""Every kind of finding the dataset doctor knows: what reading complains of, and what the doctor looks for besides."""

from pagoda.data.reading.complaint_kinds import READING, Kind, Severity

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")

KINDS: dict[str, Kind] = READING | {
    "missing_pictures": Kind(
        "error",
        "annotated pictures are not on disk",
        "Restore the files, or remove their entries; skip_missing=True leaves them out.",
        "stops",
    ),
    "broken_pictures": Kind(
        "error",
        "picture files cannot be read whole",
        "Fetch them again, or remove them with their annotations.",
    ),
    "size_mismatch": Kind(
        "error",
        "the annotated size is not the picture's",
        "Restore the annotated picture, or scale the boxes and correct the size.",
    ),
    "dark_pictures": Kind(
        "warning",
        "pictures of more than 8 bits use a small part of their range and become nearly black, for the whole range"
        " is scaled to 8 bits",
        "Make copies that use all of it, and train on those: the command stands below.",
    ),
    "classes_unknown_to_train": Kind(
        "error",
        "a split to score on has objects of classes that the split to learn from does not list, so training is refused",
        "Give a class the same name in both, upper and lower case included, or list it and annotate it in train.",
    ),
    "different_categories": Kind(
        "note",
        "splits list other categories, or the same with other ids; classes are matched by name, and train's are learnt",
        "Nothing, if a name means the same in all splits.",
    ),
    "non_finite_boxes": Kind("error", "a box holds NaN or infinity", "Remove or redraw it.", "left out"),
    "empty_boxes": Kind(
        "error",
        "a box has no width or no height and is never learnt",
        "Remove or redraw it; look for corners in the wrong order.",
    ),
    "boxes_outside": Kind(
        "error",
        "a box lies wholly outside its picture and is never learnt",
        "Check for another picture's box, swapped axes, or coordinates of another size.",
    ),
    "boxes_leaving_picture": Kind(
        "warning",
        "a box reaches beyond the picture by more than a pixel; it is cut when learnt",
        "Cut it to the picture; if there are many, check the annotated size.",
    ),
    "tiny_boxes": Kind(
        "warning", "a box is one pixel or less wide or high, like a click", "Remove or redraw it."
    ),
    "repeated_boxes": Kind(
        "warning", "the same box of the same class stands twice in one picture", "Remove one."
    ),
    "near_duplicate_boxes": Kind(
        "warning",
        "two boxes of one class overlap almost wholly: probably one object drawn twice",
        "Look at the pictures and remove one.",
    ),
    "boxes_of_two_classes": Kind(
        "warning",
        "exactly the same box carries two classes",
        "Decide for one, unless the classes are meant to overlap.",
    ),
    "empty_masks": Kind(
        "warning", "a mask has no pixel inside its picture", "Redraw it, or remove the annotation."
    ),
    "masks_off_boxes": Kind(
        "warning",
        "a mask does not meet its box, or reaches far beyond it",
        "Look at the picture: one of the two belongs to another object, or axes are swapped.",
    ),
    "missing_masks": Kind(
        "warning",
        "some objects have no mask while others of the data set do; they are learnt and scored by their box",
        "Annotate them, or keep to boxes.",
    ),
    "keypoints_outside": Kind(
        "warning",
        "labelled keypoints lie off the picture; they are learnt as not labelled",
        "Correct them, or give them visibility 0.",
    ),
    "keypoints_off_boxes": Kind(
        "warning",
        "labelled keypoints lie far outside the box of their object",
        "Look at the picture: they may belong to another object, or the box is too small.",
    ),
    "missing_flip_pairs": Kind(
        "warning",
        "nobody says which keypoints change places in a mirror, so pictures cannot be flipped in training",
        "Add flip_pairs [[a, b], …] (counted from 0) to the category in COCO files, [] where none do, or flip_idx to"
        " data.yaml in YOLO folders; or name them left_… and right_….",
    ),
    "letters_not_in_font": Kind(
        "note",
        "the font of drawn pictures and curves (DejaVu Sans) lacks letters of a name, which are drawn as empty boxes",
        "Nothing: training, scores and files keep the names; add one in other letters if you want to read it there.",
    ),
    "empty_classes": Kind(
        "warning",
        "a class has no object in any split",
        "Remove it, or annotate it: it cannot be learnt or measured.",
    ),
    "ignored_classes": Kind(
        "warning",
        "all objects of a class are ignored: they are marked as difficult, or crowd regions",
        "Take the mark off some of them, or remove the class: it cannot be learnt or measured.",
    ),
    "classes_not_in_train": Kind(
        "warning", "a class has objects, but none in train", "Split again, so that train sees it."
    ),
    "classes_not_in_val": Kind(
        "warning",
        "a class is trained on but has no object in val",
        "Split again; its quality cannot be measured.",
    ),
    "class_imbalance": Kind(
        "warning",
        "the most frequent class has over 50 times the objects of the rarest",
        "Collect more of the rare class, repeat its pictures, and read AP per class.",
    ),
    "leaks": Kind("error", "the same picture is in two splits, so scores are too good", "Keep it in one."),
    "near_leaks": Kind(
        "warning",
        "nearly the same picture is in two splits, as from one video or a copy",
        "Split by scene or video, not by picture.",
    ),
    "duplicate_pictures": Kind(
        "warning", "pictures of one split have the same pixels", "Keep one; merge the objects."
    ),
    "near_duplicate_pictures": Kind(
        "warning",
        "pictures of one split are nearly the same",
        "Keep one of each, unless they are meant as frames of a video.",
    ),
    "overlapping_splits": Kind(
        "note",
        "a split repeats others, as trainval does; it is not counted again",
        "Do not measure on one and train on the other.",
    ),
    "absent_splits": Kind(
        "note",
        "the data set names a split that is not there; it matters only where that split is asked for",
        "Add its files, or take it out of the description.",
    ),
    "files_not_read": Kind(
        "note",
        "annotation files lie below that belong to no split",
        "Move them into the folder of a split, if they should be used.",
    ),
    "rotated_pictures": Kind(
        "note",
        "pictures are turned by an EXIF orientation, which is applied when they are read",
        "Make sure the boxes were drawn on the upright picture.",
    ),
    "unusual_modes": Kind(
        "note",
        "pictures are not 8-bit RGB; they are converted when read",
        "Nothing, if grey, 16-bit or CMYK is what you expect; alpha is dropped.",
    ),
    "pictures_without_objects": Kind(
        "note", "they are learnt as background", "Make sure nothing was forgotten in them."
    ),
    "pictures_not_mentioned": Kind(
        "note",
        "files lie beside the pictures but no annotation names them",
        "Annotate or move them, if they should be used.",
    ),
    "several_frames": Kind(
        "note",
        "files hold several frames or pages, of which the first is read",
        "Save the others as pictures of their own, if they should be used.",
    ),
    "crowd_regions": Kind(
        "note",
        "they are ignored in training and in scoring",
        "Nothing, if this is meant; difficult objects count among them.",
    ),
    "pictures_not_opened": Kind(
        "note",
        "max_pictures left their files unread, so the checks of files and pixels are partial",
        "Run again without max_pictures.",
    ),
}
