"""What each stage's model call must return. Imported only when a model is used."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


def _strict(schema: dict[str, Any]) -> None:
    """Strict endpoints want every field named as required and no other allowed."""
    schema["additionalProperties"] = False
    schema["required"] = list(schema["properties"])
    for field in schema["properties"].values():
        field.pop("default", None)


class _Reply(BaseModel):
    model_config = ConfigDict(json_schema_extra=_strict)


class AnswerReply(_Reply):
    """Light and deep module: the answer, or that the memory shown is not enough for one."""

    sources: list[int] = Field([], description="numbers of the lines that the answer rests on")
    answer: str = Field(description="the answer, or what is known of it, or an empty string")
    enough: bool = Field(description="whether the lines shown suffice to answer")
    certain: bool = Field(False, description="whether they say it outright, with no doubt left")


class SelectReply(_Reply):
    """Deep module: which lines deserve a look at the conversation they come from."""

    numbers: list[int] = Field(description="numbers of the useful lines, the most useful first")


class ReflectReply(_Reply):
    """Reflection: is the answer good enough, and if not, what to look for next."""

    missing: str = Field("", description="what the question asks that the answer leaves open")
    good: bool = Field(description="whether the answer settles the question")
    learned: list[str] = Field([], description="facts established so far that bear on it")
    question: str = Field("", description="what to look for next; empty if the answer is good")


class StatementReply(_Reply):
    """Extraction: one statement."""

    text: str = Field(description="one self-contained sentence")
    sources: list[int] = Field(description="numbers of the messages that it comes from")
    date: str | None = Field(
        None, description="when it happened or holds from: YYYY-MM-DD, YYYY-MM or YYYY"
    )
    subject: str | None = Field(None, description="whom or what a changeable fact is about")
    attribute: str | None = Field(None, description="which changeable property it states")


class ExtractReply(_Reply):
    """Extraction: all statements of the conversations shown."""

    statements: list[StatementReply]


class SegmentReply(_Reply):
    """Segmentation: where topics change."""

    starts: list[int] = Field(description="numbers of the messages that begin a new topic")
