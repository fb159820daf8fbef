"""Shells that a test types into: each sits at a terminal, as a person's does."""

from __future__ import annotations

import os
import pty
import subprocess
import termios
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import attrs


_PROMPT: Final = "ready> "
#: What stands before and after the line when a shell is asked for it.
_MARK: Final = "\x1e"
#: The keys that put all that fits on the line, that show the line, and that clear it.
_INSERT_ALL: Final = "\x18\x01"
_SHOW: Final = "\x18\x10"
_CLEAR: Final = "\x15"

_STARTUP: Final = {
    "bash": f"""
PS1='{_PROMPT}'
bind 'set bell-style none'
bind 'set enable-bracketed-paste off'
bind '"\\C-x\\C-a": insert-completions'
bind -x '"\\C-x\\C-p": printf "\\036%s\\036" "$READLINE_LINE"'
""",
    "zsh": f"""
PS1='{_PROMPT}'
unsetopt beep
every() {{ _main_complete; compstate[insert]=all }}
zle -C every complete-word every
show() {{ printf '\\036%s\\036' "$BUFFER" > $TTY }}
zle -N show
bindkey '^X^A' every
bindkey '^X^P' show
""",
}


@attrs.frozen
class Shell:
    """A shell at a terminal."""

    terminal: int

    def offers(self, line: str) -> list[str]:
        """Return all that the shell would put in place of the last word of *line*."""
        typed = line[line.rfind(" ") + 1 :]
        offered = self.line_after(line + _INSERT_ALL)[line.rfind(" ") + 1 :].split()
        # Zsh appends what goes away when a blank is typed. What was typed is what stays if nothing fits.
        return [word.rstrip(",=") for word in offered if word != typed]

    def line_after(self, keys: str) -> str:
        """Return the line that is there when *keys* were pressed."""
        os.write(self.terminal, (keys + _SHOW).encode())
        line = _read(self.terminal, lambda seen: seen.count(_MARK) == 2).split(_MARK)[1]
        os.write(self.terminal, _CLEAR.encode())
        return line


@contextmanager
def open_shell(name: str, home: Path, folder: Path) -> Generator[Shell, None, None]:
    """Open bash or zsh as a person with this *home* does, in *folder*."""
    startup = home / f".{name}rc"
    before = startup.read_text() if startup.exists() else ""
    startup.write_text(before + _STARTUP[name])
    terminal, inside = pty.openpty()
    termios.tcsetwinsize(inside, (50, 2000))
    with subprocess.Popen(
        [name, "-i"],
        stdin=inside,
        stdout=inside,
        stderr=inside,
        cwd=folder,
        env=shell_environment(home),
        start_new_session=True,
    ) as child:
        os.close(inside)
        try:
            _read(terminal, lambda seen: _PROMPT in seen)
            yield Shell(terminal)
        finally:
            child.kill()
            os.close(terminal)


def shell_environment(home: Path) -> dict[str, str]:
    """Return the environment of a person who has nothing of their own but *home*, with programs in its ``bin``."""
    path = f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(home), "TERM": "xterm", "LC_ALL": "C.UTF-8"}


@attrs.frozen
class Fish:
    """Fish, asked what it would offer: it tells without a terminal."""

    home: Path
    folder: Path

    def offers(self, line: str) -> list[str]:
        """Return all that fish would put in place of the last word of *line*."""
        ended = subprocess.run(
            ["fish", "-c", "complete -C $argv[1]", line],
            cwd=self.folder,
            env=shell_environment(self.home),
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        )
        assert ended.stderr == ""
        return [offered.partition("\t")[0] for offered in ended.stdout.splitlines()]


def _read(terminal: int, enough: Callable[[str], bool]) -> str:
    seen = ""
    while not enough(seen):
        seen += os.read(terminal, 4096).decode(errors="replace")
    return seen
