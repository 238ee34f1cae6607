"""What `narrowcast mine` does over many workers, apart from parsing."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import typer

from narrowcast.cli._progress import Progress
from narrowcast.core.errors import UsageError, WeightsError, did_you_mean
from narrowcast.core.files import write_text
from narrowcast.fleet import engines, ranking, shards
from narrowcast.mine.head import load_head

ENGINES = ("processes", "ray")


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Where work runs, as typed."""

    num_workers: int
    engine: str
    address: str | None

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise UsageError(
                f"--engine {self.engine}: expected {' or '.join(ENGINES)}{did_you_mean(self.engine, ENGINES)}"
            )
        if self.num_workers < 1:
            raise UsageError(f"--workers {self.num_workers}: must be positive")
        if self.address is not None and self.engine != "ray":
            raise UsageError("--address has no effect without --engine ray")

    @contextmanager
    def opened(self) -> Iterator[engines.Engine]:
        """The engine, while the block runs."""
        if self.engine == "ray":
            with engines.ray_tasks(self.num_workers, address=self.address) as engine:
                yield engine
        elif self.num_workers > 1:
            with engines.processes(self.num_workers) as engine:
                yield engine
        else:
            yield engines.in_turn


def rank(
    path: Path, pool: str, *, num: int, version: str | None, where: Where, out: Path | None, as_json: bool
) -> None:
    """Rank a pool and print or write the top."""
    if num < 1:
        raise UsageError(f"--top {num}: must be positive")
    head = load_head(path)
    listed = shards.open_shards(pool, version)
    if listed.note.key != head.key:
        raise WeightsError(
            f"{path}: was fitted on features of '{head.key}'; those of {pool} are of '{listed.note.key}'"
        )
    best = None
    with where.opened() as engine, Progress("rank") as progress:
        for report in ranking.rank(listed, head.model, num=num, engine=engine):
            progress.show(report.done, report.total, "")
            best = report.best
    assert best is not None
    found = ranking.named(listed, best)
    if out is not None:
        lines = [f'"{one.path}",{one.score:.9g},{one.item},{one.pool_ix}' for one in found]
        write_text(out, "\n".join(["path,score,item,pool_ix", *lines]) + "\n")
        typer.echo(f"{out}: the first {len(found)} of {listed.num_rows} photos for '{head.category}'")
    elif as_json:
        typer.echo(json.dumps([asdict(one) for one in found]))
    else:
        for one in found:
            typer.echo(f"#{one.pool_ix}\t{one.score:+.4f}\t{one.path}")


def publish(folder: Path, url: str, *, version: str | None, shard_rows: int) -> None:
    """Publish a pool."""
    if shard_rows < 1:
        raise UsageError(f"--rows {shard_rows}: must be positive")
    listed = shards.open_shards(str(folder), version)
    with Progress("publish") as progress:
        for report in shards.publish(listed, url, shard_rows=shard_rows):
            progress.show(report.done, report.total, "")
    typer.echo(f"{url}: {listed.num_rows} photos, features '{listed.note.name}'")
