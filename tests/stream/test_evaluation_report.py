"""The page of an evaluation, from the folder that one leaves; and what is computed rather than measured."""

from pathlib import Path

import pytest

from narrowcast.core.errors import SourceError
from narrowcast.core.files import write_json, write_text
from narrowcast.stream.evaluation_report import write_evaluation_report
from narrowcast.stream.recosting import Cost, recosted, student_time


def row(source: str, method: str, *, phase: int = 0, miou: float | None = 0.5, speedup: float = 4.0) -> dict:
    numbers = dict.fromkeys(("student_ms_p50", "update_ms_p50", "teacher_ms_p50", "student_s", "learning_s"), 2.0)
    scores = ("pooled", "per_frame", "pooled_of_outputs", "pooled_with_teacher_labels", "pooled_without_teacher_frames")
    return {
        "source": source,
        "method": method,
        "phase": phase,
        "seed": 0,
        "frames": 100,
        "teacher_frames": 10,
        "teacher_fraction": 0.1,
        "updates": 3,
        **numbers,
        **{f"miou_{score}": miou for score in scores},
        "iou_per_class": {"person": miou},
        "iou_per_class_with_teacher_labels": {"person": miou},
        "worst_window": None if miou is None else {"start_s": 3.0, "miou": 0.1},
        "flicker": None,
        "teacher_s": 1.0,
        "total_s": 5.0,
        "teacher_share": 0.2,
        "learning_share": 0.4,
        "teacher_every_frame_s": 20.0,
        "speedup": speedup,
        "speedup_macs": None,
        "student_macs": 0 if method.startswith("hold") else 100,
        "truth": None,
        "teacher_is_replayed": True,
    }


def leave(folder: Path, found: dict) -> None:
    job = folder / "runs" / found["source"] / f"{found['method']}-{found['phase']}".replace("/", "_")
    write_json(job / "summary.json", {"status": "finished"} | found)
    lines = (
        f'{{"frame":{ix},"time_s":{ix},"teacher_ran":false,"stride":8,"updates":1,"miou":0.5}}\n' for ix in range(9)
    )
    write_text(job / "reports.jsonl", "".join(lines))


def test_the_page_has_the_table_of_all_streams(tmp_path: Path) -> None:
    for source in ("street", "<shop>"):
        leave(tmp_path, row(source, "default-0.8", miou=0.75))
        leave(tmp_path, row(source, "default-0.8", miou=0.65, phase=4))
        leave(tmp_path, row(source, "hold-8", miou=0.5 if source == "street" else None))
    text = write_evaluation_report(tmp_path).read_text(encoding="utf-8")
    assert "70.0 ± 5.0 (4.0×, 10.0%)" in text
    assert "mean over streams" in text
    assert "&lt;shop&gt;" in text
    assert "<shop>" not in text
    assert "Computed, not measured" in text
    assert "Kept labels stood in for the teacher" in text
    assert "One start phase" not in text


def test_streams_without_a_network_have_no_computed_cost(tmp_path: Path) -> None:
    leave(tmp_path, row("street", "hold-8"))
    text = write_evaluation_report(tmp_path).read_text(encoding="utf-8")
    assert "Computed" not in text
    assert "One start phase" in text


def test_files_of_labels_are_no_measure_of_cost(tmp_path: Path) -> None:
    leave(tmp_path, row("street", "hold-8"))
    assert "speedups as measured mean nothing" not in write_evaluation_report(tmp_path).read_text(encoding="utf-8")
    write_json(tmp_path / "eval.json", {"setup": {"teacher": "labels"}})
    assert "speedups as measured mean nothing" in write_evaluation_report(tmp_path).read_text(encoding="utf-8")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nothing in it has ended yet"):
        write_evaluation_report(tmp_path)


def test_another_teacher_changes_what_its_calls_cost_and_nothing_else() -> None:
    measured = row("street", "default-0.8")
    assert recosted(measured, teacher_ms=100.0).speedup == pytest.approx(10.0 / (5.0 - 1.0 + 1.0))
    free = {"frames": 10, "teacher_frames": 0, "teacher_s": 0.0, "total_s": 1.0}
    assert recosted(free, teacher_ms=100.0) == Cost(1.0, 1.0)


def test_the_students_time_is_the_frozen_ones() -> None:
    rows = [row("a", "default-0.8"), row("a", "frozen") | {"student_ms_p50": 1.0}, row("a", "hold-8")]
    assert student_time(rows) == 1.0
    assert student_time(rows[:1]) == 2.0
    assert student_time(rows[2:]) is None
