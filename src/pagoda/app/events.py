"""What the page does when somebody does something: each step takes a session, and gives the next and what is seen."""

from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np

from pagoda.app.album import Album
from pagoda.app.clicking import box_words, detection_words, object_at
from pagoda.app.films import follow_film
from pagoda.app.looking import LEAST_SCORE, Looker, ShownLimits
from pagoda.app.pictures import Drawn, draw_annotated, draw_found, shown_scale
from pagoda.app.reasons import Reasons, annotated_boxes, reasons_of
from pagoda.app.session import Chosen, Session, Shown
from pagoda.app.uploads import is_film, read_upload
from pagoda.files.text import as_number
from pagoda.follow.follower import TrackOptions
from pagoda.messages import counted
from pagoda.plain import checked
from pagoda.structures.instances import Detections

NOTHING_YET = "Drop a picture or a short video on the left."


@dataclass(frozen=True, eq=False)
class View:
    """What is seen."""

    said: str
    """in words"""
    place: str = ""
    """which picture it is, and of how many"""
    annotated: np.ndarray | None = None
    """(h, w, 3) RGB uint8: the annotations of a picture of the data set"""
    found: tuple[np.ndarray | None, ...] = ()
    """for each model (h, w, 3): its detections"""
    is_film: bool = False
    """whether objects can be followed"""
    video: str | None = None
    """the file of a video with objects"""


Step = tuple[Session, View]


@checked
@dataclass(frozen=True, eq=False)
class Events:
    """The models, the data set and what can be done with them; it keeps nothing of anybody.

    >>> events = Events(())
    >>> events.start(Session())[1].said
    'Drop a picture or a short video on the left.'
    """

    lookers: tuple[Looker, ...]
    """one model, or two to compare"""
    album: Album | None = None
    """None: no data set"""
    limits: ShownLimits = field(default_factory=ShownLimits)
    """of what is drawn at first"""
    max_frames: int = 600
    """of a video"""

    def start(self, session: Session) -> Step:
        """The first picture of the data set, by the limits that the page begins with."""
        session = replace(session, limits=self.limits)
        if self.album is None or not len(self.album):
            return self._nothing(session)
        return self._open(replace(session, place="data", at=0))

    def upload(self, session: Session, paths: Sequence[str]) -> Step:
        """Files were handed over, and the first of them is shown."""
        files = tuple(map(Path, paths))
        if not files:
            return self._nothing(replace(session, files=()))
        return self._open(replace(session, files=files, place="files", at=0))

    def step(self, session: Session, by: int) -> Step:
        """The next picture of the files or of the data set, or with −1 the one before; the first follows the last."""
        number = self._number(session)
        if not number:
            return self._nothing(session)
        return self._open(replace(session, at=(session.at + by) % number))

    def open_named(self, session: Session, name: str) -> Step:
        """The picture of the data set that is called so, or whose name ends so."""
        if self.album is None:
            return session, self._view(session, "There is no data set; start with --data DIR.")
        try:
            at = self.album.find(name)
        except ValueError as error:
            return session, self._view(session, str(error))
        return self._open(replace(session, place="data", at=at))

    def limits_of(self, min_score: object, max_iou: object) -> ShownLimits:
        """What sliders say, or a field beside them that somebody is still typing into.

        Where the overlap is the first model's own, every model keeps its own.
        """
        own = self.lookers[0].own_max_iou
        overlap = _within(max_iou, 0, own)
        return ShownLimits(
            min_score=_within(min_score, LEAST_SCORE, self.limits.min_score),
            max_iou=None if abs(overlap - own) < 1e-6 else overlap,
        )

    def change(self, session: Session, limits: ShownLimits) -> Step:
        """Other limits: rows change, so nothing is chosen any more."""
        session = replace(session, limits=limits, chosen=None, reasons=())
        return self._told(session, lambda: session)

    def click_found(self, session: Session, model: int, x: float, y: float) -> Step:
        """A point of the shown picture of a model's detections was clicked."""
        found = self._found(session)[model]
        if session.shown is None or found is None:
            return session, self._view(session, NOTHING_YET)
        scale = shown_scale(found.image_size)
        row = object_at(found.boxes, x / scale, y / scale)
        return self._choose(session, None if row is None else Chosen(model, row))

    def click_annotated(self, session: Session, x: float, y: float) -> Step:
        """A point of the shown picture of annotations was clicked."""
        if session.shown is None or session.shown.index is None or self.album is None:
            return session, self._view(session, NOTHING_YET)
        annotations = self.album.annotations(session.shown.index)
        scale = shown_scale(session.shown.pixels.shape[:2])
        row = object_at(annotated_boxes(annotations), x / scale, y / scale)
        return self._choose(session, None if row is None else Chosen(None, row))

    def follow(
        self, session: Session, linker: str, is_over: Callable[[], bool] = lambda: False
    ) -> Generator[View]:
        """The objects of the video at hand by the first model: how far it is, and at last the video that shows them.

        `is_over` is asked before each frame, and nothing more comes once it says so.
        """
        if session.shown is None or session.shown.film is None:
            yield self._view(session, "There is no video at hand.")
            return
        seen = self._view(session, "")
        with TemporaryDirectory() as folder:
            try:
                options = TrackOptions(linker=linker, max_frames=self.max_frames)  # type: ignore[arg-type]
                film = session.shown.film
                for progress in follow_film(self.lookers[0], film, Path(folder), options, is_over):
                    path = None if progress.path is None else str(progress.path)
                    yield replace(seen, said=progress.said, video=path)
            except (ValueError, OSError) as error:
                yield replace(seen, said=str(error))

    def _number(self, session: Session) -> int:
        if session.place == "files":
            return len(session.files)
        return 0 if self.album is None else len(self.album)

    def _nothing(self, session: Session) -> Step:
        session = replace(session, shown=None, chosen=None, reasons=())
        return session, self._view(session, NOTHING_YET)

    def _open(self, session: Session) -> Step:
        """Read the picture that the session is at, and look at it."""
        session = replace(session, shown=None, chosen=None, reasons=())
        return self._told(session, lambda: replace(session, shown=self._read(session)))

    def _read(self, session: Session) -> Shown:
        if session.place == "data":
            assert self.album is not None
            name, pixels, film = self.album.name(session.at), self.album.pixels(session.at), None
        else:
            path = session.files[session.at]
            channels: Literal[3, 4] = max(each.model.input_spec.read_channels for each in self.lookers)
            name, pixels = path.name, read_upload(path, channels=channels)
            film = path if is_film(path) else None
        looks = tuple(
            None if film is not None and each.model.sees_clips else each.look(pixels) for each in self.lookers
        )
        return Shown(name, pixels, looks, session.at if session.place == "data" else None, film)

    def _told(self, session: Session, act: Callable[[], Session]) -> Step:
        """What follows, or why nothing does: what is wrong with a file is said on the page."""
        try:
            after = act()
            return after, self._view(after, self._summary(after))
        except (ValueError, OSError) as error:
            return session, self._view(session, str(error))

    def _choose(self, session: Session, chosen: Chosen | None) -> Step:
        session = replace(session, chosen=chosen)
        if chosen is None:
            return session, self._view(session, f"No object there. {self._summary(session)}")
        return self._told_of(session, chosen)

    def _told_of(self, session: Session, chosen: Chosen) -> Step:
        shown = session.shown
        assert shown is not None
        try:
            if chosen.model is not None:
                found = self._found(session)[chosen.model]
                assert found is not None
                said = f"{self.lookers[chosen.model].name}: {detection_words(found, chosen.row)}"
                if shown.index is not None:
                    session = self._with_reasons(session, [chosen.model])
                    reasons = session.reasons[chosen.model]
                    assert reasons is not None
                    said += f"\n{reasons.of_detection(found, chosen.row)}"
            else:
                session = self._with_reasons(session, range(len(self.lookers)))
                said = self._object_words(session, chosen.row)
        except (ValueError, OSError) as error:
            said = str(error)
        return session, self._view(session, said)

    def _object_words(self, session: Session, row: int) -> str:
        """An annotated object, and what became of it for each model."""
        assert self.album is not None and session.shown is not None and session.shown.index is not None
        annotations = self.album.annotations(session.shown.index)
        name = annotations.label_map.names[int(annotations.labels[row])]
        lines = [f"annotated: {name} {row}, {box_words(annotated_boxes(annotations)[row])}"]
        for looker, reasons in zip(self.lookers, session.reasons, strict=True):
            assert isinstance(reasons, Reasons)
            lines.append(f"{looker.name}: {reasons.of_object(row)}")
        return "\n".join(lines)

    def _with_reasons(self, session: Session, models: Sequence[int]) -> Session:
        """Asked of those models that have not been asked yet."""
        assert self.album is not None and session.shown is not None and session.shown.index is not None
        reasons = list(session.reasons or (None,) * len(self.lookers))
        for model in models:
            if reasons[model] is None:
                annotations = self.album.annotations(session.shown.index)
                reasons[model] = reasons_of(self.lookers[model], annotations, session.limits)
        return replace(session, reasons=tuple(reasons))

    def _found(self, session: Session) -> list[Detections | None]:
        looks = (None,) * len(self.lookers) if session.shown is None else session.shown.looks
        return [
            None if look is None else looker.found(look, session.limits)
            for looker, look in zip(self.lookers, looks, strict=True)
        ]

    def _summary(self, session: Session) -> str:
        """How many objects of which classes each model shows."""
        lines = []
        for looker, found in zip(self.lookers, self._found(session), strict=True):
            if found is None:
                lines.append(f"{looker.name} looks at clips: follow the objects of the video")
                continue
            counts = ", ".join(f"{name} {number}" for name, number in Counter(found.names).most_common(8))
            lines.append(f"{looker.name}: {counted(len(found), 'object')}{f' ({counts})' if counts else ''}")
        return "\n".join(lines)

    def _view(self, session: Session, said: str) -> View:
        shown = session.shown
        if shown is None:
            return View(said, self._place(session), found=(None,) * len(self.lookers))
        chosen = session.chosen or Chosen(None, -1)
        drawn: list[Drawn | None] = [
            None
            if found is None
            else draw_found(shown.pixels, found, chosen.row if chosen.model == model else None)
            for model, found in enumerate(self._found(session))
        ]
        annotated = None
        if shown.index is not None and self.album is not None:
            one = self.album.annotations(shown.index)
            box = annotated_boxes(one)[chosen.row] if chosen.model is None and chosen.row >= 0 else None
            annotated = draw_annotated(shown.pixels, one.targets(0), one.label_map, box).picture
        pictures = tuple(each if each is None else each.picture for each in drawn)
        return View(said, self._place(session), annotated, pictures, shown.film is not None)

    def _place(self, session: Session) -> str:
        number = self._number(session)
        if not number:
            return ""
        if session.place == "data":
            assert self.album is not None
            name = self.album.name(session.at)
        else:
            name = session.files[session.at].name
        return f"{name} ({session.at + 1} of {number})"


def _within(value: object, least: float, otherwise: float) -> float:
    """A share from `least` to 1; `otherwise` for what is no number."""
    number = as_number(value)
    return otherwise if number is None else min(1.0, max(least, number))
