"""What should be known of pictures that were looked at: frames left out, pictures nearly black."""

from dataclasses import dataclass, field
from pathlib import Path

from pagoda.data.levels import dark_levels, peak_level
from pagoda.pictures.read import PictureError, picture_facts
from pagoda.structures.instances import Detections


def facts_to_remark(source: Path) -> tuple[int, float | None]:
    """(frames or pages, the `peak_level` of one of more than eight bits) of a picture that could be read."""
    try:
        facts = picture_facts(source)
        return facts.num_frames, peak_level(source) if facts.is_deep else None
    except PictureError:  # damaged behind the first frame, which was read
        return 1, None


@dataclass
class Remarks:
    """Told once for all pictures."""

    several: list[str] = field(default_factory=list)
    """a sentence for each file of several frames or pages"""
    peaks: dict[Path, float] = field(default_factory=dict)
    """{picture of more than eight bits: its `peak_level`}"""
    drawn_small: list[str] = field(default_factory=list)
    """files of too many pixels to be drawn as they are"""

    def note(self, source: str | Path) -> None:
        """A file; what was fetched is gone."""
        if isinstance(source, Path):
            self.note_facts(source, *facts_to_remark(source))

    def note_facts(self, source: Path, num_frames: int, peak: float | None) -> None:
        """`facts_to_remark` of a file."""
        if num_frames > 1:
            self.several.append(
                f"{source} holds {num_frames} frames or pages, of which the first was looked at"
            )
        if peak is not None:
            self.peaks[source] = peak

    def note_drawn(self, found: Detections, max_pixels: int) -> None:
        """A picture that was drawn, smaller where it has more than `max_pixels`."""
        height, width = found.image_size
        if height * width > max_pixels:
            self.drawn_small.append(str(found.file))

    def lines(self, max_drawn: int) -> list[str]:
        """One for frames that were left out, one for pictures of more than `max_drawn` pixels, which were drawn
        smaller, one for those that became black."""
        more = f" (and so {len(self.several) - 1} more)" if len(self.several) > 1 else ""
        said = [f"{self.several[0]}{more}; pagoda track follows objects through all"] if self.several else []
        if self.drawn_small:
            more = f" (and {len(self.drawn_small) - 1} more)" if len(self.drawn_small) > 1 else ""
            said.append(
                f"{self.drawn_small[0]}{more} has more than {max_drawn} pixels and was drawn smaller, by a whole"
                " factor; boxes in predictions.json are in its own pixels"
            )
        brightest = max(self.peaks, key=lambda path: self.peaks[path], default=Path())
        return said + list(filter(None, [dark_levels(self.peaks, brightest.parent)]))
