"""The repository's shape, read from the syntax tree of every tracked Python file."""

import ast
import graphlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]
_MAX_FILE_LINES, _MAX_FUNCTION_LINES = 300, 50  # both are "fewer than"
_FORBIDDEN = {"della": {"eval", "scripts"}, "eval": {"della", "scripts"}}


def _tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z", "*.py"], cwd=_ROOT, capture_output=True, text=True, check=True)
    return [Path(name) for name in listed.stdout.split("\0") if name and (_ROOT / name).exists()]


_SOURCES = {path: (_ROOT / path).read_text() for path in _tracked()}


def _module(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(path: Path, source: str) -> Iterator[str]:
    """Dotted names of what a file imports; `from a import b` gives a and a.b, as b may be a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = list(path.parts[: len(path.parts) - node.level]) if node.level else []
            origin = ".".join([*package, *([node.module] if node.module else [])])
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def _layer_violations(path: Path, source: str) -> list[str]:
    forbidden = _FORBIDDEN.get(path.parts[0], set())
    wrong = {name.split(".")[0] for name in _imports(path, source)} & forbidden
    return [f"{path} imports {name}" for name in sorted(wrong)]


def _eval_violations(path: Path, source: str) -> list[str]:
    plain = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import)]
    names = [(node.lineno, alias.name) for node in plain for alias in node.names]
    return [f"{path}:{line}: import {name}" for line, name in names if name.split(".")[0] == "eval"]


def _length_violations(path: Path, source: str) -> list[str]:
    lines = len(source.splitlines())
    found = [f"{path} has {lines} lines"] if lines >= _MAX_FILE_LINES else []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length >= _MAX_FUNCTION_LINES:
                found.append(f"{path}:{node.lineno}: {node.name} has {length} lines")
    return found


def _bare_excepts(path: Path, source: str) -> list[str]:
    handlers = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ExceptHandler)]
    return [f"{path}:{node.lineno}: bare except" for node in handlers if node.type is None]


def _cycle(sources: dict[Path, str]) -> list[str]:
    """The modules of one import cycle, [] if there is none; imports inside functions count too."""
    modules = {_module(path): path for path in sources if path.parts[0] in ("della", "eval", "scripts")}
    graph = {name: set(_imports(path, sources[path])) & modules.keys() - {name} for name, path in modules.items()}
    for name, imported in graph.items():
        # `from package import module` is an import of the module; the package's own __init__ comes along with it.
        graph[name] = {other for other in imported if not any(longer.startswith(f"{other}.") for longer in imported)}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


@pytest.mark.parametrize("rule", [_layer_violations, _eval_violations, _length_violations, _bare_excepts])
def test_every_tracked_file_keeps_the_rule(rule):
    assert len(_SOURCES) > 30
    assert [violation for path, source in _SOURCES.items() for violation in rule(path, source)] == []


def test_our_modules_import_each_other_without_cycles():
    assert _cycle(_SOURCES) == []


def test_tests_are_no_packages():
    """`tests/eval/__init__.py` would hide the package `eval` from the tests."""
    assert [path for path in _SOURCES if path.parts[0] == "tests" and path.name == "__init__.py"] == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("della/a.py", "from eval.rules import satisfies"),
        ("della/tiny/a.py", "def f():\n    import scripts.run"),
        ("eval/a.py", "from della import record"),
        ("eval/tasks/a.py", "import della"),
    ],
)
def test_an_import_against_the_layers_is_found(path, source):
    assert len(_layer_violations(Path(path), source)) == 1
    assert _layer_violations(Path("scripts") / "a.py", source) == []


def test_importing_eval_as_a_name_is_found():
    """It would hide the builtin of that name."""
    for source in ("import eval", "import os, eval.judge", "import eval.judge as judge"):
        assert len(_eval_violations(Path("a.py"), source)) == 1
    assert _eval_violations(Path("a.py"), "from eval.judge import Judge\nimport evaluate") == []


def test_the_first_line_too_many_is_found():
    assert _length_violations(Path("a.py"), "x = 1\n" * 299) == []
    assert len(_length_violations(Path("a.py"), "x = 1\n" * 300)) == 1
    assert _length_violations(Path("a.py"), "def f():\n" + "    x = 1\n" * 48) == []
    assert len(_length_violations(Path("a.py"), "def f():\n" + "    x = 1\n" * 49)) == 1


def test_a_bare_except_is_found():
    assert len(_bare_excepts(Path("a.py"), "try:\n    f()\nexcept:\n    pass")) == 1
    assert _bare_excepts(Path("a.py"), "try:\n    f()\nexcept OSError:\n    pass") == []


def test_a_cycle_is_found_also_through_relative_imports():
    a, b, c = Path("della/a.py"), Path("della/b.py"), Path("della/tiny/c.py")
    assert _cycle({a: "from della.b import x", b: "import os", c: "from della import a, b"}) == []
    assert set(_cycle({a: "from della.b import x", b: "def f():\n    from della import a"})) == {"della.a", "della.b"}
    loop = {a: "from .tiny import c", c: "from ..b import x", b: "import della.a"}
    assert set(_cycle(loop)) == {"della.a", "della.b", "della.tiny.c"}
