"""What `--help` of a script prints: its options with their help and defaults, and the methods with theirs."""

from dataclasses import fields, is_dataclass

from omegaconf import MISSING

from della.methods import METHODS
from scripts.schema import ROOTS, Benchmark
from scripts.search_settings import Space


def lines_of(node: type, prefix: str = "") -> list[str]:
    """`key  help` for every option of a schema, nested groups under their prefix."""
    out = []
    for item in fields(node):
        key = prefix + item.name
        if text := item.metadata.get("help"):
            default = (
                ""
                if item.default in (MISSING, None) or not isinstance(item.default, (str, int, float))
                else (f" [{item.default}]" if item.default != "" else "")
            )
            out.append(f"  {key:26} {text}{default}")
        elif isinstance(item.type, type) and is_dataclass(item.type):
            out += lines_of(item.type, key + ".")
        elif key == "benchmarks":
            out += lines_of(Benchmark, "benchmarks.NAME.")
        elif key == "sweep.search.space":
            out += lines_of(Space, "sweep.search.space.NAME.")
    return out


def help_text(root: str) -> str:
    """What `--help` of a script says: the command's purpose, its options with units, the methods with theirs."""
    node = ROOTS[root]
    parts = [f"{(node.__doc__ or '').strip()}", "", "Options, written as key=value:", *lines_of(node)]
    if any(item.name == "method" for item in fields(node)):
        parts += ["", "Methods (method=NAME) and their options (method.OPTION=value):"]
        for name, method in METHODS.items():
            parts += [f"  {name:16} {method.summary}", *("  " + line for line in lines_of(method.options, "  method."))]
    return "\n".join(parts)
