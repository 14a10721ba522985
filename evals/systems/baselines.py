"""The systems that HyMem is compared with: plain retrieval, summaries, and the full context."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from evals.data.history import History, Message
from evals.systems.hymem import Recalled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hymem.types import Encoder

Method = Literal["dense", "bm25", "hybrid"]
RRF_CONSTANT = 60  # reciprocal-rank fusion as published (Cormack et al., SIGIR 2009)
CHUNK_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of text that is ranked by its ``key`` and shown whole as ``line``; ``messages``
    stand in it verbatim, or are only cited by it."""

    key: str
    line: str
    messages: tuple[str, ...]
    day: str
    place: int
    cites: tuple[str, ...] = ()
    session: str = ""


@dataclass(frozen=True, slots=True)
class RankedSystem:
    """Passages ranked by ``method`` and shown best first until the budget is full.

    ``windows`` adds every passage with its neighbours of the same session as a further key of it.
    ``headers=False`` leaves day lines and the block's frame out of the token count, as the anchors
    of the published protocol do.
    """

    name: str
    method: Method
    split: Callable[[History], list[Passage]]
    encoder: Encoder | None = None
    headers: bool = True
    stem: bool = False
    windows: bool = False

    def load(self, history: History) -> RankedMemory:
        return RankedMemory(self, self.split(history))


class RankedMemory:
    def __init__(self, system: RankedSystem, passages: list[Passage]) -> None:
        from hymem.text.tokens import count_many

        self._system, self._passages = system, passages
        keys = [passage.key for passage in passages]
        self._tokens = count_many([passage.line for passage in passages])
        self._frame, *days = count_many([_block([]), *(passage.day for passage in passages)])
        self._day_tokens = days
        self._keys = [_Keys(keys, system)]
        if system.windows:
            self._keys.append(_Keys(_windows(passages), system))
        self._last: tuple[str, NDArray[np.int64]] | None = None

    def order(self, question: str) -> NDArray[np.int64]:
        """Positions of all passages, best first; BM25 alone leaves out what shares no word."""
        if self._last is None or self._last[0] != question:  # asked again for every budget
            self._last = question, self._order(question)
        return self._last[1]

    def _order(self, question: str) -> NDArray[np.int64]:

        columns = [column for keys in self._keys for column in keys.scores(question)]
        if self._system.method == "bm25":
            return descending(columns[0])[: int((columns[0] > 0).sum())]
        return descending(columns[0] if len(columns) == 1 else fuse(columns))

    def recall(self, question: str, budget: int) -> Recalled:
        headers = self._system.headers
        used = self._frame if headers else 0
        days: set[str] = set()
        chosen = []
        for position in self.order(question):
            passage = self._passages[position]
            cost = self._tokens[position]
            if headers and passage.day not in days:
                cost += self._day_tokens[position]
            if used + cost > budget:
                continue
            used += cost
            days.add(passage.day)
            chosen.append(passage)
            if budget - used < 3:  # nothing is shorter than a name, a colon and a word
                break
        chosen.sort(key=lambda passage: passage.place)
        shown = frozenset(message for passage in chosen for message in passage.messages)
        cited = tuple(passage.cites for passage in chosen if passage.cites)
        if not chosen:
            return Recalled("", 0, frozenset())
        return Recalled(_block(chosen), used, shown, cited)

    def rank(self, question: str, limit: int) -> list[str]:
        found: dict[str, None] = {}
        for position in self.order(question):
            passage = self._passages[position]
            found.update(dict.fromkeys(passage.messages or passage.cites))
            if len(found) >= limit:
                break
        return list(found)[:limit]

    def close(self) -> None:
        """Nothing is held open."""


class _Keys:
    """Texts that stand for passages, matched as the system's method says."""

    def __init__(self, texts: Sequence[str], system: RankedSystem) -> None:
        self._encoder = system.encoder if system.method != "bm25" else None
        self._vectors = self._encoder.encode(texts) if self._encoder else None
        self._lexical = Bm25(texts, stem=system.stem) if system.method != "dense" else None

    def scores(self, question: str) -> list[NDArray[np.float32]]:
        """One column of scores for each way to match."""
        columns = []
        if self._encoder is not None and self._vectors is not None:
            columns.append(self._vectors @ self._encoder.encode([question])[0])
        if self._lexical is not None:
            columns.append(self._lexical.scores(question))
        return columns


def _windows(passages: Sequence[Passage]) -> list[str]:
    """Each passage's key between those of its neighbours in the same session."""
    keys = ["", *(passage.key for passage in passages), ""]
    sessions = [None, *(passage.session for passage in passages), None]
    return [
        "\n".join(keys[near] for near in (at - 1, at, at + 1) if sessions[near] == sessions[at])
        for at in range(1, len(passages) + 1)
    ]


class FullContext:
    """Everything that was said, whatever the budget: the ceiling, and what it costs."""

    name = "full context"

    def load(self, history: History) -> FullMemory:
        return FullMemory(turn_passages(history))


class FullMemory:
    def __init__(self, passages: list[Passage]) -> None:
        from hymem.text.tokens import count_tokens

        text = _block(passages)
        shown = frozenset(message for passage in passages for message in passage.messages)
        self._recalled = Recalled(text, count_tokens(text), shown)

    def recall(self, question: str, budget: int) -> Recalled:
        return self._recalled

    def rank(self, question: str, limit: int) -> list[str]:
        return []

    def close(self) -> None:
        """Nothing is held open."""


class Bm25:
    """BM25 by bm25s with its defaults (Lucene's variant, English stop words)."""

    def __init__(self, texts: Sequence[str], *, stem: bool = False) -> None:
        import bm25s

        self._stemmer = None
        if stem:
            import Stemmer

            self._stemmer = Stemmer.Stemmer("english")
        self._index = bm25s.BM25()
        self._index.index(self._tokenize(texts), show_progress=False)
        self._size = len(texts)

    def scores(self, question: str) -> NDArray[np.float32]:
        """``float32[n]``, one score per text."""
        import numpy as np

        tokens = self._tokenize([question])[0]
        if not tokens:
            return np.zeros(self._size, np.float32)
        return np.asarray(self._index.get_scores(tokens), np.float32)

    def _tokenize(self, texts: Sequence[str]) -> list[list[str]]:
        import bm25s

        tokens: list[list[str]] = bm25s.tokenize(
            list(texts),
            stopwords="en",
            stemmer=self._stemmer,
            return_ids=False,
            show_progress=False,
        )
        return tokens


def fuse(
    scores: Sequence[NDArray[np.float32]], constant: int = RRF_CONSTANT
) -> NDArray[np.float32]:
    """Reciprocal-rank fusion of aligned score arrays, ``float32[n]``."""
    import numpy as np

    total = np.zeros(len(scores[0]), np.float64)
    for column in scores:
        ranks = np.empty(len(column), np.int64)
        ranks[descending(column)] = np.arange(1, len(column) + 1)
        total += 1.0 / (constant + ranks)
    return total.astype(np.float32)


def descending(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """Positions by falling score, ties in order of position."""
    import numpy as np

    return np.argsort(-scores, kind="stable")


def locomo_baselines(encoder: Encoder) -> list[RankedSystem]:
    """The baselines of the LOCOMO retrieval table, each named after its units and method."""
    methods: tuple[Method, ...] = ("bm25", "hybrid")
    every: tuple[Method, ...] = ("dense", *methods)
    bare = [
        RankedSystem(
            f"turns, {method} (headers not counted)", method, turn_passages, encoder, headers=False
        )
        for method in every
    ]
    return [
        *locomo_encoder_rows(encoder),
        *(RankedSystem(f"turns, {method}", method, turn_passages, encoder) for method in methods),
        *bare,
        *(RankedSystem(f"chunks, {method}", method, chunk_passages, encoder) for method in every),
    ]


def locomo_encoder_rows(encoder: Encoder) -> list[RankedSystem]:
    """Those of the baselines that compare encoders."""
    return [
        RankedSystem("turns, dense", "dense", turn_passages, encoder),
        RankedSystem("turns, hybrid, stemmed", "hybrid", turn_passages, encoder, stem=True),
        RankedSystem("observations, dense", "dense", fact_passages, encoder),
    ]


def longmemeval_baselines(encoder: Encoder) -> list[RankedSystem]:
    """The baselines of the LongMemEval retrieval table; every message is a key."""
    return [
        *longmemeval_encoder_rows(encoder),
        RankedSystem("turns, bm25", "bm25", turn_passages),
        RankedSystem("turns, bm25, stemmed", "bm25", turn_passages, stem=True),
    ]


def longmemeval_encoder_rows(encoder: Encoder) -> list[RankedSystem]:
    """Those of the baselines that compare encoders."""
    return [
        RankedSystem("turns, dense", "dense", turn_passages, encoder),
        RankedSystem("turns, hybrid, stemmed", "hybrid", turn_passages, encoder, stem=True),
    ]


# -- how a history is cut into passages ----------------------------------------------------------


def turn_passages(history: History) -> list[Passage]:
    """One passage a message, under its day."""
    return [
        Passage(
            _key(message),
            _line(message),
            (message.id,),
            _day(message),
            place,
            session=message.session,
        )
        for place, message in enumerate(history.messages)
    ]


def chunk_passages(history: History) -> list[Passage]:
    """Runs of messages of one session, of at most ``CHUNK_TOKENS`` tokens unless one message alone
    is longer: what plain retrieval-augmented generation stores."""
    from hymem.text.tokens import count_many

    sizes = count_many([_line(message) for message in history.messages])
    groups: list[list[Message]] = []
    room = 0
    for message, size in zip(history.messages, sizes, strict=True):
        if not groups or groups[-1][-1].session != message.session or size > room:
            groups.append([])
            room = CHUNK_TOKENS
        groups[-1].append(message)
        room -= size
    return [
        Passage(
            "\n".join(_key(message) for message in group),
            "\n".join(_line(message) for message in group),
            tuple(message.id for message in group),
            _day(group[0]),
            place,
        )
        for place, group in enumerate(groups)
    ]


def piece_passages(history: History, most: int = 128) -> list[Passage]:
    """Every message in pieces of at most ``most`` tokens, long ones cut anywhere. Only a message of
    one piece is there verbatim."""
    from snn_encoder.tokenizer import load_tokenizer

    texts = [message.text for message in history.messages]
    encodings = load_tokenizer().encode_batch(texts, add_special_tokens=False)
    passages: list[Passage] = []
    for message, found in zip(history.messages, encodings, strict=True):
        ends = [end for _, end in found.offsets[most - 1 :: most]]
        ends = [*(end for end in ends if end < len(message.text)), len(message.text)]
        for start, end in pairwise([0, *ends]):
            piece = replace(message, text=message.text[start:end].strip())
            whole = (message.id,) if len(ends) == 1 else ()
            passages.append(
                Passage(
                    _key(piece),
                    _line(piece),
                    whole,
                    _day(message),
                    len(passages),
                    session=message.session,
                )
            )
    return passages


def summary_passages(history: History) -> list[Passage]:
    """One passage a session summary. It stands for a whole session, so neither rule of evidence
    recall counts it: summaries are compared by the answers that are read from them."""
    return [
        Passage(item.text, f"- {item.text}", (), f"[{item.time:%A %d %B %Y}]", place)
        for place, item in enumerate(history.summaries)
    ]


def fact_passages(history: History) -> list[Passage]:
    """One passage a fact that came with the data, under the day of its first source."""
    places = {message.id: place for place, message in enumerate(history.messages)}
    return [
        Passage(
            fact.text,
            f"- {fact.text}",
            (),
            _day(history.messages[places[fact.sources[0]]]),
            places[fact.sources[0]],
            fact.sources,
        )
        for fact in history.facts
    ]


def _key(message: Message) -> str:
    """A speaker's name helps to find what they said; "user" helps nobody."""
    return message.text if message.speaker == message.role else _line(message)


def _line(message: Message) -> str:
    return f"{message.speaker}: {message.text}"


def _day(message: Message) -> str:
    return f"[{message.time:%A %d %B %Y}]"


def _block(passages: Sequence[Passage]) -> str:
    lines = ["<conversation>"]
    day = None
    for passage in passages:
        if passage.day != day:
            day = passage.day
            lines.append(day)
        lines.append(passage.line)
    return "\n".join([*lines, "</conversation>"])
