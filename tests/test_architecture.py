"""Which part may import which, and how large a part may grow: rules on the source alone.

An import counts wherever it stands, inside of functions too, but for those under
``if TYPE_CHECKING``. Exceptions have a word of reason each, and one that is not needed any more
fails.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("hymem", "snn_encoder", "evals")

# Rooms of hymem. Beside them stands the face, which wires them.
WRITE, READ, STORES = ("write",), ("read",), ("stores",)
GROUND = ("system", "inputs", "text", "dates", "prompts", "llm", "encoders")
FACE = (
    "memory", "aio", "calls", "life", "wiring", "cli", "cli_options", "cli_output", "reembedding",
    "demo", "exports",
)  # fmt: skip
# What runs without torch; hymem may have these, and the names that they export.
INFERENCE = ("inference", "parameters", "simulation", "codes", "tokenizer")
FOR_HYMEM = ("SpikingEncoder", "WeightsError", "load_tokenizer")
# Rooms of the encoder, each with those below it. None imports hymem or evals.
BELOW = {
    "inference": (),
    "network": ("inference",),
    "recipe": ("network",),
    "evaluate": ("inference", "activity"),
    "activity": ("inference",),
    "distill": ("inference", "network", "recipe"),
    "train": ("inference", "network", "recipe", "evaluate", "distill"),
    "export": ("inference", "network", "recipe", "distill", "train"),
    "studies": ("inference", "network", "recipe", "evaluate", "distill", "train"),
    "integrations": ("inference",),
}
# Rooms and modules of evals: each knows none but those before it.
EVALS = (
    "metrics", "progress", "data", "systems", "collections", "results", "examples", "calibrate",
    "retrieval", "answers", "tables", "encoder", "speed", "demo", "cli",
)  # fmt: skip
# encode(device="cuda") runs torch, where there is one.
DOORS = {("snn_encoder.inference", "snn_encoder.network.restore")}
# Inside of the store: tables are SQL alone, an index knows no table, and both are joined above.
STORE = "hymem.stores"
APART = {
    "tables": ("index", "sqlite", "search", "transfer", "reembed", "erase", "database"),
    "index": ("tables", "sqlite", "search", "transfer", "reembed"),
}

MODULE, FUNCTION, SIGNATURE = 500, 60, 7
LARGE = {
    "hymem.cli": "every command and what it prints",
    "hymem.write.ingest": "the write path: segments, leases, extraction, superseded facts",
    "hymem.memory": "the face: a docstring for every public method",
}
LONG = {
    "hymem.cli._parser": "one line an option",
    "evals.cli._parser": "one line an option",
}
WIDE = {
    "hymem.memory.HyMem.__init__": "the face: each setting by its name",
    "hymem.memory.HyMem.add": "the face: each property of a message by its name",
    "hymem.memory.HyMem.search": "the face: each part of a question by its name",
    "hymem.memory.HyMem.recall": "the face: each part of a question by its name",
    "hymem.memory.HyMem.chat": "the face: each part of a question by its name",
    "hymem.memory.HyMem.chat_stream": "the face: each part of a question by its name",
    "hymem.wiring.assemble": "what the face was given",
    "hymem.stores.base.Store.candidates": "the parts of a question, loose",
    "hymem.stores.sqlite.SQLiteStore.candidates": "the parts of a question, loose",
    "hymem.stores.base.Store.update_text": "all that a text carries",
    "hymem.stores.sqlite.SQLiteStore.update_text": "all that a text carries",
    "hymem.llm.openai.OpenAIChat.__init__": "the settings of a client, each by its name",
    "hymem.encoders.openai.OpenAIEncoder.__init__": "the settings of a client, each by its name",
    "snn_encoder.network.kernels._steps": "a Triton kernel takes every pointer as an argument",
    "evals.answers.score.score_run": "options of the command",
    "evals.tables.build.longmemeval_table": "options of the command",
    "evals.answers.judge.judge_all": "options of the command",
    "evals.answers.generate.generate": "options of the command",
}

Imports = dict[str, set[str]]


@cache
def sources() -> dict[str, str]:
    """Every module's text, by its dotted name; a package's own is that of its ``__init__``."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts).removesuffix(".__init__")] = path.read_text("utf-8")
    return found


def statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node of a module that runs."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield node
        yield from statements(node)


def imported(text: str, modules: Iterable[str]) -> set[str]:
    """The modules that a text imports; of a name that is no module, the module it is from."""
    found: set[str] = set()
    for node in statements(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in modules else node.module)
    return found


@cache
def imports() -> Imports:
    modules = sources()
    return {name: imported(text, modules) & modules.keys() for name, text in modules.items()}


def within(module: str, package: str, names: Iterable[str]) -> bool:
    """Whether a module is one of some rooms or modules of a package, or lies in one."""
    return any(f"{module}.".startswith(f"{package}.{name}.") for name in names)


def forbidden(graph: Imports, rooms: dict[str, tuple[str, ...]]) -> list[str]:
    """The arrows of hymem that run from a room to one that it must not know."""
    return [
        f"{module} imports {other}"
        for module, others in graph.items()
        for room, unknown in rooms.items()
        if within(module, "hymem", globals()[room])
        for other in sorted(others)
        if within(other, "hymem", unknown)
    ]


def circle(graph: Imports) -> list[str]:
    """Modules that import one another in a ring, the first one last too; none if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


PATHS = (*WRITE, *READ, "cost", "offline")
NEVER = {
    "WRITE": (*READ, *FACE),
    "READ": (*WRITE, *FACE),
    "STORES": (*PATHS, *FACE),
    "GROUND": (*PATHS, *FACE),
}


def test_the_table_names_modules_that_there_are() -> None:
    names = [f"hymem.{name}" for name in (*WRITE, *READ, *STORES, *GROUND, *FACE)]
    names += [f"snn_encoder.{name}" for name in (*INFERENCE, *BELOW)]
    assert [name for name in names if name not in sources()] == []


def test_write_and_read_never_meet_and_stores_know_neither() -> None:
    assert forbidden(imports(), NEVER) == []


def test_a_forbidden_import_is_found() -> None:
    text = "def later():\n    from hymem.read import retrieve\n"
    text += "if TYPE_CHECKING:\n    import hymem.read.ask\n"
    graph = {"hymem.stores.rows": imported(text, sources())}
    assert forbidden(graph, NEVER) == ["hymem.stores.rows imports hymem.read.retrieve"]


def test_tables_and_index_of_a_store_know_neither_each_other_nor_the_class() -> None:
    arrows = [
        f"{module} imports {other}"
        for module, others in imports().items()
        for part, unknown in APART.items()
        if within(module, STORE, [part])
        for other in sorted(others)
        if within(other, STORE, unknown)
    ]
    assert arrows == []


def borrowed(text: str) -> list[str]:
    """The private names of others that a module reads: those that it neither defines nor sets."""
    nodes = list(ast.walk(ast.parse(text)))
    own = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    own |= {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    }
    read = [node.attr for node in nodes if isinstance(node, ast.Attribute)]
    read += [one.name for node in nodes if isinstance(node, ast.ImportFrom) for one in node.names]
    return [name for name in read if re.match("_[^_]", name) and name not in own]


def test_nothing_private_leaves_its_module_in_a_store() -> None:
    found = {
        module: borrowed(text)
        for module, text in sources().items()
        if within(module, "hymem", STORES)
    }
    assert {module: names for module, names in found.items() if names} == {}
    assert borrowed("from a import _b\ndef f(self):\n    self._c = self._d()") == ["_d", "_b"]


def test_hymem_has_no_more_of_the_encoder_than_inference() -> None:
    found = []
    for module, text in sources().items():
        if module.split(".")[0] != "hymem":
            continue
        for node in statements(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.module == "snn_encoder":
                found += [
                    f"{module}: {alias.name}" for alias in node.names if alias.name not in FOR_HYMEM
                ]
        found += [
            f"{module}: {other}"
            for other in imports()[module]
            if other.startswith("snn_encoder.") and not within(other, "snn_encoder", INFERENCE)
        ]
    assert found == []


def test_nothing_imports_what_measures_it() -> None:
    arrows = [
        f"{module} imports {other}"
        for module, others in imports().items()
        for other in others
        if (module.startswith("hymem") and other.startswith("evals"))
        or (module.startswith("snn_encoder") and not other.startswith("snn_encoder"))
    ]
    assert arrows == []


def room(module: str) -> str:
    """A module's room in the encoder."""
    name = module.split(".")[1]
    return "inference" if name in INFERENCE else name


def test_rooms_of_the_encoder_know_those_below_them() -> None:
    arrows = [
        f"{module} imports {other}"
        for module, others in imports().items()
        if module.startswith("snn_encoder.")
        for other in others - {"snn_encoder"}
        if other.startswith("snn_encoder.") and room(other) != room(module)
        if room(other) not in BELOW[room(module)] and (module, other) not in DOORS
    ]
    assert arrows == []


def test_rooms_of_evals_know_those_before_them() -> None:
    places = {f"evals.{name}": place for place, name in enumerate(EVALS)}

    def place(module: str) -> int:
        return places[".".join(module.split(".")[:2])]

    arrows = [
        f"{module} imports {other}"
        for module, others in imports().items()
        if module.startswith("evals.")
        for other in others
        if other.startswith("evals.") and place(other) > place(module)
    ]
    assert arrows == []


def test_no_imports_run_in_a_circle() -> None:
    assert circle(imports()) == []


def test_a_circle_is_found() -> None:
    assert set(circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}})) == {"b", "c"}
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def functions() -> Iterator[tuple[str, int, int]]:
    """Every function's dotted name, its lines, and its parameters but for ``self``."""
    for module, text in sources().items():
        yield from _functions(ast.parse(text), module)


def _functions(tree: ast.AST, outer: str) -> Iterator[tuple[str, int, int]]:
    for node in ast.iter_child_nodes(tree):
        name = f"{outer}.{node.name}" if hasattr(node, "name") and node.name else outer
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            taken = node.args
            names = [*taken.posonlyargs, *taken.args, *taken.kwonlyargs, taken.vararg, taken.kwarg]
            count = sum(arg is not None and arg.arg not in ("self", "cls") for arg in names)
            yield name, (node.end_lineno or node.lineno) - node.lineno + 1, count
        yield from _functions(node, name)


@pytest.mark.parametrize(
    ("reasons", "kind"), [(LARGE, "module"), (LONG, "function"), (WIDE, "signature")]
)
def test_what_is_large_has_a_reason(reasons: dict[str, str], kind: str) -> None:
    if kind == "module":
        found = {m for m, text in sources().items() if len(text.splitlines()) > MODULE}
    elif kind == "function":
        found = {name for name, lines, _ in functions() if lines > FUNCTION}
    else:
        found = {name for name, _, count in functions() if count > SIGNATURE}
    assert sorted(found - reasons.keys()) == [], f"split the {kind}, or say why not in this file"
    assert sorted(reasons.keys() - found) == [], "no exception any more: delete it here"
    assert all(reasons.values())
