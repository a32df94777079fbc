"""What stands in the files of annotated videos and no reader takes up: counted, for PoseTrack and MOTChallenge."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from pagoda.data.tracks.mot_rows import read_rows, sequence_info
from pagoda.data.unread.fields import FIELDS, Lost
from pagoda.files.text import read_json
from pagoda.plain import JsonObject, checked

MOT_COLUMNS = 9
"""frame, id, box, flag, class, visibility; files with a place in the world have ten"""
_VISIBLE, _HIDDEN = 2, 1


@checked
def unread_of_videos(sources: Iterable[Path]) -> Counter[Lost]:
    """What is not read of MOTChallenge's sequences, which are folders, and of PoseTrack's JSON files."""
    found: Counter[Lost] = Counter()
    for source in sources:
        found.update(_mot(source) if source.is_dir() else _posetrack(read_json(source)))
    return found


def _mot(sequence: Path) -> Counter[Lost]:
    rows = read_rows(sequence / "gt" / "gt.txt", is_truth=True)
    found = FIELDS["MOTChallenge"]["seqinfo.ini"].count(dict(sequence_info(sequence)))
    if rows.shape[1] == MOT_COLUMNS:
        found[Lost("row", "visibility")] += int(((rows[:, 8] != 1) & (rows[:, 8] != -1)).sum())
    elif rows.shape[1] > MOT_COLUMNS:
        found[Lost("row", "a place in the world")] += int((rows[:, 7:10] != -1).any(1).sum())
    return found


def _posetrack(content: object) -> Counter[Lost]:
    document: JsonObject = content if isinstance(content, dict) else {}
    return _of_2017(document) if "annolist" in document else _of_2018(document)


def _of_2017(document: JsonObject) -> Counter[Lost]:
    known = FIELDS["PoseTrack 2017"]
    frames = document["annolist"]
    people = [person for frame in frames for person in frame.get("annorect") or []]
    found = known["file"].count(document) + known["annolist"].count(frames) + known["annorect"].count(people)
    for person in people:
        poses = person.get("annopoints") or []
        poses = poses if isinstance(poses, list) else [poses]
        found[
            Lost("person", "annopoints", "people", "with several lists of joints", "of the first alone")
        ] += len(poses) > 1
        found.update(known["point"].count((poses[0].get("point") or []) if poses else []))
    return found


def _of_2018(document: JsonObject) -> Counter[Lost]:
    known = FIELDS["PoseTrack 2018"]
    found = known["file"].count(document)
    for part in ("images", "annotations", "categories"):
        found.update(known[part].count(document.get(part)))
    entries, categories = document.get("annotations") or [], document.get("categories") or []
    first = categories[0].get("id") if categories else None
    of_others = sum(entry.get("category_id", first) != first for entry in entries)
    taken = "taken for one of the first, for PoseTrack's files are of people"
    found[Lost("annotation", "category_id", "", "of another category than the first", taken)] += of_others
    flags = [flag for entry in entries for flag in (entry.get("keypoints") or [])[2::3]]
    if _VISIBLE in flags:
        shown = "visible from now on, for a joint of a video is there or not"
        found[Lost("joint", "visibility", "", "labelled and hidden", shown)] += flags.count(_HIDDEN)
    return found
