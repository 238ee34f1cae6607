"""Do learned features find and tell a category from fewer labels, at a prevalence of 0.1%? Simulated.

Twenty classes of Tiny ImageNet, each with 20 photos in a pool of 20,144: Caltech-101, Tiny ImageNet's train and the
ImageNet sample. All photos are seen at --size; the teacher sees them at --teacher. Features are learned for all
categories together after 50 and after 100 labels each, from a trunk that was adapted to the teacher's answers, and kept
beside the frozen ones. Curves: frozen; learned and promoted where they win on labels set aside (`+updates`); learned
and always promoted (`+always`); frozen at the teacher's size (`+larger`), for those who can afford it. --adapt 0 leaves
the adaptation out, --teacher own lets the trunk's own answers split the background; both have their own file. Settings
were chosen on twenty other classes (--tuned). It goes on from --work and from the result that is there.
"""

import json
from argparse import Namespace
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mining
import numpy as np
import record
import torch

from narrowcast.cli._interrupt import Stop
from narrowcast.cli._mine_learn import LearnSetting, learner, pool_table, workbench
from narrowcast.mine.features import normalised
from narrowcast.mine.indexing import index
from narrowcast.mine.pool import Pool
from narrowcast.mine.promotion import Promotion
from narrowcast.mine.simulate import Curve, SimulateConfig, Truth, simulate
from narrowcast.mine.simulate_updates import SUFFIX, as_judged, simulate_updates
from narrowcast.mine.summary import means, paired, strategies_of
from narrowcast.mine.updates import UpdateConfig, beside
from narrowcast.models.backbones import load_backbone

NUM_CATEGORIES, NUM_SEARCHED = 20, 20  # categories, and photos of each among those that are searched
LEFT_OUT_SEED = 7  # which photos of a category are left out of the pool
AT = (0, 20, 50, 100)
STRATEGY = "default"


def main() -> int:
    parser = record.parser(__doc__, threads=1)
    parser.add_argument("--images", type=Path, help="folder of the unpacked archives")
    parser.add_argument("--work", type=Path, default=record.REPOSITORY / "build" / "mining-updates")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--teacher", default="efficientnet-lite0@160")
    parser.add_argument("--adapt", type=float, default=12.0)
    parser.add_argument("--epochs", type=float, default=4.0)
    parser.add_argument(
        "--pseudo", type=int, default=300, help="pseudo-negatives of a category that features learn from"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tuned", action="store_true", help="the classes that settings were chosen on")
    arguments = parser.parse_args()
    device = record.prepare(arguments)
    pool, truth, categories = pool_of(arguments)
    name = name_of(arguments)
    curves = {
        (curve.strategy, curve.category, curve.seed): curve
        for curve in (Curve(**row) for row in record.read(arguments.out, name).get("runs", []))
    }
    for made in runs(arguments, pool, truth, categories, curves, device):
        for curve in made:
            curves[curve.strategy, curve.category, curve.seed] = curve
        result = told(arguments, pool, truth, categories, list(curves.values()))
        record.write(arguments.out, name, result, device=device)
    head = ["strategy", "labels", "runs", "AP", "paired", "±", "found", "paired", "±"]
    print(record.table(head, [row_of(row) for row in result["rows"]]))
    return 0


def name_of(arguments: Namespace) -> str:
    """The result's name: what differs from the recommended recipe is in it."""
    parts = ["mining-updates"]
    parts += [f"{arguments.size}px"] if arguments.size != 64 else []
    parts += ["own"] if arguments.teacher == "own" else []
    parts += ["unadapted"] if not arguments.adapt else []
    return "-".join(parts + (["tuned"] if arguments.tuned else []))


def pool_of(arguments: Namespace) -> tuple[Pool, Truth, list[str]]:
    """The pool without most photos of what is sought, its truth, and the categories."""
    images = arguments.images or record.data() / "unpacked"
    classes = sorted(folder.name for folder in (images / "tiny-imagenet" / "train").iterdir())
    order = np.random.default_rng(mining.TUNED_SEED).permutation([f"tiny {name}" for name in classes]).tolist()
    first = 0 if arguments.tuned else NUM_CATEGORIES
    categories = sorted(order[first : first + (2 if arguments.quick else NUM_CATEGORIES)])
    folder = arguments.work / f"{'tuned' if arguments.tuned else 'scored'}-{arguments.size}.pool"
    if not (folder / "pool.json").exists() or not Pool.open(folder).versions():
        paths = kept_photos(images, categories)
        listed = arguments.work / f"{folder.stem}.txt"
        listed.parent.mkdir(parents=True, exist_ok=True)
        listed.write_text("\n".join(map(str, paths)))
        for _ in index(Pool.create(folder), [listed], load_backbone(f"efficientnet-lite0@{arguments.size}")):
            pass
    pool = Pool.open(folder)
    truth = mining.truth_of(pool, "tiny")
    is_tiny = np.char.startswith(truth.categories, "tiny ")
    return pool, Truth(truth.categories.tolist(), truth.is_test & is_tiny), categories  # all of the others is searched


def kept_photos(images: Path, categories: list[str]) -> list[Path]:
    """All photos of the three data sets, but of each category 20 of those that would be searched."""
    rng = np.random.default_rng(LEFT_OUT_SEED)
    left_out: set[Path] = set()
    for category in categories:
        own = sorted((images / "tiny-imagenet" / "train" / category.removeprefix("tiny ")).iterdir())
        left_out |= {own[ix] for ix in rng.permutation(len(own))[NUM_SEARCHED:]}
    found = [path for name in mining.FOLDERS["rare"] for path in sorted((images / name).rglob("*"))]
    return [path for path in found if path.suffix.lower() in (".jpg", ".jpeg", ".png") and path not in left_out]


def runs(
    arguments: Namespace,
    pool: Pool,
    truth: Truth,
    categories: list[str],
    curves: dict[tuple[str, str, int], Curve],
    device: torch.device,
) -> Iterable[list[Curve]]:
    """The curves of each kind and seed, one after the other."""
    config = SimulateConfig(num_labels=20 if arguments.quick else 100)
    seeds = range(1 if arguments.quick else arguments.seeds)
    common: dict[str, Any] = {"categories": categories, "config": config}
    frozen = pool.features()
    yield list(simulate(frozen, truth, strategies=[STRATEGY], seeds=seeds, done=dict(curves), **common))
    table, setting = pool_table(pool, truth.is_test), setting_of(arguments)
    bench, pseudo = workbench(pool, pool.store().note, setting, device, Stop(), table)
    updates = UpdateConfig(most_pseudo=arguments.pseudo)
    for seed in seeds:
        for kind, decide in (("updates", as_judged), ("always", always)):
            known = {
                (STRATEGY + SUFFIX, category, at): replace(curve, strategy=STRATEGY + SUFFIX)
                for (strategy, category, at), curve in curves.items()
                if strategy == f"{STRATEGY}+{kind}"
            }
            made = simulate_updates(
                frozen,
                truth,
                pool.items(),
                strategy=STRATEGY,
                seeds=[seed],
                fit_of=lambda seed: beside(frozen, learner(bench, pseudo, setting, arguments.work / "fits", seed=seed)),
                updates=updates,
                queries=1 if arguments.quick else 5,
                decide=decide,
                done=known,
                **common,
            )
            yield [replace(curve, strategy=f"{STRATEGY}+{kind}") for curve in made]
    if arguments.teacher != "own":
        larger = np.load(next((pool.path / "trunk").glob("features-*/features.npy")), mmap_mode="r")
        known = {
            (STRATEGY, c, s): replace(curve, strategy=STRATEGY) for (n, c, s), curve in curves.items() if "+l" in n
        }
        made = simulate(normalised(np.array(larger)), truth, strategies=[STRATEGY], seeds=seeds, done=known, **common)
        yield [replace(curve, strategy=f"{STRATEGY}+larger") for curve in made]


def always(promotion: Promotion) -> Promotion:
    """Promoted whatever was found: what the judge saves or costs."""
    return replace(promotion, is_promoted=True)


def setting_of(arguments: Namespace) -> LearnSetting:
    return LearnSetting(epochs=arguments.epochs, adapt=arguments.adapt, teacher=arguments.teacher, device="cpu")


def told(arguments: Namespace, pool: Pool, truth: Truth, categories: list[str], curves: list[Curve]) -> dict[str, Any]:
    """The JSON: settings, means with paired differences to frozen features, every run."""
    rows = []
    for strategy in strategies_of(curves):
        for num in AT:
            row: dict[str, Any] = {"strategy": strategy, "labels": num}
            row["runs"] = sum(curve.strategy == strategy for curve in curves)
            for measure in ("ap", "found"):
                gap = paired(curves, strategy, STRATEGY, measure, num)
                row[measure] = round(means(curves, strategy, measure, num).value, 4)
                row[f"{measure}_paired"] = [None if np.isnan(v) else round(v, 4) for v in (gap.value, gap.error)]
            rows.append(row)
    searched = int((~truth.is_test).sum())
    about = {"backbone": pool.store().note.key, "searched": searched, "prevalence": round(NUM_SEARCHED / searched, 6)}
    learned = {name: getattr(arguments, name) for name in ("teacher", "adapt", "epochs", "pseudo")}
    runs_told = [json.loads(json.dumps(mining.thinned(curve).to_json())) for curve in curves]
    return {"pool": about | {"categories": categories}, "learned": learned, "rows": rows, "runs": runs_told}


def row_of(row: dict[str, Any]) -> list[Any]:
    return [
        row["strategy"],
        row["labels"],
        row["runs"],
        row["ap"],
        *row["ap_paired"],
        row["found"],
        *row["found_paired"],
    ]


if __name__ == "__main__":
    record.main(main)
