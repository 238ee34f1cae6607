"""The same task in LightlyStudio, with the same features: its few-shot classifier's rounds, as its page asks them.

Runs in an environment of its own, where lightly-studio is installed and narrowcast is not:

python benchmarks/label_task.py --photos demo/photos --features demo.npz  # here
THERE/bin/python benchmarks/label_task_lightly.py demo/photos demo.npz > benchmarks/results/label-task-lightly.json
"""

import json
import random
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

GIVEN, FIND, MOST_ROUNDS, SEEDS, RARE = 3, 20, 30, (0, 1, 2), "chelsea"


def main() -> int:
    """Fill its database with the features, then run the rounds; the result on stdout."""
    photos, (seconds, studio) = Path(sys.argv[1]), timed(lambda: __import__("lightly_studio"))
    embedder = given(studio, np.load(sys.argv[2]))
    with tempfile.TemporaryDirectory() as folder:
        studio.database.db_manager.connect(db_file=str(Path(folder) / "studio.db"), cleanup_existing=True)
        studio.register_default_embedder(embedder=embedder)
        dataset = studio.ImageDataset.create()
        add_s, _ = timed(lambda: dataset.add_images_from_path(path=str(photos)))
        runs = [rounds(studio, dataset, seed) for seed in SEEDS]
    version = metadata.version("lightly-studio")
    print(json.dumps({"version": version, "import_s": seconds, "add_s": add_s, "runs": runs}, indent=2))
    return 0


def timed(what: Any) -> tuple[float, Any]:
    began = time.perf_counter()
    found = what()
    return round(time.perf_counter() - began, 2), found


def given(studio: Any, kept: Any) -> Any:
    """Its interface to features that are there already."""
    from lightly_studio_serve.embedder import ImagePathEmbedder

    rows = {Path(path).name: row for path, row in zip(kept["paths"].tolist(), kept["features"], strict=True)}

    class Given(ImagePathEmbedder):
        def embedding_space_spec(self) -> Any:
            return studio.EmbeddingSpaceSpec(space_key="given@1", dimension=kept["features"].shape[1])

        def embed_images(self, paths: list[str]) -> Any:
            found = np.stack([rows[Path(path).name].astype(np.float32) for path in paths])
            return studio.EmbeddingResult(embeddings=found, kept_indices=list(range(len(paths))))

    return Given()


def rounds(studio: Any, dataset: Any, seed: int) -> dict[str, Any]:
    """Three photos of what is rare, its ten random negatives, then its rounds of at most twenty photos.

    It shows up to ten that it takes for positive and ten that it does not, ticked accordingly; a person clicks the
    wrong ones, and once to go on.
    """
    from lightly_studio.few_shot_classifier.classifier_manager import ClassifierManagerProvider

    random.seed(seed)
    manager, collection = ClassifierManagerProvider.get_classifier_manager(), dataset.collection_id
    names = {sample.sample_id: Path(sample.file_name).name for sample in dataset}
    rare = sorted((one for one, name in names.items() if name.startswith(RARE)), key=str)
    begun = random.sample(rare, GIVEN)
    seen, clicks, found, curve = 0, GIVEN, set(begun), []
    with studio.database.db_manager.session() as session:
        at = {"session": session, "collection_id": collection}
        negative = [one.sample_id for one in manager.provide_negative_samples(selected_samples=begun, **at)]
        entry = manager.create_classifier(name=f"rare-{seed}", class_list=["positive", "negative"], **at)
        key = entry.classifier_id
        manager.update_classifiers_annotations(key, {"positive": begun, "negative": negative})
        seen, began = len(negative), time.perf_counter()
        while len(found) < GIVEN + FIND and len(curve) < MOST_ROUNDS:
            manager.train_classifier(session=session, classifier_id=key)
            shown = manager.get_samples_for_fine_tuning(classifier_id=key, **at)
            both = shown["positive"] + shown["negative"]
            told = {
                "positive": [one for one in both if one in rare],
                "negative": [one for one in both if one not in rare],
            }
            clicks += 1 + len(set(shown["positive"]) ^ set(told["positive"]))
            seen, found = seen + len(both), found | set(told["positive"])
            manager.update_classifiers_annotations(key, told)
            curve.append({"looked_at": seen, "clicks": clicks, "found": len(found) - GIVEN})
    return {"seed": seed, "rounds": curve, "round_s": round((time.perf_counter() - began) / len(curve), 2)}


if __name__ == "__main__":
    sys.exit(main())
