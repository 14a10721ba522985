"""Write the tables of snn_encoder/results/README.md: `python -m snn_encoder.studies.report`.

Results lie in snn_encoder/results: quality.json from `hymem-eval encoder quality`, speed.json from
`hymem-eval encoder speed`, onnx.json from the same with --onnx, activity-TIER.json from
`snn_encoder.evaluate --activity`, ablation.json from `snn_encoder.studies.ablate`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "results"
TEACHER = "all-MiniLM-L6-v2"
COLUMNS = (
    ("LOCOMO observations recall@10", ("development", "other half", "all")),
    ("LongMemEval-S recall_all@5", ("development", "other half", "all")),
    ("STS-B Spearman", ("development", "test", "test, shared words")),
)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def load(name: str) -> Any:
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def quality() -> str:
    """Scores, and beside each its share of the teacher's."""
    results = load("quality.json")
    teacher = results[TEACHER]
    head = ["encoder"]
    for check, parts in COLUMNS:
        head += [f"{check.split()[0]} {part}" for part in parts]
    rows = []
    for name, scores in results.items():
        row = [name]
        for check, parts in COLUMNS:
            for part in parts:
                value, whole = scores[check][part], teacher[check][part]
                share = "" if name == TEACHER else f" ({100 * value / whole:.1f} %)"
                row.append(f"{value:.3f}".lstrip("0") + share)
        rows.append(row)
    return table(head, rows)


def speed() -> str:
    results = load("speed.json")
    rows = [
        [
            row["encoder"],
            str(row.get("T", "–")),
            f"{row['texts/s']:,}",
            str(row.get("times MiniLM", 1)),
            str(row["query ms p50"]),
        ]
        for row in results["rows"]
    ]
    head = ["encoder", "T", "texts/s", "times MiniLM", "one query, p50 ms"]
    return f"{results['machine']}; {results['seconds']}.\n\n{table(head, rows)}"


def onnx() -> str:
    results = load("onnx.json")
    rows = [
        [own["encoder"], str(own["T"]), f"{own['texts/s']:,}", f"{other['texts/s']:,}"]
        for own, other in zip(results["rows"][::2], results["rows"][1::2], strict=True)
    ]
    head = ["encoder", "T", "numpy, texts/s", "onnxruntime, texts/s"]
    return f"{results['machine']}; {results['seconds']}.\n\n{table(head, rows)}"


def activity() -> str:
    head = [
        "tier", "T", "mean firing", "by level", "dead", "saturated", "parked",
        "fire in the next step", "adds a text", "float estimate nJ: SNN / ANN (real products)",
        "integer estimate nJ: SNN / quantised ANN (bits)", "firing by adds / break-even",
    ]  # fmt: skip
    rows = []
    for path in sorted(FOLDER.glob("activity-*.json")):
        for entry in json.loads(path.read_text(encoding="utf-8")):
            found = entry["activity"]
            even = found["break_even_rate"]
            rows.append(
                [
                    entry["weights"],
                    str(entry["timesteps"]),
                    percent(found["rate"]),
                    percent(*(sum(level) / len(level) for level in found["rates"])),
                    *(percent(*found[k]) for k in ("dead", "saturated", "parked", "beyond")),
                    f"{found['accumulates']:,.0f}",
                    f"{found['community_snn_nj']:,.0f} / {found['community_ann_nj']:,.0f} "
                    f"({100 * found['community_mac_share']:.0f} %)",
                    f"{found['fair_snn_nj']:,.0f} / {found['fair_qnn_nj']:,.0f} "
                    f"({found['bits']:.0f})",
                    f"{percent(found['weighted_rate'])} / {percent(even) if even > 0 else 'none'}",
                ]
            )
    return table(head, rows)


def percent(*shares: float) -> str:
    return ", ".join(f"{100 * share:.1f} %" for share in shares)


def ablation() -> str:
    results = load("ablation.json")
    names = [key for key in next(iter(results["rows"].values())) if "T=" in key]
    rows = []
    for name, values in results["rows"].items():
        fires = "–" if values["firing"] is None else f"{100 * values['firing']:.0f} %"
        scores = [f"{values[k]:.3f}".lstrip("0") if k in values else "–" for k in names]
        rows.append([name, *scores, fires])
    return table(["one change to the base", *names, "firing, T = 4"], rows)


def costs() -> str:
    head = list(load("ablation.json")["costs"][0])
    return table(head, [[str(row[k]) for k in head] for row in load("ablation.json")["costs"]])


TABLES: dict[str, Callable[[], str]] = {
    "quality": quality,
    "speed": speed,
    "onnx": onnx,
    "activity": activity,
    "ablation": ablation,
    "costs": costs,
}


def main() -> None:
    path = FOLDER / "README.md"
    text = path.read_text(encoding="utf-8")
    for name, make in TABLES.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, rest = text.split(begin)
        text = before + begin + make() + "\n" + end + rest.split(end)[1]
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
