"""`narrowcast stream`: run and pretrain."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="A small student that keeps learning a video from an expensive teacher.", no_args_is_help=True)


@app.command()
def pretrain(
    images: Annotated[list[Path], typer.Option(help="A folder of images; give it again for more folders.")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoints and the result; training goes on from it.")],
    labels: Annotated[Path, typer.Option(help="Folder that keeps the teacher's labels, made once.")],
    teacher: Annotated[
        str | None, typer.Option(help="A teacher's name or card. Without it the labels must be there already.")
    ] = None,
    student: Annotated[str, typer.Option(help="jitnet, mobilenetv2 or lite-segmenter.")] = "jitnet",
    tags: Annotated[Path | None, typer.Option(help="TOML rules: what images' names say of their pixels.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML recipe: [pretrain], [compose], [training].")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="One setting: training.steps=2000.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Distil a teacher on still images into a student that streams can start from.

    Example: narrowcast stream pretrain --images photos --teacher maskrcnn --labels labels/photos --out runs/pretrain
    """
    from narrowcast.cli import _pretrain

    _pretrain.run(
        images,
        out,
        labels,
        teacher,
        student,
        tags=tags,
        recipe=config,
        settings=set_ or [],
        device=device,
        as_json=json,
    )
