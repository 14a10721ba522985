"""The only loaders of benchmark data: LOCOMO and LongMemEval as typed records.

LOCOMO: arXiv 2402.17753 (CC BY-NC 4.0). LongMemEval: arXiv 2410.10813 (MIT), the cleaned files.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Literal

from evals.data.files import DataError, DataFile, find_file, open_text

__all__ = [
    "CATEGORY_NAMES",
    "LOCOMO_DEVELOPMENT",
    "TASK_VERSIONS",
    "ChatSession",
    "ChatTurn",
    "DataError",
    "DataFile",
    "LabelError",
    "Locomo",
    "LocomoConversation",
    "LocomoQuestion",
    "LocomoSession",
    "LocomoTurn",
    "LongMemEvalQuestion",
    "Observation",
    "Variant",
    "is_development",
    "load_label_errors",
    "load_locomo",
    "open_longmemeval",
    "parse_dialog_ids",
    "stream_longmemeval",
]

TASK_VERSIONS = {"locomo": "locomo-1", "longmemeval": "longmemeval-1"}

Variant = Literal["s", "oracle", "m"]

CATEGORY_NAMES = {
    1: "multi-hop",
    2: "temporal",
    3: "open-domain",
    4: "single-hop",
    5: "adversarial",
}
LOCOMO_DEVELOPMENT = frozenset({"conv-26", "conv-30", "conv-41", "conv-42", "conv-43"})


def is_development(identifier: str) -> bool:
    """Whether a LOCOMO conversation (or a question of it) or a LongMemEval question belongs to the
    development half, on which every constant is chosen."""
    if identifier.startswith("conv-"):
        return identifier.split("/")[0] in LOCOMO_DEVELOPMENT
    return int(hashlib.sha256(identifier.encode()).hexdigest(), 16) % 2 == 0


# -- LOCOMO --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LocomoTurn:
    """``caption`` describes the picture that was shared, which the speakers could see."""

    dia_id: str
    session: int
    speaker: str
    text: str
    caption: str | None = None

    @property
    def content(self) -> str:
        """What is ingested: the text, then the caption in brackets."""
        if self.caption is None:
            return self.text
        return f"{self.text} [picture: {self.caption}]".strip()


@dataclass(frozen=True, slots=True)
class Observation:
    """A one-sentence fact about ``speaker``, written by a language model for LOCOMO."""

    speaker: str
    text: str
    sources: tuple[str, ...]
    session: int


@dataclass(frozen=True, slots=True)
class LocomoSession:
    number: int
    time: datetime
    turns: tuple[LocomoTurn, ...]
    observations: tuple[Observation, ...]
    summary: str


@dataclass(frozen=True, slots=True)
class LocomoQuestion:
    """``evidence`` holds ids of turns of the conversation; ``unparsed`` what could not be read as
    an id or names no turn. ``answer`` is empty for an adversarial question without a gold one."""

    id: str
    conversation: str
    text: str
    answer: str
    category: int
    evidence: tuple[str, ...]
    unparsed: tuple[str, ...] = ()
    adversarial_answer: str | None = None

    @property
    def category_name(self) -> str:
        return CATEGORY_NAMES[self.category]


@dataclass(frozen=True, slots=True)
class LocomoConversation:
    id: str
    speakers: tuple[str, str]
    sessions: tuple[LocomoSession, ...]
    questions: tuple[LocomoQuestion, ...]

    @property
    def turns(self) -> list[LocomoTurn]:
        return [turn for session in self.sessions for turn in session.turns]

    @property
    def observations(self) -> list[Observation]:
        return [item for session in self.sessions for item in session.observations]


@dataclass(frozen=True, slots=True)
class Locomo:
    file: DataFile
    conversations: tuple[LocomoConversation, ...]
    task_version: str = field(default=TASK_VERSIONS["locomo"])

    @property
    def questions(self) -> list[LocomoQuestion]:
        return [question for item in self.conversations for question in item.questions]

    @property
    def unparsed(self) -> int:
        """How many pieces of evidence could not be resolved to a turn."""
        return sum(len(question.unparsed) for question in self.questions)


_DIALOG_ID = re.compile(r"D:?(\d+):(\d+)")


def parse_dialog_ids(value: str) -> list[str]:
    """All dialog ids in a piece of evidence, canonical (``D30:05`` → ``D30:5``), in order.

    ``D8:6; D9:17`` and ``D:11:26`` occur in the data; a text without any id gives an empty list.
    """
    return [f"D{int(session)}:{int(turn)}" for session, turn in _DIALOG_ID.findall(value)]


def load_locomo(source: str | Path | None = None) -> Locomo:
    """The whole of LOCOMO. ``query`` fields (image search terms) are left out on purpose.

    Raises ``DataError`` when the file is missing, damaged or not shaped like LOCOMO.
    """
    file = find_file("locomo", source)
    try:
        with open_text(file) as stream:
            conversations = tuple(_conversation(item) for item in json.load(stream))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{file.name} (sha256 {file.sha256}) is not a LOCOMO file: {error!r}. "
            "Run `hymem-eval data locomo`."
        ) from error
    return Locomo(file, conversations)


def _conversation(raw: dict[str, Any]) -> LocomoConversation:
    talk = raw["conversation"]
    numbers = sorted(int(key.split("_")[1]) for key in talk if re.fullmatch(r"session_\d+", key))
    sessions = tuple(_session(raw, number) for number in numbers if talk[f"session_{number}"])
    known = {turn.dia_id for session in sessions for turn in session.turns}
    questions = tuple(
        _question(raw["sample_id"], index, item, known) for index, item in enumerate(raw["qa"])
    )
    speakers = (talk["speaker_a"], talk["speaker_b"])
    return LocomoConversation(raw["sample_id"], speakers, sessions, questions)


def _session(raw: dict[str, Any], number: int) -> LocomoSession:
    talk = raw["conversation"]
    turns = tuple(
        LocomoTurn(
            parse_dialog_ids(turn["dia_id"])[0],
            number,
            turn["speaker"],
            turn["text"],
            turn.get("blip_caption"),
        )
        for turn in talk[f"session_{number}"]
    )
    observations = tuple(
        Observation(speaker, text, _sources(cited), number)
        for speaker, facts in raw["observation"].get(f"session_{number}_observation", {}).items()
        for text, cited in facts
    )
    time = datetime.strptime(talk[f"session_{number}_date_time"], "%I:%M %p on %d %B, %Y")
    summary = raw["session_summary"].get(f"session_{number}_summary", "")
    return LocomoSession(number, time, turns, observations, summary)


def _sources(cited: str | Sequence[str]) -> tuple[str, ...]:
    parts = [cited] if isinstance(cited, str) else cited
    return tuple(dict.fromkeys(found for part in parts for found in parse_dialog_ids(part)))


def _question(
    conversation: str, index: int, raw: dict[str, Any], known: set[str]
) -> LocomoQuestion:
    evidence: dict[str, None] = {}
    unparsed: list[str] = []
    for piece in raw["evidence"]:
        found = parse_dialog_ids(piece)
        evidence.update(dict.fromkeys(dia_id for dia_id in found if dia_id in known))
        unparsed += [dia_id for dia_id in found if dia_id not in known] or (
            [] if found else [piece]
        )
    return LocomoQuestion(
        id=f"{conversation}/{index}",
        conversation=conversation,
        text=raw["question"],
        answer=str(raw.get("answer", "")),
        category=raw["category"],
        evidence=tuple(evidence),
        unparsed=tuple(unparsed),
        adversarial_answer=raw.get("adversarial_answer"),
    )


@dataclass(frozen=True, slots=True)
class LabelError:
    """An audited label: ``WRONG_CITATION`` spares the answer, every other type says it is wrong."""

    question_id: str
    error_type: str
    correct_answer: str
    correct_evidence: tuple[str, ...]

    @property
    def answer_is_wrong(self) -> bool:
        return self.error_type != "WRONG_CITATION"


def load_label_errors(locomo: Locomo, source: str | Path | None = None) -> dict[str, LabelError]:
    """Audited LOCOMO label errors by our question id. The file numbers conversations from 0 in the
    order of ``locomo``. Raises ``DataError``."""
    file = find_file("audit", source)
    errors = {}
    try:
        with open_text(file) as stream:
            for raw in json.load(stream):
                match = re.fullmatch(r"locomo_(\d+)_qa(\d+)", raw["question_id"])
                if match is None:
                    raise ValueError(raw["question_id"])
                conversation = locomo.conversations[int(match[1])]
                question_id = conversation.questions[int(match[2])].id
                errors[question_id] = LabelError(
                    question_id,
                    raw["error_type"],
                    str(raw["correct_answer"]),
                    _sources(raw["correct_evidence"]),
                )
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DataError(
            f"{file.name} (sha256 {file.sha256}) is not the audit file: {error!r}. "
            "Run `hymem-eval data locomo`."
        ) from error
    return errors


# -- LongMemEval ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ChatTurn:
    role: str
    text: str
    has_answer: bool


@dataclass(frozen=True, slots=True)
class ChatSession:
    id: str
    time: datetime
    turns: tuple[ChatTurn, ...]


@dataclass(frozen=True, slots=True)
class LongMemEvalQuestion:
    id: str
    type: str
    text: str
    time: datetime
    answer: str
    answer_sessions: tuple[str, ...]
    sessions: tuple[ChatSession, ...]

    @property
    def abstention(self) -> bool:
        """The question cannot be answered from its sessions."""
        return self.id.endswith("_abs")


def open_longmemeval(variant: Variant, source: str | Path | None = None) -> DataFile:
    """The LongMemEval file of ``variant``, to be read by ``stream_longmemeval``."""
    return find_file(f"longmemeval_{variant}", source)


def stream_longmemeval(file: DataFile) -> Iterator[LongMemEvalQuestion]:
    """The questions one by one, so that memory holds a single haystack at a time.

    Raises ``DataError`` when the file is damaged.
    """
    try:
        with open_text(file) as stream:
            for raw in _stream_array(stream):
                yield _longmemeval_question(raw)
    except DataError:
        raise
    except Exception as error:  # truncated zstd frames raise the library's own type
        raise DataError(
            f"{file.name} (sha256 {file.sha256}) is damaged or not a LongMemEval file: "
            f"{error!r}. Run `hymem-eval data longmemeval`."
        ) from error


def _stream_array(stream: IO[str]) -> Iterator[dict[str, Any]]:
    """The elements of one JSON array, read piece by piece."""
    decoder = json.JSONDecoder()
    buffer = stream.read(1 << 20).lstrip()
    if not buffer.startswith("["):
        raise ValueError("no JSON array")
    buffer = buffer[1:]
    piece = 1 << 20
    while True:
        buffer = buffer.lstrip(", \r\n\t")
        if buffer.startswith("]"):
            return
        try:
            value, end = decoder.raw_decode(buffer)
        except ValueError:
            more = stream.read(piece)
            if not more:
                raise
            buffer += more
            piece = max(piece, len(buffer) // 2)  # linear time in the size of an element
            continue
        yield value
        buffer = buffer[end:]


def _longmemeval_question(raw: dict[str, Any]) -> LongMemEvalQuestion:
    sessions = tuple(
        ChatSession(
            session_id,
            _chat_time(date),
            tuple(
                ChatTurn(turn["role"], turn["content"], bool(turn.get("has_answer")))
                for turn in turns
            ),
        )
        for session_id, date, turns in zip(
            raw["haystack_session_ids"],
            raw["haystack_dates"],
            raw["haystack_sessions"],
            strict=True,
        )
    )
    return LongMemEvalQuestion(
        id=raw["question_id"],
        type=raw["question_type"],
        text=raw["question"],
        time=_chat_time(raw["question_date"]),
        answer=str(raw["answer"]),
        answer_sessions=tuple(raw["answer_session_ids"]),
        sessions=sessions,
    )


def _chat_time(value: str) -> datetime:
    """``2023/04/10 (Mon) 17:50`` → a naive time."""
    return datetime.strptime(re.sub(r"\s*\(\w+\)\s*", " ", value), "%Y/%m/%d %H:%M")
