"""Training goes on from its checkpoint as if it had never stopped."""

import dataclasses
import itertools
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from narrowcast.core.errors import ConfigError, DivergedError, StorageError, WeightsError
from narrowcast.core.training import CHECKPOINT, TrainConfig, Trainer, TrainReport, learning_rate_at

CONFIG = TrainConfig(steps=12, batch_size=4, learning_rate=0.02, warmup_steps=3, checkpoint_every=4, report_every=2)


def make_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))


def batches(first_step: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """Batch number `i` depends on `i` alone."""
    for step in itertools.count(first_step):
        rng = torch.Generator().manual_seed(step)
        images = torch.rand(CONFIG.batch_size, 3, 8, 8, generator=rng)
        yield images, (images.mean(1)[:, 1:-1, 1:-1] > 0.5).long()


def loss(net: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(net(images).float(), labels)


def train(folder: Path, config: TrainConfig = CONFIG, *, stop_after: int | None = None) -> tuple[Trainer, list]:
    """A training from its checkpoint on, given up after `stop_after` reports."""
    trainer = Trainer(make_net(), config, folder=folder)
    trainer.resume()
    reports = list(itertools.islice(trainer.run(batches(trainer.step), loss), stop_after))
    return trainer, reports


def numbers(reports: list[TrainReport]) -> list[tuple[int, float, float]]:
    return [(report.done, report.loss, report.learning_rate) for report in reports]


def assert_same(first: nn.Module, second: nn.Module) -> None:
    for (name, one), (_, other) in zip(first.state_dict().items(), second.state_dict().items(), strict=True):
        assert torch.equal(one, other), name


@pytest.mark.parametrize("stop_after", [2, 3, 4, 5], ids=["at a checkpoint", "past one", "at the second", "past it"])
def test_a_resumed_training_is_the_uninterrupted_one_to_the_bit(tmp_path: Path, stop_after: int) -> None:
    whole, expected = train(tmp_path / "whole")
    _, before = train(tmp_path / "cut", stop_after=stop_after)
    resumed, after = train(tmp_path / "cut")
    first = after[0].done
    assert first <= 2 * stop_after + 2  # at most what came after the last checkpoint is done again
    assert numbers(before)[: (first - 2) // 2] + numbers(after) == numbers(expected)
    assert_same(resumed.net, whole.net)
    assert_same(resumed.averaged, whole.averaged)
    assert (tmp_path / "cut" / CHECKPOINT).read_bytes() == (tmp_path / "whole" / CHECKPOINT).read_bytes()


def test_two_trainings_are_the_same_to_the_bit(tmp_path: Path) -> None:
    assert numbers(train(tmp_path / "a")[1]) == numbers(train(tmp_path / "b")[1])


def test_a_finished_training_has_nothing_left_to_do(tmp_path: Path) -> None:
    train(tmp_path)
    trainer = Trainer(make_net(), CONFIG, folder=tmp_path)
    assert trainer.resume()
    assert trainer.step == CONFIG.steps


def test_without_a_checkpoint_there_is_nothing_to_resume(tmp_path: Path) -> None:
    trainer = Trainer(make_net(), CONFIG, folder=tmp_path)
    assert not trainer.resume()
    assert trainer.step == 0


def test_reports_tell_how_far_it_is(tmp_path: Path) -> None:
    _, reports = train(tmp_path)
    assert [report.done for report in reports] == [2, 4, 6, 8, 10, 12]
    assert all(report.total == 12 and report.steps_per_s > 0 for report in reports)
    assert reports[-1].loss < reports[0].loss


def test_the_last_step_is_reported_and_kept_whatever_the_rhythm(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, steps=7, report_every=5, checkpoint_every=100)
    _, reports = train(tmp_path, config)
    assert [report.done for report in reports] == [5, 7]
    assert Trainer(make_net(), config, folder=tmp_path).resume()


def test_the_learning_rate_is_in_the_reports(tmp_path: Path) -> None:
    _, reports = train(tmp_path)
    assert [report.learning_rate for report in reports] == [
        learning_rate_at(report.done - 1, CONFIG) for report in reports
    ]


def test_the_rate_warms_up_then_falls_along_half_a_cosine() -> None:
    config = TrainConfig(steps=110, warmup_steps=10, learning_rate=2.0)
    rates = [learning_rate_at(step, config) for step in range(111)]
    assert rates[:10] == pytest.approx([0.2 * (step + 1) for step in range(10)])
    assert rates[10] == 2.0
    assert rates[60] == pytest.approx(1.0)
    assert rates[110] == pytest.approx(0.0)
    assert all(later < earlier for earlier, later in itertools.pairwise(rates[10:]))
    for step in range(10, 111):
        assert rates[step] == pytest.approx(1 + math.cos(math.pi * (step - 10) / 100))


def test_without_warm_up_the_rate_begins_at_its_height() -> None:
    assert learning_rate_at(0, TrainConfig(warmup_steps=0, learning_rate=0.5)) == 0.5


def test_a_group_scale_multiplies_its_rate(tmp_path: Path) -> None:
    net = make_net()
    groups = [{"params": net[0].parameters(), "scale": 0.1}, {"params": net[3].parameters()}]
    trainer = Trainer(net, CONFIG, folder=tmp_path, groups=groups)
    report = next(trainer.run(batches(), loss))
    first, second = (group["lr"] for group in trainer.optimizer.param_groups)
    assert second == report.learning_rate
    assert first == pytest.approx(0.1 * second)


def test_the_average_is_that_of_a_loop(tmp_path: Path) -> None:
    """Against the formula written out: keep = min(average, n / (n + 10)) of the old, the rest of the new."""
    config = dataclasses.replace(CONFIG, average=0.3, report_every=1)
    trainer = Trainer(make_net(), config, folder=tmp_path)
    slow = [p.detach().clone() for p in trainer.net.parameters()]
    for report in trainer.run(batches(), loss):
        keep = min(0.3, report.done / (report.done + 10))
        slow = [keep * old + (1 - keep) * new.detach() for old, new in zip(slow, trainer.net.parameters(), strict=True)]
        torch.testing.assert_close(list(trainer.averaged.parameters()), slow, rtol=1e-4, atol=1e-6)
    statistics = zip(trainer.averaged.buffers(), trainer.net.buffers(), strict=True)
    assert all(torch.equal(own, new) for own, new in statistics)


def test_the_averaged_copy_never_trains(tmp_path: Path) -> None:
    trainer, _ = train(tmp_path)
    assert not trainer.averaged.training
    assert not any(parameter.requires_grad for parameter in trainer.averaged.parameters())
    assert trainer.net.training


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    train(tmp_path)
    other = Trainer(nn.Conv2d(3, 2, 3), CONFIG, folder=tmp_path)
    with pytest.raises(WeightsError, match=rf"{CHECKPOINT}: does not fit the network"):
        other.resume()


def test_closing_the_reports_keeps_what_was_learned(tmp_path: Path) -> None:
    """Ctrl-C threw away all steps since the last checkpoint."""
    config = dataclasses.replace(CONFIG, checkpoint_every=100)
    trainer = Trainer(make_net(), config, folder=tmp_path)
    reports = trainer.run(batches(), loss)
    assert next(reports).done == 2
    reports.close()
    again = Trainer(make_net(), config, folder=tmp_path)
    assert again.resume()
    assert again.step == 2


def test_a_loss_that_is_not_finite_ends_the_training_before_its_checkpoint(tmp_path: Path) -> None:
    """Weights that were not numbers were trained on to the end, and kept."""

    def diverging(net: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return loss(net, inputs, targets) * (float("nan") if trainer.step == 6 else 1.0)

    trainer = Trainer(make_net(), dataclasses.replace(CONFIG, checkpoint_every=4), folder=tmp_path)
    with pytest.raises(DivergedError, match=r"not finite any more at step 8; begin anew with a lower training\."):
        list(trainer.run(batches(), loss=diverging))
    again = Trainer(make_net(), CONFIG, folder=tmp_path)
    assert again.resume()
    assert again.step == 4


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).write_bytes(b"half a file")
    with pytest.raises(WeightsError, match=rf"{CHECKPOINT}: damaged"):
        Trainer(make_net(), CONFIG, folder=tmp_path).resume()


def test_a_folder_that_cannot_be_written_ends_the_training_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    trainer = Trainer(make_net(), CONFIG, folder=tmp_path / "file" / "below")
    with pytest.raises(StorageError, match=CHECKPOINT):
        list(trainer.run(batches(), loss))


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 0},
        {"batch_size": -1},
        {"learning_rate": 0.0},
        {"report_every": 0},
        {"average": 1.0},
        {"average": -0.1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_settings_out_of_range_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=rf"\[training\] {next(iter(change))} = "):
        dataclasses.replace(CONFIG, **change)


SGD = dataclasses.replace(
    CONFIG, optimizer="sgd", schedule="step", milestones=(0.5,), checkpoint_every=3, precision="float32"
)


def test_sgd_is_resumed_to_the_bit(tmp_path: Path) -> None:
    whole, expected = train(tmp_path / "whole", SGD)
    train(tmp_path / "cut", SGD, stop_after=2)
    resumed, after = train(tmp_path / "cut", SGD)
    assert numbers(after) == numbers(expected)[2:]
    assert_same(resumed.averaged, whole.averaged)


def test_sgd_is_that_of_a_loop(tmp_path: Path) -> None:
    """Momentum and weight decay written out."""
    trainer, _ = train(tmp_path, SGD)
    net, velocity = make_net(), {}
    for step in range(SGD.steps):
        net.zero_grad()
        loss(net, *next(batches(step))).backward()
        for name, weight in net.named_parameters():
            assert weight.grad is not None
            pull = weight.grad + SGD.weight_decay * weight.detach()
            velocity[name] = SGD.momentum * velocity[name] + pull if step else pull
            weight.data -= learning_rate_at(step, SGD) * velocity[name]
    trained = dict(trainer.net.named_parameters())
    for name, weight in net.named_parameters():
        torch.testing.assert_close(weight, trained[name], rtol=1e-3, atol=1e-5)


def test_micro_batches_add_up_to_their_batch(tmp_path: Path) -> None:
    """A network without batch norm cannot tell a batch from its parts."""
    finals = []
    for accumulate in (1, 2, 4):
        config = dataclasses.replace(SGD, accumulate=accumulate, precision="float32")
        torch.manual_seed(1)
        trainer = Trainer(nn.Conv2d(3, 2, 3), config, folder=tmp_path / str(accumulate))
        parts = (part for batch in batches() for part in zip(*(t.chunk(accumulate) for t in batch), strict=True))
        list(trainer.run(parts, loss))
        finals.append(trainer.net.weight.detach())
    torch.testing.assert_close(finals[0], finals[1])
    torch.testing.assert_close(finals[0], finals[2])


def test_batches_may_hold_any_number_of_tensors(tmp_path: Path) -> None:
    def weighted(net: nn.Module, images: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        return loss(net, images, labels) * weights.mean()

    trainer = Trainer(make_net(), CONFIG, folder=tmp_path)
    reports = list(trainer.run(((*batch, torch.zeros(4)) for batch in batches()), weighted))
    assert all(report.loss == 0 for report in reports)


def test_dropout_is_resumed_to_the_bit(tmp_path: Path) -> None:
    """The generator went on from wherever the new process had left it."""

    def run(folder: Path, stop_after: int | None) -> tuple[nn.Module, list[float]]:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Dropout(0.5), make_net())
        trainer = Trainer(net, CONFIG, folder=folder)
        trainer.resume()
        torch.manual_seed(stop_after or 77)
        reports = trainer.run(batches(trainer.step), loss)
        return net, [report.loss for report in itertools.islice(reports, stop_after)]

    whole, losses = run(tmp_path / "whole", None)
    _, before = run(tmp_path / "cut", 2)
    resumed, after = run(tmp_path / "cut", None)
    assert before + after == losses
    assert_same(whole, resumed)


def test_parts_that_are_kept_frozen_stay_so(tmp_path: Path) -> None:
    def set_modes(net: nn.Module) -> None:
        net.train()
        net[1].eval()

    net = make_net()
    before = net[1].running_mean.clone()
    list(Trainer(net, CONFIG, folder=tmp_path, set_modes=set_modes).run(batches(), loss))
    assert torch.equal(net[1].running_mean, before)


@pytest.mark.slow
def test_processes_of_torchrun_train_one_network(tmp_path: Path, repository: Path) -> None:
    """Two processes with half of each batch are one with all of it; a parameter without a gradient hangs nobody."""
    script = tmp_path / "train.py"
    script.write_text(
        """
import sys, torch
from pathlib import Path
from torch import nn
from narrowcast.core.training import TrainConfig, Trainer, sample_numbers
from narrowcast.core.workers import joined
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.unused = nn.Linear(3, 1), nn.Linear(3, 1)
    def forward(self, x):
        return self.used(x)
config = TrainConfig(steps=6, batch_size=4, accumulate=int(sys.argv[2]), optimizer="sgd", learning_rate=0.1,
                     warmup_steps=0, report_every=3, precision="float32")
def main():
    with joined(torch.device("cpu")) as own:
        torch.manual_seed(0)
        data = torch.randn(24, 3)
        trainer = Trainer(Net(), config, folder=Path(sys.argv[1]))
        batches = ((data[numbers],) for numbers in sample_numbers(config, first_step=0))
        reports = list(trainer.run(batches, lambda net, x: (net(x) - x.sum(1, keepdim=True)).square().mean()))
        if own.is_first:
            print(own.num, *(f"{r.loss:.6f}" for r in reports), trainer.net.used.weight.tolist())
main()
"""
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(repository / "src"), "PYTHONWARNINGS": ""}
    environment = {key: value for key, value in environment.items() if not key.startswith("TORCHELASTIC")}
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]

    def run(command: list[str], folder: str, accumulate: int) -> str:
        arguments = [*command, str(script), str(tmp_path / folder), str(accumulate)]
        done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    one, two = run([sys.executable], "one", 2), run(start, "two", 2)
    assert (one[0], two[0]) == ("1", "2")

    def shown(text: str) -> list[float]:
        return [float(word.strip("[],")) for word in text.split()[1:]]

    assert shown(one) == pytest.approx(shown(two), rel=1e-4)


@pytest.mark.parametrize(
    "change",
    [{"milestones": (0.5, 0.2)}, {"milestones": (1.5,)}, {"momentum": 1.0}, {"gamma": 0.0}, {"warmup_steps": -1}],
    ids=lambda change: next(iter(change)),
)
def test_schedules_out_of_range_are_refused(change: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        dataclasses.replace(CONFIG, **change)


def test_a_batch_that_cannot_be_cut_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"batch_size = 4: must be a multiple of accumulate \(3\)"):
        Trainer(make_net(), dataclasses.replace(CONFIG, accumulate=3), folder=tmp_path)
