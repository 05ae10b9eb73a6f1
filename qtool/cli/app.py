"""The `qtool` command: one typer app with a row per command."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from qtool import __version__
from qtool.cli.boundary import MERGE, ErrorBoundary
from qtool.cli.calibrate import calibrate, merge
from qtool.cli.compare import compare
from qtool.cli.data import data
from qtool.cli.doctor import doctor
from qtool.cli.ending import flush, open_streams, unwritten, watch_signals
from qtool.cli.inspect import inspect
from qtool.cli.presets import presets
from qtool.cli.quantize import quantize
from qtool.cli.report import report
from qtool.cli.sensitivity import sensitivity
from qtool.cli.sweep import sweep
from qtool.cli.tune import tune
from qtool.files import discard_temporaries

app = typer.Typer(
    cls=ErrorBoundary,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Quantize saved ONNX models: smaller and faster without becoming worse.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"qtool {__version__}")
        raise typer.Exit


# Heavy modules are imported inside the commands: `qtool --help` answers at once.
COMMANDS: dict[Callable[..., None], str] = {
    quantize: "Make a smaller, faster model.",
    calibrate: "Measure activation ranges once, use them many times.",
    compare: "Accuracy, size and speed against the original; gates for CI.",
    sensitivity: "Which layers hurt, and what to do about them.",
    sweep: "The grid of bits, schemes and methods: score, size and speed of each.",
    tune: "Recover accuracy by learning weights and scales, until a target is met.",
    report: "A saved run again: shown, and judged by other gates; runs nothing.",
    inspect: "What is in a model, what can be quantized and what not, and why.",
    data: "What would be fed to a model; runs nothing.",
    presets: "The recipes that come along, and the algorithms that they list.",
    doctor: "Versions, CPU, extras.",
}
for command, summary in COMMANDS.items():
    app.command(short_help=summary)(command)
app.command(" ".join(MERGE), short_help="Shards of one calibration become one file.")(merge)


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Show the version.")
    ] = False,
) -> None:
    """Quantize saved ONNX models: smaller and faster without becoming worse."""


def main() -> None:
    """Run the command line; the console script points here."""
    open_streams()
    watch_signals()
    code: int | str | None = 0
    try:
        app(prog_name="qtool")
    except SystemExit as done:
        code = done.code
        if isinstance(done.__context__, BrokenPipeError):  # rich's own help ends with 1 then
            code = 128 + signal.SIGPIPE
    except OSError as error:  # help is printed outside of the boundary
        code = unwritten(error)
    finally:
        discard_temporaries()  # a signal may have struck while they were being removed
    sys.exit(flush() or code)


if __name__ == "__main__":
    main()
