"""The HydraNet template (section 3.2, figure 3.1): stem, branches, gate, combiner.

features = stem(images); scores = gate(features); top k of the scores choose branches; the combiner reads their sum.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from narrowcast.core.errors import ConfigError
from narrowcast.hydra.combine import Combine, add
from narrowcast.hydra.dispatch import Dispatcher, Form, run_masked
from narrowcast.hydra.gate import Gate, NoGate
from narrowcast.hydra.routes import Routes, confident_routes, same_routes, top_routes

Execution = Literal["masked", "dispatched"]
NormRows = Literal["all", "chosen"]


class HydraOutput(NamedTuple):
    """What a HydraNet says of a batch, and how it came to it."""

    logits: Float[Tensor, "n classes"]
    gate_logits: Float[Tensor, "n outputs"]
    scores: Float[Tensor, "n branches"]
    routes: Routes


@final
class HydraNet(nn.Module):
    """A classifier that runs `num_chosen` of its branches for each image.

    Attributes:
        execution: "dispatched" runs the chosen branches only; "masked" runs all and drops what is not chosen (the
            thesis's training). The same function, but for `norm_rows`.
        norm_rows: whose statistics a branch's batch norms learn while training: "chosen" images, or "all", as in the
            thesis's masked training, which only masked execution can do.
        form: how dispatched execution runs (see `narrowcast.hydra.dispatch`); "auto" is the loop while training, else
            whatever was fastest when it was measured, once a batch size.
        num_chosen: k; may be changed at any time where the combiner adds.
        confidence: 1 runs `num_chosen` branches for every image; less runs as few as have that share of the gate's
            score, and `num_chosen` at most.
    """

    def __init__(
        self,
        *,
        stem: nn.Module,
        branches: Sequence[nn.Module],
        gate: Gate,
        combiner: nn.Module,
        num_chosen: int,
        combine: Combine = add,
    ) -> None:
        super().__init__()
        if len(branches) != gate.num_branches:
            raise ConfigError(f"the gate chooses from {gate.num_branches} branches, and there are {len(branches)}")
        if not 1 <= num_chosen <= len(branches):
            raise ConfigError(f"num_chosen = {num_chosen}: must be from 1 to the number of branches, {len(branches)}")
        assert isinstance(gate, nn.Module)
        self.stem, self.branches, self.combiner = stem, nn.ModuleList(branches), combiner
        self.gate: Gate = gate
        self.combine = combine
        self.num_chosen = len(branches) if isinstance(gate, NoGate) else num_chosen
        self.num_slots = self.num_chosen
        self.confidence = 1.0
        self.execution: Execution = "dispatched"
        self.norm_rows: NormRows = "chosen"
        self.form: Form | Literal["auto"] = "auto"
        self._dispatcher = Dispatcher()
        self.register_load_state_dict_post_hook(lambda net, _: net._dispatcher.forget())

    def forward(self, images: Float[Tensor, "n _ h w"]) -> HydraOutput:
        return self.after_stem(self.stem(images))

    def after_stem(self, features: Float[Tensor, "n c h w"]) -> HydraOutput:
        """What `forward` does with the stem's output, so that several numbers of branches can share it."""
        gate_logits = self.gate(features)
        scores = self.gate.scores(gate_logits)
        routes = self._choose(scores)
        if self.training:
            self.gate.observe(routes.is_chosen(len(self.branches)))
        logits = self.combiner(self._combined(features, routes))
        return HydraOutput(logits, gate_logits, scores, routes)

    def forward_fixed(self, images: Float[Tensor, "n _ h w"], branch_ix: Sequence[int]) -> Float[Tensor, "n classes"]:
        """Logits with the same branches for every image; the gate runs and is not asked: for counting."""
        features = self.stem(images)
        self.gate(features)
        routes = same_routes(torch.tensor(branch_ix, device=images.device), num_images=len(images))
        rows = torch.stack([self.branches[ix](features) for ix in branch_ix], 1).flatten(0, 1)
        return self.combiner(self.combine(rows, routes, num_slots=self.num_slots))

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> "HydraNet":
        self._dispatcher.forget()  # `.to(device)` puts other tensors in the place of these
        return super()._apply(fn, recurse)

    def _choose(self, scores: Float[Tensor, "n branches"]) -> Routes:
        if self.confidence < 1:
            routes = confident_routes(scores, confidence=self.confidence, at_most=self.num_chosen)
        else:
            routes = top_routes(self.gate.wanted(scores), self.num_chosen)
        if not self.gate.is_weighting:
            return routes
        weight = scores[routes.image_ix, routes.branch_ix]
        return Routes(
            image_ix=routes.image_ix,
            branch_ix=routes.branch_ix,
            rank=routes.rank,
            weight=weight,
            num_images=routes.num_images,
        )

    def _combined(self, features: Tensor, routes: Routes) -> Tensor:
        branches = list(self.branches)
        if self.execution == "masked":
            rows, routes = run_masked(branches, features, routes, all_statistics=self.norm_rows == "all")
        else:
            if self.training and self.norm_rows == "all":
                raise ConfigError(
                    "norm_rows = 'all' needs every branch to see every image, which only execution = 'masked' does"
                )
            form = self._dispatcher.fastest(branches, features, routes) if self.form == "auto" else self.form
            rows, routes = self._dispatcher.run(branches, features, routes, form=form)
        return self.combine(rows, routes, num_slots=self.num_slots)


def hydra_loss(
    output: HydraOutput, labels: Int[Tensor, " n"], *, gate: Gate, gate_weight: float = 1.0
) -> Float[Tensor, ""]:
    """Cross-entropy of the classes, plus what the gate learns from (section 3.2.3; their weights are unsaid there)."""
    logits = output.logits.to(torch.promote_types(output.logits.dtype, torch.float32))
    return F.cross_entropy(logits, labels) + gate_weight * gate.loss(output.gate_logits, labels)
