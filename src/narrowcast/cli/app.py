"""`narrowcast`: the nouns, and how errors become one line and an exit code."""

import logging
import signal
import sys
import traceback
from typing import Annotated, Any

import typer

from narrowcast import __version__
from narrowcast.cli import bgsplit, fleet, hydra, loop, mine, stream, zoo
from narrowcast.core.errors import NarrowcastError

# the parser's own errors; typer exports only the leaves of that family
ClickException: Any = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="narrowcast",
    help="Small vision models that are ready for what is in front of them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(stream.app, name="stream")
app.add_typer(hydra.app, name="hydra")
app.add_typer(mine.app, name="mine")
app.add_typer(bgsplit.app, name="bgsplit")
app.add_typer(fleet.app, name="fleet")
app.add_typer(loop.app, name="loop")
app.command("zoo")(zoo.zoo)


def _version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"narrowcast {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def options(
    debug: Annotated[bool, typer.Option(help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Small vision models that are ready for what is in front of them."""
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, format="%(levelname)s: %(message)s")


def main() -> None:
    """Run the command line: exit 0 done, 1 failed, 2 misused, 130 ended by Ctrl-C (128 + the signal's number)."""
    debug = "--debug" in sys.argv
    try:
        code = app(prog_name="narrowcast", standalone_mode=False)  # however Python was started
    except NarrowcastError as error:
        if debug:
            traceback.print_exc()
        code = _failed(str(error), error.exit_code)
    except ClickException as error:
        code = _misused(error)
    except (KeyboardInterrupt, typer.Abort):
        code = 128 + signal.SIGINT
    except BrokenPipeError:  # `narrowcast … | head`
        sys.stderr.close()
        code = 1
    except (OSError, MemoryError) as error:  # of places that have no words of their own for it
        if debug:
            raise
        code = _failed(_words(error), 1)
    sys.exit(code if isinstance(code, int) else 0)


def _failed(message: str, exit_code: int) -> int:
    print(f"Error: {' '.join(message.split())}", file=sys.stderr)
    return exit_code


def _misused(error: Any) -> int:
    """One line for what the parser of the command line refuses; a command without arguments shows its help."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return error.exit_code
    context = getattr(error, "ctx", None)
    hint = f" (see {context.command_path} --help)" if context is not None else ""
    return _failed(error.format_message() + hint, error.exit_code)


def _words(error: OSError | MemoryError) -> str:
    if isinstance(error, MemoryError):
        return "out of memory; a smaller --size needs less"
    return f"{error.filename or 'standard output'}: {error.strerror or error}"
