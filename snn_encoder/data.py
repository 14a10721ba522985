"""Training text: corpora cut into chunks, longer windows, third-person statements, pairs."""

from __future__ import annotations

import json
import lzma
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from snn_encoder.teacher import VectorCache

CHUNK = 2048

# Common given names; they only make statements look like a memory's ("Mia likes …").
NAMES = (  # noqa: SIM905
    "Aaron Abby Adam Aisha Alan Alex Alice Amir Amy Ana Andre Angela Anna Anthony Ava Ben "
    "Bianca Brian Carla Carlos Caroline Chen Chloe Chris Clara Daniel David Deborah Diana Diego "
    "Dylan Elena Eli Ella Emily Emma Eric Ethan Evan Evelyn Fatima Felix Fiona Frank Gabriel "
    "George Gina Grace Hannah Harry Helen Henry Ian Ines Isaac Ivan Jack Jacob James Jane "
    "Jasmine Jean Jenny Jessica Joan Joel John Jolene Jon Jordan Jose Julia Karen Kate Keisha "
    "Kevin Kim Kyle Laura Lena Leo Liam Lily Linda Lisa Louis Lucas Lucy Luis Maria Mark Martha "
    "Mason Max Maya Megan Melanie Mia Michael Miguel Mohammed Nadia Nancy Nate Nick Nina Noah "
    "Nora Olivia Omar Oscar Pablo Patricia Paul Peter Priya Rachel Raj Rebecca Ricardo Robert "
    "Rosa Ruth Ryan Sam Samira Sandra Sara Scott Sean Sofia Sophie Steve Susan Tara Thomas Tim "
    "Tina Tom Victor Vincent Wendy Will Yuki Zoe "
).split()

_TO_THIRD = (
    (r"\bI'm\b|\bI am\b|\bim\b", "{n} is"),
    (r"\bI've\b|\bI have\b", "{n} has"),
    (r"\bI'd\b", "{n} would"),
    (r"\bI'll\b", "{n} will"),
    (r"\bI was\b", "{n} was"),
    (r"\bI don't\b", "{n} doesn't"),
    (r"\bI (like|love|want|need|think|enjoy|play|work|hope|know|remember|feel)\b", r"{n} \1s"),
    (r"\b[Ii]\b", "{n}"),
    (r"\bmyself\b", "{r}"),
    (r"\bme\b", "{n}"),
    (r"\b[Mm]y\b|\bmine\b", "{p}"),
)


def read_lines(path: Path) -> list[str]:
    """Return the non-empty lines of a text file, plain or .xz."""
    opener = lzma.open if path.suffix == ".xz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        return [line for line in (raw.strip() for raw in file) if line]


def find_source(folder: Path, name: str) -> Path:
    """Return the file of a corpus called `name` below `folder`.

    Raises:
        FileNotFoundError: no such file.
    """
    for suffix in (".txt", ".txt.xz", ".jsonl", ".jsonl.xz"):
        for path in sorted(folder.rglob(name + suffix)):
            return path
    raise FileNotFoundError(f"No {name}.txt or {name}.txt.xz below {folder}.")


def read_pairs(path: Path) -> list[tuple[str, str, str]]:
    """Return (query, passage, type) of a jsonl file with the fields q, p and type."""
    rows = (json.loads(line) for line in read_lines(path))
    return [(row["q"], row["p"], row.get("type", "")) for row in rows]


def chunks_of(lines: Sequence[str], count: int, rng: random.Random) -> list[list[str]]:
    """Return about `count` lines as whole chunks of consecutive ones, drawn at random.

    Consecutive lines keep a dialogue's turns together (hard negatives of one another), and a
    larger count contains the chunks of a smaller one, so cached vectors are found again.
    """
    chunks = [list(lines[i : i + CHUNK]) for i in range(0, len(lines), CHUNK)]
    rng.shuffle(chunks)
    picked, total = [], 0
    for chunk in chunks:
        if total >= count:
            break
        picked.append(chunk)
        total += len(chunk)
    return picked


def windows(lines: Sequence[str], count: int, rng: random.Random, longest: int = 8) -> list[str]:
    """Return `count` texts of 2 to `longest` consecutive lines: turns of many sentences."""
    out = []
    for _ in range(count):
        size = rng.randint(2, longest)
        start = rng.randrange(max(1, len(lines) - size))
        out.append(" ".join(lines[start : start + size]))
    return out


def third_person(lines: Sequence[str], count: int, rng: random.Random) -> list[str]:
    """Return first-person lines as statements about a named speaker, or prefixed by the name.

    The wording is crude; the teacher's vector of exactly this wording is the target, so only
    the distribution (names, facts about people) matters.
    """
    first = [line for line in lines if re.search(r"\bI\b|\b[Mm]y\b", line)]
    out = []
    for _ in range(min(count, 4 * len(first))):
        line, name = rng.choice(first), rng.choice(NAMES)
        if rng.random() < 0.25:
            out.append(f"{name}: {line}")
            continue
        own, self_ = rng.choice((("her", "herself"), ("his", "himself"), (name + "'s", name)))
        for pattern, new in _TO_THIRD:
            line = re.sub(pattern, new.format(n=name, p=own, r=self_), line)
        out.append(line)
    return out


def text_chunks(folder: Path, spec: Mapping[str, Mapping[str, int]]) -> Iterator[list[str]]:
    """Yield the corpus that `spec` describes in chunks of at most `CHUNK` texts.

    Args:
        folder: where the corpora lie, searched recursively.
        spec: tables `lines`, `windows`, `third_person` and `pairs`, each from a corpus' name to
            a count of texts. A pair counts as one and gives both of its texts.
    """
    for kind, sources in spec.items():
        for name, count in sources.items():
            rng = random.Random(f"{kind}/{name}")
            path = find_source(folder, name)
            if kind == "lines":
                yield from chunks_of(read_lines(path), count, rng)
                continue
            if kind == "pairs":
                pairs = [pair for pair in read_pairs(path) if pair[2] != "dialogue_next"]
                rng.shuffle(pairs)
                texts = [text for q, p, _ in pairs[:count] for text in (q, p)]
            elif kind == "windows":
                texts = windows(read_lines(path), count, rng)
            elif kind == "third_person":
                texts = third_person(read_lines(path), count, rng)
            else:
                raise ValueError(f"Unknown kind of training text: {kind!r}.")
            yield from (texts[i : i + CHUNK] for i in range(0, len(texts), CHUNK))


class Corpus:
    """Token ids and teacher vectors of all chunks whose vectors are cached.

    Args:
        chunks: texts, as `text_chunks` yields them.
        cache: teacher vectors; chunks that are not in it yet are left out.
        tokenizer: without padding and special tokens.
        max_tokens: longer texts are cut.

    Attributes:
        vectors: float16 [n, dim].
    """

    def __init__(
        self,
        chunks: Iterable[list[str]],
        cache: VectorCache,
        tokenizer: Tokenizer,
        max_tokens: int,
    ) -> None:
        ids: list[np.ndarray] = []
        lengths: list[np.ndarray] = []
        vectors: list[np.ndarray] = []
        for texts in chunks:
            found = cache.load(texts)
            if found is None:
                continue
            encoded = [e.ids[:max_tokens] for e in tokenizer.encode_batch_fast(texts)]
            keep = [i for i, row in enumerate(encoded) if row]
            ids.append(np.array([t for i in keep for t in encoded[i]], dtype=np.uint16))
            lengths.append(np.array([len(encoded[i]) for i in keep]))
            vectors.append(found[keep])
        if not vectors:
            raise FileNotFoundError("No teacher vectors are cached: run snn_encoder.distill first.")
        self._ids = np.concatenate(ids)
        self._ends = np.cumsum(np.concatenate(lengths))
        self.vectors = np.concatenate(vectors)

    def __len__(self) -> int:
        return len(self.vectors)

    def tokens(self, index: int) -> np.ndarray:
        """Return the token ids of one text."""
        return self._ids[self._ends[index - 1] if index else 0 : self._ends[index]]

    def batch(self, rows: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """Return the token ids of some texts and their teacher vectors, float32 [n, dim]."""
        return [self.tokens(int(i)) for i in rows], self.vectors[rows].astype(np.float32)


def neighbours(vectors: np.ndarray, clusters: int, seed: int, rounds: int = 6) -> np.ndarray:
    """Return the spherical k-means cluster of each unit vector, int64 [n].

    Batches of one cluster are near neighbours of one another, hence hard negatives.
    """
    rng = np.random.default_rng(seed)
    sample = vectors[rng.choice(len(vectors), min(len(vectors), 64 * clusters), replace=False)]
    points = torch.from_numpy(sample.astype(np.float32))
    centres = points[:clusters].clone()
    for _ in range(rounds):
        nearest = _nearest(points, centres)
        sums = torch.zeros_like(centres).index_add(0, nearest, points)
        empty = sums.norm(dim=1) == 0
        centres = torch.nn.functional.normalize(torch.where(empty[:, None], centres, sums), dim=1)
    parts = (
        _nearest(torch.from_numpy(vectors[i : i + 65536].astype(np.float32)), centres)
        for i in range(0, len(vectors), 65536)
    )
    return torch.cat(list(parts)).numpy()


def _nearest(points: Tensor, centres: Tensor) -> Tensor:
    return torch.cat([(part @ centres.T).argmax(1) for part in torch.split(points, 8192)])


class Batches:
    """Hard batches: each is some runs of near neighbours or of one dialogue's turns.

    The batch of a step depends on the seed and the step alone, so a resumed run continues with
    the batches that it would have seen.

    Args:
        cluster: of each text; -1 rows are left out.
        size: texts a batch.
        run: texts of one cluster or dialogue next to one another.
        dialogue: share of runs that are consecutive texts rather than neighbours.
    """

    def __init__(
        self, cluster: np.ndarray, size: int, run: int, dialogue: float, seed: int
    ) -> None:
        self.cluster, self.size, self.run = cluster, size, run
        self.dialogue, self.seed = dialogue, seed
        self._epoch = -1
        self._order = np.empty((0, size), dtype=np.int64)

    def _shuffle(self, epoch: int) -> None:
        rng = np.random.default_rng((self.seed, epoch))
        count = len(self.cluster)
        by_cluster = np.lexsort((rng.random(count), self.cluster))
        by_cluster = np.roll(by_cluster, int(rng.integers(self.run)))
        start = int(rng.integers(self.run))
        whole = (count - start) // self.run * self.run
        near = by_cluster[:whole].reshape(-1, self.run)
        turns = np.arange(start, start + whole).reshape(-1, self.run)
        runs = np.where(rng.random((len(near), 1)) < self.dialogue, turns, near)
        runs = runs[rng.permutation(len(runs))]
        per_batch = self.size // self.run
        full = len(runs) // per_batch * per_batch
        self._order, self._epoch = runs[:full].reshape(-1, self.size), epoch

    def __getitem__(self, step: int) -> np.ndarray:
        """Return the rows of a step's batch, int64 [size]."""
        per_epoch = max(1, len(self.cluster) // self.run - 1) // (self.size // self.run)
        epoch, place = divmod(step, per_epoch)
        if epoch != self._epoch:
            self._shuffle(epoch)
        rows: np.ndarray = self._order[place % len(self._order)]
        return rows
