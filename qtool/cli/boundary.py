"""Where an error becomes one message and an exit code, under `CliRunner` too."""

from __future__ import annotations

import re
import signal
import traceback
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from qtool.cli.ending import OF_THE_MACHINE
from qtool.errors import MachineError, QtoolError
from qtool.text import visible

MERGE = ("calibrate", "merge")  # the one command of two words, beside  calibrate MODEL


class ErrorBoundary(TyperGroup):
    """A command group that turns our errors into a message: what, why, fix."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if tuple(args[:2]) == MERGE:
            args = [" ".join(MERGE), *args[2:]]
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except QtoolError as error:
            _show(error)
            raise typer.Exit(error.exit_code) from error
        except MemoryError as error:
            typer.echo("error: out of memory", err=True)
            raise typer.Exit(5) from error
        except BrokenPipeError as error:  # `| head` has seen enough
            raise typer.Exit(128 + signal.SIGPIPE) from error
        except KeyboardInterrupt as error:
            typer.echo("interrupted", err=True)
            number = error.args[0] if error.args else signal.SIGINT
            raise typer.Exit(128 + number) from error
        except Exception as error:
            if isinstance(error, OSError) and error.errno in OF_THE_MACHINE:
                _show(_of_the_machine(error))
                raise typer.Exit(MachineError.exit_code) from error
            if type(error).__module__.startswith("typer"):  # its own way to exit
                raise
            crash = Path.cwd() / "crash-qtool.txt"
            text = "".join(traceback.format_exception(error))
            try:
                crash.write_text(text, encoding="utf-8", errors="backslashreplace")
                where = f"the details are in {crash}"
            except OSError:
                where = text
            typer.echo(
                f"error: a bug in qtool: {type(error).__name__}: {error}\n  {where}", err=True
            )
            raise typer.Exit(70) from error


def _of_the_machine(error: OSError) -> MachineError:
    """What no layer below has expected: the terminal's disk, the folder for temporary files."""
    name = f": {error.filename}" if error.filename else ""
    return MachineError(f"{error.strerror}{name}", fix="-v shows where it happened")


def _show(error: QtoolError) -> None:
    from qtool.cli import console

    typer.echo(f"error: {printable(error.what, lines=False)}", err=True)
    for line in error.why.splitlines():
        typer.echo(f"  {printable(line)}", err=True)
    if error.fix:
        typer.echo(f"  fix: {printable(error.fix)}", err=True)
    if console.verbose:
        typer.echo("".join(traceback.format_exception(error)), err=True)


def printable(text: str, *, lines: bool = True) -> str:
    """The text without control characters, so that a name in a file cannot steer the terminal.

    Newlines stay unless `lines` is False; what GitHub reads as a command, `::error::` or the older
    `##[error]`, does not.
    """
    plain = visible(text, keep="\n" if lines else "")
    return _WORKFLOW_COMMAND.sub(lambda found: f"\\x{ord(found[0][0]):02x}{found[0][1:]}", plain)


# The first counts at the start of a line only, and `onnx::Conv_12`, as PyTorch names things, is no
# command; the second counts anywhere.
_WORKFLOW_COMMAND = re.compile(r"(?<![\w.])::(?=[A-Za-z-]+[^\n]*::)|##(?=\[)")
