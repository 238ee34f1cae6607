"""Methods: what is different between background splitting and what it is compared with, as settings of one loop."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor

from narrowcast.bgsplit import imbalance
from narrowcast.bgsplit.loss import AUXILIARY_WEIGHT, BACKGROUND_LOGIT, auxiliary_loss
from narrowcast.bgsplit.net import Features, Norm, Outputs
from narrowcast.core.errors import ConfigError, UsageError, did_you_mean


@dataclass(frozen=True, kw_only=True, slots=True)
class MethodConfig:
    """One method. The defaults are plain fine-tuning on centred features."""

    loss: Literal["cross-entropy", "focal", "ldam", "logit-adjusted"] = "cross-entropy"
    clamp: bool = False  # the background's logit is `background_logit` and not learned (eq. 5.2)
    background_logit: float = BACKGROUND_LOGIT
    auxiliary_weight: float = 0.0  # λ; 0: no auxiliary head
    auxiliary_start: Literal["own", "random"] = "own"  # the auxiliary model's own head where it has one
    features: Features = "centred"  # FACTS 7: raw ones collapse
    sampling: Literal["uniform", "balanced"] = "uniform"
    start: Literal["prior", "probe", "zero"] = "prior"  # of the main head: biases as frequent as classes are [Lin 2017]
    train: Literal["joint", "probe", "auxiliary-first"] = "joint"  # section 5.4.4: frozen, or the auxiliary task alone
    second_stage: Literal["none", "lws", "crt", "tau-norm", "probe"] = "none"
    gamma: float = 2.0  # of focal
    tau: float = 1.0  # of logit adjustment and τ-norm
    largest_margin: float = 0.5  # of ldam
    margin_scale: float = 30.0  # of ldam
    reweight_from: float = 0.8  # of ldam: share of the steps after which classes are re-weighted
    beta: float = 0.9999  # of that re-weighting
    balanced: bool = True  # of the probe
    inverse_strength: float = 1e-3  # C of the probe; ours, see benchmarks/bgsplit.py
    trunk_rate: float = 1.0  # multiplies the learning rate, 0: frozen; these three are ours, on unscored draws
    main_rate: float = 10.0  # of the main head; a slow one beside the auxiliary loss is destructive (recounted)
    auxiliary_rate: float = 3.0  # of the auxiliary head; at the trunk's own rate it never trains (recounted)
    norm: Norm = "frozen"  # batch norm's statistics; "followed" loses at 64 px, see docs/negative-results.md
    average: float = 0.0  # share of the old in the running average of the weights; 0: the training's own

    def __post_init__(self) -> None:
        if self.auxiliary_weight < 0 or self.gamma < 0 or not 0 <= self.beta < 1:
            raise ConfigError("[method] auxiliary_weight and gamma must not be negative, beta must be in [0, 1)")
        if not 0 <= self.average < 1:
            raise ConfigError(f"[method] average = {self.average}: must be in [0, 1)")
        if self.loss == "ldam" and self.clamp:
            raise ConfigError("[method] clamp has no meaning with ldam: its logits are cosines")
        if self.train == "auxiliary-first" and not self.auxiliary_weight:
            raise ConfigError("[method] train = 'auxiliary-first' needs an auxiliary_weight")

    @property
    def first_stage(self) -> "MethodConfig":
        """What this method trains before its second stage, whose settings are those of the default."""
        plain = MethodConfig()
        same = {name: getattr(plain, name) for name in ("second_stage", "balanced", "inverse_strength")}
        return replace(self, **same) if self.start != "probe" else replace(self, second_stage="none")

    @property
    def is_trained(self) -> bool:
        """Whether the trunk or the heads take steps."""
        return self.train != "probe"


FINE_TUNING = MethodConfig()
AUXILIARY = MethodConfig(auxiliary_weight=AUXILIARY_WEIGHT)
BG_SPLIT = MethodConfig(clamp=True, auxiliary_weight=AUXILIARY_WEIGHT)
ADJUSTED = MethodConfig(loss="logit-adjusted")
METHODS: dict[str, MethodConfig] = {
    "ft": FINE_TUNING,
    "ft-raw": replace(FINE_TUNING, features="raw", start="zero"),
    "focal": MethodConfig(loss="focal"),
    # cosines × 30 move the trunk far: on an unscored draw AP .21 with the others' rates and weights from 0.8 on
    "ldam": MethodConfig(loss="ldam", trunk_rate=0.03, main_rate=30.0, reweight_from=0.3),
    "balanced-sampling": MethodConfig(sampling="balanced"),
    "lws": MethodConfig(second_stage="lws"),
    "crt": MethodConfig(second_stage="crt"),
    "tau-norm": MethodConfig(second_stage="tau-norm"),
    "logit-adjusted": ADJUSTED,
    "probe": MethodConfig(train="probe"),
    "probe-unbalanced": MethodConfig(train="probe", balanced=False),
    "auxiliary": AUXILIARY,
    "clamp": MethodConfig(clamp=True),
    "bgsplit": BG_SPLIT,
    "bgsplit-raw": replace(BG_SPLIT, features="raw", start="zero"),
    "clamp-raw": MethodConfig(clamp=True, features="raw", start="zero"),
    "auxiliary-raw": replace(AUXILIARY, features="raw", start="zero"),
    "bgsplit-random-head": replace(BG_SPLIT, auxiliary_start="random"),
    "bgsplit-logit-adjusted": replace(BG_SPLIT, loss="logit-adjusted"),
    "bgsplit-averaged": replace(BG_SPLIT, average=0.99),
    "bgsplit-probe": replace(BG_SPLIT, second_stage="probe"),
    "ft-heads": MethodConfig(trunk_rate=0.0),
    "logit-adjusted-heads": replace(ADJUSTED, trunk_rate=0.0),
    "clamp-heads": MethodConfig(clamp=True, trunk_rate=0.0),
    "clamp-logit-adjusted-heads": replace(ADJUSTED, clamp=True, trunk_rate=0.0),
    "bgsplit-warm": replace(BG_SPLIT, start="probe"),
    "bgsplit-warm-logit-adjusted": replace(BG_SPLIT, start="probe", loss="logit-adjusted"),
    "ft-probe": MethodConfig(second_stage="probe"),
    "decoupled": MethodConfig(auxiliary_weight=1.0, train="auxiliary-first", second_stage="probe"),
}


def find_method(name: str) -> MethodConfig:
    """The method called `name`.

    Raises:
        UsageError: there is none, with a suggestion.
    """
    if name not in METHODS:
        raise UsageError(f"no method '{name}'{did_you_mean(name, METHODS)}; there are {', '.join(METHODS)}")
    return METHODS[name]


class MethodLoss:
    """`method`'s loss on outputs, labels and pseudo-labels; `progress` is the share of the steps that are done."""

    def __init__(self, method: MethodConfig, counts: list[int]) -> None:
        self.method = method
        self._prior = torch.tensor(imbalance.log_shares(counts))
        self._margins = torch.tensor(imbalance.ldam_margins(counts, largest=method.largest_margin))
        self._weights = torch.tensor(imbalance.effective_weights(counts, beta=method.beta))

    def __call__(
        self, outputs: Outputs, labels: Int[Tensor, " b"], pseudo: Int[Tensor, " b"], *, progress: float
    ) -> Tensor:
        """Main loss + λ auxiliary loss (section 5.3.1); the auxiliary one alone where it is trained first."""
        auxiliary = outputs.main.new_zeros(())
        if outputs.auxiliary is not None:
            auxiliary = self.method.auxiliary_weight * auxiliary_loss(outputs.auxiliary.float(), pseudo)
            if self.method.train == "auxiliary-first":
                return auxiliary
        return self.main(outputs.main, labels, progress=progress) + auxiliary

    def main(self, logits: Tensor, labels: Int[Tensor, " b"], *, progress: float) -> Tensor:
        """The main task's loss."""
        method, device = self.method, logits.device
        if method.loss == "focal":
            return imbalance.focal_loss(logits, labels, gamma=method.gamma)
        if method.loss == "logit-adjusted":
            return imbalance.adjusted_loss(logits, labels, log_prior=self._prior.to(device), tau=method.tau)
        if method.loss == "ldam":
            is_late = progress >= method.reweight_from
            weights = self._weights if is_late else torch.ones_like(self._weights)
            return imbalance.ldam_loss(
                logits,
                labels,
                margins=self._margins.to(device),
                weights=weights.to(device),
                scale=method.margin_scale,
            )
        return F.cross_entropy(logits, labels)
