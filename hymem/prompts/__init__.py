"""HyMem's own prompts, one Markdown file per stage, with the version of its wording.

A file is ``version: N``, then ``# system`` and ``# user`` with ``$name`` where values go.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from string import Template


@dataclass(frozen=True, slots=True)
class Prompt:
    """The wording of one stage."""

    name: str
    version: int
    system: Template
    user: Template

    def messages(self, **values: str) -> list[dict[str, str]]:
        """The chat messages with ``values`` in their places; nothing in a value is expanded."""
        return [
            {"role": "system", "content": self.system.substitute(values)},
            {"role": "user", "content": self.user.substitute(values)},
        ]


@cache
def load(name: str) -> Prompt:
    """The prompt in ``name.md``."""
    text = (files(__name__) / f"{name}.md").read_text(encoding="utf-8")
    head, _, rest = text.partition("\n# system\n")
    system, _, user = rest.partition("\n# user\n")
    version = int(head.removeprefix("version:"))
    return Prompt(name, version, Template(system.strip()), Template(user.strip()))
