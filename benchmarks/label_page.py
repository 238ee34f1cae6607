"""Does the labelling page wait? A million photos behind the real server, a person who labels six photos a second.

python benchmarks/label_page.py
"""

import http.client
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import record
from PIL import Image

from narrowcast.mine.features import FeatureStore, VersionNote, normalised
from narrowcast.mine.labels import GIVEN, LabelEvent, LabelLog
from narrowcast.mine.pool import Pool
from narrowcast.web.label_house import pool_id

DIM, SHARD = 1280, 1024  # as mine index writes them
CATEGORIES, RARE, PULL = 3, 300, 0.35  # positives of each, and how far they lie from the rest
THUMBS = 96  # files that all photos share
SHEETS, SHEETS_UNPREPARED, NUM, THINK_S = 8, 8, 24, 0.15
QUICK = {"photos": 2000, "sheets": 2, "think_s": 0.0}
BARS = {"ack_ms_p95": 50, "next_ready_ms_p95": 300, "next_unready_ms_p95": 1000, "first_page_s": 3, "memory_gb": 3.2}


def main() -> int:
    """Make the pool, label, write the result; 1 where a bar is missed."""
    options = record.parser(__doc__)
    options.add_argument("--num", type=int, default=1_000_000, help="photos")
    options.add_argument("--pool", type=Path, help="keep the pool here, and use it where it is")
    arguments = options.parse_args()
    device = record.prepare(arguments)
    num = QUICK["photos"] if arguments.quick else arguments.num
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.pool or Path(temporary) / "pool"
        if not (folder / "pool.json").exists():
            started = time.perf_counter()
            make_pool(folder, num)
            print(f"made the pool in {time.perf_counter() - started:.0f} s", file=sys.stderr)
        result = measure(folder, threads=arguments.threads, is_quick=arguments.quick)
    measured = {
        name: {"bar": bar, "measured": result[name], "is_met": result[name] <= bar} for name, bar in BARS.items()
    }
    record.write(arguments.out, "label-page", {"photos": num, **result, "bars": measured}, device=device)
    print(
        record.table(["", "bar", "measured"], [[name, row["bar"], row["measured"]] for name, row in measured.items()])
    )
    return 0 if arguments.quick or all(row["is_met"] for row in measured.values()) else 1


def make_pool(folder: Path, num: int) -> None:
    """A pool of random features with planted categories, and a few real photos that stand for all."""
    rng = np.random.default_rng(0)
    files = photos(folder.with_name(folder.name + "-photos"), rng)
    pool = Pool.create(folder)
    store = FeatureStore.create(pool.path, VersionNote(name="planted", key="planted", dim=DIM))
    centres = normalised(rng.normal(size=(CATEGORIES, DIM)))
    planted = rng.permutation(num)[: CATEGORIES * min(RARE, num // 50)].reshape(CATEGORIES, -1)
    member = np.full(num, -1, np.int8)
    for category, places in enumerate(planted):
        member[places] = category
    for shard, start in enumerate(range(0, num, SHARD)):
        here = member[start : start + SHARD]
        rows = normalised(rng.standard_normal((len(here), DIM), np.float32))
        for category in range(CATEGORIES):
            rows[here == category] += PULL * centres[category]
        store.write_shard(shard, rows)
        pool.write_items(shard, [row(ix, files[ix % len(files)]) for ix in range(start, start + len(here))])
    pool.choose("planted")
    items = pool.catalogue
    with LabelLog.open(folder) as log:
        for category, places in enumerate(planted):
            log.begin(f"planted-{category}")
            log.add(
                [
                    LabelEvent(category=f"planted-{category}", item=items.item(ix), value="positive", reason=GIVEN)
                    for ix in places[:5].tolist()
                ]
            )
    np.save(folder / "planted.npy", planted)


def row(ix: int, file: tuple[Path, int, int]) -> dict[str, Any]:
    path, size, mtime = file
    fixed = {"status": "ok", "reason": "", "offset": -1, "width": 640, "height": 480}
    return (
        {"path": str(path), "item": uuid.UUID(int=ix * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128).hex}
        | fixed
        | {
            "size_bytes": size,
            "mtime_ns": mtime,
        }
    )


def photos(folder: Path, rng: np.random.Generator) -> list[tuple[Path, int, int]]:
    """Crops of the two photos that scikit-learn carries."""
    from sklearn.datasets import load_sample_images

    folder.mkdir(parents=True, exist_ok=True)
    images, files = load_sample_images().images, []
    for number in range(THUMBS):
        image = Image.fromarray(images[number % len(images)])
        x, y = rng.integers(0, image.width - 320), rng.integers(0, image.height - 240)
        path = folder / f"{number:03}.jpg"
        content = io.BytesIO()
        image.crop((x, y, x + 320, y + 240)).resize((640, 480)).save(content, "JPEG", quality=88)
        path.write_bytes(content.getvalue())
        files.append((path, path.stat().st_size, path.stat().st_mtime_ns))
    return files


class Page:
    """The page's side of the conversation, over one connection."""

    def __init__(self, port: int, folder: Path, category: str) -> None:
        self.port, self.pool, self.category = port, pool_id(folder), category
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=180)

    def get(self, path: str) -> bytes:
        self._connection.request("GET", path)
        return self._read()

    def post(self, path: str, values: dict[str, Any]) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", "Origin": f"http://127.0.0.1:{self.port}"}
        self._connection.request("POST", f"/api/p/{self.pool}/c/{self.category}/{path}", json.dumps(values), headers)
        return json.loads(self._read())

    def state(self, path: str = "state") -> dict[str, Any]:
        return json.loads(self.get(f"/api/p/{self.pool}/c/{self.category}/{path}"))

    def close(self) -> None:
        self._connection.close()

    def sheet(self) -> dict[str, Any]:
        return self.state(f"sheet?num={NUM}")["sheet"]

    def next(self, sheet: dict[str, Any], mode: str = "mixed") -> dict[str, Any]:
        return self.post("next", {"num": NUM, "mode": mode, "sheet_id": sheet["sheet_id"]})["sheet"]

    def thumbs(self, sheet: dict[str, Any]) -> None:
        for tile in sheet["tiles"]:
            self.get(f"/p/{self.pool}/photo/{tile['item']}/thumb")

    def _read(self) -> bytes:
        answer = self._connection.getresponse()
        content = answer.read()
        assert answer.status == 200, content[:300]
        return content


def start(folder: Path, threads: int) -> tuple[subprocess.Popen[str], int]:
    """The command as a user runs it; its process and port."""
    command = [sys.executable, "-m", "narrowcast", "mine", "label", "--pool", str(folder), "--no-browser"]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(record.REPOSITORY / "src")}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    return process, int(process.stdout.readline().rsplit(":", 1)[1].strip("/\n"))


def end(process: subprocess.Popen[str]) -> None:
    """As Ctrl-C would."""
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 143


def measure(folder: Path, *, threads: int, is_quick: bool) -> dict[str, Any]:
    """Everything, against a server of its own; the second start finds the caches warm."""
    sheets, unprepared = (QUICK["sheets"], QUICK["sheets"]) if is_quick else (SHEETS, SHEETS_UNPREPARED)
    think_s = QUICK["think_s"] if is_quick else THINK_S
    planted = np.load(folder / "planted.npy")
    catalogue = Pool.open(folder).catalogue
    rare = {catalogue.item(ix) for ix in planted[0].tolist()}
    del catalogue
    cold_s, process, page, sheet = first_page(folder, threads)
    until_prepared(page)
    page.close()
    end(process)
    warm_s, process, page, sheet = first_page(folder, threads)
    memory = Memory(process.pid)
    until_prepared(page)
    acks: list[float] = []
    ready, unready, found = [], [], 0
    for number in range(sheets + unprepared):
        is_prepared = number < sheets
        for tile in sheet["tiles"]:
            time.sleep(think_s if is_prepared else 0)
            value = "positive" if tile["item"] in rare else "negative"
            found += value == "positive"
            events = [{"event_id": uuid.uuid4().hex, "item": tile["item"], "value": value, "reason": tile["reason"]}]
            began = time.perf_counter()
            page.post("events", {"events": events})
            if is_prepared:  # nobody types faster than that
                acks.append(time.perf_counter() - began)
        if is_prepared:
            until_prepared(page)
        began = time.perf_counter()
        sheet = page.next(sheet, "mixed" if is_prepared else ("likely", "mixed")[number % 2])
        (ready if is_prepared else unready).append(time.perf_counter() - began)
        page.thumbs(sheet)
    peak = memory.stop()
    page.close()
    end(process)
    return {
        "labels": len(acks),
        "think_s": think_s,
        "found": found,
        "ack_ms_p50": ms(acks, 0.5),
        "ack_ms_p95": ms(acks, 0.95),
        "ack_ms_max": ms(acks, 1),
        "next_ready_ms_p50": ms(ready, 0.5),
        "next_ready_ms_p95": ms(ready, 0.95),
        "next_unready_ms_p50": ms(unready, 0.5),
        "next_unready_ms_p95": ms(unready, 0.95),
        "first_page_s": round(warm_s, 2),
        "first_page_cold_s": round(cold_s, 2),
        "memory_gb": round(peak["rss"] / 1e9, 2),
        "memory_bytes": peak | {"feature_files": sum(path.stat().st_size for path in folder.glob("features/*/*.npy"))},
        "num_threads": threads,
    }


def first_page(folder: Path, threads: int) -> tuple[float, subprocess.Popen[str], Page, dict[str, Any]]:
    """Seconds from the command to the first sheet with its photos."""
    began = time.perf_counter()
    process, port = start(folder, threads)
    page = Page(port, folder, "planted-0")
    page.get(f"/p/{page.pool}/c/planted-0")
    sheet = page.sheet()
    page.thumbs(sheet)
    return time.perf_counter() - began, process, page, sheet


def until_prepared(page: Page) -> None:
    """Until the next sheet is made with what was said last."""
    for _ in range(1200):
        state = page.state()
        if state["ready"] and state["overview"] and state["overview"]["seq"] >= state["seq"]:
            return
        time.sleep(0.05)
    raise TimeoutError("the next sheet was never ready")


class Memory:
    """The server's peak resident memory, looked at ten times a second: all of it, mapped files included.

    Features are read, not mapped: what the system keeps of their files in its cache is in no process's memory. It is
    counted beside, as the size of those files.
    """

    def __init__(self, pid: int) -> None:
        self._process, self._is_done = psutil.Process(pid), threading.Event()
        self._peak = {"rss": 0, "uss": 0}
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._is_done.wait(0.1):
            self._peak["rss"] = max(self._peak["rss"], self._process.memory_info().rss)

    def stop(self) -> dict[str, int]:
        self._is_done.set()
        self._thread.join()
        self._peak["uss"] = self._process.memory_full_info().uss
        return self._peak


def ms(values: Sequence[float], share: float) -> float:
    """A quantile in milliseconds, never below the value that it stands for."""
    ranked = sorted(values)
    return round(1000 * ranked[min(len(ranked) - 1, int(share * len(ranked)))], 2)


if __name__ == "__main__":
    record.main(main)
