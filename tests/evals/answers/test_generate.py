"""generate → score → report, end to end, against a real server on loopback."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from openai_server import Body, Fail, OpenAIServer, last_message

from evals import cli
from evals.answers import answerers, generate, records, score
from evals.answers.cli import build_answerer
from evals.data.files import DataError
from evals.data.tasks import load_task
from evals.results import read_result
from hymem.cost.prices import Prices

MODEL = "scripted-model"
GOLD = {"Where did Ines move?": "Porto", "Where did Ada move?": "Turin"}


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def asked(body: Body) -> str:
    return str(re.findall(r"^Question: (.*)$", last_message(body), re.MULTILINE)[0])


def reply(body: Body) -> str:
    """Right on two questions of all; as a judge, yes when the reference is in the answer."""
    text = last_message(body)
    if "Reference:" in text:
        gold = re.findall(r"^Reference: (.*)$", text, re.MULTILINE)[0]
        answer = re.findall(r"^Answer: (.*)$", text, re.MULTILINE)[0]
        return "Yes." if gold in answer else "No."
    return GOLD.get(asked(body), "no idea")


def structured(body: Body) -> str:
    """What HyMem's own stages ask for, whatever the question."""
    form = body["response_format"]["json_schema"]["schema"]["properties"]
    if "statements" in form:
        return '{"statements": []}'
    if "numbers" in form:
        return '{"numbers": [1]}'
    if "good" in form:
        return '{"missing": "", "good": true, "learned": [], "question": ""}'
    return '{"sources": [1], "answer": "Porto", "enough": true, "certain": true}'


def run_cli(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Any:
    """The command's JSON line."""
    assert cli.main([str(part) for part in arguments]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out.strip().splitlines()[-1])


def options(server: OpenAIServer, locomo_file: Path, out: Path, **more: Any) -> list[str]:
    chosen = {
        "system": "turns-dense",
        "model": MODEL,
        "base-url": server.url,
        "encoder": "words",
        "data": locomo_file,
        "out": out,
        "cache": out.parent / "cache",
    } | {key.replace("_", "-"): value for key, value in more.items()}
    pairs = [[f"--{key}", str(value)] for key, value in chosen.items()]
    return ["generate", "locomo", *(part for pair in pairs for part in pair)]


@pytest.fixture(autouse=True)
def words_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command line name the tests' light encoder."""
    from small_data import WordEncoder

    from evals.systems import encoders

    monkeypatch.setattr(encoders, "load_encoder", lambda name: WordEncoder())


# -- the whole path --


def test_generate_score_report_costs_equal_to_the_token(
    server: OpenAIServer, locomo_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answer = reply
    out = tmp_path / "run.jsonl"
    price = ["--price", "2", "8"]
    summary = run_cli(capsys, *options(server, locomo_file, out), *price)
    assert (summary["answered"], summary["failed"]) == (8, 0)
    run = records.read_run(out)
    assert len(run.records) == 8  # two conversations, categories 1-4
    spent = records.total_usage(record.usage for record in run.answered)["answer"]
    assert spent["calls"] == server.calls == 8
    assert spent["input_tokens"] == server.input_tokens
    assert spent["output_tokens"] == server.output_tokens
    dollars = (2 * server.input_tokens + 8 * server.output_tokens) / 1e6
    assert spent["usd"] == pytest.approx(dollars)
    assert summary["usd"] == pytest.approx(dollars)
    assert "Porto" in run.records["conv-26/0"].context

    pytest.importorskip("nltk")
    pytest.importorskip("rouge_score")
    answered = server.input_tokens
    folder = tmp_path / "report"
    judging = ["--judge", "judge-model", "--base-url", server.url, "--runs", "2", *price]
    assert (
        cli.main(["report", str(out), "--data", str(locomo_file), "--out", str(folder), *judging])
        == 0
    )
    (result,) = json.loads((folder / "report.json").read_text())
    rows = {(row["half"], row["group"], row["metric"]): row for row in result["rows"]}
    assert rows["all", "1-4", "judge, lenient"]["value"] == 0.25  # 2 of 8
    assert rows["development", "4 single-hop", "judge, strict"]["value"] == 1.0
    assert rows["all", "1-4", "F1 (LOCOMO)"]["n"] == 8
    assert result["judges"]["lenient"]["runs"] == [0.25, 0.25]
    assert result["judges"]["lenient"]["sd"] == 0.0
    judged = sum(result["judges"][name]["input_tokens"] for name in ("lenient", "strict"))
    assert judged == server.input_tokens - answered
    assert result["costs"]["total"]["input_tokens"] == answered
    assert result["costs"]["per correct answer"]["usd"] == pytest.approx(dollars / 2, rel=1e-3)
    assert_report_holds_together(folder)

    # verdicts are kept: a second report asks the judge nothing
    calls = server.calls
    assert (
        cli.main(["report", str(out), "--data", str(locomo_file), "--out", str(folder), *judging])
        == 0
    )
    assert server.calls == calls


def assert_report_holds_together(folder: Path) -> None:
    text = (folder / "report.md").read_text()
    assert "judge, lenient" in text
    assert "$ per correct" in text
    assert "I moved to Porto" not in text + (folder / "report.json").read_text()


def test_hymem_itself_with_a_model_counts_build_and_questions_apart(
    server: OpenAIServer, locomo_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answer = structured
    out = tmp_path / "own.jsonl"
    arguments = [*options(server, locomo_file, out, system="hymem", price="1"), "1"]
    summary = run_cli(capsys, *arguments)
    assert summary["answered"] == 8
    run = records.read_run(out)
    build = records.total_usage(item.usage for item in run.builds.values())
    asked_usage = records.total_usage(record.usage for record in run.answered)
    assert set(build) == {"extract"}
    assert "extract" not in asked_usage
    sent = records.tokens_of(build) + records.tokens_of(asked_usage)
    assert sent == server.input_tokens
    assert {record.tier for record in run.answered} <= {"light", "deep", "none"}
    # the stores are kept: going on pays for no extraction again
    calls = server.calls
    out.unlink()
    run_cli(capsys, *arguments)
    kinds = [body["response_format"]["json_schema"]["name"] for body in server.requests[calls:]]
    assert not any("xtract" in kind for kind in kinds)
    # but another model's units are its own
    calls = server.calls
    out.unlink()
    run_cli(capsys, *["other-model" if part == MODEL else part for part in arguments])
    kinds = [body["response_format"]["json_schema"]["name"] for body in server.requests[calls:]]
    assert any("xtract" in kind for kind in kinds)


def test_offline_runs_the_whole_path_and_says_so(
    locomo_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], server: OpenAIServer
) -> None:
    for system in ("hymem", "turns-dense"):
        out = tmp_path / f"{system}.jsonl"
        arguments = options(server, locomo_file, out, system=system, model="offline")
        summary = run_cli(capsys, *arguments)
        assert summary["answered"] == 8
        run = records.read_run(out)
        assert run.header["model"] == "offline"
        assert {record.mode for record in run.answered} == {"offline"}
        # declined in the words that LOCOMO's score knows
        declined = [record.answer for record in run.answered if not record.found]
        assert declined
        assert set(declined) == {answerers.NOT_MENTIONED}
    assert server.calls == 0


def test_longmemeval_goes_the_same_way(
    server: OpenAIServer, longmemeval_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("nltk")
    pytest.importorskip("rouge_score")
    server.answer = reply
    out = tmp_path / "lme.jsonl"
    arguments = options(server, longmemeval_file, out)
    arguments[1] = "longmemeval"
    assert run_cli(capsys, *arguments)["answered"] == 4
    data = ["--data", str(longmemeval_file), "--base-url", server.url, "--judge", "j"]
    assert cli.main(["score", str(out), *data, "--out", str(tmp_path / "s.json")]) == 0
    assert {row.group for row in read_result(tmp_path / "s.json")["rows"]} == {
        "all types",
        "knowledge-update",
        "single-session-assistant",
        "multi-session",
    }


# -- interruptions, failures, caps --


def test_an_interrupted_run_resumes_to_the_same_records(
    server: OpenAIServer, locomo_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answer = reply
    whole, parts = tmp_path / "whole.jsonl", tmp_path / "parts.jsonl"
    run_cli(capsys, *options(server, locomo_file, whole))
    run_cli(capsys, *options(server, locomo_file, parts, limit=3))
    with parts.open("a") as stream:
        stream.write('{"record": {"question": "conv-26/3", "gr')  # killed while writing
    assert len(records.read_run(parts).records) == 3
    calls = server.calls
    summary = run_cli(capsys, *options(server, locomo_file, parts))
    assert (summary["skipped"], summary["answered"]) == (3, 5)
    assert server.calls == calls + 5

    def answers(path: Path) -> dict[str, tuple[str, str]]:
        return {r.question: (r.answer, r.context) for r in records.read_run(path).answered}

    assert answers(parts) == answers(whole)


def test_failures_are_counted_and_tried_again_never_scored(
    server: OpenAIServer, locomo_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answer = lambda body: (
        Fail(400, message="no") if "marathon" in asked(body) else reply(body)
    )
    out = tmp_path / "run.jsonl"
    summary = run_cli(capsys, *options(server, locomo_file, out))
    assert (summary["answered"], summary["failed"]) == (6, 2)
    run = records.read_run(out)
    assert {record.question for record in run.failed} == {"conv-26/2", "conv-99/2"}
    assert all("400" in (record.error or "") for record in run.failed)
    pytest.importorskip("nltk")
    pytest.importorskip("rouge_score")
    result = score.score_run(load_task("locomo", locomo_file), run)
    assert set(result.extra["failed"]) == {"conv-26/2", "conv-99/2"}
    assert result.extra["answered"] == 6
    assert all(row.n <= 6 for row in result.rows)
    server.answer = reply
    again = run_cli(capsys, *options(server, locomo_file, out))
    assert (again["skipped"], again["answered"], again["failed"]) == (6, 2, 0)
    assert not records.read_run(out).failed


def test_an_endpoint_that_is_gone_stops_the_run(
    server: OpenAIServer,
    locomo_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(generate, "FAILURES_IN_A_ROW", 3)
    server.answer = lambda body: Fail(400, message="out of order")
    arguments = options(server, locomo_file, tmp_path / "run.jsonl", concurrency=1)
    assert cli.main(arguments) == 0
    printed = capsys.readouterr()
    summary = json.loads(printed.out)
    assert "3 questions in a row failed" in summary["stopped"]
    assert "out of order" in summary["stopped"]
    assert 3 <= server.calls < 8
    assert "The same command asks them again" in printed.err
    server.answer = reply
    assert run_cli(capsys, *arguments)["answered"] == 8


def test_a_dollar_cap_stops_cleanly_and_a_higher_one_goes_on(
    server: OpenAIServer, locomo_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answer = reply
    out = tmp_path / "run.jsonl"
    capped = [*options(server, locomo_file, out, concurrency=1), "--price", "1000", "1000"]
    summary = run_cli(capsys, *capped, "--max-usd", "3")
    assert 0 < summary["answered"] < 8
    assert "higher cap" in summary["stopped"]
    spent = (server.input_tokens + server.output_tokens) / 1000
    assert summary["usd"] == pytest.approx(spent)
    assert spent <= 3
    assert generate.spent_before(records.read_run(out)) == pytest.approx(spent)
    summary = run_cli(capsys, *capped, "--max-usd", "100")
    assert summary["stopped"] is None
    assert len(records.read_run(out).answered) == 8


def test_a_cap_waits_for_what_is_under_way_before_it_stops(
    server: OpenAIServer, locomo_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Answers are cheaper than what is set aside for them, so that as many questions are asked
    with eight in flight as one after the other."""
    server.answer = reply
    counts = []
    for concurrency in (1, 8):
        out = tmp_path / f"{concurrency}.jsonl"
        arguments = options(server, locomo_file, out, concurrency=concurrency)
        money = ["--price", "1000", "1000", "--max-usd", "3"]
        counts.append(run_cli(capsys, *arguments, *money)["answered"])
    assert counts[0] == counts[1]


def test_a_cap_without_a_price_is_refused_before_the_first_call(
    server: OpenAIServer,
    locomo_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = [*options(server, locomo_file, tmp_path / "x.jsonl"), "--max-usd", "1"]
    monkeypatch.setattr("hymem.cost.prices.is_local", lambda url: False)
    assert cli.main(arguments) == 1
    assert "price of scripted-model is unknown" in capsys.readouterr().err
    assert server.calls == 0


def header(task: Any, **changes: Any) -> dict[str, Any]:
    return {"task": task.name, "task_version": task.version, "system": "s", "model": "m"} | changes


def test_records_of_another_task_version_or_system_are_refused(
    locomo_file: Path, tmp_path: Path
) -> None:
    task = load_task("locomo", locomo_file)
    path = tmp_path / "run.jsonl"
    records.RecordWriter(path, header(task)).close()
    records.RecordWriter(path, header(task)).close()
    with pytest.raises(DataError, match="task version locomo-1"):
        records.read_run(path, "locomo-2")
    with pytest.raises(DataError, match="made with system = 's', this run has 't'"):
        records.RecordWriter(path, header(task, system="t"))


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text('{"header": {"task_version": "locomo-1"}}\n{"rec\n{"record": {}}\n')
    with pytest.raises(DataError, match="line 2, is damaged"):
        records.read_run(path)
    path.write_text("{}")
    with pytest.raises(DataError, match="does not begin with a header"):
        records.read_run(path)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b'{"header": {}}\n', b'{"x": {"a": 1}}\n'])
def test_a_file_of_something_else_is_told(
    tmp_path: Path, content: bytes, locomo_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(content)
    assert cli.main(["score", str(path), "--data", str(locomo_file)]) == 1
    assert "run.jsonl" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_told(
    server: OpenAIServer, locomo_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    arguments = options(server, locomo_file, tmp_path / "file" / "run.jsonl")
    arguments[arguments.index("--cache") + 1] = str(tmp_path / "cache")
    assert cli.main(arguments) == 1
    assert "file" in capsys.readouterr().err
    assert server.calls == 0


def test_a_run_on_other_data_is_not_scored(locomo_file: Path, tmp_path: Path) -> None:
    task = load_task("locomo", locomo_file)
    path = tmp_path / "run.jsonl"
    made_on = {"name": "locomo10.json", "sha256": "0" * 64}
    records.RecordWriter(path, header(task, data=made_on, settings={})).close()
    with pytest.raises(DataError, match=r"was made on locomo10\.json"):
        score.score_run(task, records.read_run(path))


def test_a_killed_process_resumes_to_the_same_records(
    server: OpenAIServer, locomo_file: Path, tmp_path: Path
) -> None:
    pytest.importorskip("bm25s")

    def slowly(body: Body) -> str:
        time.sleep(0.2)
        return reply(body)

    def command(out: Path) -> list[str]:
        arguments = options(server, locomo_file, out, system="turns-bm25", concurrency=1)
        arguments[arguments.index("--encoder") + 1] = "spiking"
        return [sys.executable, "-m", "evals.cli", *arguments]

    server.answer = slowly
    cut, whole = tmp_path / "cut.jsonl", tmp_path / "whole.jsonl"
    process = subprocess.Popen(command(cut), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while time.monotonic() < end and not (cut.exists() and cut.read_bytes().count(b"\n") > 3):
        time.sleep(0.02)
    process.kill()
    process.wait()
    before = len(records.read_run(cut).answered)
    assert 0 < before < 8
    for out in (cut, whole):
        subprocess.run(command(out), check=True, capture_output=True)
    runs = [records.read_run(out).answered for out in (cut, whole)]
    first, second = ({r.question: (r.answer, r.context) for r in run} for run in runs)
    assert first == second
    assert len(first) == 8


def test_the_build_of_a_killed_run_is_not_forgotten(
    server: OpenAIServer, locomo_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The store outlives the process, and its ledger knows what the lost run has paid."""
    from hymem.llm.openai import OpenAIChat

    server.answer = structured
    out = tmp_path / "own.jsonl"
    arguments = [*options(server, locomo_file, out, system="hymem", price="1"), "1"]
    parsed = cli._parser().parse_args(arguments)
    task = load_task("locomo", locomo_file)
    llm = OpenAIChat(MODEL, base_url=server.url)
    lost = build_answerer(parsed, llm, Prices(), out.with_suffix(".stores"))
    history, _ = next(task.items())
    lost.load(history).close()
    paid = server.input_tokens
    assert paid > 0
    run_cli(capsys, *arguments)
    builds = records.read_run(out).builds
    assert records.tokens_of(builds["conv-26"].usage) == paid
    run_cli(capsys, *arguments)  # nothing left to do, nothing counted twice
    assert records.read_run(out).builds == builds


def test_events_that_could_not_be_extracted_are_told(
    server: OpenAIServer, locomo_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("nltk")
    pytest.importorskip("rouge_score")
    extracting = True

    def flaky(body: Body) -> str | Fail:
        form = body["response_format"]["json_schema"]["schema"]["properties"]
        return Fail(401) if "statements" in form and extracting else structured(body)

    server.answer = flaky
    out = tmp_path / "own.jsonl"
    arguments = options(server, locomo_file, out, system="hymem", limit=4)
    assert run_cli(capsys, *arguments)["answered"] == 4
    assert records.read_run(out).builds["conv-26"].failed > 0
    assert cli.main(["score", str(out), "--data", str(locomo_file)]) == 0
    assert "events without units" in capsys.readouterr().out
    extracting = False
    arguments[arguments.index("--limit") + 1] = "5"  # the second conversation, and one more try
    run_cli(capsys, *arguments)
    assert records.read_run(out).builds["conv-99"].failed == 0


# -- the dry run --


def test_a_dry_run_predicts_the_input_tokens_within_five_per_cent(
    server: OpenAIServer, locomo_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The server counts tokens in its own way; a few answered questions teach the ratio."""
    server.answer = reply
    out = tmp_path / "run.jsonl"
    arguments = [*options(server, locomo_file, out), "--price", "1", "1"]
    blind = run_cli(capsys, *arguments, "--dry-run")
    assert server.calls == 0
    assert blind["questions"] == blind["calls"] == 8
    assert blind["calibrated_on"] == 0
    assert blind["usd"] > 0
    run_cli(capsys, *arguments, "--limit", "4")
    paid = server.input_tokens
    prediction = run_cli(capsys, *arguments, "--dry-run")
    assert prediction["calibrated_on"] == 4
    assert prediction["questions"] == 4
    run_cli(capsys, *arguments)
    real = server.input_tokens - paid
    assert abs(prediction["input_tokens"] - real) <= 0.05 * real


@pytest.mark.parametrize("system", ["hymem", "llm-gate"])
def test_a_dry_run_of_hymem_itself_predicts_its_questions_and_its_build(
    server: OpenAIServer,
    locomo_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    system: str,
) -> None:
    server.answer = structured
    out = tmp_path / "run.jsonl"
    arguments = [*options(server, locomo_file, out, system=system, price="1"), "1"]
    run_cli(capsys, *arguments, "--limit", "4")
    paid = server.input_tokens
    prediction = run_cli(capsys, *arguments, "--dry-run")
    assert server.input_tokens == paid
    assert prediction["build_input_tokens"] > 0  # of the second conversation
    run_cli(capsys, *arguments)
    real = server.input_tokens - paid
    assert prediction["margin95"] >= 0
    predicted = prediction["input_tokens"] + prediction["build_input_tokens"]
    assert abs(predicted - real) <= 0.05 * real


def test_the_ratio_and_its_error_by_hand() -> None:
    assert generate.ratio_estimate([], 100, 1) == (1.0, None)
    assert generate.ratio_estimate([(10, 12)], 100, 1) == (1.2, None)
    assert generate.ratio_estimate([(10, 12), (20, 24)], 100, 5) == (
        1.2,
        pytest.approx(0, abs=1e-9),
    )
    # ratio 1, residuals +2 and -2: variance 8; of the ratio sqrt(2 * 8) / 20 = 0.2
    ratio, error = generate.ratio_estimate([(10, 12), (10, 8)], 100, 3)
    assert ratio == 1.0
    assert error == pytest.approx((20**2 + 3 * 8) ** 0.5)


# -- the pool --


def test_sixteen_questions_are_in_flight(
    server: OpenAIServer, locomo_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def slow(body: Body) -> str:
        time.sleep(0.3)
        return "x"

    server.answer = slow
    run_cli(capsys, *options(server, locomo_file, tmp_path / "run.jsonl", concurrency=16))
    assert server.most_busy >= 4  # all of a conversation's at once, the next one joining


# -- small things --


def test_a_missing_run_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["score", str(tmp_path / "none.jsonl")]) == 1
    assert "hymem-eval generate" in capsys.readouterr().err


def test_the_answer_prompt_carries_date_context_and_question(locomo_file: Path) -> None:
    (_, questions), *_ = load_task("locomo", locomo_file).items()
    system, user = answerers.answer_messages("CONTEXT", questions[0])
    assert "not mentioned" in system["content"]
    assert user["content"].startswith("CONTEXT\n\nToday is Friday 2 June 2023.")
    assert user["content"].endswith("Question: Where did Ines move?")
