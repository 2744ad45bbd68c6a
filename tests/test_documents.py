"""README.md, CONTRIBUTING.md and docs/: code runs, commands parse, links and paths exist, figures are measured ones."""

import importlib.util
import inspect
import re
import shlex
import textwrap
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks import documents
from dec_kernels import DECLoss, coo, doctor, environment
from dec_kernels.cli import main
from dec_kernels.integrations import shim
from dec_kernels.spec import CHOICES

ROOT = Path(__file__).parents[1]
PAGES = {str(page.relative_to(ROOT)): page.read_text() for page in documents.pages()}
README = PAGES["README.md"]
FENCE = re.compile(r'^```(\w*)(?: title="([^"]*)")?\n(.*?)^```$', flags=re.DOTALL | re.MULTILINE)
BLOCKS = [(name, *match.groups()) for name, page in PAGES.items() for match in FENCE.finditer(page)]
LINKS = [
    (name, path, heading)
    for name, page in PAGES.items()
    for path, heading in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", page)
]
# Lines of commands, those that continue as one, and inline code.
CODE = [
    (name, line.split("#")[0].strip())
    for name, language, _, block in BLOCKS
    if language in ("", "sh")
    for line in block.replace("\\\n", " ").splitlines()
] + [(name, code) for name, page in PAGES.items() for code in re.findall(r"`([^`\n]+)`", FENCE.sub("", page))]


@pytest.mark.parametrize(
    ("page", "code"),
    [
        pytest.param(page, block, id=f"{page}-{block.strip().splitlines()[0]}")
        for page, language, title, block in BLOCKS
        if language == "python" and title is None
    ],
)
def test_python_runs(page: str, code: str) -> None:
    exec(compile(code, page, "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize(("page", "title", "block"), [(p, title, block) for p, _, title, block in BLOCKS if title])
def test_what_is_quoted_stands_in_an_example(page: str, title: str, block: str) -> None:
    """Paragraph by paragraph, each with its own indentation. Other tests run the examples."""
    example = (ROOT / title).read_text()
    for paragraph in re.split(r"\n\n+", block.strip("\n")):
        first = paragraph.splitlines()[0]
        indentations = re.findall(rf"^( *){re.escape(first)}$", example, flags=re.MULTILINE)
        assert any(textwrap.indent(paragraph, indentation) in example for indentation in indentations), paragraph


@pytest.mark.parametrize("example", ["plain", "lightning_module", "ddp_gathered", "accelerate_loop"])
def test_every_example_is_quoted(example: str) -> None:
    assert f"examples/{example}.py" in [title for _, _, title, _ in BLOCKS]


@pytest.mark.parametrize(("page", "path", "heading"), LINKS)
def test_local_links_lead_somewhere(page: str, path: str, heading: str) -> None:
    target = (ROOT / page).parent / path if path else ROOT / page
    assert target.exists()
    if heading:
        titles = re.findall(r"^#+ (.*)$", target.read_text(), flags=re.MULTILINE)
        assert heading in [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]


@pytest.mark.parametrize(
    ("page", "path"),
    [
        (page, code)
        for page, code in CODE
        if re.fullmatch(r"(dec_kernels|benchmarks|csrc|docs|examples|tests|\.ci)/[\w./]*", code)
    ],
)
def test_paths_exist(page: str, path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("target", sorted({m for _, code in CODE for m in re.findall(r"^make (\w[\w-]*)", code)}))
def test_targets_of_make_exist(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize(
    "module", sorted({m for _, code in CODE for m in re.findall(r"-m ((?:benchmarks|dec_kernels)[\w.]*)", code)})
)
def test_modules_that_commands_run_exist(module: str) -> None:
    found = importlib.util.find_spec(module)
    assert found
    assert found.loader
    if found.submodule_search_locations:
        assert importlib.util.find_spec(f"{module}.__main__")


COMMANDS = sorted({code for _, code in CODE if code.startswith("dec-kernels ")})
# The text names these without what they need.
NAMES = {"dec-kernels doctor", "dec-kernels install-shim"}


@pytest.mark.parametrize("command", [command for command in COMMANDS if command not in NAMES])
def test_commands_of_dec_kernels_parse(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    for module in (coo, doctor, environment, shim):
        monkeypatch.setattr(module, "run", lambda arguments: called.append(arguments) or 0)
    assert main(shlex.split(command)[1:]) == 0
    assert called


@pytest.mark.parametrize("page", PAGES)
def test_figures_are_those_of_the_results(page: str) -> None:
    """`python -m benchmarks.documents` writes them."""
    assert documents.updated(PAGES[page]) == PAGES[page]


def test_figures_stand_once() -> None:
    names = [match[2] for page in PAGES.values() for match in documents.BLOCK.finditer(page)]
    assert sorted(names) == sorted(documents.BLOCKS)


def test_the_readme_is_short() -> None:
    assert 5500 <= len(README.encode()) <= 6500


@pytest.mark.parametrize("argument", inspect.signature(DECLoss).parameters.values(), ids=str)
def test_the_reference_has_every_argument_with_its_default(argument: inspect.Parameter) -> None:
    default = f'"{argument.default}"' if isinstance(argument.default, str) else str(argument.default)
    assert f"| `{argument.name}` | `{default}` |" in PAGES["docs/reference.md"]


@pytest.mark.parametrize(("argument", "choices"), CHOICES.items())
def test_the_reference_has_every_choice(argument: str, choices: tuple[str, ...]) -> None:
    row = re.search(rf"^\| `{argument}` .*$", PAGES["docs/reference.md"], flags=re.MULTILINE)
    assert row
    assert set(re.findall(r'`"(\w+)"`', row[0])) == set(choices)


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    """The hooks of the site, which need no MkDocs to be imported."""
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs/hooks.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("source", "link", "in_the_site"),
    [
        ("README.md", "[x](docs/gpu.md#the-parts)", "[x](gpu.md#the-parts)"),
        ("README.md", "![x](benchmarks/results/cpu_time.png)", "![x](results/cpu_time.png)"),
        ("docs/gpu.md", "[x](../README.md)", "[x](index.md)"),
        ("docs/gpu.md", "![x](../benchmarks/results/cpu_time.png)", "![x](results/cpu_time.png)"),
        ("docs/gpu.md", "[x](https://example.org/y)", "[x](https://example.org/y)"),
        ("docs/gpu.md", "[x](#y)", "[x](#y)"),
        ("docs/gpu.md", "[x](../setup.py)", "x (`setup.py`)"),
        ("README.md", "```sh\n[x](docs/gpu.md)\n```", "```sh\n[x](docs/gpu.md)\n```"),
    ],
)
def test_links_within_the_site(hooks: ModuleType, source: str, link: str, in_the_site: str) -> None:
    assert hooks.relinked(link, source) == in_the_site


def test_a_link_to_nothing_fails_the_build(hooks: ModuleType) -> None:
    with pytest.raises(FileNotFoundError, match=r"docs/nothing\.md"):
        hooks.relinked("[x](nothing.md)", "docs/gpu.md")
