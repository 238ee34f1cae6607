"""Does kill -9 lose a label? Two hundred writers are killed; every label that was acknowledged must be there."""

import random
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import record

from narrowcast.mine.labels import LabelLog

WRITER = """
import sys
from pathlib import Path
from narrowcast.mine.labels import LabelEvent, LabelLog
log, run = LabelLog.open(Path(sys.argv[1])), sys.argv[2]
for ix in range(10**9):
    log.add([LabelEvent(category="owl", item=f"{run}-{ix}", value="positive")])
    print(ix, flush=True)
"""


def main() -> int:
    """Kill, count, write the result; 1 where a label is lost or the log is damaged."""
    options = record.parser(__doc__)
    options.add_argument("--kills", type=int, default=200)
    arguments = options.parse_args()
    device = record.prepare(arguments)
    kills = 5 if arguments.quick else arguments.kills
    rng = random.Random(0)
    acknowledged = lost = extra = 0
    with tempfile.TemporaryDirectory() as folder:
        with LabelLog.open(Path(folder)) as log:
            log.begin("owl")
        for run in range(kills):
            told = _killed(folder, run, after=rng.randint(1, 60))
            with LabelLog.open(Path(folder)) as log:
                kept = {item for item in log.labels("owl").train if item.startswith(f"{run}-")}
            acknowledged += told
            lost += sum(f"{run}-{ix}" not in kept for ix in range(told))
            extra += len(kept) - told
        with LabelLog.open(Path(folder)) as log:
            problem = log.check()
    result = {
        "kills": kills,
        "acknowledged": acknowledged,
        "lost": lost,
        "kept_unacknowledged": extra,
        "integrity": problem,
    }
    record.write(arguments.out, "label-log", result, device=device)
    print(record.table(list(result), [list(result.values())]))
    return 0 if not lost and problem == "ok" else 1


def _killed(folder: str, run: int, *, after: int) -> int:
    """Start a writer, kill it when about `after` labels are told; how many were."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, folder, str(run)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(after):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    told = after + process.stdout.read().count("\n")
    process.wait()
    process.stdout.close()
    return told


if __name__ == "__main__":
    record.main(main)
