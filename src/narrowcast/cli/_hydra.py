"""What `narrowcast hydra` does, apart from parsing."""

import dataclasses
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
import typer

from narrowcast.cli._interrupt import stop_on_signal
from narrowcast.cli._progress import Progress
from narrowcast.core.config import from_dict, read_recipe
from narrowcast.core.errors import ConfigError, UsageError, did_you_mean
from narrowcast.core.runtime import pick_device, seed_everything
from narrowcast.core.training import TrainConfig
from narrowcast.core.workers import joined
from narrowcast.data.cifar import is_cifar100, read_cifar100
from narrowcast.data.image_table import ImageTable, open_table, split_table
from narrowcast.hydra import bench as benchmarks
from narrowcast.hydra.architecture import NAMES, NetConfig, branches_of, build, check, load_classifier
from narrowcast.hydra.combine import concatenate
from narrowcast.hydra.evaluate import evaluate as score
from narrowcast.hydra.features import make_partition
from narrowcast.hydra.images import LabelledImages, first_image_of_each_class, open_images, plain_batches
from narrowcast.hydra.net import HydraNet
from narrowcast.hydra.partition import Partition, load_partition
from narrowcast.hydra.report import write_page
from narrowcast.hydra.routes import confidence_for
from narrowcast.hydra.train import NET, RunConfig, scored, summary
from narrowcast.hydra.train import train as fit

SECTIONS = {"net": NetConfig, "run": RunConfig, "training": TrainConfig}
HELD_OUT = 0.2
# ours: what the networks of chapter 3 are usually trained with on small images; the thesis names nothing
TRAINING = {"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 5e-4, "batch_size": 128, "average": 0.99}


def train(
    data: Path,
    out: Path,
    *,
    arch: str,
    weights: str,
    partition: str,
    size: int,
    epochs: int | None,
    resume: bool,
    seed: int,
    device: str,
    recipe: Path | None,
    settings: list[str],
    as_json: bool,
) -> None:
    """Train, and keep the progress line."""
    sections = read_recipe(recipe, settings, known=SECTIONS)
    if taken := {"steps", "checkpoint_every"} & sections.get("training", {}).keys():
        raise ConfigError(f"[training] {min(taken)} has no effect here: epochs decide; remove it")
    sections["net"] = {"arch": arch, "weights": weights} | sections.get("net", {})
    sections["training"] = TRAINING | sections.get("training", {})
    sections["run"] = {"seed": seed} | ({"epochs": epochs} if epochs else {}) | sections.get("run", {})
    configs: dict[str, Any] = {
        name: from_dict(cls, sections.get(name, {}), where=f"[{name}]") for name, cls in SECTIONS.items()
    }
    check(configs["net"])  # before the data, which may take minutes to read
    where = pick_device(device)
    images = open_images(data, size=size, held_out=HELD_OUT, seed=seed)
    groups = _partition_for(configs["net"], partition, images, seed)
    with joined(where) as own, stop_on_signal("the next report") as stop:
        reports = fit(
            images,
            net=configs["net"],
            run=configs["run"],
            training=configs["training"],
            partition=groups,
            folder=out,
            device=where,
            resume=resume,
        )
        with closing(reports), Progress(f"train {arch}") as progress:
            for report in reports:
                text = f"loss {report.loss:.3f}  {report.steps_per_s:.1f} steps/s"
                if own.is_first:
                    progress.show(report.done, report.total, text, report.steps_per_s)
                if stop.is_asked and report.done < report.total:
                    break
        stop.exit()
    if own.is_first:
        found = json.loads((out / "summary.json").read_text(encoding="utf-8"))
        shown = f"{out}: top-1 {found['top1']:.1%}, top-5 {found['top5']:.1%}"
        typer.echo(json.dumps(found) if as_json else f"{shown}, {found['macs_executed'] / 1e6:.1f} M multiply-adds")


def _partition_for(config: NetConfig, name: str, images: LabelledImages, seed: int) -> Partition | None:
    if not config.is_hydra or config.gate in ("learned", "none"):
        if name != "random":
            raise UsageError(f"--partition {name} has no effect on {config.arch} with gate '{config.gate}'; remove it")
        return None
    if name == "random":
        return make_partition(images.train, config.branches(), method="random", features=None, seed=seed)
    found = load_partition(Path(name)).for_classes(images.classes, where=name)
    if found.num_branches != config.branches():
        raise UsageError(
            f"--partition {name}: has {found.num_branches} branches, the network {config.branches()};"
            f" --set net.num_branches={found.num_branches}"
        )
    return found


def evaluate(
    run: Path,
    data: Path,
    *,
    num_chosen: int | None,
    mean_chosen: float | None,
    report: Path | None,
    held_out: float,
    seed: int,
    device: str,
    as_json: bool,
) -> None:
    """Score, with another number of branches if one is asked for."""
    net, meta = load_classifier(_weights(run))
    net = net.to(pick_device(device))
    images = open_images(data, size=meta["size"], held_out=held_out, seed=seed)
    if list(images.classes) != meta["classes"]:
        raise UsageError(f"{data}: its {len(images.classes)} classes are not those of {run}")
    if isinstance(net, HydraNet):
        _choose(net, num_chosen, mean_chosen, images)
    elif num_chosen or mean_chosen:
        raise UsageError(f"{run}: a static network has no branches to choose; remove the option")
    known = branches_of(meta)
    batches = plain_batches(images.test, size=images.size)
    is_sweep = report is not None and mean_chosen is None
    scores = (
        scored(net, batches, branch_of_class=known) if is_sweep else {0: score(net, batches, branch_of_class=known)}
    )
    found = {"arch": meta["net"].arch} | summary(net, scores, images.classes, size=images.size)
    if report is not None:
        write_page(report, found, [], _partition_of(meta))
    if as_json:
        typer.echo(json.dumps(found | {"num_images": found["num_scored"]}))
        return
    chosen = "" if found["mean_chosen"] is None else f", {found['mean_chosen']:.2f} branches an image"
    shown = f"top-1 {found['top1']:.1%}, top-5 {found['top5']:.1%} of {found['num_scored']} images"
    typer.echo(f"{shown}{chosen}, {found['macs_executed'] / 1e6:.1f} M multiply-adds")


def _partition_of(meta: dict[str, Any]) -> Partition | None:
    branches, config = meta["branch_of_class"], meta["net"]
    if not branches:
        return None
    names = tuple(meta["classes"])
    return Partition(
        classes=names, branch_of_class=tuple(branches), num_branches=config.branches(), method="the run's", error=None
    )


def _choose(net: HydraNet, num_chosen: int | None, mean_chosen: float | None, images: LabelledImages) -> None:
    num = num_chosen or net.num_chosen
    if not 1 <= num <= len(net.branches):
        raise UsageError(f"--num-chosen {num}: the network has {len(net.branches)} branches")
    if num > net.num_slots and net.combine is concatenate:
        raise UsageError(f"--num-chosen {num}: this network concatenates {net.num_slots} branches")
    net.num_chosen = num
    if mean_chosen is not None:  # the confidence is found on training images
        device = next(net.parameters()).device
        with torch.inference_mode():
            pixels, _ = next(iter(plain_batches(images.train, size=images.size)))
            scores = net(pixels.to(device)).scores
        net.confidence = confidence_for(scores, mean_chosen=mean_chosen, at_most=num)


def partition(
    data: Path,
    out: Path,
    *,
    branches: int,
    method: str,
    backbone: str,
    picture: Path | None,
    seed: int,
    device: str,
    as_json: bool,
) -> None:
    """Make a partition of the training images' classes."""
    from narrowcast.hydra.picture import save_picture
    from narrowcast.models.backbones import load_backbone

    features = None if method == "random" else load_backbone(backbone, device=pick_device(device))
    # of the whole pictures, not of a training's small ones
    source = read_cifar100(data, "train") if is_cifar100(data) else _training_table(data, seed)
    made = make_partition(source, branches, method=method, features=features, seed=seed)
    made.save(out)
    if picture is not None:
        save_picture(picture, made, first_image_of_each_class(source, size=64))
    if as_json:
        typer.echo(json.dumps({"method": made.method, "error": made.error, "branches": made.groups()}))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("branch", "classes")
    for number, names in enumerate(made.groups()):
        table.add_row(str(number), ", ".join(names))
    Console().print(table)


def _training_table(data: Path, seed: int) -> ImageTable:
    return split_table(open_table(data), held_out=HELD_OUT, seed=seed).of_split("train")


def bench(
    arch: str, batches: list[int], what: list[str] | None, *, size: int | None, repeats: int, device: str, as_json: bool
) -> None:
    """Time, and print rows as they come."""
    if arch not in NAMES or not arch.startswith("hydra-"):
        known = [name for name in NAMES if name.startswith("hydra-")]
        raise UsageError(f"--arch {arch}: no HydraNet of narrowcast zoo{did_you_mean(arch, known)}")
    seed_everything(0)
    is_large = arch.startswith("hydra-ressep")
    net = build(NetConfig(arch=arch), 1000 if is_large else 100).to(pick_device(device))
    assert isinstance(net, HydraNet)
    side = size or (224 if is_large else 32)
    rows = []
    kinds = what or list(benchmarks.KINDS)
    for row in benchmarks.bench(net, batches, size_hw=(side, side), kinds=kinds, repeats=repeats):
        rows.append(dataclasses.asdict(row))
        if not as_json:
            shown = f"masked {row.masked_ms:.2f} ms, dispatched {row.dispatched_ms:.2f} ms, ratio {row.ratio:.3f}"
            typer.echo(f"{row.what}, batch {row.batch}: {shown}")
    if as_json:
        typer.echo(json.dumps(rows))


def export(run: Path, out: Path, *, as_json: bool) -> None:
    """Write ONNX, and say how near it is."""
    from narrowcast.hydra.export import export_onnx

    net, meta = load_classifier(_weights(run))
    difference = export_onnx(net, out, size=meta["size"])
    found = {"path": str(out), "size": meta["size"], "classes": len(meta["classes"]), "largest_difference": difference}
    typer.echo(json.dumps(found) if as_json else f"{out}: logits differ from PyTorch's by {difference:.1e} at most")


def _weights(run: Path) -> Path:
    return run / NET if run.is_dir() else run
