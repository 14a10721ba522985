"""The read path with a model behind a real endpoint: which calls, what they see, what they cost."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai_server import Fail, OpenAIServer, Say, last_message

import hymem.read.rounds
from hymem import Budget, BudgetError, Config, Filter, HyMem, InputError, LLMError, PriceError
from hymem.llm.openai import OpenAIChat
from hymem.prompts import load
from hymem.read.gate import GateDecision
from hymem.read.query import Query
from hymem.read.tiers import frame
from hymem.text.block import CLOSE, OPEN, render
from hymem.text.tokens import count_tokens
from hymem.types import NOT_FOUND, Answer, Hit, Scope, Statement, Turn

STAGES = ("light", "select", "deep", "reflect")
QUESTION = "Where does Ana live?"
TALK = [
    ("Ana", "I moved to Lyon last week.", "2026-03-02"),
    ("Ben", "Lovely! I still live in Ghent.", "2026-03-02"),
    ("Ana", "My cat Tiger likes the new flat.", "2026-03-02"),
    ("Ana", "I am in Porto now, for good.", "2026-06-10"),
    ("Ben", "Porto! I was there in 2019.", "2026-06-10"),
]


class TurnStatements:
    """An extractor that makes each message a statement."""

    def extract(self, events: Sequence[Sequence[Turn]]) -> list[list[Statement]]:
        return [
            [Statement(f"{turn.speaker} said: {turn.text}", (i,)) for i, turn in enumerate(event)]
            for event in events
        ]


class Model:
    """What the endpoint says at each stage; ``stages`` are the calls it got."""

    def __init__(self, server: OpenAIServer) -> None:
        self.server = server
        self.says: dict[str, Any] = {
            "light": answer("In Porto.", sources=[1]),
            "select": {"numbers": [1]},
            "deep": answer("In Porto since June.", sources=[1]),
            "reflect": {"missing": "", "good": True, "learned": [], "question": ""},
        }
        server.answer = self._reply

    @property
    def stages(self) -> list[str]:
        return [stage_of(body) for body in self.server.requests]

    def prompt(self, stage: str, call: int = 0) -> str:
        bodies = [body for body in self.server.requests if stage_of(body) == stage]
        return last_message(bodies[call])

    def _reply(self, body: Mapping[str, Any]) -> Any:
        said = self.says[stage_of(body)]
        if isinstance(said, list):
            said = said.pop(0)
        return said if isinstance(said, (str, Say, Fail)) else json.dumps(said)


def stage_of(body: Mapping[str, Any]) -> str:
    system = body["messages"][0]["content"]
    return next(stage for stage in STAGES if load(stage).system.template == system)


def answer(
    text: str, *, enough: bool = True, certain: bool = True, sources: Sequence[int] = ()
) -> dict[str, Any]:
    return {"sources": list(sources), "answer": text, "enough": enough, "certain": certain}


def look_again(question: str, *learned: str) -> dict[str, Any]:
    return {"missing": "all", "good": False, "learned": list(learned), "question": question}


NOT_ENOUGH = answer("", enough=False)
UNSURE = answer("In Porto?", certain=False, sources=[1])


@pytest.fixture
def model(server: OpenAIServer) -> Model:
    return Model(server)


@pytest.fixture
def llm(server: OpenAIServer) -> OpenAIChat:
    return OpenAIChat("test-model", base_url=server.url, max_retries=0)


@pytest.fixture
def memories() -> Iterator[list[HyMem]]:
    opened: list[HyMem] = []
    yield opened
    for memory in opened:
        memory.close()


@pytest.fixture
def ask(llm: OpenAIChat, memories: list[HyMem]) -> Any:
    """Ask ``QUESTION`` of Ana's memory under some configuration."""

    def run(config: Config | None = None, **options: Any) -> Answer:
        return talk(memories, llm, config).ask(QUESTION, user_id="ana", **options)

    return run


def talk(memories: list[HyMem], llm: OpenAIChat | None, config: Config | None = None) -> HyMem:
    memory = HyMem(
        ":memory:",
        llm=llm,
        extractor=TurnStatements(),
        config=config,
        prices={"test-model": (1.0, 4.0)},
        background=False,
    )
    memories.append(memory)
    for number, (name, text, time) in enumerate(TALK):
        message = {"role": "user", "name": name, "content": text, "id": str(number)}
        memory.add([message], user_id="ana", session_id=time, timestamp=time)
    memory.flush(user_id="ana")
    return memory


@pytest.fixture(autouse=True)
def found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five turns are too few for the calibrated threshold, which is tested elsewhere."""
    monkeypatch.setattr("hymem.read.ranking.confidence", lambda *_: 1.0)


@pytest.fixture
def score_says(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Fixes what the score gate decides: its calibration is tested elsewhere."""

    def fix(tier: Any) -> None:
        score = 0.9 if tier == "light" else 0.1
        monkeypatch.setattr(hymem.read.rounds, "decide", lambda _: GateDecision(tier, score, 0.5))

    return fix


# -- calls per path --


@pytest.mark.parametrize(
    ("gate", "score", "light", "calls"),
    [
        ("llm", "light", answer("In Porto."), ["light"]),
        ("llm", "deep", answer("In Porto."), ["light"]),
        ("llm", "light", NOT_ENOUGH, ["light", "select", "deep", "reflect"]),
        ("score", "light", answer("In Porto."), ["light"]),
        ("score", "deep", NOT_ENOUGH, ["select", "deep", "reflect"]),
        ("hybrid", "light", answer("In Porto."), ["light"]),
        ("hybrid", "light", NOT_ENOUGH, ["light", "select", "deep", "reflect"]),
        ("hybrid", "deep", NOT_ENOUGH, ["select", "deep", "reflect"]),
    ],
)
def test_calls_per_path(
    model: Model, ask: Any, score_says: Any, gate: Any, score: str, light: Any, calls: list[str]
) -> None:
    score_says(score)
    model.says["light"] = light
    found = ask(Config(gate=gate))
    assert model.stages == calls
    assert found.tier == ("light" if calls == ["light"] else "deep")
    assert found.usage.calls == len(calls)
    assert (found.mode, found.found, found.budget_reached) == ("test-model", True, False)


@pytest.mark.parametrize(
    ("switches", "calls"),
    [
        ({"light": False}, ["select", "deep"]),
        ({"deep": False}, ["light"]),
        ({"reflection": False}, ["light", "select", "deep"]),
        ({"max_rounds": 1}, ["light", "select", "deep"]),
    ],
)
def test_each_part_can_be_switched_off(
    model: Model, ask: Any, score_says: Any, switches: Any, calls: list[str]
) -> None:
    score_says("light")
    model.says["light"] = NOT_ENOUGH
    model.says["deep"] = answer("In Porto?", certain=False)
    model.says["reflect"] = look_again("")
    switches = {"max_rounds": 1, **switches}
    ask(Config(**switches))
    assert model.stages == calls


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        (Config(light=False, deep=False), "leave one tier on"),
        (Config(gate="wild"), "Config.gate is 'wild'"),  # type: ignore[arg-type]
        (Config(k=0), "Config.k must be"),
        (Config(max_rounds=0), "Config.max_rounds must be"),
        (Config(scope_budget=5), "Config.scope_budget is int"),  # type: ignore[arg-type]
        (Config(question_budget=Budget(usd="1")), "holds '1'"),  # type: ignore[arg-type]
    ],
)
def test_a_config_that_could_not_answer_is_refused(
    llm: OpenAIChat, config: Config, complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint):
        HyMem(":memory:", llm=llm, config=config)


# -- reflection --


def test_an_unsure_answer_is_judged_and_kept_if_good(model: Model, ask: Any) -> None:
    model.says["light"] = UNSURE
    found = ask(Config(gate="llm"))
    assert model.stages == ["light", "reflect"]
    assert (found.text, found.tier) == ("In Porto?", "light")
    assert found.trace["rounds"][0]["reflection"]["good"] is True


def test_an_answer_that_falls_short_goes_round_with_what_was_learned(
    model: Model, ask: Any
) -> None:
    model.says["light"] = UNSURE
    model.says["reflect"] = look_again(
        "Did Ana stay in Porto?", f"Ana was in Porto on 10 June 2026.\n{CLOSE}"
    )
    found = ask(Config(gate="llm"))
    assert model.stages == ["light", "reflect", "select", "deep"]
    assert (found.text, found.tier) == ("In Porto since June.", "deep")
    assert [one["question"] for one in found.trace["rounds"]] == [
        QUESTION,
        "Did Ana stay in Porto?",
    ]
    assert "Question: Did Ana stay in Porto?" in model.prompt("select")
    for stage in ("select", "deep"):
        assert "Learned so far:\n- Ana was in Porto on 10 June 2026.\n  ‹" in model.prompt(stage)
    assert f"Question: {QUESTION}" in model.prompt("deep")
    assert "Answer: In Porto?" in model.prompt("reflect")


@pytest.mark.parametrize("rounds", [1, 2, 3, 4])
def test_rounds_are_bounded_and_no_judgement_is_paid_for_that_cannot_be_used(
    model: Model, ask: Any, rounds: int
) -> None:
    model.says["light"] = model.says["deep"] = answer("", enough=False)
    model.says["reflect"] = [look_again(f"Try {number}?") for number in range(9)]
    found = ask(Config(gate="llm", max_rounds=rounds))
    assert model.stages == ["light", "select", "deep"] + ["reflect", "select", "deep"] * (
        rounds - 1
    )
    assert len(found.trace["rounds"]) == rounds
    assert (found.found, found.text) == (False, NOT_FOUND)


def test_a_round_that_finds_nothing_takes_no_earlier_answer_back(model: Model, ask: Any) -> None:
    model.says["light"] = UNSURE
    model.says["reflect"] = look_again("Did Ana stay in Porto?")
    model.says["deep"] = NOT_ENOUGH
    found = ask(Config(gate="llm"))
    assert model.stages == ["light", "reflect", "select", "deep"]
    assert (found.text, found.tier, found.found) == ("In Porto?", "light", True)


@pytest.mark.parametrize("again", ["", f" {QUESTION.upper()} "])
def test_no_further_round_without_a_new_question(model: Model, ask: Any, again: str) -> None:
    model.says["light"] = UNSURE
    model.says["reflect"] = look_again(again)
    assert ask(Config(gate="llm", max_rounds=4)).text == "In Porto?"
    assert model.stages == ["light", "reflect"]


def test_score_gate_goes_deep_in_the_second_round(model: Model, ask: Any, score_says: Any) -> None:
    score_says("light")
    model.says["light"] = NOT_ENOUGH
    model.says["reflect"] = look_again("In which city is Ana's flat?")
    assert ask(Config(gate="score")).tier == "deep"
    assert model.stages == ["light", "reflect", "select", "deep"]


# -- what the calls see and cite --


def test_light_sees_numbered_hits_and_deep_the_raw_turns_of_the_chosen(
    model: Model, ask: Any
) -> None:
    model.says["light"] = NOT_ENOUGH

    def choose(body: Mapping[str, Any]) -> str:
        (number,) = re.findall(r"^(\d+)\. .*Porto now", last_message(body), re.MULTILINE)
        return json.dumps({"numbers": [int(number)]})

    model.says["select"] = None
    original = model._reply
    model.server.answer = lambda body: (
        choose(body) if stage_of(body) == "select" else original(body)
    )
    found = ask(Config(gate="llm"), now="2026-07-01")
    light, deep = model.prompt("light"), model.prompt("deep")
    assert light.startswith("Today is Wednesday 1 July 2026.")
    assert re.search(r"^\d+\. .*I moved to Lyon last week", light, re.MULTILINE)
    assert "Ana: I am in Porto now, for good." in deep
    assert "[Wednesday 10 June 2026]" in deep
    (evidence,) = found.evidence
    assert evidence.kind == "turn"
    assert f"1. {evidence.speaker}: {evidence.text}" in deep
    assert found.tokens == found.trace["rounds"][0]["deep"]["context_tokens"]


def test_numbers_that_were_not_offered_are_ignored_and_counted(model: Model, ask: Any) -> None:
    model.says["light"] = NOT_ENOUGH
    model.says["select"] = {"numbers": [99, 1, -4, 0, 1]}
    model.says["deep"] = answer("In Porto.", sources=[1, 77])
    found = ask(Config(gate="llm"))
    (only,) = found.trace["rounds"]
    assert (len(only["selected"]), only["unknown_selected"]) == (1, 3)
    assert only["deep"]["unknown_sources"] == 1
    assert len(found.evidence) == 1


@pytest.mark.parametrize("reply", [{"numbers": []}, {"numbers": [99]}, "no JSON at all"])
def test_without_a_usable_choice_everything_offered_is_read(
    model: Model, ask: Any, reply: Any
) -> None:
    model.says["light"] = NOT_ENOUGH
    model.says["select"] = reply
    found = ask(Config(gate="llm"))
    assert found.trace["rounds"][0]["selected"]
    for _, text, _ in TALK:
        assert text in model.prompt("deep")


def test_filter_reaches_the_search(model: Model, ask: Any) -> None:
    ask(Config(gate="llm"), where=Filter(session_id="2026-03-02"))
    assert "Lyon" in model.prompt("light")
    assert "Porto" not in model.prompt("light")


def test_empty_memory_costs_no_call(
    server: OpenAIServer, llm: OpenAIChat, memories: list[HyMem]
) -> None:
    found = talk(memories, llm).ask(QUESTION, user_id="nobody")
    assert (found.text, found.found, found.tier, found.evidence) == (NOT_FOUND, False, "none", ())
    assert server.calls == found.usage.calls == 0


def test_without_a_model_the_answer_is_taken_from_the_text_and_says_so(
    memories: list[HyMem],
) -> None:
    memory = talk(memories, None)
    found = memory.ask("What is the name of Ana's cat?", user_id="ana", now="2026-07-01")
    assert (found.mode, found.found, found.usage.calls, found.usage.usd) == (
        "offline",
        True,
        0,
        0.0,
    )
    assert "Tiger" in found.text
    assert any("Tiger" in hit.text for hit in found.evidence)
    assert found.tokens > 0
    nothing = memory.ask("What is the name of Ana's cat?", user_id="ben")
    assert (nothing.text, nothing.found, nothing.tier) == (NOT_FOUND, False, "none")


# -- costs, budgets, failures --


def test_ledger_equals_the_server_to_the_token(
    model: Model, server: OpenAIServer, llm: OpenAIChat, memories: list[HyMem]
) -> None:
    model.says["light"] = [Say("{}", cached=1), Say("", finish="length"), NOT_ENOUGH]
    model.says["deep"] = UNSURE
    memory = talk(memories, llm, Config(gate="llm"))
    found = memory.ask(QUESTION, user_id="ana")
    assert model.stages == ["light"] * 3 + ["select", "deep", "reflect"]
    total = (server.input_tokens, server.output_tokens)
    assert (found.usage.input_tokens, found.usage.output_tokens) == total
    assert {stage: one.calls for stage, one in found.usage.by_stage.items()} == {
        "light": 1, "select": 1, "deep": 1, "reflect": 1,
    }  # fmt: skip
    rows = memory.costs(user_id="ana", by=("stage", "tier"))
    assert sum(row["input_tokens"] for row in rows) == server.input_tokens
    assert sum(row["output_tokens"] for row in rows) == server.output_tokens
    assert {(row["stage"], row["tier"]) for row in rows} == {
        ("light", "light"), ("select", "deep"), ("deep", "deep"), ("reflect", "deep"),
    }  # fmt: skip
    assert found.usage.usd == pytest.approx((total[0] + 4 * total[1]) / 1e6)


def test_a_budget_that_is_reached_brings_the_best_answer_so_far(
    model: Model, server: OpenAIServer, ask: Any
) -> None:
    model.says["light"] = UNSURE
    model.says["reflect"] = look_again("Did Ana stay in Porto?")
    whole = ask(Config(gate="llm"))
    first_two = sum(
        whole.usage.by_stage[stage].input_tokens + whole.usage.by_stage[stage].output_tokens
        for stage in ("light", "reflect")
    )
    server.requests.clear()
    found = ask(Config(gate="llm"), budget=Budget(tokens=first_two + 20))
    assert model.stages == ["light", "reflect"]
    assert (found.text, found.budget_reached) == ("In Porto?", True)
    assert found.usage.input_tokens + found.usage.output_tokens <= first_two


def test_a_budget_in_the_configuration_and_one_of_the_scope(
    model: Model, server: OpenAIServer, llm: OpenAIChat, memories: list[HyMem]
) -> None:
    tiny, cap = Budget(tokens=10), Budget(usd=0.0012)
    with pytest.raises(BudgetError):
        talk(memories, llm, Config(question_budget=tiny)).ask(QUESTION, user_id="ana")
    assert server.calls == 0
    memory = talk(memories, llm, Config(gate="llm", scope_budget=cap))
    for _ in range(2):
        memory.ask(QUESTION, user_id="ana")
    with pytest.raises(BudgetError):
        memory.ask(QUESTION, user_id="ana")
    assert server.calls == 2
    assert memory.costs(user_id="ana")[0]["usd"] <= 0.0012


def test_dollar_cap_without_a_price_is_an_error_before_the_call(
    server: OpenAIServer, memories: list[HyMem]
) -> None:
    llm = OpenAIChat("no-such-model", base_url="https://llm.example.org/v1", api_key="none")
    memory = talk(memories, llm)
    with pytest.raises(PriceError, match="no-such-model"):
        memory.ask(QUESTION, user_id="ana", budget=Budget(usd=1.0))


def test_a_model_that_cannot_be_reached_is_an_error(model: Model, ask: Any) -> None:
    model.says["light"] = Fail(500)
    with pytest.raises(LLMError, match="500"):
        ask(Config(gate="llm"))


def test_an_answer_in_hand_survives_a_later_failure(model: Model, ask: Any) -> None:
    model.says["light"] = UNSURE
    model.says["reflect"] = Fail(500)
    found = ask(Config(gate="llm"))
    assert found.text == "In Porto?"
    assert "500" in found.trace["error"]


# -- recall --


def test_recall_calls_no_model_unless_told(
    model: Model, server: OpenAIServer, llm: OpenAIChat, memories: list[HyMem]
) -> None:
    memory = talk(memories, llm)
    context = memory.recall(QUESTION, user_id="ana", max_tokens=200)
    assert server.calls == 0
    assert "Porto" in context.text
    assert context.tokens == count_tokens(context.text) <= 200
    assert context.usage.calls == 0
    model.says["select"] = {"numbers": [1, 55]}
    config = Config(light=False)
    chosen = talk(memories, llm, config).recall(QUESTION, user_id="ana", deep="llm")
    assert model.stages == ["select"]
    assert (chosen.tier, chosen.usage.calls, chosen.trace["unknown_selected"]) == ("deep", 1, 1)
    with pytest.raises(InputError, match="needs a model"):
        talk(memories, None).recall(QUESTION, user_id="ana", deep="llm")


# -- prompts --


def test_prompts_are_versioned_and_nothing_in_a_value_is_expanded() -> None:
    for stage in (*STAGES, "extract", "chat"):
        assert load(stage).version >= 1
    system, user = load("extract").messages(memory="$today costs $5 {memory}")
    assert user["content"] == "$today costs $5 {memory}"
    assert system["role"] == "system"


hostile = st.one_of(
    st.text(),
    st.lists(
        st.sampled_from(
            [OPEN, CLOSE, "</recalled_memory", "< / RECALLED_MEMORY >", "\n", "\r", "\u2028",
             "\x85", "\n1. Ana: ", "\n[Monday 2 March 2026]\n", "\nQuestion: ", "<", "hello",
             "\nLearned so far:\n- "]
        )
    ).map("".join),
)  # fmt: skip


@given(texts=st.lists(hostile, min_size=1, max_size=4), speaker=hostile, question=hostile)
def test_no_stored_text_can_forge_the_delimiters(
    texts: list[str], speaker: str, question: str
) -> None:
    items = [Turn(i, "user", speaker or "Ana", text) for i, text in enumerate(texts, 1)]
    block = render(items, 10**6, numbered=True)
    values = frame(Query(Scope(), question), block, texts)
    shown = load("light").messages(**values)[1]["content"]
    lines = [line for line in shown.split("\n") if not line.startswith("  ")]
    assert len(re.findall(r"<[\s/]*recalled_memory", shown, re.IGNORECASE)) == 2
    assert lines.index(OPEN) < lines.index(CLOSE)
    inside = lines[lines.index(OPEN) + 1 : lines.index(CLOSE)]
    assert inside[0] == "[undated]"
    assert [line.split(". ")[0] for line in inside[1:]] == [
        str(i) for i in range(1, len(texts) + 1)
    ]
    assert sum(line.startswith("Question: ") for line in lines) == 1
    assert sum(line == "Learned so far:" for line in lines) == 1


@given(texts=st.lists(hostile, max_size=30), budget=st.integers(0, 300))
def test_numbered_blocks_never_pass_their_budget(texts: list[str], budget: int) -> None:
    block = render([Turn(i, "user", "Ana", t) for i, t in enumerate(texts)], budget, numbered=True)
    assert block.tokens == count_tokens(block.text) <= budget


def test_hits_of_any_kind_can_be_cited() -> None:
    hits = [Hit(7, "unit", "Ana lives in Porto.", None, 0.9, (1,)), Turn(3, "user", "Ana", "Hi")]
    block = render(hits, 100, numbered=True)
    assert block.text.split("\n")[2:4] == ["1. Ana: Hi", "2. - Ana lives in Porto."]
    assert [item.id for item in block.used] == [3, 7]


@pytest.mark.parametrize(("now", "said"), [("2026-03-09", "Rome"), ("2026-06-17", "Oslo")])
@pytest.mark.parametrize("light", [True, False])
def test_last_week_counts_from_the_time_of_asking(
    model: Model, llm: OpenAIChat, now: str, said: str, light: bool
) -> None:
    config = Config(k=1, n=1, light=light, deep=not light)
    with HyMem(":memory:", llm=llm, config=config, background=False) as memory:
        for day, what in (("2026-03-04", "Rome"), ("2026-06-11", "Oslo")):
            said_on = {"role": "user", "name": "Ana", "content": f"I was in {what}."}
            memory.add([said_on], user_id="ana", session_id=day, timestamp=day)
        memory.ask("Where was Ana last week?", user_id="ana", now=now)
        stage = "light" if light else "select"
        assert f"I was in {said}." in model.prompt(stage)
        chosen = memory.recall("Where was Ana last week?", user_id="ana", deep="llm", now=now)
    if not light:
        assert f"I was in {said}." in chosen.text
