"""The targets by name.

Each target is one file of this package, named after it: `aarch64_linux.py` holds `TARGET`, which is `aarch64-linux`.
"""

from __future__ import annotations

import functools
import pkgutil
from importlib import import_module

from pytest_llmcompiler.targets.target import DEFAULT, Target

__all__ = ("DEFAULT", "Target", "get_target", "list_target_names", "list_targets")


@functools.cache
def list_target_names() -> tuple[str, ...]:
    """The names of all targets, the default first.

    The modules of targets are those of this package with an underscore in the name: `PROCESSOR_SYSTEM`.
    """
    modules = (module.name for module in pkgutil.iter_modules(__path__) if "_" in module.name)
    names = ("-".join(module.rsplit("_", 1)) for module in modules)
    return tuple(sorted(names, key=lambda name: (name != DEFAULT, name)))


@functools.cache
def get_target(name: str = DEFAULT) -> Target:
    """The target of a name. Raises ValueError, which lists the names, for an unknown one."""
    if name not in list_target_names():
        raise ValueError(f"no target {name!r}: expected {' or '.join(list_target_names())}")
    target: Target = import_module(f"{__name__}.{name.replace('-', '_')}").TARGET
    return target


def list_targets() -> tuple[Target, ...]:
    """All targets, the default first."""
    return tuple(map(get_target, list_target_names()))
