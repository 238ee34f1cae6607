"""A start for students, and the embedded teacher: distilling a teacher on still images (section 2.2.2, "pretrain").

Two steps, each resumable: the teacher labels the images once (`labelling`), then a network learns from the labels.
"""

import json
import signal
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.utils.data import DataLoader

from narrowcast.core.config import difference, to_dict
from narrowcast.core.errors import ConfigError, StorageError, UsageError
from narrowcast.core.files import write_json
from narrowcast.core.frames import IGNORE
from narrowcast.core.runtime import loader_processes, seed_everything
from narrowcast.core.training import CHECKPOINT, TrainConfig, Trainer, TrainReport, sample_numbers
from narrowcast.data.stills import ComposeConfig, ComposedStills, Still, scan, split
from narrowcast.data.tags import Tags
from narrowcast.metrics.segmentation import SegmentationScore
from narrowcast.models.student import AnyStudent, save_student
from narrowcast.stream.labelling import label_path


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainConfig:
    """What to weigh and what to hold out; ours.

    Attributes:
        loss_at: "full" compares at the images' size, "coarse" at that of the logits before the last resize. Four
            times fewer pixels of 21 planes: where there is no GPU, most of a step's time goes there.
    """

    loss_at: Literal["full", "coarse"] = "full"
    foreground_weight: float = 2.0  # of pixels that are not background, in the loss
    held_out: float = 0.04  # of the images, for the score in `pretrain.json`
    num_workers: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.loss_at not in ("full", "coarse"):
            raise ConfigError(f"[pretrain] loss_at = {self.loss_at!r}: expected 'full' or 'coarse'")
        if not self.foreground_weight > 0:
            raise ConfigError(f"[pretrain] foreground_weight = {self.foreground_weight}: must be positive")
        if not 0 <= self.held_out < 1:
            raise ConfigError(f"[pretrain] held_out = {self.held_out}: must be in [0, 1)")
        if self.num_workers < 0 or self.seed < 0:
            raise ConfigError("[pretrain] num_workers and seed must not be negative")


def collect(images: Sequence[tuple[Path, Path]], labels: Path, tags: Tags) -> list[Still]:
    """The labelled stills among `images` ((folder, relative path) pairs)."""
    return scan(
        [(f"{folder.name}/{rel.as_posix()}", folder / rel, label_path(labels, folder, rel)) for folder, rel in images],
        tags,
    )


def pretrain(
    net: AnyStudent,
    stills: Sequence[Still],
    *,
    classes: Sequence[str],
    config: PretrainConfig,
    compose: ComposeConfig,
    training: TrainConfig,
    folder: Path,
    groups: Any = None,
) -> Generator[TrainReport, None, None]:
    """Train `net` on composed stills in `folder`, from its checkpoint where there is one.

    At the end `folder` holds `student.safetensors` (the averaged network, kernels in float16) and `pretrain.json`
    (settings, and the score on images held out). `groups` are the optimiser's parameter groups; a group's "scale"
    multiplies its learning rate.

    Raises:
        UsageError: `folder` holds a training with other settings.
    """
    seed_everything(config.seed)
    _sign(folder, config, compose, training, len(stills))
    train, held_out = split(stills, held_out=config.held_out, seed=config.seed)
    trainer = Trainer(net, training, folder=folder, groups=groups, seed=config.seed)
    trainer.resume()
    weight = config.foreground_weight

    def loss(net: nn.Module, images: UInt8[Tensor, "b 3 s s"], labels: UInt8[Tensor, "b s s"]) -> Tensor:
        pixels = images.float().div_(255).contiguous(memory_format=torch.channels_last)
        # seeded by the step: a resumed training draws what it would have drawn
        rng = torch.Generator(pixels.device).manual_seed((config.seed << 32) + trainer.step)
        pixels = jitter_colours(pixels, rng=rng)
        logits = net.coarse_logits(pixels) if config.loss_at == "coarse" else net(pixels)  # type: ignore[operator]
        return pretrain_loss(logits.float(), sampled(labels, logits).long(), foreground_weight=weight)

    if trainer.step < training.steps:
        batches = _batches(train, compose, training, config, first_step=trainer.step)
        yield from trainer.run(batches, loss)
    scores = score_stills(trainer.averaged, held_out, classes=classes, size=compose.size) if held_out else {}
    meta = {"pretrained_steps": trainer.step}
    save_student(folder / "student.safetensors", trainer.averaged, classes, meta=meta, kernel_dtype=torch.float16)
    write_json(folder / "pretrain.json", read_result(folder) | {"held_out": scores})


def pretrain_loss(logits: Float[Tensor, "b k h w"], labels: Tensor, *, foreground_weight: float) -> Float[Tensor, ""]:
    """Cross-entropy plus the soft Dice loss of the classes in the batch; 255 counts nowhere."""
    known = labels != IGNORE
    targets = labels.where(known, 0)
    weights = torch.where(targets > 0, foreground_weight, 1.0) * known
    entropy = F.cross_entropy(logits, targets, reduction="none")
    entropy = (entropy * weights).sum() / weights.sum().clamp(min=1)
    probabilities = logits.softmax(1) * known[:, None]
    # sums by class without a one-hot copy of the labels, which took most of a step's time
    right = probabilities.gather(1, targets[:, None]).flatten()
    overlap = right.new_zeros(logits.shape[1]).index_add_(0, targets.flatten(), right)
    truth = right.new_zeros(logits.shape[1]).index_add_(0, targets.flatten(), known.flatten().to(right.dtype))
    dice = 1 - 2 * overlap / (probabilities.sum((0, 2, 3)) + truth).clamp(min=1)
    present = (truth > 0).to(dice.dtype)
    present[0] = 0
    return entropy + (dice * present).sum() / present.sum().clamp(min=1)


def sampled(labels: UInt8[Tensor, "b h w"], logits: Float[Tensor, "b k h2 w2"]) -> UInt8[Tensor, "b h2 w2"]:
    """The labels nearest to the places that the logits stand for (a resize with aligned corners)."""
    rows, columns = (
        torch.linspace(0, side - 1, num, device=labels.device).round().long()
        for side, num in zip(labels.shape[-2:], logits.shape[-2:], strict=True)
    )
    return labels[:, rows[:, None], columns]


def jitter_colours(images: Float[Tensor, "b 3 h w"], *, rng: torch.Generator) -> Float[Tensor, "b 3 h w"]:
    """Images with random brightness, contrast, colour cast, saturation, blur and noise, each its own."""
    num = images.shape[0]

    def draw(low: float, high: float, channels: int = 1) -> Tensor:
        return torch.empty(num, channels, 1, 1, device=images.device).uniform_(low, high, generator=rng)

    grey = images.mean(1, keepdim=True)
    images = grey + (images - grey) * draw(0.3, 1.5)
    mean = images.mean((1, 2, 3), keepdim=True)
    images = mean + (images - mean) * draw(0.6, 1.4) + draw(-0.15, 0.15)
    images = images * draw(0.85, 1.15, 3)
    blurred = F.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
    images = torch.lerp(images, blurred, draw(-0.5, 1.0))
    noise = torch.empty_like(images).normal_(generator=rng)
    return (images + noise * draw(0, 0.04)).clamp(0, 1)


@torch.inference_mode()
def score_stills(net: nn.Module, stills: Sequence[Still], *, classes: Sequence[str], size: int) -> dict[str, Any]:
    """Pooled IoU against the labels of stills that were not trained on, at a longest side of `size`."""
    first = next(net.parameters())
    score = SegmentationScore(classes)
    for still in stills:
        image, labels = still.read()
        scale = size / max(labels.shape)
        wh = (max(32, round(labels.shape[1] * scale)), max(32, round(labels.shape[0] * scale)))
        pixels = torch.from_numpy(cv2.resize(image, wh, interpolation=cv2.INTER_AREA)).to(first.device)
        logits = net(pixels.permute(2, 0, 1)[None].float() / 255)
        predicted = logits.argmax(1)[0].to(torch.uint8).cpu().numpy()
        score.add(predicted, cv2.resize(labels, wh, interpolation=cv2.INTER_NEAREST))
    return {"images": len(stills), "miou_pooled": score.pooled, "iou_per_class": score.per_class}


def _batches(
    stills: Sequence[Still], compose: ComposeConfig, training: TrainConfig, config: PretrainConfig, *, first_step: int
) -> Iterator[list[Tensor]]:
    """Batches from `first_step` on: their content depends on seed and number alone."""
    samples = ComposedStills(stills, compose, num_samples=training.steps * training.batch_size, seed=config.seed)
    loader = DataLoader(
        samples,
        batch_sampler=list(sample_numbers(training, first_step=first_step)),
        num_workers=loader_processes(config.num_workers),
        persistent_workers=config.num_workers > 0,
        worker_init_fn=_one_thread,
        prefetch_factor=4 if config.num_workers else None,
        pin_memory=torch.cuda.is_available(),
    )
    return iter(loader)


def _one_thread(_: int) -> None:
    cv2.setNumThreads(0)  # workers are processes already
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the process that trains answers it


def _sign(folder: Path, config: Any, compose: Any, training: Any, num_stills: int) -> None:
    note = {
        "pretrain": to_dict(config),
        "compose": to_dict(compose),
        "training": to_dict(training),
        "images": num_stills,
    }
    path = folder / "pretrain.json"
    if path.exists() and (folder / CHECKPOINT).exists():
        before = read_result(folder)
        # a setting that is younger than the folder had its default's meaning then
        before["training"] = to_dict(TrainConfig()) | dict(before.get("training") or {})
        changed = difference(before, json.loads(json.dumps(note)))
        if changed is not None:
            raise UsageError(f"{folder}: holds a training with {changed}; choose another folder or delete it")
        return
    write_json(path, note)


def read_result(folder: Path) -> dict[str, Any]:
    """What `pretrain.json` says.

    Raises:
        StorageError: it is missing or damaged.
    """
    path = folder / "pretrain.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise StorageError(f"{path}: damaged, so the training cannot go on; choose another folder ({error})") from error
