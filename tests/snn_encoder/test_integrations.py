"""Other libraries' faces of the encoder, with the real libraries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from snn_encoder.inference import SpikingEncoder

TEXTS = ["The dog saw the cat.", "I moved to Lyon last week, and I like it.", ""]


def test_langchain_store_finds_the_text_itself(tiny_folder: Path) -> None:
    pytest.importorskip("langchain_core")
    from langchain_core.vectorstores import InMemoryVectorStore

    from snn_encoder import SpikingEmbeddings

    embeddings = SpikingEmbeddings(tiny_folder, timesteps=2)
    store = InMemoryVectorStore.from_texts(TEXTS, embeddings)
    assert store.similarity_search(TEXTS[1], k=1)[0].page_content == TEXTS[1]
    wanted = SpikingEncoder.from_pretrained(tiny_folder).encode(TEXTS, 2)
    np.testing.assert_allclose(embeddings.embed_documents(TEXTS), wanted, atol=2e-6)


@pytest.mark.slow
def test_sentence_transformer_encodes_saves_and_loads(tiny_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    from sentence_transformers import SentenceTransformer

    from snn_encoder import SpikingModule

    model = SentenceTransformer(modules=[SpikingModule(tiny_folder)], device="cpu")
    wanted = SpikingEncoder.from_pretrained(tiny_folder).encode(TEXTS)
    np.testing.assert_allclose(model.encode(TEXTS), wanted, atol=2e-6)
    model.save(str(tmp_path / "saved"))
    loaded = SentenceTransformer(str(tmp_path / "saved"), device="cpu", trust_remote_code=True)
    np.testing.assert_allclose(loaded.encode(TEXTS), wanted, atol=2e-6)
    assert loaded.get_embedding_dimension() == 16
