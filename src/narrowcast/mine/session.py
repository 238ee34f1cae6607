"""One category of a pool, as a labelling page or a script works with it: what to ask, what was said, where one stands.

The label log is the truth; everything here is made from it and follows what other processes write.
"""

import uuid
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, final

import numpy as np
from jaxtyping import Bool, Float32, Int64

from narrowcast.core.errors import UsageError, did_you_mean
from narrowcast.mine.examples import example_features, keep_example, text_features
from narrowcast.mine.labels import GIVEN, LabelEvent, LabelLog, Labels, Value
from narrowcast.mine.ledger import Ledger
from narrowcast.mine.methods import METHODS
from narrowcast.mine.miner import ASIDE, NEGATIVE, POSITIVE, Miner, PoolFacts
from narrowcast.mine.pool import NameIndex, Pool
from narrowcast.mine.stored import Rows
from narrowcast.mine.strategies import top
from narrowcast.models.backbones import Backbone, load_backbone

SIGNS: dict[Value, int] = {"positive": POSITIVE, "negative": NEGATIVE, "unsure": ASIDE}
RECENT = 20  # labels from which the next batch's finds are expected; ours


@dataclass(frozen=True, slots=True)
class Question:
    """A photo to show, and why."""

    pool_ix: int
    item: str
    path: str
    score: float
    reason: str
    model: str


@dataclass(frozen=True, slots=True)
class Numbers:
    """Where a category stands.

    Attributes:
        positive, negative, unsure: labels, those of photos outside of the pool included.
        audited: labels of the audit, which nothing is trained on.
        num_open: photos that could still be asked.
        finds: for each label in the order given, positives so far.
        expected_rate: share of the next questions that will be positive, judged by the last twenty; None before any.
    """

    positive: int
    negative: int
    unsure: int
    audited: int
    num_open: int
    finds: tuple[int, ...]
    expected_rate: float | None


def begin_category(
    pool: Pool, log: LabelLog, name: str, positives: Sequence[str], *, text: str = "", who: str = ""
) -> tuple[int, int]:
    """Begin a category from positives: photos of the pool by any of their names, or files outside of it.

    Returns how many are in the pool, and how many outside. Nothing is written where one of them is wrong.

    Raises:
        UsageError: the name cannot be a category's or is taken, or there is nothing to begin with.
        SourceError: a positive is neither in the pool nor a photo.
    """
    begin = LabelEvent(kind="category", category=name, value=text, who=who)
    if name in log.categories():
        raise UsageError(f"{pool.path}: the category '{name}' is there already")
    if not positives and not text:
        raise UsageError("a category begins with --positives (photos that show it) or --text")
    index = NameIndex(pool)
    items, inside = pool.items(), 0
    known = set(items)
    events = []
    for positive in positives:
        pool_ix = index.get(positive)
        item = items[pool_ix] if pool_ix is not None else keep_example(pool, Path(positive).expanduser())
        inside += item in known
        events.append(LabelEvent(category=name, item=item, value="positive", who=who, reason=GIVEN, path=positive))
    log.add([begin, *events])
    return inside, len(positives) - inside


@final
class MiningSession:
    """An open category. Cheap calls: a label is on disk in milliseconds, a new batch takes a fit and a ranking.

    Args:
        method: of `METHODS`.
        version: of the pool's features; None is the chosen one.
        backbone: of that version, for positives outside of the pool; None: loaded by its name where it is needed.
        load: loads that backbone instead.
        features, facts: of that version, where another category's session has them already.
    """

    def __init__(
        self,
        pool: Pool,
        log: LabelLog,
        category: str,
        *,
        method: str = "default",
        version: str | None = None,
        who: str = "",
        backbone: Backbone | None = None,
        load: Callable[[], Backbone] | None = None,
        features: Rows | None = None,
        facts: PoolFacts | None = None,
    ) -> None:
        if method not in METHODS:
            raise UsageError(
                f"--strategy {method}: no such strategy{did_you_mean(method, METHODS)}; {', '.join(METHODS)}"
            )
        self.pool, self.log, self.category, self.who, self.method = pool, log, category, who, method
        self._store = pool.store(version)
        self._catalogue = pool.catalogue
        self._backbone = backbone
        self._loader = load or (lambda: load_backbone(self._store.note.backbone))
        if features is None:
            features = pool.features(self._store.note.name)
        rng = np.random.default_rng(zlib.crc32(category.encode()))
        self._miner = Miner(features, METHODS[method], rng=rng, facts=facts)
        self._seen, self._fitted, self._is_held = -1, -1, False
        self._ledger, self._labels = Ledger(log, category), Labels({}, {}, None)
        self._ixs: dict[str, int | None] = {}  # of what was asked for before: labels are looked up with each new one
        self.refresh()

    @classmethod
    def open(cls, pool: Path, category: str, *, method: str = "default", who: str = "") -> "MiningSession":
        """The category of the pool in that folder.

        Raises:
            UsageError: there is no such pool, category, method or version of features.
            StorageError: something is damaged.
        """
        opened = Pool.open(pool)
        log = LabelLog.open(pool)
        try:
            return cls(opened, log, category, method=method, who=who)
        except BaseException:
            log.close()
            raise

    def __enter__(self) -> "MiningSession":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the log."""
        self.log.close()

    @property
    def version(self) -> str:
        """The name of the version of the features that ranks."""
        return self._store.note.name

    def follow(self) -> bool:
        """Go on with the version of the features that is the pool's chosen one now; whether it is another one.

        What `narrowcast mine update` promotes is taken up here, between two batches; labels are not touched.
        """
        pool = Pool.open(self.pool.path)
        if pool.store().note.name == self.version:
            return False
        self.pool, self._store, self._catalogue, self._backbone = pool, pool.store(), pool.catalogue, None
        self._loader = lambda: load_backbone(self._store.note.backbone)
        rng = np.random.default_rng(zlib.crc32(self.category.encode()))
        self._miner = Miner(pool.features(self.version), METHODS[self.method], rng=rng)
        self._seen = self._fitted = -1
        self._ixs.clear()
        self.refresh()
        return True

    # --- what was said ------------------------------------------------------------------------------------------------

    @contextmanager
    def held(self) -> Iterator[None]:
        """What was said so far is what counts while the block runs, however much is said meanwhile."""
        self.refresh()
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False

    @property
    def seq(self) -> int:
        """The number of the newest event that is taken in."""
        return self._seen

    def refresh(self) -> bool:
        """Follow the log; whether there was something new."""
        if self._is_held:
            return False
        self._ledger.follow()
        if self._ledger.seq == self._seen:
            return False
        if not self._ledger.is_begun:
            self.log.labels(self.category)  # says so, and which ones there are
        self._labels = self._ledger.labels()
        self._seen = self._ledger.seq
        labels = np.zeros(len(self._catalogue), np.int8)
        for item, value in self._labels.train.items():
            pool_ix = self.pool_ix(item)
            if pool_ix is not None:
                labels[pool_ix] = SIGNS[value]
        for item in self._labels.audit:
            pool_ix = self.pool_ix(item)
            if pool_ix is not None:
                labels[pool_ix] = ASIDE
        self._miner.reset(labels, self._outside())
        return True

    def _outside(self) -> Float32[np.ndarray, "n dim"]:
        """Features of what shows the category and is not in the pool: other photos, words."""
        items = [item for item in self._labels.items("positive") if self.pool_ix(item) is None]
        rows, text = example_features(self.pool, self._store, items, load=self._load), self._ledger.text
        return np.concatenate([rows, text_features(self._store, text, load=self._load)]) if text else rows

    def add(self, events: Sequence[LabelEvent]) -> Numbers:
        """Append labels; they are on disk when this returns.

        Raises:
            UsageError: an event is of another category, or breaks a rule of the log.
            StorageError: it could not be written.
        """
        for event in events:
            if event.category != self.category:
                raise UsageError(f"an event of '{event.category}' in a session of '{self.category}'")
        self.log.add(events)
        self.refresh()
        return self.numbers()

    def answer(self, question: Question, value: Value, *, event_id: str | None = None) -> Numbers:
        """Append the answer to a question, with why it was asked."""
        event = LabelEvent(
            category=self.category,
            item=question.item,
            value=value,
            who=self.who,
            reason=question.reason,
            model=question.model,
            path=question.path,
            event_id=event_id or uuid.uuid4().hex,
        )
        return self.add([event])

    def undo(self) -> LabelEvent:
        """Take back the newest label; the label that was taken back."""
        undone = self.log.undo(self.category, who=self.who)
        self.refresh()
        return undone

    # --- what comes next ----------------------------------------------------------------------------------------------

    def next_batch(self, num: int = 10) -> list[Question]:
        """The next questions; fewer where the pool ends. The ranking is that of all labels so far."""
        self._learn()
        choice = self._miner.ask(num)
        return self._questions(choice.pool_ix, choice.reasons)

    def ranking(
        self, num: int, *, part: Literal["top", "margin", "bottom"] = "top", with_labelled: bool = False
    ) -> list[Question]:
        """Photos by score: the highest, the nearest to the boundary, or the lowest."""
        scores = self.scores
        values = {"top": scores, "margin": -np.abs(scores), "bottom": -scores}[part]
        is_open = np.ones(len(scores), bool) if with_labelled else self._miner.is_free
        found = top(values, is_open, num)
        return self._questions(found, (part,) * len(found))

    def suspicious(self, num: int = 10) -> list[Question]:
        """Photos that the model takes for negatives unasked and that may be positives, the likeliest first."""
        self._learn()
        choice = self._miner.suspicious(num)
        return self._questions(choice.pool_ix, choice.reasons)

    @property
    def scores(self) -> Float32[np.ndarray, " pool"]:
        """Of every photo, from all labels so far."""
        self._learn()
        return self._miner.scores

    @property
    def miner(self) -> Miner:
        """The engine below, fitted to all labels so far."""
        self._learn()
        return self._miner

    @property
    def features(self) -> Rows:
        """Of the pool, normalised."""
        return self._miner.features

    @property
    def is_open(self) -> Bool[np.ndarray, " pool"]:
        """Which photos could be asked; without a fit."""
        return self._miner.is_free

    @property
    def has_example(self) -> bool:
        """Whether there is a positive to rank by."""
        return bool((self._miner.labels == POSITIVE).any() or len(self._miner.outside))

    @property
    def labels(self) -> Labels:
        """The labels as they stand."""
        return self._labels

    @property
    def model_name(self) -> str:
        """What is written down with a label: features, method, and how many labels the model knows."""
        num = len(self._labels.train)
        return f"{self._store.note.name}/{self.method}/{num}"

    def numbers(self) -> Numbers:
        """Where the category stands."""
        values = list(self._labels.train.values())
        positive = [value == "positive" for value in values if value != "unsure"]
        recent = positive[-RECENT:]
        return Numbers(
            positive=values.count("positive"),
            negative=values.count("negative"),
            unsure=values.count("unsure"),
            audited=len(self._labels.audit),
            num_open=int(self._miner.is_free.sum()),
            finds=tuple(int(found) for found in np.cumsum(positive)),
            expected_rate=(sum(recent) + 0.5) / (len(recent) + 1) if recent else None,
        )

    def pool_ix(self, item: str) -> int | None:
        """The number of a photo of the pool."""
        if item not in self._ixs:
            self._ixs[item] = self._catalogue.ix_of(item)
        return self._ixs[item]

    def _questions(self, pool_ix: Int64[np.ndarray, " n"], reasons: Sequence[str]) -> list[Question]:
        scores, model = self._miner.scores, self.model_name
        return [
            Question(ix, self._catalogue.item(ix), self._catalogue.path(ix), round(float(scores[ix]), 4), reason, model)
            for ix, reason in zip(pool_ix.tolist(), reasons, strict=True)
        ]

    def _learn(self) -> None:
        self.refresh()
        if self._fitted != self._seen:
            self._miner.learn()
            self._fitted = self._seen

    def _load(self) -> Backbone:
        if self._backbone is None:
            self._backbone = self._loader()
        return self._backbone
