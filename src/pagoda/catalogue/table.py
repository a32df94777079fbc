"""All models of the zoo in one table: size, work, speed, accuracy, and whose checkpoints they take.

`models.json` is made by tools/models_page.py from the models themselves, its times by benchmarks/models.py; the
tests hold it to the models.
"""

import json
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.resources import files

from pagoda.convert.programs import SOURCES
from pagoda.convert.published import PUBLISHED, Published
from pagoda.explain.structure.describe import describe_model
from pagoda.files.text import json_text
from pagoda.layers.unallocated import WithoutMemory
from pagoda.models import create_model
from pagoda.plain import JsonObject, checked, from_plain
from pagoda.zoo.families import parse_name


@checked
@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a model scored that was trained with Pagoda; the commands stand in benchmarks/RESULTS.md.

    >>> [score.ap for score in TRAINED["fcos_resnet18_fpn"]]
    [53.4]
    """

    data: str
    """whose validation pictures"""
    ap: float
    """of boxes, in percent"""
    how: str
    """the run, in short"""


@checked
@dataclass(frozen=True, kw_only=True)
class ModelRow:
    """One model for 80 classes, at the size of pictures it comes with.

    >>> row = rows()["fcos_resnet50_fpn"]
    >>> row.parameters, row.size, round(row.multiplications / 1e9)
    (32297370, (800, 1333), 215)
    """

    name: str
    """as `create_model` takes it"""
    size: tuple[int, int]
    """height and width of the pictures that multiplications count for"""
    parameters: int
    """numbers in the whole model"""
    multiplications: int
    """of one picture, or of one clip, as `pagoda info` counts them"""
    fp32_ms: float | None = None
    """of one picture in memory by the network and its selection, eager fp32; None: not measured"""
    best_ms: float | None = None
    """… in the quickest form of all that `pagoda bench` knows"""
    best_form: str = ""
    """which that was"""

    @property
    def detector(self) -> str:
        """What its name begins with."""
        return parse_name(self.name).detector

    @property
    def programs(self) -> tuple[str, ...]:
        """Whose checkpoints it takes, as `pagoda convert --to` calls them."""
        neck = parse_name(self.name).neck
        found = (s.name for s in SOURCES if self.detector in s.flavours and (not s.necks or neck in s.necks))
        return tuple(sorted(set(found)))

    @property
    def published(self) -> Published | None:
        """The best of what others have published of it; None where that is nothing."""
        of_this = [row for row in PUBLISHED if row.model.rpartition(".")[0] == self.name and not row.options]
        return max(of_this, key=lambda row: row.ap, default=None)

    def to_dict(self) -> JsonObject:
        """All there is to say of it, ready for JSON."""
        best = self.published
        return {
            **asdict(self),
            "programs": list(self.programs),
            "trained": [asdict(score) for score in TRAINED.get(self.name, ())],
            "published": None if best is None else {"ap": best.ap, "metric": best.metric, "by": best.program},
        }


@checked
@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """The rows, and on what they were measured.

    >>> Catalogue(machine="a processor, 2 threads").rows
    ()
    """

    machine: str = ""
    """processor, threads and versions of the times"""
    rows: tuple[ModelRow, ...] = field(default=())
    """in the order of their names"""


TRAINED = {
    "fcos_resnet18_fpn": (Trained(data="BCCD", ap=53.4, how="12 epochs from scratch, 64 wide, 320×240"),),
    "efficientdet_d0": (Trained(data="BCCD", ap=28.4, how="12 epochs from scratch, 256×192"),),
    "ssd_resnet18": (Trained(data="BCCD", ap=56.8, how="12 epochs from scratch, 320×240"),),
    "yolov1_resnet18": (
        Trained(data="BCCD", ap=39.9, how="8 of 12 epochs from scratch, 64 wide, 320×240, 15×20 cells"),
    ),
    "retinanet_resnet18_fpn": (
        Trained(data="BCCD", ap=44.3, how="12 epochs from scratch, 64 wide, 320×240"),
    ),
}


FILE = "models.json"


@cache
def catalogue() -> Catalogue:
    """The table as it was last made.

    >>> catalogue().rows[0].detector
    'detect_and_track'
    """
    text = files("pagoda.catalogue").joinpath(FILE).read_text(encoding="utf-8")
    content = json.loads(text)
    found = tuple(from_plain(ModelRow, row) for row in content["rows"])
    return Catalogue(machine=content["machine"], rows=found)


def as_text(found: Catalogue) -> str:
    """What `models.json` says.

    >>> as_text(catalogue()) == files("pagoda.catalogue").joinpath(FILE).read_text(encoding="utf-8")
    True
    """
    rows = [json_text(asdict(row)) for row in found.rows]
    return f'{{"machine": {json_text(found.machine)}, "rows": [\n' + ",\n".join(rows) + "\n]}\n"


def rows() -> dict[str, ModelRow]:
    """The rows by name.

    >>> rows()["efficientdet_d0"].size
    (512, 512)
    """
    return {row.name: row for row in catalogue().rows}


def measured_row(name: str) -> ModelRow:
    """A row out of the model itself, traced without computing a number; its times are not in it.

    >>> measured_row("efficientdet_lite0").multiplications == rows()["efficientdet_lite0"].multiplications
    True
    """
    with WithoutMemory():
        model = create_model(name, num_classes=80)
    spec = model.input_spec
    size = spec.canvas or (spec.short_side, spec.long_side)
    structure = describe_model(model, size)
    return ModelRow(
        name=name,
        size=size,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        multiplications=structure.macs,
    )
