"""A student that predicts, learns, and goes on exactly where it was."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fakes import CLASSES, TinyStudent, flat_labels, same_tensors, shapes
from narrowcast.core import checkpoint
from narrowcast.core.errors import ConfigError, WeightsError
from narrowcast.models.jitnet import JITNet
from narrowcast.stream import learner as learner_module
from narrowcast.stream.learner import Learner, LearnerConfig, Sample, shrink
from narrowcast.stream.targets import pixel_weights

CPU = torch.device("cpu")
SGD = LearnerConfig(optimizer="sgd", learning_rate=0.01, own_share=1.0, prior_share=0.0)
ADAM = LearnerConfig(optimizer="adam", learning_rate=1e-2, own_share=1.0, prior_share=0.0)


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def dtype(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.dtype:
    """The precision that the processor is said to be fast in."""
    monkeypatch.setattr(learner_module, "compute_dtype", lambda device: request.param)
    return request.param


@pytest.fixture
def float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learner_module, "compute_dtype", lambda device: torch.float32)


def sample(frame: int = 0, *, seed: int = 0) -> Sample:
    frames, labels = shapes(frame + 1, seed=seed)
    return Sample(frames[frame].image_rgb, labels[frame], pixel_weights(labels[frame], np.zeros((0, 4), np.float32)))


def tiny(config: LearnerConfig = ADAM, *, seed: int = 0) -> Learner:
    return Learner(TinyStudent(seed=seed), config, device=CPU)


def weights_of(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in learner.net.state_dict().items()}


def learn(learner: Learner, *, updates: int, first: int = 0) -> list[float]:
    return [learner.attempt(sample(frame)).step() for frame in range(first, first + updates)]


def test_shrinking_to_the_same_size_costs_nothing() -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    assert shrink(image, (64, 48)) is image
    assert shrink(image, (32, 24)).shape == (24, 32, 3)


def test_prediction_is_the_networks_own(float32: None) -> None:
    net = TinyStudent().eval()
    image = sample().image_rgb
    with torch.no_grad():
        expected = net(torch.from_numpy(image).permute(2, 0, 1)[None] / 255)[0].argmax(0).numpy()
    np.testing.assert_array_equal(Learner(net, ADAM, device=CPU).predict(image), expected)


def test_a_prediction_changes_nothing(dtype: torch.dtype) -> None:
    learner = tiny()
    before = weights_of(learner)
    first = learner.predict(sample().image_rgb)
    np.testing.assert_array_equal(learner.predict(sample().image_rgb), first)
    assert same_tensors(before, weights_of(learner))


def test_a_prediction_is_that_of_the_weights_of_now(dtype: torch.dtype, tmp_path: Path) -> None:
    """It comes from a folded copy, which must not be older than the last step or the state that was loaded."""
    learner = Learner(JITNet(len(CLASSES)), LearnerConfig(learning_rate=0.02), device=CPU)
    start, before = learner.state(), learner.predict(sample().image_rgb)
    checkpoint.save(tmp_path / "start.safetensors", start, meta={})
    learn(learner, updates=6)
    after = learner.predict(sample().image_rgb)
    assert (after != before).mean() > 0.05
    assert (after != learner.attempt(sample()).prediction()).mean() < 0.01  # two roundings of the same network
    learner.load_state(checkpoint.load(tmp_path / "start.safetensors")[0], source="start")
    np.testing.assert_array_equal(learner.predict(sample().image_rgb), before)


def test_a_prior_is_added_to_the_logits(float32: None) -> None:
    config = LearnerConfig(own_share=0.3, prior_share=2.0, background_share=0.5)
    learner, image = tiny(config), sample().image_rgb
    prior = np.random.default_rng(0).integers(0, len(CLASSES) + 1, image.shape[:2]).astype(np.uint8)
    prior[prior == len(CLASSES)] = 255
    own = tiny().attempt(sample()).logits[0].detach().numpy()
    expected = 0.3 * own
    for row, column in np.ndindex(*prior.shape):
        if prior[row, column] != 255:
            expected[prior[row, column], row, column] += 2.0 if prior[row, column] else 0.5
    attempt = learner.attempt(replace(sample(), prior=prior))
    np.testing.assert_allclose(attempt.logits[0].detach().numpy(), expected, atol=1e-5)
    np.testing.assert_array_equal(attempt.prediction(), expected.argmax(0))
    assert (learner.predict(image, prior) == expected.argmax(0)).mean() > 0.999
    assert (learner.predict(image) == own.argmax(0)).mean() > 0.999


def test_a_prior_counts_more_while_it_is_fresh(float32: None) -> None:
    """Labels of 2 frames ago count 8 / 2 times as much, those of 8 and more frames ago once."""
    config = LearnerConfig(own_share=3.0, prior_share=0.05, background_share=0.02, fresh_frames=8)
    fourfold = LearnerConfig(own_share=3.0, prior_share=0.2, background_share=0.08, fresh_frames=0)
    image = sample().image_rgb
    prior = np.random.default_rng(0).integers(0, len(CLASSES), image.shape[:2]).astype(np.uint8)
    np.testing.assert_array_equal(
        tiny(config).predict(image, prior, age=2), tiny(fourfold).predict(image, prior, age=2)
    )
    assert (tiny(config).predict(image, prior, age=2) != tiny(config).predict(image, prior)).any()
    for age in (0, 8, 30):
        np.testing.assert_array_equal(tiny(config).predict(image, prior, age=age), tiny(config).predict(image, prior))


@pytest.mark.parametrize(
    "wrong",
    [{"own_share": 0.0}, {"prior_share": -1.0}, {"background_share": float("inf")}, {"fresh_frames": -1}],
    ids=str,
)
def test_shares_must_be_numbers_that_make_sense(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"share|fresh"):
        LearnerConfig(**wrong)


def test_an_attempt_without_a_step_changes_nothing(dtype: torch.dtype) -> None:
    learner = tiny()
    before = weights_of(learner)
    attempt = learner.attempt(sample())
    np.testing.assert_array_equal(attempt.prediction(), learner.predict(sample().image_rgb))
    assert same_tensors(before, weights_of(learner))


@pytest.mark.parametrize("config", [ADAM, SGD], ids=["adam", "sgd"])
def test_a_frame_can_be_learned(dtype: torch.dtype, config: LearnerConfig) -> None:
    learner = tiny(config)
    losses = [learner.attempt(sample()).step() for _ in range(30)]
    assert losses[-1] < 0.7 * losses[0]


def test_all_layers_are_updated(dtype: torch.dtype) -> None:
    """Section 2.2.2: "we update all layers with high learning rates"."""
    learner = Learner(JITNet(3, width=0.25), ADAM, device=CPU)
    before = weights_of(learner)
    learn(learner, updates=2)
    after = weights_of(learner)
    parameters = {name for name, _ in learner.net.named_parameters()}
    assert all((after[name] != before[name]).any() for name in parameters)
    assert all(after[name].dtype == before[name].dtype for name in after)  # kept in float32 in any case


@pytest.mark.parametrize(("norm", "moves"), [("frozen", False), ("batch", True)])
def test_norm_statistics(norm: str, moves: bool) -> None:
    learner = tiny(LearnerConfig(norm=norm))  # type: ignore[arg-type]
    before = weights_of(learner)
    learn(learner, updates=1)
    after = weights_of(learner)
    assert (not torch.equal(after["norm.running_mean"], before["norm.running_mean"])) == moves
    assert not torch.equal(after["norm.weight"], before["norm.weight"])  # scales and shifts are learned anyway


def test_sgd_follows_its_formula(float32: None) -> None:
    """Section 2.2.2: momentum 0.9, learning rate 0.01; v ← 0.9 v + g, θ ← θ − 0.01 v, and v outlives the frame."""
    learner = tiny(SGD)
    expected = [parameter.detach().clone() for parameter in learner.net.parameters()]
    velocity = [torch.zeros_like(parameter) for parameter in expected]
    for frame in range(4):
        learner.attempt(sample(frame)).step()
        for ix, parameter in enumerate(learner.net.parameters()):
            assert parameter.grad is not None
            velocity[ix] = 0.9 * velocity[ix] + parameter.grad
            expected[ix] = expected[ix] - 0.01 * velocity[ix]
            torch.testing.assert_close(parameter.detach(), expected[ix])


def test_a_frame_without_known_pixels_teaches_nothing() -> None:
    learner = tiny(SGD)
    before = weights_of(learner)
    unknown = flat_labels(255)
    assert learner.attempt(Sample(sample().image_rgb, unknown, np.zeros_like(unknown))).step() == 0
    assert same_tensors(before, weights_of(learner))


def test_odd_sizes(dtype: torch.dtype) -> None:
    learner = Learner(JITNet(3, width=0.25), ADAM, device=CPU)
    frames, labels = shapes(1, size_wh=(67, 51))
    odd = Sample(frames[0].image_rgb, labels[0], np.ones_like(labels[0]))
    assert learner.predict(odd.image_rgb).shape == (51, 67)
    learner.attempt(odd).step()


def test_images_that_are_views_are_taken(dtype: torch.dtype) -> None:
    image = sample().image_rgb
    np.testing.assert_array_equal(tiny().predict(image[:, ::-1]), tiny().predict(np.ascontiguousarray(image[:, ::-1])))


@pytest.mark.parametrize("config", [ADAM, SGD], ids=["adam", "sgd"])
def test_state_comes_back_to_the_last_bit(config: LearnerConfig, dtype: torch.dtype, tmp_path: Path) -> None:
    """The file holds momenta in the plain order and channels_last weights were moved by each other's."""
    learner = Learner(JITNet(3, width=0.25), config, device=CPU)
    learn(learner, updates=3)
    checkpoint.save(tmp_path / "a.safetensors", learner.state(), meta={})
    again = Learner(JITNet(3, width=0.25), config, device=CPU)
    again.load_state(checkpoint.load(tmp_path / "a.safetensors")[0], source="a")
    assert same_tensors(again.state(), learner.state())
    moments = {name.rsplit(".", 1)[1] for name in learner.state() if name.startswith("optimizer.")}
    assert moments == ({"step", "exp_avg", "exp_avg_sq"} if config is ADAM else {"momentum_buffer"})
    assert learn(again, updates=3, first=3) == learn(learner, updates=3, first=3)
    assert same_tensors(again.state(), learner.state())


def test_a_state_from_before_the_first_update_comes_back() -> None:
    learner, again = tiny(), tiny(seed=1)
    again.load_state(learner.state(), source="a")
    assert same_tensors(again.state(), learner.state())
    assert learn(again, updates=2) == learn(learner, updates=2)


def test_a_state_of_another_network_is_refused() -> None:
    with pytest.raises(WeightsError, match=r"a.safetensors: does not fit the network"):
        tiny().load_state(Learner(JITNet(3, width=0.25), ADAM, device=CPU).state(), source="a.safetensors")
    with pytest.raises(WeightsError, match=r"'last.weight' is \(3, 8, 1, 1\), the network needs \(4, 8, 1, 1\)"):
        Learner(TinyStudent(4), ADAM, device=CPU).load_state(tiny().state(), source="a")


def test_weights_that_are_held_still_stay() -> None:
    net = TinyStudent(len(CLASSES))
    net.first.requires_grad_(False)
    learner = Learner(net, ADAM, device=CPU)
    before = weights_of(learner)
    learn(learner, updates=2)
    assert torch.equal(before["first.weight"], weights_of(learner)["first.weight"])
    assert not torch.equal(before["last.weight"], weights_of(learner)["last.weight"])


@pytest.mark.parametrize(
    "settings",
    [
        {"learning_rate": 0.0},
        {"learning_rate": -1.0},
        {"learning_rate": float("nan")},
        {"learning_rate": float("inf")},
        {"momentum": 1.0},
        {"momentum": -0.1},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, float]) -> None:
    (name,) = settings
    with pytest.raises(ConfigError, match=f"{name} = .*: must be "):
        LearnerConfig(**settings)  # type: ignore[arg-type]


@pytest.mark.gpu
@pytest.mark.parametrize("config", [ADAM, SGD], ids=["adam", "sgd"])
def test_a_frame_can_be_learned_on_a_gpu_and_its_state_comes_back(config: LearnerConfig, tmp_path: Path) -> None:
    device = torch.device("cuda")
    learner = Learner(JITNet(3, width=0.25), config, device=device)
    losses = [learner.attempt(sample()).step() for _ in range(30)]
    assert losses[-1] < losses[0]
    assert learner.predict(sample().image_rgb).shape == (48, 64)
    checkpoint.save(tmp_path / "a.safetensors", learner.state(), meta={})
    again = Learner(JITNet(3, width=0.25), config, device=device)
    again.load_state(checkpoint.load(tmp_path / "a.safetensors")[0], source="a")
    for name, value in learner.state().items():
        torch.testing.assert_close(again.state()[name], value, rtol=0, atol=0)
    learner.attempt(sample(1)).step()
    again.attempt(sample(1)).step()
    for name, value in learner.state().items():
        torch.testing.assert_close(again.state()[name], value, rtol=1e-3, atol=1e-3)


@pytest.mark.gpu
def test_a_cuda_graph_follows_the_weights_and_the_size() -> None:
    device = torch.device("cuda")
    graphed = Learner(JITNet(3, width=0.25), LearnerConfig(), device=device)
    plain = Learner(JITNet(3, width=0.25), LearnerConfig(), device=device)
    plain.load_state(graphed.state(), source="graphed")
    plain._may_capture = False
    for frame in range(4):
        image = sample(frame).image_rgb[: 48 - 16 * (frame % 2)]
        assert (graphed.predict(image) == plain.predict(image)).mean() > 0.999
        assert graphed._captured is not None
        graphed.attempt(sample(frame)).step()
        plain.load_state(graphed.state(), source="graphed")
