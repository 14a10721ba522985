"""Result files: figures and ids only, with what is needed to make them again."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from evals.data.loaders import DataError, DataFile, is_development
from evals.metrics import Mean, mean

HALVES = ("development", "reported", "all")
PACKAGES = ("hymem", "snn_encoder", "evals")
# What a run writes into the repository is no part of the measured code.
OUTPUTS = (":(exclude)evals/results",)


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: the mean of ``metric`` for ``system`` over the questions of ``half`` and
    ``group`` (a category or question type). ``budget`` is in tokens, or a rank ``k``."""

    system: str
    half: str
    group: str
    metric: str
    value: float | None
    se: float | None
    n: int
    budget: int | None = None


COLUMNS = tuple(field.name for field in fields(Row))


@dataclass(frozen=True, slots=True)
class Observation:
    """One system's values for one question: (metric, budget) → value. A question counts in each
    of its ``groups``."""

    system: str
    question: str
    groups: tuple[str, ...]
    values: Mapping[tuple[str, int | None], float]


@dataclass(slots=True)
class Result:
    """A run's figures and provenance; ``extra`` holds what fits no row (comparisons, curves)."""

    kind: str
    task_version: str
    data: DataFile
    configuration: Mapping[str, Any]
    rows: list[Row] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "task_version": self.task_version,
            "data": {"name": self.data.name, "sha256": self.data.sha256},
            "code": measured_code(),
            "configuration": dict(self.configuration),
            "rows": [rounded(asdict(row)) for row in self.rows],
            **rounded(self.extra),
        }

    def write(self, path: str | Path) -> None:
        """Write JSON, one row a line in the order of ``columns``, so that a change of figures is a
        readable difference. ``read_result`` reads it."""
        record = self.as_dict()
        rows = record.pop("rows")
        record["columns"] = list(COLUMNS)
        body = json.dumps(record, indent=1, ensure_ascii=False)
        lines = ",\n".join(
            "  " + json.dumps([row[name] for name in COLUMNS], ensure_ascii=False) for row in rows
        )
        text = f'{body[:-2]},\n "rows": [\n{lines}\n ]\n}}\n'
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


def read_result(path: Path) -> dict[str, Any]:
    """A result file, its ``rows`` as ``Row``. Raises ``DataError`` when it is none."""
    try:
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        columns = result["columns"]
        result["rows"] = [Row(**dict(zip(columns, row, strict=True))) for row in result["rows"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path.name} is no result file: {error!r}") from error
    return result


def measured_code() -> dict[str, Any]:
    """The commit of the measured code and whether files differed from it. ``commit`` is ``None``
    when this is not a git checkout."""
    here = Path(__file__).resolve().parents[1]
    commit = _git(here, "rev-parse", "HEAD")
    if commit is None:
        return {"commit": None, "clean": False}
    changed = _git(here, "status", "--porcelain", "--", *PACKAGES, *OUTPUTS)
    return {"commit": commit, "clean": changed == ""}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def summarise(observations: Iterable[Observation]) -> list[Row]:
    """Means over each half and each group, for every system and metric, in order of first use."""
    samples: dict[tuple[str, str, str, str, int | None], list[float]] = {}
    for item in observations:
        half = "development" if is_development(item.question) else "reported"
        for group in item.groups:
            for (metric, budget), value in item.values.items():
                for part in (half, "all"):
                    key = (item.system, part, group, metric, budget)
                    samples.setdefault(key, []).append(value)
    return [
        row_of(system, half, group, metric, mean(values), budget)
        for (system, half, group, metric, budget), values in samples.items()
    ]


def row_of(
    system: str, half: str, group: str, metric: str, value: Mean, budget: int | None = None
) -> Row:
    return Row(system, half, group, metric, value.value, value.se, value.n, budget)


def rounded(value: Any) -> Any:
    """The same structure with floats to six digits: enough for any table, stable to read."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return value


def markdown_table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table, first column to the left and the others to the right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [header, rule, *lines])


def figure(value: float | None, se: float | None = None) -> str:
    """``.704 ± .010`` as tables print a share; a dash where there is no figure."""
    if value is None:
        return "–"
    text = _share(value)
    return text if se is None else f"{text} ± {_share(se)}"


def _share(value: float) -> str:
    text = f"{value:.3f}"
    return text[1:] if text.startswith("0.") else text


def pivot_groups(rows: Iterable[Row], metric: str, *, half: str, budget: int) -> str:
    """Systems down, groups across, for one metric, half and budget."""
    chosen = [row for row in rows if (row.metric, row.half, row.budget) == (metric, half, budget)]
    groups = sorted({row.group for row in chosen}, key=lambda group: (group == "1-4", group))
    cells = {(row.system, row.group): row.value for row in chosen}
    sizes = {row.group: row.n for row in chosen}
    lines = [
        [system, *(figure(cells.get((system, group))) for group in groups)]
        for system in dict.fromkeys(row.system for row in chosen)
    ]
    header = [f"{metric}, {budget:,}", *(f"{group} (n = {sizes[group]})" for group in groups)]
    return markdown_table(header, lines)


def pivot(rows: Iterable[Row], metric: str, *, half: str, group: str, errors: bool = True) -> str:
    """Systems down, budgets across, for one metric, half and group."""
    chosen = [
        row for row in rows if row.metric == metric and row.half == half and row.group == group
    ]
    budgets = list(dict.fromkeys(row.budget for row in chosen))
    systems = list(dict.fromkeys(row.system for row in chosen))
    cells = {(row.system, row.budget): row for row in chosen}
    lines = []
    for system in systems:
        present = [cells.get((system, budget)) for budget in budgets]
        sizes = {row.n for row in present if row}
        lines.append(
            [
                system,
                *(figure(row.value, row.se if errors else None) if row else "–" for row in present),
                "/".join(str(n) for n in sorted(sizes)),
            ]
        )
    labels = ["" if budget is None else f"{budget:,}" for budget in budgets]
    return markdown_table([metric, *labels, "n"], lines)


def pivot_halves(rows: Iterable[Row], metric: str, *, group: str, budget: int | None = None) -> str:
    """Systems down, halves across, for one metric, group and budget; n stands beside the half."""
    chosen = [row for row in rows if (row.metric, row.group, row.budget) == (metric, group, budget)]
    cells = {(row.system, row.half): row for row in chosen}
    sizes = {row.half: row.n for row in chosen}
    lines = [
        [
            system,
            *(
                figure(row.value, row.se) if (row := cells.get((system, half))) else "–"
                for half in HALVES
            ),
        ]
        for system in dict.fromkeys(row.system for row in chosen)
    ]
    label = metric if budget is None else f"{metric}, {budget:,}"
    return markdown_table(
        [label, *(f"{half} (n = {sizes.get(half, 0)})" for half in HALVES)], lines
    )
