"""A process that forks with a memory open: neither side hangs, loses or doubles anything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "programs" / "forking.py"
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are POSIX's")


def run(way: str, forks: int, folder: Path) -> None:
    command = [sys.executable, "-X", "faulthandler", "-W", "ignore::DeprecationWarning"]
    command += [str(PROGRAM), way, str(forks), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stdout) == (0, "ended well\n"), done.stderr[-3000:]


@pytest.mark.parametrize("way", ["busy", "idle", "preload", "closed", "many", "tasks"])
def test_children_work_and_so_does_their_parent(tmp_path: Path, way: str) -> None:
    run(way, 4, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("way", "forks"), [("busy", 100), ("idle", 100), ("preload", 16)])
def test_a_hundred_children_work_and_so_does_their_parent(
    tmp_path: Path, way: str, forks: int
) -> None:
    run(way, forks, tmp_path)


def test_a_fork_at_a_bad_moment_is_told_and_harms_nobody(tmp_path: Path) -> None:
    run("odd", 1, tmp_path)
