"""Masked and dispatched execution compute the same function, in every form, forward and backward."""

import copy

import pytest
import torch
from torch import Tensor, nn

from narrowcast.core.errors import ConfigError
from narrowcast.hydra import rows as rows_module
from narrowcast.hydra.combine import average, concatenate
from narrowcast.hydra.dispatch import FORMS, Dispatcher, run_loop, run_masked
from narrowcast.hydra.families import learned_gate
from narrowcast.hydra.net import HydraNet, hydra_loss
from narrowcast.hydra.routes import top_routes
from narrowcast.hydra.rows import Rows, grouped_products

from .conftest import NUM_BRANCHES, NUM_CLASSES, build

CLOSE = {"atol": 1e-5, "rtol": 1e-5}
IMAGES_HW = (32, 32)


def gradients(net: HydraNet, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    net.zero_grad()
    hydra_loss(net(images), labels, gate=net.gate).backward()
    return {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in net.named_parameters()}


@pytest.mark.parametrize("batch", [1, 5, 17])
def test_every_form_gives_the_masked_outputs(family: str, batch: int) -> None:
    net, images = build(family), torch.rand(batch, 3, *IMAGES_HW)
    with torch.inference_mode():
        net.execution = "masked"
        masked = net(images)
        net.execution = "dispatched"
        for form in ("auto", *FORMS):
            net.form = form
            output = net(images)
            torch.testing.assert_close(output.logits, masked.logits, **CLOSE)
            assert torch.equal(output.routes.branch_ix, masked.routes.branch_ix)
    assert net._dispatcher.why_not_rows(list(net.branches)) == ""


@pytest.mark.parametrize("options", [{}, {"combine": concatenate}, {"combine": average}], ids=["add", "concat", "mean"])
def test_every_form_gives_the_masked_gradients_with_frozen_norms(family: str, options: dict) -> None:
    net, images, labels = build(family, **options), torch.rand(7, 3, *IMAGES_HW), torch.arange(7) % NUM_CLASSES
    net.execution = "masked"
    masked = gradients(net, images, labels)
    net.execution = "dispatched"
    for form in ("auto", *FORMS):
        net.form = form
        found = gradients(net, images, labels)
        for name, expected in masked.items():
            torch.testing.assert_close(found[name], expected, **CLOSE, msg=lambda text, n=name: f"{n}: {text}")


def test_weighted_routes_are_the_same_in_every_form() -> None:
    net = build("res", gate=learned_gate(NUM_BRANCHES, balance=0.1))
    images, labels = torch.rand(5, 3, *IMAGES_HW), torch.arange(5)
    net.execution = "masked"
    masked = gradients(net, images, labels)
    assert masked["gate.trunk.1.weight"].abs().sum() > 0
    net.execution = "dispatched"
    for form in FORMS:
        net.form = form
        torch.testing.assert_close(gradients(net, images, labels), masked, **CLOSE)


def test_fewer_branches_by_confidence_are_the_same_in_every_form() -> None:
    net, images = build("res"), torch.rand(9, 3, *IMAGES_HW)
    net.num_chosen, net.confidence = 4, 0.6
    with torch.inference_mode():
        net.execution = "masked"
        masked = net(images)
        counts = masked.routes.image_ix.bincount()
        assert counts.min() >= 1
        assert counts.max() <= 4
        net.execution = "dispatched"
        for form in FORMS:
            net.form = form
            torch.testing.assert_close(net(images).logits, masked.logits, **CLOSE)


def test_training_over_chosen_images_is_the_same_masked_and_dispatched(family: str) -> None:
    """Batch norms in training: outputs, gradients and running statistics."""
    masked_net = (
        build(family).double().train()
    )  # in float32 the two orders of summing differ by 1e-4 in such small nets
    dispatched_net = copy.deepcopy(masked_net)
    masked_net.execution, dispatched_net.execution = "masked", "dispatched"
    images, labels = torch.rand(16, 3, *IMAGES_HW, dtype=torch.float64), torch.arange(16) % NUM_CLASSES
    masked, dispatched = (gradients(net, images, labels) for net in (masked_net, dispatched_net))
    torch.testing.assert_close(dispatched, masked, atol=1e-9, rtol=1e-7)
    for name, value in masked_net.state_dict().items():
        torch.testing.assert_close(dispatched_net.state_dict()[name], value, **CLOSE, msg=lambda t, n=name: f"{n} {t}")


def test_training_over_all_images_is_the_thesis_and_moves_unchosen_statistics() -> None:
    net = build("res").train()
    net.execution, net.norm_rows = "masked", "all"
    images = torch.rand(8, 3, *IMAGES_HW)
    before = [branch.layers[0][0].convolutions[1].running_mean.clone() for branch in net.branches]  # type: ignore[index]
    chosen = net(images).routes.is_chosen(NUM_BRANCHES).any(0)
    after = [branch.layers[0][0].convolutions[1].running_mean for branch in net.branches]  # type: ignore[index]
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    other = build("res").train()
    other(images)
    moved = [
        not torch.equal(b.layers[0][0].convolutions[1].running_mean, a)
        for a, b in zip(before, other.branches, strict=True)
    ]  # type: ignore[index]
    assert moved == chosen.tolist()
    net.execution = "dispatched"
    with pytest.raises(ConfigError, match="norm_rows"):
        net(images)


def test_unchosen_branches_get_no_gradient() -> None:
    for execution in ("masked", "dispatched"):
        net = build("res")
        net.execution = execution
        output = net(torch.rand(2, 3, *IMAGES_HW))
        output.logits.sum().backward()
        chosen = output.routes.is_chosen(NUM_BRANCHES).any(0)
        for branch, ran in zip(net.branches, chosen.tolist(), strict=True):
            total = sum(0.0 if p.grad is None else float(p.grad.abs().sum()) for p in branch.parameters())
            assert (total > 0) == ran


def test_stacked_weights_follow_what_an_optimiser_does() -> None:
    net, images = build("res"), torch.rand(3, 3, *IMAGES_HW)
    net.form = "gathered"
    with torch.inference_mode():
        before = net(images).logits
    with torch.no_grad():
        for parameter in net.branches.parameters():
            parameter.mul_(1.5)
    with torch.inference_mode():
        gathered = net(images).logits
        net.execution = "masked"
        masked = net(images).logits
    assert not torch.allclose(before, masked, atol=1e-3)
    torch.testing.assert_close(gathered, masked, **CLOSE)


def test_stacked_weights_follow_a_loaded_state_and_a_move() -> None:
    net, images = build("res"), torch.rand(3, 3, *IMAGES_HW)
    net.form = "gathered"
    state = {name: value * 0.9 if value.is_floating_point() else value for name, value in net.state_dict().items()}
    with torch.inference_mode():
        net(images)
        net.load_state_dict(state, assign=True)
        gathered = net(images).logits
        doubled = net.double()(images.double()).logits
        net.execution = "masked"
        torch.testing.assert_close(net(images.double()).logits, doubled)
    torch.testing.assert_close(gathered.double(), doubled, atol=1e-4, rtol=1e-4)


class Untraceable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) if x.sum() > 0 else self.layer(-x)


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


@pytest.mark.parametrize(
    "make",
    [
        Untraceable,
        Scaled,
        lambda: nn.GroupNorm(2, 4),
        lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        lambda: nn.BatchNorm2d(4, track_running_stats=False),
    ],
    ids=["branches on values", "loose parameter", "another norm", "reflecting", "no statistics"],
)
def test_branches_that_cannot_run_by_row_run_in_the_loop(make: object) -> None:
    branches = [make() for _ in range(3)]  # type: ignore[operator]
    routes = top_routes(torch.rand(5, 3), 2)
    dispatcher, x = Dispatcher(), torch.rand(5, 4, 6, 6)
    expected, _ = run_loop(branches, x, routes)
    assert dispatcher.why_not_rows(branches)
    for form in FORMS:
        found, _ = dispatcher.run(branches, x, routes, form=form)
        assert torch.equal(found, expected)


def test_branches_that_differ_run_in_the_loop() -> None:
    branches = [nn.Conv2d(4, 8, 1), nn.Conv2d(4, 8, 3, padding=1)]
    assert "differ" in Dispatcher().why_not_rows(branches)


def test_the_loop_and_the_mask_agree_with_a_slow_version() -> None:
    branches = [nn.Conv2d(3, 2, 1) for _ in range(4)]
    x, routes = torch.rand(6, 3, 4, 4), top_routes(torch.rand(6, 4), 2)
    for run in (run_loop, lambda b, x, r: run_masked(b, x, r, all_statistics=True)):
        rows, ordered = run(branches, x, routes)
        for row, image, branch in zip(rows, ordered.image_ix.tolist(), ordered.branch_ix.tolist(), strict=True):
            torch.testing.assert_close(row, branches[branch](x[image : image + 1])[0])
        pairs = {*zip(ordered.image_ix.tolist(), ordered.branch_ix.tolist(), strict=True)}
        assert pairs == {*zip(routes.image_ix.tolist(), routes.branch_ix.tolist(), strict=True)}


def test_a_form_is_measured_once_a_batch_size() -> None:
    net = build("res")
    with torch.inference_mode():
        for batch in (1, 1, 4, 5):
            net(torch.rand(batch, 3, *IMAGES_HW))
    assert len(net._dispatcher._fastest) == 2  # 2 rows; 8 and 10 rows
    assert set(net._dispatcher._fastest.values()) <= set(FORMS)
    assert copy.deepcopy(net)._dispatcher._fastest == {}


@pytest.mark.parametrize("repeats", [1, 3])
def test_the_grouped_product_of_cuda_is_the_product_a_branch(repeats: int) -> None:
    """The same kernel in bfloat16 on the CPU; branch 1 has no row."""
    rows = Rows()
    rows.counts, rows.branch_ix = [2, 0, 3], torch.tensor([0, 0, 2, 2, 2])
    x, weight, bias = torch.randn(5 * repeats, 16), torch.randn(3, 8, 16), torch.randn(3, 8)
    with torch.inference_mode():
        found = grouped_products(x.bfloat16(), weight.bfloat16(), bias.bfloat16(), rows, repeats=repeats)
    branch = rows.branch_ix.repeat_interleave(repeats)
    slow = torch.stack([weight[b] @ row + bias[b] for b, row in zip(branch.tolist(), x, strict=True)])
    torch.testing.assert_close(found.float(), slow, atol=0.15, rtol=0.05)


@pytest.mark.parametrize("batch", [1, 5])
def test_a_branch_stage_of_grouped_products_is_the_masked_one(
    family: str, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What CUDA runs in bfloat16, run on the CPU: whole branches of each family, to bfloat16's precision."""
    monkeypatch.setattr(rows_module, "GROUPED_ON", ("cpu",))
    net = build(family)
    branches = list(net.branches.bfloat16())
    with torch.inference_mode():
        features = net.stem(torch.rand(batch, 3, *IMAGES_HW)).bfloat16()
        routes = top_routes(torch.rand(batch, NUM_BRANCHES), 2)
        masked, by_branch = run_masked(branches, features, routes, all_statistics=True)
        found, order = Dispatcher().run(branches, features, routes, form="sorted")
    assert torch.equal(order.image_ix, by_branch.image_ix)
    torch.testing.assert_close(found.float(), masked.float(), atol=0.05, rtol=0.05)
