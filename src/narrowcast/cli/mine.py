"""`narrowcast mine`: index."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="From a few examples of something rare to all the others, with few labels.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

PoolFolder = Annotated[Path, typer.Option("--pool", help="The pool's folder.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]


@app.command()
def index(
    pool: PoolFolder,
    photos: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folders, images, .txt, .csv or .parquet lists of paths, tar archives; none: what is known."
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(help="What sees the photos, see docs/backbones.md. [default: the pool's, or efficientnet-lite0]"),
    ] = None,
    workers: Annotated[int, typer.Option(help="Threads that decode; 0: one a core, at least two.")] = 0,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Decode and embed the photos that the pool does not know yet; goes on where it was ended or killed.

    Example: narrowcast mine index photos --pool photos.pool
    """
    from narrowcast.cli import _mine

    _mine.index(pool, photos or [], backbone, num_workers=workers, device=device, as_json=json)


@app.command()
def show(pool: PoolFolder, json: Json = False) -> None:
    """What is in a pool: photos, duplicates, what cannot be decoded and why, features, categories.

    Example: narrowcast mine show --pool photos.pool
    """
    from narrowcast.cli import _mine

    _mine.show(pool, as_json=json)
