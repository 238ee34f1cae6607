"""What `narrowcast mine simulate` does, apart from parsing."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

import typer

from narrowcast.cli._interrupt import Stop, stop_on_signal
from narrowcast.cli._progress import Progress
from narrowcast.core.config import difference
from narrowcast.core.errors import ConfigError, UsageError
from narrowcast.core.files import write_json
from narrowcast.core.runtime import describe, pick_device
from narrowcast.mine.pool import Pool
from narrowcast.mine.report import REPORT, signed, write_report
from narrowcast.mine.simulate import (
    SUPERVISED,
    Curve,
    SimulateConfig,
    Truth,
    check_methods,
    pick_categories,
    read_truth,
    simulate,
)
from narrowcast.mine.simulate_updates import simulate_updates
from narrowcast.mine.summary import means, paired, read_summary, strategies_of, write_summary
from narrowcast.mine.updates import UpdateConfig, beside

RUN = "run.json"
SAVE_EVERY = 20  # runs; a summary is written whole


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulateRequest:
    """The options of the command."""

    pool: Path
    truth: Path
    out: Path
    categories: str
    strategies: str
    num_seeds: int
    num_labels: int
    batch: int
    features: str | None
    update_every: int = 0
    adapt: float = 0.0
    teacher: str = "own"
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.num_seeds < 1:
            raise ConfigError(f"--seeds {self.num_seeds}: must be positive")
        if self.update_every < 0 or self.update_every % self.batch:
            raise ConfigError(f"--update-every {self.update_every}: must be a multiple of --batch, {self.batch}")
        if not self.update_every and (self.adapt or self.teacher != "own"):
            raise ConfigError("--adapt and --teacher have no effect without --update-every")


def run(request: SimulateRequest, *, as_json: bool) -> None:
    """Simulate what is not in the folder yet, and write the summary and the page."""
    names = [name.strip() for name in request.strategies.split(",") if name.strip()]
    check_methods(names)
    config = SimulateConfig(num_labels=request.num_labels, batch=request.batch)
    pool = Pool.open(request.pool)
    truth = read_truth(request.truth, pool, test_share=config.test_share)
    categories = pick_categories(truth, request.categories, config=config)
    version = pool.store(request.features).note.name
    signed_by = {"pool": str(request.pool), "truth": str(request.truth), "features": version}
    learned = {name: getattr(request, name) for name in ("update_every", "adapt", "teacher")}
    _sign(request.out, signed_by | asdict(config) | (learned if request.update_every else {}))
    features = pool.features(version)
    before = {(curve.strategy, curve.category, curve.seed): curve for curve in read_summary(request.out)}
    curves = dict(before)
    seeds = range(request.num_seeds)
    total = len(names) * len(categories) * len(seeds) * (2 if request.update_every else 1)
    runs: Iterator[Curve] = simulate(
        features, truth, strategies=names, categories=categories, seeds=seeds, config=config, done=before
    )
    with stop_on_signal("this run") as stop, Progress("simulate") as progress:
        if request.update_every:
            learned_runs = _learned(request, pool, version, truth, names, categories, config, before, stop)
            runs = chain(runs, learned_runs)
        for number, curve in enumerate(runs, 1):
            curves[curve.strategy, curve.category, curve.seed] = curve
            progress.show(number, total, f"{curve.strategy}, {curve.category}")
            if len(curves) > len(before) and number % SAVE_EVERY == 0:
                write_summary(request.out, list(curves.values()))
            if stop.is_asked:
                break
    found = list(curves.values())
    write_summary(request.out, found)
    subtitle = f"{len(categories)} categories in {len(pool)} photos, {len(seeds)} seeds; features {version}"
    write_report(request.out, found, subtitle=subtitle, against=names[0])
    _answer(request.out, found, config.num_labels, as_json=as_json)
    stop.exit()


def _learned(
    request: SimulateRequest,
    pool: Pool,
    version: str,
    truth: Truth,
    names: list[str],
    categories: list[str],
    config: SimulateConfig,
    before: dict[tuple[str, str, int], Curve],
    stop: Stop,
) -> Iterator[Curve]:
    """The same strategies with features that are learned meanwhile, all categories together."""
    from narrowcast.cli import _mine_learn

    setting = _mine_learn.LearnSetting(adapt=request.adapt, teacher=request.teacher, device=request.device)
    root = _mine_learn.root_of(pool, version)
    table = _mine_learn.pool_table(pool, truth.is_test)
    bench, pseudo = _mine_learn.workbench(pool, root, setting, pick_device(request.device), stop, table)
    frozen = pool.features(root.name)
    for name in names:
        if name == SUPERVISED:
            continue
        yield from simulate_updates(
            pool.features(version),
            truth,
            pool.items(),
            strategy=name,
            categories=categories,
            seeds=range(request.num_seeds),
            config=config,
            fit_of=lambda seed: beside(
                frozen, _mine_learn.learner(bench, pseudo, setting, request.out / "fits", seed=seed)
            ),
            updates=UpdateConfig(),
            queries=request.update_every // config.batch,
            done=before,
        )


def _sign(out: Path, config: Mapping[str, object]) -> None:
    """Write down what this folder's runs are of; another simulation is refused."""
    path, before = out / RUN, {}
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8")).get("config", {})
        changed = difference(before, {name: value for name, value in config.items() if name in before})
        if changed is not None:
            raise UsageError(f"{out}: holds a simulation with {changed}; choose another --out")
    write_json(path, {"config": before | dict(config)} | describe(pick_device("cpu")))


def _answer(out: Path, curves: list[Curve], num_labels: int, *, as_json: bool) -> None:
    names = strategies_of(curves)
    rows = [
        {
            "strategy": name,
            "ap": round(means(curves, name, "ap", num_labels).value, 4),
            "found": round(means(curves, name, "found", num_labels).value, 4),
            "ap_against_first": signed(paired(curves, name, names[0], "ap", num_labels)) if name != names[0] else "",
        }
        for name in names
    ]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    for row in rows:
        typer.echo(
            f"{row['strategy']}: AP {row['ap']:.3f}, {row['found']:.1%} found at {num_labels} labels"
            + (f"; AP against {names[0]} {row['ap_against_first']}" if row["ap_against_first"] else "")
        )
    typer.echo(f"{out / REPORT}")
