"""What `narrowcast bgsplit` does with methods, apart from parsing: train, eval, compare."""

import json
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from narrowcast.bgsplit import auxiliary, keep, report
from narrowcast.bgsplit.adapt import AdaptConfig, adapt
from narrowcast.bgsplit.auxiliary import AuxiliaryLabels
from narrowcast.bgsplit.compare import EpochsConfig, RunResult, score
from narrowcast.bgsplit.compare import compare as run_compare
from narrowcast.bgsplit.evaluate import Evaluation
from narrowcast.bgsplit.method import MethodConfig, find_method
from narrowcast.bgsplit.prepare import Workbench, prepare
from narrowcast.bgsplit.train import train as run_train
from narrowcast.cli._bgsplit import answer, categories_of, open_table
from narrowcast.cli._interrupt import Stop, stop_on_signal
from narrowcast.cli._progress import Progress
from narrowcast.core.config import difference, from_dict, read_recipe, to_dict
from narrowcast.core.errors import ConfigError, UsageError
from narrowcast.core.files import write_json, write_text
from narrowcast.core.runtime import describe, pick_device, seed_everything
from narrowcast.core.training import TrainConfig
from narrowcast.core.workers import joined, one_process, workers
from narrowcast.data.background import BackgroundConfig, BackgroundSplit, load_split
from narrowcast.data.image_table import ImageTable
from narrowcast.models.backbones import load_backbone

SECTIONS = ("background", "adapt", "method", "epochs", "training")
# ours, chosen on draws that are not scored; see benchmarks/bgsplit.py
TRAINING = TrainConfig(batch_size=256, optimizer="sgd", learning_rate=0.01, average=0.0, checkpoint_every=200)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Setting:
    """What train and compare have in common."""

    data: Path
    backbone: str
    trained_parts: int
    aux: str
    adapt: float
    device: str
    recipe: Path | None
    settings: list[str]

    def sections(self) -> dict[str, dict[str, Any]]:
        """The recipe's sections; settings that would have no effect are refused."""
        found = read_recipe(self.recipe, self.settings, known=SECTIONS)
        for name in ("steps", "warmup_steps"):
            if name in found.get("training", {}):
                raise ConfigError(f"[training] {name} has no effect: it follows from [epochs]; set epochs.epochs")
        if "adapt" in found and not self.adapt:
            raise ConfigError("[adapt] has no effect without --adapt")
        return found


def train(setting: Setting, split: Path, out: Path, name: str, *, seed: int, as_json: bool) -> None:
    """Train, keep the classifier, score it."""
    sections = setting.sections()
    method = from_dict(MethodConfig, to_dict(find_method(name)) | sections.get("method", {}), where="[method]")
    device = pick_device(setting.device)
    training, epochs = training_of(sections)
    with joined(device) as own, stop_on_signal("the next report") as stop:
        bench, labels = bench_of(setting, open_table(setting.data), out, [method], device, stop, training)
        drawn = load_split(split, bench.table)
        config = {"method": to_dict(method), "training": to_dict(training), "epochs": to_dict(epochs), "seed": seed}
        made_by = {"backbone": setting.backbone, "trained_parts": setting.trained_parts, "method": name}
        made_by |= {"adapt": setting.adapt}
        sign(out, config | made_by | adapting_of(sections), device)
        seed_everything(seed)
        task = bench.task(drawn, labels, is_own=setting.aux == "own")
        steps = epochs.steps(training, num_images=len(drawn.train_rows))
        classifier = shown(run_train(task, method, steps, folder=out, seed=seed), f"train {name}", stop)
    if own.is_first:
        keep.save_classifier(out / keep.CLASSIFIER, classifier, categories=drawn.categories, made_by=made_by)
        write_evaluation(out, score(classifier, task), f"{name} on {setting.data.name}", as_json)


def evaluate(run: Path, data: Path, split: Path | None, *, device: str, as_json: bool) -> None:
    """Score a classifier that `train` kept."""
    from narrowcast.cli import _bgsplit_multi
    from narrowcast.core import checkpoint

    _, meta = checkpoint.load(run / keep.CLASSIFIER)
    made_by = meta.get("made_by", {})
    setting = Setting(data, made_by["backbone"], made_by["trained_parts"], "own", 0.0, device, None, [])
    if made_by.get("multi_label"):
        if split is not None:
            raise UsageError("--split has no effect on a multi-label run: its CSV says what tests; remove it")
        _bgsplit_multi.evaluate(setting, run, str(made_by["method"]), as_json=as_json)
        return
    if split is None:
        raise UsageError(f"{run}: is scored on the test images of a split; give --split")
    with stop_on_signal("these images") as stop:
        bench, _ = bench_of(setting, open_table(data), run, [], pick_device(device), stop, TRAINING)
    classifier, _, _ = keep.load_classifier(run / keep.CLASSIFIER, bench.trunk)
    task = bench.task(load_split(split, bench.table), None)
    write_evaluation(run, score(classifier, task), f"{made_by['method']} on {data.name}", as_json)


def write_evaluation(out: Path, evaluation: Evaluation, title: str, as_json: bool) -> None:
    """Keep an evaluation and its page, and say it."""
    write_json(out / "summary.json", evaluation.to_json())
    write_text(out / "report.html", report.evaluation_page(evaluation, title=title, note=str(out.name)))
    text = "\n".join(f"  {one.category}: AP {one.ap:.3f}, F1 {one.f1:.3f}" for one in evaluation.categories)
    answer(evaluation.to_json(), as_json, f"mAP {evaluation.map:.3f}, mean F1 {evaluation.f1:.3f}\n{text}")


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
    one_process("narrowcast bgsplit compare")
    if seeds < 1 or draws < 1:
        raise UsageError("--seeds and --draws must be positive")
    changed = sections.get("method", {})
    chosen = {
        name: from_dict(MethodConfig, to_dict(find_method(name)) | changed, where="[method]")
        for name in dict.fromkeys(one.strip() for one in methods.split(","))
    }
    plain = BackgroundConfig(positives=positives, **categories_of(categories))
    background = from_dict(BackgroundConfig, to_dict(plain) | sections.get("background", {}), where="[background]")
    training, epochs = training_of(sections)
    device = pick_device(setting.device)
    with stop_on_signal("the next report") as stop:
        table = open_table(setting.data)
        bench, labels = bench_of(setting, table, out, list(chosen.values()), device, stop, training)
        config = {"data": bench.table.key(), "background": to_dict(background), "training": to_dict(training)}
        config |= {"epochs": to_dict(epochs), "backbone": setting.backbone, "trained_parts": setting.trained_parts}
        config |= {"aux": setting.aux, "adapt": setting.adapt, "changed": changed} | adapting_of(sections)
        sign(out, config, device)

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
        results = shown(reports, "compare", stop)
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
    answer([one.to_json() for one in results], as_json, "\n".join(lines))


def training_of(sections: dict[str, dict[str, Any]]) -> tuple[TrainConfig, EpochsConfig]:
    """The sections `[training]` and `[epochs]` over the defaults of this command."""
    training = from_dict(TrainConfig, to_dict(TRAINING) | sections.get("training", {}), where="[training]")
    return training, from_dict(EpochsConfig, sections.get("epochs", {}), where="[epochs]")


def adapting_of(sections: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The section `[adapt]` as a run's folder keeps it; folders of runs without one have no such key."""
    return {"adapting": sections["adapt"]} if "adapt" in sections else {}


def bench_of(
    setting: Setting,
    table: ImageTable,
    out: Path,
    methods: list[MethodConfig],
    device: Any,
    stop: Stop,
    training: TrainConfig,
) -> tuple[Workbench, AuxiliaryLabels | None]:
    """The workbench, its trunk adapted where that is asked for, and the auxiliary labels if anything needs them."""
    network: Any = load_backbone(setting.backbone, device=device)
    reports = prepare(table, network, trained_parts=setting.trained_parts, cache=out / "cache")
    bench = shown(reports, "features", stop)
    if not setting.adapt and not any(method.auxiliary_weight for method in methods):
        return bench, None
    labels = _auxiliary_of(setting, bench)
    if not setting.adapt:
        return bench, labels
    num_images = sum(part == "train" for part in table.split)
    steps = EpochsConfig(epochs=setting.adapt, warmup_epochs=min(0.5, setting.adapt)).steps(
        replace(training, average=0.0), num_images=num_images
    )
    config = from_dict(AdaptConfig, setting.sections().get("adapt", {}), where="[adapt]")
    adapting = adapt(bench, labels, steps, folder=out / "adapted", is_own=setting.aux == "own", config=config)
    return shown(adapting, "adapt", stop), labels


def _auxiliary_of(setting: Setting, bench: Workbench) -> AuxiliaryLabels:
    if setting.aux != "own":
        return auxiliary.load_labels(Path(setting.aux), bench.table)
    if bench.head is None:
        raise UsageError(f"--backbone {setting.backbone}: has no classifier; make labels with narrowcast bgsplit aux")
    features = bench.feed.features(np.arange(len(bench.table))).numpy()
    return auxiliary.classifier_labels(features, bench.head, source="own")


def shown(reports: Generator[Any, None, T], label: str, stop: Stop) -> T:
    """The value of a generator of reports, whose progress is shown; ends the command where that is asked for."""
    with Progress(label) as progress, closing(reports):
        while True:
            try:
                one = next(reports)
            except StopIteration as stopped:
                return stopped.value
            loss = getattr(one, "loss", None)
            text = f"{getattr(one, 'run', '')} loss {loss:.3f}".strip() if loss is not None else ""
            if workers().is_first:
                progress.show(one.done, one.total, text)
            if stop.is_asked and one.done < one.total:
                reports.close()
                stop.exit()


def sign(out: Path, config: dict[str, Any], device: Any) -> None:
    """Write `run.json`; a folder of other settings is refused."""
    path = out / "run.json"
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8")).get("config", {})
        changed = difference(before, json.loads(json.dumps(config)))
        if changed is not None:
            raise UsageError(f"{out}: was begun with {changed}; choose another --out")
    elif workers().is_first:
        write_json(path, {"config": config} | describe(device))
