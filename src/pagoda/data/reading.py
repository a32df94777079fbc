"""What a reader found, good and bad: the one thing both `open_annotations` and the doctor look at."""

from dataclasses import dataclass, field
from pathlib import Path

from pagoda.data.annotations import Annotations
from pagoda.data.assembly import ImageColumns, ObjectColumns, assemble
from pagoda.data.complaints import Complaints
from pagoda.structures.labels import LabelMap


@dataclass
class Reading:
    """Pictures, objects and classes of one split as far as they could be read.

    Where something unusable stands, the columns hold `NO_SIZE`, `NO_BOX` or `NO_LABEL`, and the complaints one that
    stops `annotations`.
    """

    source: str
    """the file or folder that was read, for messages"""
    root: Path
    """the folder of the pictures"""
    complaints: Complaints
    label_map: LabelMap = field(default_factory=lambda: LabelMap((), ()))
    images: ImageColumns = field(default_factory=ImageColumns)
    objects: ObjectColumns = field(default_factory=ObjectColumns)
    word: str = "annotation"
    """what `objects.numbers` count: annotations, lines …"""

    @classmethod
    def broken(cls, source: str, root: Path, error: Exception) -> "Reading":
        """Nothing could be read."""
        complaints = Complaints(source)
        complaints.add("unreadable_annotations", str(error))
        return cls(source, root, complaints)

    def annotations(self) -> Annotations:
        """Packed and ready to learn from; raises as `Complaints.check` where reading has to stop."""
        self.complaints.check()
        return assemble(
            self.images,
            self.objects,
            label_map=self.label_map,
            root=self.root,
            source=self.source,
            notes=self.complaints.notes(),
        )
