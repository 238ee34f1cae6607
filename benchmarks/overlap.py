"""Whether a teacher beside the student saves time: both on the same cores, one after the other and in two threads.

A teacher's labels depend on the frame alone, and the frame it is due on is known before: it could work ahead while the
student predicts the frames before that. What is timed is one teacher call and as many predictions as take about as
long, which is the most that can be hidden.
"""

import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import record

from narrowcast.core.runtime import seed_everything
from narrowcast.models.jitnet import JITNet
from narrowcast.models.load_teacher import load_teacher
from narrowcast.stream.learner import Learner, LearnerConfig

FRAME_WH, STUDENT_WH = (768, 576), (384, 288)
NUM_CLASSES, HEAD_FLOOR = 4, 32
DEFAULT_TEACHERS = "deeplab-voc-tta,embedded-tta"


def main() -> int:
    parser = record.parser(__doc__)
    parser.add_argument("--teachers", default=DEFAULT_TEACHERS)
    parser.add_argument("--turns", type=int, default=9)
    arguments = parser.parse_args()
    device = record.prepare(arguments)
    seed_everything(0)
    rng = np.random.default_rng(0)
    frame, small = (rng.integers(0, 256, (wh[1], wh[0], 3), dtype=np.uint8) for wh in (FRAME_WH, STUDENT_WH))
    student = Learner(JITNet(NUM_CLASSES, min_head_channels=HEAD_FLOOR), LearnerConfig(), device=device)
    rows = []
    for name in arguments.teachers.split(","):
        spec = record.card(name) if name.startswith("deeplab-voc") else name
        teacher = load_teacher(spec, device=device, num_threads=arguments.threads)
        turns = 1 if arguments.quick else arguments.turns
        rows.append({"teacher": name} | measure(lambda t=teacher: t(frame), lambda: student.predict(small), turns))
    head = ["teacher", "teacher ms", "predictions", "predictions ms", "in turn ms", "together ms", "together / in turn"]
    print(record.table(head, [list(row.values()) for row in rows]))
    record.write(arguments.out, "overlap", {"quick": arguments.quick, "rows": rows}, device=device)
    return 0


def measure(teach: Callable[[], Any], predict: Callable[[], Any], turns: int) -> dict[str, Any]:
    """Medians of `turns` turns, in milliseconds."""
    teach()
    predict()
    number = max(1, round(_ms(teach) / _ms(predict)))

    def predict_all() -> None:
        for _ in range(number):
            predict()

    def together() -> None:
        ahead = threading.Thread(target=teach)
        ahead.start()
        predict_all()
        ahead.join()

    calls = {"teacher": teach, "student": predict_all, "together": together}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(turns):
        for name, call in calls.items():
            times[name].append(_ms(call))
    teacher_ms, student_ms, together_ms = (statistics.median(times[name]) for name in calls)
    return {
        "teacher_ms": round(teacher_ms, 1),
        "predictions": number,
        "predictions_ms": round(student_ms, 1),
        "in_turn_ms": round(teacher_ms + student_ms, 1),
        "together_ms": round(together_ms, 1),
        "ratio": round(together_ms / (teacher_ms + student_ms), 2),
    }


def _ms(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1e3


if __name__ == "__main__":
    record.main(main)
