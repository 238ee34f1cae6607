"""What the auxiliary loss costs: a training step of the whole trunk with and without it, in turns in one run.

Processor time, which other work on the machine disturbs less than the clock.
"""

import statistics
import time
from dataclasses import replace
from typing import Any

import record
import torch

from narrowcast.bgsplit.method import METHODS, MethodLoss
from narrowcast.bgsplit.net import FeatureScale, SplitNet
from narrowcast.models.backbones import load_backbone

BAR = 1.05  # with ÷ without
NUM_CATEGORIES, NUM_AUXILIARY = 10, 1000
COUNTS = [100_000, *([20] * NUM_CATEGORIES)]


def main() -> int:
    parser = record.parser(__doc__, threads=1)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--turns", type=int, default=9)
    arguments = parser.parse_args()
    device = record.prepare(arguments)
    size, turns = (64, 1) if arguments.quick else (224, arguments.turns)
    steps = {name: step_of(name, size, arguments.batch_size, device) for name in ("clamp", "bgsplit")}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(turns + 1):
        for name, step in steps.items():
            started = time.process_time()
            step()
            if turn:  # the first one warms up
                times[name].append((time.process_time() - started) * 1e3)
    medians = {name: statistics.median(found) for name, found in times.items()}
    ratio = statistics.median(b / a for a, b in zip(times["clamp"], times["bgsplit"], strict=True))
    print(record.table(["step", "ms"], list(medians.items())), f"\nwith ÷ without {ratio:.3f}, bar {BAR}")
    result = {"protocol": "EfficientNet-Lite0, all of it trained, SGD; medians of turns, processor time", "size": size}
    result |= {"batch_size": arguments.batch_size, "turns": turns, "median_ms": medians, "ratio": ratio, "bar": BAR}
    record.write(arguments.out, "bgsplit-step", result, device=device)
    return 0 if arguments.quick or ratio <= BAR else 1


def step_of(name: str, size: int, batch_size: int, device: torch.device) -> Any:
    """A function that takes one step of the method `name` on random images."""
    network: Any = load_backbone(f"efficientnet-lite0@{size}", device=device)
    method = replace(METHODS[name])
    net = SplitNet(
        network.net.requires_grad_(True),
        FeatureScale(torch.zeros(network.dim), 1.0, False),
        num_categories=NUM_CATEGORIES,
        num_auxiliary=NUM_AUXILIARY if method.auxiliary_weight else 0,
        background_logit=method.background_logit,
    ).to(device)
    net.set_modes()
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-6, momentum=0.9)
    criterion = MethodLoss(method, COUNTS)
    rng = torch.Generator().manual_seed(0)
    images = torch.rand(batch_size, 3, size, size, generator=rng).to(device)
    labels = torch.zeros(batch_size, dtype=torch.long, device=device)
    pseudo = torch.randint(NUM_AUXILIARY, (batch_size,), generator=rng).to(device)

    def step() -> None:
        optimizer.zero_grad()
        criterion(net(images), labels, pseudo, progress=0.0).backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return step


if __name__ == "__main__":
    record.main(main)
