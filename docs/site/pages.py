"""mkdocs' hook: pages of the site that are no Markdown in docs/, and links to them.

The pages link to each other as GitHub reads them, relative to their place in the repository. On the
site README.md is the home page, a module of the reference is a page, and a file that some page
links to (a config, a module, a notebook) is a page that shows it.
"""

import json
import posixpath
import re
from pathlib import Path

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
    # Here, since the tests read this module without mkdocs.
    from mkdocs.structure.files import File, InclusionLevel

    def add(address: str, content: str, level=InclusionLevel.INCLUDED) -> None:
        files.append(File.generated(config, address, content=content, inclusion=level))

    for source, address in REPOSITORY_PAGES.items():
        add(address, (ROOT / source).read_text("utf-8"))
    for address in reference_pages(config.nav):
        add(address, f"::: {module_of(address)}\n")
    pages = {file.src_uri: file.content_string for file in files.documentation_pages()}
    for source in linked_files(pages):
        add(address_of(source), _shown(ROOT / source), InclusionLevel.NOT_IN_NAV)
    return files


def on_page_markdown(markdown, page, config, files):
    """Turns what GitHub reads into what the site reads: links, fences and tables."""
    here = page.file.src_uri
    if here.startswith("source/"):
        return markdown
    folder = posixpath.dirname(here) or "."

    def place(match: re.Match) -> str:
        address = address_of(_in_repository(here, match[1]))
        found = files.get_file_from_path(address) is not None
        return posixpath.relpath(address, folder) if found else match[1]

    return _as_python_markdown(LINK.sub(place, markdown))


def on_page_content(html, page, config, files):
    """Leaves the source code below the reference's entries out of the search."""
    source = '<details class="mkdocstrings-source"'
    return html.replace(source, source + " data-search-exclude")


def reference_pages(nav) -> list[str]:
    """The addresses below ``api/`` in a navigation: ``api/NAME.md`` documents a module."""
    if isinstance(nav, str):
        return [nav] if nav.startswith("api/") else []
    entries = nav.values() if isinstance(nav, dict) else nav
    return [address for entry in entries for address in reference_pages(entry)]


def module_of(address: str) -> str:
    """The module that a page of the reference documents."""
    return "convnext_dense." + address.removeprefix("api/").removesuffix(".md")


def linked_files(pages: dict[str, str]) -> list[str]:
    """The files of the repository that pages (text by address) link to and that are none yet."""
    targets = {
        _in_repository(page, target)
        for page, text in pages.items()
        for target in LINK.findall(text)
    }
    return sorted(
        target
        for target in targets
        if address_of(target) not in pages
        and (ROOT / target).is_file()
        and (not target.startswith("docs/") or target.endswith(".ipynb"))
    )


def _as_python_markdown(text: str) -> str:
    """A fence has one word after it, and a pipe in a table's code no backslash before it."""
    text = re.sub(r"(?m)^(```\w+) .*$", r"\1", text)
    row = re.compile(r"(?m)^\|.*$")
    code = re.compile(r"`[^`]+`")
    return row.sub(lambda r: code.sub(lambda c: c[0].replace("\\|", "|"), r[0]), text)


def _in_repository(page: str, target: str) -> str:
    """The file of the repository that a page of the site means by a relative link."""
    sources = {address: source for source, address in REPOSITORY_PAGES.items()}
    folder = posixpath.dirname(sources.get(page, f"docs/{page}"))
    return posixpath.normpath(posixpath.join(folder, target))


def address_of(source: str) -> str:
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
