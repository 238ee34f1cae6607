"""Labels are never lost: on disk before the call returns, replayed in order, undone by events."""

import random
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from narrowcast.core.errors import StorageError, UsageError
from narrowcast.mine.labels import LabelEvent, LabelLog, effective, replay


def label(item: str, value: str = "positive", **options) -> LabelEvent:
    return LabelEvent(category="owl", item=item, value=value, **options)


@pytest.fixture
def log(tmp_path: Path):
    with LabelLog.open(tmp_path) as opened:
        opened.begin("owl")
        yield opened


def test_the_newest_label_counts_and_survives_reopening(log: LabelLog, tmp_path: Path) -> None:
    log.add([label("a"), label("b", "negative"), label("a", "unsure")])
    with LabelLog.open(tmp_path) as again:
        found = again.labels("owl")
    assert found.train == {"b": "negative", "a": "unsure"}
    assert found.items("negative") == ["b"]
    assert found.last is not None
    assert found.last.value == "unsure"


def test_audits_are_kept_apart(log: LabelLog) -> None:
    log.add([label("a"), label("b", purpose="audit")])
    found = log.labels("owl")
    assert (found.train, found.audit) == ({"a": "positive"}, {"b": "positive"})


def test_undo_is_an_event_and_so_is_undoing_it(log: LabelLog) -> None:
    log.add([label("a"), label("a", "negative")])
    assert log.undo("owl").value == "negative"
    assert log.labels("owl").train == {"a": "positive"}
    undo = [event for _, event in log.events("owl")][-1]
    log.add([LabelEvent(category="owl", kind="undo", undoes=undo.event_id)])
    assert log.labels("owl").train == {"a": "negative"}
    assert len(list(log.events())) == 5


def test_undo_ends_where_nothing_is_left(log: LabelLog) -> None:
    log.add([label("a")])
    log.undo("owl")
    with pytest.raises(UsageError, match="nothing to take back"):
        log.undo("owl")


def slow_replay(events: list[LabelEvent]) -> dict[str, str]:
    """Undo by looking every event's fate up, again and again."""

    def counts(event: LabelEvent) -> bool:
        behind = events[events.index(event) + 1 :]
        return not any(e.kind == "undo" and e.undoes == event.event_id and counts(e) for e in behind)

    state: dict[str, str] = {}
    for event in events:
        if event.kind == "label" and counts(event):
            state[event.item] = event.value
    return state


def test_replay_is_that_of_the_slow_version() -> None:
    rng = random.Random(0)
    for _ in range(30):
        events: list[LabelEvent] = []
        for _ in range(25):
            if events and rng.random() < 0.4:
                events.append(LabelEvent(category="owl", kind="undo", undoes=rng.choice(events).event_id))
            else:
                events.append(label(rng.choice("abc"), rng.choice(["positive", "negative", "unsure"])))
        assert replay(events).train == slow_replay(events)
        assert all(event.kind != "undo" for event in effective(events))


def test_the_same_event_counts_once_and_another_under_its_id_is_refused(log: LabelLog) -> None:
    event = label("a", event_id="1")
    assert log.add([event, event]) == 1
    assert log.add([label("a", event_id="1", who="other")]) == 0
    with pytest.raises(UsageError, match="known with other content"):
        log.add([label("b"), label("a", "negative", event_id="1")])
    assert log.labels("owl").train == {"a": "positive"}  # all or none: b is not there


def test_two_processes_and_many_threads_may_write(log: LabelLog, tmp_path: Path) -> None:
    def write(name: str) -> None:
        with LabelLog.open(tmp_path) as own:
            for ix in range(10):
                own.add([label(f"{name}{ix}")])
                log.add([label(f"{name}-{ix}")])

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, "abcd"))
    assert len(log.labels("owl").train) == 80


def test_events_can_be_followed(log: LabelLog) -> None:
    log.add([label("a")])
    last = max(seq for seq, _ in log.events())
    log.add([label("b")])
    assert [event.item for _, event in log.events("owl", after=last)] == ["b"]


SCRIPT = """
import sys
from pathlib import Path
from narrowcast.mine.labels import LabelEvent, LabelLog
log, run = LabelLog.open(Path(sys.argv[1])), sys.argv[2]
for ix in range(10**9):
    log.add([LabelEvent(category="owl", item=f"{run}-{ix}", value="positive")])
    print(ix, flush=True)
"""


def killed_writer(folder: Path, run: int, num: int) -> int:
    """Start a writer, kill it after about `num` labels; how many it was told are kept."""
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(folder), str(run)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(num):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    acknowledged = num + len(process.stdout.read().split("\n")) - 1
    process.wait()
    process.stdout.close()
    return acknowledged


def test_kill_9_loses_no_acknowledged_label(log: LabelLog, tmp_path: Path) -> None:
    """Five kills; benchmarks/label_log.py has two hundred."""
    rng = random.Random(0)
    for run in range(5):
        acknowledged = killed_writer(tmp_path, run, rng.randint(1, 40))
        kept = {item for item in log.labels("owl").train if item.startswith(f"{run}-")}
        assert {f"{run}-{ix}" for ix in range(acknowledged)} <= kept
        assert len(kept) <= acknowledged + 1


@pytest.mark.parametrize("name", ["", " owl", "a/b", "..", ".owl", "c:\\owl", "two\nlines", "a" * 201])
def test_names_that_no_category_can_have(log: LabelLog, name: str) -> None:
    with pytest.raises(UsageError, match="category"):
        log.begin(name)


def test_categories_are_known_by_name(log: LabelLog) -> None:
    log.begin("straße 北京")
    assert log.categories() == ["owl", "straße 北京"]
    with pytest.raises(UsageError, match=r"no category 'owls' \(did you mean 'owl'\?\): owl"):
        log.labels("owls")
    with pytest.raises(UsageError, match="is there already"):
        log.begin("owl")


@pytest.mark.parametrize(
    "wrong",
    [
        {"value": "maybe", "item": "a"},
        {"value": "positive"},
        {"kind": "undo"},
        {"value": "positive", "item": "a", "event_id": ""},
    ],
    ids=str,
)
def test_events_that_say_nothing(wrong: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        LabelEvent(category="owl", **wrong)  # type: ignore[arg-type]


def test_a_log_that_is_none(tmp_path: Path) -> None:
    with LabelLog.open(tmp_path) as log, pytest.raises(UsageError, match="to take back"):
        log.add([LabelEvent(category="owl", kind="undo", undoes="nothing")])
    (tmp_path / "labels.sqlite").write_bytes(b"words" * 2000)
    for beside in tmp_path.glob("labels.sqlite-*"):
        beside.unlink()
    with pytest.raises(StorageError, match="not a label log, or damaged"):
        LabelLog.open(tmp_path)
    with pytest.raises(StorageError, match="cannot be written"):
        LabelLog.open(tmp_path / "missing")
