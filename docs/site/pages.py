"""mkdocs' hook: pages of the site that are no Markdown in docs/, and links to them.

The pages link to each other as GitHub reads them, relative to their place in the repository. On the
site README.md is the home page, a module of the reference is a page, and a file that some page
links to (a config, a module, a notebook) is a page that shows it.
"""

import json
import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
# Markdown outside of docs/, with its address on the site.
REPOSITORY_PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/README.md": "benchmarks.md",
}
LINK = re.compile(r"(?<=\]\()(?![a-z]+:)([^)#\s]+)")
LANGUAGES = {".py": "python", ".yml": "yaml", ".sh": "bash", ".toml": "toml"}


def on_files(files, config):
    """Adds the pages that mkdocs does not find in docs/."""
    for source, address in REPOSITORY_PAGES.items():
        files.append(File.generated(config, address, content=(ROOT / source).read_text("utf-8")))
    for address in reference_pages(config.nav):
        files.append(File.generated(config, address, content=f"::: {module_of(address)}\n"))
    for source in _linked_files([file for file in files if file.is_documentation_page()]):
        files.append(File.generated(config, _address(source), content=_shown(ROOT / source)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Turns links between files of the repository into links between pages of the site."""
    here = page.file.src_uri
    folder = posixpath.dirname(here)

    def place(match: re.Match) -> str:
        target = _in_repository(here, match[1])
        found = files.get_file_from_path(_address(target)) is not None
        return posixpath.relpath(_address(target), folder or ".") if found else match[1]

    # GitHub takes the first word after a fence, pymdownx one word alone.
    return re.sub(r"(?m)^(```\w+) .*$", r"\1", LINK.sub(place, markdown))


def reference_pages(nav) -> list[str]:
    """The addresses below ``api/`` in a navigation: ``api/NAME.md`` documents a module."""
    if isinstance(nav, str):
        return [nav] if nav.startswith("api/") else []
    entries = nav.values() if isinstance(nav, dict) else nav
    return [address for entry in entries for address in reference_pages(entry)]


def module_of(address: str) -> str:
    """The module that a page of the reference documents."""
    return "convnext_dense." + address.removeprefix("api/").removesuffix(".md")


def _linked_files(pages: list[File]) -> list[str]:
    """The files of the repository that pages link to and that are no pages or images yet."""
    known = {page.src_uri for page in pages}
    targets = {
        _in_repository(page.src_uri, target)
        for page in pages
        for target in LINK.findall(page.content_string)
    }
    return sorted(
        target
        for target in targets
        if _address(target) not in known
        and (ROOT / target).is_file()
        and (not target.startswith("docs/") or target.endswith(".ipynb"))
    )


def _in_repository(page: str, target: str) -> str:
    """The file of the repository that a page of the site means by a relative link."""
    sources = {address: source for source, address in REPOSITORY_PAGES.items()}
    folder = posixpath.dirname(sources.get(page, f"docs/{page}"))
    return posixpath.normpath(posixpath.join(folder, target))


def _address(source: str) -> str:
    """Where the site has a file of the repository."""
    if source in REPOSITORY_PAGES:
        return REPOSITORY_PAGES[source]
    if source.startswith("docs/"):
        return re.sub(r"\.ipynb$", ".md", source.removeprefix("docs/"))
    return f"source/{source}.md"


def _shown(path: Path) -> str:
    """A page that shows a file: a notebook's cells, or the lines of a source."""
    if path.suffix == ".ipynb":
        cells = json.loads(path.read_text("utf-8"))["cells"]
        texts = [("".join(cell["source"]), cell["cell_type"] == "code") for cell in cells]
        return "\n\n".join(_fenced(text, "python") if code else text for text, code in texts)
    text = _fenced(path.read_text("utf-8"), LANGUAGES.get(path.suffix, "text"))
    return f"---\nsearch:\n  exclude: true\n---\n# {path.relative_to(ROOT)}\n\n{text}"


def _fenced(text: str, language: str) -> str:
    return f"````{language}\n{text.rstrip()}\n````\n"
