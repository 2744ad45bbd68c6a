"""README.md, CONTRIBUTING.md and docs/: code runs, commands parse, links and paths exist, figures are measured ones."""

import importlib.util
import inspect
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks import documents
from dec_kernels import DECLoss, doctor, environment
from dec_kernels.cli import main
from dec_kernels.integrations import shim
from dec_kernels.spec import CHOICES

ROOT = Path(__file__).parents[1]
PAGES = {str(page.relative_to(ROOT)): page.read_text() for page in documents.pages()}
README = PAGES["README.md"]
BLOCKS = [
    (name, language, block)
    for name, page in PAGES.items()
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)
]
LINKS = [
    (name, path, heading)
    for name, page in PAGES.items()
    for path, heading in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", page)
]
# Inline code and blocks of code, lines that continue as one.
CODE = [
    (name, line.split("#")[0].strip())
    for name, page in PAGES.items()
    for code in re.findall(r"^```(?:sh)?\n(.*?)^```|(?<!`)`([^`]+)`(?!`)", page, flags=re.DOTALL | re.MULTILINE)
    for line in "".join(code).replace("\\\n", " ").splitlines()
]


@pytest.mark.parametrize(
    ("page", "code"),
    [
        pytest.param(page, block, id=f"{page}-{block.strip().splitlines()[0]}")
        for page, language, block in BLOCKS
        if language == "python"
    ],
)
def test_python_runs(page: str, code: str) -> None:
    exec(compile(code, page, "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("page", ["README.md", "docs/reference.md", "docs/distributed.md", "docs/integrations.md"])
def test_there_is_python(page: str) -> None:
    assert any((name, language) == (page, "python") for name, language, _ in BLOCKS)


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


@pytest.mark.parametrize("target", {target for _, code in CODE for target in re.findall(r"^make (\w[\w-]*)", code)})
def test_targets_of_make_exist(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize(
    "module", {m for _, code in CODE for m in re.findall(r"-m ((?:benchmarks|dec_kernels)[\w.]*)", code)}
)
def test_modules_that_commands_run_exist(module: str) -> None:
    found = importlib.util.find_spec(module)
    assert found
    assert found.loader
    if found.submodule_search_locations:
        assert importlib.util.find_spec(f"{module}.__main__")


@pytest.mark.parametrize("command", {code for _, code in CODE if re.match(r"dec-kernels [a-z-]+ ", f"{code} ")})
def test_commands_of_dec_kernels_parse(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if command == "dec-kernels doctor":  # the name of the command alone
        return
    called = []
    for module in (doctor, environment, shim):
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


def test_the_readme_shows_a_part_of_the_example() -> None:
    (block,) = [block for page, language, block in BLOCKS if (page, language) == ("README.md", "python")]
    assert block in (ROOT / "examples/plain.py").read_text()


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
