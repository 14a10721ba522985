"""What users may import is exactly what is documented, and importing it is cheap."""

import asyncio
import re
import subprocess
import sys
from importlib.resources import files

import hymem
from hymem import AsyncHyMem, HyMem

HEAVY = ("numpy", "faiss", "torch", "openai", "pydantic", "tokenizers", "transformers", "rich")


def _api_page() -> str:
    return (files("hymem") / "API.md").read_text("utf-8")


def test_every_exported_name_exists_and_is_documented():
    page = _api_page()
    for name in hymem.__all__:
        assert getattr(hymem, name) is not None
        assert re.search(rf"`{name}\b", page), f"{name} is missing from the API page"


def test_the_exports_load_lazily_from_one_table():
    assert sorted(hymem._HOME_OF) == sorted(hymem.__all__)


def _methods(cls: type) -> set[str]:
    return {name for name, value in vars(cls).items() if callable(value) and name[0] != "_"}


def test_every_method_is_documented_and_has_its_async_twin():
    page = _api_page()
    assert _methods(HyMem) == _methods(AsyncHyMem)
    for name in _methods(HyMem):
        assert re.search(rf"`{name}\(", page), f"{name} is missing from the API page"
        assert getattr(HyMem, name).__doc__


def test_both_have_the_same_properties():
    def properties(memory: object) -> set[str]:
        return {
            name for name in dir(memory) if name[0] != "_" and not callable(getattr(memory, name))
        }

    plain, twin = HyMem(":memory:", llm=None), AsyncHyMem(":memory:", llm=None)
    assert properties(plain) == properties(twin) == {"config", "encoder"}
    assert (plain.encoder.name, plain.config) == (twin.encoder.name, twin.config)
    plain.close()
    asyncio.run(twin.close())


def test_importing_loads_nothing_heavy():
    code = f"import sys, hymem; hymem.HyMem; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
