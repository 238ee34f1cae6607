"""`narrowcast hydra`: train, eval, partition, bench, export."""

from pathlib import Path
from typing import Annotated

import typer

from narrowcast.cli._options import Device, Json, Recipe, Resume, Seed, Settings

app = typer.Typer(
    help="Classifiers that run only the branches that an image needs.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Data = Annotated[Path, typer.Option(help="Folder of class folders (train/ and val/ are splits), CSV, or CIFAR-100.")]
Run = Annotated[Path, typer.Argument(help="Folder of a training, or its net.safetensors.")]


@app.command()
def train(
    data: Data,
    out: Annotated[Path, typer.Option(help="The run's folder: weights, report, numbers, checkpoint.")],
    arch: Annotated[str, typer.Option(help="A classifier of narrowcast zoo, or of torchvision.")] = "hydra-res-d1",
    weights: Annotated[
        str, typer.Option(help="Begin with these: file, run folder, or published (torchvision's). [default: random]")
    ] = "",
    partition: Annotated[str, typer.Option(help="File of narrowcast hydra partition, or random.")] = "random",
    size: Annotated[int, typer.Option(help="Pixels a side.")] = 32,
    epochs: Annotated[int | None, typer.Option(help="Passes over the images. [default: 60]")] = None,
    resume: Resume = False,
    seed: Seed = 0,
    device: Device = "auto",
    config: Recipe = None,
    set_: Settings = None,
    json: Json = False,
) -> None:
    """Train a classifier, with branches or without. Ctrl-C keeps what was learned; --resume goes on.

    Example: narrowcast hydra train --data photos --arch hydra-res-d1 --partition partition.json --out runs/photos
    """
    from narrowcast.cli import _hydra

    _hydra.train(
        data,
        out,
        arch=arch,
        weights=weights,
        partition=partition,
        size=size,
        epochs=epochs,
        resume=resume,
        seed=seed,
        device=device,
        recipe=config,
        settings=set_ or [],
        as_json=json,
    )


@app.command("eval")
def evaluate(
    run: Run,
    data: Data,
    num_chosen: Annotated[int | None, typer.Option(help="Branches an image; default: as trained.")] = None,
    mean_chosen: Annotated[
        float | None, typer.Option(help="Branches an image on average, more where the gate is less sure.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="HTML page to write: other numbers of branches, branches, classes.")
    ] = None,
    held_out: Annotated[float, typer.Option(help="Share that is scored, of data without splits.")] = 0.2,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Score a trained classifier on the test images.

    Example: narrowcast hydra eval runs/photos --data photos --num-chosen 2
    """
    from narrowcast.cli import _hydra

    _hydra.evaluate(
        run,
        data,
        num_chosen=num_chosen,
        mean_chosen=mean_chosen,
        report=report,
        held_out=held_out,
        seed=seed,
        device=device,
        as_json=json,
    )


@app.command()
def partition(
    data: Data,
    out: Annotated[Path, typer.Option(help="The JSON file to write.")],
    branches: Annotated[int, typer.Option(help="Into how many groups.")] = 20,
    method: Annotated[str, typer.Option(help="balanced, greedy (the thesis's) or random.")] = "balanced",
    backbone: Annotated[str, typer.Option(help="Whose features say which classes look alike.")] = "efficientnet-lite0",
    picture: Annotated[Path | None, typer.Option(help="A PNG of which classes share a branch.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Decide which classes share a branch.

    Example: narrowcast hydra partition --data photos --branches 20 --out partition.json --picture partition.png
    """
    from narrowcast.cli import _hydra

    _hydra.partition(
        data,
        out,
        branches=branches,
        method=method,
        backbone=backbone,
        picture=picture,
        seed=seed,
        device=device,
        as_json=json,
    )


@app.command()
def bench(
    arch: Annotated[str, typer.Option(help="A HydraNet of narrowcast zoo.")] = "hydra-ressep-a",
    batch: Annotated[list[int] | None, typer.Option(help="May be given again. [default: 1, 32]")] = None,
    what: Annotated[
        list[str] | None, typer.Option(help="branches, network, training step; may be given again. [default: all]")
    ] = None,
    size: Annotated[int | None, typer.Option(help="Pixels a side; default: the network's.")] = None,
    repeats: Annotated[int, typer.Option(help="Turns, of which the median is taken.")] = 3,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Time masked against dispatched execution on random images.

    Example: narrowcast hydra bench --arch hydra-res-d1 --batch 1 --batch 256 --json
    """
    from narrowcast.cli import _hydra

    _hydra.bench(arch, batch or [1, 32], what, size=size, repeats=repeats, device=device, as_json=json)


@app.command()
def export(
    run: Run,
    out: Annotated[Path, typer.Option(help="The ONNX file to write.")],
    json: Json = False,
) -> None:
    """Write a trained classifier as ONNX for one image at a time, checked in onnxruntime.

    Example: narrowcast hydra export runs/photos --out photos.onnx
    """
    from narrowcast.cli import _hydra

    _hydra.export(run, out, as_json=json)
