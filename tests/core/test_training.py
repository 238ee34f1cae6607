"""Training goes on from its checkpoint as if it had never stopped."""

import dataclasses
import itertools
import math
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
