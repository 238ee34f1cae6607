"""What `narrowcast stream pretrain` does, apart from parsing."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
import typer

from narrowcast.cli._interrupt import Stop, stop_on_signal
from narrowcast.cli._progress import Progress
from narrowcast.core.config import from_dict, read_recipe
from narrowcast.core.errors import UsageError, did_you_mean
from narrowcast.core.runtime import pick_device, seed_everything
from narrowcast.core.training import TrainConfig, TrainReport
from narrowcast.data.stills import ComposeConfig
from narrowcast.data.tags import no_tags, read_tags
from narrowcast.models.efficientnet_lite import load_imagenet_weights
from narrowcast.models.lite_segmenter import LiteSegmenter
from narrowcast.models.load_teacher import load_teacher
from narrowcast.models.pretrained import fresh_student
from narrowcast.models.student import AnyStudent, load_student
from narrowcast.models.teacher import Teacher
from narrowcast.stream.labelling import find_images, label_images, read_note
from narrowcast.stream.pretrain import PretrainConfig, collect, pretrain, read_result

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
    expert = None if teacher is None else load_teacher(teacher, device=where, num_threads=torch.get_num_threads())
    classes = read_note(labels)[1] if expert is None else expert.classes
    rules = read_tags(tags, classes) if tags else no_tags(classes)
    seed_everything(configs["pretrain"].seed)
    net, groups = build(student, len(classes))
    with stop_on_signal("this image or the next report") as stop:
        if expert is not None and teacher is not None:
            _label(found, expert, teacher, labels, stop)
        stop.exit()
        reports = pretrain(
            net.to(where),
            collect(found, labels, rules),
            classes=classes,
            config=configs["pretrain"],
            compose=configs["compose"],
            training=configs["training"],
            folder=out,
            groups=groups,
        )
        with closing(reports):
            _show(reports, student, stop)
        stop.exit()
    result = read_result(out)
    if as_json:
        typer.echo(json.dumps(result))
    else:
        score = (result.get("held_out") or {}).get("miou_pooled")
        scored = "no images held out" if score is None else f"mean IoU {score:.3f} on images held out"
        typer.echo(f"{out / 'student.safetensors'}: {scored}")


def _show(reports: Iterator[TrainReport], student: str, stop: Stop) -> None:
    """Drain `reports` until an end is asked for, and keep the progress line."""
    with Progress(f"pretrain {student}") as progress:
        for report in reports:
            text = f"loss {report.loss:.3f}  {report.steps_per_s:.1f} steps/s"
            progress.show(report.done, report.total, text, report.steps_per_s)
            if stop.is_asked and report.done < report.total:
                return


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
        known = ("jitnet", "mobilenetv2", "lite-segmenter")
        raise UsageError(
            f"--student {student}: expected {', '.join(known)} or a .safetensors file{did_you_mean(student, known)}"
        )
    return net, [{"params": list(net.parameters())}]


def _label(found: list[tuple[Path, Path]], expert: Teacher, name: str, labels: Path, stop: Stop) -> None:
    unreadable = []
    with Progress("label") as progress:
        for report in label_images(found, expert, teacher_name=name, cache=labels):
            unreadable += [report.error] if report.error else []
            progress.show(report.done, report.total, f"{len(unreadable)} unreadable" if unreadable else "")
            if stop.is_asked:
                break
    for error in unreadable:
        typer.echo(f"skipped: {error}", err=True)
