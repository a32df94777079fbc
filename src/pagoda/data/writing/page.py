"""docs/data_exchange.md, made from the table of what formats hold."""

from collections.abc import Iterator, Sequence

from pagoda.data.unread.fields import FIELDS
from pagoda.data.writing.holding import OF_VIDEOS, PROPERTIES, TITLES, VIDEO_PROPERTIES, FormatName, Property

_OF_MASKS_AND_POSES = (
    "keypoints_beyond", "hidden_keypoints", "empty_masks", "holes", "run_lengths", "outlines_beyond", "parts", "rims",
)  # fmt: skip
"""properties of what VOC does not hold at all"""

_HEAD = """\
# Exchange of data sets

    pagoda data convert DIR OUT --to coco|voc|yolo|labelme     # a data set in another format
    pagoda data convert DIR OUT --to mot|posetrack             # annotated videos
    pagoda data merge A B OUT                                  # data sets put together
    pagoda data split DIR OUT --val 0.2 --by folder            # divided into train and val
    pagoda data subset DIR OUT --classes cat dog --first 100   # some of one
    pagoda data tile DIR OUT --size 640                        # large pictures cut into tiles

DIR may be of any format that is read ([Formats](formats.md)) and stays as it is. OUT is a new or empty folder; it
appears when all of it is written, after an error nothing is there. Pictures are copied byte for byte, or linked
(`--link hard`, `--link sym`), and keep their names where these are free.

What the format cannot hold is counted before anything is written, printed, and saved in OUT/losses.json: "1 mask with
holes: filled, for YOLO polygons cannot hold holes". `--dry-run` says it and writes nothing; `--strict` refuses where
something would be lost. What no reader takes up is counted there, too, field by field
([below](#fields-that-are-not-read)). Numbers that come back within a millionth of a pixel count as kept. On a full
disk, after Ctrl-C and after a kill nothing is at OUT; the command given again begins anew.

Made from `pagoda.data.writing.holding` and `pagoda.data.unread.fields` by `python tools/formats_page.py`. Generated
data sets go through every pair of formats in the tests, pictures through the first four and videos through all six,
and what comes back is what was promised, object by object (`tests/data/writing/test_round_trips.py` and
`test_video_round_trips.py`)."""

_VERBS = """\
## Put together, divided, chosen

**merge** puts splits of the same name together. Classes meet by their names, to the letter; names that look alike (Car,
car) stay apart and are said. A class keeps its category id unless another has it already. Pictures of the same name are
named anew and counted; those that are there twice byte for byte are said, and apart those in more than one split.
Different keypoints are refused, and so is one folder given twice.

**split** deals out the rarest class first, each group of pictures to the split that lacks most of it, and prints how
many objects of each class every split has. `--by folder` and `--by prefix` (the name before its last number) keep
pictures together; pictures that are the same byte for byte always stay together. `--of train+val` divides what has
splits already. The same `--seed` divides alike.

A **video** goes to one side whole, counts by its frames, and is chosen by its name; its track ids stay its own. Videos
that share a frame byte for byte stay together. Videos and pictures are not mixed: `convert` makes pictures of videos.

**subset** leaves out objects of other classes and counts them; pictures without any stay, unless `--drop-empty`.
Pictures are chosen by name (`--pictures`, or a text file of names), as the `--first` of each split or as a
`--fraction` drawn by `--seed`.

These three write the format they read, or COCO where that is not written; `--to` chooses another.

**tile** cuts as `pagoda train --tiles` does ([Tiles](tiles.md)) and writes COCO: of an object that a border cuts what
is seen of it, ignored where that is less than `--min-share`. A tile is called by its picture and its left upper corner,
photo_480_0.png; its entry says both, `tile_of` and `tile_at`. What was cut, ignored and left out is counted and told.

## Videos

A folder of annotated videos becomes pictures frame by frame; in COCO each object keeps its track in a key of its own,
`track_id`. MOTChallenge's and PoseTrack's folders need tracks: pictures are refused, and `pagoda track` makes tracks.
MOTChallenge's classes other than pedestrian stand in `gt/labels.txt`, as CVAT has them."""
_FIELDS = """\
## Fields that are not read

By the formats' documentation and what common programs write. A field that stands neither here nor among those that are
read counts as well, under its own name; one that holds nothing (none, false, 0, an empty text or list) does not.

| format | of each | fields |
|---|---|---|
"""


def page() -> str:
    """The text of docs/data_exchange.md.

    >>> page().splitlines()[0]
    '# Exchange of data sets'
    """
    pictures = [name for name in TITLES if name not in OF_VIDEOS]
    parts = [_HEAD, "## What pictures keep\n\n" + _table(PROPERTIES, pictures)]
    parts += ["## What videos keep besides\n\n" + _table(VIDEO_PROPERTIES, list(TITLES)), _VERBS]
    parts.append(_FIELDS + "\n".join(_unread_rows()))
    return "\n\n".join(parts) + "\n"


def _table(rows: Sequence[Property], formats: Sequence[FormatName]) -> str:
    lines = [
        f"| | {' | '.join(TITLES[name] for name in formats)} |",
        f"|---|{'---|' * len(formats)}",
        *(f"| {row.name} | {' | '.join(_cell(row, name) for name in formats)} |" for row in rows),
    ]
    return "\n".join(lines)


def _unread_rows() -> Iterator[str]:
    for kind, parts in FIELDS.items():
        for fields in parts.values():
            if fields.lost:
                yield f"| {kind} | {fields.noun} | {', '.join(f'`{name}`' for name in fields.lost)} |"


def _cell(row: Property, name: FormatName) -> str:
    is_gone = name == "voc" and row.key in _OF_MASKS_AND_POSES
    return "lost with them" if is_gone else row.becomes.get(name, "kept")
