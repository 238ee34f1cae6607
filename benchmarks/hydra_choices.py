"""What the choices of a HydraNet are worth where its stem sees well: partitions, gates, branches, and upcycling.

The stem is the first 14 blocks of a MobileNetV2 that has learned ImageNet, and stays as it is, so that its outputs for
Tiny ImageNet's 100 classes are computed once (three augmented views) and a training takes a minute. What stands behind
it is trained, one recipe for all: of a HydraNet branches, gate and combiner; of a static network one wide branch. The
averaged weights are scored on the val images, on which nothing is chosen. A run that is in the JSON is not made again.

Names: static (the multiply-adds of 4 branches and a gate), static-large (4.75 times those, as ResNet-56 has of
ResNet-14's), cluster (balanced partition), greedy, random, learn, learn-balance, learn-bias, none (all branches, no
gate), masked (as the thesis trains), direct (one gate logit a branch); -nN and -kN set branches and chosen ones; late
(one convolution before the branches). tail and upcycled go on with the MobileNetV2 itself: its last five blocks, once
or as the copies that branches begin with; upcycled-late shares three of the five, and copies two.
"""

import copy
import dataclasses
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import record
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import mobilenet_v2

from narrowcast.core.config import to_dict
from narrowcast.core.runtime import seed_everything
from narrowcast.core.training import TrainConfig, Trainer, sample_numbers
from narrowcast.data.image_batches import ShuffledEpochs
from narrowcast.data.image_table import open_table
from narrowcast.data.image_tensors import ImageTensors, crop_and_flip, normalised, read_images
from narrowcast.hydra import families, partition
from narrowcast.hydra.combine import average
from narrowcast.hydra.evaluate import evaluate
from narrowcast.hydra.gate import NoGate
from narrowcast.hydra.net import HydraNet, hydra_loss
from narrowcast.hydra.warm_start import read_weights, warm_start
from narrowcast.metrics.cost import count_macs, count_params

NAME = "hydra-choices"
SIZE, STEM_BLOCKS, CHANNELS, SIDE, VIEWS = 64, 14, 96, 4, 3
BATCH, EPOCHS, TAIL_EPOCHS = 256, 6, 4
WIDTH, STATIC_WIDTH, LARGE_WIDTH = 48, 144, 360  # 3×3 convolutions c → w → w: 9 · 16 · (96 w + w²) multiply-adds
CHOSEN = (1, 2, 4)
LATE_BLOCKS, LATE_CHANNELS = 3, 160  # of MobileNetV2's last five blocks, those that branches share, and what they give
FIRST = ("static", "cluster", "greedy", "random", "learn", "learn-balance", "learn-bias")
METHODS = (
    *(*FIRST, "cluster-n5", "cluster-n10", "cluster-k1", "cluster-k2", "tail", "upcycled-n5-k1", "static-large"),
    "upcycled-late-n5-k1",
    *("late", "direct", "masked", "none"),
)


@dataclasses.dataclass(frozen=True)
class Features:
    """The stem's outputs, (views, n, channels, side, side), and labels."""

    views: Tensor
    labels: Tensor
    num_classes: int

    def __len__(self) -> int:
        return len(self.labels)


def main() -> int:
    parser = record.parser(__doc__, threads=1)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--data", type=Path, help="folder with train/ and val/, each of class folders")
    parser.add_argument("--weights", default="", help="MobileNetV2's; without them the stem is random")
    parser.add_argument("--work", type=Path, help="folder for features and checkpoints, to go on after a kill")
    arguments = parser.parse_args()
    device = record.prepare(arguments)
    work = arguments.work or Path(tempfile.mkdtemp(prefix="narrowcast-"))
    seed_everything(0)
    net = mobilenet_v2(weights=None, num_classes=100)
    if arguments.weights:
        warm_start(net, read_weights(arguments.weights), source=arguments.weights)
    table = open_table(arguments.data or record.data() / "tiny-imagenet")
    stem = net.features[:STEM_BLOCKS].eval()
    train, test = (features(stem, table.of_split(split), work / f"{split}.npy", split) for split in ("train", "test"))
    settings = configs(len(train), is_quick=arguments.quick)
    result = record.read(arguments.out, NAME) or {"rows": {}}
    result |= {
        "data": "Tiny ImageNet, 100 classes, 64x64",
        "num_train": len(train),
        "num_test": len(test),
        "training": {name: to_dict(config) for name, config in settings.items()},
    }
    for seed in map(int, arguments.seeds.split(",")):
        for method in arguments.methods.split(","):
            key = f"{method}/{seed}"
            if key not in result["rows"]:
                config = settings["tail" if method.startswith(("tail", "upcycled")) else "fresh"]
                result["rows"][key] = run(method, seed, train, test, net, config, work)
                kept = {name: value for name, value in result.items() if name != "environment"}
                record.write(arguments.out, NAME, kept, device=device)
                row = result["rows"][key]
                print(key, json.dumps({name: row[name] for name in ("top1", "gate_hit", "cpu_seconds")}), flush=True)
    return 0


def configs(num_images: int, *, is_quick: bool) -> dict[str, TrainConfig]:
    """AdamW with a cosine; the rates are usual ones, not tuned. Copies of trained layers want a lower one."""

    def config(epochs: int, batch_size: int, **options: Any) -> TrainConfig:
        each = max(1, num_images // batch_size)
        steps = 3 if is_quick else epochs * each
        size = min(batch_size, num_images)
        often = {"checkpoint_every": max(each, steps // 2), "report_every": each}
        return TrainConfig(steps=steps, batch_size=size, warmup_steps=steps // 8, average=0.98, **often, **options)

    return {
        "fresh": config(EPOCHS, BATCH, learning_rate=4e-3, weight_decay=0.05),
        "tail": config(TAIL_EPOCHS, BATCH, learning_rate=5e-4, weight_decay=0.05, precision="float32"),
    }


def features(stem: nn.Module, table: Any, path: Path, split: str) -> Features:
    """The stem's outputs, computed the first time and mapped into memory after that."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        data, rng = read_images(table, size=SIZE), torch.Generator().manual_seed(0)
        stem.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        views = [
            _outputs(stem, data, rng if split == "train" else None) for _ in range(VIEWS if split == "train" else 1)
        ]
        np.save(path, torch.stack(views).half().numpy())
    found = torch.from_numpy(np.load(path, mmap_mode="c"))  # copied on a write, which never comes
    return Features(found, torch.from_numpy(table.labels), len(table.classes))


@torch.inference_mode()
def _outputs(stem: nn.Module, data: ImageTensors, rng: torch.Generator | None) -> Tensor:
    outs = []
    for images in data.images.split(250):
        seen = images if rng is None else crop_and_flip(images, pad=SIZE // 8, rng=rng)
        outs.append(stem(normalised(seen).contiguous(memory_format=torch.channels_last)))
    return torch.cat(outs).contiguous()


def training_batches(data: Features, config: TrainConfig, *, first_step: int, seed: int) -> Iterator[Any]:
    """Each epoch takes the next view of all images, in an order of its own."""
    order = ShuffledEpochs(len(data), seed=seed)
    for numbers in sample_numbers(config, first_step=first_step):
        rows = torch.tensor([order(number) for number in numbers])
        view = torch.tensor([number // len(data) % len(data.views) for number in numbers])
        yield data.views[view, rows].float().contiguous(memory_format=torch.channels_last), data.labels[rows]


def test_batches(data: Features) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(0, len(data), 500):
        yield data.views[0, start : start + 500].float(), data.labels[start : start + 500]


def run(
    method: str, seed: int, train: Features, test: Features, backbone: nn.Module, config: TrainConfig, work: Path
) -> dict[str, Any]:
    """One training and its scores."""
    branches = branches_for(method, seed, train)
    seed_everything(seed)
    net = build(method, branches, train.num_classes, backbone)
    folder = work / f"{method}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    trainer = Trainer(net, config, folder=folder, seed=seed)
    was_resumed = trainer.resume()
    used, losses = time.process_time(), []
    if trainer.step < config.steps:
        batches = training_batches(train, config, first_step=trainer.step, seed=seed)
        losses = [report.loss for report in trainer.run(batches, loss_of(net))]
    cpu_seconds = time.process_time() - used
    averaged = trainer.averaged
    if isinstance(averaged, HydraNet):
        averaged.form = "loop"
    known = None if branches is None else torch.tensor(branches)
    found = score(averaged, test, known)
    found |= {"method": method, "seed": seed, "params": count_params(net), "losses": losses}
    found |= {"steps": config.steps, "cpu_seconds": None if was_resumed else cpu_seconds}
    if isinstance(averaged, HydraNet) and not isinstance(averaged.gate, NoGate):
        before = averaged.num_chosen
        found["by_chosen"] = {}
        for num in (num for num in CHOSEN if num <= averaged.gate.num_branches):
            averaged.num_chosen = num
            found["by_chosen"][str(num)] = score(averaged, test, known)
            del found["by_chosen"][str(num)]["usage"]
        averaged.num_chosen = before
    return found


def score(net: nn.Module, test: Features, known: Tensor | None) -> dict[str, Any]:
    scores = dataclasses.asdict(evaluate(net, test_batches(test), branch_of_class=known))
    del scores["classes"]
    return scores | {"macs_executed": macs_behind_the_stem(net)}


def macs_behind_the_stem(net: nn.Module) -> int:
    inputs = torch.zeros(1, CHANNELS, SIDE, SIDE)
    if isinstance(net, HydraNet):
        return count_macs(lambda x: net.eval().forward_fixed(x, range(net.num_chosen)), inputs)
    return count_macs(net, inputs)


def loss_of(net: nn.Module) -> Callable[..., Tensor]:
    def loss(called: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        output = called(inputs)
        if isinstance(net, HydraNet):
            return hydra_loss(output, labels, gate=net.gate)
        return F.cross_entropy(output.float(), labels)

    return loss


def build(method: str, branches: list[int] | None, num_classes: int, backbone: Any) -> nn.Module:
    """What stands behind the stem."""
    num_branches, num_chosen, kind = parse(method)
    if kind in ("static", "static-large"):
        width = LARGE_WIDTH if kind == "static-large" else STATIC_WIDTH
        return nn.Sequential(branch(CHANNELS, width), nn.Linear(width, num_classes))
    pool = (nn.AdaptiveAvgPool2d(1), nn.Flatten())
    end = copy.deepcopy(backbone.classifier)
    blocks = copy.deepcopy(backbone.features[STEM_BLOCKS:])
    if kind == "tail":
        return nn.Sequential(blocks, *pool, end)
    gates: dict[str, families.MakeGate] = {
        "learn": families.learned_gate(num_branches),
        "learn-balance": families.learned_gate(num_branches, balance=0.1),
        "learn-bias": families.learned_gate(num_branches, bias_rate=0.001),
        "none": families.no_gate(num_branches),
    }
    if branches is not None:
        gates[kind] = (families.branch_gate if kind == "direct" else families.class_gate)(branches, num_branches)
    if kind in ("upcycled", "upcycled-late"):
        shared = blocks[: LATE_BLOCKS if kind == "upcycled-late" else 0]
        width = LATE_CHANNELS if kind == "upcycled-late" else CHANNELS
        return HydraNet(
            stem=shared,
            branches=[copy.deepcopy(blocks[len(shared) :]) for _ in range(num_branches)],
            gate=gates[kind](lambda outputs: nn.Sequential(*pool, nn.Linear(width, outputs))),
            combiner=nn.Sequential(*pool, end),
            num_chosen=num_chosen,
            combine=average,
        )
    stem, make = (convolution(CHANNELS, CHANNELS // 2), late_branch) if kind == "late" else (nn.Identity(), branch)
    channels = CHANNELS // 2 if kind == "late" else CHANNELS
    net = HydraNet(
        stem=stem,
        branches=[make(channels, WIDTH) for _ in range(num_branches)],
        gate=gates[kind](lambda outputs: nn.Sequential(make(channels, WIDTH), nn.Linear(WIDTH, outputs))),
        combiner=nn.Linear(WIDTH, num_classes),
        num_chosen=num_chosen,
    )
    if kind in ("masked", "none"):
        net.execution, net.norm_rows = "masked", "all"
    return net


def convolution(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())


def branch(channels: int, width: int) -> nn.Module:
    layers = nn.Sequential(convolution(channels, width), convolution(width, width))
    return families.PooledBranch(layers, width, bias=True)


def late_branch(channels: int, width: int) -> nn.Module:
    return families.PooledBranch(convolution(channels, width), width, bias=True)


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


def branches_for(method: str, seed: int, train: Features) -> list[int] | None:
    """The partition that a method wants, if any, of the stem's own features."""
    num_branches, _, kind = parse(method)
    rng = np.random.default_rng(seed)
    if kind == "random":
        return partition.random_partition(train.num_classes, num_branches, rng=rng).tolist()
    if kind not in ("cluster", "greedy", "masked", "direct", "late", "upcycled", "upcycled-late"):
        return None
    pooled = train.views[0].float().mean((2, 3)).numpy()
    means = partition.class_means([(pooled, train.labels.numpy())], num_classes=train.num_classes)
    make = partition.greedy_partition if kind == "greedy" else partition.balanced_partition
    return make(means, num_branches, rng=rng).tolist()


if __name__ == "__main__":
    record.main(main)
