"""A linear probe: logistic regression on features that stay, the strongest simple baseline (recounted)."""

import numpy as np
import torch
from jaxtyping import Float32, Int64

from narrowcast.bgsplit.second_stage import Linear

NO_IMAGES = -30.0  # logit of a class without training images


def fit_probe(
    features: Float32[np.ndarray, "n d"],
    labels: Int64[np.ndarray, " n"],
    *,
    num_classes: int,
    balanced: bool,
    inverse_strength: float,
) -> Linear:
    """Logistic regression over all classes; `balanced` weighs each class by the inverse of its images.

    `inverse_strength` is scikit-learn's C.
    """
    from sklearn.linear_model import LogisticRegression  # importing it sets environment variables

    weighting = "balanced" if balanced else None
    model = LogisticRegression(C=inverse_strength, class_weight=weighting, max_iter=1000, tol=1e-5)
    model.fit(features, labels)
    weight = np.zeros((num_classes, features.shape[1]), np.float32)
    bias = np.full(num_classes, NO_IMAGES, np.float32)
    if len(model.classes_) == 2:  # scikit-learn gives one row for two classes
        first, second = model.classes_
        weight[second], bias[second], bias[first] = model.coef_[0], np.asarray(model.intercept_)[0], 0
    else:
        weight[model.classes_], bias[model.classes_] = model.coef_, model.intercept_
    return Linear(torch.from_numpy(weight), torch.from_numpy(bias))


def against_background(probe: Linear, *, background_logit: float, shift: list[float] | None) -> Linear:
    """The categories' rows of a probe over all classes, for a head whose background is clamped at `background_logit`.

    Softmax stays the same: each category's row less the background's. `shift` is added to the classes' logits first:
    with log shares a balanced probe answers for the training images as they are.
    """
    bias = probe.bias if shift is None else probe.bias + torch.tensor(shift)
    return Linear(probe.weight[1:] - probe.weight[:1], bias[1:] - bias[:1] + background_logit)
