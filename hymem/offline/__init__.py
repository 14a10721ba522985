"""What HyMem does with no language model: extraction and answering by rules."""

from hymem.offline.extract import OfflineExtractor

__all__ = ["OfflineExtractor"]
