"""`narrowcast fleet`: many cameras that share teachers."""

from pathlib import Path
from typing import Annotated

import typer

from narrowcast.cli._options import Json, Resume

app = typer.Typer(
    help="Many streams, each with its own student, that share few teachers.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def run(
    cameras: Annotated[Path, typer.Argument(help="TOML with [fleet] and a section [camera.NAME] for each.")],
    out: Annotated[Path, typer.Option(help="Folder for the cameras' runs and the state of all.")],
    workers: Annotated[int, typer.Option(help="Actors of Ray that run cameras; 0: this process, without Ray.")] = 0,
    teachers: Annotated[int, typer.Option(help="Actors of Ray with the teacher.")] = 1,
    address: Annotated[str | None, typer.Option(help="Of a Ray that runs; without it, one on this machine.")] = None,
    resume: Resume = False,
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


@app.command()
def page(
    out: Annotated[Path, typer.Argument(help="The folder of a fleet, while it runs or after.")],
    host: Annotated[str, typer.Option(help="Address to listen on; others than this machine's need a --token.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 0,
    token: Annotated[str, typer.Option(help="What a browser must show, in the address or once.")] = "",
) -> None:
    """One page with the state of every camera, until Ctrl-C.

    Example: narrowcast fleet page runs/fleet --port 8080
    """
    from narrowcast.cli import _fleet

    _fleet.page(out, host=host, port=port, token=token)
