"""The default store: one SQLite file, with indexes in memory derived from it."""

from __future__ import annotations

from typing import Self

from hymem.stores.reembed import Reembedding
from hymem.stores.tables.costs import Ledger
from hymem.stores.tables.edits import Edits
from hymem.stores.tables.events import Events
from hymem.stores.transfer import Transfer


class SQLiteStore(Edits, Events, Ledger, Transfer, Reembedding):
    """``Store`` on a file, or in memory with the path ``:memory:``.

    The file is in WAL mode with ``synchronous=FULL``; deleted content is overwritten
    (``secure_delete``). ``encoder_name``, ``encoder_version`` and ``dim`` say whose vectors it
    holds, and ``vocabulary`` whose token ids (empty: none). ``reembed=True`` opens a file whose
    vectors come from another encoder, to replace them (``to_reembed``, ``put_reembedded``,
    ``finish_reembed``); searching it raises ``EncoderMismatchError`` until that is finished.

    Text is kept as it is, NUL included, but for lone surrogates, which UTF-8 cannot hold: they
    become U+FFFD.

    Raises ``StoreVersionError`` for a file that is not HyMem's or is newer than this program,
    ``EncoderMismatchError`` and ``StoreError``.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
