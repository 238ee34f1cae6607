"""One category being mined: labels so far, the ranking they lead to, and what to ask next."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Float32, Int64, Shaped
from scipy import sparse

from narrowcast.core.errors import UsageError
from narrowcast.mine.linear import LinearModel, Whitening, blend, centroid, fit_linear, whitening
from narrowcast.mine.negatives import Known, Pseudo, PseudoLabels, neighbour_graph
from narrowcast.mine.stored import Rows
from narrowcast.mine.strategies import Candidates, Choice, Strategy, top

WHITENING_ROWS = 20_000  # a covariance of 1,280 values is known well enough from so many photos; ours
PARTS = 5  # in which pseudo-negatives are looked at by models that do not know them; ours
POSITIVE, NEGATIVE, ASIDE = 1, -1, 2  # ASIDE: unsure, or kept for an audit


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """How a category is mined.

    Attributes:
        ask: chooses what to ask.
        make_pseudo: a fresh source of pseudo-labels for one category; it may remember what it drew.
        c, is_balanced: of the logistic regression.
        shrinkage: of the whitening that its penalty is measured in; 0 is none.
        plain_c: of a second regression in plain features, whose logits are averaged with the whitened one's; 0: none.
        fade: labels up to which both count alike; then the whitened one's share falls as fade / labels. 0: never.
        starts_with_model: fit before the first question, where pseudo-labels make that possible; else it ranks by the
            centroid (line 4 of Algorithm 2).
    """

    ask: Strategy
    make_pseudo: Callable[[], PseudoLabels]
    c: float = 10.0  # FACTS: + .022 ± .007 AP at 50 labels over C = 100; see benchmarks/mining.py
    is_balanced: bool = True
    shrinkage: float = 0.0
    plain_c: float = 0.0
    fade: float = 0.0
    starts_with_model: bool = False


class PoolFacts:
    """What is computed once of a pool's features, for all categories that need it: whitening, graph of neighbours."""

    def __init__(self, features: Rows, *, seed: int = 0) -> None:
        self._features, self._seed = features, seed
        self._whitening: dict[float, Whitening] = {}
        self._graphs: dict[int, sparse.csr_matrix] = {}

    def whitening(self, shrinkage: float) -> Whitening:
        """The whitening with that shrinkage."""
        if shrinkage not in self._whitening:
            rng = np.random.default_rng(self._seed)
            self._whitening[shrinkage] = whitening(self._features, shrinkage=shrinkage, num=WHITENING_ROWS, rng=rng)
        return self._whitening[shrinkage]

    def graph(self, neighbours: int) -> sparse.csr_matrix:
        """The graph of so many nearest neighbours."""
        if neighbours not in self._graphs:
            self._graphs[neighbours] = neighbour_graph(self._features, neighbours)
        return self._graphs[neighbours]


@final
class Miner:
    """The state of one category. Nothing is written here; a session or a simulation owns the labels.

    Args:
        features: of the pool, normalised.
        outside: features of positives that are not in the pool.
        facts: of these features; made where they are not given and needed.
    """

    def __init__(
        self,
        features: Rows,
        method: Method,
        *,
        rng: np.random.Generator,
        outside: Float32[np.ndarray, "seeds dim"] | None = None,
        facts: PoolFacts | None = None,
    ) -> None:
        self.features, self.method, self._rng = features, method, rng
        self.outside = np.zeros((0, features.shape[1]), np.float32) if outside is None else outside
        self.labels = np.zeros(len(features), np.int8)
        self.model: LinearModel | None = None
        self.has_model = False
        self.pseudo_ix = np.zeros(0, np.int64)  # what the last fit took for labelled without being told
        self._facts = facts or PoolFacts(features)
        self._pseudo = method.make_pseudo()
        self._drawn: Pseudo | None = None
        self._scores: Float32[np.ndarray, " pool"] | None = None
        self._scores_before: Float32[np.ndarray, " pool"] | None = None  # of the last model that ranked the whole pool
        self._fitted: LinearModel | None = None  # in whitened features where the method whitens
        self._white: dict[
            int, Float32[np.ndarray, " dim"]
        ] = {}  # rows whitened before; whitening one is 1.6 M products

    def add(self, pool_ix: Int64[np.ndarray, " n"], labels: Sequence[int] | np.ndarray) -> None:
        """Take labels in: 1 positive, −1 negative, 2 aside, 0 taken back."""
        self.labels[pool_ix] = labels

    def reset(self, labels: Shaped[np.ndarray, " pool"], outside: Float32[np.ndarray, "n dim"]) -> None:
        """Replace all labels, as after an undo; the model is that of before until `learn`."""
        self.labels, self.outside = labels, outside
        if not self.has_model:  # the centroid is that of other positives now
            self.model, self._scores = None, None

    @property
    def scores(self) -> Float32[np.ndarray, " pool"]:
        """Of the whole pool: logits of the model, cosines to the centroid before there is one.

        Raises:
            UsageError: there is no positive to begin with.
        """
        if self._scores is None:
            if self.model is None:
                self.model = centroid(self._positives())
            self._scores = self.model.scores(self.features)
        return self._scores

    def glance(self, num: int) -> Float32[np.ndarray, " pool"]:
        """Scores by the model of now as far as that goes without a pass over the pool; −∞ where it does not.

        Known are those of labelled photos, of the `num` that the ranking before put first, and of the `num` that lay
        nearest to its boundary. All, where there was no ranking before, or where nothing was learned since.
        """
        if self._scores is not None or self._scores_before is None or self.model is None:
            return self.scores
        before = self._scores_before
        near = np.concatenate([top(before, self.is_free, num), top(-np.abs(before), self.is_free, num)])
        near = np.union1d(near, np.flatnonzero(~self.is_free))
        scores = np.full(len(before), -np.inf, np.float32)
        scores[near] = self.model.scores(self.features[near])
        return scores

    def learn(self) -> bool:
        """Fit the linear model to the labels and fresh pseudo-labels; False where there is no negative of any kind."""
        self._drawn = self._pseudo(self.known(), self._rng)
        self.pseudo_ix = self._drawn.pool_ix
        fitted = self._fit_to(self._drawn)
        if fitted is None:
            if self.has_model:  # labels were taken back until nothing is left to fit
                self.model, self.has_model, self._scores = None, False, None
            return False
        if self.has_model and self._scores is not None:
            self._scores_before = self._scores
        self.model, self.has_model, self._scores = fitted, True, None
        return True

    def suspicious(self, num: int) -> Choice:
        """Pseudo-negatives that may be positives: those that models which were not told of them score highest.

        Each fifth of them is scored by a model of the labels and the other four; empty before there is a model.
        """
        if self._drawn is None or not self.has_model:
            return Choice(np.zeros(0, np.int64), ())
        drawn, kept = self._drawn.without(self._drawn.is_positive), self._fitted
        scores = np.full(len(drawn.pool_ix), -np.inf)
        for part in range(PARTS):
            own = np.arange(len(drawn.pool_ix)) % PARTS == part
            model = self._fit_to(drawn.without(own))
            if model is not None and own.any():
                scores[own] = model.scores(self.features[drawn.pool_ix[own]].astype(np.float32))
        self._fitted = kept
        best = np.argsort(-scores, kind="stable")[:num]
        return Choice(drawn.pool_ix[best], ("a pseudo-negative that looks positive",) * len(best))

    def _fit_to(self, pseudo: Pseudo) -> LinearModel | None:
        """The model of the labels and these pseudo-labels; None where there is one class only."""
        positive, negative = (np.flatnonzero(self.labels == sign) for sign in (POSITIVE, NEGATIVE))
        places = np.concatenate([positive, negative, pseudo.pool_ix])
        labels = np.concatenate([np.ones(len(positive), bool), np.zeros(len(negative), bool), pseudo.is_positive])
        weights = np.concatenate([np.ones(len(positive) + len(negative), np.float32), pseudo.weights])
        labels = np.concatenate([np.ones(len(self.outside), bool), labels])
        weights = np.concatenate([np.ones(len(self.outside), np.float32), weights])
        return None if labels.all() or not labels.any() else self._fit(places, labels, weights)

    def ask(self, num: int) -> Choice:
        """The next `num` photos to label; fewer where the pool ends."""
        if self.method.starts_with_model and not self.has_model:
            self.learn()
        candidates = Candidates(
            scores=self.scores,
            is_open=self.labels == 0,
            labels=self.labels,
            features=self.features,
            has_model=self.has_model,
        )
        return self.method.ask(candidates, num, self._rng)

    def forget_features(
        self,
        features: Rows,
        outside: Float32[np.ndarray, "seeds dim"] | None = None,
        *,
        facts: PoolFacts | None = None,
    ) -> None:
        """Go on with other features of the same pool; the ranking is made anew from the labels.

        Args:
            outside: features of positives that are not in the pool; none, where it is not given.
            facts: of the new features, where categories share them.
        """
        self.features = features
        self.outside = np.zeros((0, features.shape[1]), np.float32) if outside is None else outside
        self.model, self.has_model, self._scores, self._scores_before = None, False, None, None
        self._facts, self._fitted = facts or PoolFacts(features), None
        self._white.clear()
        self.learn()

    def _fit(self, places: Int64[np.ndarray, " n"], labels: np.ndarray, weights: np.ndarray) -> LinearModel:
        """Fit the outside positives and photos of the pool; `labels` and `weights` are of both."""
        method = self.method
        rows = np.concatenate([self.outside, self.features[places].astype(np.float32)])
        if not method.shrinkage:
            self._fitted = fit_linear(
                rows, labels, c=method.c, is_balanced=method.is_balanced, weights=weights, start=self._fitted
            )
            return self._fitted
        map_ = self._facts.whitening(method.shrinkage)
        white = np.concatenate([map_.apply(self.outside), self._whitened(places, map_)])
        self._fitted = fit_linear(
            white, labels, c=method.c, is_balanced=method.is_balanced, weights=weights, start=self._fitted
        )
        model = map_.undo(self._fitted)
        if not method.plain_c:
            return model
        plain = fit_linear(rows, labels, c=method.plain_c, is_balanced=method.is_balanced, weights=weights)
        num = int(np.isin(self.labels, (POSITIVE, NEGATIVE)).sum())
        return blend(model, plain, share=0.5 * min(1.0, method.fade / num if method.fade and num else 1.0))

    def _whitened(self, places: Int64[np.ndarray, " n"], map_: Whitening) -> Float32[np.ndarray, "n dim"]:
        """Whitened rows of the pool; those that were needed before are remembered."""
        new = [int(ix) for ix in places if int(ix) not in self._white]
        if new:
            self._white.update(zip(new, map_.apply(self.features[new]), strict=True))
        rows = [self._white[int(ix)] for ix in places]
        return np.stack(rows) if rows else np.zeros((0, self.features.shape[1]), np.float32)

    def known(self) -> Known:
        """What pseudo-labels are made from."""
        return Known(
            rank=lambda: self.scores,
            labels=self.labels,
            is_free=self.is_free,
            features=self.features,
            has_model=self.has_model,
            graph=self._facts.graph,
        )

    @property
    def num_pseudo(self) -> int:
        return len(self.pseudo_ix)

    @property
    def is_free(self) -> Bool[np.ndarray, " pool"]:
        return self.labels == 0

    def _positives(self) -> Float32[np.ndarray, "n dim"]:
        rows = np.concatenate([self.outside, self.features[self.labels == POSITIVE].astype(np.float32)])
        if not len(rows):
            raise UsageError("a category needs at least one positive to begin with")
        return rows
