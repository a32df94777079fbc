"""Every option of every class refuses what its annotation does not admit: words misspelt, numbers of another type."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import pytest
from torch import nn

import pagoda
from pagoda.messages import nearest
from pagoda.plain import admits, is_option

# What Pagoda itself writes down about data and models, row by row: nobody chooses these values.
RECORDS = {
    "cli.predicting.cluster.Tally",
    "cluster.job.Job",
    "cluster.listing.Block",
    "finding.remarks.Remarks",
    "app.events.View",
    "app.session.Shown",
    "follow.outputs.TrackSummary",
    "data.table.assembly.ImageColumns",
    "data.table.assembly.ObjectColumns",
    "data.tracks.mot_classes.CountedRows",
    "data.formats.voc_layout.VocSet",
    "data.formats.yolo.labels.LabelLines",
    "evaluation.tracks.clear.ClearCounts",
    "explain.doctor.coverage_report.CoverageReport",
    "explain.doctor.records.Split",
    "explain.why.matching.Matched",
    "explain.why.serving.Serving",
    "explain.why.traced.Traced",
    "explain.why.records.Evidence",
    "explain.why.records.Miss",
    "explain.why.records.Wrong",
    "explain.why.records.Suspect",
    "explain.why.records.SeenPicture",
    "explain.why.records.Why",
    "explain.structure.rows.LevelRow",
    "explain.structure.rows.StructureRows",
    "explain.structure.structure.Structure",
    "explain.structure.trace.Call",
    "explain.structure.trace.Reach",
    "evaluation.coco.comparison.Comparison",
    "evaluation.coco.comparison.PictureChange",
    "evaluation.errors.costs.Costs",
    "evaluation.errors.costs.KindCost",
    "evaluation.errors.mending.MendedAp",
    "evaluation.coco.picture_pairs.FoundInPicture",
    "evaluation.coco.picture_pairs.PicturePair",
    "evaluation.coco.result.ApDifference",
    "evaluation.coco.result.ErrorChange",
    "evaluation.comparing_tracks.TrackComparison",
    "evaluation.comparing_tracks.VideoChange",
    "evaluation.coco.thresholds.ClassThresholds",
    "evaluation.coco.thresholds.Estimate",
    "evaluation.coco.thresholds.OperatingPoint",
    "evaluation.coco.operating.OperatingPoints",
    "exporting.openvino.Int8Report",
    "exporting.raw_heads.RawHeadsReport",
    "exporting.parity.ParityReport",
    "exporting.clips.parity.ClipParityReport",
    "exporting.variants.Timing",
    "hub.model_card.Published",
    "hub.model_card.Scores",
    "training.last.Position",
    "training.plan.RunPlan",
    "video.files.VideoFacts",
    "visualization.thumbnails.Embedded",
    "visualization.thumbnails.Thumbnail",
    "visualization.thumbnails.Wanted",
    # Tensors with one row per object, which look at their shapes themselves.
    "structures.tubes.TubeTargets",
    "structures.instances.Detections",
    "structures.instances.Targets",
    "structures.skeleton.Skeleton",
    "structures.tracks.Tracks",
}
MISTAKES: tuple[Callable[[str], str], ...] = (str.upper, str.lower, "{}x".format, " {}".format)
NONSENSE = ("nonsense", "", "12", b"x", None, True, 7, 0.5, float("nan"), [], {}, object())


class Option(NamedTuple):
    """A parameter somebody may choose, of a class or a function."""

    target: Callable[..., Any]
    owner: str
    name: str
    hint: Any


def options() -> Iterator[Option]:
    """Of every public class and function with a `Literal`; and the numbers of constructors: those of modules, and
    those with a default or a keyword, which tell options from the columns of a record."""
    for info in pkgutil.walk_packages(pagoda.__path__, "pagoda."):
        module = importlib.import_module(info.name)
        for name, target in vars(module).items():
            where = f"{info.name.removeprefix('pagoda.')}.{name}"
            if getattr(target, "__module__", "") != info.name or name.startswith("_") or where in RECORDS:
                continue
            if inspect.isfunction(target):
                yield from (option for option in of_call(target, target, where) if words(option.hint))
            elif inspect.isclass(target) and "__init__" in vars(target):
                yield from (o for o in of_call(target, target.__init__, where) if is_chosen(target, o))


def of_call(target: Callable[..., Any], function: Any, where: str) -> Iterator[Option]:
    try:
        hints = get_type_hints(function)
    except NameError:  # names that are there for type checkers only, in the functions that draw curves
        return
    for name, hint in hints.items():
        if name != "return" and is_option(hint) and (words(hint) or has_number(hint)):
            yield Option(target, where, name, hint)


def is_chosen(target: Any, option: Option) -> bool:
    parameter = inspect.signature(target.__init__).parameters[option.name]
    is_free = parameter.default is not parameter.empty or parameter.kind is parameter.KEYWORD_ONLY
    return bool(words(option.hint)) or is_free or issubclass(target, nn.Module)


def words(hint: Any) -> list[Any]:
    parts = get_args(hint)
    if get_origin(hint) is Literal:
        return list(parts)
    return [word for part in parts if part is not Ellipsis for word in words(part)]


def has_number(hint: Any) -> bool:
    return hint in (bool, int, float) or any(
        has_number(part) for part in get_args(hint) if part is not Ellipsis
    )


OPTIONS = sorted(options(), key=lambda option: (option.owner, option.name))


def refusal(option: Option, value: Any) -> str:
    """What the class says to this value, the other arguments left out: options are looked at first."""
    with pytest.raises(ValueError, match=rf"\b{option.name} must be ") as caught:
        option.target(**{option.name: value})
    return str(caught.value)


def test_there_are_many():
    assert len(OPTIONS) > 600 and sum(bool(words(option.hint)) for option in OPTIONS) > 110
    gone = RECORDS - {f"{t.__module__.removeprefix('pagoda.')}.{t.__name__}" for t in all_classes()}
    assert not gone, f"{gone} are no classes any more; take them off RECORDS"


def all_classes() -> Iterator[type]:
    for info in pkgutil.walk_packages(pagoda.__path__, "pagoda."):
        yield from filter(inspect.isclass, vars(importlib.import_module(info.name)).values())


BY_OWNER = {owner: list(group) for owner, group in groupby(OPTIONS, key=lambda option: option.owner)}
OF_EACH = pytest.mark.parametrize("owner", BY_OWNER)


@OF_EACH
def test_nonsense_is_refused(owner):
    """A failure here means: put `@checked` (pagoda.plain) above the class."""
    for option in BY_OWNER[owner]:
        for value in NONSENSE:
            if not admits(option.hint, value):
                said = refusal(option, value)
                assert owner.rpartition(".")[2] in said and "got " in said
                assert all(repr(word) in said for word in words(option.hint))


@OF_EACH
def test_the_nearest_word_is_named(owner):
    for option in BY_OWNER[owner]:
        known = words(option.hint)
        texts = [word for word in known if isinstance(word, str)]
        for misspelt in {change(word) for word in texts for change in MISTAKES} - {*texts}:
            near = nearest(misspelt, texts)
            assert near is not None
            assert f"got {misspelt!r}; did you mean {near!r}?" in refusal(option, misspelt)
