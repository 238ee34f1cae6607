"""What `--ablate` adds to a method: the variations of table 2.4, and of the choices that are ours."""

from narrowcast.core.config import to_dict
from narrowcast.core.errors import UsageError
from narrowcast.stream.distill import METHODS, DistillConfig
from narrowcast.stream.methods import Distilled, parse_method

# Table 2.4; networks that have no pretrained weights here begin with random ones, as does `:jitnet`, their baseline.
SCALES, WIDTHS, OUTPUT_STRIDES = (0.5, 0.75), (0.5, 2.0), (8, 16)
# Ours: each is set to what another method has, or switched off.
SWITCHES = {
    "distill.replay": (0, 16),
    "distill.judges": ("prediction", "learned"),
    "distill.asks": ("changed", "elapsed", "multiple"),
    "distill.trial": (0, 3),
    "distill.is_threshold_enough": (True, False),
    "distill.min_area": (0.0, 0.0005),
    "learner.norm": ("frozen", "batch"),
    "learner.optimizer": ("adam", "sgd"),
    "learner.prior_share": (0.0, 2.0),
}


def ablations(name: str) -> list[str]:
    """The method `name` with one thing changed at a time, as names; itself first.

    >>> ablations("thesis-0.8")[1:3]
    ['thesis-0.8[schedule.max_updates=4]', 'thesis-0.8[schedule.max_updates=16]']

    Raises:
        UsageError: not a method that learns, or one that is varied already.
    """
    method = parse_method(name)
    if not isinstance(method, Distilled) or "[" in name or ":" in name:
        raise UsageError(f"--ablate {name}: expected a method that learns, as it is: {'-0.8 or '.join(METHODS)}-0.8")
    settings = [*_table_2_4(method.config), *_switches(method.config), *(f"student.scale={one}" for one in SCALES)]
    networks = ["", *(f"[student.width={one}]" for one in WIDTHS), "[student.skips=false]"]
    return [
        name,
        *(f"{name}[{setting}]" for setting in settings),
        *(f"{name}:jitnet{network}" for network in networks),
        *(f"{name}:mobilenetv2[student.output_stride={one}]" for one in OUTPUT_STRIDES),
    ]


def _table_2_4(config: DistillConfig) -> list[str]:
    """Half and twice the updates and the least stride; a tenth and ten times the learning rate."""
    schedule, rate = config.schedule, config.learner.learning_rate
    return [
        f"schedule.max_updates={schedule.max_updates // 2}",
        f"schedule.max_updates={schedule.max_updates * 2}",
        f"learner.learning_rate={rate / 10:g}",
        f"learner.learning_rate={rate * 10:g}",
        f"schedule.min_stride={max(1, schedule.min_stride // 2)}",
        f"schedule.min_stride={schedule.min_stride * 2}",
    ]


def _switches(config: DistillConfig) -> list[str]:
    """Texts take the other value; numbers and truths are switched off, or on where they are off."""
    found, values = [], to_dict(config)
    for name, choices in SWITCHES.items():
        section, _, key = name.partition(".")
        own = (values if section == "distill" else values[section])[key]
        others = [other for other in choices if other != own and (isinstance(own, str) or not (other and own))]
        found += [f"{name}={str(other).lower() if isinstance(other, bool) else other}" for other in others]
    if config.look_ahead:  # which has nothing to move without a prior
        found = [f"{one},distill.look_ahead=0" if one == "learner.prior_share=0.0" else one for one in found]
    return found
