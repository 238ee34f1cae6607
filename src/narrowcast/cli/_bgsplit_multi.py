"""What `narrowcast bgsplit` does with images that may show several categories, apart from parsing."""

from pathlib import Path

from torch import nn

from narrowcast.bgsplit import keep
from narrowcast.bgsplit.method import MethodConfig, find_method
from narrowcast.bgsplit.multi_label import MultiTask, has_multi_label, score_multi_label, train_multi_label
from narrowcast.bgsplit.prepare import Workbench
from narrowcast.bgsplit.train import PseudoLabels
from narrowcast.cli._bgsplit import HELD_OUT
from narrowcast.cli._bgsplit_train import (
    TRAINING,
    Setting,
    adapting_of,
    bench_of,
    shown,
    sign,
    training_of,
    write_evaluation,
)
from narrowcast.cli._interrupt import stop_on_signal
from narrowcast.core.config import from_dict, to_dict
from narrowcast.core.errors import UsageError
from narrowcast.core.runtime import pick_device, seed_everything
from narrowcast.core.workers import joined
from narrowcast.data.known_labels import KnownLabels, open_known


def train(setting: Setting, out: Path, name: str, *, seed: int, as_json: bool) -> None:
    """Train on the known labels of a CSV file, keep the classifier, score it."""
    sections = setting.sections()
    if "background" in sections:
        raise UsageError("[background] has no effect with --multi-label: the CSV says what is what; remove it")
    method = from_dict(MethodConfig, to_dict(find_method(name)) | sections.get("method", {}), where="[method]")
    if not has_multi_label(method):
        raise UsageError(f"--method {name}: has no multi-label form; take bgsplit or clamp (see docs/bgsplit.md)")
    device = pick_device(setting.device)
    training, epochs = training_of(sections)
    known = _known(setting.data)
    with joined(device) as own, stop_on_signal("the next report") as stop:
        bench, labels = bench_of(setting, known.table, out, [method], device, stop, training)
        config = {"method": to_dict(method), "training": to_dict(training), "epochs": to_dict(epochs), "seed": seed}
        made_by = {"backbone": setting.backbone, "trained_parts": setting.trained_parts, "method": name}
        made_by |= {"adapt": setting.adapt, "multi_label": True}
        sign(out, config | made_by | {"data": known.table.key()} | adapting_of(sections), device)
        seed_everything(seed)
        pseudo = None if labels is None else PseudoLabels(labels.labels, labels.num, _head(setting, bench, labels.num))
        task = MultiTask(bench, known, pseudo)
        steps = epochs.steps(training, num_images=len(known.rows("train")))
        classifier = shown(train_multi_label(task, method, steps, folder=out, seed=seed), f"train {name}", stop)
    if own.is_first:
        keep.save_classifier(out / keep.CLASSIFIER, classifier, categories=known.categories, made_by=made_by)
        write_evaluation(out, score_multi_label(classifier, bench, known), f"{name} on {setting.data.name}", as_json)


def _head(setting: Setting, bench: Workbench, num: int) -> nn.Linear | None:
    is_own = setting.aux == "own" and bench.head is not None and bench.head.out_features == num
    return bench.head if is_own else None


def evaluate(setting: Setting, run: Path, name: str, *, as_json: bool) -> None:
    """Score a classifier that `train` kept."""
    known = _known(setting.data)
    with stop_on_signal("these images") as stop:
        bench, _ = bench_of(setting, known.table, run, [], pick_device(setting.device), stop, TRAINING)
    classifier, categories, _ = keep.load_classifier(run / keep.CLASSIFIER, bench.trunk)
    if categories != known.categories:
        raise UsageError(f"{setting.data}: has {', '.join(known.categories)}; {run} knows {', '.join(categories)}")
    write_evaluation(run, score_multi_label(classifier, bench, known), f"{name} on {setting.data.name}", as_json)


def _known(data: Path) -> KnownLabels:
    if data.suffix.lower() != ".csv":
        raise UsageError(f"--data {data}: with --multi-label a CSV file (path and a column for each category)")
    return open_known(data, held_out=HELD_OUT, seed=0)
