"""The command line as data says what the help says, and what the parser takes; shells complete by it."""

import json
import re
import shutil
import subprocess
from importlib import import_module
from pathlib import Path

import pytest

from pagoda.cli.arguments.completion import SHELLS, script
from pagoda.cli.arguments.described import describe_program
from pagoda.cli.arguments.parsing import parse
from pagoda.cli.main import MODULES, VERBS, main
from pagoda.models import list_models

pytestmark = pytest.mark.medium

PLACES = {verb: f"pagoda.cli.{verb}" for verb in VERBS if verb not in MODULES} | {
    **{f"data {verb}": f"pagoda.cli.data.{verb}" for verb in ("convert", "merge", "split", "subset", "tile")},
    "track compare": "pagoda.cli.tracks.compare",
    "track eval": "pagoda.cli.tracks.evaluate",
    "track tune": "pagoda.cli.tracks.tune",
    "track link": "pagoda.cli.tracks.link",
}
WORDS = {"number": "0.2", "integer": "64"}
OF_ALL = pytest.mark.parametrize("verb", PLACES)


@pytest.fixture(scope="module")
def described() -> dict:
    return json.loads(json.dumps(describe_program(VERBS, MODULES)))


def command_of(verb: str) -> type:
    module = import_module(PLACES[verb])
    return next(value for name, value in vars(module).items() if name.endswith("Command"))


def row_of(described: dict, verb: str) -> dict:
    return next(row for row in described["commands"] if row["command"] == verb)


def said(capfd: pytest.CaptureFixture, *words: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 0
    return capfd.readouterr().out


def admits(schema: dict, value: object) -> bool:
    """What a JSON Schema of the kind used here says."""
    if "anyOf" in schema:
        return any(admits(part, value) for part in schema["anyOf"])
    if "enum" in schema:
        return value in schema["enum"]
    kind = schema["type"]
    if kind == "array":
        if not isinstance(value, list):
            return False
        parts = schema.get("prefixItems") or [schema["items"]] * len(value)
        return len(parts) == len(value) and all(map(admits, parts, value))
    kinds = {"string": str, "boolean": bool, "integer": int, "number": int | float, "object": dict}
    is_number = kind in ("integer", "number")
    return (
        value is None
        if kind == "null"
        else isinstance(value, kinds[kind]) and not (is_number and value is True)
    )


def words_for(option: dict, value: object) -> list[str]:
    """How a program that knows nothing but the description writes an option."""
    if option["words"] == [0, 0]:
        return [option["flag"]] if value else [option["negation"]] if "negation" in option else []
    if option["value"].get("written") == "JSON":
        return [option["flag"], json.dumps(value)]
    return [option["flag"], *map(str, value if isinstance(value, list) else [value])]


def some_word(option: dict) -> str:
    """A word that a required option takes."""
    schema = option["value"]
    return str(schema["enum"][0]) if "enum" in schema else WORDS.get(schema.get("type"), "DIR")


def test_every_verb_is_there_once(described):
    assert sorted(row["command"] for row in described["commands"]) == sorted([*PLACES, *MODULES])
    assert described["models"] == list_models()
    assert all(row["summary"] and row["description"] for row in described["commands"])
    assert all(example.startswith("pagoda ") for row in described["commands"] for example in row["examples"])


@OF_ALL
def test_it_tells_what_the_help_tells(verb, described, capfd, monkeypatch):
    """The same flags, words for words; those of models that nobody named stand apart."""
    monkeypatch.setenv("COLUMNS", "100")
    text, row = said(capfd, *verb.split(), "--help-all"), row_of(described, verb)
    told = {
        line.split(",")[0].split()[0]: line
        for line in re.findall(r"^│ (--(?!help-all)[a-z].*?) *│$", text, re.M)
    }
    own = {
        option["flag"]: option
        for option in row["options"]
        if option.get("of", "models by their zoo names") == "models by their zoo names"
    }
    assert set(own) == set(told)
    flat = " ".join(text.replace("│", " ").split())
    for option in own.values():
        assert option["help"].partition("default:")[0].strip() in flat
        assert ("negation" in option) == (f", {option.get('negation')}" in told[option["flag"]])
    short = said(capfd, *verb.split(), "--help")
    assert {flag for flag in own if re.search(rf"│ {flag}\b(?![.-])", short)} == {
        flag for flag, option in own.items() if option["common"]
    }
    for argument in row["arguments"]:
        assert re.search(rf"│ {re.escape(argument['argument'])}\b", text)


@OF_ALL
def test_the_parser_takes_what_the_description_says(verb, described):
    """Every default, written by the description alone and parsed, is the command as it is by itself."""
    row = row_of(described, verb)
    given: list[str] = []
    for option in row["options"]:
        assert (
            option["required"] or admits(option["value"], option["default"]) or "written" in option["value"]
        )
        if "of" not in option:
            given += words_for(option, some_word(option) if option["required"] else option["default"])
    needed = [
        word
        for option in row["options"]
        if option["required"]
        for word in (option["flag"], some_word(option))
    ]
    typed = ["X.onnx" if argument["required"] else str(argument["default"]) for argument in row["arguments"]]
    command = command_of(verb)
    assert parse(command, verb, [*typed, *given]) == parse(command, verb, [*typed, *needed])


def test_of_a_named_model_it_tells_the_options_that_it_has(described, capfd):
    """With the model's own among them; every one stands in the description of the whole, with whose it is."""
    told = json.loads(said(capfd, "info", "efficientdet_d0", "--help-json"))
    flags = {option["flag"] for option in told["options"]}
    assert "--model.fusion" in flags and "--model.head-deform" not in flags
    whole = {option["flag"]: option for option in row_of(described, "info")["options"]}
    assert flags <= set(whole) and whole["--model.cells"]["of"] == "BiFPNs"
    assert not any("of" in option for option in told["options"])


def test_the_whole_is_what_is_printed(described, capfd):
    assert json.loads(said(capfd, "--help-json")) == described


@pytest.mark.parametrize("words", [["--completion"], ["--completion", "csh"], ["--help-json", "train"]])
def test_other_words_are_refused(words, capfd):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2 and "--completion bash, zsh, fish" in capfd.readouterr().err


COMPLETED = (
    ("tra", {"train", "track"}),
    ("--comp", {"--completion"}),
    ("train fcos_resnet50_p", {"fcos_resnet50_pafpn"}),
    ("train x --optim.sched", {"--optim.schedule"}),
    ("train x --optim.schedule c", {"cosine"}),
    ("train x --help-j", {"--help-json"}),
    ("val x --no-ins", {"--no-inside-only"}),
    ("val x --linker b", {"byte"}),
    ("track ev", {"eval"}),
    ("track eval --pro", {"--protocol"}),
    ("track eval --protocol cl", {"clean"}),
    ("track x --linker oc", {"ocsort"}),
    ("compare val x --picture-f", set()),
    ("data conv", {"convert"}),
    ("data convert x y --to label", {"labelme"}),
)


def offered(shell: str, file: Path, typed: str) -> set[str]:
    """What the shell itself finds for the last word of `pagoda TYPED`, "_" for one that is not begun yet."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    words = ["pagoda", *typed.split()]
    last = words[-1].strip("_")
    asked = f"COMP_WORDS=({' '.join(words[:-1])} '{last}'); COMP_CWORD={len(words) - 1}; _pagoda"
    told = "printf '%s\\n' \"${COMPREPLY[@]}\""
    code = {
        "bash": ["--norc", "-c", f"source {file}; {asked}; {told}"],
        # As zsh calls a function of bash; what does not begin as is typed it leaves out later.
        "zsh": ["-f", "-c", f"source {file}; f() {{ emulate -L sh; setopt kshglob; {asked}; {told}; }}; f"],
        "fish": ["--no-config", "-c", f"source {file}; complete -C '{' '.join([*words[:-1], last])}'"],
    }
    answer = subprocess.run([shell, *code[shell]], capture_output=True, text=True, timeout=60, check=True)
    return {line.split("\t")[0] for line in answer.stdout.splitlines() if line.startswith(last)} - {""}


@pytest.fixture
def file(request, described, tmp_path) -> Path:
    path = tmp_path / f"pagoda.{request.param}"
    path.write_text(script(request.param, described), encoding="utf-8")
    return path


@pytest.mark.parametrize(("file", "shell"), [(shell, shell) for shell in SHELLS], indirect=["file"])
def test_shells_complete_verbs_flags_and_choices(file, shell):
    for typed, expected in COMPLETED:
        assert offered(shell, file, typed) == expected, typed


@pytest.mark.parametrize("file", ["bash"], indirect=True)
def test_bash_completes_every_choice_and_names_of_files_elsewhere(file):
    """Bash hands `=` over as a word of its own; where nothing is offered, it looks for files."""
    assert "complete -o bashdefault -o default -F _pagoda pagoda" in file.read_text()
    assert offered("bash", file, "train x --optim.schedule _") == {"cosine", "multistep"}
    assert offered("bash", file, "train x --optim.schedule = _") == {"cosine", "multistep"}
    assert offered("bash", file, "train x --optim.schedule = mul") == {"multistep"}
    assert offered("bash", file, "info x --model.neck-norm-on lateral o") == {"output"}
    for typed in ("val x --data _", "val x --precision fp32 _", "predict x --no-pictures _"):
        assert not offered("bash", file, typed)
