"""`narrowcast fleet`: many cameras that share teachers."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Many streams, each with its own student, that share few teachers.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]


@app.command()
def run(
    cameras: Annotated[Path, typer.Argument(help="TOML with [fleet] and a section [camera.NAME] for each.")],
    out: Annotated[Path, typer.Option(help="Folder for the cameras' runs and the state of all.")],
    workers: Annotated[int, typer.Option(help="Actors of Ray that run cameras; 0: this process, without Ray.")] = 0,
    teachers: Annotated[int, typer.Option(help="Actors of Ray with the teacher.")] = 1,
    address: Annotated[str | None, typer.Option(help="Of a Ray that runs; without it, one on this machine.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the fleet in --out.")] = False,
    json: Json = False,
) -> None:
    """Run all cameras of a file, until each has ended; follows the file while it runs.

    Ctrl-C ends every run after its frame, with everything written (exit code 130); --resume goes on.

    Example: narrowcast fleet run cameras.toml --out runs/fleet --workers 4 --teachers 2
    """
    from narrowcast.cli import _fleet

    request = _fleet.FleetRequest(
        cameras=cameras, out=out, num_workers=workers, num_teachers=teachers, address=address, resume=resume
    )
    _fleet.run(request, as_json=json)


@app.command()
def status(
    out: Annotated[Path, typer.Argument(help="The folder of a fleet.")],
    json: Json = False,
) -> None:
    """Where each camera of a fleet stands.

    Example: narrowcast fleet status runs/fleet
    """
    from narrowcast.cli import _fleet

    _fleet.status(out, as_json=json)
