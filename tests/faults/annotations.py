"""Annotations of every format that is read, damaged by the thousand: each ends in a sentence that names the file.

    python tests/faults/annotations.py --count 3000 [--seed 0] [--only yolo_folder] [--show 5]

One file of a small whole data set is spoilt at a time: annotations, lists, descriptions, and the pictures beside them.
What is left is opened, its pictures are read, and the doctor examines it; videos, tracks, results, names of classes and
records go through what reads them. A spoilt file may still be read. What counts as a fault: an exception that the
command line does not expect (a traceback), a message or note without a name of the folder, a warning of NumPy's,
memory beyond `ROOM`, and more than `SECONDS` of the processor.
"""

import io
import json
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import av  # noqa: F401 (else loaded, and counted, with the first picture of many bits)
import torch
from document_mutations import spoil_file
from drawn_layouts import DRAWN, draw, write
from limits import Tried, command, limited, most_held, multiple
from rich_layouts import (
    FOUND_ROWS,
    MOT_ROWS,
    RICH,
    coco_with_shapes,
    draw_posetrack,
    posetrack_17,
    posetrack_18,
    predictions,
)

from pagoda.cli.arguments.parsing import read_labels
from pagoda.cli.main import EXPECTED
from pagoda.cli.tracks.evaluate import main as track_eval
from pagoda.cli.val import main as val
from pagoda.data.clips import ClipDataset
from pagoda.data.dataset import DetectionDataset
from pagoda.data.formats.layouts import find_dataset
from pagoda.data.formats.reader import open_annotations
from pagoda.data.tracks.files import read_tracks
from pagoda.data.tracks.folders import find_videos, open_videos
from pagoda.explain.doctor.examine import examine
from pagoda.follow.frame_log import FoundWriter, read_about, read_found
from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap

ROOM = 2**27
"""bytes that any reader may take, for modules that are imported late"""
SECONDS = 5
"""of the processor"""
Read = Callable[[Path], object]


@dataclass(frozen=True)
class Kind:
    """A data set or file: how a whole one is drawn in a folder, and what is done with it, each for itself."""

    draw: Callable[[Path], None]
    reads: tuple[Read, ...]


class NoPlace(Exception):
    """What was noted names no file."""


# ---- what is done with a data set


def open_all(place: Path) -> None:
    """Every split that can be opened, and all its pictures."""
    layout = find_dataset(place)
    layout.describe()
    errors: list[Exception] = []
    for split in layout.splits:
        try:
            annotations = open_annotations(place, split, skip_missing=True)
            look_at(annotations.notes, layout.root)
            annotations.to_coco()
            annotations.boxes_only()
            dataset = DetectionDataset(annotations)
            for index in range(len(dataset)):
                dataset[index]
        except EXPECTED as error:
            errors.append(error)
    for error in errors:
        raise error


def diagnose(place: Path) -> None:
    report = examine(place)
    report.text()
    json.dumps(report.to_dict())


def look_at(notes: tuple[str, ...], folder: Path) -> None:
    """Every note names the data set or one of its files."""
    names = [str(folder), *(path.name for path in folder.rglob("*") if path.is_file())]
    for note in notes:
        if not any(name in note for name in names):
            raise NoPlace(note)


def open_all_videos(folder: Path) -> None:
    for split in find_videos(folder):
        videos = open_videos(folder, split)
        clips = ClipDataset(videos, clip_length=3)
        for index in range(len(clips)):
            clips[index]


def quietly(call: Callable[..., object], argument: object) -> None:
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        call(argument)


def score_tracks(folder: Path) -> None:
    quietly(track_eval, ["--gt", str(folder / "truth"), "--pred", str(folder / "found")])


def score_results(folder: Path) -> None:
    quietly(
        val, ["--results", str(folder / "results.json"), "--data", str(folder / "data"), "--split", "train"]
    )


def read_record(folder: Path) -> None:
    _, count = read_about(folder / "found.jsonl")
    list(read_found(folder / "found.jsonl", LabelMap.from_names(("cat",)), num_frames=count))


# ---- files that are no data set of pictures


def mot_folder(root: Path) -> None:
    draw(*(root / f"train/walk/img1/{number:06d}.png" for number in (1, 2, 3)))
    write(root / "train/walk/gt/gt.txt", MOT_ROWS)
    write(root / "train/walk/gt/labels.txt", "pedestrian\ncar\n")
    write(
        root / "train/walk/seqinfo.ini",
        "[Sequence]\nname=walk\nseqLength=3\nimWidth=40\nimHeight=20\nimDir=img1\n",
    )


def tracks_in_text(root: Path) -> None:
    write(root / "truth/walk/gt/gt.txt", MOT_ROWS)
    write(root / "truth/walk/seqinfo.ini", "[Sequence]\nname=walk\nseqLength=3\nimWidth=40\nimHeight=20\n")
    write(root / "found/walk.txt", FOUND_ROWS)


def tracks_of_2017(root: Path) -> None:
    for folder in ("truth", "found"):
        write(root / folder / "walk.json", posetrack_17(is_truth=folder == "truth"))


def tracks_of_2018(root: Path) -> None:
    for folder in ("truth", "found"):
        write(root / folder / "walk.json", posetrack_18(is_truth=folder == "truth"))


def tracks_of_ours(root: Path) -> None:
    write(root / "truth/walk/gt/gt.txt", MOT_ROWS)
    write(root / "found/walk.json", predictions())


def results(root: Path, *fields: str) -> None:
    coco_with_shapes(root / "data")
    document = json.loads((root / "data/annotations/train.json").read_text())
    wanted = ("image_id", "category_id", *fields)
    rows = [{key: entry[key] for key in wanted} | {"score": 0.9} for entry in document["annotations"][:3]]
    categories = document["categories"]
    write(
        root / "results.json", {"annotations": rows, "categories": categories} if "bbox" in fields else rows
    )


def names_of_classes(root: Path) -> None:
    write(root / "names.txt", "cat\ntraffic light\n人\n")


def names_with_keypoints(root: Path) -> None:
    categories = [
        {"id": 7, "name": "dog"},
        {"id": 1, "name": "cat", "keypoints": ["a", "b"], "skeleton": [[1, 2]]},
    ]
    write(root / "names.json", {"categories": categories})


def record(root: Path) -> None:
    label_map = LabelMap.from_names(("cat",))
    found = Detections(
        torch.tensor([[1.0, 2, 9, 8]]), torch.tensor([0.5]), torch.tensor([0]), (20, 40), label_map,
        masks=torch.zeros(1, 20, 40, dtype=torch.bool),
    )  # fmt: skip
    with FoundWriter(root / "found.jsonl", {"model": "x"}) as writer:
        writer.add(found)
        writer.add(found)


def at(place: str, read: Callable[[Path], object]) -> Read:
    return lambda folder: read(folder / place)


KINDS: dict[str, Kind] = {
    **{
        f"{each.draw.__name__} {each.place}".removesuffix(" ."): Kind(
            each.draw, (at(each.place, open_all), at(each.place, diagnose))
        )
        for each in (*DRAWN, *RICH)
    },
    "mot videos": Kind(mot_folder, (open_all_videos,)),
    "posetrack videos 2017": Kind(lambda root: draw_posetrack(root, posetrack_17()), (open_all_videos,)),
    "posetrack videos 2018": Kind(lambda root: draw_posetrack(root, posetrack_18()), (open_all_videos,)),
    "tracks in text": Kind(tracks_in_text, (score_tracks,)),
    "tracks of 2017": Kind(tracks_of_2017, (score_tracks,)),
    "tracks of 2018": Kind(tracks_of_2018, (score_tracks,)),
    "tracks of ours": Kind(tracks_of_ours, (score_tracks, at("found", read_tracks))),
    "results, boxes": Kind(lambda root: results(root, "bbox"), (score_results,)),
    "results, shapes": Kind(lambda root: results(root, "segmentation", "keypoints"), (score_results,)),
    "names of classes": Kind(names_of_classes, (lambda root: quietly(read_labels, str(root / "names.txt")),)),
    "names with keypoints": Kind(
        names_with_keypoints, (lambda root: quietly(read_labels, str(root / "names.json")),)
    ),
    "record": Kind(record, (read_record,)),
}


# ---- the trial


def outcome(read: Read, folder: Path, what: str) -> str:
    """ "read", "refused", or the fault."""
    try:
        with limited(SECONDS, ROOM, timer=signal.ITIMER_PROF), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", RuntimeWarning)
            read(folder)
    except KeyboardInterrupt:
        raise
    except EXPECTED as error:
        text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
        return "refused" if str(folder) in text else f"no file named ({what}): {text:.200}"
    except NoPlace as error:
        return f"no file named in a note ({what}): {error!s:.200}"
    except RuntimeWarning as error:
        return f"warning ({what}): {error!s:.160}{_where(error)}"
    except BaseException as error:
        return f"traceback ({what}): {type(error).__name__}: {error!s:.160}{_where(error)}"
    return "read"


def _where(error: BaseException) -> str:
    trace, names = error.__traceback__, []
    while trace is not None:
        if "/pagoda/" in trace.tb_frame.f_code.co_filename:
            names.append(f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return f" [{' '.join(names[-2:])}]"


def trial(name: str, seed: int, folder: Path) -> str:
    """ "read", "refused", or the fault that a data set of this kind shows with one file spoilt."""
    rng = Random(f"{name} {seed}")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    documents = [path for path in files if path.suffix.lower() != ".png"]
    path = rng.choice(documents if documents and rng.random() < 0.85 else files)
    whole = path.read_bytes()
    what, content = spoil_file(path, whole, rng)
    path.write_bytes(content)
    try:
        outcomes = [outcome(read, folder, f"{path.name}: {what}") for read in KINDS[name].reads]
    finally:
        path.write_bytes(whole)
    return _worst(outcomes)


def _worst(outcomes: list[str]) -> str:
    faults = [each for each in outcomes if each not in ("read", "refused")]
    return faults[0] if faults else "refused" if "refused" in outcomes else "read"


def run(name: str, seeds: range) -> Iterator[Tried]:
    """Each spoilt copy."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        KINDS[name].draw(folder)
        for read in KINDS[name].reads:  # the whole one is read, or there is nothing to try
            read(folder)
        whole = max(most_held(partial(read, folder))[1] for read in KINDS[name].reads)
        for seed in seeds:
            result, held = most_held(partial(trial, name, seed, folder))
            yield Tried(seed, result, multiple(held, whole))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        command(__doc__.splitlines()[0], KINDS, run)
