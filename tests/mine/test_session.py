"""A session follows the log: batches, answers, undo, other writers, positives from outside, audits."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from narrowcast.core.errors import SourceError, UsageError
from narrowcast.mine.audit import audit_questions, plan_audit, read_audit, report_audit
from narrowcast.mine.head import head_of, load_head, predict, save_head
from narrowcast.mine.labels import LabelEvent, LabelLog
from narrowcast.mine.pool import Pool
from narrowcast.mine.session import MiningSession, begin_category
from narrowcast.models.callable_backbone import CallableBackbone

from .conftest import draw


def is_red(path: str) -> bool:
    with Image.open(path) as image:
        return float(np.asarray(image)[..., 1].mean()) < 60


@pytest.fixture
def session(pool: Pool, backbone: CallableBackbone):
    log = LabelLog.open(pool.path)
    begin_category(pool, log, "red", ["0/000.png", "0/002.png"])
    with MiningSession(pool, log, "red", backbone=backbone, who="me") as opened:
        yield opened


def label_all(session: MiningSession, num: int) -> None:
    for question in session.next_batch(num):
        session.answer(question, "positive" if is_red(question.path) else "negative")


def test_a_few_labels_find_the_others(session: MiningSession) -> None:
    label_all(session, 10)
    numbers = session.numbers()
    assert numbers.positive == 8  # all of them; by chance 2.3 of 10 questions, and 6 of 6 with p < 1e-4
    assert numbers.negative == 4
    assert numbers.num_open == 28
    assert numbers.finds[-1] == 8
    assert numbers.expected_rate == pytest.approx(8.5 / 13)
    event = [event for _, event in session.log.events("red")][-1]
    assert (event.who, event.reason) == ("me", "most likely")
    assert event.model.endswith("/default/2")


def test_the_same_labels_lead_to_the_same_questions(session: MiningSession, backbone: CallableBackbone) -> None:
    label_all(session, 5)
    with LabelLog.open(session.pool.path) as log:
        again = MiningSession(Pool.open(session.pool.path), log, "red", backbone=backbone)
        assert again.next_batch(5) == session.next_batch(5)


def test_undo_brings_the_question_back(session: MiningSession) -> None:
    first = session.next_batch(1)[0]
    session.answer(first, "negative", event_id="1")
    assert session.answer(first, "negative", event_id="1").negative == 1  # sent twice
    assert session.undo().item == first.item
    assert session.numbers().negative == 0
    assert session.next_batch(1)[0] == first


def test_everything_can_be_taken_back(session: MiningSession) -> None:
    session.undo()
    session.undo()
    with pytest.raises(UsageError, match="at least one positive"):
        session.next_batch(3)


def test_other_writers_are_followed(session: MiningSession) -> None:
    first, second = session.next_batch(2)
    with LabelLog.open(session.pool.path) as log:
        log.add([LabelEvent(category="red", item=first.item, value="unsure")])
    assert first.item not in [question.item for question in session.next_batch(39)]
    assert second.item in [question.item for question in session.next_batch(39)]
    assert session.numbers().unsure == 1


def test_rankings_of_both_ends_and_the_middle(session: MiningSession) -> None:
    label_all(session, 10)
    best = session.ranking(3, with_labelled=True)
    assert all(is_red(question.path) for question in best)
    assert session.ranking(1, part="bottom")[0].score == session.scores[session.miner.is_free].min().round(4)
    margins = [abs(question.score) for question in session.ranking(4, part="margin")]
    assert margins == sorted(margins)


def test_positives_from_outside_are_kept(
    pool: Pool, tmp_path: Path, rng: np.random.Generator, backbone: CallableBackbone
) -> None:
    outside = [draw(tmp_path / "elsewhere" / str(ix), rng, is_red=True) for ix in range(3)]
    with LabelLog.open(pool.path) as log:
        assert begin_category(pool, log, "red", [str(path) for path in outside]) == (0, 3)
        shutil.rmtree(tmp_path / "elsewhere")
        session = MiningSession(pool, log, "red", backbone=backbone)
        assert sum(is_red(question.path) for question in session.next_batch(8)) >= 6  # 1.6 by chance
        other = CallableBackbone(lambda images: images.mean((1, 2)), name="other")
        for path in (session.pool.path / "features").rglob("examples"):
            shutil.rmtree(path)
        with pytest.raises(UsageError, match="the backbone is 'other"):
            MiningSession(pool, log, "red", backbone=other)


def test_words_start_a_category_where_the_backbone_knows_words(pool: Pool, backbone: CallableBackbone) -> None:
    with LabelLog.open(pool.path) as log:
        begin_category(pool, log, "red", [], text="red")
        with pytest.raises(UsageError, match="knows no words"):
            MiningSession(pool, log, "red", backbone=backbone)
        backbone.text = lambda words: np.tile([1.0, 0.1, 1.0], 4) if words == "red" else np.ones(12)
        session = MiningSession(pool, log, "red", backbone=backbone)
        assert sum(is_red(question.path) for question in session.next_batch(8)) >= 6
        backbone.text = None


@pytest.mark.parametrize(
    ("name", "positives", "kind", "message"),
    [
        pytest.param("a/b", ["0/000.png"], UsageError, "not a path", id="a path"),
        pytest.param("red", [], UsageError, "begins with --positives", id="nothing"),
        pytest.param("red", ["0/000.png", "none.png"], SourceError, "cannot be read", id="missing"),
        pytest.param("red", ["words.png"], SourceError, "not a photo that can start a category", id="not a photo"),
    ],
)
def test_a_wrong_beginning_writes_nothing(
    pool: Pool, photos: Path, monkeypatch: pytest.MonkeyPatch, name: str, positives: list[str], kind, message: str
) -> None:
    monkeypatch.chdir(photos)
    (photos / "words.png").write_text("words")
    with LabelLog.open(pool.path) as log:
        with pytest.raises(kind, match=message):
            begin_category(pool, log, name, positives)
        assert list(log.events()) == []


def test_an_audit_is_drawn_answered_and_kept_apart(session: MiningSession) -> None:
    label_all(session, 6)
    rng = np.random.default_rng(0)
    strata = plan_audit(session, num=20, rng=rng)
    assert [s.drawn.tolist() for s in read_audit(session.pool, "red")] == [s.drawn.tolist() for s in strata]
    questions = audit_questions(session, strata)
    assert len(questions) == 20
    assert report_audit(session, strata, rng=rng).standing is None
    for question in questions:
        value = "positive" if is_red(question.path) else "negative"
        session.add([LabelEvent(category="red", item=question.item, value=value, purpose="audit")])
    report = report_audit(session, read_audit(session.pool, "red"), rng=rng)
    assert (report.num_drawn, report.num_answered) == (20, 20)
    assert report.standing is not None
    assert report.standing.num_positive.low <= 8 <= report.standing.num_positive.high
    asked = {question.item for question in session.next_batch(40)}
    assert not asked & {question.item for question in questions}
    assert session.numbers().audited == 20
    with pytest.raises(UsageError, match="has 20 answers already"):
        plan_audit(session, num=5, rng=rng)
    with pytest.raises(UsageError, match="no audit of 'blue' is planned"):
        read_audit(session.pool, "blue")


def test_heads_give_the_sessions_scores(session: MiningSession, backbone: CallableBackbone, tmp_path: Path) -> None:
    label_all(session, 8)
    model = session.miner.model
    assert model is not None
    head = head_of(model, session.pool.store().note, "red")
    save_head(head, tmp_path / "red.safetensors")
    again = load_head(tmp_path / "red.safetensors")
    places = [session.pool.place(ix) for ix in range(40)]
    found = list(predict(again, backbone, places))
    np.testing.assert_allclose([one.score for one in found], session.scores, atol=0.05)
    assert [one.is_positive for one in found if is_red(one.path)] == [True] * 8


def test_sessions_know_their_methods(pool: Pool) -> None:
    with LabelLog.open(pool.path) as log:
        begin_category(pool, log, "red", ["0/000.png"])
    with pytest.raises(UsageError, match="did you mean 'tropel'"):
        MiningSession.open(pool.path, "red", method="tropell")
    with pytest.raises(UsageError, match="no category 'blue'"):
        MiningSession.open(pool.path, "blue")


def test_pseudo_negatives_that_are_positives_are_suspicious(session: MiningSession) -> None:
    label_all(session, 2)
    known = {session.pool_ix(item) for item in session.labels.train}
    hidden = [ix for ix, path in enumerate(session.pool.paths()) if is_red(path) and ix not in known]
    assert {question.pool_ix for question in session.suspicious(len(hidden))} == set(hidden)  # 4 to 6 of 36


def test_what_is_held_does_not_follow_and_does_afterwards(session: MiningSession) -> None:
    (question,) = session.next_batch(1)
    with session.held():
        before, seq = session.scores.copy(), session.seq
        session.log.add([LabelEvent(category="red", item=question.item, value="negative")])
        np.testing.assert_array_equal(session.scores, before)
        assert session.seq == seq
    assert session.refresh()
    assert session.seq > seq


def test_a_glance_ranks_what_stood_high_and_what_lay_near_by_the_model_of_now(session: MiningSession) -> None:
    label_all(session, 6)
    before = session.scores.copy()
    label_all(session, 3)
    miner = session.miner  # fitted, no pass over the pool yet
    seen = miner.glance(4)
    known = np.isfinite(seen)
    assert 4 <= known[miner.is_free].sum() <= 8
    assert known[~miner.is_free].all()
    free = np.flatnonzero(miner.is_free)
    assert set(free[np.argsort(-before[free])[:4]]) <= set(np.flatnonzero(known))
    np.testing.assert_allclose(seen[known], session.scores[known], atol=1e-5)
    np.testing.assert_array_equal(miner.glance(4), session.scores)  # whole once there was a pass
