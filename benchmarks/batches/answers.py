"""Batches of answers as a training step has them: right, wrong in many ways, and hostile."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from quality import compilers
from quality.measure import Plan, seed_faults
from speed.answers import FreshTexts, MeasuredFunction, open_reference

from pytest_llmcompiler import Sample
from pytest_llmcompiler.assembler.recent_code import strip_text
from pytest_llmcompiler.targets import get_target

RIGHT, WRONG, HOSTILE = "right", "wrong", "hostile"
_SHARES = {RIGHT: 0.5, WRONG: 0.4, HOSTILE: 0.1}
"""The share of each kind of answer in a batch."""
_COMPILERS = (
    *((compilers.BUNDLED, level) for level in ("O0", "O1", "O2", "Os")),
    *(("gcc", level) for level in ("O0", "O1", "O2", "O3", "Os")),
    *(("clang-16", level) for level in ("O1", "O3")),
    ("clang-19", "O2"),
)
_FAULTS = 8
"""Texts with a seeded fault for each function and level (O0, O2). They come again with another comment."""
_HOSTILE_TEXTS = (
    "I'm sorry, but I can't compile this.",
    "```\n" * 2000,
    "{name}:\n1:\tjmp\t1b\n",
    "{name}:\n\tpushq\t%rax\n\tcall\t{name}\n\tpopq\t%rcx\n\tretq\n",
    "{name}:\n\tmovq\t$0x7f1a2b3c0800, %rsp\n\tretq\n",
    "{name}:\n\txorl\t%edi, %edi\n\tcall\texit\n",
    "{name}:\n\tmovl\t$60, %eax\n\txorl\t%edi, %edi\n\tsyscall\n",
    "{name}:\n\tmov\t(%r8), %ah\n\tretq\n",
    "{name}:\n\tmovb\t$0xc3, {name}(%rip)\n\tretq\n",
    "{name}:\n\tmovq\t$-1, %rcx\n\tmovq\t%rsp, %rdi\n\trep stosb\n\tretq\n",
    "{name}:\n\tpushq\t%rbx\n1:\tmovl\t$1, %edi\n\tcall\tmalloc\n\tjmp\t1b\n",
    "{name}:\n\tretq\n.fill 4000000000, 8, 1\n",
    '{name}:\n\tretq\n.include "/etc/passwd"\n',
    "{name}:\n\tmovl\t$((((((1)))))), %eax\n\tfrobl\t%eax\n\tretq\n",
    "{name}:\n\tcall\tno_such_function\n\tretq\n",
    "{name}:\n\tvaddps\t%ymm0, %ymm1, %ymm0\n\tretq\n",
    "{name}:\n" + "\tnop\n" * 2000 + "\tud2\n",
)


@dataclass(frozen=True)
class FunctionAnswers:
    """The texts of answers for one function, by kind."""

    function: MeasuredFunction
    texts: dict[str, tuple[str, ...]]

    def draw(self, rng: random.Random, fresh: FreshTexts, *, has_new_code: bool = False) -> Sample:
        """An answer that there was not before: a comment in it is new, or an instruction."""
        kinds = [kind for kind in _SHARES if self.texts[kind]]
        [kind] = rng.choices(kinds, [_SHARES[kind] for kind in kinds])
        text = rng.choice(self.texts[kind]) + "\n"
        has_code = f"{self.function.name}:" in text
        renewed = fresh.renew_code(text) if has_new_code and has_code else fresh.renew(text)
        return Sample(self.function.path, self.function.name, renewed)


def count_codes(samples: Sequence[Sample]) -> int:
    """How many different texts samples have, comments left out."""
    dialect = get_target().dialect
    return len({(one.source, one.function, strip_text(one.answer, dialect) or one.answer) for one in samples})


def collect_answers(function: MeasuredFunction, seed: int) -> FunctionAnswers:
    """The answers to one function. Wrong ones have a seeded fault, which may make no difference."""
    reference = open_reference(function.path)
    plan = Plan((100,), _FAULTS, seed)
    wrong = [
        fault.text
        for level in ("O0", "O2")
        for fault in itertools.islice(seed_faults(reference, function.name, level, function.path.name, plan), _FAULTS)
    ]
    hostile = (text.replace("{name}", function.name) for text in _HOSTILE_TEXTS)
    texts = {RIGHT: tuple(_list_right(function)), WRONG: tuple(wrong), HOSTILE: tuple(hostile)}
    return FunctionAnswers(function, texts)


def _list_right(function: MeasuredFunction) -> Iterator[str]:
    reference = open_reference(function.path)
    for compiler, level in _COMPILERS:
        if reference.case.is_ir and compiler != compilers.BUNDLED:
            continue
        try:
            yield compilers.assembly(reference, function.name, compiler, level)
        except (compilers.CompilerError, FileNotFoundError):
            continue


class BatchSource:
    """Draws batches, the same for the same seed."""

    def __init__(self, answers: Sequence[FunctionAnswers], seed: int) -> None:
        self.answers = answers
        self._rng, self._fresh = random.Random(seed), FreshTexts()

    def draw(self, count: int, *, has_new_code: bool = False) -> list[Sample]:
        """As many answers for each function, all mixed. `has_new_code`: no two that have code have the same."""
        functions = list(itertools.islice(itertools.cycle(self.answers), count))
        self._rng.shuffle(functions)
        return [one.draw(self._rng, self._fresh, has_new_code=has_new_code) for one in functions]

    def draw_by_function(self, count: int) -> list[Sample]:
        """So many answers for each function, function after function."""
        return [one.draw(self._rng, self._fresh) for one in self.answers for _ in range(count)]
