"""Ways to mine, by name: the thesis's, the baselines it is compared with, and ours."""

from dataclasses import replace

from narrowcast.mine import negatives, strategies
from narrowcast.mine.miner import Method
from narrowcast.mine.strategies import distinct, with_exploration

AUTO_FRACTION = 100.0  # f_a of section 4.3.1
MOST_PSEUDO = 1000  # ours, see `negatives.bottom_half`
NUM_FIXED = 100  # FACTS: as good as f_a = 100, and a fit is 6 ms
CONFIDENCE = 0.98  # the highest of figure 4.4
NEIGHBOURS, ALPHA = 50, 0.99  # of Iscen 2019
EXPLORATION = 0.1
SHRINKAGE, WHITE_C, PLAIN_C = 3.0, 1.0, 10.0  # ours, see benchmarks/mining.py
FADE = 50.0  # ours: labels from which whitening, which helps where they are few, gives way


def _fixed() -> negatives.PseudoLabels:
    return negatives.fixed(NUM_FIXED)


def _bottom() -> negatives.PseudoLabels:
    return negatives.bottom_half(AUTO_FRACTION, most=MOST_PSEUDO)


def _none() -> negatives.PseudoLabels:
    return negatives.none


def _ours(ask: strategies.Strategy) -> Method:
    """The mean of a whitened and a plain regression on labels and a hundred random negatives, from the start on."""
    return Method(ask=ask, make_pseudo=_fixed, c=WHITE_C, shrinkage=SHRINKAGE, plain_c=PLAIN_C, starts_with_model=True)


METHODS: dict[str, Method] = {
    "default": _ours(distinct(strategies.most_likely)),
    "fading": replace(_ours(distinct(strategies.most_likely)), fade=FADE),
    "whitened": Method(
        ask=strategies.most_likely, make_pseudo=_fixed, c=WHITE_C, shrinkage=SHRINKAGE, starts_with_model=True
    ),
    # Algorithm 2 as printed: C and the weights of classes are those it did best with (recounted)
    "algorithm2": Method(ask=strategies.switch, make_pseudo=_bottom, c=100.0, is_balanced=False),
    "tropel": Method(ask=strategies.most_likely, make_pseudo=_none),
    "tropel-rn100": Method(ask=strategies.most_likely, make_pseudo=_fixed),
    "margin": Method(ask=strategies.margin, make_pseudo=_bottom, c=100.0, is_balanced=False),
    "entropy": Method(ask=strategies.entropy, make_pseudo=_bottom, c=100.0, is_balanced=False),
    "random": Method(ask=strategies.at_random, make_pseudo=_fixed),
    "likely-boundary": _ours(strategies.likely_boundary),
    "threshold-search": _ours(strategies.threshold_search),
    "explore": _ours(with_exploration(strategies.most_likely, EXPLORATION)),
    "positives-only": Method(ask=strategies.most_likely, make_pseudo=_bottom, c=100.0, is_balanced=False),
    "no-pseudo": Method(ask=strategies.switch, make_pseudo=_none, c=100.0, is_balanced=False),
    "whole-pool": Method(
        ask=strategies.switch,
        make_pseudo=lambda: negatives.whole_pool(AUTO_FRACTION, most=MOST_PSEUDO),
        c=100.0,
        is_balanced=False,
    ),
    "kd-semi": Method(
        ask=strategies.switch,
        make_pseudo=lambda: negatives.confident(AUTO_FRACTION, most=MOST_PSEUDO, confidence=CONFIDENCE),
        c=100.0,
        is_balanced=False,
    ),
    "deepprop": Method(
        ask=strategies.switch,
        make_pseudo=lambda: negatives.propagated(AUTO_FRACTION, most=MOST_PSEUDO, neighbours=NEIGHBOURS, alpha=ALPHA),
        c=100.0,
        is_balanced=False,
    ),
}
