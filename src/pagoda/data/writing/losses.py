"""What a format cannot hold of a data set: counted before it is written, and the data set as it will come back."""

from collections.abc import Callable, Mapping

from pagoda.data.writing.contents import Contents
from pagoda.data.writing.holding import OF_VIDEOS, PROPERTIES, TITLES, FormatName, Loss, loss_of
from pagoda.data.writing.mask_steps import (
    box_outlines,
    cut_outlines,
    drop_empty,
    drop_masks,
    fill_holes,
    join_parts,
    round_shares,
    trace_pixels,
)
from pagoda.data.writing.naming import Counted, name_pictures, name_splits, without_empty_splits
from pagoda.data.writing.object_steps import (
    cut_boxes,
    drop_ignored,
    drop_keypoints,
    drop_track_ids,
    drop_unused_classes,
    drop_without_area,
    forget_keypoints_beyond,
    number_classes,
    number_objects,
    number_pictures,
    plain_skeleton,
    set_areas,
    show_hidden_keypoints,
    table_by_table,
    widen_thin,
)
from pagoda.plain import checked

STEPS: Mapping[str, Callable[[Contents, FormatName], Counted]] = {
    "empty_splits": without_empty_splits,
    "split_names": name_splits,
    "picture_names": name_pictures,
    "ignored": table_by_table(drop_ignored),
    "no_area": table_by_table(drop_without_area),
    "thin": table_by_table(widen_thin),
    "beyond": table_by_table(cut_boxes),
    "keypoints": table_by_table(drop_keypoints),
    "keypoints_beyond": table_by_table(forget_keypoints_beyond),
    "hidden_keypoints": table_by_table(show_hidden_keypoints),
    "skeleton": plain_skeleton,
    "masks": drop_masks,
    "empty_masks": table_by_table(drop_empty),
    "holes": table_by_table(fill_holes),
    "run_lengths": table_by_table(trace_pixels),
    "outlines_beyond": table_by_table(cut_outlines),
    "parts": table_by_table(join_parts),
    "rims": table_by_table(round_shares),
    "boxes_of_outlines": table_by_table(box_outlines),
    "areas": table_by_table(set_areas),
    "unused_classes": drop_unused_classes,
    "class_numbers": number_classes,
    "picture_ids": number_pictures,
    "object_ids": number_objects,
    "track_ids": drop_track_ids,
}
"""key of a `Property` → what counts it and carries it out, in the order of the table"""


@checked
def hold(contents: Contents, name: FormatName) -> tuple[Contents, tuple[Loss, ...]]:
    """The data set as it comes back from a format of pictures, and what is lost on the way, in the order of the table.

    Raises ValueError where the format cannot hold anything of it.

    >>> from tempfile import TemporaryDirectory
    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> from pagoda.data.saving import write_coco_folder
    >>> from pagoda.data.writing.contents import open_contents
    >>> with TemporaryDirectory() as folder:
    ...     _ = write_coco_folder(DrawnShapes(2, (32, 48)), folder)
    ...     _, losses = hold(open_contents(folder), "coco")
    >>> losses
    ()
    """
    if name in OF_VIDEOS:
        raise ValueError(
            f"{TITLES[name]} holds videos, and {contents.source} has pictures without track ids; write COCO, VOC, YOLO"
            " or LabelMe, or make tracks of it first: pagoda track CHECKPOINT FOLDER writes MOT text and PoseTrack JSON"
        )
    losses = []
    for each in PROPERTIES:
        if name in each.becomes:
            count, contents = STEPS[each.key](contents, name)
            if count:
                losses.append(loss_of(each, count, name))
    return contents, tuple(losses)
