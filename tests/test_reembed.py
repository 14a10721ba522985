"""From one encoder to another: what the errors advise works."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from openai_server import DIM, OpenAIServer

from hymem import EncoderError, EncoderMismatchError, HyMem, reembed
from hymem.cli import main
from hymem.encoders.named import encoder_named, option_for
from hymem.encoders.openai import OpenAIEncoder
from snn_encoder import SpikingEncoder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "my chat.db"
    with HyMem(path, llm=None, background=False) as memory:
        memory.add("I moved to Lyon last week.", user_id="ana", wait=True)
    return path


@pytest.fixture
def endpoint(server: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of an encoder on it."""
    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    return f"openai:test-embedding:{DIM}"


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that fails; what it says."""

    def tell(*arguments: str) -> str:
        assert main([*arguments]) == 1
        return capsys.readouterr().err

    return tell


def test_the_advice_of_the_error_works(path: Path) -> None:
    nano = SpikingEncoder.from_pretrained("nano")
    with pytest.raises(EncoderMismatchError) as caught:
        HyMem(path, llm=None, encoder=nano)
    command = re.search(r"`hymem (.*)`", str(caught.value))
    assert command is not None
    assert "--encoder spiking:nano" in command[1]
    assert main(shlex.split(command[1])) == 0
    with HyMem(path, llm=None, encoder=nano, background=False) as memory:
        assert "Lyon" in memory.search("Where does Ana live?", user_id="ana")[0].text


def test_a_command_after_another_encoder_says_which_to_name(
    path: Path, tell: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    search = ["search", "Lyon", "--user", "ana", "--db", str(path)]
    assert main(["reembed", "--db", str(path), "--encoder", "spiking:nano"]) == 0
    said = tell(*search)
    option = re.search(r"\((--encoder \S+) on the command line\)", said)
    assert option is not None
    assert main([*search, *option[1].split()]) == 0
    assert "Lyon" in capsys.readouterr().out
    assert main(["reembed", "--db", str(path)]) == 0  # back to the shipped one
    assert main(search) == 0


def test_an_embedding_endpoint(path: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["reembed", "--db", str(path), "--encoder", endpoint]) == 0
    search = ["search", "Lyon", "--user", "ana", "--db", str(path)]
    assert main([*search, "--encoder", endpoint]) == 0
    with HyMem(path, llm=None, encoder=OpenAIEncoder("test-embedding", dim=DIM)) as memory:
        assert memory.status(user_id="ana").unembedded == 0


def test_a_sentence_transformer(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    from snn_encoder.tokenizer import load_tokenizer

    static = StaticEmbedding(load_tokenizer(), embedding_dim=8)
    SentenceTransformer(modules=[static], device="cpu").save(str(tmp_path / "tiny"))
    name = f"st:{tmp_path / 'tiny'}"
    assert main(["reembed", "--db", str(path), "--encoder", name]) == 0
    assert main(["search", "Lyon", "--user", "ana", "--db", str(path), "--encoder", name]) == 0


def test_an_encoder_of_ones_own(path: Path) -> None:
    class Own:
        name, version, dim, max_tokens = "mine", "1", 384, 128

        def encode(self, texts):  # type: ignore[no-untyped-def]
            return SpikingEncoder.from_pretrained("nano").encode(texts)

    with pytest.raises(EncoderMismatchError, match=r"hymem\.reembed\(") as caught:
        HyMem(path, llm=None, encoder=Own())
    assert "`hymem reembed" not in str(caught.value)  # there is no such option for it
    assert reembed(path, Own()) == 2
    with HyMem(path, llm=None, encoder=Own(), background=False) as memory:
        assert memory.search("Lyon", user_id="ana")
    with pytest.raises(EncoderMismatchError, match="--encoder spiking:small`"):
        HyMem(path, llm=None)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("minilm", "name one as spiking:TIER, st:MODEL"),
        ("st:", "name one as spiking:TIER"),
        ("spiking:huge", "huge"),
        ("openai:unheard-of", "openai:unheard-of:DIM"),
    ],
)
def test_a_name_that_leads_nowhere_is_told(
    path: Path, tell: Callable[..., str], name: str, complaint: str
) -> None:
    assert complaint in tell("reembed", "--db", str(path), "--encoder", name)
    with HyMem(path, llm=None, background=False) as memory:  # nothing has changed
        assert memory.search("Lyon", user_id="ana")


def test_an_encoder_that_fails_leaves_the_old_vectors_in_service(
    path: Path, server: OpenAIServer, endpoint: str
) -> None:
    class Broken:
        name, version, dim, max_tokens = "broken", "1", 8, 128

        def encode(self, texts):  # type: ignore[no-untyped-def]
            raise ZeroDivisionError

    with pytest.raises(EncoderError, match="ZeroDivisionError"):
        reembed(path, Broken())
    with HyMem(path, llm=None, background=False) as memory:
        assert memory.search("Lyon", user_id="ana")


def test_names_lead_back_to_their_encoders() -> None:
    for name in ("spiking:nano", "spiking:small"):
        assert option_for(encoder_named(name).name) == name
    assert option_for(OpenAIEncoder("text-embedding-3-small").name) == (
        "openai:text-embedding-3-small"
    )
