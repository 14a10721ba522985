"""The documents: every sample runs, every command and path that they name exists."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from openai_server import OpenAIServer

import hymem
import snn_encoder
from hymem import cli
from snn_encoder.recipe import load_recipe
from snn_encoder.train.trainer import Trainer
from tools import command_line

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
READMES = [ROOT / "README.md", ROOT / "evals/README.md", ROOT / "snn_encoder/README.md"]
PAGES = [*sorted(DOCS.rglob("*.md")), ROOT / "CONTRIBUTING.md", *READMES]
RUN = [page for page in PAGES if page.name != "CONTRIBUTING.md"]
# What is written as a path of this repository, in `code`.
PATH = re.compile(r"`((?:hymem|snn_encoder|evals|tests|docs|tools)/[\w./-]*)`")
# A test, in `code`, with or without its file: the one named before it then.
TEST = re.compile(r"`(?:(tests/[\w./-]+\.py)(?:::)?)?((?:test_|Test)\w+)?(?:\[([\w-]+)\])?`")
# Commands of the documents that are not run here, by what they begin with.
ELSEWHERE = ("pip install", "make ", "git ", "python -m", "hymem-eval", ".venv/")
# A reply that has the form of every stage's.
REPLY = {
    "answer": "Lyon", "sources": [1], "enough": True, "certain": True, "numbers": [1],
    "good": True, "statements": [], "starts": [],
}  # fmt: skip


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    text = page.read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[str]:
    """The command lines of a page, without their comments."""
    lines = "".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [line.partition(" #")[0].strip() for line in lines if line.strip()]


@pytest.mark.parametrize("page", RUN, ids=name)
def test_samples_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: OpenAIServer
) -> None:
    """In order, in one namespace; what asks a model asks the scripted endpoint."""
    server.answer = lambda body: json.dumps(REPLY) if "response_format" in body else "Lyon"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "key-of-a-test")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    names: dict[str, object] = {"__name__": "sample"}
    for block in blocks(page, "python"):
        block = block.replace("http://localhost:11434/v1", server.url)
        exec(compile(block, name(page), "exec"), names)
    monkeypatch.delenv("OPENAI_API_KEY")
    (tmp_path / "chat.jsonl").write_text('{"role": "user", "content": "Hello."}\n')
    for command in commands(page):
        words = shlex.split(command)
        if words[0] == "hymem":
            assert cli.main(words[1:]) == 0, command


@pytest.mark.parametrize("page", [ROOT / "README.md", DOCS / "index.md"], ids=name)
def test_the_first_sample_prints_what_the_page_shows(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(blocks(page, "python")[0], {})
    assert capsys.readouterr().out == blocks(page, "text")[0]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_what_a_page_names_exists(page: Path) -> None:
    text = page.read_text("utf-8")
    assert [path for path in PATH.findall(text) if not (ROOT / path).exists()] == []
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    known = command_line.PAGE.read_text("utf-8")
    for command in commands(page):
        words = shlex.split(command)
        assert words[0] == "hymem" or command.startswith(ELSEWHERE), command
        if words[0] == "make":
            assert words[1] in targets, command
        if words[:2] == ["python", "-m"] and words[2].startswith("snn_encoder"):
            assert f"### python -m {words[2]}\n" in known or words[2].split(".")[1] == "studies"
        if command.startswith("python -m snn_encoder") or words[0] == "hymem-eval":
            for option in re.findall(r" (--[a-z-]+)", command):
                assert f" {option}" in known or f"[{option}" in known, command


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_tests_that_a_page_names_are_in_the_files_it_names(page: Path) -> None:
    source, missing = "", []
    for file, test, case in TEST.findall(page.read_text("utf-8")):
        source = (ROOT / file).read_text("utf-8") if file else source
        there = re.search(rf"^ *(def |class )?{test}\b", source, re.MULTILINE)
        if (file or test) and not (there and (not case or f'"{case}"' in source)):
            missing.append((file, test, case))
    assert missing == []


def test_the_recipe_that_is_shown_can_be_trained(tmp_path: Path) -> None:
    (recipe,) = blocks(DOCS / "guides" / "encoder.md", "toml")
    (tmp_path / "own.toml").write_text(recipe)
    Trainer(load_recipe(str(tmp_path / "own.toml")), tmp_path)


def test_the_page_of_commands_is_what_they_print() -> None:
    assert command_line.PAGE.read_text("utf-8") == command_line.page(), "run: make commands"


def test_the_reference_has_every_public_name() -> None:
    text = (DOCS / "reference" / "python.md").read_text("utf-8")
    for package in (hymem, snn_encoder):
        for public in package.__all__:
            assert f"::: {package.__name__}.{public}\n" in text, public


def test_the_readme_is_short_and_leads_somewhere() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.splitlines()) <= 120
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert (ROOT / target).exists(), target


def test_every_page_is_in_the_contents() -> None:
    contents = (ROOT / "mkdocs.yml").read_text("utf-8")
    assert [p for p in DOCS.rglob("*.md") if str(p.relative_to(DOCS)) not in contents] == []
