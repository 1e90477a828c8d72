"""What holds for all modules of the package."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections import Counter
from pathlib import Path

import pytest_llmcompiler
from pytest_llmcompiler.errors import LLMCompilerError

FOLDER = Path(pytest_llmcompiler.__file__).parent
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages([str(FOLDER)], "pytest_llmcompiler.")
    if not module.name.endswith("__main__")
)


def list_errors() -> dict[str, type[BaseException]]:
    """Every exception class that a module of the package defines, by its full name."""
    return {
        f"{name}.{one.__name__}": one
        for name in MODULES
        for one in vars(importlib.import_module(name)).values()
        if inspect.isclass(one) and issubclass(one, BaseException) and one.__module__ == name
    }


def test_a_class_name_exists_once() -> None:
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in FOLDER.rglob("*.py"))
    names = Counter(node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    assert len(names) > 200
    assert [name for name, count in names.items() if count > 1] == []


def test_errors_have_one_root_and_one_ending() -> None:
    errors = list_errors()
    assert len(errors) > 40
    assert [name for name in errors if not name.endswith("Error")] == []
    # hypothesis reports whatever an example raises, but for a BaseException: so the end of a search is one.
    strangers = [name for name, one in errors.items() if not issubclass(one, LLMCompilerError)]
    assert strangers == ["pytest_llmcompiler.corpus.search.SearchDoneError"]
