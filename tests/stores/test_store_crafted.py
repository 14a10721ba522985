"""Crafted and damaged databases: a clear error or an answer, soon, and never another exception."""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from crafted import (
    CELLS,
    DAMAGED,
    OF_ALL,
    TABLES,
    USES,
    Encoder,
    copied,
    crafted_cell,
    make,
    opened,
)

from hymem import HyMem, HyMemError, StoreError, reembed

SECONDS = 40.0  # for some fifty calls, which take five on an idle machine at the most


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("base") / "chat.db"
    make(path)
    return path


def use(path: Path) -> list[str]:
    """Do everything with the file; the errors, by the name of what was done."""
    errors = []
    start = time.monotonic()
    try:
        with opened(path) as memory:
            for name, call in USES.items():
                for user in ("ana", "ben"):
                    try:
                        call(memory, user)
                    except HyMemError as error:
                        errors.append(f"{name} {user}: {error}")
    except StoreError as error:
        errors.append(f"open: {error}")
    assert time.monotonic() - start < SECONDS
    return errors


def test_the_base_is_without_fault(base: Path, tmp_path: Path) -> None:
    assert use(copied(base, tmp_path, lambda path: None)) == []


_SLOW = [name for name in DAMAGED if name.endswith(tuple("123456789"))]


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in _SLOW else ()) for n in DAMAGED]
)
def test_a_damaged_file_is_refused_or_used_as_far_as_it_goes(
    base: Path, tmp_path: Path, name: str
) -> None:
    errors = use(copied(base, tmp_path, DAMAGED[name]))
    assert all("Traceback" not in error for error in errors)


def use_as_both(path: Path) -> tuple[list[str], list[str]]:
    """Everything with user ana, ben and all; the errors of ana, and those of the others."""
    errors: dict[str, list[str]] = {"ana": [], "ben": [], "all": []}
    calls = [
        (user, name, partial(call, user=user))
        for name, call in USES.items()
        for user in ("ben", "ana", "ben")
        if name != "compact" and (name, user) != ("delete_all", "ben")
    ]
    calls[-9:-9] = [("all", name, call) for name, call in OF_ALL.items()]
    start = time.monotonic()
    with opened(path) as memory:
        for user, name, call in calls:
            try:
                call(memory)
            except HyMemError as error:
                if (user, name) != ("all", "flush"):  # tells of ana once the others are done
                    errors[user].append(f"{name}: {error}")
    assert time.monotonic() - start < SECONDS
    return errors["ana"], errors["ben"] + errors["all"]


def check_cell(base: Path, folder: Path, cell: tuple[str, str, str], every: bool) -> None:
    path = copied(base, folder, crafted_cell(*cell, every=every))
    if cell[0] == "meta":  # everyone's
        with suppress(StoreError):
            use_as_both(path)
        return
    _, others = use_as_both(path)
    assert others == [], others


SAMPLE = [
    *CELLS[:: len(CELLS) // 40],
    ("events", "attempts", "null"),
    ("events", "attempts", "below zero"),
    ("costs", "stage", "no UTF-8"),
    ("costs", "input_tokens", "null"),
]


@pytest.mark.parametrize("cell", SAMPLE, ids=" ".join)
def test_a_value_of_a_type_that_hymem_never_writes_harms_its_scope_alone(
    base: Path, tmp_path: Path, cell: tuple[str, str, str]
) -> None:
    check_cell(base, tmp_path, cell, every=True)


class OtherEncoder(Encoder):
    name = "other"


@pytest.mark.parametrize(
    "cell",
    [
        ("items", "session", "huge"),
        ("items", "text", "no UTF-8"),
        ("items", "kind", "null"),
        ("scopes", "user_id", "bytes"),
    ],
    ids=" ".join,
)
def test_a_damaged_memory_keeps_no_other_from_new_vectors(
    base: Path, tmp_path: Path, cell: tuple[str, str, str]
) -> None:
    path = copied(base, tmp_path, crafted_cell(*cell, every=True))
    reembed(path, OtherEncoder())
    with HyMem(path, llm=None, encoder=OtherEncoder(), background=False) as memory:
        assert memory.search("a red kettle", user_id="ben")


@pytest.mark.slow
@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("table", TABLES)
def test_no_such_value_in_any_column(base: Path, tmp_path: Path, table: str, every: bool) -> None:
    for number, cell in enumerate(CELLS):
        if cell[0] == table:
            folder = tmp_path / str(number)
            folder.mkdir()
            check_cell(base, folder, cell, every)
