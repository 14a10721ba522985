"""Training text: corpora cut into chunks, longer windows, third-person statements, pairs."""

from __future__ import annotations

import json
import lzma
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

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


def dataset_lines(name: str) -> list[str]:
    """Return the texts of a `datasets` data set: the train split's first text column."""
    from datasets import load_dataset

    rows = load_dataset(name, split="train")
    column = next(key for key, value in rows.features.items() if value.dtype == "string")
    return [text.strip() for text in rows[column] if text and text.strip()]


def sources(source: str, spec: Mapping[str, Mapping[str, int]], count: int) -> dict[str, int]:
    """Return the corpora that `text_chunks` draws from, each with the texts it draws at most.

    Args:
        count: texts of a source that is one corpus taken whole.
    """
    path = Path(source)
    if not path.is_dir():
        return {path.name if path.is_file() else source: count}
    counts: dict[str, int] = {}
    for corpora in spec.values():
        for name, most in corpora.items():
            counts[name] = counts.get(name, 0) + most
    return counts


def text_chunks(source: str, spec: Mapping[str, Mapping[str, int]]) -> Iterator[list[str]]:
    """Yield training text in chunks of at most `CHUNK` texts.

    Args:
        source: a folder whose corpora `spec` names, searched recursively; or a text file, one
            text a line, or the name of a `datasets` data set, which are taken whole.
        spec: tables `lines`, `windows`, `third_person` and `pairs`, each from a corpus' name to
            a count of texts. A pair counts as one and gives both of its texts.
    """
    folder = Path(source)
    if not folder.is_dir():
        lines = read_lines(folder) if folder.is_file() else dataset_lines(source)
        yield from chunks_of(lines, len(lines), random.Random(0))
        return
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
