"""What `narrowcast mine` does with pools, apart from parsing."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from narrowcast.cli._interrupt import stop_on_signal
from narrowcast.cli._progress import Progress
from narrowcast.core.errors import SourceError, UsageError, did_you_mean
from narrowcast.core.runtime import pick_device
from narrowcast.fleet.indexing import reading_on_ray
from narrowcast.mine import indexing
from narrowcast.mine.bursts import bursts
from narrowcast.mine.labels import LOG, LabelLog
from narrowcast.mine.pool import POOL, Pool
from narrowcast.models.backbones import DEFAULT_BACKBONE, load_backbone

ENGINES = ("threads", "ray")
MOST_REASONS = 20  # lines about photos that cannot be decoded


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Who reads and sees photos, as typed."""

    engine: str
    num_workers: int
    address: str | None
    device: str

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise UsageError(
                f"--engine {self.engine}: expected {' or '.join(ENGINES)}{did_you_mean(self.engine, ENGINES)}"
            )
        if self.num_workers < 0:
            raise UsageError(f"--workers {self.num_workers}: must not be negative")
        if self.address is not None and self.engine != "ray":
            raise UsageError("--address has no effect without --engine ray")

    @contextmanager
    def opened(self, backbone: str) -> Iterator[indexing.Read | None]:
        """What `index` takes as `read`, while the block runs; None: threads."""
        if self.engine == "threads":
            yield None
            return
        num = self.num_workers or max(2, os.cpu_count() or 1)
        with reading_on_ray(backbone, num_workers=num, address=self.address, device=self.device) as read:
            yield read


def index(
    folder: Path, photos: list[Path], backbone: str | None, *, reader: Reader, is_alone: bool, as_json: bool
) -> None:
    """Fill a pool and say what came of it."""
    is_there = (folder / POOL).exists()
    if not photos and not is_there:
        raise UsageError(f"{folder}: is no pool yet; name the photos that belong in it")
    for source in photos:
        if not source.exists():
            raise SourceError(f"{source}: no such file or folder")
    pool = Pool.create(folder)
    if is_alone:
        pool.keep_apart()
    names = pool.versions()
    chosen = pool.store().note.backbone if names else ""
    spec = backbone or chosen or DEFAULT_BACKBONE
    embed = load_backbone(spec, device=pick_device(reader.device))
    report = indexing.IndexReport(0, 0)
    with (
        stop_on_signal("this batch") as stop,
        Progress("index") as progress,
        reader.opened(spec) as read,
        closing(indexing.index(pool, photos, embed, num_workers=reader.num_workers, read=read)) as reports,
    ):
        for report in reports:
            progress.show(report.done, report.total, _text(report), report.per_s)
            if stop.is_asked:
                break
    summary = pool_summary(Pool.open(folder)) | {"new": report.num_ok, "per_s": round(report.per_s, 1)}
    if as_json:
        typer.echo(json.dumps(summary))
    else:
        _print(folder, summary)
    stop.exit()


def _text(report: indexing.IndexReport) -> str:
    parts = [(report.num_duplicate, "duplicate"), (report.num_undecodable, "undecodable")]
    return ", ".join(f"{number} {what}" for number, what in parts if number)


def pool_summary(pool: Pool) -> dict[str, Any]:
    """Counts, features and categories of a pool, as `--json` prints them."""
    categories = []
    if (pool.path / LOG).exists():
        with LabelLog.open(pool.path) as log:
            for name in log.categories():
                labels = log.labels(name)
                counted = Counter(labels.train.values())
                categories.append(
                    {"name": name, "audit": len(labels.audit)}
                    | {value: counted[value] for value in ("positive", "negative", "unsure")}
                )
    rows = pool.table.select(["path", "status", "reason"]).to_pylist()
    problems = [{"path": r["path"], "reason": r["reason"]} for r in rows if r["status"] == "undecodable"]
    return {"photos": pool.counts(), "features": pool.versions(), "categories": categories, "undecodable": problems}


def show(folder: Path, *, with_bursts: bool, as_json: bool) -> None:
    """Print what is in a pool."""
    pool = Pool.open(folder)
    summary = pool_summary(pool)
    if with_bursts:
        found = bursts(pool.features(), pool.paths())
        summary |= {"bursts": {"number": len(found), "photos": sum(map(len, found))}}
    if as_json:
        typer.echo(json.dumps(summary))
    else:
        _print(folder, summary)
        if with_bursts:
            typer.echo(f"  {summary['bursts']['number']} bursts of {summary['bursts']['photos']} photos together")
        for problem in summary["undecodable"][:MOST_REASONS]:
            typer.echo(f"  {problem['path']}: {problem['reason']}")


def _print(folder: Path, summary: dict[str, Any]) -> None:
    counts = summary["photos"]
    typer.echo(
        f"{folder}: {counts['ok']} photos, {counts['duplicate']} duplicates,"
        f" {counts['undecodable']} that cannot be decoded; features: {', '.join(summary['features']) or 'none'}"
    )
    for category in summary["categories"]:
        typer.echo(
            f"  {category['name']}: {category['positive']} positive, {category['negative']} negative,"
            f" {category['unsure']} unsure, {category['audit']} audited"
        )
