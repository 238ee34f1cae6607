"""The linear model that ranks a pool: logistic regression, fitted exactly in milliseconds, with or without whitening.

The thesis says "linear model" and no more. Ours: logistic regression on normalised features, classes weighted to equal
sums. Where the pool's covariance is given the penalty is measured in whitened features, as discriminative decorrelation
(Hariharan 2012) does with means: directions in which all photos differ say less. See benchmarks/mining.py.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64
from scipy.optimize import minimize
from scipy.special import expit

from narrowcast.mine.stored import Rows, blocks_of

DUAL_ROWS = 500  # up to here Newton steps on the rows' Gram matrix are cheaper than gradients over the features
NEWTON_STEPS, TOLERANCE = 50, 1e-8
MAX_ITERATIONS = 200
RIDGE = 1e-10
COVARIANCE_ROWS = 4096  # at a time


@dataclass(frozen=True, slots=True)
class LinearModel:
    """score = features · weights + bias, in logits; positive above 0."""

    weights: Float32[np.ndarray, " dim"]
    bias: float

    def scores(self, features: Rows) -> Float32[np.ndarray, " n"]:
        """A score a row; half precision stays half precision in memory, and what is on disk stays there."""
        found = np.empty(len(features), np.float32)
        for start, block in blocks_of(features):
            rows = torch.from_numpy(block)
            weights = torch.from_numpy(self.weights).to(rows.dtype)
            # a product of matrices: torch's half precision times a vector is a quarter slower
            found[start : start + len(block)] = rows.mm(weights[:, None])[:, 0].float().numpy()
        return found + np.float32(self.bias)


@dataclass(frozen=True, slots=True)
class Whitening:
    """A linear map to features whose covariance over the pool is nearly the identity: (x − mean) @ matrix."""

    mean: Float32[np.ndarray, " dim"]
    matrix: Float32[np.ndarray, "dim dim"]

    def apply(self, features: Float[np.ndarray, "n dim"]) -> Float32[np.ndarray, "n dim"]:
        """Whitened rows."""
        return (features.astype(np.float32) - self.mean) @ self.matrix

    def undo(self, model: LinearModel) -> LinearModel:
        """The model of unwhitened features that gives the same scores as `model` of whitened ones."""
        weights = self.matrix @ model.weights
        return LinearModel(weights, model.bias - float(self.mean @ weights))


def whitening(features: Rows, *, shrinkage: float, num: int, rng: np.random.Generator) -> Whitening:
    """Whitening by the covariance of `num` random rows.

    Args:
        shrinkage: this much of the mean variance is added to every direction's; 0 is full whitening, large none.
            Lengths are scaled so that the mean squared length of a whitened row is 1.
    """
    rows = features[np.sort(rng.permutation(len(features))[:num])]
    mean = rows.mean(0, dtype=np.float32)
    products = np.zeros((features.shape[1], features.shape[1]), np.float64)
    for start in range(0, len(rows), COVARIANCE_ROWS):  # twenty thousand rows at once would be 200 MB
        centred = rows[start : start + COVARIANCE_ROWS].astype(np.float32) - mean
        products += centred.T @ centred
    values, vectors = np.linalg.eigh(products / max(1, len(rows) - 1))
    values = values.clip(0)
    if not values.any():  # all photos are the same: nothing to whiten by
        return Whitening(mean, np.eye(features.shape[1], dtype=np.float32))
    shrunk = values + shrinkage * values.mean()
    scale = 1 / np.sqrt((values / shrunk).sum())
    matrix = (vectors * (scale / np.sqrt(shrunk))) @ vectors.T
    return Whitening(mean, matrix.astype(np.float32))


def fit_linear(
    features: Float[np.ndarray, "n dim"],
    labels: Bool[np.ndarray, " n"],
    *,
    c: float,
    is_balanced: bool,
    weights: Float[np.ndarray, " n"] | None = None,
    start: LinearModel | None = None,
) -> LinearModel:
    """Logistic regression: the least ½|w|² + c Σ weight · log loss; the bias is not penalised.

    Args:
        c: as scikit-learn's.
        is_balanced: weigh the classes so that both sum to half of the rows.
        weights: of rows, on top of that.
        start: a model of nearly the same rows, from which many rows need fewer steps; the result does not depend on it.

    >>> features = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    >>> model = fit_linear(features, np.array([True, False]), c=1.0, is_balanced=True)
    >>> bool(model.scores(features)[0] > 0 > model.scores(features)[1])
    True
    """
    assert labels.any()
    assert not labels.all()
    loss_weights = np.full(len(labels), c) if weights is None else c * weights.astype(np.float64)
    if is_balanced:
        sums = np.bincount(labels, weights=loss_weights)
        loss_weights = loss_weights * (loss_weights.sum() / 2 / sums)[labels.astype(int)]
    rows = np.ascontiguousarray(features, np.float32)
    signs = np.where(labels, 1.0, -1.0)
    if len(rows) <= DUAL_ROWS:
        return _newton(rows, signs, loss_weights)
    return _lbfgs(rows, signs, loss_weights, start or LinearModel(np.zeros(rows.shape[1], np.float32), 0.0))


def _newton(
    rows: Float32[np.ndarray, "n dim"], signs: Float64[np.ndarray, " n"], weights: Float64[np.ndarray, " n"]
) -> LinearModel:
    """Newton's method over w = rows' · a, with the bias; steps are halved until the objective falls."""
    gram = (rows @ rows.T).astype(np.float64)
    num = len(rows)
    a, bias = np.zeros(num), 0.0
    value = _objective(gram, a, bias, signs, weights)
    for _ in range(NEWTON_STEPS):
        margins = gram @ a + bias
        chance = expit(-signs * margins)
        pull = weights * signs * chance  # −∂loss/∂margin
        curve = (weights * chance * (1 - chance)).clip(RIDGE)
        # stationary: a = pull(margins); linearised, with the bias free
        system = np.zeros((num + 1, num + 1))
        system[:num, :num] = gram
        system[:num, :num].flat[:: num + 1] += 1 / curve
        system[:num, num] = system[num, :num] = 1
        target = np.append(margins + pull / curve, 0.0)
        solved = np.linalg.solve(system, target)
        step_a, step_bias = solved[:num] - a, solved[num] - bias
        size = 1.0
        while size > 1e-4:
            candidate = _objective(gram, a + size * step_a, bias + size * step_bias, signs, weights)
            if candidate <= value:
                break
            size /= 2
        else:
            break
        a, bias = a + size * step_a, bias + size * step_bias
        is_done = value - candidate < TOLERANCE * (1 + abs(value))
        value = candidate
        if is_done:
            break
    return LinearModel(rows.T @ a.astype(np.float32), float(bias))


def _objective(gram: np.ndarray, a: np.ndarray, bias: float, signs: np.ndarray, weights: np.ndarray) -> float:
    products = gram @ a
    return float(0.5 * a @ products + (weights * np.logaddexp(0, -signs * (products + bias))).sum())


def _lbfgs(
    rows: Float32[np.ndarray, "n dim"],
    signs: Float64[np.ndarray, " n"],
    weights: Float64[np.ndarray, " n"],
    start: LinearModel,
) -> LinearModel:
    dim = rows.shape[1]

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        margins = signs * (rows @ parameters[:dim].astype(np.float32) + parameters[dim])
        pull = -weights * signs * expit(-margins)
        gradient = np.append(rows.T @ pull.astype(np.float32) + parameters[:dim], pull.sum())
        value = 0.5 * parameters[:dim] @ parameters[:dim] + (weights * np.logaddexp(0, -margins)).sum()
        return float(value), gradient

    options = {"maxiter": MAX_ITERATIONS, "ftol": TOLERANCE, "gtol": 1e-4 * max(1.0, weights.sum() / len(rows))}
    first = np.append(start.weights.astype(np.float64), start.bias)
    found = minimize(loss, first, jac=True, method="L-BFGS-B", options=options)
    return LinearModel(found.x[:dim].astype(np.float32), float(found.x[dim]))


def blend(first: LinearModel, second: LinearModel, *, share: float) -> LinearModel:
    """The model whose logits are `share` of the first one's and the rest of the second one's."""
    weights = share * first.weights + (1 - share) * second.weights
    return LinearModel(weights.astype(np.float32), share * first.bias + (1 - share) * second.bias)


def centroid(features: Float[np.ndarray, "n dim"]) -> LinearModel:
    """The mean of normalised features, normalised: its scores on normalised features are cosines (lines 3, 4)."""
    mean = features.astype(np.float32).mean(0)
    return LinearModel(mean / max(float(np.linalg.norm(mean)), 1e-12), 0.0)
