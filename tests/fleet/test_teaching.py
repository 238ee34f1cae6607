"""Requests that wait go together, and each gets its own answer."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from narrowcast.core.errors import SourceError
from narrowcast.fleet.cameras import FleetConfig
from narrowcast.fleet.ray_teachers import TeacherActor
from narrowcast.fleet.teaching import Batcher, Request, answer_all
from narrowcast.models.embedded import EmbeddedTeacher
from narrowcast.models.teacher import TeacherLabels


def request(value: int, size_hw: tuple[int, int] = (4, 6)) -> Request:
    return Request(np.full((*size_hw, 3), value, np.uint8), value)


def brightness(image_rgb: np.ndarray) -> TeacherLabels:
    return TeacherLabels(image_rgb[..., 0].copy())


class OneByOne:
    classes = ("background", "a")

    def __call__(self, image_rgb: np.ndarray, *, frame_index: int | None = None) -> TeacherLabels:
        return brightness(image_rgb)


class Together(OneByOne):
    def __init__(self) -> None:
        self.sizes: list[int] = []

    def answer_all(self, images_rgb: Sequence[np.ndarray]) -> list[TeacherLabels]:
        assert len({image.shape for image in images_rgb}) == 1
        self.sizes.append(len(images_rgb))
        return [brightness(image) for image in images_rgb]


@pytest.mark.parametrize("teacher", [OneByOne(), Together()], ids=["one by one", "together"])
def test_each_request_gets_its_answer(teacher) -> None:
    requests = [request(1), request(2, (8, 8)), request(3), request(4, (8, 8)), request(5)]
    answers = answer_all(teacher, requests)
    assert [int(answer.labels[0, 0]) for answer in answers] == [1, 2, 3, 4, 5]
    assert [answer.labels.shape for answer in answers] == [one.image_rgb.shape[:2] for one in requests]


def test_sizes_go_together() -> None:
    teacher = Together()
    answer_all(teacher, [request(1), request(2, (8, 8)), request(3)])
    assert teacher.sizes == [2, 1]


def test_what_comes_while_the_teacher_works_goes_together() -> None:
    async def scenario() -> tuple[list[int], dict[int, int]]:
        async def run(requests: Sequence[Request]) -> list[TeacherLabels]:
            await asyncio.sleep(0.01)
            return answer_all(OneByOne(), requests)

        batcher = Batcher(run, max_batch=4)
        first = asyncio.ensure_future(batcher.answer(request(0)))
        await asyncio.sleep(0.001)
        rest = [asyncio.ensure_future(batcher.answer(request(value))) for value in range(1, 8)]
        answers = await asyncio.gather(first, *rest)
        return [int(answer.labels[0, 0]) for answer in answers], batcher.batches

    values, batches = asyncio.run(scenario())
    assert values == list(range(8))
    assert batches == {1: 1, 4: 1, 3: 1}


def test_an_error_goes_to_those_who_asked_and_the_next_is_answered() -> None:
    async def scenario() -> int:
        async def run(requests: Sequence[Request]) -> list[TeacherLabels]:
            if requests[0].frame_index == 0:
                raise SourceError("no labels")
            return answer_all(OneByOne(), requests)

        batcher = Batcher(run, max_batch=4)
        with pytest.raises(SourceError):
            await batcher.answer(request(0))
        return int((await batcher.answer(request(7))).labels[0, 0])

    assert asyncio.run(scenario()) == 7


def test_the_embedded_teacher_says_the_same_of_several_images(rng: np.random.Generator) -> None:
    teacher = EmbeddedTeacher(device=torch.device("cpu"), max_side=64)
    images = [np.kron(rng.integers(0, 256, (3, 4, 3)), np.ones((12, 16, 1))).astype(np.uint8) for _ in range(3)]
    for image, answer in zip(images, teacher.answer_all(images), strict=True):
        assert (teacher(image).labels == answer.labels).mean() > 0.99


def asked_at_once(config: FleetConfig, images: Sequence[np.ndarray]) -> tuple[list[TeacherLabels], dict[int, int]]:
    """What a teacher's actor answers to cameras that all ask at the same moment, and its batches."""

    async def scenario() -> tuple[list[TeacherLabels], dict[int, int]]:
        actor = TeacherActor(config)
        answers = await asyncio.gather(*(actor.answer(image, ix) for ix, image in enumerate(images)))
        return answers, await actor.batches()

    threads = torch.get_num_threads()
    try:
        return asyncio.run(scenario())
    finally:
        torch.set_num_threads(threads)


def test_cameras_that_ask_at_once_are_one_call_of_the_network(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The very actor that a fleet has, with the teacher that ships inside."""
    sizes = []
    original = EmbeddedTeacher.answer_all

    def counted(self: EmbeddedTeacher, images_rgb: Sequence[np.ndarray]) -> list[TeacherLabels]:
        sizes.append(len(images_rgb))
        return original(self, images_rgb)

    monkeypatch.setattr(EmbeddedTeacher, "answer_all", counted)
    images = [np.kron(rng.integers(0, 256, (3, 4, 3)), np.ones((12, 16, 1))).astype(np.uint8) for _ in range(4)]
    answers, batches = asked_at_once(FleetConfig(teacher="embedded", device="cpu", max_batch=3), images)
    assert (batches, sizes) == ({3: 1, 1: 1}, [3, 1])
    alone = EmbeddedTeacher(device=torch.device("cpu"))
    for image, answer in zip(images, answers, strict=True):
        assert (alone(image).labels == answer.labels).mean() > 0.99


@pytest.mark.gpu
def test_cameras_that_ask_at_once_are_one_call_on_a_gpu(rng: np.random.Generator) -> None:
    images = [np.kron(rng.integers(0, 256, (9, 12, 3)), np.ones((16, 16, 1))).astype(np.uint8) for _ in range(8)]
    on_gpu, batches = asked_at_once(FleetConfig(teacher="embedded", device="cuda"), images)
    assert batches == {8: 1}
    on_cpu, _ = asked_at_once(FleetConfig(teacher="embedded", device="cpu"), images)
    assert np.mean([(one.labels == other.labels).mean() for one, other in zip(on_gpu, on_cpu, strict=True)]) > 0.9
