"""The numbers of a live run: those of any run, and how late its labels were."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from narrowcast.core.runs import RunFolder
from narrowcast.stream.distill import Distiller
from narrowcast.stream.scores import SegmentationScores
from narrowcast.stream.stream_report import StreamReport
from narrowcast.stream.summary import Costs, summarise


@dataclass(slots=True)
class LiveTotals:
    """Counts over the whole run, of which the newest reports alone may be kept."""

    frames: int = 0
    teacher_frames: int = 0
    updates: int = 0
    dropped_frames: int = 0
    swaps: int = 0
    gaps: int = 0

    def add(self, report: StreamReport) -> None:
        """Count one frame."""
        self.frames += 1
        self.teacher_frames += report.teacher_ran
        self.updates += report.updates

    def to_json(self) -> dict[str, int]:
        return asdict(self)


def summarise_live(
    folder: RunFolder, scores: SegmentationScores, costs: Costs, distiller: Distiller, totals: LiveTotals
) -> dict[str, Any]:
    """What `summary.json` of a live run holds. There is no speedup: the source sets the pace."""
    summary = summarise(folder, scores, costs, distiller)
    latencies, weights_ages, labels_ages = [], [], []
    for report in folder.reports():
        latencies.append(report["timings_ms"]["latency"])
        weights_ages.append(report["weights_age"])
        labels_ages.append(report["labels_age"])
    return (
        summary
        | totals.to_json()
        | {
            "teacher_fraction": totals.teacher_frames / totals.frames if totals.frames else None,
            "teacher_every_frame_s": None,
            "speedup": None,
            "speedup_macs": None,
            "latency_ms_p50": _percentile(latencies, 50),
            "latency_ms_p99": _percentile(latencies, 99),
            "weights_age_p50": _percentile(weights_ages, 50),
            "labels_age_p50": _percentile(labels_ages, 50),
            "labels_age_p99": _percentile(labels_ages, 99),
        }
    )


def _percentile(values: list[float | None], percent: float) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.percentile(np.array(known, np.float32), percent)) if known else None
