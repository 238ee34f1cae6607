"""Whether a student pays: what it mends of the errors of moved labels, against what learning and predicting cost.

Labels that are moved by optical flow cost next to nothing. A student beside them is dearer, and the same money buys
more teacher frames, each of which leaves less for flow to get wrong. Both are known on every teacher frame, so this
decides from scores alone: no clock, the same on every machine. Ours.
"""

from collections.abc import Mapping
from typing import Any, Literal, final

Mode = Literal["silent", "trial", "speaking"]
MEMORY = 0.8  # of the running means: the last five lessons or so; ours
MAX_PATIENCE = 64  # lessons; ours


@final
class Worth:
    """A student is silent until moved labels alone were not good enough `patience` times; then it is tried.

    A trial has `trial` lessons. It learns them, and is scored before it does, but does not speak. Afterwards it speaks
    if its errors times `dearer` are no more than those of the moved labels; and falls silent once they are more. Each
    trial that it does not pass doubles the patience.

    Args:
        trial: lessons; 0: there are no trials, it always learns and speaks.
        dearer: what a stream with a student costs over one without, at equal strides.
        patience: see above; 0: the first lesson begins a trial.
    """

    def __init__(self, *, trial: int, dearer: float, patience: int) -> None:
        self._trial, self._dearer, self._least_patience = trial, dearer, patience
        self.mode: Mode = "speaking" if not trial else "silent" if patience else "trial"
        self.patience = patience
        self._lessons = 0  # of this mode that count
        self._student = self._moved = 0.0  # running sums of errors

    @property
    def learns(self) -> bool:
        """Whether the student is to learn the next lesson."""
        return self.mode != "silent"

    @property
    def speaks(self) -> bool:
        """Whether its predictions are put out; else the moved labels are."""
        return self.mode == "speaking"

    def begin_trial(self) -> None:
        """Try the student now: it is not the one that was silent."""
        if self._trial and self.mode == "silent":
            self._turn("trial")

    def add(self, *, student: float | None, moved: float, is_enough: bool) -> None:
        """Hear of a lesson.

        Args:
            student: accuracy of its prediction before it learned the frame; None where it is silent.
            moved: accuracy of the moved labels.
            is_enough: whether what was put out was good enough.
        """
        if not self._trial:
            return
        if student is None:
            self._lessons += not is_enough
            if self._lessons >= self.patience:
                self._turn("trial")
            return
        self._lessons += 1
        self._student = MEMORY * self._student + 1 - student
        self._moved = MEMORY * self._moved + 1 - moved
        if self._lessons < self._trial:
            return
        pays = self._student * self._dearer <= self._moved
        if self.mode == "trial" and not pays:
            self.patience = min(MAX_PATIENCE, max(1, 2 * self.patience))
            self._turn("silent")
        elif self.mode == "trial":
            self.mode, self.patience = "speaking", self._least_patience
        elif not pays:
            self._turn("silent")

    def _turn(self, mode: Mode) -> None:
        self.mode, self._lessons, self._student, self._moved = mode, 0, 0.0, 0.0

    def state(self) -> dict[str, Any]:
        """What `load` needs to go on exactly."""
        return {
            "mode": self.mode,
            "patience": self.patience,
            "lessons": self._lessons,
            "errors": [self._student, self._moved],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Bring back what `state` gave."""
        self.mode, self.patience, self._lessons = state["mode"], state["patience"], state["lessons"]
        self._student, self._moved = state["errors"]
