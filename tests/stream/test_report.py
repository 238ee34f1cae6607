"""Reports of run folders that are written here: whole, killed, tiny, damaged, long."""

import json
import math
import re
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from narrowcast.core.errors import SourceError
from narrowcast.core.files import write_json
from narrowcast.stream.report import write_report
from narrowcast.stream.windows import Spread, read_curves

CLASSES = ["background", "person", "auto", "bird"]


def demo_reports(num: int, *, fps: float = 25.0, score_every: int = 0, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Reports of a stream whose scene changes now and then, as a student would live through it."""
    rng = np.random.default_rng(seed)
    stride, due, skill = 8, 0, 0.15
    for frame in range(num):
        skill = skill * 0.45 if rng.random() < 4 / num else max(0.1, skill - 0.0002)
        now = float(np.clip(skill + rng.normal(0, 0.05), 0, 1))
        ran = frame >= due
        report = {"frame": frame, "time_s": round(frame / fps, 6), "teacher_ran": ran, "stride": stride, "updates": 0}
        report |= {"accuracy": None, "accuracy_after": None, "loss": None}
        timings = {"student": round(rng.gamma(40, 0.3), 3)}
        if ran:
            updates = 0 if now >= 0.8 else int(rng.integers(2, 9))
            skill += (0.9 - skill) * updates / 14
            stride = min(64, stride * 2) if skill > 0.78 else max(8, stride // 2)
            due = frame + stride
            report |= {
                "stride": stride,
                "updates": updates,
                "accuracy": round(now, 6),
                "accuracy_after": round(skill, 6),
            }
            timings |= {"teacher": round(rng.gamma(200, 1.7), 3), "learning": round(20 + updates * 38.0, 3)}
            if updates:
                report["loss"] = 0.2
                timings["update"] = 38.0
        if ran if not score_every else frame % score_every == 0:
            report["miou"] = round(now, 6)
        yield report | {"timings_ms": timings}


def demo_summary(reports: list[dict[str, Any]]) -> dict[str, Any]:
    frames, asked = len(reports), sum(report["teacher_ran"] for report in reports)
    times = [[report["timings_ms"].get(name, 0.0) for report in reports] for name in ("student", "teacher", "learning")]
    total_s, alone_s = sum(map(sum, times)) / 1e3, 0.34 * frames
    scores = [report["miou"] for report in reports if "miou" in report]
    mean = sum(scores) / len(scores) if scores else None
    return {
        "status": "finished",
        "frames": frames,
        "first_frame": 0,
        "duration_s": reports[-1]["time_s"],
        "teacher_frames": asked,
        "teacher_fraction": asked / frames,
        "updates": sum(report["updates"] for report in reports),
        "scored_frames": len(scores),
        "miou_pooled": mean,
        "miou_per_frame": mean and mean * 0.97,
        "miou_pooled_without_teacher_frames": mean and mean * 1.01,
        "miou_pooled_of_outputs": mean and min(1.0, mean * 1.04),
        "iou_per_class": {"person": 0.71, "auto": 0.84, "bird": None},
        "student_ms_p50": 11.9,
        "student_ms_p99": 17.2,
        "update_ms_p50": 38.0,
        "update_ms_p99": 51.3,
        "teacher_ms_p50": 340.2,
        "teacher_ms_p99": 402.0,
        "total_s": total_s,
        "teacher_every_frame_s": alone_s,
        "speedup": alone_s / total_s,
        "speedup_macs": 9.31,
        "stopped_early": None,
        "damaged_packets": 0,
    }


def write_pictures(folder: Path, frames: list[int]) -> None:
    from PIL import Image, ImageDraw

    folder.mkdir()
    for frame in frames:
        image = Image.new("RGB", (640, 180), (96, 108, 96))
        pen = ImageDraw.Draw(image)
        for left, color in ((0, (230, 159, 0)), (320, (86, 180, 233))):
            x = left + 30 + frame * 7 % 200
            pen.rectangle((left, 120, left + 319, 179), fill=(70, 70, 76))
            pen.rectangle((x, 60, x + 30, 150), fill=color)
        image.save(folder / f"frame-{frame:08}.jpg")


def write_run(
    folder: Path, reports: list[dict[str, Any]], *, pictures: int = 0, summary: dict[str, Any] | None = None
) -> Path:
    """A run folder with those reports; the summary is made from them unless given ({} leaves it out)."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "source": "rtsp://ann:hunter2@cam.example/street?token=abc123&x=1",
        "teacher": "maskrcnn",
        "classes": "person,car+bus+truck=auto,bird",
        "size_wh": [640, 360],
        "distill": {"schedule": {"accuracy": 0.8, "min_stride": 8, "max_stride": 64, "max_updates": 8}},
    }
    versions = {"python": "3.12.1", "narrowcast": "0.1.0", "torch": "2.9.0"}
    environment = {"versions": versions, "commit": None, "device": "a processor", "num_threads": 2}
    write_json(folder / "run.json", {"config": config, "environment": environment, "classes": CLASSES})
    (folder / "reports.jsonl").write_text("".join(json.dumps(report) + "\n" for report in reports))
    if summary != {}:
        write_json(folder / "summary.json", summary or demo_summary(reports))
    if pictures:
        asked = [report["frame"] for report in reports if report["teacher_ran"]]
        write_pictures(folder / "samples", asked[:: max(1, len(asked) // pictures)][:pictures])
    return folder


def read_page(folder: Path) -> str:
    path = write_report(folder)
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8")


def key_figures(html: str) -> dict[str, str]:
    found = re.findall(r'<dt>(.*?)</dt>\s*<dd class="figure">(.*?)</dd>', html)
    return dict(found)


def test_report_shows_the_numbers_of_the_summary(tmp_path: Path) -> None:
    reports = list(demo_reports(3000, score_every=40))
    folder = write_run(tmp_path / "city", reports, pictures=5)
    html, summary = read_page(folder), demo_summary(reports)
    assert key_figures(html) == {
        "Accuracy (mean IoU)": f"{summary['miou_pooled']:.1%}",
        "Teacher asked on": f"{summary['teacher_fraction']:.1%}",
        "Speedup": f"{summary['speedup']:.1f}×",
        "Frames": "3,000",
    }
    assert "2 min 0 s of video" in html
    assert "9.3× in multiply-adds" in html
    assert html.count('role="img"') == 2
    assert html.count("<img ") == 5
    assert "scored frames: at regular steps" in html
    assert all(name in html for name in ("person", "auto", "bird"))
    assert '<p class="notice"' not in html
    assert not list(folder.glob(".*tmp"))


def test_captions_of_samples_say_frame_time_and_accuracy(tmp_path: Path) -> None:
    reports = list(demo_reports(400))
    html = read_page(write_run(tmp_path / "run", reports, pictures=2))
    first = reports[0]
    assert f"Frame 0, 0:00.0, accuracy {first['accuracy']:.1%}, {first['accuracy_after']:.1%} after" in html


def test_passwords_of_cameras_are_left_out(tmp_path: Path) -> None:
    html = read_page(write_run(tmp_path / "run", list(demo_reports(50))))
    assert "hunter2" not in html
    assert "abc123" not in html
    assert "rtsp://…@cam.example/street?token=…&amp;x=1" in html


def test_one_frame_is_enough(tmp_path: Path) -> None:
    html = read_page(write_run(tmp_path / "run", list(demo_reports(1)), pictures=1))
    assert key_figures(html)["Frames"] == "1"
    assert "nan" not in re.sub(r'src="[^"]*"', "", html).lower()


def test_a_run_without_scores_shows_the_accuracy_on_teacher_frames(tmp_path: Path) -> None:
    reports = [{name: value for name, value in report.items() if name != "miou"} for report in demo_reports(300)]
    html = read_page(write_run(tmp_path / "run", reports))
    accuracies = [report["accuracy"] for report in reports if report["teacher_ran"]]
    assert key_figures(html)["Accuracy (mean IoU)"] == f"{np.mean(accuracies):.1%}"
    assert "none was scored apart" in html


def test_a_killed_run_is_counted_from_its_reports(tmp_path: Path) -> None:
    """kill -9 leaves no summary and half a line; the report shows the rest and says so."""
    folder = write_run(tmp_path / "run", list(demo_reports(300)), summary={})
    with (folder / "reports.jsonl").open("ab") as file:
        file.write(b'{"frame": 300, "time_s": 12.0, "teac\xc3')
    html = read_page(folder)
    assert key_figures(html)["Frames"] == "300"
    assert key_figures(html)["Speedup"] == "–"
    assert "not ended, or was killed" in html
    assert "not counted: 1." in html


def test_an_interrupted_run_says_so(tmp_path: Path) -> None:
    reports = list(demo_reports(100))
    ending = {"status": "interrupted", "stopped_early": "the disk is full", "source_damaged": 3}
    html = read_page(write_run(tmp_path / "run", reports, summary=demo_summary(reports) | ending))
    assert html.count('<p class="notice"') == 3
    assert "the disk is full" in html


@pytest.mark.parametrize("missing", ["reports.jsonl", "nothing of it"])
def test_no_reports_is_a_page_that_says_so(tmp_path: Path, missing: str) -> None:
    folder = write_run(tmp_path / "run", [], summary=dict.fromkeys(demo_summary(list(demo_reports(2)))))
    if missing == "reports.jsonl":
        (folder / missing).unlink()
    assert "No frame was reported." in read_page(folder)


def test_a_damaged_picture_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_run(tmp_path / "run", list(demo_reports(200)), pictures=3)
    (folder / "samples" / "frame-00000000.jpg").write_bytes(b"\xff\xd8 cut off")
    (folder / "samples" / "notes.txt").write_text("not a sample")
    assert read_page(folder).count("<img ") == 2
    assert "frame-00000000.jpg" in caplog.text


def test_many_samples_are_thinned_and_keep_both_ends(tmp_path: Path) -> None:
    reports = list(demo_reports(2000))
    folder = write_run(tmp_path / "run", reports)
    write_pictures(folder / "samples", list(range(0, 1000, 20)))
    html = read_page(folder)
    assert html.count("<img ") == 16
    assert "Frame 0," in html
    assert "Frame 980," in html


def test_a_folder_that_is_no_run_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no run\.json"):
        write_report(tmp_path)


def test_a_damaged_summary_is_one_line(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", list(demo_reports(10)))
    (folder / "summary.json").write_text('{"frames": ')
    with pytest.raises(SourceError, match=r"summary\.json: not JSON"):
        write_report(folder)


def test_the_same_folder_gives_the_same_page(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", list(demo_reports(200)), pictures=2)
    assert read_page(folder) == read_page(folder)


def test_windows_against_a_slow_count(tmp_path: Path) -> None:
    reports = list(demo_reports(5000, score_every=7))
    folder = write_run(tmp_path / "run", reports)
    curves = read_curves(folder / "reports.jsonl", pick={17, 4999, 9999})
    assert set(curves.picked) == {17, 4999}
    assert len(curves.windows) <= 61
    assert sum(window.frames for window in curves.windows) == curves.totals.frames == 5000
    for window in curves.windows:
        inside = [each for each in reports if 0 <= each["time_s"] - window.start_s < curves.width_s]
        assert window.frames == len(inside)
        assert window.updates == sum(each["updates"] for each in inside)
        assert window.miou == _spread([each["miou"] for each in inside if "miou" in each])
        assert window.accuracy == _spread([each["accuracy"] for each in inside if each["teacher_ran"]])
        strides = sorted(each["stride"] for each in inside)
        assert window.stride == Spread(strides[(len(strides) - 1) // 2], strides[0])
        student_ms = sum(each["timings_ms"]["student"] for each in inside)
        assert math.isclose(window.ms_per_frame["student"], student_ms / len(inside))


def _spread(values: list[float]) -> Spread | None:
    return Spread(float(np.median(values)), min(values)) if values else None


@pytest.mark.parametrize(
    ("num", "fps", "width_s"),
    [
        pytest.param(30_000, 25.0, 30, id="20 minutes get the thesis's 30 s"),
        pytest.param(60, 30.0, 0.5, id="a clip of 2 s gets windows with a teacher frame"),
        pytest.param(2000, 1 / 3600, 172_800, id="months get whole days"),
        pytest.param(40, 1e9, 0.1, id="no time passes"),
    ],
)
def test_windows_are_few_and_round(tmp_path: Path, num: int, fps: float, width_s: float) -> None:
    path = tmp_path / "reports.jsonl"
    path.write_text("".join(f'{{"frame": {ix}, "time_s": {ix / fps}}}\n' for ix in range(num)))
    curves = read_curves(path)
    assert curves.width_s == width_s
    assert 1 <= len(curves.windows) <= 61


def test_odd_values_and_time_that_jumps_do_no_harm(tmp_path: Path) -> None:
    lines = [
        '{"frame": 0, "time_s": 0.0, "teacher_ran": true, "updates": 1, "accuracy": NaN, "timings_ms": {}}',
        '{"frame": 1, "time_s": 5.0, "timings_ms": null, "stride": null}',
        '{"frame": 2, "time_s": 1.0, "miou": "high", "timings_ms": {"student": "fast"}}',
        '{"frame": 3, "time_s": NaN}',
        '{"frame": "4", "time_s": 2.0}',
        "[1, 2]",
        "",
        '{"frame": 5, "time_s": 9000.0, "stride": 8}',
    ]
    folder = write_run(tmp_path / "run", [], summary={})
    (folder / "reports.jsonl").write_text("\n".join(lines))
    curves = read_curves(folder / "reports.jsonl")
    assert (curves.totals.frames, curves.damaged_lines) == (4, 3)
    assert curves.totals.mean_accuracy() is None
    assert read_page(folder)


def test_memory_does_not_grow_with_the_run(tmp_path: Path) -> None:
    def peak(num: int) -> int:
        path = tmp_path / f"{num}.jsonl"
        with path.open("w") as file:
            for frame in range(num):
                file.write(f'{{"frame": {frame}, "time_s": {frame}, "teacher_ran": true, "accuracy": 0.5}}\n')
        tracemalloc.start()
        read_curves(path)
        result = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return result

    assert peak(5_000) < peak(1_500) + 50_000  # the file is 230 kB longer; both are longer than its tail
