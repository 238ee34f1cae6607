"""The linear model against scikit-learn's, whitening against its definition."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from narrowcast.mine import linear
from narrowcast.mine.linear import LinearModel, centroid, fit_linear, whitening


def problem(num: int, dim: int = 20, share: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(num)
    labels = rng.random(num) < share
    labels[:2] = True, False
    features = rng.standard_normal((num, dim)) + labels[:, None] * 0.5
    return (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32), labels


@pytest.mark.parametrize("c", [0.3, 10.0, 300.0])
@pytest.mark.parametrize("is_balanced", [True, False])
@pytest.mark.parametrize("num", [2, 30, 400])
def test_both_solvers_are_scikit_learns(num: int, is_balanced: bool, c: float, monkeypatch) -> None:
    features, labels = problem(num)
    theirs = LogisticRegression(C=c, class_weight="balanced" if is_balanced else None, tol=1e-10, max_iter=10_000)
    theirs.fit(features.astype(np.float64), labels)
    expected = theirs.decision_function(features)
    for limit, tolerance in ((10**6, 2e-3), (0, 0.05)):
        monkeypatch.setattr(linear, "DUAL_ROWS", limit)
        ours = fit_linear(features, labels, c=c, is_balanced=is_balanced).scores(features)
        np.testing.assert_allclose(ours, expected, atol=tolerance * max(1, np.abs(expected).max()))


def test_weights_of_rows_count_as_copies() -> None:
    features, labels = problem(30)
    copies = np.random.default_rng(0).integers(1, 4, 30)
    twice = fit_linear(np.repeat(features, copies, 0), np.repeat(labels, copies), c=2.0, is_balanced=True)
    ours = fit_linear(features, labels, c=2.0, is_balanced=True, weights=copies.astype(float))
    np.testing.assert_allclose(ours.weights, twice.weights, atol=1e-3)


def test_whitening_makes_directions_equal_and_can_be_undone() -> None:
    rng = np.random.default_rng(0)
    features = (rng.standard_normal((5000, 6)) * [5, 3, 1, 1, 0.5, 0.1] + 7).astype(np.float32)
    map_ = whitening(features, shrinkage=0.0, num=5000, rng=rng)
    white = map_.apply(features)
    np.testing.assert_allclose(np.cov(white.T) * 6, np.eye(6), atol=0.02)
    model = LinearModel(rng.standard_normal(6).astype(np.float32), 0.3)
    np.testing.assert_allclose(map_.undo(model).scores(features), model.scores(white), atol=1e-2)
    mild = whitening(features, shrinkage=1e6, num=5000, rng=rng).apply(features)
    assert np.mean((mild**2).sum(1)) == pytest.approx(1, rel=0.01)
    np.testing.assert_allclose(np.corrcoef(mild[:, 0], features[:, 0])[0, 1], 1, atol=1e-4)


def test_a_pool_of_one_colour_is_not_whitened() -> None:
    map_ = whitening(np.ones((9, 4), np.float32), shrinkage=1.0, num=9, rng=np.random.default_rng(0))
    assert np.isfinite(map_.apply(np.ones((9, 4), np.float32))).all()


def test_the_centroid_gives_cosines() -> None:
    features, _ = problem(10)
    model = centroid(features[:3])
    mean = features[:3].mean(0)
    expected = features @ mean / np.linalg.norm(mean)
    np.testing.assert_allclose(model.scores(features), expected, atol=1e-6)
    np.testing.assert_allclose(model.scores(features.astype(np.float16)), expected, atol=5e-3)
