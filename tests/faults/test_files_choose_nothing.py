"""No card, config or capsule makes anybody import, fetch or read what lies elsewhere: Python's audit events show it."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import yaml

import pagoda
from pagoda.cli.main import main
from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.models import create_model, is_of_clips
from pagoda.training.failed_batch import save_capsule
from pagoda.training.settings import TrainSettings, to_plain
from pagoda.weights.files import save_weights

pytestmark = pytest.mark.medium

EVIL = """
from pathlib import Path
Path("evil was here").touch()
def build(num_classes): raise SystemExit("evil was called")
"""
NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "urllib.Request")
PROGRAMS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn")


class Watch:
    """What Python's audit events tell while it is switched on; a hook can never be taken away again."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.is_on = False
        sys.addaudithook(self._note)

    def _note(self, event: str, arguments: tuple) -> None:
        if not self.is_on:
            return
        if event == "exec":
            self.events.append((event, getattr(arguments[0], "co_filename", "")))
        elif event in ("open", "import") and isinstance(arguments[0], str | bytes | os.PathLike):
            self.events.append((event, os.fsdecode(arguments[0])))
        elif event in NETWORK or event in PROGRAMS:
            self.events.append((event, repr(arguments)[:200]))

    @contextmanager
    def watching(self) -> Iterator[list[tuple[str, str]]]:
        self.events, self.is_on = [], True
        try:
            yield self.events
        finally:
            self.is_on = False


WATCH = Watch()


@pytest.fixture(scope="module")
def parts():
    """A small model, its card and weights."""
    model = create_model(
        "fcos_mobilenet_v2_fpn", num_classes=3, width=32, head_depth=1, short_side=64, long_side=64
    )
    return model, json.loads(json.dumps(model.card())), model.state_dict()


@pytest.fixture
def outside(tmp_path):
    """A folder that nobody named: what is in it may not be touched."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "evil.py").write_text(EVIL)
    torch.save({"conv1.weight": torch.zeros(1)}, folder / "weights.pth")
    return folder


@pytest.fixture
def own(tmp_path, monkeypatch):
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "evil.py").write_text(EVIL)
    monkeypatch.chdir(folder)
    return folder


# (entry of a card, what it says); OUTSIDE is a folder, and evil.py lies there and in the current one.
HOSTILE = [
    ("model", "OUTSIDE/evil.py:build"),
    ("model", "evil.py:build"),
    ("model", "../outside/evil.py:build"),
    ("model", "timm:resnet18"),
    ("model", "fcos_timm:hf-hub:owner/repo_fpn"),
    ("model", "fcos_timm:local-dir:OUTSIDE_fpn"),
    ("model", "hf:owner/repo/file.pth"),
    ("model", "https://example.invalid/weights.pth"),
    ("model", "OUTSIDE/weights.pth"),
    ("backbone_weights", "timm:resnet18"),
    ("backbone_weights", "timm:hf-hub:owner/repo"),
    ("backbone_weights", "hf:owner/repo/file.pth"),
    ("backbone_weights", "https://example.invalid/weights.pth"),
    ("backbone_weights", "OUTSIDE/weights.pth"),
    ("take", "OUTSIDE/weights.pth"),
]


def spoilt(card: dict, entry: str, value: str) -> dict:
    card = json.loads(json.dumps(card))
    (card if entry == "model" else card["options"])[entry] = value
    return card


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert "evil" not in str(ended.value.code)
    return ended.value.code


def is_told(said: str, place: str) -> bool:
    """Whether a message names the file, or what in it is unknown."""
    return place in said or "timm has no model" in said


def check_events(events: list[tuple[str, str]], own: Path) -> None:
    """Files of the folder, of Python and of the system: nothing else is opened; nothing is fetched or started."""
    libraries = {os.path.realpath(place) for place in (sys.prefix, sys.base_prefix, *sys.path[1:]) if place}
    allowed = tuple(
        os.path.join(place, "")
        for place in (*libraries, Path(pagoda.__file__).parent, "/proc", "/sys", "/dev", "/usr", "/etc")
    )
    for event, what in events:
        assert event not in NETWORK and event not in PROGRAMS, (event, what)
        assert "evil" not in what, (event, what)
        if event == "open":
            place = os.path.realpath(what)
            assert place.startswith((os.path.join(own, ""), *allowed)) or place in libraries, (event, what)
    assert not (own / "evil was here").exists()


@pytest.mark.parametrize(("entry", "value"), HOSTILE)
def test_a_card_chooses_nothing(entry, value, parts, own, outside):
    card = spoilt(parts[1], entry, value.replace("OUTSIDE", str(outside)))
    path = save_weights(own / "model.safetensors", parts[2], card)
    with WATCH.watching() as events:
        for read in (pagoda.load, is_of_clips):
            try:
                read(str(path))
            except ValueError as error:
                assert is_told(str(error), str(path))
    check_events(events, own)


@pytest.mark.parametrize(("entry", "value"), HOSTILE)
def test_a_capsule_chooses_nothing(entry, value, parts, own, outside, monkeypatch, capsys):
    data = DrawnShapes(1, (64, 64), seed=1)
    card = spoilt(parts[1], entry, value.replace("OUTSIDE", str(outside)))
    with monkeypatch.context() as patch:
        patch.setattr(type(parts[0]), "card", lambda self: card)
        facts = {"losses": {}, "precision": "fp32", "channels_last": False}
        save_capsule(own / "capsule.pt", parts[0], [data[0][0]], [data[0][1]], **facts)
    with WATCH.watching() as events:
        code = run("replay", "capsule.pt")
    check_events(events, own)
    said = " ".join(capsys.readouterr().err.split())
    assert code == 0 if entry != "model" else (code == 1 and is_told(said, "capsule.pt"))
    if entry == "model" and ".py:" in value:
        assert "--model FILE.py:FUNCTION" in said


@pytest.mark.parametrize(("entry", "value"), HOSTILE)
def test_a_run_that_goes_on_chooses_nothing(entry, value, parts, own, outside, capsys):
    value = value.replace("OUTSIDE", str(outside))
    card = spoilt(parts[1], entry, value)
    config = {
        "model": card["model"],
        "options": card["options"],
        "train": to_plain(TrainSettings(data="nowhere")),
    }
    (own / "config.yaml").write_text(yaml.safe_dump({**config, "card": card}))
    with WATCH.watching() as events:
        assert run("train", "--resume", str(own)) == 1  # at the latest for want of data
    check_events(events, own)
    said = " ".join(capsys.readouterr().err.split())
    assert "Traceback" not in said
    if entry == "model" and ".py:" in value:
        assert "pagoda train FILE.py:FUNCTION --resume RUN" in said


@pytest.mark.parametrize(
    ("entry", "value", "typed"),
    [
        ("model", "evil.py:build", "pagoda train evil.py:build --config config.yaml"),
        ("model", "https://example.invalid/a.pth", "pagoda train https://example.invalid/a.pth --config config.yaml"),
        ("model", "hf:owner/repo/file.pth", "pagoda train hf:owner/repo/file.pth --config config.yaml"),
        ("backbone_weights", "timm:resnet18", "--model.backbone-weights timm:resnet18 --config config.yaml"),
        ("backbone_weights", "hf:o/r/f.pth", "--model.backbone-weights hf:o/r/f.pth --config config.yaml"),
    ],
)  # fmt: skip
def test_a_config_neither_runs_nor_fetches_and_says_what_to_type(entry, value, typed, own, capsys):
    config = {"model": "fcos_resnet18_fpn", "options": {}, "train": {"data": "nowhere"}}
    (config if entry == "model" else config["options"])[entry] = value
    (own / "config.yaml").write_text(yaml.safe_dump(config))
    with WATCH.watching() as events:
        assert run("train", "--config", "config.yaml") == 1
    check_events(events, own)
    assert typed in " ".join(capsys.readouterr().err.split())


def test_what_is_typed_again_is_run(own, capsys):
    """The remedy works: the same word, typed, is a word of the user's."""
    config = {"model": "mine.py:build", "options": {}, "train": {"data": "nowhere"}}
    (own / "config.yaml").write_text(yaml.safe_dump(config))
    (own / "mine.py").write_text("def build(num_classes): raise ValueError('mine was called')\n")
    (own / "capsule.pt").write_bytes(b"")
    assert run("train", "mine.py:build", "--config", "config.yaml") == 1
    assert "nowhere" in capsys.readouterr().err, "the file was found and its function taken"
    assert run("train", "absent.py:build", "--config", "config.yaml") == 1
    assert "no file absent.py" in capsys.readouterr().err


TAGS = (
    "!!python/object/apply:os.system ['touch evil-was-here']",
    "!!python/name:evil.build",
    "!!binary x",
    "!mine 3",
)


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize(
    "words", [("--resume", "."), ("--config", "config.yaml")], ids=lambda words: words[0]
)
def test_tags_of_yaml_get_a_sentence(tag, words, own, capsys):
    (own / "config.yaml").write_text(f"model: fcos_resnet18_fpn\noptions: {{}}\ntrain: {tag}\ncard: {tag}\n")
    with WATCH.watching() as events:
        assert run("train", *words) == 1
    check_events(events, own)
    said = " ".join(capsys.readouterr().err.split())
    assert "config.yaml" in said and "Traceback" not in said
