"""The page: where everything stands, and which event does what. Gradio's part; what happens is in `events.py`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from pagoda.app.events import Events, Step, View
from pagoda.app.session import Session
from pagoda.app.work import Ended, Work
from pagoda.tracking.linking import LINKERS

SWEEP_SECONDS = (600, 86_400)
"""how often uploaded files and shown pictures are looked through, and how old they may become"""


IN_TURN = {"concurrency_id": "page", "concurrency_limit": 1}
"""What looks at a session and gives another runs one after the other, in the order in which it was asked for: two at
once would begin with the same one, and what the first did would be lost with the second."""


class _Shown(NamedTuple):
    """A picture that can be clicked."""

    column: Any
    """with its name above, where it hides nothing"""
    image: Any


@dataclass(frozen=True, eq=False)
class _Parts:
    """What the page is made of, gradio's components."""

    session: Any
    """each window's own"""
    files: Any
    """where they are dropped"""
    name: Any
    """of a picture of the data set"""
    steps: list[Any]
    """to the one before and the next"""
    limits: list[Any]
    """minimum score, overlap of suppression"""
    place: Any
    """which picture is shown"""
    linker: Any
    """of a video's frames"""
    follow: Any
    """begins with a video"""
    stop: Any
    """ends it"""
    said: Any
    """in words"""
    annotated: _Shown
    """what is annotated"""
    found: list[_Shown]
    """what each model has found"""
    video: Any
    """with objects followed"""

    @property
    def seen(self) -> list[Any]:
        """What a `View` fills."""
        shown = [part for each in (self.annotated, *self.found) for part in each]
        return [self.said, self.place, *shown, self.linker, self.follow, self.video]


def build_page(gradio: Any, events: Events, work: Work) -> Any:
    """The page as gradio's Blocks, `gradio` being the module. Each browser window has a session of its own."""
    with gradio.Blocks(
        title="Pagoda", analytics_enabled=False, fill_width=True, delete_cache=SWEEP_SECONDS
    ) as blocks:
        session = gradio.State(Session())
        with gradio.Row():
            with gradio.Column(scale=1, min_width=280):
                controls = _controls(gradio, events)
            with gradio.Column(scale=4, min_width=480):
                pictures = _pictures(gradio, events)
        parts = _Parts(session=session, **controls, **pictures)
        _wire(gradio, blocks, events, parts, work)
    return blocks


def _controls(gradio: Any, events: Events) -> dict[str, Any]:
    looker = events.lookers[0]
    files = gradio.File(
        label="Your pictures, or a short video", file_count="multiple", height=160, elem_id="files"
    )
    name = gradio.Textbox(
        label="A picture of the data set, by its name",
        visible=events.album is not None,
        max_lines=1,
        elem_id="name",
    )
    with gradio.Row():
        steps = [gradio.Button(word, elem_id=word.lower(), min_width=80) for word in ("Previous", "Next")]
    place = gradio.Textbox(label="Picture", interactive=False, max_lines=2, elem_id="place")
    min_score = gradio.Slider(
        0, 1, events.limits.min_score, step=0.01, label="Minimum score", elem_id="min-score"
    )
    are_files = all(each.is_file for each in events.lookers)
    max_iou = gradio.Slider(
        0,
        1,
        looker.own_max_iou,
        step=0.01,
        label="Overlap of suppression" + (" (part of the exported file)" if are_files else ""),
        interactive=not are_files,
        elem_id="max-iou",
    )
    for slider in (min_score, max_iou):
        slider.preprocess = lambda value: value  # numbers that are being typed come by; they are no errors
    linker = gradio.Dropdown(list(LINKERS), value="byte", label="Linker", visible=False, elem_id="linker")
    follow = gradio.Button("Follow its objects", visible=False, variant="primary", elem_id="follow")
    stop = gradio.Button("Stop following", visible=False, elem_id="stop")
    return {
        "files": files,
        "name": name,
        "steps": steps,
        "limits": [min_score, max_iou],
        "place": place,
        "linker": linker,
        "follow": follow,
        "stop": stop,
    }


def _pictures(gradio: Any, events: Events) -> dict[str, Any]:
    said = gradio.Textbox(label="What is there", interactive=False, lines=4, max_lines=12, elem_id="said")
    with gradio.Row():
        annotated = _picture(gradio, "annotated", "annotated")
        found = [
            _picture(gradio, looker.name, f"found-{number}") for number, looker in enumerate(events.lookers)
        ]
    video = gradio.Video(label="followed", interactive=False, visible=False, buttons=[], elem_id="video")
    return {"said": said, "annotated": annotated, "found": found, "video": video}


def _picture(gradio: Any, name: str, place: str) -> _Shown:
    with gradio.Column(visible=False, min_width=240) as column:
        gradio.Textbox(name, show_label=False, interactive=False, container=False, max_lines=1)
        image = gradio.Image(
            label=name,
            show_label=False,
            interactive=False,
            format="png",
            buttons=["fullscreen"],
            elem_id=place,
        )
    return _Shown(column, image)


def _wire(gradio: Any, blocks: Any, events: Events, parts: _Parts, work: Work) -> None:
    """Which event does what; nothing of it can be called but by the page."""
    hidden = {"api_visibility": "private", **IN_TURN}
    outputs = [parts.session, *parts.seen]

    def shown(act: Callable[..., Step]) -> Callable[..., list[Any]]:
        return lambda *given: _answer(gradio, work, outputs, partial(act, *given))

    def change(session: Session, min_score: float | None, max_iou: float | None) -> Step:
        return events.change(session, events.limits_of(min_score, max_iou))

    def when(listen: Callable[..., Any], act: Callable[..., Step], *inputs: Any, **how: Any) -> Any:
        return listen(shown(act), [parts.session, *inputs], outputs, **hidden, **how)

    def leaving(act: Callable[..., Step]) -> Callable[..., Step]:
        """What goes on to another picture ends the video first, whose words would come after those of the picture."""

        def event(session: Session, *given: Any) -> Step:
            session.ending.asked = session.ending.is_left = True
            return act(session, *given)

        return event

    when(blocks.load, events.start)
    when(parts.files.upload, leaving(events.upload), parts.files)
    when(parts.name.submit, leaving(events.open_named), parts.name)
    for button, by in zip(parts.steps, (-1, 1), strict=True):
        when(button.click, leaving(lambda session, by=by: events.step(session, by)))
    for slider in parts.limits:
        when(slider.change, change, *parts.limits, trigger_mode="always_last", show_progress="hidden")
    _wire_clicks(gradio, events, parts, outputs, work)
    _wire_film(gradio, events, parts, work)


def _answer(gradio: Any, work: Work, outputs: list[Any], act: Callable[[], Step]) -> list[Any]:
    """The values of the outputs after a step; nothing changes after the page's end."""
    try:
        with work.one():
            session, view = act()
            return [session, *_seen(gradio, view)]
    except Ended:
        return [gradio.skip()] * len(outputs)


def _wire_clicks(gradio: Any, events: Events, parts: _Parts, outputs: list[Any], work: Work) -> None:
    def clicked(act: Callable[[Session, float, float], Step]) -> Callable[..., list[Any]]:
        def event(session: Session, click: gradio.SelectData) -> list[Any]:
            return _answer(gradio, work, outputs, partial(act, session, *map(float, click.index)))

        return event

    def click_found(model: int) -> Callable[[Session, float, float], Step]:
        return lambda session, x, y: events.click_found(session, model, x, y)

    acts: list[tuple[_Shown, Callable[[Session, float, float], Step]]]
    acts = [(parts.annotated, events.click_annotated)]
    acts += [(shown, click_found(model)) for model, shown in enumerate(parts.found)]
    for shown, act in acts:
        shown.image.select(
            clicked(act),
            [parts.session],
            outputs,
            api_visibility="private",
            show_progress="hidden",
            **IN_TURN,
        )


def _wire_film(gradio: Any, events: Events, parts: _Parts, work: Work) -> None:
    """One video at a time is followed, for everybody; it ends when it is stopped, or somebody goes on."""
    hidden = gradio.update(visible=False)

    def follow(session: Session, linker: str) -> Iterator[list[Any]]:
        ending = session.ending
        ending.asked = False
        with work.film(events.follow(session, linker, lambda: ending.asked or work.is_over)) as views:
            for view in views:
                if ending.asked:
                    break
                is_done = view.video is not None
                yield [
                    view.said,
                    gradio.update(value=view.video, visible=is_done),
                    gradio.update(visible=not is_done),
                ]
        is_stopped = ending.asked and not ending.is_left
        yield ["Stopped." if is_stopped else gradio.skip(), gradio.skip(), hidden]

    def stop(session: Session) -> Any:
        session.ending.asked, session.ending.is_left = True, False
        return hidden

    quiet = {"api_visibility": "private", "show_progress": "hidden"}
    parts.follow.click(
        follow,
        [parts.session, parts.linker],
        [parts.said, parts.video, parts.stop],
        concurrency_id="film",
        concurrency_limit=1,
        **quiet,
    )
    parts.stop.click(stop, parts.session, parts.stop, **quiet)


def _seen(gradio: Any, view: View) -> list[Any]:
    """What each component shows."""
    pictures = [
        update
        for each in (view.annotated, *view.found)
        for update in (gradio.update(visible=each is not None), gradio.update(value=each))
    ]
    return [
        view.said,
        view.place,
        *pictures,
        gradio.update(visible=view.is_film),
        gradio.update(visible=view.is_film),
        gradio.update(value=view.video, visible=view.video is not None),
    ]
