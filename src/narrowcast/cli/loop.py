"""`narrowcast loop`: from a stream to labels and back."""

from pathlib import Path
from typing import Annotated

import typer

from narrowcast.cli._options import Device, Json, Seed

app = typer.Typer(
    help="Frames that a stream found hard, labelled, make its student better: one command a step.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Size = Annotated[str | None, typer.Option(help="The student's working size, WIDTHxHEIGHT; default: as in its run.")]
Frames = Annotated[Path, typer.Option(help="Folder of PNGs.")]
Labels = Annotated[Path, typer.Option(help="Folder of label PNGs with the frames' names, and classes.txt.")]
Of = Annotated[str, typer.Option(help="student, or teacher: the embedded one, or a file of it.")]
OfClasses = Annotated[str, typer.Option(help="With --of teacher: of the labels, as for stream run.")]


@app.command()
def pick(
    run: Annotated[Path, typer.Argument(help="The folder of a stream's run; its source must still be there.")],
    out: Annotated[Path, typer.Option(help="Gets frames/, frames.csv and proposals/.")],
    num: Annotated[int, typer.Option(help="How many at most.")] = 24,
    apart: Annotated[int, typer.Option(help="Least frames from one to the next.")] = 8,
    json: Json = False,
) -> None:
    """Pick the frames that are worth a person's look, say why, and draw what labels are proposed for them.

    Example: narrowcast loop pick runs/city --out runs/loop --num 24
    """
    from narrowcast.cli import _loop

    _loop.pick(run, out, num=num, apart=apart, as_json=json)


@app.command()
def aside(
    source: Annotated[str, typer.Argument(help="As for stream run.")],
    out: Annotated[Path, typer.Option(help="Gets frames/.")],
    first: Annotated[int, typer.Option(help="Frame to begin with: after what was learned.")] = 0,
    every: Annotated[int, typer.Option(help="Frames from one to the next.")] = 10,
    num: Annotated[int, typer.Option(help="How many at most.")] = 40,
) -> None:
    """Set frames of a source aside, on which nothing is learned and students are compared.

    Example: narrowcast loop aside city.mp4 --first 400 --every 10 --out runs/aside
    """
    from narrowcast.cli import _loop

    _loop.aside(source, out, first=first, every=every, num=num)


@app.command()
def label(
    frames: Frames,
    labels: Labels,
    teacher: Annotated[
        str | None, typer.Option(help="Who answers in a person's place, every frame; as for stream run.")
    ] = None,
    classes: Annotated[str, typer.Option(help="With --teacher; as for stream run.")] = "all",
    judged: Annotated[
        Path | None, typer.Option(help="Pool in which somebody judged the proposals of loop pick, instead.")
    ] = None,
    category: Annotated[str, typer.Option(help="With --judged: whose positives are the right ones.")] = "right",
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Make label PNGs of the proposals that a person judged right; or let a teacher label every frame in his place.

    Example: narrowcast loop label --frames runs/loop/frames --labels runs/loop/labels --judged runs/loop/pool
    """
    from narrowcast.cli import _loop, _loop_judged
    from narrowcast.core.errors import UsageError

    if (teacher is None) == (judged is None):
        raise UsageError("give either --judged, a pool with a person's answers, or --teacher, who answers instead")
    if teacher is not None:
        _loop.label(frames, labels, teacher, classes, device=device, as_json=json)
    elif judged is not None:
        _loop_judged.label(frames, labels, judged, category, as_json=json)


@app.command()
def judge(
    frames: Frames,
    pool: Annotated[Path, typer.Option(help="Pool of the proposals; gets the answers.")],
    teacher: Annotated[str, typer.Option(help="Who judges in a person's place; as for stream run.")],
    classes: Annotated[str, typer.Option(help="As for stream run.")] = "all",
    category: Annotated[str, typer.Option(help="Begun where it is not there.")] = "right",
    least: Annotated[float, typer.Option(help="Mean IoU with the teacher's labels from which one is right.")] = 0.8,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Let a teacher judge the proposals of loop pick in a person's place, to try the loop without one.

    Example: narrowcast loop judge --frames runs/loop/frames --pool runs/loop/pool --teacher maskrcnn --classes person
    """
    from narrowcast.cli import _loop_judged

    _loop_judged.judge(frames, pool, category, teacher, classes, least=least, device=device, as_json=json)


@app.command()
def retrain(
    student: Annotated[
        Path, typer.Argument(help="A run's folder, or a .safetensors file; with --of teacher: embedded.")
    ],
    frames: Frames,
    labels: Labels,
    out: Annotated[Path, typer.Option(help="The new student's file, .safetensors.")],
    of: Of = "student",
    classes: OfClasses = "",
    passes: Annotated[int, typer.Option(help="Over the labelled frames.")] = 20,
    learning_rate: Annotated[float, typer.Option(help="Of Adam.")] = 5e-4,
    size: Size = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Teach a copy of a student, or the head of the embedded teacher, the labelled frames.

    Example: narrowcast loop retrain runs/city --frames runs/loop/frames --labels runs/loop/labels --out new.safetensors
    """
    from narrowcast.cli import _loop

    settings = {"passes": passes, "learning_rate": learning_rate, "seed": seed}
    if _loop.is_teacher(of, classes, size=size):
        _loop.retrain_teacher(student, frames, labels, out, classes, settings=settings, device=device)
        return
    _loop.retrain(student, frames, labels, out, settings=settings, size=size, device=device)


@app.command()
def promote(
    old: Annotated[Path, typer.Argument(help="The student in use: a run's folder, or a .safetensors file.")],
    new: Annotated[Path, typer.Argument(help="The student that may take its place.")],
    frames: Frames,
    labels: Labels,
    place: Annotated[
        Path | None, typer.Option(help="File that the winner is put in; without it: only compared.")
    ] = None,
    of: Of = "student",
    classes: OfClasses = "",
    margin: Annotated[float, typer.Option(help="Mean IoU by which the new one must win.")] = 0.0,
    size: Size = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Compare two students, or teachers, on labelled frames that neither learned; put the new one in place if it wins.

    Example: narrowcast loop promote runs/city new.safetensors --frames aside/frames --labels aside/labels
    """
    from narrowcast.cli import _loop

    if _loop.is_teacher(of, classes, size=size):
        comparison = _loop.compared_teachers(old, new, frames, labels, classes, device=device)
    else:
        comparison = _loop.compared(old, new, frames, labels, size=size, device=device)
    _loop.promote(comparison, new, place=place, margin=margin, as_json=json)
