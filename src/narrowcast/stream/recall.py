"""The students that a stream had before, one a place: put aside when the place changes, recalled when it is back.

A place is what teacher frames look like: the mean direction of a backbone's features. Where the picture jumps, after a
gap, and now and then without one (dusk comes slowly), a teacher frame is compared with the place that it was thought to
be. Where it is another one, the student is put aside; the one of the most alike place, of this run or of a zoo that
earlier runs left, is tried on this very frame, and taken if it is no worse there than the present one.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from narrowcast.core.errors import ConfigError, WeightsError
from narrowcast.models.backbones import DEFAULT_BACKBONE, load_backbone
from narrowcast.models.student import AnyStudent, build_student, load_student, save_student, student_config
from narrowcast.stream.learner import Learner, Sample
from narrowcast.stream.student_zoo import LEAST_ALIKE, STUDENT, StudentZoo, unit
from narrowcast.stream.worth import Worth

_LOGGER = logging.getLogger(__name__)
LOOK_EVERY = 8  # lessons at most from one look at the place to the next; ours
Weights = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class RecallConfig:
    """Which students may be recalled.

    Attributes:
        folder: the zoo: new, empty, or one that runs or a fleet left.
        most: places of a run whose students are kept; the one that was left longest ago goes first.
        least_alike: cosine of two signatures from which on they are of one place.
        place, time, person: keys; students of the zoo that say something else are left out.
        backbone: what sees the frames, as `load_backbone` takes it.
    """

    folder: str
    most: int = 8
    least_alike: float = LEAST_ALIKE
    place: str = ""
    time: str = ""
    person: str = ""
    backbone: str = DEFAULT_BACKBONE

    def __post_init__(self) -> None:
        if self.most < 1:
            raise ConfigError(f"[recall]: most = {self.most}: must be at least 1")
        if not 0 < self.least_alike <= 1:
            raise ConfigError(f"[recall]: least_alike = {self.least_alike}: must be above 0 and at most 1")

    @property
    def keys(self) -> dict[str, str]:
        """Those that are given."""
        given = {"place": self.place, "time": self.time, "person": self.person}
        return {name: value for name, value in given.items() if value}


@dataclass(frozen=True, slots=True)
class Visit:
    """A place that begins.

    Attributes:
        place: its name; that of its student in the zoo.
        is_known: whether there was a student of it.
        alike: cosine to what was seen of it before; None: it is new.
        is_recalled: whether its student took over.
        loss, loss_of_recalled: on this frame, of the present student and of the place's.
    """

    place: str
    is_known: bool = False
    alike: float | None = None
    is_recalled: bool = False
    loss: float | None = None
    loss_of_recalled: float | None = None


@dataclass(slots=True, eq=False)
class Place:
    """What was seen of a place, and the student that was put aside when it was left.

    Attributes:
        signature: a sum; its direction counts.
        left: lessons of the run when it was left.
        updates: in this run.
        accuracy: a running mean of what was put out.
        has_student: whether one learned it, here or before.
        worth: whether that one was heard, for `Worth.load`; None: not known.
        weights: its; None where it is the present one, or there is none.
    """

    name: str
    signature: Float32[np.ndarray, " dim"]
    left: int = 0
    updates: int = 0
    accuracy: float | None = None
    has_student: bool = False
    worth: dict[str, Any] | None = None
    weights: Weights | None = field(default=None, repr=False)

    def alike(self, signature: Float32[np.ndarray, " dim"]) -> float:
        """Cosine to `signature`, which has length 1."""
        return float(np.dot(unit(self.signature), signature))


_SAVED = ("name", "left", "updates", "accuracy", "has_student", "worth")
_COUNTS = ("num_looks", "num_visits", "num_recalled", "_is_beginning", "_lessons", "_since_look", "_named")


@final
class Recall:
    """The places of one stream, for whoever learns.

    Args:
        name: of the run; its students are called NAME-1, NAME-2 ... in the zoo.
    """

    def __init__(self, config: RecallConfig, zoo: StudentZoo, classes: Sequence[str], *, name: str) -> None:
        self.config, self.zoo, self.classes = config, zoo, tuple(classes)
        self.places: list[Place] = []
        self.is_better: Callable[[float, float], bool] = lambda present, recalled: recalled <= present  # by loss
        self.num_looks = self.num_visits = self.num_recalled = 0
        self._here: Place | None = None
        self._is_beginning = True
        self._lessons = self._since_look = self._named = 0
        self._name = name
        self._known = [entry.name for entry, _ in zoo.entries()]  # what others leave while this runs is not looked at

    def begin(self) -> None:
        """The scene may be another one: look at the next lesson."""
        self._is_beginning = True

    def attend(self, sample: Sample, learner: Learner, worth: Worth) -> Visit | None:
        """See a teacher frame, before it is learned; what came of it, where a place begins."""
        self._lessons += 1
        self._since_look += 1
        if not self._is_look():
            return None
        self._is_beginning = False
        self.num_looks += 1
        signature = self.zoo.signature([sample.image_rgb])
        if self._here is not None and self._here.alike(signature) >= self.config.least_alike:
            self._here.signature += signature
            return None
        self._put_aside(learner, worth)
        self._since_look = 0
        self.num_visits += 1
        visit = self._visit(signature, sample, learner, worth)
        self.num_recalled += visit.is_recalled
        return visit

    def taught(self, *, updates: int, accuracy: float) -> None:
        """Hear what a lesson did; accuracy is that of what was put out before it."""
        here = self._here
        if here is not None:
            here.updates += updates
            here.has_student |= updates > 0
            here.accuracy = accuracy if here.accuracy is None else 0.9 * here.accuracy + 0.1 * accuracy

    def leave(self, learner: Learner, worth: Worth) -> int:
        """Put every student that has learned something into the zoo; how many.

        Raises:
            StorageError: the zoo cannot be written.
        """
        self._put_aside(learner, worth)
        kept = [place for place in self.places if place.weights is not None and place.updates]
        for place in kept:
            net = build_student(student_config(learner.net))  # type: ignore[arg-type]
            net.load_state_dict(place.weights or {})
            save_student(self.zoo.folder / place.name / STUDENT, net, self.classes, meta={"updates": place.updates})
            self.zoo.note(place.name, unit(place.signature), self.classes, self.config.keys, accuracy=place.accuracy)
        return len(kept)

    def summary(self) -> dict[str, int]:
        """Counts, for `summary.json`."""
        return {
            "places": len(self.places),
            "looks": self.num_looks,
            "visits": self.num_visits,
            "recalled": self.num_recalled,
        }

    def tensors(self) -> dict[str, Tensor]:
        """Students and signatures, for `load`."""
        tensors = {}
        for ix, place in enumerate(self.places):
            tensors[f"recall.{ix}.signature"] = torch.from_numpy(place.signature.copy())
            tensors |= {f"recall.{ix}.net.{name}": value for name, value in (place.weights or {}).items()}
        return tensors

    def state(self) -> dict[str, Any]:
        """All else, for `load`."""
        return {
            "places": [{name: getattr(place, name) for name in _SAVED} for place in self.places],
            "here": None if self._here is None else self.places.index(self._here),
            "known": self._known,
            **{name: getattr(self, name) for name in _COUNTS},
        }

    def load(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Bring back what `tensors` and `state` gave."""
        self.places = []
        for ix, values in enumerate(state["places"]):
            begin = f"recall.{ix}.net."
            weights = {name.removeprefix(begin): one for name, one in tensors.items() if name.startswith(begin)}
            signature = tensors[f"recall.{ix}.signature"].numpy()
            self.places.append(Place(signature=signature, weights=weights or None, **values))
        self._here = None if state["here"] is None else self.places[state["here"]]
        self._known = list(state["known"])
        for name in _COUNTS:
            setattr(self, name, state[name])

    def _is_look(self) -> bool:
        """At the beginning of a scene; then after 1, 2, 4 and every 8 lessons: what is slow is seen too."""
        since = self._since_look
        return self._is_beginning or since % LOOK_EVERY == 0 or since & (since - 1) == 0

    def _put_aside(self, learner: Learner, worth: Worth) -> None:
        here = self._here
        if here is not None:
            here.left, here.worth = self._lessons, worth.state()
            here.weights = learner.weights() if here.has_student else None

    def _visit(self, signature: Float32[np.ndarray, " dim"], sample: Sample, learner: Learner, worth: Worth) -> Visit:
        """Go to the place that looks like this: an own one, else one of the zoo, else a new one."""
        own = max((one for one in self.places if one is not self._here), key=lambda p: p.alike(signature), default=None)
        if own is not None and own.alike(signature) >= self.config.least_alike:
            found, alike = own, own.alike(signature)
        else:
            found, alike = self._from_zoo(signature, learner)
        if found is None:
            self._enter(Place(self._next_name(), signature.copy()))
            assert self._here is not None
            return Visit(self._here.name)
        visit = Visit(found.name, is_known=found.weights is not None, alike=round(alike, 6))
        if found.weights is not None:
            visit = self._try(found, visit, sample, learner)
            if visit.is_recalled:
                _hear_again(worth, found)
        self._enter(found)
        found.signature += signature
        return visit

    def _try(self, found: Place, visit: Visit, sample: Sample, learner: Learner) -> Visit:
        """The better one of the present student and that of the place, on a frame that neither has learned."""
        assert found.weights is not None
        present, loss = learner.weights(), learner.loss(sample)
        learner.take(found.weights)
        of_recalled = learner.loss(sample)
        is_recalled = self.is_better(loss, of_recalled)
        if not is_recalled:
            learner.take(present)
        return replace(visit, is_recalled=is_recalled, loss=round(loss, 6), loss_of_recalled=round(of_recalled, 6))

    def _from_zoo(self, signature: Float32[np.ndarray, " dim"], learner: Learner) -> tuple[Place | None, float]:
        """The zoo's student of the most alike place, of those that this run has not been at."""
        been = {place.name for place in self.places}
        for one in self.zoo.ranked(signature, self.classes, self.config.keys):
            if one.alike < self.config.least_alike:
                break
            if one.entry.name in been or one.entry.name not in self._known:
                continue
            weights = _weights_for(learner, one.path)
            if weights is not None:
                seen = np.array(one.entry.signature, np.float32)
                return Place(one.entry.name, seen, weights=weights, has_student=True), one.alike
        return None, 0.0

    def _enter(self, place: Place) -> None:
        self._here, place.weights = place, None
        if place not in self.places:
            self.places.append(place)
        while len(self.places) > self.config.most:
            self.places.remove(min((one for one in self.places if one is not place), key=lambda one: one.left))

    def _next_name(self) -> str:
        taken = {*self._known, *(place.name for place in self.places)}
        while True:
            self._named += 1
            if (name := f"{self._name}-{self._named}") not in taken:
                return name


def make_recall(config: RecallConfig, classes: Sequence[str], *, run: Path, device: torch.device) -> Recall:
    """What a run into the folder `run` recalls.

    Raises:
        UsageError: `config.folder` is no zoo.
        UsageError, WeightsError, DependencyError: of the backbone.
    """
    zoo = StudentZoo(Path(config.folder), lambda: load_backbone(config.backbone, device=device))
    zoo.check(option="--recall")
    if (entries := zoo.entries()) and not any(entry.fits(classes, config.keys) for entry, _ in entries):
        _LOGGER.warning(
            "%s: none of its %d students has the classes %s%s; this run begins without it",
            zoo.folder,
            len(entries),
            ", ".join(classes[1:]),
            " and these keys" if config.keys else "",
        )
    return Recall(config, zoo, classes, name=run.resolve().name)


def _weights_for(learner: Learner, path: Path) -> Weights | None:
    """The weights in a file, where they are of the network that learns; else None, with a warning."""
    try:
        net, _, _ = load_student(path)
    except WeightsError as error:
        _LOGGER.warning("%s is left out: %s", path, error)
        return None
    own = student_config(learner.net) if isinstance(learner.net, AnyStudent) else {}
    if student_config(net) != own:
        _LOGGER.warning("%s is left out: another network than the stream's (%s)", path, net.architecture)
        return None
    return {name: value.to(learner.device) for name, value in net.state_dict().items()}


def _hear_again(worth: Worth, place: Place) -> None:
    """A student that was heard in its place is heard there again; one of another run has to show it, at once."""
    if place.worth is None:
        worth.begin_trial()
    else:
        worth.load(place.worth)
