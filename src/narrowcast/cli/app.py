"""`narrowcast`: the nouns, and how errors become one line and an exit code."""

import logging
import sys
from typing import Annotated

import typer

from narrowcast import __version__
from narrowcast.cli import stream, zoo
from narrowcast.core.errors import NarrowcastError

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
app.command("zoo")(zoo.zoo)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"narrowcast {__version__}")
        raise typer.Exit


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
    """Run the command line: exit 0 done, 1 failed, 2 misused."""
    debug = "--debug" in sys.argv
    try:
        app(standalone_mode=True)
    except NarrowcastError as error:
        if debug:
            raise
        message = " ".join(str(error).split())
        print(f"Error: {message}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # `narrowcast … | head`
        sys.stderr.close()
        sys.exit(1)
