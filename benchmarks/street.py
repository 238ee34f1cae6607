"""CamVid's two drives with ESPNetv2 as the teacher, judged by people: the teacher itself, and what methods make of it.

The teacher's labels of every frame are made once and kept in `--work`; methods get them, and are charged the teacher's
median time for each call. Scores are against CamVid's labels: 11 classes, void ignored, every method with the teacher's
labels on the frames on which it asked for them. The drives have about one frame a second, so that almost nothing of one
frame is where it was in the next: the hardest case there is for whatever carries labels on.
"""

import statistics
import tarfile
from pathlib import Path
from typing import Any

import record

from narrowcast.metrics.segmentation import SegmentationScore
from narrowcast.models.classes import SelectedTeacher, parse_classes
from narrowcast.models.espnet_teacher import EspnetTeacher
from narrowcast.models.mask_folder import MaskFolderTeacher
from narrowcast.models.taxonomy import CITYSCAPES
from narrowcast.stream.clips import Clip
from narrowcast.stream.data_sets import open_clips
from narrowcast.stream.evaluate import SUMMARY, EvalConfig, evaluate
from narrowcast.stream.label_cache import cache_folder
from narrowcast.stream.truth import truth_table

METHODS = "default-0.8,flow-dis-8,hold-8,frozen,learning-0.8"
TEACHER, CLASSES, SIZE_WH = "espnetv2", "camvid", (480, 360)
WEIGHTS = "espnetv2_s_2.0_city_1024x512.pth"
BAR = 0.597  # of the teacher, as measured elsewhere
SCORE = "miou_pooled_with_teacher_labels"
KEPT = (
    "source",
    "method",
    "seed",
    "frames",
    "teacher_fraction",
    "updates",
    "total_s",
    "speedup",
    "speedup_macs",
    SCORE,
)


def main() -> int:
    parser = record.parser(__doc__)
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--max-side", type=int, default=1024, help="width at which the teacher sees an image")
    parser.add_argument(
        "--work", type=Path, default=record.REPOSITORY / "build" / "street", help="goes on where it was"
    )
    arguments = parser.parse_args()
    device = record.prepare(arguments)
    weights = record.data() / "models" / WEIGHTS
    expert = EspnetTeacher(weights, device=device, max_side=arguments.max_side)
    clips = open_clips([f"camvid:{unpacked(arguments.work)}"])
    most = 3 if arguments.quick else None
    name = f"{TEACHER}-{arguments.max_side}"
    config = EvalConfig(teacher=name, classes=CLASSES, methods=tuple(arguments.methods.split(",")), size=SIZE_WH,
                        seeds=tuple(map(int, arguments.seeds.split(","))), max_frames=most,
                        replays_teacher=True)  # fmt: skip
    out, cache = arguments.work / f"eval-{arguments.max_side}", arguments.work / "labels"
    for report in evaluate(clips, expert, config, out=out, cache=cache, device=device):
        if report.row is not None:
            row = report.row
            print(f"{row['source']:10} {row['method']:14} {row['truth'][SCORE]:.3f} {row['speedup']:.2f} x", flush=True)
    rows = [_kept(row) for row in record.read(out, SUMMARY.removesuffix(".json"))]
    teacher = judge([(clip, cache_folder(cache, name, clip)) for clip in clips])
    result = {"teacher": {"name": TEACHER, "max_side": arguments.max_side, "bar": BAR, **teacher}, "classes": CLASSES,
              "size_wh": list(SIZE_WH), "methods": methods(rows), "rows": rows, "quick": arguments.quick}  # fmt: skip
    print(f"teacher: {teacher['miou']:.3f} (bar {BAR})")
    print(record.table(["method", "mIoU against people", "teacher frames", "speedup", "in multiply-adds"],
                       [[name, *values.values()] for name, values in result["methods"].items()]))  # fmt: skip
    record.write(arguments.out, "street", result, device=device)
    return 0


def unpacked(work: Path) -> Path:
    """CamVid's folder; the archive is unpacked once."""
    folder = work / "data" / "camvid"
    if not folder.exists():
        with tarfile.open(record.data() / "camvid.tar") as archive:
            archive.extractall(folder.parent, filter="data")
    return folder


def judge(clips: list[tuple[Clip, Path]]) -> dict[str, Any]:
    """The kept labels against people's, at full size: all frames together, by class and by drive."""
    class_map = parse_classes(CLASSES, CITYSCAPES)
    whole, drives = SegmentationScore(class_map.classes), {}
    for clip, folder in clips:
        assert clip.truth is not None
        teacher = SelectedTeacher(MaskFolderTeacher(folder, classes=CITYSCAPES), class_map)
        table, own = truth_table(clip.truth.classes, class_map), SegmentationScore(class_map.classes)
        with clip.open() as frames:
            for frame in frames:
                if not (folder / f"{frame.index:08}.png").exists():
                    break  # quick
                truth = table[clip.truth(frame.image_rgb, frame_index=frame.index).labels]
                found = teacher(frame.image_rgb, frame_index=frame.index).labels
                own.add(found, truth)
                whole.add(found, truth)
        drives[clip.name] = own.pooled
    return {"miou": whole.pooled, "iou_per_class": whole.per_class, "drives": drives, "frames": whole.num_frames}


def _kept(row: dict[str, Any]) -> dict[str, Any]:
    return {key: row["truth"][SCORE] if key == SCORE else row[key] for key in KEPT} | {
        "teacher_miou": row["truth"]["miou_pooled_of_teacher"]
    }


def methods(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Means over drives of means over seeds."""
    found: dict[str, dict[str, float]] = {}
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        sources = sorted({row["source"] for row in own})
        found[method] = {
            name: statistics.fmean(
                statistics.fmean(row[key] for row in own if row["source"] == source) for source in sources
            )
            for name, key in (
                ("miou", SCORE),
                ("teacher_fraction", "teacher_fraction"),
                ("speedup", "speedup"),
                ("speedup_macs", "speedup_macs"),
            )
        }
    return found


if __name__ == "__main__":
    record.main(main)
