"""What HydraNets learn beside static networks at equal multiply-adds, with which partition and gate.

On Tiny ImageNet's 100 classes. One recipe for all: 32×32, random crop and flip, AdamW with warm-up and a cosine; the
averaged weights are scored on the val images, on which nothing is chosen. Partitions are made of the features of a
ResNet-14 that the same recipe trained on the same images. A run that is in the JSON is not made again.
"""

import dataclasses
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import record
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from narrowcast.core.config import to_dict
from narrowcast.core.errors import UsageError
from narrowcast.core.runtime import seed_everything
from narrowcast.core.training import TrainConfig, Trainer, sample_numbers
from narrowcast.data.image_table import open_table
from narrowcast.data.image_tensors import ImageTensors, augmented_batches, normalised, read_images
from narrowcast.hydra import families, partition
from narrowcast.hydra.evaluate import evaluate, executed_macs
from narrowcast.hydra.net import HydraNet, hydra_loss
from narrowcast.metrics.cost import count_params
from narrowcast.models.cifar_resnet import CifarResNet

SIZE, BATCH = 32, 128
NAME = "hydra-learning"
Branches = list[int]


def main() -> int:
    parser = record.parser(__doc__, threads=1)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--methods", default="resnet-14,cluster,random,learn,learn-balance,learn-bias,greedy,none")
    parser.add_argument("--data", type=Path, help="folder with train/ and val/, each of class folders")
    parser.add_argument("--work", type=Path, help="folder for checkpoints, from which a killed run goes on")
    arguments = parser.parse_args()
    device = record.prepare(arguments)
    table = open_table(arguments.data or record.data() / "tiny-imagenet")
    train, test = (read_images(table.of_split(split), size=SIZE) for split in ("train", "test"))
    if arguments.quick:
        few = slice(None, None, max(1, len(train) // 100))
        train = ImageTensors(train.images[few], train.labels[few], train.classes)
        arguments.epochs = 1
    result = record.read(arguments.out, NAME) or {"rows": {}}
    result |= recipe(arguments.epochs, len(train), len(test))
    work = arguments.work or Path(tempfile.mkdtemp(prefix="narrowcast-"))
    for seed in map(int, arguments.seeds.split(",")):
        for method in arguments.methods.split(","):
            key = f"{method}/{seed}"
            if key not in result["rows"]:
                result["rows"][key] = run(method, seed, train, test, arguments.epochs, work, device)
                record.write(
                    arguments.out, NAME, {k: v for k, v in result.items() if k != "environment"}, device=device
                )
                print(key, json.dumps(result["rows"][key]), flush=True)
    return 0


def recipe(epochs: int, num_train: int, num_test: int) -> dict[str, Any]:
    """What holds for all rows."""
    return {
        "data": "Tiny ImageNet, 100 classes, 32x32",
        "num_train": num_train,
        "num_test": num_test,
        "epochs": epochs,
        "training": to_dict(training_config(epochs, num_train)),
    }


def training_config(epochs: int, num_images: int) -> TrainConfig:
    """AdamW with a cosine; the rate is a usual one, not tuned."""
    steps = max(1, epochs * num_images // BATCH)
    return TrainConfig(
        steps=steps,
        batch_size=BATCH,
        learning_rate=4e-3,
        warmup_steps=min(100, steps // 4),
        weight_decay=0.05,
        average=0.99,
        checkpoint_every=max(1, num_images // BATCH),
        report_every=max(1, num_images // BATCH),
    )


def run(
    method: str, seed: int, train: ImageTensors, test: ImageTensors, epochs: int, work: Path, device: torch.device
) -> dict[str, Any]:
    """One training and its scores."""
    branches = branches_for(method, seed, train, work)
    seed_everything(seed)
    net = build(method, branches)
    folder = work / f"{method}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    config = training_config(epochs, len(train))
    trainer = Trainer(net.to(device), config, folder=folder, seed=seed)
    trainer.resume()
    started, losses = time.perf_counter(), []
    if trainer.step < config.steps:
        numbers = sample_numbers(config, first_step=trainer.step)
        for report in trainer.run(augmented_batches(train, numbers, seed=seed), loss_of(trainer)):
            losses.append(report.loss)
            print(f"{method}/{seed} {report.done}/{report.total} loss {report.loss:.3f}", flush=True)
    seconds = time.perf_counter() - started
    averaged = trainer.averaged
    if isinstance(averaged, HydraNet):
        averaged.form = "loop"
    known = None if branches is None else torch.tensor(branches)
    scores = dataclasses.asdict(evaluate(averaged, batches_of(test), branch_of_class=known))
    del scores["classes"]
    return scores | {
        "method": method,
        "seed": seed,
        "params": count_params(net),
        "macs_executed": executed_macs(averaged, (SIZE, SIZE)),
        "seconds": seconds,
        "losses": losses,
    }


def loss_of(trainer: Trainer[Any]) -> Callable[..., Tensor]:
    def loss(net: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        output = net(normalised(images))
        if isinstance(trainer.net, HydraNet):
            return hydra_loss(output, labels, gate=trainer.net.gate)
        return F.cross_entropy(output.float(), labels)

    return loss


def batches_of(data: ImageTensors) -> Any:
    for images, labels in zip(data.images.split(500), data.labels.split(500), strict=True):
        yield normalised(images), labels


def build(method: str, branches: Branches | None) -> nn.Module:
    """The network called `method`: resnet-N, or Hydra-Res-d1 with a partition or gate, such as cluster-n10-k2."""
    if method.startswith("resnet-"):
        return CifarResNet(int(method.removeprefix("resnet-")))
    num_branches, num_chosen, kind = parse(method)
    gates: dict[str, families.MakeGate] = {
        "learn": families.learned_gate(num_branches),
        "learn-balance": families.learned_gate(num_branches, balance=0.1),
        "learn-bias": families.learned_gate(num_branches, bias_rate=0.001),
        "none": families.no_gate(num_branches),
    }
    if branches is not None:
        make = families.branch_gate if kind == "direct" else families.class_gate
        gates[kind] = make(branches, num_branches)
    net = families.hydra_res(1, num_branches=num_branches, num_chosen=num_chosen, gate=gates[kind])
    if kind in ("masked", "none"):
        net.execution, net.norm_rows = "masked", "all"
    return net


def parse(method: str) -> tuple[int, int, str]:
    """(branches, chosen, kind) of a name such as cluster or cluster-n10-k2."""
    num_branches, num_chosen, words = 20, 4, []
    for word in method.split("-"):
        if word[0] == "n" and word[1:].isdigit():
            num_branches = int(word[1:])
        elif word[0] == "k" and word[1:].isdigit():
            num_chosen = int(word[1:])
        else:
            words.append(word)
    return num_branches, num_chosen, "-".join(words)


def branches_for(method: str, seed: int, train: ImageTensors, work: Path) -> Branches | None:
    """The partition that a method wants, if any; "masked" and "direct" are cluster's in another training or gate."""
    if method.startswith("resnet"):
        return None
    num_branches, _, kind = parse(method)
    rng = np.random.default_rng(seed)
    if kind == "random":
        return partition.random_partition(len(train.classes), num_branches, rng=rng).tolist()
    if kind not in ("cluster", "greedy", "masked", "direct"):
        return None
    means = class_means(train, work)
    make = partition.greedy_partition if kind == "greedy" else partition.balanced_partition
    return make(means, num_branches, rng=rng).tolist()


def class_means(train: ImageTensors, work: Path) -> np.ndarray:
    """Mean features of the first ResNet-14 of this recipe."""
    from narrowcast.core import checkpoint

    path = work / "resnet-14-0" / "training.safetensors"
    if not path.exists():
        raise UsageError("partitions need resnet-14 with seed 0 first: --methods resnet-14,…")
    net = CifarResNet(14)
    tensors, _ = checkpoint.load(path)
    wanted = {k.removeprefix("averaged."): v for k, v in tensors.items() if k.startswith("averaged.")}
    checkpoint.load_into(net, wanted, source=str(path))
    net.eval()
    with torch.inference_mode():
        features = ((net.features(images).numpy(), labels.numpy()) for images, labels in batches_of(train))
        return partition.class_means(features, num_classes=len(train.classes))


if __name__ == "__main__":
    record.main(main)
