"""Write docs/reference/command-line.md from what the commands print for --help:
``python -m tools.command_line``, or ``make commands``."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "command-line.md"
WIDTH = 96
HEAD = """\
# Command line

Made from each command's `--help` by `make commands`; a test compares them.
"""
ENCODER = (
    "snn_encoder.distill", "snn_encoder.train", "snn_encoder.export", "snn_encoder.evaluate",
    "snn_encoder.export.onnx", "snn_encoder.export.nir",
)  # fmt: skip


def page() -> str:
    """The whole page."""
    parts = [HEAD, "## hymem\n", *with_commands("hymem", "hymem.cli")]
    parts += ["## hymem-eval\n", "Evaluation; needs `hymem[evals]`.\n"]
    parts += with_commands("hymem-eval", "evals.cli")
    parts += ["## The encoder\n", "Training and export; need `hymem[train]`, `[onnx]`, `[nir]`.\n"]
    for name in ENCODER:
        module = name if name.count(".") > 1 or name.endswith("evaluate") else f"{name}.__main__"
        parts += [f"### python -m {name}\n", block(help_of(module))]
    return "\n".join(parts)


def with_commands(program: str, module: str) -> Iterator[str]:
    """A program's own help, then that of each of its commands without the options of all."""
    whole = help_of(module)
    yield block(whole)
    common = set(options(whole))

    def each(path: tuple[str, ...], text: str) -> Iterator[str]:
        for command in commands(text):
            inner = help_of(module, *path, command)
            yield f"### {' '.join((program, *path, command))}\n"
            yield block(without(inner, common))
            yield from each((*path, command), inner)

    yield from each((), whole)


def commands(text: str) -> list[str]:
    """The commands that a help text lists."""
    listed = text.partition("\npositional arguments:\n  command\n")[2].partition("\n\n")[0]
    return re.findall(r"^    ([a-z][a-z-]+)(?: |$)", listed, re.MULTILINE)


def help_of(module: str, *command: str) -> str:
    """What ``module``'s main prints for --help, its usage broken the same way by every Python."""
    out = io.StringIO()
    before, os.environ["COLUMNS"] = os.environ.get("COLUMNS"), str(WIDTH)
    try:
        with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
            importlib.import_module(module).main([*command, "--help"])
    finally:
        del os.environ["COLUMNS"]
        if before is not None:
            os.environ["COLUMNS"] = before
    usage, _, rest = out.getvalue().partition("\n\n")
    return wrapped(" ".join(usage.split())) + "\n\n" + rest


def wrapped(usage: str) -> str:
    """A usage on lines of `WIDTH`, broken between its arguments alone."""
    whole = re.sub(r"\[[^\[\]]*\]", lambda match: match[0].replace(" ", "\0"), usage)
    lines = textwrap.wrap(whole, WIDTH, subsequent_indent="    ", break_on_hyphens=False)
    return "\n".join(lines).replace("\0", " ")


def options(text: str) -> dict[str, str]:
    """Each option of a help text, with the lines that tell of it."""
    _, _, listed = text.partition("\noptions:\n")
    listed = listed.partition("\n\n")[0]
    return {
        entry.split()[0].rstrip(","): entry
        for entry in re.split(r"\n(?=  -)", listed)
        if entry.strip()
    }


def without(text: str, common: set[str]) -> str:
    """A command's help without the options that stand before any command too."""
    before, mark, rest = text.partition("\noptions:\n")
    after = rest.partition("\n\n")[2]
    own = [entry.rstrip() for name, entry in options(text).items() if name not in common]
    usage, _, told = before.partition("\n\n")
    usage = " ".join(usage.split())
    for option in sorted(common, key=len, reverse=True):
        usage = re.sub(rf"\s*\[{re.escape(option)}(?: [\w-]+)?\]", "", usage)
    listed = mark + "\n".join(own) + "\n" if own else ""
    return wrapped(usage) + "\n\n" + told + listed + (f"\n{after}" if after else "")


def block(text: str) -> str:
    lines = (line.rstrip() for line in text.strip().splitlines())
    return "```text\n" + "\n".join(lines) + "\n```\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
