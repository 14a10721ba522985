"""Which parts a ``HyMem`` is made of, and the defaults for those that the user did not bring."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from hymem.cost.ledger import Ledger
from hymem.cost.prices import check_prices
from hymem.encoders.key_vectors import fill_in_token_ids
from hymem.errors import InputError
from hymem.inputs.checks import check_config, check_parts
from hymem.read.ask import Answerer, Asker, ModelAnswerer
from hymem.read.chat import Chatter
from hymem.read.retrieve import Retriever
from hymem.system.clock import Clock
from hymem.types import LLM, Config, Encoder, Extractor, PaidStage, Segmenter, TokenCoder
from hymem.write.ingest import Ingestor
from hymem.write.segment import TopicSegmenter

if TYPE_CHECKING:
    from hymem.stores.base import Store

AUTO = "auto"
DEFAULT_MODEL = "gpt-4.1-mini"
Stage = TypeVar("Stage", Segmenter, Extractor)


@dataclass(frozen=True, slots=True)
class Parts:
    """The stages, wired to one store. ``read_only``: nothing can be written into it."""

    store: Store
    read_only: bool
    encoder: Encoder
    ledger: Ledger
    ingestor: Ingestor
    retriever: Retriever
    asker: Asker
    chatter: Chatter | None


def assemble(
    path: str | Path,
    *,
    clock: Clock,
    llm: LLM | str | None,
    encoder: Encoder | None,
    segmenter: Segmenter | None,
    extractor: Extractor | None,
    store: Store | None,
    config: Config,
    prices: Mapping[str, tuple[float, float]],
) -> Parts:
    """Build the stages; arguments as for ``HyMem``. Opens the store."""
    check_config(config)
    check_parts(
        encoder=(encoder, Encoder),
        segmenter=(segmenter, Segmenter),
        extractor=(extractor, Extractor),
    )
    check_prices(prices)
    model = resolve_llm(llm)
    plain = encoder or default_encoder()
    store = store or open_store(path, plain, zone=clock.zone)
    read_only = getattr(store, "read_only", False)  # which a store of the user's need not tell
    if not read_only:
        fill_in_token_ids(store, plain)
    ledger = Ledger(store, prices)
    metered = ledger.encoder(plain)
    chosen = extractor or _default_extractor(model)
    extract = _metered(chosen, ledger)
    cut = _metered(segmenter or TopicSegmenter(), ledger)
    shows_units = not getattr(chosen, "keys_only", False)
    retriever = Retriever(store, metered, config, shows_units=shows_units)
    asker = Asker(retriever, _answerer(retriever, model, metered), model, ledger)
    return Parts(
        store=store,
        read_only=read_only,
        encoder=metered,
        ledger=ledger,
        ingestor=Ingestor(store, metered, cut, extract, ledger, config.scope_budget, clock),
        retriever=retriever,
        asker=asker,
        chatter=None if model is None else Chatter(asker, model, ledger, config),
    )


def _metered(stage: Stage, ledger: Ledger) -> Stage:
    """The stage itself, with its calls counted if it makes any that are paid for."""
    metered: Stage = stage.metered(ledger) if isinstance(stage, PaidStage) else stage
    return metered


def _answerer(retriever: Retriever, llm: LLM | None, encoder: Encoder) -> Answerer:
    if llm is None:
        from hymem.offline.ask import OfflineAnswerer

        return OfflineAnswerer(retriever, encoder)
    return ModelAnswerer(retriever, llm)


def _default_extractor(llm: LLM | None) -> Extractor:
    if llm is None:
        from hymem.offline import OfflineExtractor

        return OfflineExtractor()
    from hymem.write.extract import LLMExtractor

    return LLMExtractor(llm)


def default_encoder() -> Encoder:
    """The spiking encoder that ships with the package."""
    from snn_encoder import SpikingEncoder

    encoder: Encoder = SpikingEncoder.from_pretrained("small")
    return encoder


def open_store(
    path: str | Path, encoder: Encoder, *, reembed: bool = False, zone: tzinfo | None = None
) -> Store:
    """The SQLite store at ``path`` for this encoder's vectors. ``zone``: see ``SQLiteStore``."""
    from hymem.stores.sqlite import SQLiteStore

    return SQLiteStore(
        str(path),
        encoder_name=encoder.name,
        encoder_version=encoder.version,
        dim=encoder.dim,
        vocabulary=encoder.vocabulary if isinstance(encoder, TokenCoder) else "",
        reembed=reembed,
        zone=zone,
    )


def resolve_llm(llm: LLM | str | None) -> LLM | None:
    """``"auto"`` is OpenAI where its key is set; any other name is a model of the OpenAI API."""
    if llm is None or not isinstance(llm, str):
        return llm
    key = os.environ.get("OPENAI_API_KEY")
    if llm == AUTO and not key:
        return None
    if not key:
        raise InputError(f"llm={llm!r} needs OPENAI_API_KEY in the environment, or pass a client")
    from hymem.llm.openai import OpenAIChat

    return OpenAIChat(DEFAULT_MODEL if llm == AUTO else llm)
