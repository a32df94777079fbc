"""The one map between labels (0 … num_classes-1), category ids (as in files) and names."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from pagoda.messages import did_you_mean, short_list
from pagoda.plain import JsonObject, check_option
from pagoda.structures.skeleton import Skeleton

_ENTRIES = {"names": Sequence[str], "category_ids": Sequence[int], "skeleton": Mapping | None}


@dataclass(frozen=True)
class LabelMap:
    """Immutable: label i is called `names[i]` and stands in files as `category_ids[i]`. Raises ValueError for a name or
    an id given twice, and for another number of ids than of names.

    >>> labels = LabelMap(("cat", "dog"), (17, 18))
    >>> labels.label_of(18), labels.names[1]
    (1, 'dog')
    """

    names: tuple[str, ...]
    """of the classes, in the order of their labels"""
    category_ids: tuple[int, ...]
    """as files have them: any whole numbers, gaps included (COCO's 80 run from 1 to 90)"""
    skeleton: Skeleton | None = None
    """of the objects that have keypoints"""

    def __post_init__(self) -> None:
        if len(self.names) != len(self.category_ids):
            raise ValueError(
                f"a label map needs one category id per name, got {len(self.names)} names"
                f" and {len(self.category_ids)} ids"
            )
        for kind, values in (("name", self.names), ("category id", self.category_ids)):
            repeated = sorted({str(value) for value in values if values.count(value) > 1})
            if repeated:
                raise ValueError(f"{kind} given twice in the label map: {', '.join(repeated)}")

    @classmethod
    def from_names(cls, names: Iterable[str]) -> "LabelMap":
        """A map of these classes, whose category ids are 1 … n in the order of the names."""
        names = tuple(names)
        return cls(names, tuple(range(1, len(names) + 1)))

    @classmethod
    def numbered(cls, num_classes: int) -> "LabelMap":
        """A map for models without data yet: classes called class_0, class_1, … Raises ValueError for none."""
        if num_classes < 1:
            raise ValueError(f"num_classes counts foreground classes and must be ≥ 1, got {num_classes}")
        return cls.from_names(f"class_{index}" for index in range(num_classes))

    @classmethod
    def from_dict(cls, data: JsonObject) -> "LabelMap":
        """The map that `to_dict` wrote. Raises ValueError that names the entry which is none."""
        for name, hint in _ENTRIES.items():
            check_option("label_map", name, hint, data.get(name) if isinstance(data, Mapping) else None)
        skeleton = data.get("skeleton")
        return cls(
            tuple(data["names"]),
            tuple(int(value) for value in data["category_ids"]),
            None if skeleton is None else Skeleton.from_dict(skeleton),
        )

    def to_dict(self) -> JsonObject:
        """Lists and numbers, ready for JSON."""
        plain = {"names": list(self.names), "category_ids": list(self.category_ids)}
        return plain if self.skeleton is None else {**plain, "skeleton": self.skeleton.to_dict()}

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def _label_by_id(self) -> dict[int, int]:
        return {category_id: label for label, category_id in enumerate(self.category_ids)}

    def label_of(self, category_id: int) -> int:
        """The label of a category id. Raises KeyError with the known ids when it is not in the map."""
        if category_id not in self._label_by_id:
            raise KeyError(f"category id {category_id} is not one of {short_list(self.category_ids, 20)}")
        return self._label_by_id[category_id]

    def label_named(self, name: str) -> int:
        """The label of a class. Raises KeyError with the nearest name when there is none of that name."""
        if name in self.names:
            return self.names.index(name)
        raise KeyError(f"no class is called '{name}'; {did_you_mean(name, self.names)}")
