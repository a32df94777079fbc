"""The help of a verb is its dataclass: --help-all tells every field once, --help those that most people want."""

import re
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from importlib import import_module
from typing import NamedTuple, get_args, get_type_hints

import pytest
import tyro

from pagoda.cli.arguments.help import description_of, lines_of
from pagoda.cli.data import verbs
from pagoda.cli.main import MODULES, VERBS, main
from pagoda.recipes.by_name import RECIPES
from pagoda.zoo.composed_options import GROUPS
from pagoda.zoo.families import options_class, parse_name
from pagoda.zoo.options import ModelOptions

pytestmark = pytest.mark.medium

COMMANDS = {verb: f"pagoda.cli.{verb}" for verb in VERBS if verb not in MODULES} | {
    **{f"data {verb}": f"pagoda.cli.data.{verb}" for verb in verbs.VERBS},
    "track compare": "pagoda.cli.tracks.compare",
    "track eval": "pagoda.cli.tracks.evaluate",
    "track link": "pagoda.cli.tracks.link",
}
MODELS = ("fcos_resnet18_fpn", "efficientdet_d0", "mask_rcnn_resnet50_fpn", "detect_and_track_resnet18_3d")
CASES = [(verb, "") for verb in COMMANDS]
CASES += [("train", model) for model in MODELS] + [
    (verb, MODELS[-1]) for verb in ("create", "info", "doctor")
]
OF_ALL = pytest.mark.parametrize(("verb", "model"), CASES)


class Option(NamedTuple):
    """A field of a command, as its help has to tell it."""

    flag: str
    """an argument's name in capitals, or --NAME"""
    name: str
    """with dots"""
    line: str
    default: object
    words: tuple[str, ...]


def command_of(verb: str) -> type:
    module = import_module(COMMANDS[verb])
    return next(each for name, each in vars(module).items() if name.endswith("Command"))


def options(kind: type, values: object = None, path: str = "", model: str = "") -> Iterator[Option]:
    hints, lines = get_type_hints(kind, include_extras=True), lines_of(kind)
    for each in fields(kind):
        hint = hints[each.name]
        default = each.default if each.default_factory is MISSING else each.default_factory()
        if isinstance(default, ModelOptions) and model:
            default = options_class(parse_name(model))()
        if is_dataclass(default):
            yield from options(type(default), default, f"{path}{each.name}.")
            continue
        metavar = [part.metavar for part in get_args(hint) if getattr(part, "metavar", None)]
        is_argument = tyro.conf.Positional in get_args(hint)
        flag = metavar[0] if is_argument else f"--{path}{each.name}".replace("_", "-")
        yield Option(flag, path + each.name, lines.get(each.name, ""), default, tuple(words(hint)))


def words(hint: object) -> Iterator[str]:
    for part in get_args(hint):
        if isinstance(part, str) and "Literal" in str(hint):
            yield part
        yield from words(part)


def said(capfd: pytest.CaptureFixture, verb: str, model: str, flag: str) -> str:
    named = ["DIR", "--model", model] if verb == "doctor" else [model]
    with pytest.raises(SystemExit) as stop:
        main([*verb.split(), *(named if model else []), flag])
    assert stop.value.code == 0
    return capfd.readouterr().out


def rows(text: str) -> dict[str, str]:
    """{flag or argument: all that the help tells of it, on one line}, in the order of the help."""
    found: dict[str, str] = {}
    for box in re.findall(r"^╭.*?^╰", text, flags=re.M | re.S):
        flag = None
        for line in re.findall(r"^│ (.*?) *│$", box, flags=re.M):
            start = re.match(r"--[a-z][\w.-]*|[A-Z]{2,}\S*( \[\w+ \.\.\.\])?(?= |$)", line)
            if start:
                flag = start[0]
                assert flag not in found, f"{flag} is told twice"
            if flag:
                found[flag] = " ".join([found.get(flag, ""), *line.split()])
    return found


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@OF_ALL
def test_help_all_tells_every_field_once_in_its_own_words(verb, model, capfd):
    told = rows(said(capfd, verb, model, "--help-all"))
    known = {option.flag: option for option in options(command_of(verb), model=model)}
    assert set(told) == set(known)
    for flag, option in known.items():
        row = told[flag]
        assert option.line in row
        assert all(word in row for word in option.words)
        assert default_of(option) in row


def default_of(option: Option) -> str:
    """How the help says it: in the field's own line, or behind it."""
    if "default:" in option.line:
        return option.line[option.line.index("default:") :]
    if option.default is MISSING:
        return "(required)"
    if option.default in ("", ()):
        return "(default: none)"
    if isinstance(option.default, tuple):
        return f"(default: {' '.join(map(str, option.default))})"
    return "(default: " if option.default is None else f"(default: {option.default})"


@OF_ALL
def test_help_counts_what_only_help_all_tells(verb, model, capfd):
    every = rows(said(capfd, verb, model, "--help-all"))
    text = said(capfd, verb, model, "--help")
    short = rows(text)
    common = getattr(command_of(verb), "common", None)
    for option in options(command_of(verb), model=model):
        is_shown = common is None or option.name in common or not option.flag.startswith("--")
        assert (option.flag in short) == (is_shown or option.default is MISSING)
    assert all(every[flag] == row for flag, row in short.items())
    ours = [flag for flag in every if flag.startswith("--") and "." not in flag]
    assert ours == sorted(ours, key=lambda flag: flag not in short)
    last = text.rstrip().splitlines()[-1]
    hidden = len(every) - len(short)
    assert (last.startswith(f"{hidden} more options: pagoda {verb} ") and "--help-all" in last) == (
        hidden > 0
    )


@OF_ALL
def test_nothing_is_broken_at_80_columns(verb, model, capfd):
    """Every line fits, and no flag is parted from its words."""
    text = said(capfd, verb, model, "--help-all")
    assert max(map(len, text.splitlines())) <= 80
    for option in options(command_of(verb), model=model):
        if option.words:
            line = next(line for line in text.splitlines() if re.match(rf"│ {option.flag}[ ,]", line))
            assert all(word in line for word in option.words)


def known_flags(verb: str) -> set[str]:
    """Those of the command, with the options of every model."""
    names = {option.name for option in options(command_of(verb))}
    groups = {name.split(".")[0] for name in names if "." in name} & {"model", "options"}
    names |= {f"{group}.{each.name}" for group in groups for kind in GROUPS for each in fields(kind)}
    return {f"--{name}".replace("_", "-") for name in names}


@pytest.mark.parametrize("verb", COMMANDS)
def test_what_is_common_is_there(verb):
    common = [f"--{name}".replace("_", "-") for name in getattr(command_of(verb), "common", ())]
    assert set(common) <= known_flags(verb) and len(set(common)) == len(common)


@pytest.mark.parametrize("verb", COMMANDS)
def test_examples_can_be_typed_as_they_stand(verb):
    """Joined at their backslashes they are the lines of the docstring, and every flag in them is known."""
    command = command_of(verb)
    shown = description_of(command, 80).replace(" \\\n   ", "")
    lines = [line.strip() for line in command.__doc__.splitlines() if line.startswith("    pagoda ")]
    examples = [line.removeprefix("$ ") for line in shown.splitlines() if line.startswith("$ ")]
    assert examples == lines
    known = known_flags(verb)
    assert {flag for example in examples for flag in re.findall(r"--[\w.-]+", example)} <= known


def test_training_tells_every_recipe_and_nothing_of_python(capsys):
    with pytest.raises(SystemExit):
        main(["train", "fcos_resnet18_fpn", "--help-all"])
    told = capsys.readouterr().out
    assert all(re.search(rf"\b{name}\b", told) for name in RECIPES)
    assert ">>>" not in told and "Raises ValueError" not in told
