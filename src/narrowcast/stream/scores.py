"""The scores of a run: what is compared with the labels, on which frames."""

from typing import Any, final

from narrowcast.metrics.segmentation import SegmentationScore
from narrowcast.stream.stream_report import StreamReport


@final
class SegmentationScores:
    """The three scores of a run: predictions, predictions on frames without the teacher, and outputs."""

    def __init__(self, classes: tuple[str, ...]) -> None:
        self.predictions, self.without_teacher, self.outputs = (SegmentationScore(classes) for _ in range(3))

    def add(self, report: StreamReport, labels: Any) -> float:
        """Score one frame; the mean IoU of its prediction."""
        if report.teacher_labels is None:
            self.without_teacher.add(report.prediction, labels)
        self.outputs.add(report.labels, labels)
        return self.predictions.add(report.prediction, labels)

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name).to_json() for name in ("predictions", "without_teacher", "outputs")}

    def load(self, state: dict[str, Any]) -> None:
        """Bring back what `to_json` gave."""
        for name, values in state.items():
            setattr(self, name, SegmentationScore.from_json(values))
