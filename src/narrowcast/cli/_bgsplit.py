"""What `narrowcast bgsplit` does, apart from parsing."""

import json
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import typer

from narrowcast.bgsplit import auxiliary, keep, report
from narrowcast.bgsplit.auxiliary import AuxiliaryLabels
from narrowcast.bgsplit.compare import EpochsConfig, RunResult, score
from narrowcast.bgsplit.compare import compare as run_compare
from narrowcast.bgsplit.evaluate import Evaluation
from narrowcast.bgsplit.method import MethodConfig, find_method
from narrowcast.bgsplit.prepare import Workbench, prepare
from narrowcast.bgsplit.train import train as run_train
from narrowcast.cli._interrupt import Stop, stop_on_signal
from narrowcast.cli._progress import Progress
from narrowcast.core.config import difference, from_dict, read_recipe, to_dict
from narrowcast.core.errors import ConfigError, UsageError
from narrowcast.core.files import write_json, write_text
from narrowcast.core.runtime import describe, pick_device, seed_everything
from narrowcast.core.training import TrainConfig
from narrowcast.core.workers import joined
from narrowcast.data.background import (
    BackgroundConfig,
    BackgroundSplit,
    draw_split,
    load_split,
    published_draws,
    save_split,
)
from narrowcast.data.image_table import ImageTable, split_table
from narrowcast.data.published import open_any
from narrowcast.models.backbones import load_backbone

SECTIONS = ("background", "method", "epochs", "training")
# ours, chosen on draws that are not scored; see benchmarks/bgsplit.py
TRAINING = TrainConfig(batch_size=256, optimizer="sgd", learning_rate=0.01, average=0.0, checkpoint_every=200)
HELD_OUT = 0.3  # of each class, where the data have no split of their own
PUBLISHED: dict[str, dict[str, Any]] = {  # section 5.4.6
    "inaturalist-bg": {"shared": 100, "nested": (1100, 5089), "parts": 10, "singles": 10},
    "places-bg": {"shared": 50, "nested": (), "parts": 5, "singles": 10},
}
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Setting:
    """What train and compare have in common."""

    data: Path
    backbone: str
    trained_parts: int
    aux: str
    device: str
    recipe: Path | None
    settings: list[str]

    def sections(self) -> dict[str, dict[str, Any]]:
        """The recipe's sections; settings that would have no effect are refused."""
        found = read_recipe(self.recipe, self.settings, known=SECTIONS)
        for name in ("steps", "warmup_steps"):
            if name in found.get("training", {}):
                raise ConfigError(f"[training] {name} has no effect: it follows from [epochs]; set epochs.epochs")
        return found


def split(
    data: Path,
    out: Path,
    categories: str,
    *,
    positives: int,
    background_share: float,
    draw: int,
    published: str,
    seed: int,
    as_json: bool,
) -> None:
    """Draw one split, or all of a published data set's."""
    table = open_table(data)
    config = BackgroundConfig(
        positives=positives, background_share=background_share, draw=draw, seed=seed, **_categories(categories)
    )
    if published:
        made = {
            name: _published(table, published, config, out, name, lists)
            for name, lists in _lists(table, published, seed)
        }
        _answer(made, as_json, f"{out}: splits for N = {', '.join(made)}")
        return
    drawn = draw_split(table, config)
    save_split(out, drawn, table)
    statistics = drawn.statistics()
    _answer(statistics, as_json, _statistics(out, statistics))


def _lists(table: ImageTable, published: str, seed: int) -> Any:
    if published not in PUBLISHED:
        raise UsageError(f"--published {published}: expected one of {', '.join(PUBLISHED)}")
    return published_draws(table.classes, seed=seed, **PUBLISHED[published]).items()


def _published(
    table: ImageTable, published: str, config: BackgroundConfig, out: Path, name: str, lists: list[tuple[str, ...]]
) -> list[dict[str, Any]]:
    statistics = []
    shared = tuple(
        published_draws(table.classes, seed=config.seed, **PUBLISHED[published])[str(PUBLISHED[published]["shared"])][0]
    )
    for ix, names in enumerate(lists):
        drawn = draw_split(table, replace(config, categories=names))
        drawn = replace(drawn, evaluated=tuple(one for one in names if one in shared))
        save_split(out / f"n{name}-{ix}.json", drawn, table)
        statistics.append({key: value for key, value in drawn.statistics().items() if key != "categories"})
    return statistics


def _statistics(out: Path, statistics: dict[str, Any]) -> str:
    lines = [f"{out}: {statistics['background']:.2%} of {statistics['train']} training images are background"]
    lines += [
        f"  {name}: {one['train']} to train, {one['test']} to test" for name, one in statistics["categories"].items()
    ]
    return "\n".join(lines)


def _categories(text: str) -> dict[str, Any]:
    """A number of categories, or their names."""
    if text.strip().isdecimal():
        return {"num_categories": int(text)}
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise UsageError(f"--categories {text}: expected a number or names")
    return {"categories": names, "num_categories": len(names)}


def open_table(data: Path) -> ImageTable:
    """The table of `data`, with a split of its own where it has none."""
    return split_table(open_any(data), held_out=HELD_OUT, seed=0)


def aux(data: Path, out: Path, labels: str, *, num: int, backbone: str, seed: int, device: str, as_json: bool) -> None:
    """Make auxiliary labels, or bring those of a file into the same form."""
    table = open_table(data)
    with stop_on_signal("these images") as stop:
        made = _labels(table, out, labels, num, backbone, seed, device, stop)
    auxiliary.save_labels(out, made, table)
    write_text(out / "report.html", report.auxiliary_page(made, table, seed=seed))
    note = {"source": made.source, "num": made.num, "num_used": made.num_used, "largest_share": made.largest_share}
    _answer(
        note, as_json, f"{out}: {made.num_used} categories, the largest {made.largest_share:.1%} of {len(table)} images"
    )


def _labels(
    table: ImageTable, out: Path, labels: str, num: int, backbone: str, seed: int, device: str, stop: Stop
) -> AuxiliaryLabels:
    if labels == "random":
        return auxiliary.random_labels(len(table), num=num, seed=seed)
    if labels not in ("classifier", "clusters"):
        return auxiliary.load_labels(Path(labels), table)
    network: Any = load_backbone(backbone, device=pick_device(device))
    cache, reports = auxiliary.keep_features(out / "features", table, network)
    with Progress("features") as progress:
        for one in reports:
            progress.show(one.done, one.total, "")
            stop.exit()
    features = np.asarray(cache.read("features"))
    if labels == "clusters":
        train = np.flatnonzero(np.array(table.split) == "train")
        return auxiliary.cluster_labels(features, num=num, seed=seed, fit_rows=train)
    if getattr(network, "head", None) is None:
        raise UsageError(f"--backbone {backbone}: has no classifier; use --labels clusters")
    return auxiliary.classifier_labels(features, network.head, source=network.key)


def train(setting: Setting, split: Path, out: Path, name: str, *, seed: int, as_json: bool) -> None:
    """Train, keep the classifier, score it."""
    sections = setting.sections()
    method = from_dict(MethodConfig, to_dict(find_method(name)) | sections.get("method", {}), where="[method]")
    device = pick_device(setting.device)
    with joined(device), stop_on_signal("the next report") as stop:
        bench, labels = _bench(setting, out / "cache", [method], device, stop)
        drawn = load_split(split, bench.table)
        training, epochs = _training(sections)
        config = {"method": to_dict(method), "training": to_dict(training), "epochs": to_dict(epochs), "seed": seed}
        made_by = {"backbone": setting.backbone, "trained_parts": setting.trained_parts, "method": name}
        _sign(out, config | made_by, device)
        seed_everything(seed)
        task = bench.task(drawn, labels, is_own=setting.aux == "own")
        steps = epochs.steps(training, num_images=len(drawn.train_rows))
        classifier = _drain(run_train(task, method, steps, folder=out, seed=seed), f"train {name}", stop)
    keep.save_classifier(out / keep.CLASSIFIER, classifier, categories=drawn.categories, made_by=made_by)
    _write_evaluation(out, score(classifier, task), f"{name} on {setting.data.name}", as_json)


def evaluate(run: Path, data: Path, split: Path, *, device: str, as_json: bool) -> None:
    """Score a classifier that `train` kept."""
    from narrowcast.core import checkpoint

    _, meta = checkpoint.load(run / keep.CLASSIFIER)
    made_by = meta.get("made_by", {})
    setting = Setting(data, made_by["backbone"], made_by["trained_parts"], "own", device, None, [])
    with stop_on_signal("these images") as stop:
        bench, _ = _bench(setting, run / "cache", [], pick_device(device), stop)
    classifier, _, _ = keep.load_classifier(run / keep.CLASSIFIER, bench.trunk)
    task = bench.task(load_split(split, bench.table), None)
    _write_evaluation(run, score(classifier, task), f"{made_by['method']} on {data.name}", as_json)


def _write_evaluation(out: Path, evaluation: Evaluation, title: str, as_json: bool) -> None:
    write_json(out / "summary.json", evaluation.to_json())
    write_text(out / "report.html", report.evaluation_page(evaluation, title=title, note=str(out.name)))
    text = "\n".join(f"  {one.category}: AP {one.ap:.3f}, F1 {one.f1:.3f}" for one in evaluation.categories)
    _answer(evaluation.to_json(), as_json, f"mAP {evaluation.map:.3f}, mean F1 {evaluation.f1:.3f}\n{text}")


def compare(
    setting: Setting,
    out: Path,
    categories: str,
    *,
    positives: int,
    methods: str,
    seeds: int,
    draws: int,
    as_json: bool,
) -> None:
    """Run the table of methods and write its page."""
    sections = setting.sections()
    if seeds < 1 or draws < 1:
        raise UsageError("--seeds and --draws must be positive")
    changed = sections.get("method", {})
    chosen = {
        name: from_dict(MethodConfig, to_dict(find_method(name)) | changed, where="[method]")
        for name in dict.fromkeys(one.strip() for one in methods.split(","))
    }
    plain = BackgroundConfig(positives=positives, **_categories(categories))
    background = from_dict(BackgroundConfig, to_dict(plain) | sections.get("background", {}), where="[background]")
    training, epochs = _training(sections)
    device = pick_device(setting.device)
    with stop_on_signal("the next report") as stop:
        bench, labels = _bench(setting, out / "cache", list(chosen.values()), device, stop)
        config = {"data": bench.table.key(), "background": to_dict(background), "training": to_dict(training)}
        config |= {"epochs": to_dict(epochs), "backbone": setting.backbone, "trained_parts": setting.trained_parts}
        _sign(out, config | {"aux": setting.aux, "changed": changed}, device)

        def task_of(drawn: BackgroundSplit) -> Any:
            return bench.task(drawn, labels, is_own=setting.aux == "own")

        reports = run_compare(
            bench.table,
            background,
            chosen,
            task_of=task_of,
            training=training,
            epochs=epochs,
            draws=range(draws),
            seeds=range(seeds),
            folder=out,
        )
        results = _drain(reports, "compare", stop)
    _show_comparison(out, results, setting, as_json)


def _show_comparison(out: Path, results: list[RunResult], setting: Setting, as_json: bool) -> None:
    note = f"{setting.backbone}, last {setting.trained_parts} parts trained"
    page = report.compare_page(results, title=f"Methods on {setting.data.name}", note=note)
    write_text(out / "report.html", page)
    lines = [f"{out / 'report.html'}"]
    for name in dict.fromkeys(one.method for one in results):
        own = [one for one in results if one.method == name]
        maps, f1s = np.mean([one.map for one in own]), np.mean([one.f1 for one in own])
        lines.append(f"  {name}: mAP {maps:.3f}, mean F1 {f1s:.3f} ({len(own)} runs)")
    _answer([one.to_json() for one in results], as_json, "\n".join(lines))


def _training(sections: dict[str, dict[str, Any]]) -> tuple[TrainConfig, EpochsConfig]:
    training = from_dict(TrainConfig, to_dict(TRAINING) | sections.get("training", {}), where="[training]")
    return training, from_dict(EpochsConfig, sections.get("epochs", {}), where="[epochs]")


def _bench(
    setting: Setting, cache: Path, methods: list[MethodConfig], device: Any, stop: Stop
) -> tuple[Workbench, AuxiliaryLabels | None]:
    """The workbench, and the auxiliary labels if a method needs them."""
    table = open_table(setting.data)
    network: Any = load_backbone(setting.backbone, device=device)
    bench = _drain(prepare(table, network, trained_parts=setting.trained_parts, cache=cache), "features", stop)
    if not any(method.auxiliary_weight for method in methods):
        return bench, None
    if setting.aux != "own":
        return bench, auxiliary.load_labels(Path(setting.aux), table)
    if bench.head is None:
        raise UsageError(f"--backbone {setting.backbone}: has no classifier; make labels with narrowcast bgsplit aux")
    features = bench.feed.features(np.arange(len(table))).numpy()
    return bench, auxiliary.classifier_labels(features, bench.head, source="own")


def _drain(reports: Generator[Any, None, T], label: str, stop: Stop) -> T:
    """The value of a generator of reports, whose progress is shown; ends the command where that is asked for."""
    with Progress(label) as progress, closing(reports):
        while True:
            try:
                one = next(reports)
            except StopIteration as stopped:
                return stopped.value
            loss = getattr(one, "loss", None)
            text = f"{getattr(one, 'run', '')} loss {loss:.3f}".strip() if loss is not None else ""
            progress.show(one.done, one.total, text)
            if stop.is_asked and one.done < one.total:
                reports.close()
                stop.exit()


def _sign(out: Path, config: dict[str, Any], device: Any) -> None:
    """Write `run.json`; a folder of other settings is refused."""
    path = out / "run.json"
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8")).get("config", {})
        changed = difference(before, json.loads(json.dumps(config)))
        if changed is not None:
            raise UsageError(f"{out}: was begun with {changed}; choose another --out")
        return
    write_json(path, {"config": config} | describe(device))


def _answer(value: Any, as_json: bool, text: str) -> None:
    typer.echo(json.dumps(value) if as_json else text)
