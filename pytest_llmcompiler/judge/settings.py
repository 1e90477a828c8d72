"""How to judge, and what an answer was asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Literal, cast, get_args

from pytest_llmcompiler.errors import SettingError
from pytest_llmcompiler.model.answer import Task
from pytest_llmcompiler.targets.levels import ISA_LEVELS, IsaLevel
from pytest_llmcompiler.targets.target import DEFAULT


def check_effort(effort: float) -> float:
    """An effort as a number. Raises ValueError for what is none."""
    if isinstance(effort, bool) or not isinstance(effort, (int, float)):
        raise ValueError(f"expected an effort that is a number, found {effort!r}")
    if not 0 <= effort < math.inf:
        raise ValueError(f"expected an effort of 0 or more, found {effort}")
    return float(effort)


NativeMode = Literal["off", "auto", "always"]
NATIVE_MODES: tuple[NativeMode, ...] = get_args(NativeMode)


def check_native(native: object, isa: object) -> tuple[NativeMode, IsaLevel]:
    """A mode and a level of the instruction set. Raises ValueError for what is none."""
    for value, names in ((native, NATIVE_MODES), (isa, ISA_LEVELS)):
        if value not in names:
            raise ValueError(f"expected {', '.join(names[:-1])} or {names[-1]}, found {value!r}")
    return cast("tuple[NativeMode, IsaLevel]", (native, isa))


def describe_missing_prover() -> str:
    """Why nothing can be proved here; empty where the prover's libraries are installed."""
    missing = [module for module in ("z3", "capstone") if find_spec(module) is None]
    if not missing:
        return ""
    return f"proofs need {' and '.join(missing)}: pip install 'pytest-llmcompiler[prove]'"


def check_prover() -> None:
    """Raises SettingError where the prover's libraries are missing."""
    if missing := describe_missing_prover():
        raise SettingError(missing)


@dataclass(frozen=True)
class JudgeSettings:
    """How to judge. Together with the case, these settings determine every verdict."""

    examples: int = 100
    """The number of inputs that are generated for a function."""
    seed: int = 1
    """The seed of the generated inputs."""
    assembler: Literal["keystone", "llvm"] = "keystone"
    target: str = DEFAULT
    """The name of the target that code is judged for, see `targets.list_target_names`."""
    min_coverage: float = 0.0
    """The share of the function's edges that inputs must reach. Where they reach less, code that passes on all of them
    is inconclusive."""
    effort: float = 1.0
    """A factor of the budget for the second look: candidates that pass all inputs are run on inputs that are made for
    each of them. 0: there is no second look."""
    prove: bool = False
    """Whether to try to prove that candidates which pass are equal to the reference."""
    count_agreeing: bool = False
    """Whether to count the inputs of the suite on which candidates that run and fail agree with the reference."""
    native: NativeMode = "off"
    """When candidates run on the machine's own processor: `auto` where the emulator can't run them; `always` also where
    it can, to compare both."""
    isa: IsaLevel = "x86-64"
    """The highest level of the instruction set that candidates may use and that runs natively."""

    @property
    def native_level(self) -> IsaLevel | None:
        """The highest level of which code runs natively; None where none does."""
        return self.isa if self.native != "off" and self.isa in ISA_LEVELS[2:] else None


@dataclass(frozen=True)
class TaskQuestion:
    """What the text of an answer was asked for, and what the answer claims about its code."""

    task: Task = "asm"
    passes: str = ""
    """The pass list of the question; empty where the task has none."""
    claimed_sizes: Mapping[str, int] = field(default_factory=dict)
    """The counts that the answer states: `instructions`, of IR, and `size`, in bytes of text and data."""
    taught: Sequence[Mapping[str, Any]] = ()
    """Inputs of the second look that failed earlier answers to the question, as `second_look.encode_lead` writes
    them."""
