"""`pagoda VERB …`: find the verb, run it, turn errors into a sentence and an exit code."""

import atexit
import gc
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pagoda.messages import did_you_mean
from pagoda.stopping import Stopped, stops_raise
from pagoda.version import __version__

VERBS = {
    "demo": "train a small detector on drawn shapes in a few minutes and report",
    "create": "write a new model to a file, with ImageNet weights in its backbone if you have them",
    "convert": "turn another program's checkpoint into one of Pagoda, or one of Pagoda into theirs",
    "train": "train a detector on a folder of annotated pictures, or fine-tune a checkpoint on it",
    "val": "score a checkpoint, or anybody's COCO results, on a dataset",
    "compare": "tell which of two models is better on a dataset, and how surely",
    "why": "say of every object that a model misses why",
    "app": "look at a checkpoint on a page: drop pictures, move thresholds, click objects",
    "predict": "find objects in pictures, folders, globs or URLs",
    "track": "follow objects through a video, link detections, or score tracks",
    "export": "write an ONNX or OpenVINO file that is proven equal to the model, or int8",
    "bench": "time a model on this machine in every way it can run",
    "info": "explain a model's structure: shapes, strides, parameters, receptive field",
    "doctor": "look for defects in a dataset, and in how a model would see it",
    "data": "convert, merge, split, cut or choose from datasets, and tell what is lost",
    "models": "list the models of the zoo, or the checkpoints others have published",
    "replay": "run the batch again that stopped a training run",
}
MODULES = {"app": "pagoda.cli.app.verb", "data": "pagoda.cli.data.verbs"}
"""verb → its module, where that is not of its name"""
CLOSED_PIPE = 141
"""as shells count what ends because nobody reads its output"""
LONGEST_NAME, LONGEST_PATH = 255, 4095
"""bytes, of every file system in use and of Linux"""
# What bad input raises; anything else is a bug of ours and keeps its traceback.
EXPECTED = (ValueError, KeyError, OSError, ImportError, FloatingPointError)


SPINS = "30000"
"""a tenth of a millisecond or so: what libgomp itself takes is ten times as much"""


def _wait_asleep() -> None:
    """Let threads that wait for each other soon sleep: where other programs want the cores, those that spin instead
    keep out the very threads they wait for, and to sleep at once costs time where nobody wants them. Heeded only before
    torch is loaded; a person's own setting stays."""
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = SPINS


def main(arguments: Sequence[str] | None = None) -> None:
    """The command's entry point; exits with 0, 1 (it failed), 2 (wrong usage), 130 (Ctrl-C), 141 (nobody reads what it
    prints) or 143 (SIGTERM)."""
    _open_closed_streams()
    try:
        code = _answer(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
    except BrokenPipeError:  # `pagoda … | head` has read enough
        _forget_output()
        code = CLOSED_PIPE
    except OSError as error:
        if os.environ.get("PAGODA_TRACEBACK"):
            raise
        _forget_output()
        _say_error(f"could not print: {error}")
        code = 1
    sys.exit(code)


def _open_closed_streams() -> None:
    """Where a process begins without standard streams, as services may, the next file it opened would get their
    numbers, and whatever C code prints would go into it."""
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(handle, True)
    os.close(handle)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def _forget_output() -> None:
    """What could not be printed is not tried again at the end of the process, where it would be a traceback."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def _answer(arguments: list[str]) -> int:
    """Find and run the verb; the exit code. Raises OSError where what is printed cannot be written."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        _show_help(Console())
        return 0 if arguments else 2
    if arguments[0] in ("--version", "version"):
        print(f"pagoda {__version__}")
        return 0
    if arguments[0] in ("--help-json", "--completion"):
        return _describe(arguments)
    verb = arguments[0]
    if verb not in VERBS:
        _say_error(f"no command is called '{verb}'; {did_you_mean(verb, VERBS)}")
        return 2
    for word in arguments:
        if reason := unfit_name(word):
            _say_error(reason)
            return 2
    _wait_asleep()
    # At the end the system clears away what torch has loaded; to look for cycles in it first takes half a second.
    atexit.register(gc.freeze)
    try:
        with stops_raise():
            return import_module(MODULES.get(verb, f"pagoda.cli.{verb}")).main(arguments[1:])
    except Stopped as stop:
        print(str(stop) or "interrupted", file=sys.stderr)
        return stop.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except EXPECTED as error:
        if os.environ.get("PAGODA_TRACEBACK") or isinstance(error, BrokenPipeError):
            raise
        text = error.args[0] if isinstance(error, KeyError) and error.args else error
        _say_error(str(text))
        return 1


def _describe(arguments: list[str]) -> int:
    """The whole command line for other programs, or what a shell completes it by; the exit code."""
    completion = import_module("pagoda.cli.arguments.completion")
    shell = arguments[1] if arguments[0] == "--completion" and len(arguments) == 2 else None
    if arguments != ["--help-json"] and shell not in completion.SHELLS:
        _say_error(
            f"say pagoda --help-json, or pagoda --completion {', '.join(completion.SHELLS)}: one of them"
        )
        return 2
    described = import_module("pagoda.cli.arguments.described").describe_program(VERBS, MODULES)
    if shell:
        print(completion.script(shell, described), end="")
    else:
        print(import_module("pagoda.files.text").json_text(described, indent=1))
    return 0


def unfit_name(word: str) -> str:
    """Why a word of the command line can name no file or folder, in a sentence; "" where it can, or is JSON or an
    address.

    Line breaks are for names that exist: nothing is made under such a one.

    >>> unfit_name("a\\0b"), unfit_name("runs/1")
    ("'a\\\\x00b' holds a null byte, which no name of a file can; leave it out", '')
    >>> unfit_name("--out=" + "y" * 300)
    "'yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy…' is a name of 300 bytes, a file's has at most 255; shorten it"
    """
    value = re.sub(r"^-*[A-Za-z_][\w.-]*=", "", word)
    if "\0" in value:
        return f"{_shortened(value)} holds a null byte, which no name of a file can; leave it out"
    if value.startswith(("[", "{", "http://", "https://")):
        return ""
    sizes = [
        len(part.encode(errors="replace")) for part in re.split(r"[/\\]" if os.name == "nt" else "/", value)
    ]
    if max(sizes) > LONGEST_NAME:
        return (
            f"{_shortened(value)} is a name of {max(sizes)} bytes, a file's has at most {LONGEST_NAME};"
            " shorten it"
        )
    if len(value.encode(errors="replace")) > LONGEST_PATH:
        return f"{_shortened(value)} is a path of more than {LONGEST_PATH} bytes; shorten it"
    if re.search(r"[\r\n]", value) and not os.path.lexists(value):
        return f"{_shortened(value)} holds a line break, and there is no such file or folder; leave it out"
    return ""


def _shortened(word: str) -> str:
    return repr(word if len(word) <= 60 else f"{word[:40]}…")


def _say_error(text: str) -> None:
    """On one line however long, so that paths can be copied and found: it is the terminal that wraps."""
    Console(stderr=True).print(f"[red]error:[/red] {escape(text)}", highlight=False, soft_wrap=True)


def _show_help(console: Console) -> None:
    console.print("[bold]pagoda[/bold] COMMAND …   ('pagoda COMMAND --help' explains one)\n", highlight=False)
    verbs = Table.grid(padding=(0, 2))
    for verb, text in VERBS.items():
        verbs.add_row(f"  [cyan]{verb}[/cyan]", text)
    console.print(verbs)
    console.print("\nA first model: [cyan]pagoda demo[/cyan]\nYour own: [cyan]pagoda doctor DIR[/cyan], then")
    console.print(
        "[cyan]pagoda train fcos_resnet18_fpn --data DIR[/cyan]\nFull error traces: PAGODA_TRACEBACK=1\n"
        "For other programs: [cyan]pagoda --help-json[/cyan]; for the tab key: [cyan]pagoda --completion[/cyan]"
        " bash, zsh or fish"
    )


if __name__ == "__main__":
    main()
