"""One category's labels as a page follows them: event by event, with who said what, without reading the log anew."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from narrowcast.mine.labels import GIVEN, LabelEvent, LabelLog, Labels, Value, effective

GROUP = "."  # an action of several labels is one event a photo, ACTION.0, ACTION.1, …; undone together


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often two people said the same of a photo that both labelled.

    Attributes:
        num: pairs of answers, unsure ones left out.
        share: of them that are the same; None without any.
        kappa: Cohen's, over all pairs: what is left of the agreement when chance is taken off; None where it has no
            meaning.
    """

    num: int
    share: float | None
    kappa: float | None


@final
class Ledger:
    """Follows the log of one category."""

    def __init__(self, log: LabelLog, category: str) -> None:
        self._log, self._category = log, category
        self.seq = 0
        self.events: list[tuple[int, LabelEvent]] = []
        self._forget()

    def follow(self) -> bool:
        """Take in what is new in the log; whether there was anything."""
        new = list(self._log.events(self._category, after=self.seq))
        if not new:
            return False
        self.events += new
        self.seq = new[-1][0]
        if any(event.kind == "undo" for _, event in new):
            self._replay()
        else:
            for _, event in new:
                self._take(event)
        return True

    @property
    def finds(self) -> list[int]:
        """For each answer that is positive or negative, in the order given, positives so far; what a category was begun
        with is no find."""
        answers = [
            value == "positive" for item, value in self.train.items() if value != "unsure" and item not in self.given
        ]
        return np.cumsum(answers).tolist()

    def labels(self) -> Labels:
        """The labels as they stand."""
        last = next((event for event in reversed(self.counting) if event.kind == "label"), None)
        return Labels(dict(self.train), dict(self.audit), last)

    def newest_action(self, who: str) -> list[LabelEvent]:
        """The labels that a person gave with one key last, of those that count."""
        found: list[LabelEvent] = []
        for event in reversed(self.counting):
            if event.kind != "label" or event.who != who:
                continue
            if found and action_of(event) != action_of(found[0]):
                break
            found.append(event)
        return found

    def people(self) -> dict[str, int]:
        """Labels that count, by who gave them."""
        counts: dict[str, int] = {}
        for said in self.said.values():
            for who in said:
                counts[who] = counts.get(who, 0) + 1
        return counts

    def agreement(self) -> Agreement:
        """Of all pairs of people on all photos."""
        pairs = [
            (first == "positive", second == "positive")
            for said in self.said.values()
            if len(said) > 1
            for ix, first in enumerate(said.values())
            for second in list(said.values())[ix + 1 :]
            if "unsure" not in (first, second)
        ]
        return agreement_of(pairs)

    def conflicts(self) -> list[str]:
        """Photos of which two people said different things."""
        return [item for item, said in self.said.items() if {"positive", "negative"} <= set(said.values())]

    def _forget(self) -> None:
        self.train: dict[str, Value] = {}
        self.audit: dict[str, Value] = {}
        self.said: dict[str, dict[str, Value]] = {}
        self.given: set[str] = set()
        self.counting: list[LabelEvent] = []
        self.text, self.is_begun = "", False

    def _replay(self) -> None:
        self._forget()
        for event in effective(event for _, event in self.events):
            self._take(event)

    def _take(self, event: LabelEvent) -> None:
        self.counting.append(event)
        if event.kind == "category":
            self.text, self.is_begun = event.value, True
            return
        value: Value = event.value  # type: ignore[assignment] - checked when the event was made
        (self.given.add if event.reason == GIVEN else self.given.discard)(event.item)
        labels = self.train if event.purpose == "train" else self.audit
        labels.pop(event.item, None)  # the newest comes last
        labels[event.item] = value
        self.said.setdefault(event.item, {})[event.who] = value


def action_of(event: LabelEvent) -> str:
    """The action that an event is part of."""
    return event.event_id.partition(GROUP)[0]


def agreement_of(pairs: Sequence[tuple[bool, bool]]) -> Agreement:
    """Of pairs of answers.

    >>> agreement_of([(True, True), (False, False), (True, False), (False, False)]).kappa
    0.5
    """
    if not pairs:
        return Agreement(0, None, None)
    num = len(pairs)
    share = sum(first == second for first, second in pairs) / num
    yes = (sum(first for first, _ in pairs) / num, sum(second for _, second in pairs) / num)
    by_chance = yes[0] * yes[1] + (1 - yes[0]) * (1 - yes[1])
    kappa = None if by_chance == 1 else round((share - by_chance) / (1 - by_chance), 4)
    return Agreement(num, share, kappa)
