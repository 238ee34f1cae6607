"""A ledger knows at every moment what a replay of the whole log says."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from narrowcast.mine.labels import LabelEvent, LabelLog
from narrowcast.mine.ledger import Ledger, agreement_of


@pytest.fixture
def log(tmp_path: Path) -> Iterator[LabelLog]:
    with LabelLog.open(tmp_path) as opened:
        opened.begin("owl")
        yield opened


def label(item: str, value: str, who: str = "me", event_id: str = "") -> LabelEvent:
    given = {"event_id": event_id} if event_id else {}
    return LabelEvent(category="owl", item=item, value=value, who=who, **given)


def test_it_says_what_a_replay_says(log: LabelLog, rng: np.random.Generator) -> None:
    """Random labels, audits, undos and undos of undos."""
    ledger, ids = Ledger(log, "owl"), []
    for number in range(200):
        if ids and rng.random() < 0.3:
            event = LabelEvent(category="owl", kind="undo", undoes=str(rng.choice(ids)), event_id=f"e{number}")
        else:
            value = str(rng.choice(["positive", "negative", "unsure"]))
            purpose = "audit" if rng.random() < 0.2 else "train"
            item = f"i{rng.integers(20)}"
            event = LabelEvent(category="owl", item=item, value=value, purpose=purpose, event_id=f"e{number}")
        ids.append(event.event_id)
        log.add([event])
        assert ledger.follow()
        said = log.labels("owl")
        assert list(ledger.train.items()) == list(said.train.items())
        assert list(ledger.audit.items()) == list(said.audit.items())
    assert not ledger.follow()
    assert ledger.is_begun


def test_an_action_is_all_that_one_key_said(log: LabelLog) -> None:
    log.add([label("a", "positive", event_id="k1")])
    log.add([label(item, "negative", event_id=f"k2.{ix}") for ix, item in enumerate("bc")])
    log.add([label("d", "negative", who="you", event_id="k3")])
    ledger = Ledger(log, "owl")
    ledger.follow()
    assert {event.item for event in ledger.newest_action("me")} == {"b", "c"}
    assert ledger.newest_action("nobody") == []
    assert ledger.finds == [1, 1, 1, 1]


def test_people_and_what_they_agree_on(log: LabelLog) -> None:
    for who, values in (("me", "ppnnu"), ("you", "pnnnp")):
        words = {"p": "positive", "n": "negative", "u": "unsure"}
        log.add([label(f"i{ix}", words[letter], who) for ix, letter in enumerate(values)])
    ledger = Ledger(log, "owl")
    ledger.follow()
    assert ledger.people() == {"me": 5, "you": 5}
    assert ledger.conflicts() == ["i1"]
    agreement = ledger.agreement()
    assert (agreement.num, agreement.share) == (4, 0.75)
    assert agreement.kappa == 0.5


def test_agreement_without_meaning() -> None:
    assert agreement_of([]).share is None
    assert agreement_of([(True, True)] * 3).kappa is None
