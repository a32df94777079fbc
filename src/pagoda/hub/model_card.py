"""The page that stands beside published weights: what they are, how good, from whom, and that they are these."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pagoda.plain import JsonObject
from pagoda.version import __version__
from pagoda.zoo.families import is_known, parse_name

HUB_LICENCES = (
    "apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0", "gpl-3.0", "lgpl-3.0", "agpl-3.0", "mpl-2.0", "openrail", "unlicense",
)  # fmt: skip
"""as the hub spells them; others are "other" there, with their name beside it"""
SHOWN = ("AP", "AP50", "AP75", "segm/AP", "segm/AP50", "keypoints/AP", "keypoints/AP50")
TASKS = {"mask_rcnn": "image-segmentation", "keypoint_rcnn": "keypoint-detection"}
"""{how a model's name begins: the hub's word for what it does}; all others detect objects"""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What a model reached on annotated pictures."""

    metrics: Mapping[str, float | None]
    """AP, AP50 … as fractions; None where undefined"""
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """95 % of as many other pictures give a value between; empty where it was not reckoned"""
    data: str = ""
    """the name of the data set; empty where it is not known"""
    split: str = ""
    """which part of it"""
    fingerprint: str = ""
    """of that split (`data.table.fingerprint`); empty where it is not known"""
    protocol: str = ""
    """how they were measured"""

    def rows(self) -> list[tuple[str, float]]:
        """(metric, value) of those that are shown and defined."""
        known = ((name, self.metrics.get(name)) for name in SHOWN)
        return [(name, value) for name, value in known if value is not None and math.isfinite(value)]


@dataclass(frozen=True, kw_only=True)
class Published:
    """All that a page says.

    >>> card = {"model": "fcos_resnet18_fpn", "label_map": {"names": ["cat"]}}
    >>> Published(name="shapes", card=card, sha256="ab", licence="MIT").text().splitlines()[1:4]
    ['library_name: pagoda', 'license: mit', 'pipeline_tag: object-detection']
    """

    name: str
    """the title"""
    card: JsonObject
    """of the checkpoint"""
    sha256: str
    """of the file of weights"""
    num_bytes: int = 0
    """of that file; 0: not said"""
    num_parameters: int = 0
    """numbers that the model learns; 0: not said"""
    licence: str = ""
    """of these weights, as whoever publishes them says; empty: nobody has said"""
    scores: Scores | None = None
    """what is known of them"""
    repo: str = "OWNER/REPO"
    """where it lies on the hub"""

    def text(self) -> str:
        """README.md: metadata as the hub reads them, then Markdown."""
        parts = (self._about(), self._scores(), self._use(), self._origin())
        return f"---\n{self.metadata()}\n---\n\n# {_cell(self.name)}\n\n" + "\n\n".join(parts) + "\n"

    def metadata(self) -> str:
        """YAML of the hub's own fields."""
        # A second, which loading a model does not need.
        from huggingface_hub import EvalResult, ModelCardData

        model, task = str(self.card.get("model") or ""), self.task
        results = None
        if self.scores is not None and self.scores.rows():
            place = self.scores.data or "the data of its training"
            results = [
                EvalResult(
                    task_type=task,
                    dataset_type=re.sub(r"[^a-z0-9]+", "-", place.lower()).strip("-") or "data",
                    dataset_name=place,
                    dataset_split=self.scores.split or None,
                    metric_type=metric,
                    metric_name=f"{metric} (COCO)",
                    metric_value=round(value, 4),
                )
                for metric, value in self.scores.rows()
            ]
        is_on_hub = self.licence.lower() in HUB_LICENCES
        named = {"license": self.licence.lower()} if is_on_hub else {}
        if self.licence and not is_on_hub:
            named = {
                "license": "other",
                "license_name": re.sub(r"[^\w.-]+", "-", self.licence).strip("-").lower(),
            }
        known = ModelCardData(
            model_name=self.name if results else None,
            library_name="pagoda",
            pipeline_tag=task,
            tags=["pagoda", *([parse_name(model).detector] if is_known(model) else [])],
            eval_results=results,
            **named,
        )
        return known.to_yaml().strip()

    @property
    def task(self) -> str:
        """The hub's word."""
        model = str(self.card.get("model") or "")
        return next((task for start, task in TASKS.items() if model.startswith(start)), "object-detection")

    def _about(self) -> str:
        names = self.card.get("label_map", {}).get("names", [])
        model = self.card.get("model")
        told = (
            f"`{model}`"
            if model
            else "composed outside the zoo: loading it takes the function that builds it"
        )
        rows = [("model", told)]
        if self.num_parameters:
            rows.append(("parameters", f"{self.num_parameters / 1e6:.1f} M"))
        rows += [
            ("classes", f"{len(names)}: {', '.join(map(_cell, names[:40]))}{' …' if len(names) > 40 else ''}")
        ]
        rows += [("epoch", str(self.card["epoch"]))] if "epoch" in self.card else []
        data = self.card.get("data")
        if isinstance(data, Mapping):
            rows += [(f"data, {split}", f"fingerprint `{value}`") for split, value in data.items()]
        return _table(("", ""), rows)

    def _scores(self) -> str:
        if self.scores is None or not self.scores.rows():
            return "## Scores\n\nNone are known."
        rows = []
        for metric, value in self.scores.rows():
            low, high = self.scores.intervals.get(metric, (math.nan, math.nan))
            interval = f"{100 * low:.1f} … {100 * high:.1f}" if math.isfinite(low + high) else "not reckoned"
            rows.append((metric, f"{100 * value:.1f}", interval))
        where = (
            f"On {self.scores.data}{f', {self.scores.split}' if self.scores.split else ''}"
            if self.scores.data
            else ("On the data that chose these weights among the epochs of their training")
        )
        known = f" (fingerprint `{self.scores.fingerprint}`)" if self.scores.fingerprint else ""
        told = f"\n\n{self.scores.protocol}" if self.scores.protocol else ""
        return f"## Scores\n\n{where}{known}, in percent:\n\n{_table(('metric', 'value', '95 % interval'), rows)}{told}"

    def _use(self) -> str:
        composed = "" if self.card.get("model") else ", build=FUNCTION"
        return (
            "## Use\n\n```python\nimport pagoda\n\n"
            f'model = pagoda.from_pretrained("hf:{self.repo}"{composed})\n'
            'found = model.predict("photo.jpg", min_score=0.5)\n```\n\n'
            "Arrays are RGB, boxes x1, y1, x2, y2 in pixels, labels count from 0."
        )

    def _origin(self) -> str:
        rows = [("these weights", self.licence or "nobody has stated one", f"`{self.sha256}`")]
        began = self.card.get("provenance")
        if isinstance(began, Mapping):
            told = f"{began.get('file')} ({began.get('source')})"
            licence, digest = (_cell(began.get(key) or "not known") for key in ("licence", "sha256"))
            rows.append((_cell(told), licence, f"`{digest}`"))
        body = (self.card.get("options") or {}).get("backbone_weights")
        if body:
            rows.append((f"the backbone: {_cell(body)}", "that of its publisher", "not known"))
        return (
            "## Where they come from\n\nThe first row is `model.safetensors`"
            f"{f', {self.num_bytes} bytes' if self.num_bytes else ''}; below it what it began from.\n\n"
            f"{_table(('weights', 'licence', 'SHA-256'), rows)}\n\nWritten by Pagoda {__version__}."
        )


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: object) -> str:
    """Text that breaks no table."""
    return " ".join(str(value).replace("|", "\\|").split())
