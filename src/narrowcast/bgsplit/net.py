"""The network: a shared trunk, a main head over the categories and an auxiliary head beside it (figure 5.3)."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from narrowcast.bgsplit.loss import with_background
from narrowcast.bgsplit.second_stage import Linear

Features = Literal["raw", "centred", "normalised"]
Norm = Literal["frozen", "followed"]  # batch norm's statistics: the trunk's own, or those of the batches
FOLLOWED_MOMENTUM = 0.1  # torch's default: a trunk's own (0.01 of EfficientNet) lags behind a short training


class Outputs(NamedTuple):
    """Logits of background and N categories, and of K pseudo-categories where there is an auxiliary head."""

    main: Float[Tensor, "b n1"]
    auxiliary: Float[Tensor, "b k"] | None


@dataclass(frozen=True, slots=True, eq=False)
class FeatureScale:
    """features' = (features − mean) / spread, and divided by their length × √d where they are normalised.

    Raw features are far from zero mean, which alone makes fine-tuning collapse where positives are few (recounted).
    """

    mean: Float[Tensor, " d"]
    spread: float
    unit: bool

    def __call__(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        centred = (features - self.mean) / self.spread
        return F.normalize(centred, dim=1) * features.shape[1] ** 0.5 if self.unit else centred


def scale_of(features: Float[Tensor, "n d"], kind: Features) -> FeatureScale:
    """The scale of training features: mean square 1 an element unless `kind` is "raw"."""
    if kind == "raw":
        return FeatureScale(torch.zeros_like(features[0]), 1.0, False)
    mean = features.mean(0)
    spread = float((features - mean).square().mean().sqrt()) or 1.0
    return FeatureScale(mean, spread, kind == "normalised")


@final
class SplitNet(nn.Module):
    """Inputs of the trunk to `Outputs`. Without auxiliary head and with a learned background it is plain fine-tuning.

    Attributes:
        background_logit: b_0, or None where the background's row is learned like a category's.
        is_cosine: the main head gives cosines between features and weights, as LDAM needs.
    """

    mean: Tensor

    def __init__(
        self,
        trunk: nn.Module,
        scale: FeatureScale,
        *,
        num_categories: int,
        num_auxiliary: int,
        background_logit: float | None,
        is_cosine: bool = False,
        norm: Norm = "frozen",
    ) -> None:
        super().__init__()
        self.norm: Norm = norm
        self.trunk, self.background_logit, self.is_cosine = trunk, background_logit, is_cosine
        self.spread, self.is_unit = scale.spread, scale.unit
        self.register_buffer("mean", scale.mean.clone())
        dim = len(scale.mean)
        self.main = nn.Linear(dim, num_categories + (background_logit is None))
        self.auxiliary = nn.Linear(dim, num_auxiliary) if num_auxiliary else None
        for head in (self.main, self.auxiliary):
            if head is not None:
                nn.init.normal_(head.weight, std=0.01 if not is_cosine else dim**-0.5)  # of length 1, as LDAM
                nn.init.zeros_(head.bias)

    def forward(self, inputs: Tensor) -> Outputs:
        features = self.features(inputs)
        return Outputs(self.classify(features), self.auxiliary(features) if self.auxiliary is not None else None)

    def features(self, inputs: Tensor) -> Float[Tensor, "b d"]:
        """Scaled features; float32 whatever the trunk computed in."""
        return self.scaled(self.trunk(inputs).float())

    def scaled(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """What the heads see of the trunk's features."""
        return FeatureScale(self.mean, self.spread, self.is_unit)(features)

    def classify(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b n1"]:
        """The main head's logits with the background's before them."""
        with torch.autocast(features.device.type, enabled=False):
            if self.is_cosine:
                logits = F.linear(F.normalize(features, dim=1), F.normalize(self.main.weight, dim=1))
            else:
                logits = self.main(features)
            if self.background_logit is None:
                return logits
            return with_background(logits, background_logit=self.background_logit)

    def load_main(self, linear: Linear) -> None:
        """Begin with the rows of `linear`: over all classes, or over categories where the background is clamped."""
        with torch.no_grad():
            self.main.weight.copy_(linear.weight)
            self.main.bias.copy_(linear.bias)

    def load_auxiliary(self, head: nn.Linear) -> None:
        """Begin with the auxiliary model's own head, made for features that were not scaled: the same answers.

        W f + b = (spread · W) f' + (b + W mean) where f' = (f − mean) / spread.
        """
        assert self.auxiliary is not None
        with torch.no_grad():
            self.auxiliary.weight.copy_(head.weight * self.spread)
            self.auxiliary.bias.copy_(head.bias + head.weight @ self.mean)

    def auxiliary_head(self) -> nn.Linear | None:
        """The auxiliary head for features that are not scaled: what `load_auxiliary` would take."""
        if self.auxiliary is None:
            return None
        head = nn.Linear(self.auxiliary.in_features, self.auxiliary.out_features).requires_grad_(False)
        head.weight.copy_(self.auxiliary.weight / self.spread)
        head.bias.copy_(self.auxiliary.bias - self.auxiliary.weight @ self.mean / self.spread)
        return head

    def main_linear(self) -> Linear:
        """The main head as weights over all classes, the background's clamped row included.

        Of a cosine head the weights have length 1 and features have to be normalised.
        """
        weight, bias = self.main.weight.detach(), self.main.bias.detach()
        if self.is_cosine:
            return Linear(F.normalize(weight, dim=1), torch.zeros_like(bias))
        if self.background_logit is not None:
            weight = torch.cat([torch.zeros_like(weight[:1]), weight])
            bias = torch.cat([bias.new_tensor([self.background_logit]), bias])
        return Linear(weight, bias)

    def groups(self, *, trunk_rate: float, main_rate: float, auxiliary_rate: float) -> list[dict[str, Any]]:
        """Parameter groups; the rates multiply the learning rate."""
        groups: list[dict[str, Any]] = [{"params": list(self.main.parameters()), "scale": main_rate}]
        if self.auxiliary is not None:
            groups.append({"params": list(self.auxiliary.parameters()), "scale": auxiliary_rate})
        trunk = [parameter for parameter in self.trunk.parameters() if parameter.requires_grad]
        return [*groups, {"params": trunk, "scale": trunk_rate}] if trunk else groups

    def set_modes(self) -> None:
        """Training mode; batch norm's statistics stay, or follow the batches (the thesis says nothing)."""
        self.train()
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                if self.norm == "frozen":
                    module.eval()
                else:
                    module.momentum = FOLLOWED_MOMENTUM
