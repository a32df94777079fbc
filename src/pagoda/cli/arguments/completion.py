"""Scripts by which shells complete the command line at the tab key, made of its description: no Python runs then."""

from collections.abc import Iterator
from typing import Literal, get_args

from pagoda.plain import JsonObject, checked

Shell = Literal["bash", "zsh", "fish"]
SHELLS: tuple[Shell, ...] = get_args(Shell)
ALONE = ("--help", "--version", "--help-json", "--completion")
"""what may stand in the place of a verb"""
OF_ALL = ("--help", "--help-all", "--help-json")
"""what every verb takes"""
MANY = 9999
"""words that follow a flag, where there is no limit"""

# The flag to the left of the cursor says what may stand there, unless it has its words already. Bash takes `=` for a
# word of its own. Where nothing fits, names of files do: `complete` says so.
BASH = r"""_pagoda() {
    local typed="${COMP_WORDS[COMP_CWORD]}" verb="${COMP_WORDS[1]}" first=2 at given=0 flag="" most="" fitting=""
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=( $(compgen -W "$(_pagoda_verbs)" -- "$typed") )
        return
    fi
    if [ "$COMP_CWORD" -gt 2 ] && [ -n "$(_pagoda_flags "$verb ${COMP_WORDS[2]}")" ]; then
        verb="$verb ${COMP_WORDS[2]}"
        first=3
    fi
    for (( at = COMP_CWORD - 1; at >= first; at-- )); do
        case "${COMP_WORDS[at]}" in
            --*) flag="${COMP_WORDS[at]}"; break ;;
            =) ;;
            *) given=$(( given + 1 )) ;;
        esac
    done
    [ "$typed" = "=" ] && typed=""
    read -r most fitting <<< "$(_pagoda_values "$verb" "$flag")"
    case "$typed" in
        -*) fitting="$(_pagoda_flags "$verb")" ;;
        *) [ -n "$flag" ] && [ "$given" -lt "${most:-1}" ] || fitting="$(_pagoda_arguments "$verb")" ;;
    esac
    COMPREPLY=( $(compgen -W "$fitting" -- "$typed") )
}
"""
ZSH = """autoload -U +X compinit && compinit
autoload -U +X bashcompinit && bashcompinit
"""
FISH = r"""function __pagoda_at
    set -l typed (commandline -opc)
    set -l verb "$typed[2]"
    contains -- "$verb $typed[3]" $__pagoda_two; and set verb "$verb $typed[3]"
    test "$verb" = "$argv"
end
complete -c pagoda -e
"""


@checked
def script(shell: Shell, described: JsonObject) -> str:
    """What the shell reads; `described` is the command line (`described.describe_program`).

    >>> option = {"flag": "--way", "help": "which", "value": {"enum": ["left", "right"]}, "words": [1, 1]}
    >>> command = {"command": "turn", "summary": "turn round", "arguments": [], "options": [option]}
    >>> print(script("fish", {"models": [], "commands": [command]}).splitlines()[-4])
    complete -c pagoda -n '__pagoda_at turn' -l way -x -a 'left right' -d 'which'
    """
    if shell == "fish":
        return "".join(f"{line}\n" for line in _fish(described))
    bash = "".join(f"{line}\n" for line in _tables(described)) + BASH
    return f"{ZSH if shell == 'zsh' else ''}{bash}complete -o bashdefault -o default -F _pagoda pagoda\n"


def _tables(described: JsonObject) -> Iterator[str]:
    """Functions of the shell, each a table: the verbs; a verb's flags; a flag's values; what else follows a verb."""
    commands = described["commands"]
    yield f"_pagoda_verbs() {{ echo '{' '.join([*_verbs(described), *ALONE])}'; }}"
    flags, values = [], []
    followed_by: dict[str, list[str]] = {}
    for command in commands:
        verb = command["command"]
        flags.append(f"'{verb}') echo '{' '.join(_flags(command))}' ;;")
        if words := _arguments(command, described):
            followed_by.setdefault(" ".join(words), []).append(f"'{verb}'")
        for option in command["options"]:
            most = MANY if option["words"][1] is None else option["words"][1]
            values.append(f"'{verb} {option['flag']}') echo '{' '.join([str(most), *_choices(option)])}' ;;")
            if "negation" in option:
                values.append(f"'{verb} {option['negation']}') echo '0' ;;")
    arguments = [f"{'|'.join(verbs)}) echo '{words}' ;;" for words, verbs in followed_by.items()]
    values += [f"*' {flag}') echo '0' ;;" for flag in OF_ALL]
    for name, asked, rows in (
        ("flags", "$1", flags),
        ("values", "$1 $2", values),
        ("arguments", "$1", arguments),
    ):
        yield f'_pagoda_{name}() {{\n    case "{asked}" in'
        yield from (f"        {row}" for row in rows)
        yield "    esac\n}"


def _fish(described: JsonObject) -> Iterator[str]:
    """One line for each thing that can be completed, with its words of explanation."""
    two = [command["command"] for command in described["commands"] if " " in command["command"]]
    yield f"set -g __pagoda_two {' '.join(map(_quoted, two))}"
    yield FISH.rstrip()
    first = f"complete -c pagoda -n {_quoted('test (count (commandline -opc)) -eq 1')} -f"
    for command in described["commands"]:
        if command["command"] in _verbs(described):
            yield f"{first} -a {command['command']} -d {_quoted(command['summary'])}"
    yield from (f"{first} -l {flag[2:]}" for flag in ALONE)
    for command in described["commands"]:
        where = f"complete -c pagoda -n {_quoted('__pagoda_at ' + command['command'])}"
        if words := _arguments(command, described):
            yield f"{where} -a {_quoted(' '.join(words))}"
        for option in command["options"]:
            yield f"{where} -l {option['flag'][2:]}{_fish_words(option)}"
            if "negation" in option:
                yield f"{where} -l {option['negation'][2:]}"
        yield from (f"{where} -l {flag[2:]}" for flag in OF_ALL)


def _fish_words(option: JsonObject) -> str:
    """What follows a flag, names of files where the words are not known; and what it is for."""
    fitting = _choices(option)
    takes = f" -x -a {_quoted(' '.join(fitting))}" if fitting else " -r"
    told = f" -d {_quoted(option['help'].partition(';')[0])}" if option["help"] else ""
    return (takes if option["words"][1] != 0 else "") + told


def _choices(option: JsonObject) -> list[str]:
    """Of a flag that is followed by a word."""
    return [] if option["words"][1] == 0 else choices(option["value"])


def choices(schema: JsonObject) -> list[str]:
    """The words among which a value is chosen, none where it is free; of a list, those of its items.

    >>> choices({"anyOf": [{"type": "integer"}, {"enum": ["auto"]}]}), choices({"type": "boolean"})
    (['auto'], ['True', 'False'])
    """
    if schema.get("written") == "JSON":
        return []
    if schema.get("type") in ("boolean", "null"):
        return ["True", "False"] if schema["type"] == "boolean" else ["None"]
    inner = [*schema.get("anyOf", ()), *schema.get("prefixItems", ()), *filter(None, [schema.get("items")])]
    found = [*map(str, schema.get("enum", ())), *(word for part in inner for word in choices(part))]
    return [] if found == ["None"] else list(dict.fromkeys(found))


def _verbs(described: JsonObject) -> list[str]:
    return [command["command"] for command in described["commands"] if " " not in command["command"]]


def _flags(command: JsonObject) -> list[str]:
    flags = [option[key] for option in command["options"] for key in ("flag", "negation") if key in option]
    return [*flags, *OF_ALL]


def _arguments(command: JsonObject, described: JsonObject) -> list[str]:
    """What may follow a verb besides flags: the verbs behind it, and the models of the zoo where one is asked for."""
    start = f"{command['command']} "
    behind = [
        each["command"][len(start) :] for each in described["commands"] if each["command"].startswith(start)
    ]
    takes_model = any(argument["argument"] == "MODEL" for argument in command["arguments"])
    return behind + (described["models"] if takes_model else [])


def _quoted(text: str) -> str:
    """As fish reads it."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
