"""`narrowcast mine`: pools, labels, simulations."""

from pathlib import Path
from typing import Annotated

import typer

from narrowcast.cli._options import Device, Json

app = typer.Typer(
    help="From a few examples of something rare to all the others, with few labels.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

PoolFolder = Annotated[Path, typer.Option("--pool", help="The pool's folder.")]


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
    workers: Annotated[
        int, typer.Option(help="Threads that decode, or actors of Ray; 0: one a core, at least two.")
    ] = 0,
    engine: Annotated[
        str, typer.Option(help="threads of this process, or ray: actors with a backbone each.")
    ] = "threads",
    address: Annotated[str | None, typer.Option(help="Of a Ray that runs; without it, one on this machine.")] = None,
    alone: Annotated[
        bool, typer.Option("--alone", help="Every photo is judged by itself: the page stacks no near copies.")
    ] = False,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Decode and embed the photos that the pool does not know yet; goes on where it was ended or killed.

    Example: narrowcast mine index photos --pool photos.pool
    """
    from narrowcast.cli import _mine

    reader = _mine.Reader(engine=engine, num_workers=workers, address=address, device=device)
    _mine.index(pool, photos or [], backbone, reader=reader, is_alone=alone, as_json=json)


@app.command()
def show(
    pool: PoolFolder,
    bursts: Annotated[bool, typer.Option("--bursts", help="Also count photos of the same moment.")] = False,
    json: Json = False,
) -> None:
    """What is in a pool: photos, duplicates, what cannot be decoded and why, features, categories.

    Example: narrowcast mine show --pool photos.pool
    """
    from narrowcast.cli import _mine

    _mine.show(pool, with_bursts=bursts, as_json=json)


@app.command()
def simulate(
    pool: PoolFolder,
    truth: Annotated[Path, typer.Option(help="CSV with path, category and perhaps split (test is held out).")],
    out: Annotated[Path, typer.Option(help="Folder for summary.json and report.html; runs in it are not done again.")],
    categories: Annotated[str, typer.Option(help="Names with commas, a number of random ones, or all.")] = "all",
    strategies: Annotated[str, typer.Option(help="Names with commas.")] = "default,algorithm2,tropel",
    seeds: Annotated[int, typer.Option(help="Runs a category and strategy, each from other positives.")] = 3,
    labels: Annotated[int, typer.Option(help="Labels a run.")] = 300,
    batch: Annotated[int, typer.Option(help="Labels between two models.")] = 10,
    features: Annotated[
        str | None, typer.Option(help="Version of the pool's features. [default: the chosen one]")
    ] = None,
    update_every: Annotated[
        int, typer.Option(help="Also run each strategy with features learned every so many labels; 0: frozen alone.")
    ] = 0,
    adapt: Annotated[float, typer.Option(min=0.0, help="As for mine update.")] = 0.0,
    teacher: Annotated[str, typer.Option(help="As for mine update.")] = "own",
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Mine categories whose truth is known, without people, and compare strategies on held-out photos.

    Example: narrowcast mine simulate --pool photos.pool --truth labels.csv --strategies default,tropel --out runs/sim
    """
    from narrowcast.cli import _mine_simulate

    request = _mine_simulate.SimulateRequest(
        pool=pool,
        truth=truth,
        out=out,
        categories=categories,
        strategies=strategies,
        num_seeds=seeds,
        num_labels=labels,
        batch=batch,
        features=features,
        update_every=update_every,
        adapt=adapt,
        teacher=teacher,
        device=device,
    )
    _mine_simulate.run(request, as_json=json)


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="The category's name.")],
    pool: PoolFolder,
    photos: Annotated[list[str] | None, typer.Argument(help="More of them: what a shell makes of *.jpg.")] = None,
    positives: Annotated[
        list[str] | None, typer.Option(help="A photo that shows it: of the pool, or a file. May be given again.")
    ] = None,
    text: Annotated[str, typer.Option(help="Words that describe it, where the backbone knows words.")] = "",
    who: Annotated[str, typer.Option(help="Who says so.")] = "",
) -> None:
    """Begin a category from a few photos that show it.

    Example: narrowcast mine new owl --pool photos.pool --positives owls/*.jpg
    """
    from narrowcast.cli import _mine_labels

    _mine_labels.new(name, pool, [*(positives or []), *(photos or [])], text=text, who=who)


@app.command()
def ask(
    name: Annotated[str, typer.Argument(help="The category.")],
    pool: PoolFolder,
    num: Annotated[int, typer.Option(help="How many photos.")] = 10,
    strategy: Annotated[str, typer.Option(help="What to ask, see docs/mine.md.")] = "default",
    suspicious: Annotated[
        bool, typer.Option("--suspicious", help="Instead, pseudo-negatives that may be positives.")
    ] = False,
    json: Json = False,
) -> None:
    """The next photos to label, with scores and reasons.

    Example: narrowcast mine ask owl --pool photos.pool --num 20 --json
    """
    from narrowcast.cli import _mine_labels

    _mine_labels.ask(name, pool, num, strategy, is_suspicious=suspicious, as_json=json)


@app.command()
def label(
    pool: Annotated[
        list[Path] | None, typer.Option("--pool", help="A pool's folder; for the page, may be given again.")
    ] = None,
    pools: Annotated[Path | None, typer.Option(help="A folder: the page shows all pools in it.")] = None,
    name: Annotated[str | None, typer.Argument(help="The category; none: open the labelling page.")] = None,
    value: Annotated[
        str | None, typer.Argument(help="positive, negative, unsure, or undo: takes back the newest label.")
    ] = None,
    photos: Annotated[list[str] | None, typer.Argument(help="Photos of the pool, by any of their names.")] = None,
    category: Annotated[str, typer.Option(help="The page begins with this category.")] = "",
    host: Annotated[str, typer.Option(help="Where the page is served; any but this machine needs --token.")] = "",
    port: Annotated[int, typer.Option(help="Of the page; 0 takes a free one.")] = 0,
    token: Annotated[str, typer.Option(help="What a browser must show to see the page.")] = "",
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
    audit: Annotated[bool, typer.Option("--audit", help="An answer to the audit: nothing is trained on it.")] = False,
    who: Annotated[str, typer.Option(help="Who says so.")] = "",
    json: Json = False,
) -> None:
    """Label photos in the browser; or, with a category, a label and photos, from the shell.

    Example: narrowcast mine label --pool photos.pool --category owl
    """
    from narrowcast.cli import _mine_labels, _mine_page

    if name is None:
        _mine_page.refuse("without a category and photos", audit=audit, json=json)
        where = _mine_page.PageRequest(
            pools=pool or [], within=pools, category=category, host=host, port=port, token=token, who=who
        )
        _mine_page.serve(where, opens=browser)
        return
    _mine_page.refuse("for labels from the shell", category=category, host=host, port=port, token=token)
    one = _mine_page.one_of(pool or [], pools)
    _mine_labels.label(name, value or "", one, photos or [], is_audit=audit, who=who, as_json=json)


@app.command("label-import")
def label_import(
    name: Annotated[str, typer.Argument(help="The category.")],
    source: Annotated[Path, typer.Argument(help="CSV, COCO or MegaDetector JSON, or a folder of folders.")],
    pool: PoolFolder,
    confidence: Annotated[float, typer.Option(help="From which a detection of MegaDetector counts.")] = 0.5,
    audit: Annotated[bool, typer.Option("--audit", help="Answers to the audit: nothing is trained on them.")] = False,
    who: Annotated[str, typer.Option(help="Who says so.")] = "",
    json: Json = False,
) -> None:
    """Take in labels that were given elsewhere.

    Example: narrowcast mine label-import owl labels.csv --pool photos.pool
    """
    from narrowcast.cli import _mine_labels

    _mine_labels.label_import(name, source, pool, confidence=confidence, is_audit=audit, who=who, as_json=json)


@app.command()
def export(
    name: Annotated[str, typer.Argument(help="The category.")],
    pool: PoolFolder,
    out: Annotated[Path, typer.Option(help="The file, or for imagefolder and yolo-cls the folder.")],
    kind: Annotated[
        str, typer.Option("--format", help="csv, coco, imagefolder, yolo-cls, webdataset or fiftyone.")
    ] = "csv",
    top: Annotated[int, typer.Option(help="Also this many photos without a label, the most likely first.")] = 0,
) -> None:
    """Write labels out, and with --top a ranking with scores.

    Example: narrowcast mine export owl --pool photos.pool --out owl.csv --top 1000
    """
    from narrowcast.cli import _mine_labels

    _mine_labels.export(name, pool, out, kind=kind, num_top=top)


@app.command()
def audit(
    name: Annotated[str, typer.Argument(help="The category.")],
    pool: PoolFolder,
    draw: Annotated[int, typer.Option(help="Plan an audit of this many photos.")] = 0,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
    json: Json = False,
) -> None:
    """Measure where a category stands with a random sample that nothing is trained on; tells what is left to answer.

    Example: narrowcast mine audit owl --pool photos.pool --draw 200
    """
    from narrowcast.cli import _mine_labels

    _mine_labels.audit(name, pool, num=draw, seed=seed, as_json=json)


@app.command()
def update(
    pool: PoolFolder,
    category: Annotated[
        list[str] | None, typer.Option(help="A category to learn from; may be given again. [default: all]")
    ] = None,
    trained_parts: Annotated[int, typer.Option(help="Last parts of the backbone that train.")] = 4,
    epochs: Annotated[float, typer.Option(help="Epochs over what is labelled, pseudo-negatives included.")] = 15.0,
    adapt: Annotated[float, typer.Option(min=0.0, help="Epochs over all photos first, once; 0: none.")] = 0.0,
    teacher: Annotated[
        str, typer.Option(help="Backbone with a classifier that splits the background, best at a larger @SIZE; or own.")
    ] = "own",
    strategy: Annotated[str, typer.Option(help="Whose linear model judges, see docs/mine.md.")] = "default",
    every: Annotated[int, typer.Option(help="Stay, and learn whenever so many new labels are there; 0: once.")] = 0,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Learn better features from the labels, beside labelling; they rank from then on if they win on labels set aside.

    Example: narrowcast mine update --pool photos.pool --every 50
    """
    from narrowcast.cli import _mine_learn, _mine_update

    setting = _mine_learn.LearnSetting(
        trained_parts=trained_parts, epochs=epochs, adapt=adapt, teacher=teacher, device=device
    )
    _mine_update.run(pool, category or [], setting, strategy, every=every, as_json=json)


@app.command()
def head(
    name: Annotated[str, typer.Argument(help="The category.")],
    pool: PoolFolder,
    out: Annotated[Path, typer.Option(help="The head's file, .safetensors or .onnx.")],
    strategy: Annotated[str, typer.Option(help="Whose linear model, see docs/mine.md.")] = "default",
) -> None:
    """Write the classifier as a small file that names its backbone.

    Example: narrowcast mine head owl --pool photos.pool --out owl.safetensors
    """
    from narrowcast.cli import _mine_labels

    _mine_labels.head(name, pool, out, strategy)


@app.command()
def predict(
    head: Annotated[Path, typer.Argument(help="The head, .safetensors.")],
    photos: Annotated[list[Path], typer.Argument(help="As for mine index.")],
    out: Annotated[Path | None, typer.Option(help="A CSV to write; without it, lines on stdout.")] = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Score photos with a head: one line a photo, with its probability.

    Example: narrowcast mine predict owl.safetensors new-photos --out scores.csv
    """
    from narrowcast.cli import _mine_labels

    _mine_labels.predict(head, photos, out, device=device, as_json=json)


@app.command()
def rank(
    head: Annotated[Path, typer.Argument(help="The head, .safetensors.")],
    pool: Annotated[str, typer.Option("--pool", help="A pool's folder, or the URL of a published one.")],
    top: Annotated[int, typer.Option(help="How many photos.")] = 1000,
    out: Annotated[Path | None, typer.Option(help="A CSV to write; without it, lines on stdout.")] = None,
    features: Annotated[
        str | None, typer.Option(help="Version of the pool's features. [default: the chosen one]")
    ] = None,
    workers: Annotated[int, typer.Option(help="That scan shards side by side; 1: this process.")] = 1,
    engine: Annotated[str, typer.Option(help="processes, or ray.")] = "processes",
    address: Annotated[str | None, typer.Option(help="Of a Ray that runs; without it, one on this machine.")] = None,
    json: Json = False,
) -> None:
    """The photos of a pool that a head scores highest, exactly, however many scan its shards.

    Example: narrowcast mine rank owl.safetensors --pool s3://photos/pool --workers 8 --engine ray --out owl.csv
    """
    from narrowcast.cli import _mine_scale

    where = _mine_scale.Where(num_workers=workers, engine=engine, address=address)
    _mine_scale.rank(head, pool, num=top, version=features, where=where, out=out, as_json=json)


@app.command()
def publish(
    pool: PoolFolder,
    to: Annotated[str, typer.Option(help="Folder or URL, such as s3://bucket/name: whatever fsspec opens.")],
    features: Annotated[
        str | None, typer.Option(help="Version of the pool's features. [default: the chosen one]")
    ] = None,
    rows: Annotated[int, typer.Option(help="Photos of a shard.")] = 65_536,
) -> None:
    """Write a pool's features and what they are of where other machines can read them, with a manifest.

    Example: narrowcast mine publish --pool photos.pool --to s3://photos/pool
    """
    from narrowcast.cli import _mine_scale

    _mine_scale.publish(pool, to, version=features, shard_rows=rows)
