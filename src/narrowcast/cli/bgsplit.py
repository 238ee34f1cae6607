"""`narrowcast bgsplit`: split, aux, train, eval and compare."""

from pathlib import Path
from typing import Annotated

import typer

from narrowcast.cli._options import Device, Json, Recipe, Seed, Settings

app = typer.Typer(
    help="Rare categories in a sea of background, learned by splitting the background.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Data = Annotated[
    Path, typer.Option("--data", help="Folder of class folders, CSV, or a folder of iNaturalist-2017 or Places365.")
]
Categories = Annotated[str, typer.Option(help="How many, drawn by the seed; or names: heron,egret.")]
Positives = Annotated[int, typer.Option(help="Training images of a category at most; 0: all.")]
Backbone = Annotated[str, typer.Option(help="A network in torch, see docs/backbones.md; NAME@SIZE sets its size.")]
Parts = Annotated[int, typer.Option(help="Last parts of the backbone that train; -1: all; 0: the heads alone.")]
Auxiliary = Annotated[
    str, typer.Option("--aux", help="own (the backbone's classifier), or a folder or CSV of auxiliary labels.")
]
Adapt = Annotated[
    float,
    typer.Option(min=0.0, help="Epochs in which the trunk learns the auxiliary labels of all images first; 0: none."),
]


@app.command()
def split(
    data: Data,
    out: Annotated[Path, typer.Option(help="The split's file; a folder with --published.")],
    categories: Categories = "5",
    positives: Positives = 0,
    background_share: Annotated[float, typer.Option(help="Share of the background images that train.")] = 1.0,
    draw: Annotated[int, typer.Option(help="Which draw of categories and positives.")] = 0,
    published: Annotated[str, typer.Option(help="inaturalist-bg or places-bg: all of the thesis's splits.")] = "",
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Choose categories and their few positives; all else is background. The file can be shared.

    Example: narrowcast bgsplit split --data photos --categories heron,egret --positives 12 --out split.json
    """
    from narrowcast.cli import _bgsplit

    _bgsplit.split(
        data,
        out,
        categories,
        positives=positives,
        background_share=background_share,
        draw=draw,
        published=published,
        seed=seed,
        as_json=json,
    )


@app.command()
def aux(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for labels.csv and report.html; features are kept in it.")],
    labels: Annotated[
        str, typer.Option(help="classifier, clusters, random, or a CSV of path and label.")
    ] = "classifier",
    num: Annotated[int, typer.Option(help="How many clusters or random categories.")] = 1000,
    backbone: Backbone = "efficientnet-lite0",
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Make the auxiliary labels that split the background; goes on where it was killed.

    Example: narrowcast bgsplit aux --data photos --labels clusters --num 1000 --out aux/photos
    """
    from narrowcast.cli import _bgsplit

    _bgsplit.aux(data, out, labels, num=num, backbone=backbone, seed=seed, device=device, as_json=json)


@app.command()
def train(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder of the run; training goes on from it.")],
    split: Annotated[
        Path | None, typer.Option(help="File of narrowcast bgsplit split; needed without --multi-label.")
    ] = None,
    multi_label: Annotated[
        bool, typer.Option("--multi-label", help="--data is a CSV of images with 1, 0 or nothing for each category.")
    ] = False,
    method: Annotated[str, typer.Option(help="A method of docs/bgsplit.md.")] = "bgsplit",
    aux: Auxiliary = "own",
    adapt: Adapt = 0.0,
    backbone: Backbone = "efficientnet-lite0",
    trained_parts: Parts = 4,
    seed: Seed = 0,
    device: Device = "auto",
    config: Recipe = None,
    set_: Settings = None,
    json: Json = False,
) -> None:
    """Train one method on one split, or on a table of several labels an image, and score it on the test images.

    Example: narrowcast bgsplit train --data photos --split split.json --out runs/herons
    """
    from narrowcast.cli import _bgsplit_multi, _bgsplit_train
    from narrowcast.core.errors import UsageError

    if (split is None) != multi_label:
        told = "has no effect with --multi-label: the CSV says what trains" if split else "is needed: what is rare"
        raise UsageError(f"--split {told}")
    setting = _bgsplit_train.Setting(data, backbone, trained_parts, aux, adapt, device, config, set_ or [])
    if split is None:
        _bgsplit_multi.train(setting, out, method, seed=seed, as_json=json)
    else:
        _bgsplit_train.train(setting, split, out, method, seed=seed, as_json=json)


@app.command(name="eval")
def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of narrowcast bgsplit train.")],
    data: Data,
    split: Annotated[
        Path | None, typer.Option(help="File of narrowcast bgsplit split; not of a multi-label run.")
    ] = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Score a trained classifier: AP, F1, precision and recall of each category, and report.html in its folder.

    Example: narrowcast bgsplit eval runs/herons --data photos --split split.json
    """
    from narrowcast.cli import _bgsplit_train

    _bgsplit_train.evaluate(run, data, split, device=device, as_json=json)


@app.command()
def compare(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for summary.json and report.html; runs in it are not done again.")],
    categories: Categories = "5",
    positives: Positives = 12,
    methods: Annotated[str, typer.Option(help="Names of docs/bgsplit.md.")] = "ft,logit-adjusted,probe,bgsplit",
    seeds: Annotated[int, typer.Option(help="Trainings of each method on each draw.")] = 1,
    draws: Annotated[int, typer.Option(help="Draws of categories and positives.")] = 1,
    aux: Auxiliary = "own",
    adapt: Adapt = 0.0,
    backbone: Backbone = "efficientnet-lite0",
    trained_parts: Parts = 4,
    device: Device = "auto",
    config: Recipe = None,
    set_: Settings = None,
    json: Json = False,
) -> None:
    """Compare methods on the same draws: means, paired differences, curves. Goes on where it was killed.

    Example: narrowcast bgsplit compare --data photos --categories 5 --positives 12 --seeds 3 --out runs/compared
    """
    from narrowcast.cli import _bgsplit_train

    setting = _bgsplit_train.Setting(data, backbone, trained_parts, aux, adapt, device, config, set_ or [])
    _bgsplit_train.compare(
        setting, out, categories, positives=positives, methods=methods, seeds=seeds, draws=draws, as_json=json
    )
