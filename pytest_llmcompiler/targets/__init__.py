"""The targets by name.

Each is one file of this package, named as the target: `aarch64_linux.py` holds `TARGET`, which is `aarch64-linux`.
"""

from __future__ import annotations

import functools
import pkgutil
from importlib import import_module

from pytest_llmcompiler.targets.target import DEFAULT, Target

__all__ = ("DEFAULT", "ForeignSystem", "Target", "get_target", "list_target_names", "list_targets")


@functools.cache
def list_target_names() -> tuple[str, ...]:
    """Every target, the default first. Only their modules have an underscore in the name: `PROCESSOR_SYSTEM`."""
    modules = (module.name for module in pkgutil.iter_modules(__path__) if "_" in module.name)
    found = ("-".join(name.rsplit("_", 1)) for name in modules)
    return tuple(sorted(found, key=lambda name: (name != DEFAULT, name)))


@functools.cache
def get_target(name: str = DEFAULT) -> Target:
    """The target of a name. Raises ValueError for one that there is not."""
    if name not in list_target_names():
        raise ValueError(f"no target {name!r}: expected {' or '.join(list_target_names())}")
    found: Target = import_module(f"{__name__}.{name.replace('-', '_')}").TARGET
    return found


def list_targets() -> tuple[Target, ...]:
    """All targets."""
    return tuple(map(get_target, list_target_names()))
