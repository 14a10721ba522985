"""What HyMem does with no language model: extraction and answering by rules."""

from hymem.offline.extract import OfflineExtractor
from hymem.offline.reader import NOTHING, SURE, OfflineAnswer, OfflineReader

__all__ = ["NOTHING", "SURE", "OfflineAnswer", "OfflineExtractor", "OfflineReader"]
