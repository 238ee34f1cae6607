"""What `narrowcast stream run` does, apart from parsing."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import typer

from narrowcast.cli._interrupt import stop_on_signal
from narrowcast.cli._progress import Progress
from narrowcast.core.config import from_dict, read_recipe, to_dict
from narrowcast.core.errors import ConfigError, UsageError, did_you_mean
from narrowcast.core.runs import SUMMARY, RunFolder
from narrowcast.core.runtime import describe, pick_device, seed_everything
from narrowcast.models.backbones import load_backbone
from narrowcast.models.classes import ClassMap, SelectedTeacher, parse_classes
from narrowcast.models.load_teacher import load_teacher
from narrowcast.models.pretrained import student_called
from narrowcast.models.teacher import Teacher
from narrowcast.stream.allowance import made_to_give_way
from narrowcast.stream.distill import DEFAULT, DEFAULT_LIVE, METHODS, with_accuracy
from narrowcast.stream.live import LiveConfig
from narrowcast.stream.live_run import run_live
from narrowcast.stream.methods import overlaid
from narrowcast.stream.recall import RecallConfig
from narrowcast.stream.run import RunConfig, next_frame, run_stream
from narrowcast.stream.stream_report import StreamReport
from narrowcast.stream.student_zoo import StudentZoo
from narrowcast.video.container import without_password
from narrowcast.video.patience import LIVE, SHORT
from narrowcast.video.source import FrameSource, open_source
from narrowcast.web.access import Access
from narrowcast.web.monitor import Monitor
from narrowcast.web.monitor_app import monitor_app
from narrowcast.web.serving import serving

SECTIONS = ("schedule", "learner", "distill", "teacher", "run", "live", "recall")


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherConfig:
    """What a recipe's [teacher] may say; None: the teacher's own default.

    Attributes:
        confidence: least score of an instance to be believed.
        max_side: longest side in pixels that the teacher's network sees.
    """

    confidence: float | None = None
    max_side: int | None = None


@dataclass(frozen=True, slots=True)
class RunRequest:
    """The command line of `stream run`, as typed."""

    source: str
    teacher: str
    classes: str
    accuracy: float | None
    out: Path
    method: str | None  # None: the default, which of a live stream is another one
    student: str
    size: str | None
    score_every: int
    score_with: str | None
    max_frames: int | None
    outputs: list[str]
    resume: bool
    seed: int
    device: str
    recipe: Path | None
    settings: list[str]
    live: bool = False
    when_late: str | None = None
    pace: bool = False
    budget: float | None = None
    keep: float | None = None
    web: int | None = None
    recall: Path | None = None


def run(request: RunRequest, *, as_json: bool) -> None:
    """Open everything that can be wrong before the folder is touched, then run, then say what came of it."""
    sections = read_recipe(request.recipe, request.settings, known=SECTIONS)
    config = _run_config(request, sections)
    device = pick_device(request.device)
    if request.score_with is not None and not request.score_every:
        raise UsageError("--score-with has no effect without --score-every; add --score-every 1")
    if request.max_frames is not None and request.max_frames < 1:
        raise UsageError(f"--max-frames {request.max_frames}: must be at least 1")
    expert = _expert(request.teacher, sections.get("teacher", {}), device, config.live)
    class_map = parse_classes(request.classes, expert.classes)
    teacher = SelectedTeacher(expert, class_map)
    scorer = _scorer(request.score_with, class_map, device)
    seed_everything(request.seed)
    student = student_called(request.student, class_map)
    start = next_frame(request.out) if request.resume else 0
    with open_source(
        request.source,
        start_index=start,
        max_frames=_remaining(request.max_frames, start),
        patience=SHORT if config.live is None else LIVE,
    ) as source:
        config = replace(config, live=live_config(config.live, request, is_live_source=source.is_live))
        run_json = {"config": to_dict(config), "classes": list(teacher.classes), "environment": describe(device)}
        with (
            RunFolder.open(request.out, run_json, resume=request.resume) as folder,
            _watched(request, teacher.classes) as watchers,
            stop_on_signal("this frame") as stop,
        ):
            reports = (run_stream if config.live is None else run_live)(
                source,
                student,
                teacher,
                config=config,
                folder=folder,
                device=device,
                scorer=scorer,
                watchers=watchers,
                should_stop=lambda: stop.is_asked,
            )
            _show(reports, source, start)
    _tell(request.out, as_json=as_json)
    stop.exit()


@contextmanager
def _watched(request: RunRequest, classes: tuple[str, ...]) -> Iterator[list[Monitor]]:
    """The monitor behind the page that --web serves while the block runs; none without it."""
    if request.web is None:
        yield []
        return
    access, monitor = Access(), Monitor(source=without_password(request.source), classes=classes)
    with serving(monitor_app(monitor, access), access, port=request.web) as address:
        typer.echo(f"watch it at {address.url}", err=True)
        yield [monitor]


def _run_config(request: RunRequest, sections: dict[str, dict[str, Any]]) -> RunConfig:
    if request.method is not None and request.method not in METHODS:
        raise UsageError(
            f"--method {request.method}: expected {', '.join(METHODS)}{did_you_mean(request.method, METHODS)}"
        )
    unnamed = DEFAULT_LIVE if request.live else DEFAULT
    method = unnamed if request.method is None else METHODS[request.method]
    distill = overlaid(replace(method, seed=request.seed), sections)
    if request.accuracy is not None:
        distill = with_accuracy(distill, request.accuracy)
    outputs = () if request.outputs == ["none"] else tuple(request.outputs)
    values = {
        "source": request.source,
        "teacher": request.teacher,
        "classes": request.classes,
        "student": request.student,
        "size_wh": parse_size(request.size),
        "score_every": request.score_every,
        "outputs": outputs,
        "seed": request.seed,
        "score_with": request.score_with,
    }
    own = sections.get("run", {})
    for name in own.keys() & {*values, "distill", "teacher_settings", "live", "recall"}:
        raise ConfigError(f"[run]: {name} is an option of the command line; only checkpoint_every belongs here")
    config = from_dict(RunConfig, values | own, where="[run]")
    return replace(
        config,
        distill=distill,
        teacher_settings=sections.get("teacher", {}),
        live=_live_settings(request, sections),
        recall=_recall_settings(request, sections),
    )


def _recall_settings(request: RunRequest, sections: dict[str, dict[str, Any]]) -> RecallConfig | None:
    """Which students are recalled; None without --recall. A folder that is no zoo is said before anything is loaded."""
    own = sections.get("recall", {})
    if request.recall is None:
        if own:
            raise UsageError("[recall]: has no effect without --recall; add --recall FOLDER")
        return None
    if "folder" in own:
        raise ConfigError("[recall]: folder is an option of the command line, --recall")
    config = from_dict(RecallConfig, {"folder": str(request.recall)} | own, where="[recall]")
    StudentZoo(request.recall, load_backbone).check(option="--recall")
    return config


def _live_settings(request: RunRequest, sections: dict[str, dict[str, Any]]) -> LiveConfig | None:
    """How a live stream is run, as far as the command line says; None without --live."""
    own = sections.get("live", {})
    options = {"--when-late": request.when_late, "--budget": request.budget, "--keep": request.keep}
    given = [name for name, value in options.items() if value is not None] + ["--pace"] * request.pace
    if not request.live:
        if given or own:
            raise UsageError(f"{given[0] if given else '[live]'}: has no effect without --live; add --live")
        return None
    if request.score_every and request.score_with is None:
        raise UsageError(
            "--score-every with --live would keep the teacher from teaching; add --score-with FOLDER of labels, or"
            " measure a recorded video with stream eval"
        )
    values = {"is_paced": request.pace}
    for name, value in {"budget": request.budget, "keep_min": request.keep, "when_late": request.when_late}.items():
        values |= {} if value is None else {name: value}
    for name in own.keys() - {"num_threads", "asks"}:
        raise ConfigError(f"[live]: {name} is an option of the command line; only num_threads and asks belong here")
    return from_dict(LiveConfig, values | own, where="--live")


def live_config(live: LiveConfig | None, request: RunRequest, *, is_live_source: bool) -> LiveConfig | None:
    """The same for the source as it turned out to be: a camera is not made to wait unless that was asked for."""
    if live is None:
        return None
    if is_live_source:
        if live.is_paced:
            raise UsageError("--pace has no effect on a camera, which has a pace of its own; remove it")
        return replace(live, when_late=request.when_late or "drop-oldest")
    if live.when_late != "wait" and not live.is_paced:
        raise UsageError(f"--when-late {live.when_late}: a recorded video is as fast as the disk; add --pace")
    return live


def _expert(spec: str, settings: dict[str, Any], device: torch.device, live: LiveConfig | None) -> Teacher:
    wanted = from_dict(TeacherConfig, settings, where="[teacher]")
    num_threads = torch.get_num_threads() if live is None else live.teacher_threads()

    def load() -> Teacher:
        return load_teacher(
            spec,
            device=device,
            num_threads=num_threads,
            confidence=wanted.confidence,
            max_side=wanted.max_side,
        )

    return load() if live is None else made_to_give_way(load)


def _scorer(spec: str | None, class_map: ClassMap, device: torch.device) -> Teacher | None:
    if spec is None:
        return None
    return SelectedTeacher(load_teacher(spec, device=device, num_threads=torch.get_num_threads()), class_map)


def parse_size(text: str | None) -> tuple[int, int] | None:
    """The size that `--size` says."""
    if text is None:
        return None
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise UsageError(f"--size {text}: expected WIDTHxHEIGHT in pixels, such as 640x360")
    return int(width), int(height)


def _remaining(max_frames: int | None, start: int) -> int | None:
    """`--max-frames` counts from the beginning of the source, also when a run goes on in the middle."""
    if max_frames is None or not start:
        return max_frames
    if max_frames < start:
        raise UsageError(f"--max-frames {max_frames}: the run has {start} frames already")
    return max_frames - start


def _show(reports: Iterator[StreamReport], source: FrameSource, start: int) -> None:
    """Drain `reports` and keep the progress line."""
    taught, last_accuracy = 0, None
    with Progress("stream") as progress:
        for done, report in enumerate(reports, start=1):
            taught += report.teacher_ran
            last_accuracy = report.accuracy if report.accuracy is not None else last_accuracy
            accuracy = "" if last_accuracy is None else f"accuracy {last_accuracy:.2f}"
            text = f"{progress.rate(start + done):.1f} fps  teacher {100 * taught / done:.1f}%  {accuracy}"
            progress.show(report.frame + 1, source.num_frames, text)


def _tell(out: Path, *, as_json: bool) -> None:
    text = (out / SUMMARY).read_text(encoding="utf-8")
    if as_json:
        typer.echo(text, nl=False)
        return
    summary = json.loads(text)

    def number(name: str, form: str) -> str:
        return "–" if summary[name] is None else format(summary[name], form)

    ending = summary["source_truncated"]
    typer.echo(
        f"{summary['status']}{f' (the source {ending})' if ending else ''}:"
        f" {summary['frames']} frame{'s' * (summary['frames'] != 1)}, teacher on {summary['teacher_frames']}"
        f" ({number('teacher_fraction', '.1%')}), {summary['updates']} updates\n"
        f"mean IoU of predictions {number('miou_pooled', '.3f')} over {summary['scored_frames']} scored frames,"
        f" {number('speedup', '.1f')} × the teacher's speed\n"
        f"{out / 'report.html'}"
    )
