"""MkDocs hooks: pages that stand outside of docs/, links into the repository, and formulas as MathML.

`README.md` is the first page of the site. In the Markdown files, links lead from file to file of the repository,
so that any viewer can follow them. On the site they lead from page to page.
"""

import posixpath
import re
from html import unescape
from pathlib import Path

ROOT = Path(__file__).parents[1]

# What the site shows of the repository outside of docs/: path in the repository -> path in the site's sources.
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
RESULTS = "benchmarks/results"

_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")
_FORMULA = re.compile(
    r'<(span|div) class="arithmatex">(?:\\\((?P<inline>.*?)\\\)|\\\[(?P<block>.*?)\\\])</\1>', flags=re.DOTALL
)


def on_files(files, config):
    """Adds the pages and the plots."""
    from mkdocs.structure.files import File

    for source, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    for plot in sorted((ROOT / RESULTS).glob("*.png")):
        files.append(File.generated(config, f"results/{plot.name}", abs_src_path=str(plot)))
    return files


def on_page_markdown(markdown, page, **_):
    outside = {site: source for source, site in PAGES.items()}
    return relinked(markdown, outside.get(page.file.src_uri, f"docs/{page.file.src_uri}"))


def relinked(markdown: str, source: str) -> str:
    """The text of a page with links between files of the repository as links between files of the site.

    Args:
        markdown: the text.
        source: the page's path in the repository.

    Raises:
        FileNotFoundError: a link leads to nothing.
    """

    def replaced(match: re.Match[str]) -> str:
        image, text, path, anchor = match[1], match[2], match[3], match[4] or ""
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if not (ROOT / target).exists():
            raise FileNotFoundError(f"{source} links to {target}, which is not there")
        if image or target.startswith("docs/") or target in PAGES:
            return f"{image}[{text}]({_in_site(target)}{anchor})"
        return text if text == target else f"{text} (`{target}`)"  # the site does not hold the rest of the repository

    # Not within blocks of code.
    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.DOTALL | re.MULTILINE)
    return "".join(part if part.startswith("```") else _LINK.sub(replaced, part) for part in parts)


def _in_site(target: str) -> str:
    if target in PAGES:
        return PAGES[target]
    return target.removeprefix("docs/").replace(f"{RESULTS}/", "results/")


def on_page_content(html, **_):
    return with_mathml(html)


def with_mathml(html: str) -> str:
    """A page with its formulas as MathML, which browsers show without any script.

    Raises:
        ValueError: a formula holds a command that the converter does not know.
    """
    from latex2mathml.converter import convert

    def replaced(match: re.Match[str]) -> str:
        latex = unescape(match["inline"] or match["block"]).replace("{aligned}", "{align*}")
        mathml = convert(latex, display="inline" if match["inline"] else "block")
        if "\\" in mathml or "<mi>&</mi>" in mathml:
            raise ValueError(f"latex2mathml does not know a command of the formula {latex!r}")
        return re.sub(r'columnalign="(\w+)"', r'style="text-align: \1"', mathml)  # as MathML Core has it

    return _FORMULA.sub(replaced, html)
