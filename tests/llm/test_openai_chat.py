"""The official SDK against a real server on loopback that fails as scripted."""

from __future__ import annotations

import base64
import logging
import threading
import time
from email.utils import formatdate

import pytest
from openai_server import Drop, Fail, Hang, OpenAIServer, Say, last_message
from pydantic import BaseModel

from hymem.errors import InputError, LLMError, LLMOutputError
from hymem.llm.openai import OpenAIChat
from hymem.types import Completion

ASK = [{"role": "user", "content": "Where does Ana live?"}]
SECRET = "sk-very-secret-key"


class City(BaseModel):
    city: str
    year: int


GOOD = '{"city": "Lyon", "year": 2026}'


def chat(server: OpenAIServer, **options: object) -> OpenAIChat:
    return OpenAIChat("test-model", base_url=server.url, api_key=SECRET, **options)  # type: ignore[arg-type]


def test_reports_text_model_and_tokens(server: OpenAIServer) -> None:
    server.script(Say("In Lyon.", cached=3))
    reply = chat(server).complete(ASK)
    assert (reply.value, reply.text, reply.model) == ("In Lyon.", "In Lyon.", "test-model")
    assert (reply.input_tokens, reply.output_tokens) == (server.input_tokens, server.output_tokens)
    assert reply.cached_tokens == 3
    assert "temperature" not in server.requests[0]
    chat(server, temperature=0.0).complete(ASK)
    assert server.requests[1]["temperature"] == 0.0


def test_tokens_are_none_when_the_endpoint_reports_none(server: OpenAIServer) -> None:
    server.script(Say("In Lyon.", usage=False))
    reply = chat(server).complete(ASK)
    assert (reply.input_tokens, reply.output_tokens, reply.cached_tokens) == (None, None, None)


def test_asks_for_a_json_schema_first(server: OpenAIServer) -> None:
    server.script(GOOD)
    assert chat(server).complete(ASK, City).value == City(city="Lyon", year=2026)
    asked = server.requests[0]["response_format"]
    assert asked["type"] == "json_schema"
    assert asked["json_schema"]["strict"] is True


@pytest.mark.parametrize(
    ("rejects", "accepted"),
    [({"json_schema"}, "json_object"), ({"json_schema", "json_object"}, None)],
)
def test_steps_down_to_what_the_endpoint_accepts_and_stays(
    server: OpenAIServer, rejects: set[str], accepted: str | None
) -> None:
    server.rejects = rejects
    server.answer = lambda body: f"Sure!\n```json\n{GOOD}\n```"
    llm = chat(server)
    assert llm.complete(ASK, City).value.city == "Lyon"
    tries = len(server.requests)
    assert tries == len(rejects) + 1
    assert llm.complete(ASK, City).value.city == "Lyon"
    assert len(server.requests) == tries + 1  # remembered
    assert server.requests[-1].get("response_format", {}).get("type") == accepted
    assert '"city"' in last_message(server.requests[-1])  # the schema is spelled out instead


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (Say("I think it is Lyon."), "not a JSON object"),
        (Say(""), "empty"),
        (Say('{"city": "Ly', finish="length"), "cut off"),
        (Say("", refusal="I cannot help with that."), "refused"),
        (Say("", finish="content_filter"), "refused"),
        (Say('{"town": "Lyon"}'), "city"),
        (Say('{"city": "Lyon", "year": "soon"}'), "year"),
    ],
)
def test_unusable_reply_is_sent_back_with_the_reason(
    server: OpenAIServer, bad: Say, reason: str
) -> None:
    server.script(bad, GOOD)
    reply = chat(server).complete(ASK, City)
    assert reply.value == City(city="Lyon", year=2026)
    assert reason in last_message(server.requests[1])
    assert (reply.input_tokens, reply.output_tokens) == (server.input_tokens, server.output_tokens)


def test_gives_up_after_a_bounded_number_of_corrections(server: OpenAIServer) -> None:
    server.answer = lambda body: "no idea"
    with pytest.raises(LLMOutputError, match="not a JSON object") as caught:
        chat(server).complete(ASK, City)
    assert server.calls == 3
    assert caught.value.spent is not None
    assert caught.value.spent.input_tokens == server.input_tokens
    assert caught.value.spent.output_tokens == server.output_tokens


def test_plain_answers_are_checked_too(server: OpenAIServer) -> None:
    server.script(Say(" "), Say("<think>Hm, {France}?</think>\nLyon."))
    assert chat(server).complete(ASK).value == "Lyon."


@pytest.mark.parametrize("failure", [Fail(500), Fail(503), Fail(429), Drop()])
def test_passing_failures_are_retried(server: OpenAIServer, failure: Fail | Drop) -> None:
    server.script(failure, "In Lyon.")
    assert chat(server).complete(ASK).value == "In Lyon."
    assert server.calls == 2


def test_a_slow_reply_times_out_and_is_retried(server: OpenAIServer) -> None:
    server.script(Hang(1.0), "In Lyon.")
    assert chat(server, timeout=0.2).complete(ASK).value == "In Lyon."


def test_time_out_for_good_says_how_long(server: OpenAIServer) -> None:
    server.script(Hang(0.5))
    with pytest.raises(LLMError, match=r"within 0\.1 s"):
        chat(server, timeout=0.1, max_retries=0).complete(ASK)


def test_retry_after_in_seconds_is_honoured(server: OpenAIServer) -> None:
    server.script(Fail(429, {"Retry-After": "1.2"}), "ok")  # its own first wait is 0.5 s at most
    chat(server).complete(ASK)
    assert 1.15 <= server.at[1] - server.at[0] < 5


def test_retry_after_as_a_date_is_honoured(server: OpenAIServer) -> None:
    server.script(Fail(503, {"Retry-After": formatdate(time.time() + 3, usegmt=True)}), "ok")
    chat(server).complete(ASK)
    assert 1.5 <= server.at[1] - server.at[0] < 8  # a date has whole seconds


def test_retries_are_bounded(server: OpenAIServer) -> None:
    server.answer = lambda body: Fail(429, {"Retry-After": "0.01"}, "slow down")
    with pytest.raises(LLMError, match=r"429: .*slow down"):
        chat(server, max_retries=2).complete(ASK)
    assert server.calls == 3


def test_other_errors_are_not_retried_and_nothing_is_concluded_from_them(
    server: OpenAIServer,
) -> None:
    server.answer = lambda body: Fail(400, message="context length exceeded")
    llm = chat(server)
    with pytest.raises(LLMError, match="context length exceeded"):
        llm.complete(ASK, City)
    server.answer = lambda body: GOOD
    llm.complete(ASK, City)
    assert server.requests[-1]["response_format"]["type"] == "json_schema"


def test_what_earlier_attempts_cost_is_kept_when_a_later_one_fails(server: OpenAIServer) -> None:
    server.script("not JSON", Fail(401))
    with pytest.raises(LLMError) as caught:
        chat(server).complete(ASK, City)
    assert caught.value.spent is not None
    assert caught.value.spent.output_tokens == server.output_tokens == 2


def test_concurrency_limit(server: OpenAIServer) -> None:
    def slow(body: object) -> str:
        time.sleep(0.05)
        return "ok"

    server.answer = slow
    llm = chat(server, concurrency=2)
    threads = [threading.Thread(target=llm.complete, args=(ASK,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.calls == 8
    assert server.most_busy == 2


def test_streams_pieces_then_the_whole_with_its_tokens(server: OpenAIServer) -> None:
    server.script("She moved to Lyon in March.")
    *pieces, done = chat(server).stream(ASK)
    assert "".join(pieces) == "She moved to Lyon in March."  # type: ignore[arg-type]
    assert len(pieces) == 6
    assert isinstance(done, Completion)
    assert (done.input_tokens, done.output_tokens) == (server.input_tokens, server.output_tokens)
    assert server.output_tokens == 7


def test_streams_without_usage_where_it_cannot_be_had(server: OpenAIServer) -> None:
    server.rejects = {"stream_options"}
    server.answer = lambda body: "In Lyon."
    llm = chat(server)
    for _ in range(2):
        *_, done = llm.stream(ASK)
        assert done == Completion("In Lyon.", "In Lyon.", "test-model", None, None, None)
    assert server.calls == 3  # remembered


@pytest.mark.parametrize("quietly", [False, True])
def test_a_stream_that_drops_is_never_taken_for_the_whole(
    server: OpenAIServer, quietly: bool
) -> None:
    server.script(Drop(3, "She moved to Lyon in March.", quietly))
    pieces: list[object] = []
    with pytest.raises(LLMError, match="broke off") as caught:
        pieces.extend(chat(server).stream(ASK))
    assert pieces == ["She", " moved", " to"]
    assert caught.value.spent is not None
    assert caught.value.spent.text == "She moved to"


def test_a_stream_that_drops_before_its_first_piece_is_retried(server: OpenAIServer) -> None:
    server.script(Drop(), Fail(500), "In Lyon.")
    *pieces, _ = chat(server).stream(ASK)
    assert pieces == ["In", " Lyon."]


@pytest.mark.parametrize(
    "action", [Say("She moved", finish="length"), Say("", finish="content_filter"), Say("")]
)
def test_a_stream_with_no_whole_answer_raises(server: OpenAIServer, action: Say) -> None:
    server.script(action)
    with pytest.raises(LLMOutputError):
        list(chat(server).stream(ASK))


def test_the_key_is_sent_but_never_shown(
    server: OpenAIServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.script("ok", Fail(401, message=f"bad key {SECRET}"), Fail(429, message="no"))
    llm = chat(server, max_retries=0)
    llm.complete(ASK)
    shown = [repr(llm), str(vars(llm)["_connection"])]
    for _ in range(2):
        with pytest.raises(LLMError) as caught:
            llm.complete(ASK)
        shown += [str(caught.value), repr(caught.value)]
    assert server.keys[0] == f"Bearer {SECRET}"
    assert SECRET not in caplog.text + "".join(shown)


def test_no_key_at_all_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(LLMError, match="OPENAI_API_KEY"):
        OpenAIChat("gpt-4.1-mini").complete(ASK)


def test_local_endpoints_need_no_key(server: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert OpenAIChat("m", base_url=server.url).complete(ASK).value == "ok"


def test_unreachable_endpoint_is_an_error_with_its_cause() -> None:
    with pytest.raises(LLMError, match="Connect"):
        OpenAIChat("m", base_url="http://127.0.0.1:9/v1", max_retries=0).complete(ASK)


@pytest.mark.parametrize(
    ("failure", "down"),
    [
        *((failure, True) for failure in (Fail(401), Fail(429), Fail(500), Drop(), Hang(0.5))),
        *((failure, False) for failure in (Fail(400), Fail(413))),
    ],
)
def test_an_error_tells_whether_the_endpoint_or_the_request_is_at_fault(
    server: OpenAIServer, failure: Fail | Drop | Hang, down: bool
) -> None:
    server.script(failure)
    with pytest.raises(LLMError) as caught:
        chat(server, timeout=0.2, max_retries=0).complete(ASK)
    assert caught.value.down == down


def test_an_endpoint_that_does_not_listen_is_named_without_its_password() -> None:
    llm = OpenAIChat("m", base_url="http://ana:hunter2@127.0.0.1:9/v1", max_retries=0)
    with pytest.raises(LLMError, match=r"connection to 127\.0\.0\.1:9 failed") as caught:
        llm.complete(ASK)
    assert "hunter2" not in str(caught.value) + llm.base_url


def test_a_password_in_the_address_is_sent_but_never_shown(
    server: OpenAIServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = server.url.replace("://", "://ana:hun%20ter2@")
    assert OpenAIChat("m", base_url=url).complete(ASK).value == "ok"
    assert server.keys == ["Basic " + base64.b64encode(b"ana:hun ter2").decode()]
    assert "ter2" not in caplog.text


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="base_url is no web address"):
        OpenAIChat("m", base_url="http://[::1").complete(ASK)
    for odd in ("localhost:11434", "ftp://host/v1", "http://", "http://no such host/v1"):
        with pytest.raises(LLMError):
            OpenAIChat("m", base_url=odd, max_retries=0).complete(ASK)


@pytest.mark.parametrize("end", ["?key=sk-very-secret-key-1", "/?a=b", "#sk-very-secret-key-1"])
@pytest.mark.parametrize("given", [True, False])
def test_a_query_in_base_url_is_refused_and_not_shown(
    end: str,
    given: bool,
    server: OpenAIServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    url = server.url + end
    caplog.set_level("DEBUG")
    if not given:
        monkeypatch.setenv("OPENAI_BASE_URL", url)
    with pytest.raises(InputError, match="pass a key as api_key") as caught:
        OpenAIChat("m", base_url=url if given else None).complete(ASK)
    assert "very-secret" not in str(caught.value) + caplog.text
    assert server.calls == 0


def test_a_base_url_that_is_no_string_is_refused() -> None:
    with pytest.raises(InputError, match="no web address"):
        OpenAIChat("m", base_url=7)  # type: ignore[arg-type]
