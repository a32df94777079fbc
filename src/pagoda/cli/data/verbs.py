"""pagoda data convert · merge · split · subset · tile"""

from collections.abc import Sequence
from importlib import import_module

from rich.console import Console
from rich.table import Table

from pagoda.messages import did_you_mean

VERBS = {
    "convert": "DIR OUT --to FORMAT: write a data set in another format",
    "merge": "A B … OUT: put data sets together, classes by their names",
    "split": "DIR OUT --val 0.2: divide into splits, each class by its share",
    "subset": "DIR OUT --classes …, --first N …: take some of it",
    "tile": "DIR OUT --size 640: cut large pictures into tiles",
}
SUBVERBS = {verb: f"pagoda.cli.data.{verb}" for verb in VERBS}
"""verb → its module; that of one is loaded alone"""


def main(arguments: Sequence[str]) -> int:
    """0; 2 for what is no verb. Raises what the verb raises."""
    if not arguments or arguments[0] in ("-h", "--help", "--help-all", "help"):
        _show_help(Console())
        return 0 if arguments else 2
    verb = arguments[0]
    if verb not in VERBS:
        Console(stderr=True).print(
            f"[red]error:[/red] pagoda data has no '{verb}'; {did_you_mean(verb, VERBS)}", highlight=False
        )
        return 2
    return import_module(SUBVERBS[verb]).main(arguments[1:])


def _show_help(console: Console) -> None:
    console.print(
        "[bold]pagoda data[/bold] VERB …   ('pagoda data VERB --help' explains one)\n", highlight=False
    )
    verbs = Table.grid(padding=(0, 2))
    for verb, text in VERBS.items():
        verbs.add_row(f"  [cyan]{verb}[/cyan]", text)
    console.print(verbs)
    console.print(
        "\nWhat a format cannot hold is counted and told before anything is written, and\n"
        "stands in OUT/losses.json; --dry-run only tells, --strict refuses. DIR stays as\n"
        "it is, OUT is new.",
        highlight=False,
    )
