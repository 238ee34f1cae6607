"""What `narrowcast bgsplit` does with splits and auxiliary labels, apart from parsing."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import typer

from narrowcast.bgsplit import auxiliary, report
from narrowcast.bgsplit.auxiliary import AuxiliaryLabels
from narrowcast.cli._interrupt import Stop, stop_on_signal
from narrowcast.cli._progress import Progress
from narrowcast.core.errors import UsageError
from narrowcast.core.files import write_text
from narrowcast.core.runtime import pick_device
from narrowcast.data.background import BackgroundConfig, draw_split, published_draws, save_split
from narrowcast.data.image_table import ImageTable, split_table
from narrowcast.data.published import open_any
from narrowcast.models.backbones import load_backbone

HELD_OUT = 0.3  # of each class, where the data have no split of their own
PUBLISHED: dict[str, dict[str, Any]] = {  # section 5.4.6
    "inaturalist-bg": {"shared": 100, "nested": (1100, 5089), "parts": 10, "singles": 10},
    "places-bg": {"shared": 50, "nested": (), "parts": 5, "singles": 10},
}


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
        positives=positives, background_share=background_share, draw=draw, seed=seed, **categories_of(categories)
    )
    if published:
        made = {
            name: _published(table, published, config, out, name, lists)
            for name, lists in _lists(table, published, seed)
        }
        answer(made, as_json, f"{out}: splits for N = {', '.join(made)}")
        return
    drawn = draw_split(table, config)
    save_split(out, drawn, table)
    statistics = drawn.statistics()
    answer(statistics, as_json, _statistics(out, statistics))


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


def categories_of(text: str) -> dict[str, Any]:
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
    answer(
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


def answer(value: Any, as_json: bool, text: str) -> None:
    """The answer on stdout."""
    typer.echo(json.dumps(value) if as_json else text)
