"""Tries the sources with every Python that the package names, where it is installed: `make test-pythons`.

Each compiles all files, with warnings for errors, and imports what they import from the standard library. That takes no
PyTorch for each Python. The tests with another one: `make test PYTHON=python3.13 VENV=.venv-3.13`.
"""

import ast
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = ("dec_kernels", "tests", "benchmarks", "examples")

# Runs in the other Python. Standard input: the files, and [module, name] of all that they import.
PROGRAM = """
import importlib, json, sys, warnings
from pathlib import Path

warnings.simplefilter("error", SyntaxWarning)
files, imported = json.load(sys.stdin)
for file in files:
    compile(Path(file).read_bytes(), file, "exec")
for module, name in imported:
    found = importlib.import_module(module)
    if name and not hasattr(found, name):
        importlib.import_module(f"{module}.{name}")
"""


def versions() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    prefix = "Programming Language :: Python :: 3."
    return [line.rpartition(" ")[2] for line in project["classifiers"] if line.startswith(prefix)]


def interpreter(version: str) -> Path | None:
    """The first Python of that version on the path or of pyenv that starts."""
    folders = [Path(folder) for folder in os.get_exec_path()]
    folders += sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin"))
    for python in (folder / f"python{version}" for folder in folders):
        if python.exists() and subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0:
            return python
    return None


def imports(file: Path) -> Iterator[tuple[str, str | None]]:
    """[module, name] of what a file imports from the standard library of this Python."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            found = [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found = [(node.module or "", alias.name) for alias in node.names]
        else:
            continue
        yield from ((module, name) for module, name in found if module.partition(".")[0] in sys.stdlib_module_names)


def main() -> int:
    files = [ROOT / "setup.py", *(file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py")))]
    imported = sorted({each for file in files for each in imports(file)}, key=str)
    job = json.dumps([[str(file) for file in files], imported])
    failed = False
    for version in versions():
        python = interpreter(version)
        if python is None:
            print(f"Python {version}: not installed here, not tried")
            continue
        done = subprocess.run([python, "-c", PROGRAM], input=job, capture_output=True, text=True, check=False)
        failed |= done.returncode != 0
        tried = f"{len(files)} files compile, {len(imported)} imports of the standard library are there"
        print(f"Python {version} ({python}): {tried if done.returncode == 0 else done.stderr}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
