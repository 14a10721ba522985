"""The loaders on files of our own, and on the real ones where ``HYMEM_DATA`` names them."""

from __future__ import annotations

import json
import os
import resource
import sys
from datetime import datetime
from pathlib import Path

import pytest
from small_data import longmemeval_question

from evals.data import files, loaders
from evals.data.files import DataError

# -- LOCOMO --


def test_locomo_is_typed(locomo_file: Path) -> None:
    locomo = loaders.load_locomo(locomo_file)
    conversation = locomo.conversations[0]
    assert conversation.speakers == ("Ines", "Tom")
    assert [session.number for session in conversation.sessions] == [1, 2]  # the third is empty
    assert conversation.sessions[0].time == datetime(2023, 5, 8, 13, 56)
    assert conversation.turns[2].content == (
        "Yes, and my parrot loves the balcony. [picture: an animal on a sunny balcony]"
    )
    assert [item.sources for item in conversation.observations] == [("D1:1",), ("D2:1", "D2:2")]
    assert conversation.sessions[1].summary == "A race."
    assert locomo.task_version == loaders.TASK_VERSIONS["locomo"]
    assert len(locomo.file.sha256) == 64
    assert locomo.file.name == "small_locomo.json"


def test_locomo_evidence_is_read_leniently_and_the_rest_counted(locomo_file: Path) -> None:
    locomo = loaders.load_locomo(locomo_file)
    questions = locomo.conversations[0].questions
    assert questions[0].evidence == ("D1:1",)
    assert questions[1].evidence == ("D2:1", "D1:3")
    assert questions[2].evidence == ("D2:1",)
    assert questions[2].unparsed == ("D", "D9:9")
    assert questions[3].answer == "7"
    assert questions[4].answer == ""
    assert questions[4].adversarial_answer == "a yacht"
    assert locomo.unparsed == 4
    assert [(q.category, q.category_name) for q in questions] == [
        (4, "single-hop"),
        (1, "multi-hop"),
        (2, "temporal"),
        (3, "open-domain"),
        (5, "adversarial"),
    ]


def test_search_terms_are_never_loaded(locomo_file: Path) -> None:
    assert "secret search words" in locomo_file.read_text()
    assert "secret search words" not in repr(loaders.load_locomo(locomo_file))


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("D8:6; D9:17", ["D8:6", "D9:17"]),
        ("D:11:26", ["D11:26"]),
        ("D30:05", ["D30:5"]),
        ("D9:1 D4:4 D4:6", ["D9:1", "D4:4", "D4:6"]),
        ("D", []),
    ],
)
def test_dialog_ids(text: str, ids: list[str]) -> None:
    assert loaders.parse_dialog_ids(text) == ids


def test_label_errors(locomo_file: Path, tmp_path: Path) -> None:
    audit = tmp_path / "audit.json"
    error = {
        "question_id": "locomo_1_qa0",
        "error_type": "WRONG_CITATION",
        "correct_answer": "Turin",
        "correct_evidence": ["D1:1"],
    }
    audit.write_text(json.dumps([error]))
    errors = loaders.load_label_errors(loaders.load_locomo(locomo_file), audit)
    assert errors["conv-99/0"].correct_evidence == ("D1:1",)
    assert not errors["conv-99/0"].answer_is_wrong


# -- LongMemEval --


def test_longmemeval_is_typed(longmemeval_file: Path) -> None:
    file = loaders.open_longmemeval("s", longmemeval_file)
    questions = list(loaders.stream_longmemeval(file))
    assert [question.id for question in questions] == ["q1", "q2", "q3_abs", "q4"]
    assert [question.abstention for question in questions] == [False, False, True, False]
    assert questions[0].sessions[1].time == datetime(2023, 4, 10, 17, 50)
    assert questions[0].sessions[0].turns[0].has_answer
    assert not questions[0].sessions[2].turns[0].has_answer
    assert questions[2].answer == "5"


def test_compressed_longmemeval_is_the_same(longmemeval_file: Path, tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    packed = tmp_path / "small.json.zst"
    packed.write_bytes(zstandard.ZstdCompressor().compress(longmemeval_file.read_bytes()))
    plain = list(loaders.stream_longmemeval(loaders.open_longmemeval("s", longmemeval_file)))
    assert list(loaders.stream_longmemeval(loaders.open_longmemeval("s", packed))) == plain


def test_m_is_read_by_the_same_loader_in_little_memory(tmp_path: Path) -> None:
    """200 MB of generated M-like questions; no more than one of them is held at a time."""
    path = tmp_path / "longmemeval_m_cleaned.json"
    session = [{"role": "user", "content": "word " * 4000, "has_answer": False}]
    with path.open("w") as stream:
        stream.write("[\n")
        for number in range(40):
            question = longmemeval_question(
                number,
                haystack_sessions=[session] * 250,
                haystack_session_ids=[f"s{i}" for i in range(250)],
                haystack_dates=["2023/04/10 (Mon) 17:50"] * 250,
            )
            stream.write((",\n" if number else "") + json.dumps(question))
        stream.write("]\n")
    assert path.stat().st_size > 190_000_000
    before = _peak_bytes()
    count = sum(1 for _ in loaders.stream_longmemeval(loaders.open_longmemeval("m", path)))
    assert count == 40
    assert _peak_bytes() - before < 200_000_000


def _peak_bytes() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


# -- missing and damaged --


def test_missing_data_names_file_place_and_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYMEM_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"locomo10\.json not found .* `hymem-eval data locomo`"):
        loaders.load_locomo()
    with pytest.raises(DataError, match=r"longmemeval_s_cleaned.*`hymem-eval data longmemeval`"):
        loaders.open_longmemeval("s")


def test_without_a_folder_the_download_cache_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HYMEM_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(DataError, match="download cache"):
        loaders.load_locomo()


def test_another_version_of_a_known_file_is_refused(locomo_file: Path) -> None:
    edited = locomo_file.with_name("locomo10.json")
    locomo_file.rename(edited)
    with pytest.raises(DataError, match=r"sha256 is .* expected 79fa87e9"):
        loaders.load_locomo(edited.parent)


def test_damage_after_the_download_is_seen(longmemeval_file: Path) -> None:
    note = longmemeval_file.with_name(longmemeval_file.name + ".sha256")
    note.write_text("0" * 64)
    with pytest.raises(DataError, match="expected 0000"):
        loaders.open_longmemeval("s", longmemeval_file)


@pytest.mark.parametrize("text", ["", "{}", "[{]", '[{"question_id": "q"}]'])
def test_a_file_that_is_no_longmemeval_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"broken\.json .*hymem-eval data longmemeval"):
        list(loaders.stream_longmemeval(loaders.open_longmemeval("s", path)))


def test_a_truncated_file_is_told(longmemeval_file: Path) -> None:
    half = longmemeval_file.read_bytes()[:-300]
    longmemeval_file.write_bytes(half)
    with pytest.raises(DataError, match="damaged"):
        list(loaders.stream_longmemeval(loaders.open_longmemeval("s", longmemeval_file)))


def test_a_file_that_is_no_locomo_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('[{"sample_id": "conv-1"}]')
    with pytest.raises(DataError, match="not a LOCOMO file"):
        loaders.load_locomo(path)


# -- halves --


def test_development_half() -> None:
    assert loaders.is_development("conv-26")
    assert loaders.is_development("conv-43/17")
    assert not loaders.is_development("conv-44")
    # sha256("a") ends in ...bb (odd), sha256("d") in ...a4 (even)
    assert not loaders.is_development("a")
    assert loaders.is_development("d")


# -- the real files --


def _real() -> str:
    folder = os.environ.get("HYMEM_DATA")
    if not folder:
        pytest.skip("HYMEM_DATA is not set")
    return folder


@pytest.mark.data
def test_real_locomo() -> None:
    locomo = loaders.load_locomo(_real())
    assert locomo.file.sha256 == files.CHECKSUMS["locomo10.json"]
    assert len(locomo.conversations) == 10
    assert sum(len(item.sessions) for item in locomo.conversations) == 272
    assert sum(len(item.turns) for item in locomo.conversations) == 5882
    assert sum(len(item.observations) for item in locomo.conversations) == 2541
    counts = [sum(q.category == n for q in locomo.questions) for n in (1, 2, 3, 4, 5)]
    assert counts == [282, 321, 96, 841, 446]
    assert sum(q.category < 5 and not q.evidence for q in locomo.questions) == 4
    errors = loaders.load_label_errors(locomo, _real())
    assert (len(errors), sum(error.answer_is_wrong for error in errors.values())) == (156, 99)


@pytest.mark.data
def test_real_longmemeval() -> None:
    questions = 0
    sessions = turns = answerable = 0
    for question in loaders.stream_longmemeval(loaders.open_longmemeval("s", _real())):
        questions += 1
        sessions += len(question.sessions)
        turns += sum(len(session.turns) for session in question.sessions)
        answerable += not question.abstention
    assert (questions, sessions, turns, answerable) == (499, 23806, 246189, 469)
    assert _peak_bytes() < 1_000_000_000
