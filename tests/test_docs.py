"""The pages: links, line lengths, and every page and module that they or the code name exists."""

import importlib
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "benchmarks/README.md"]
CODE = [
    path
    for folder in ("convnext_dense", "tools", "configs", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
]
COLUMNS = 100


def test_relative_links_have_a_target():
    dead = [
        f"{page.name}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert dead == []


def test_lines_are_short():
    """A table's row cannot be broken."""
    long = [
        f"{page.name}:{number}"
        for page in PAGES
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > COLUMNS and not line.startswith("|")
    ]
    assert long == []


def test_pages_that_the_code_names_exist():
    missing = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in [*CODE, ROOT / "Makefile"]
        for name in re.findall(r"docs/\w+\.md", path.read_text(encoding="utf-8"))
        if not (ROOT / name).is_file()
    }
    assert missing == set()


def test_modules_that_the_pages_name_exist():
    """Names such as ``convnext_dense.data.fit``; the last part may be a function or a class."""
    missing = []
    for page in PAGES:
        if page.name == "CHANGELOG.md":  # it names what was
            continue
        for name in re.findall(r"\bconvnext_dense(?:\.\w+)+", page.read_text(encoding="utf-8")):
            parent, _, last = name.rpartition(".")
            if not hasattr(importlib.import_module(parent), last):
                try:
                    importlib.import_module(name)
                except ImportError:
                    missing.append(f"{page.name}: {name}")
    assert missing == []
