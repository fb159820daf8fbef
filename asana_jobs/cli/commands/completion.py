"""``asana-jobs completion``, and the scripts with which bash, zsh and fish complete a command line.

The commands, their options and their choices are cyclopts'; its scripts are not. They know no files, break off after
``start duplicate-project`` (a kind that is a command's name too) and after ``--public``, and complete one word of
``--include``. These here ask no program when TAB is pressed: all that can be typed is in them.

What is the same whatever the commands are stands beside this file, in ``completion.bash`` and so on, where @NAME@ is filled
in. Bash splits words at = and : too, and lacks ``compopt`` before its version 4, which macOS still ships.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias, get_args, get_origin

import attrs

from asana_jobs.cli.catalog import COMMANDS, NAME, Command
from asana_jobs.cli.errors import ExitStatus, UsageError, say
from asana_jobs.cli.manual import TOPICS
from asana_jobs.cli.options import FLAG
from asana_jobs.cli.parser import make_app
from asana_jobs.cli.terminal import emit
from asana_jobs.parameters import INCLUDE_WORDS


if TYPE_CHECKING:
    from cyclopts import App
    from cyclopts.argument import Argument


Shell: TypeAlias = Literal["bash", "zsh", "fish"]

#: The command whose first argument names another command, of which the rest is.
_BY_KIND: Final = "start"

#: What ``--privacy-setting`` can be.
_PRIVACY_WORDS: Final = ("public_to_workspace", "private_to_team", "private")


def completion(shell: Shell | None = None, /, *, install: Annotated[bool, FLAG] = False) -> ExitStatus:
    """Print the shell's completion script.

    After an update of asana-jobs, print or install it again.

    For example:

      asana-jobs completion --install
      source <(asana-jobs completion bash)
      asana-jobs completion fish > ~/.config/fish/completions/asana-jobs.fish

    Args:
        shell: The shell; without it, the one this runs in. Example: bash
        install: Write it where the shell finds it, and a line into the startup file of bash and zsh. Example: --install
    """
    chosen = shell or _shell_around()
    if install:
        path = install_completion(chosen)
        say(f"Installed {path}; it works in shells opened from now on.\n")
    else:
        emit(completion_script(chosen))
    return ExitStatus.SUCCEEDED


def _shell_around() -> Shell:
    from cyclopts.completion import ShellDetectionError, detect_shell

    try:
        found = detect_shell()
    except ShellDetectionError:
        raise UsageError("which shell? Say bash, zsh or fish") from None
    if found == "powershell":
        raise UsageError("there is no completion for PowerShell: say bash, zsh or fish")
    return found


def completion_script(shell: Shell) -> str:
    """Return the script with which *shell* completes a command line."""
    app = make_app()
    commands = [_syntax(app, command) for command in COMMANDS]
    filled = {"NAME": NAME, "FUNCTION": NAME.replace("-", "_"), "BY_KIND": _BY_KIND}
    filled |= {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](commands)
    template = files("asana_jobs.cli.commands").joinpath(f"completion.{shell}").read_text("utf-8")
    return re.sub(r"@([A-Z_]+)@", lambda found: filled[found[1]], template)


def install_completion(shell: Shell) -> Path:
    """Write the script where *shell* finds it, and return where that is.

    The startup file of bash or zsh gets a line that reads it, once: only fish looks into a folder of its own accord.

    Raises:
        OSError: one of the two files cannot be written.
    """
    home = Path.home()
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share")
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    path, startup = {
        "bash": (data / "bash-completion/completions" / NAME, home / ".bashrc"),
        "zsh": (data / NAME / "completion.zsh", Path(os.environ.get("ZDOTDIR") or home) / ".zshrc"),
        "fish": (config / "fish/completions" / f"{NAME}.fish", None),
    }[shell]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(completion_script(shell), encoding="utf-8")
    if startup is not None:
        _append_once(startup, f"[ -f {shlex.quote(str(path))} ] && . {shlex.quote(str(path))}")
    return path


def _append_once(startup: Path, line: str) -> None:
    with startup.open("a+b") as file:
        file.seek(0)
        before = file.read()
        if line.encode() not in before.splitlines():
            file.write((b"" if before.endswith(b"\n") or not before else b"\n") + line.encode() + b"\n")


# What can be typed


@attrs.frozen
class Value:
    """Value of one argument, or of one option.

    Attributes:
        label: What the help page calls it.
        words: What can be offered; nothing if it is a gid, a name or a number.
        many: Whether it is several of the words, separated by commas.
        file: Whether it is a file.
    """

    label: str
    words: tuple[str, ...] = ()
    many: bool = False
    file: bool = False


@attrs.frozen
class Option:
    """One option.

    Attributes:
        names: Its names, of which one is typed.
        about: What it is for.
        value: What follows it; nothing if it is a switch.
        repeated: Whether it may be given more than once.
    """

    names: tuple[str, ...]
    about: str
    value: Value | None = None
    repeated: bool = False


@attrs.frozen
class Syntax:
    """Arguments and options of a command."""

    name: str
    summary: str
    arguments: tuple[Value, ...]
    options: tuple[Option, ...]


def _syntax(app: App, command: Command) -> Syntax:
    name, arguments = command.name, app[command.name].assemble_argument_collection(parse_docstring=True)
    shown = [argument for argument in arguments if argument.show]
    options = [option for argument in shown if argument.index is None for option in _options(name, argument)]
    help_page = Option(("--help", "-h"), "Show the help page")
    places = tuple(_value(name, argument) for argument in shown if argument.index is not None)
    return Syntax(name, command.summary, places, (*options, help_page))


def _options(command: str, argument: Argument) -> list[Option]:
    about = re.split(r"[.;:]\s", f"{argument.parameter.help} ")[0].strip()
    names = tuple(argument.parameter.name or ())
    if set(_types(argument.hint)) <= {bool}:
        return [Option((name,), about) for name in (*names, *argument.negatives)]
    _, repeated = argument.token_count()
    return [Option(names, about, _value(command, argument), repeated)]


def _value(command: str, argument: Argument) -> Value:
    label = argument.parameter.metavar or argument.name.lstrip("-")
    if argument.name == "--include":
        kinds = [command.replace("-", "_")] if command != _BY_KIND else list(INCLUDE_WORDS)
        words = {word for kind in kinds for word in INCLUDE_WORDS[kind]}
        return Value(label, tuple(sorted(words)), many=True)
    if argument.name == "--privacy-setting":
        return Value(label, _PRIVACY_WORDS)
    if label == "TOPIC":
        return Value(label, (*TOPICS,))
    return Value(label, tuple(argument.get_choices(force=True) or ()), file=Path in _types(argument.hint))


def _types(hint: object) -> list[object]:
    """Return what *hint* allows besides ``None``."""
    members = () if get_origin(hint) is Literal else get_args(hint)
    return [member for member in members or (hint,) if member is not type(None)]


def _values(commands: Sequence[Syntax]) -> dict[Value, list[str]]:
    """Return each value that can be completed, with the places where it stands: ``run 0``, ``run --ledger``."""
    found: dict[Value, list[str]] = {}
    for command in commands:
        places = [(str(number), value) for number, value in enumerate(command.arguments)]
        places += [
            (name, option.value) for option in command.options if option.value for name in option.names
        ]
        for place, value in places:
            if value.words or value.file:
                found.setdefault(attrs.evolve(value, label=""), []).append(f"{command.name} {place}")
    return found


def _with_value(commands: Sequence[Syntax]) -> list[str]:
    """Return every option that is followed by a value, of whichever command."""
    options = [option for command in commands for option in command.options]
    return sorted({name for option in options if option.value for name in option.names})


# How each shell is told


def _bash(commands: Sequence[Syntax]) -> Mapping[str, str]:
    values: list[str] = []
    for value, places in _values(commands).items():
        what = "file=1" if value.file else f"words='{' '.join(value.words)}'{' many=1' if value.many else ''}"
        values.append(f"    {'|'.join(map(_quoted, places))}) {what} ;;")
    options = [
        f"    {command.name}) words='{' '.join(name for option in command.options for name in option.names)}' ;;"
        for command in commands
    ]
    return {
        "COMMANDS": " ".join(command.name for command in commands),
        "WITH_VALUE": " | ".join(_with_value(commands)),
        "OPTIONS": "\n".join(options),
        "VALUES": "\n".join(values),
    }


def _zsh(commands: Sequence[Syntax]) -> Mapping[str, str]:
    branches: list[str] = []
    for command in commands:
        specs = [_zsh_spec(option) for option in command.options]
        specs += [
            _quoted(f"{number}:{value.label}:{_zsh_action(value)}")
            for number, value in enumerate(command.arguments, 1)
        ]
        listed = " \\\n        ".join(["_arguments", *specs])
        branches.append(f"    {command.name})\n      {listed}\n      ;;")
    named = [_quoted(f"{command.name}:{command.summary}") for command in commands]
    return {"COMMANDS": "\n".join(f"      {entry}" for entry in named), "BRANCHES": "\n".join(branches)}


def _zsh_spec(option: Option) -> str:
    about = re.sub(r"([\[\]:\\])", r"\\\1", option.about)
    others = "*" if option.repeated else f"({' '.join(option.names)})"
    value = f":{option.value.label}:{_zsh_action(option.value)}" if option.value else ""
    names = [f"{name}{'=' if option.value and name.startswith('--') else ''}" for name in option.names]
    return " ".join(_quoted(f"{others}{name}[{about}]{value}") for name in names)


def _zsh_action(value: Value) -> str:
    if value.file:
        return "_files"
    if value.many:
        return f"_values -s , {value.label} {' '.join(value.words)}"
    return f"({' '.join(value.words)})" if value.words else " "


def _fish(commands: Sequence[Syntax]) -> Mapping[str, str]:
    rules: list[str] = []
    for command in commands:
        rules.append(_fish_rule("", f"-a {command.name}", command.summary))
        for number, value in enumerate(command.arguments):
            if value.words or value.file:
                rules.append(_fish_rule(f"{command.name} {number}", _fish_value(value), value.label))
        for option in command.options:
            names = " ".join(
                f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names
            )
            follows = f" -r {_fish_value(option.value)}" if option.value else ""
            rules.append(_fish_rule(command.name, f"{names}{follows}", option.about))
    return {
        "COMMANDS": " ".join(command.name for command in commands),
        "WITH_VALUE": " ".join(_with_value(commands)),
        "RULES": "\n".join(rules),
    }


def _fish_rule(place: str, what: str, about: str) -> str:
    condition = f"__{NAME.replace('-', '_')}_at {place}".rstrip()
    return f"complete -c {NAME} -n {_fish_quoted(condition)} {what} -d {_fish_quoted(about)}"


def _fish_value(value: Value) -> str:
    if value.file:
        return "-F"
    words = " ".join(value.words)
    return f"-f -a '(__{NAME.replace('-', '_')}_list {words})'" if value.many else f"-f -a '{words}'"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
