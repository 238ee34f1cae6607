"""What `narrowcast stream pretrain` does, apart from parsing."""

import json
from pathlib import Path
from typing import Any

import torch
import typer

from narrowcast.cli._progress import Progress
from narrowcast.core.config import from_dict, read_recipe
from narrowcast.core.errors import UsageError
from narrowcast.core.runtime import pick_device, seed_everything
from narrowcast.core.training import TrainConfig
from narrowcast.data.stills import ComposeConfig
from narrowcast.data.tags import no_tags, read_tags
from narrowcast.models.efficientnet_lite import load_imagenet_weights
from narrowcast.models.lite_segmenter import LiteSegmenter
from narrowcast.models.load_teacher import load_teacher
from narrowcast.models.pretrained import fresh_student
from narrowcast.models.student import AnyStudent, load_student
from narrowcast.stream.labelling import find_images, label_images, read_note
from narrowcast.stream.pretrain import PretrainConfig, collect, pretrain

SECTIONS = {"pretrain": PretrainConfig, "compose": ComposeConfig, "training": TrainConfig}
TRUNK_SCALE = 0.3  # the learning rate of pretrained layers beside that of new ones


def run(
    images: list[Path],
    out: Path,
    labels: Path,
    teacher: str | None,
    student: str,
    *,
    tags: Path | None,
    recipe: Path | None,
    settings: list[str],
    device: str,
    as_json: bool,
) -> None:
    """Label what is not labelled, then train."""
    sections = read_recipe(recipe, settings, known=SECTIONS)
    configs: dict[str, Any] = {
        name: from_dict(cls, sections.get(name, {}), where=f"[{name}]") for name, cls in SECTIONS.items()
    }
    where = pick_device(device)
    found = find_images(images)
    if teacher is not None:
        _label(found, teacher, labels, where)
    _, classes = read_note(labels)
    stills = collect(found, labels, read_tags(tags, classes) if tags else no_tags(classes))
    seed_everything(configs["pretrain"].seed)
    net, groups = build(student, len(classes))
    net.to(where)
    with Progress(f"pretrain {student}") as progress:
        for report in pretrain(
            net,
            stills,
            classes=classes,
            config=configs["pretrain"],
            compose=configs["compose"],
            training=configs["training"],
            folder=out,
            groups=groups,
        ):
            progress.show(
                report.done,
                report.total,
                f"loss {report.loss:.3f}  {report.steps_per_s:.1f} steps/s",
                report.steps_per_s,
            )
    result = json.loads((out / "pretrain.json").read_text(encoding="utf-8"))
    if as_json:
        typer.echo(json.dumps(result))
    else:
        score = (result.get("held_out") or {}).get("miou_pooled")
        typer.echo(f"{out / 'student.safetensors'}: mean IoU {score} on images held out")


def build(student: str, num_classes: int) -> tuple[AnyStudent, list[dict[str, Any]]]:
    """A fresh network and its parameter groups; a pretrained trunk learns more slowly."""
    if student == "lite-segmenter":
        net = LiteSegmenter(num_classes)
        load_imagenet_weights(net.trunk)
        trunk = list(net.trunk.parameters())
        own = {id(parameter) for parameter in trunk}
        rest = [parameter for parameter in net.parameters() if id(parameter) not in own]
        return net, [{"params": trunk, "scale": TRUNK_SCALE}, {"params": rest}]
    if student.endswith(".safetensors"):
        net, known, _ = load_student(Path(student))
        if len(known) != num_classes:
            raise UsageError(f"--student {student}: has {len(known)} classes, the labels have {num_classes}")
    elif student in ("jitnet", "mobilenetv2"):
        net = fresh_student(student, num_classes)
    else:
        raise UsageError(f"--student {student}: expected jitnet, mobilenetv2, lite-segmenter or a .safetensors file")
    return net, [{"params": list(net.parameters())}]


def _label(found: list[tuple[Path, Path]], teacher: str, labels: Path, device: torch.device) -> None:
    loaded = load_teacher(teacher, device=device, num_threads=torch.get_num_threads())
    unreadable = []
    with Progress("label") as progress:
        for report in label_images(found, loaded, teacher_name=teacher, cache=labels):
            unreadable += [report.error] if report.error else []
            progress.show(report.done, report.total, f"{len(unreadable)} unreadable" if unreadable else "")
    for error in unreadable:
        typer.echo(f"skipped: {error}", err=True)
