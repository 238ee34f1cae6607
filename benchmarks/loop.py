"""The loop on a clip: frames that a stream found hard, labelled, make its student better, or not; beside random frames.

The first half of the clip is streamed with a weak teacher. A better one, held back, answers in a person's place.
Students are compared on frames of the second half, which nothing has learned; both only infer. `recipes/loop.sh` does
the same, a command a step. Random frames of the same stretch, as many, are the control of the picking.
"""

import statistics
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import record
import torch

from narrowcast.core.config import to_dict
from narrowcast.core.runs import RunFolder
from narrowcast.fleet import picking, retraining
from narrowcast.fleet.retraining import RetrainConfig
from narrowcast.models.classes import SelectedTeacher, parse_classes
from narrowcast.models.load_teacher import load_teacher
from narrowcast.models.pretrained import student_called
from narrowcast.stream.apply import load_adapted
from narrowcast.stream.run import RunConfig, run_stream
from narrowcast.video.source import open_source

CLASSES, SIZE, HALF, NUM, EVERY = "person,car+bus=auto", (384, 288), 400, 24, 10
SHEET_COLUMNS, TILE = 6, (192, 144)


def main() -> int:
    """Run the loop once for each seed, and write the result."""
    options = record.parser(__doc__)
    options.add_argument("--cache", type=Path, default=record.REPOSITORY / "build" / "benchmark-labels")
    options.add_argument("--work", type=Path, help="keep what is made here, and take what is there already")
    options.add_argument("--seeds", default="0,1,2")
    arguments = options.parse_args()
    device = record.prepare(arguments)
    half, passes = (60, 2) if arguments.quick else (HALF, RetrainConfig().passes)
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        clip = str(record.data() / "clips" / "vtest.avi")
        run = stream(clip, work / "run", half, device)
        picked = pick(run, work / "picked", clip)
        person = load_teacher(str(arguments.cache / "vtest"), device=device, num_threads=arguments.threads)
        class_map = parse_classes(CLASSES, person.classes)
        if not (work / "aside").exists():
            picking.set_aside(clip, work / "aside", first=half, every=EVERY, num=40)
        folders = {"picked": work / "picked"}
        for seed in arguments.seeds.split(","):
            folders[f"random, draw {seed}"] = random_frames(clip, work / f"random-{seed}", half, len(picked), int(seed))
        for folder in (*folders.values(), work / "aside"):
            retraining.label_frames(folder / "frames", folder / "labels", person, class_map)
        rows = []
        for name, folder in folders.items():
            seeds = arguments.seeds.split(",") if name == "picked" else [name.rpartition(" ")[2]]
            for seed in seeds:
                config = RetrainConfig(seed=int(seed), passes=passes)
                rows.append({"frames": name, "seed": int(seed)} | again(run, folder, work, config, device))
        sheet(work)
    old = rows[0]["old"]
    found = {
        "setup": {"clip": "vtest", "teacher": "embedded", "person": "kept labels of deeplab-voc-tta", "half": half}
        | {"classes": CLASSES, "labels_asked": len(picked), "retrain": to_dict(RetrainConfig(passes=passes))},
        "picked": [asdict(one) for one in picked],
        "frames_aside": rows[0]["frames_compared"],
        "rows": rows,
        "miou_before": old,
        "miou_after_picked": mean(rows, "picked"),
        "miou_after_random": mean(rows, "random"),
    }
    record.write(arguments.out, "loop", found, device=device)
    print(
        record.table(
            ["frames", "seed", "before", "after"], [[r["frames"], r["seed"], r["old"], r["new"]] for r in rows]
        )
    )
    return 0


def mean(rows: list[dict[str, Any]], kind: str) -> float:
    """The mean over seeds or draws."""
    return statistics.fmean(row["new"] for row in rows if row["frames"].startswith(kind))


def stream(clip: str, folder: Path, half: int, device: torch.device) -> Path:
    """The first half, streamed with the teacher that ships inside."""
    if (folder / "summary.json").exists():
        return folder
    expert = load_teacher("embedded", device=device, num_threads=torch.get_num_threads())
    class_map = parse_classes(CLASSES, expert.classes)
    config = RunConfig(source=clip, teacher="embedded", classes=CLASSES, size_wh=SIZE, outputs=())
    about = {"config": to_dict(config), "classes": list(class_map.classes)}
    student = student_called("pretrained", class_map)
    with open_source(clip, max_frames=half) as source, RunFolder.open(folder, about, resume=False) as opened:
        teacher = SelectedTeacher(expert, class_map)
        for _ in run_stream(source, student, teacher, config=config, folder=opened, device=device):
            pass
    return folder


def pick(run: Path, out: Path, clip: str) -> list[picking.Picked]:
    """The frames that are worth a look; what is there already stays."""
    if (out / picking.TABLE).exists():
        return picking.pick(picking.read_reports(run), num=NUM, apart=8)
    return picking.export(run, out, num=NUM, apart=8)


def random_frames(clip: str, out: Path, half: int, num: int, seed: int) -> Path:
    """As many frames of the same stretch, drawn."""
    wanted = set(np.random.default_rng(seed).choice(half, num, replace=False).tolist())
    (out / "frames").mkdir(parents=True, exist_ok=True)
    with open_source(clip, max_frames=half) as source:
        for frame in source:
            if frame.index in wanted:
                cv2.imwrite(str(out / "frames" / f"{frame.index:08}.png"), frame.image_rgb[..., ::-1])
    return out


def again(run: Path, folder: Path, work: Path, config: RetrainConfig, device: torch.device) -> dict[str, Any]:
    """Retrain on the frames of a folder, and compare on those set aside."""
    new = work / "new.safetensors"
    frames, labels = folder / "frames", folder / "labels"
    for _ in retraining.retrain(load_adapted(run), frames, labels, new, config=config, size_wh=SIZE, device=device):
        pass
    old, taught = load_adapted(run), load_adapted(new)
    aside = work / "aside"
    found = retraining.compare(old, taught, aside / "frames", aside / "labels", size_wh=SIZE, device=device)
    return {"frames_compared": found.frames, "old": found.old, "new": found.new, "is_promoted": found.is_better(0.0)}


def sheet(work: Path) -> None:
    """A contact sheet of the picked frames, in the work folder: pictures of the data stay out of the repository."""
    tiles = [cv2.resize(cv2.imread(str(path)), TILE) for path in sorted((work / "picked" / "frames").glob("*.png"))]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % SHEET_COLUMNS)
    rows = [np.hstack(tiles[ix : ix + SHEET_COLUMNS]) for ix in range(0, len(tiles), SHEET_COLUMNS)]
    cv2.imwrite(str(work / "contact-sheet.png"), np.vstack(rows))


if __name__ == "__main__":
    record.main(main)
