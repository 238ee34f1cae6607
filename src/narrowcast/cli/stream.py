"""`narrowcast stream`: run, pretrain, eval, generate, apply and export."""

from pathlib import Path
from typing import Annotated

import typer

from narrowcast.cli._options import Device, Json, Recipe, Resume, Seed, Settings

app = typer.Typer(
    help="A small student that keeps learning a video from an expensive teacher.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def run(
    source: Annotated[str, typer.Argument(help="Video file, folder of images, glob, URL, rtsp:// or webcam:0.")],
    teacher: Annotated[str, typer.Option(help="Name, path of a TOML card, folder of label PNGs or module:function.")],
    out: Annotated[Path, typer.Option(help="The run's folder: video, report, numbers, adapted student.")],
    classes: Annotated[
        str, typer.Option(help="person,car+bus=auto keeps, merges, drops the rest; or lvs, all.")
    ] = "all",
    accuracy: Annotated[float | None, typer.Option(help="Mean IoU that is enough, in (0, 1). [default: 0.8]")] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="default; look-ahead: for files; learning: the student always learns; thesis: Algorithm 1."
            " [default: default, which with --live tries the student sooner]"
        ),
    ] = None,
    student: Annotated[
        str, typer.Option(help="pretrained, jitnet, mobilenetv2 or a .safetensors file.")
    ] = "pretrained",
    size: Annotated[
        str | None, typer.Option(help="The student's working size, WIDTHxHEIGHT; default: the frames'.")
    ] = None,
    output: Annotated[
        list[str] | None,
        typer.Option(help="overlay, side-by-side, png, rle, lessons, none; may be given again. [default: overlay]"),
    ] = None,
    score_every: Annotated[int, typer.Option(help="Score every N-th frame with the teacher, outside the cost.")] = 0,
    score_with: Annotated[
        str | None, typer.Option(help="Another teacher to score with, such as a folder of labels.")
    ] = None,
    max_frames: Annotated[int | None, typer.Option(help="Stop after this many frames.")] = None,
    recall: Annotated[
        Path | None, typer.Option(help="Folder of earlier students, recalled where a place comes back; may be new.")
    ] = None,
    resume: Resume = False,
    live: Annotated[bool, typer.Option("--live", help="Label frames as they come; teach beside it.")] = False,
    when_late: Annotated[
        str | None,
        typer.Option(help="Of frames that come too fast: wait, drop-oldest, drop-newest. [cameras: drop-oldest]"),
    ] = None,
    pace: Annotated[bool, typer.Option("--pace", help="Play a recorded video at its own rate.")] = False,
    budget: Annotated[float | None, typer.Option(help="Cores that teacher and updates may take: 0.5.")] = None,
    keep: Annotated[float | None, typer.Option(help="Minutes of reports, labels and video to keep.")] = None,
    web: Annotated[int | None, typer.Option(help="Serve a page to watch it on, on this port of 127.0.0.1.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    config: Recipe = None,
    set_: Settings = None,
    json: Json = False,
) -> None:
    """Label every frame of a video with a teacher that sees few of them, and a student that learns while it plays.

    Ctrl-C ends the run after the current frame, with everything written (exit code 130); --resume goes on.

    Example: narrowcast stream run city.mp4 --teacher maskrcnn --classes person,car+bus+truck=auto --out runs/city
    """
    from narrowcast.cli import _run

    request = _run.RunRequest(
        source=source,
        teacher=teacher,
        classes=classes,
        accuracy=accuracy,
        out=out,
        method=method,
        student=student,
        size=size,
        score_every=score_every,
        score_with=score_with,
        max_frames=max_frames,
        outputs=output or ["overlay"],
        resume=resume,
        seed=seed,
        device=device,
        recipe=config,
        settings=set_ or [],
        live=live,
        when_late=when_late,
        pace=pace,
        budget=budget,
        keep=keep,
        web=web,
        recall=recall,
    )
    _run.run(request, as_json=json)


@app.command()
def pretrain(
    images: Annotated[list[Path], typer.Option(help="A folder of images; give it again for more folders.")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoints and the result; training goes on from it.")],
    labels: Annotated[Path, typer.Option(help="Folder that keeps the teacher's labels, made once.")],
    teacher: Annotated[
        str | None, typer.Option(help="As in stream run. Without it the labels must be there already.")
    ] = None,
    student: Annotated[
        str, typer.Option(help="jitnet, mobilenetv2, lite-segmenter or a .safetensors file to go on from.")
    ] = "jitnet",
    tags: Annotated[Path | None, typer.Option(help="TOML rules: what images' names say of their pixels.")] = None,
    config: Recipe = None,
    set_: Settings = None,
    device: Device = "auto",
    json: Json = False,
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


@app.command("eval")
def evaluate(
    sources: Annotated[
        list[str], typer.Argument(help="Videos, folders of images, davis2017:FOLDER and other data sets.")
    ],
    teacher: Annotated[str, typer.Option(help="As in stream run; labels: a data set's own.")],
    out: Annotated[Path, typer.Option(help="Folder for summary.json, report.html and every run; more can be added.")],
    classes: Annotated[str, typer.Option(help="As in stream run.")] = "all",
    methods: Annotated[
        str,
        typer.Option(
            help="default-0.8, look-ahead-0.8, thesis-0.7, flow-dis-8, hold-8, frozen, segmenter:TEACHER; see docs."
        ),
    ] = "default-0.8,thesis-0.8,flow-dis-8,hold-8,frozen",
    size: Annotated[
        str | None, typer.Option(help="The students' size: WIDTHxHEIGHT, or the longest side; default: the frames'.")
    ] = None,
    max_frames: Annotated[int | None, typer.Option(help="Of each source.")] = None,
    seeds: Annotated[str, typer.Option(help="For methods that learn: 0,1,2 runs each three times.")] = "0",
    phases: Annotated[str, typer.Option(help="Frames left out at the start, one run each: 0,2,4,6.")] = "0",
    ablate: Annotated[
        str | None, typer.Option(help="A method, default-0.8: it too, with one thing changed at a time (table 2.4).")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder that keeps the teacher's labels. [default: labels in --out]")
    ] = None,
    replay_teacher: Annotated[
        bool, typer.Option("--replay-teacher", help="Kept labels and the median time instead of the teacher's calls.")
    ] = False,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Measure methods on videos: accuracy against the teacher on every frame, and cost with the teacher's in it.

    What is in --out already is not run again. Ctrl-C ends after the current frame; the same command goes on.

    Example: narrowcast stream eval city.mp4 --teacher maskrcnn --classes person --methods default-0.8,hold-8 --out eval
    """
    from narrowcast.cli import _eval

    _eval.run(
        _eval.EvalRequest(
            sources=sources,
            teacher=teacher,
            out=out,
            classes=classes,
            methods=methods,
            size=size,
            max_frames=max_frames,
            seeds=seeds,
            phases=phases,
            ablate=ablate,
            cache=cache,
            replays_teacher=replay_teacher,
            device=device,
        ),
        as_json=json,
    )


@app.command()
def generate(
    out: Annotated[Path, typer.Option(help="A new folder: images/, labels/, scenes.txt, stream.json.")],
    photos: Annotated[
        Path | None, typer.Option(help="Folder of images for grounds and textures; default: noise of many scales.")
    ] = None,
    frames: Annotated[int, typer.Option(help="How many.")] = 600,
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT of a frame.")] = "640x360",
    classes: Annotated[int, typer.Option(help="Kinds of shapes, 1 to 7.")] = 2,
    objects: Annotated[int, typer.Option(help="Shapes of each kind in a scene.")] = 2,
    scenes: Annotated[int, typer.Option(help="Places, each with a ground, a light and shapes of its own.")] = 4,
    cut_every: Annotated[int, typer.Option(help="Frames from cut to cut, about; 0: never.")] = 120,
    returns: Annotated[float, typer.Option(help="Chance that a cut leads back to an earlier place.")] = 0.5,
    light: Annotated[float, typer.Option(help="How far brightness drifts, 0 to 0.9.")] = 0.4,
    speed: Annotated[float, typer.Option(help="Of shapes, in sides of the frame a second.")] = 0.25,
    fps: Annotated[int, typer.Option(help="Frames a second.")] = 25,
    seed: Annotated[int, typer.Option(help="The same seed and photos give the same stream.")] = 0,
    json: Json = False,
) -> None:
    """Draw a stream that drifts, with exact labels: shapes before photos, changing light, cuts, places that come back.

    Example: narrowcast stream generate --photos photos --out drift
    """
    from narrowcast.cli import _generate

    drawn = {"frames": frames, "classes": classes, "objects": objects, "scenes": scenes, "cut_every": cut_every}
    moved = {"returns": returns, "light": light, "speed": speed, "fps": fps, "seed": seed}
    _generate.run(out, size, drawn | moved, photos, as_json=json)


@app.command()
def apply(
    student: Annotated[Path, typer.Argument(help="A .safetensors file, or the folder of a run.")],
    source: Annotated[str, typer.Argument(help="As in stream run.")],
    out: Annotated[Path, typer.Option(help="Folder for the labelled video or the labels.")],
    size: Annotated[
        str | None, typer.Option(help="Working size, WIDTHxHEIGHT; default: the run's, or else the frames'.")
    ] = None,
    output: Annotated[
        list[str] | None, typer.Option(help="overlay, png, rle; may be given again. [default: overlay]")
    ] = None,
    max_frames: Annotated[int | None, typer.Option(help="Stop after this many frames.")] = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Label a video with a student that has learned, without a teacher and without learning.

    Example: narrowcast stream apply runs/city city-tomorrow.mp4 --out labelled/city
    """
    from narrowcast.cli import _apply

    _apply.run(student, source, out, size, output or ["overlay"], max_frames, device=device, as_json=json)


@app.command()
def export(
    student: Annotated[Path, typer.Argument(help="A .safetensors file, or the folder of a run.")],
    out: Annotated[Path, typer.Option(help="The .onnx file; a teacher card is written beside it.")],
    size: Annotated[
        str | None, typer.Option(help="WIDTHxHEIGHT of the images that it takes; default: the run's.")
    ] = None,
    json: Json = False,
) -> None:
    """Write a student as an ONNX file, and check in ONNX Runtime that it computes the same.

    Example: narrowcast stream export runs/city --out city.onnx
    """
    from narrowcast.cli import _apply

    _apply.export(student, out, size, as_json=json)


@app.command()
def events(
    run: Annotated[Path, typer.Argument(help="The folder of a run that was made with --output lessons.")],
    config: Recipe = None,
    set_: Settings = None,
    json: Json = False,
) -> None:
    """Find where a stream changed, and where its teacher was disagreed with; writes RUN/events.

    Example: narrowcast stream events runs/city
    """
    from narrowcast.cli import _events

    _events.events(run, config, set_ or [], as_json=json)
