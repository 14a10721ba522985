"""Rules for every tracked text file."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent
# Absolute paths of one machine: home, work and temporary folders.
MACHINE_PATH = re.compile(r"(?<![\w.~}$/-])/(?:home|root|work|tmp|Users|var/tmp)/[\w.-]")


def _tracked() -> list[Path]:
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def _text(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        return None


def test_no_tracked_file_names_a_path_of_one_machine():
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in _tracked()
        if path.name != "tokenizer.json" and (text := _text(path)) is not None
        for number, line in enumerate(text.splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]
    assert found == []


def test_the_rule_finds_what_it_should():
    assert MACHINE_PATH.search("data = '" + "/".join(["", "home", "ana", "x"]) + "'")
    assert not MACHINE_PATH.search("https://example.org/home/page and ~/work/x")


def test_modules_stay_small():
    big = [
        str(path.relative_to(ROOT))
        for path in _tracked()
        if path.suffix == ".py" and len((_text(path) or "").splitlines()) > 600
    ]
    assert big == []
