"""Draw the plots of docs/measured.md from the committed result files: ``python -m tools.plots``, or
``make plots``. Colours are readable on light and on dark pages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "plots"
GREY = "#8a94a3"
COLOURS = ["#4a90d9", "#3dae6b", "#d9932f", "#c65bb5"]
STYLE = {
    "figure.figsize": (6.4, 3.4), "figure.constrained_layout.use": True, "font.size": 10,
    "svg.fonttype": "none", "svg.hashsalt": "hymem", "savefig.transparent": True,
    "axes.prop_cycle": mpl.cycler(color=COLOURS), "axes.edgecolor": GREY, "axes.labelcolor": GREY,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": GREY,
    "grid.alpha": 0.25, "text.color": GREY, "xtick.color": GREY, "ytick.color": GREY,
    "legend.frameon": False, "legend.labelcolor": GREY, "lines.marker": "o", "lines.markersize": 4,
}  # fmt: skip
SYSTEMS = {
    "hymem": "HyMem",
    "turns, hybrid, stemmed": "turns, by meaning and words",
    "chunks, bm25": "chunks, by words",
    "turns, dense": "turns, by meaning",
}


def load(path: str) -> Any:
    return json.loads((ROOT / path).read_text("utf-8"))


def values(path: str, metric: str) -> Iterator[tuple[str, float | None, float]]:
    """System, budget and value of a result file's rows over all questions of categories 1-4."""
    result = load(path)
    for row in result["rows"]:
        found = dict(zip(result["columns"], row, strict=True))
        if (found["half"], found["group"], found["metric"]) == ("all", "1-4", metric):
            yield found["system"], found["budget"], found["value"]


@contextmanager
def plot(name: str, x: str, y: str) -> Iterator[Axes]:
    """One figure, saved as docs/plots/NAME.svg."""
    figure, axes = plt.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    yield axes
    figure.savefig(FOLDER / f"{name}.svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)


def recall_against_budget() -> None:
    rows = list(values("evals/results/locomo-spiking.json", "verbatim recall"))
    with plot("recall-budget", "tokens of the block", "evidence found verbatim") as axes:
        for system, label in SYSTEMS.items():
            curve = sorted((budget, value) for name, budget, value in rows if name == system)
            axes.plot(*zip(*curve, strict=True), label=label)
        axes.set_xscale("log", base=2)
        axes.set_xticks([250, 500, 1000, 2000, 4000], ["250", "500", "1,000", "2,000", "4,000"])
        axes.set_ylim(0, 1)
        axes.legend(loc="lower right")


def accuracy_against_cost() -> None:
    path = "evals/results/gate-spiking.json"
    tokens = {system: value for system, _, value in values(path, "tokens")}
    with plot("accuracy-cost", "tokens read per question", "all evidence in the context") as axes:
        for system, _, value in values(path, "all evidence"):
            axes.plot(tokens[system], value, color=COLOURS[0])
            axes.annotate(
                system.removesuffix(" (oracle)"), (tokens[system], value),
                (6, 5 if system.startswith("llm") else -6),
                textcoords="offset points", fontsize=8,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_xticks(
            [1500, 3000, 6000, 12000, 24000], ["1,500", "3,000", "6,000", "12,000", "24,000"]
        )
        axes.minorticks_off()
        axes.set_xlim(1200, 40000)


def speed_against_size() -> None:
    sizes = load("evals/speed/results/memory.json")["sizes"]
    turns = [size["turns"] for size in sizes]
    with plot("speed-size", "turns in the scope", "milliseconds") as axes:
        for key, label in (("search_ms", "search"), ("add_one_ms", "add one turn")):
            axes.plot(turns, [size[key]["p50"] for size in sizes], label=f"{label}, median")
            axes.plot(
                turns, [size[key]["p95"] for size in sizes], label=f"{label}, 95 of 100",
                linestyle=":", color=axes.lines[-1].get_color(),
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_xticks(turns, [f"{count:,}" for count in turns])
        axes.set_ylim(0)
        axes.legend(loc="upper left")


def quality_against_steps() -> None:
    results = load("snn_encoder/results/quality.json")
    teacher = results["all-MiniLM-L6-v2"]
    with plot("quality-steps", "steps T", "share of the teacher's score") as axes:
        for check, part, line in (
            ("LOCOMO observations recall@10", "all", "-"),
            ("STS-B Spearman", "test", ":"),
        ):
            for colour, tier in zip(COLOURS, ("nano", "small", "base"), strict=False):
                scores = [
                    results[f"snn-{tier} T={steps}"][check][part] / teacher[check][part]
                    for steps in (1, 2, 4, 8)
                ]
                label = f"{tier}, {check.split()[0]}"
                axes.plot((1, 2, 4, 8), scores, line, color=colour, label=label)
        axes.set_xscale("log", base=2)
        axes.set_xticks([1, 2, 4, 8], ["1", "2", "4", "8"])
        axes.yaxis.set_major_formatter(mpl.ticker.PercentFormatter(1, decimals=0))
        axes.legend(ncols=2, fontsize=8)


def main() -> None:
    mpl.use("svg")
    FOLDER.mkdir(exist_ok=True)
    with mpl.rc_context(STYLE):
        for draw in (
            recall_against_budget,
            accuracy_against_cost,
            speed_against_size,
            quality_against_steps,
        ):
            draw()


if __name__ == "__main__":
    main()
