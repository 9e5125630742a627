"""The site of `make docs`, without mkdocs: its navigation, its paths and its links."""

import importlib.util
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
BUILT = ROOT / "site"


@pytest.fixture(scope="module")
def settings():
    return yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def hook():
    """docs/site/pages.py, which mkdocs imports by its path too."""
    spec = importlib.util.spec_from_file_location("site_pages", ROOT / "docs/site/pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _addresses(nav):
    if isinstance(nav, str):
        return [nav]
    entries = nav.values() if isinstance(nav, dict) else nav
    return [address for entry in entries for address in _addresses(entry)]


def test_the_navigation_lists_every_page_once(settings, hook):
    pages = [
        path.relative_to(ROOT / "docs").with_suffix(".md").as_posix()
        for pattern in ("*.md", "notebooks/*.ipynb")
        for path in (ROOT / "docs").glob(pattern)
    ]
    reference = hook.reference_pages(settings["nav"])
    assert reference
    assert sorted(_addresses(settings["nav"])) == sorted(
        [*pages, *hook.REPOSITORY_PAGES.values(), *reference]
    )


def test_the_reference_documents_modules_that_exist(settings, hook):
    """Without an import, as the site reads them; the package's ``__all__`` or its own names."""
    for address in hook.reference_pages(settings["nav"]):
        path = ROOT / hook.module_of(address).replace(".", "/")
        assert (path / "__init__.py").is_file() or path.with_suffix(".py").is_file(), address


def test_the_paths_that_the_settings_name_exist(settings):
    options = settings["plugins"][-1]["mkdocstrings"]["handlers"]["python"]["options"]
    paths = [
        *(ROOT / name for name in settings["watch"] + settings["hooks"] + options["extensions"]),
        *(ROOT / "docs" / name for name in settings["extra_css"] + settings["extra"]["polyfills"]),
    ]
    assert [path for path in paths if not path.exists()] == []


def test_links_lead_to_pages_of_the_site(hook):
    """From the home page, between pages, to a module and to a notebook."""
    texts = {
        "index.md": "[a](docs/train.md#x) ![b](docs/images/demo.jpg) [c](https://example.org)",
        "train.md": "[d](../README.md) [e](predict.md) [f](#x) [g](../setup.py) [h](../configs)",
    }
    assert hook.linked_files({**texts, "predict.md": ""}) == ["setup.py"]
    assert hook.address_of("docs/images/demo.jpg") == "images/demo.jpg"
    assert hook.address_of("docs/notebooks/a.ipynb") == "notebooks/a.md"
    site = _Site(["index.md", "train.md", "predict.md", "images/demo.jpg", "source/setup.py.md"])
    changed = {page: hook.on_page_markdown(texts[page], _Page(page), None, site) for page in texts}
    assert changed == {
        "index.md": "[a](train.md#x) ![b](images/demo.jpg) [c](https://example.org)",
        "train.md": "[d](index.md) [e](predict.md) [f](#x) [g](source/setup.py.md) [h](../configs)",
    }


def test_what_only_github_reads_is_rewritten(hook):
    text = "```sh recipe\nls | wc\n```\n\n| `A\\|B` | c |\n"
    expected = "```sh\nls | wc\n```\n\n| `A|B` | c |\n"
    assert hook.on_page_markdown(text, _Page("train.md"), None, _Site([])) == expected


@pytest.mark.slow
def test_the_built_site_loads_nothing_from_elsewhere():
    if not BUILT.is_dir():
        pytest.skip("needs the site: run `make docs`")
    loading = re.compile(r'<(?:script|img|iframe)[^>]* src="?(\w+:)?//|<link[^>]* href="?https?:')
    pages = list(BUILT.rglob("*.html"))
    assert len(pages) > 30
    assert [page for page in pages if loading.search(page.read_text(encoding="utf-8"))] == []
    assert "var __index" in (BUILT / "search/search_index.js").read_text(encoding="utf-8")[:20]


class _Page:
    """What the hook reads of mkdocs' page."""

    def __init__(self, address: str) -> None:
        self.file = self
        self.src_uri = address


class _Site(list):
    """What the hook reads of mkdocs' files."""

    def get_file_from_path(self, address: str) -> str | None:
        return address if address in self else None
