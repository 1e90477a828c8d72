"""The bench: one function of one case, ready to judge any number of candidates."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pytest_llmcompiler.inputs.corpus import Corpus, Undefined, shrink, weight
from pytest_llmcompiler.inputs.place import DoesNotFit, Placed, place
from pytest_llmcompiler.inputs.snapshot import from_main
from pytest_llmcompiler.inputs.strategies import Hints, hints, inputs, specials
from pytest_llmcompiler.inputs.value import Input
from pytest_llmcompiler.judge.compare import Difference, Frame, Loose, agree, differences, loose_bytes, wild_write
from pytest_llmcompiler.judge.show import show_input
from pytest_llmcompiler.judge.verdict import Kind, Verdict
from pytest_llmcompiler.machine import abi, sandbox
from pytest_llmcompiler.machine.assemblers import Assembled, AssemblyError, LinkError, UnsupportedError, assemble
from pytest_llmcompiler.machine.emulator import MOST_ARGUMENTS, Machine
from pytest_llmcompiler.machine.run import Fault, Run
from pytest_llmcompiler.program.case import CaseError
from pytest_llmcompiler.program.reference import Program, Reference
from pytest_llmcompiler.program.signature import declared
from pytest_llmcompiler.program.types import Function, Pointer, Type, calls_back, unsupported

BASE = 0x10000000
"""Where candidates are loaded: near the program, so that 32-bit displacements reach it."""
_REFERENCE_LIMIT = 1_000_000
"""Instructions; an input for which the reference needs more is not a test."""
_HANG_FACTOR, _HANG_FLOOR = 32, 20_000
"""A candidate hangs past this many instructions for each byte of code that the reference executed, and as many more."""
_RUN_SECONDS, _RUN_MEGABYTES = 120.0, 8192
"""Only a fault of the emulator gets near these: runs are limited by instructions. (unicorn reserves gigabytes.)"""


@dataclass(frozen=True)
class Settings:
    """How to judge. What verdicts depend on is here and in the case."""

    examples: int = 100
    """Inputs that are generated for a function."""
    seed: int = 1
    assembler: Literal["keystone", "llvm"] = "keystone"


@dataclass(frozen=True)
class Entry:
    """One input of the corpus with what the reference shows on it."""

    frame: Frame
    call: abi.Call
    expected: Run
    loose: Loose
    limit: int

    @property
    def placed(self) -> Placed:
        """The input in memory."""
        return self.frame.placed


@dataclass(frozen=True)
class _Finding:
    """What a candidate did wrong on one input."""

    kind: Kind
    message: str
    evidence: tuple[str, ...]


class Bench:
    """Everything that judging a function needs, made once. Raises CaseError where the case itself is at fault."""

    def __init__(self, reference: Reference, function: str, settings: Settings) -> None:
        self.reference, self.function, self.settings = reference, function, settings
        if function not in reference.signatures:
            known = ", ".join(reference.signatures)
            raise CaseError(f"{reference.case.path}: no function {function!r} is defined here; there are: {known}")
        self.signature = reference.signatures[function]
        self._rules = reference.rules(function)
        self._names = [param.name for param in self.signature.params]

    # -- judging

    def judge(self, assembly: str, inputs: Sequence[Input] | None = None) -> Verdict:
        """Judge the text of a candidate. What goes wrong inside is a verdict; what goes wrong here is raised.

        With `inputs`, on these of the corpus alone, and with no smaller one in the evidence.
        """
        reason = self._unjudgeable()
        if reason:
            return Verdict("inconclusive", reason)
        try:
            candidate = assemble(
                assembly, self.function, BASE, self.reference.golden.addresses, self.settings.assembler
            )
        except UnsupportedError as error:
            return Verdict("inconclusive", str(error))
        except AssemblyError as error:
            place = f"line {error.line}, column {error.column}: " if error.line else ""
            position = {"line": error.line, "column": error.column}
            return Verdict("assemble", f"{place}{error}", tuple(_quoted(assembly, error.line)), position)
        except LinkError as error:
            return Verdict("link", str(error))
        start = candidate.symbols[self.function]
        if not any(s.executable and s.address <= start < s.address + len(s.data) for s in candidate.segments):
            return Verdict("link", f"{self.function} is defined, but not as code of this text")
        detail = {"assembler": candidate.engine, "fallback": candidate.fallback, **self._counts()}
        try:
            index = self._isolated(self._first_failure, candidate, assembly, inputs)
        except (sandbox.Died, sandbox.TimedOut) as error:
            return Verdict("inconclusive", f"the emulator gave up on it: {error}", detail=detail)
        if index is None:
            return Verdict("pass", detail=detail)
        try:
            found = self._isolated(self._explained, candidate, assembly, index, inputs is None)
        except (sandbox.Died, sandbox.TimedOut):
            found = self._isolated(self._explained, candidate, assembly, index, False)
        return Verdict(found["kind"], found["message"], tuple(found["evidence"]), detail)

    def _isolated(self, function: Callable[..., Any], *args: Any) -> Any:
        return sandbox.call(function, *args, seconds=_RUN_SECONDS, megabytes=_RUN_MEGABYTES)

    def _unjudgeable(self) -> str | None:
        types = [param.type for param in self.signature.params]
        if self.signature.result is not None:
            types.append(self.signature.result)
        reason = next(filter(None, map(unsupported, types)), None)
        if reason:
            return f"{self.function} can't be called here: {reason}"
        if "blockaddress(" in self.reference.ir:
            return "the file takes the addresses of labels, which only code of the same function can use"
        try:
            self.corpus  # noqa: B018
        except UnsupportedError as error:
            return str(error)
        if not self.corpus.entries:
            reasons = ", ".join(f"{count} × {words}" for words, count in self.corpus.dropped.most_common())
            return f"no input found on which {self.function} is defined ({reasons or 'none could be made'})"
        return None

    def _counts(self) -> dict[str, Any]:
        used, dropped = len(self.corpus.entries), self.corpus.dropped
        counts: dict[str, Any] = {"inputs": used, "dropped": dict(dropped)}
        if used < dropped.total() / 9:
            reasons = ", ".join(f"{count} × {words}" for words, count in dropped.most_common())
            counts["warning"] = (
                f"{self.function} is defined on only {used} of {used + dropped.total()} inputs ({reasons}): "
                "`LLMC: arg` directives can say which inputs are meant"
            )
        return counts

    def _first_failure(self, candidate: Assembled, assembly: str, inputs: Sequence[Input] | None) -> int | None:
        """The number of the first input on which a candidate fails.

        What can't be judged on one input does not excuse what fails on another; a breach of the convention alone
        comes last.
        """
        machine = self._machine(self.reference.golden, candidate)
        lesser: dict[Kind, int] = {}
        for index, (made, entry) in enumerate(self.corpus.entries.items()):
            if inputs is not None and made not in inputs:
                continue
            finding = self._finding(machine, entry, assembly)
            if finding and finding.kind not in ("inconclusive", "abi"):
                return index
            if finding:
                lesser.setdefault(finding.kind, index)
        return lesser.get("inconclusive", lesser.get("abi"))

    def _explained(self, candidate: Assembled, assembly: str, index: int, smaller: bool) -> dict[str, Any]:
        """What goes wrong on an input, or on the smallest that shows the same."""
        machine = self._machine(self.reference.golden, candidate)
        made, entry = list(self.corpus.entries.items())[index]
        finding = self._finding(machine, entry, assembly)
        if finding is None:
            finding = _Finding("inconclusive", "it fails on an input once and not again", ())
        if smaller and finding.kind != "inconclusive":
            made, finding = self._smallest(machine, assembly, made, finding)
        lines = show_input(made, self.signature.params)
        shown = (f"  input     {lines[0]}", *(f"            {line}" for line in lines[1:]))
        return {"kind": finding.kind, "message": finding.message, "evidence": [*shown, *finding.evidence]}

    def _smallest(self, machine: Machine, assembly: str, made: Input, finding: _Finding) -> tuple[Input, _Finding]:
        """The smallest input that shows the same kind of failure."""
        found: dict[Input, _Finding] = {made: finding}

        def fails(other: Input) -> bool:
            try:
                entry = self.corpus.entries.get(other) or self._accept(other)
            except Undefined:
                return False
            again = self._finding(machine, entry, assembly)
            if again is None or again.kind != finding.kind:
                return False
            found[other] = again
            return True

        small = shrink(self._strategy, made, self.settings.examples, self.settings.seed, fails)
        return small, found[small]

    def _finding(self, machine: Machine, entry: Entry, assembly: str) -> _Finding | None:
        run = machine.run(entry.placed, entry.call, entry.limit)
        if run.outcome == "vex":
            assert run.fault is not None
            return _Finding("inconclusive", f"{run.fault.what}, which the emulator can't judge", ())
        if run.outcome in ("fault", "forbidden"):
            assert run.fault is not None
            return self._crash(machine, entry, run.fault, assembly)
        if run.outcome == "limit":
            length = entry.expected.length
            words = f"still running after {entry.limit} instructions; the reference executes {length} bytes of code"
            return _Finding("hang", words, ())
        found = list(differences(entry.frame, entry.expected, run, entry.loose))
        if found:
            return _Finding("mismatch", _headline(found[0]), tuple(_table(found)))
        if run.abi:
            return _Finding("abi", run.abi[0], tuple(f"  breach    {words}" for words in run.abi))
        return None

    def _crash(self, machine: Machine, entry: Entry, fault: Fault, assembly: str) -> _Finding:
        words = fault.what
        if fault.address is not None:
            size = f" of {fault.size} bytes" if fault.access != "jump" else ""
            words = f"{fault.what}{size} at {_where(fault.address, entry.placed)}"
        line = machine.line_of(fault)
        inside = machine.name_of(fault.pc) if not machine.in_candidate(fault.pc) else None
        evidence = list(_quoted(assembly, line or 0, f"{inside}, called from " if inside else ""))
        if line is not None:
            words += f" in {inside}, called from line {line}" if inside else f" in line {line}"
        elif inside:
            evidence.append(f"  at        {inside}")
        end = entry.expected
        evidence.append(f"  expected  {end.outcome if end.outcome != 'return' else 'a return'}; observed: {fault.what}")
        return _Finding("crash", words, tuple(evidence))

    # -- the reference

    @functools.cached_property
    def corpus(self) -> Corpus[Entry]:
        """The inputs, smallest first, each with what the reference shows on it."""
        corpus = Corpus(self._accept)
        for made in self._seeds:
            corpus.offer(made)
        corpus.explore(self._strategy, self.settings.examples, self.settings.seed)
        if corpus.entries:
            for made in specials(max(corpus.entries, key=weight), self._hints, self._globals):
                corpus.offer(made)
        # The machines are large, and only explaining a failure needs them again.
        self.__dict__.pop("_references", None)
        gc.collect()
        corpus.entries = dict(sorted(corpus.entries.items(), key=lambda pair: weight(pair[0])))
        return corpus

    @property
    def from_main(self) -> list[Input]:
        """What the program's own `main` passes, in the order of its calls."""
        return self._seeds

    @functools.cached_property
    def _seeds(self) -> list[Input]:
        seeds = _seeds_of(self.reference).get(self.function, [])
        return [_with_globals(seed, self._globals) for seed in seeds]

    @functools.cached_property
    def _strategy(self) -> Any:
        salted = bool(self.reference.golden.stubs) or any(map(calls_back, self.signature.params))
        return inputs(*(self.signature, self._rules, self._hints, self._seeds), globals=self._globals, salted=salted)

    @functools.cached_property
    def _globals(self) -> dict[str, Type]:
        return self.reference.inputs_of(self.function)

    @functools.cached_property
    def _hints(self) -> Hints:
        return hints(self.reference.extracted(self.function), self.reference.ir)

    @functools.cached_property
    def _references(self) -> tuple[Machine | None, Machine, Machine]:
        """The probe (undefined behaviour traps), the program as it is, and the function optimised, on other garbage."""
        golden, probe = self.reference.golden, self.reference.probe
        return (
            self._machine(probe) if probe else None,
            self._machine(golden, counting=True),
            self._machine(golden, self._optimised, fill=1),
        )

    @functools.cached_property
    def _optimised(self) -> Assembled:
        text = self.reference.assembly(self.function, "O2")
        return assemble(text, self.function, BASE, self.reference.golden.addresses, "llvm")

    @functools.cached_property
    def _externals(self) -> dict[str, Function]:
        return declared(self.reference.module, self.reference.golden.stubs)

    def _machine(self, program: Program, candidate: Assembled | None = None, **options: Any) -> Machine:
        return Machine(
            program, self.function, self.signature, candidate=candidate, externals=self._externals, **options
        )

    def _accept(self, made: Input) -> Entry:
        """What the reference shows on an input. Raises Undefined where that is nothing to hold a candidate to."""
        buffer = self.signature.result if abi.result(self.signature).in_memory else None
        try:
            placed = place(made, [*self._names, *("" for _ in made.args[len(self._names) :])], buffer)
        except DoesNotFit:
            raise Undefined("too large") from None
        call = self._call(made, placed)
        if len(call.stack) > MOST_ARGUMENTS:
            raise Undefined("too large")
        probe, golden, optimised = self._references
        if probe is not None:
            _defined(probe.run(placed, call, _REFERENCE_LIMIT))
        run = _defined(golden.run(placed, call, _REFERENCE_LIMIT))
        limit = _HANG_FLOOR + _HANG_FACTOR * run.length
        other = optimised.run(placed, call, limit)
        frame = Frame(self.signature, placed, self.reference.golden.globals, self.reference.variables)
        if not agree(frame, run, other):
            raise Undefined("the optimised reference disagrees")
        if wild_write(placed, run):
            raise Undefined("writes outside of every object")
        return Entry(frame, call, run, loose_bytes(frame, run, other), limit)

    def _call(self, made: Input, placed: Placed) -> abi.Call:
        types = [value.type for value in made.args]
        images = list(placed.images)
        if placed.result is not None:
            types.insert(0, Pointer(None))
            images.insert(0, placed.result.address.to_bytes(8, "little"))
        return abi.call(types, images, variadic=self.signature.variadic)


@functools.lru_cache(maxsize=32)
def _seeds_of(reference: Reference) -> dict[str, list[Input]]:
    """What `main` passes, by function, with the values of all variables that are part of anyone's input."""
    functions = {name: reference.signatures[name] for name in reference.functions}
    variables = {key: type for name in functions for key, type in reference.inputs_of(name).items()}
    return from_main(reference.golden, functions, variables)


def _with_globals(made: Input, globals: Mapping[str, Type]) -> Input:
    return replace(made, globals=tuple((name, value) for name, value in made.globals if name in globals))


def _defined(run: Run) -> Run:
    if run.outcome == "fault":
        assert run.fault is not None
        raise Undefined("undefined behaviour" if run.fault.address is None else "bad memory access")
    if run.outcome == "limit":
        raise Undefined("runs too long")
    return run


def _where(address: int, placed: Placed) -> str:
    """An address in terms of the nearest object."""
    if address < 4096:
        return f"{address:#x} (a null pointer)"
    for target in placed.objects:
        past = address - (target.address + target.size)
        if 0 <= past < 4096:
            return f"{target.label} + {target.size + past} ({past} bytes past its end)"
        if -4096 <= address - target.address < 0:
            return f"{target.label} - {target.address - address} (before its start)"
    if any(target.address & 0xFFFFFFFF == address for target in placed.objects):
        return f"{address:#x} (the lower half of a pointer)"
    return hex(address)


def _quoted(assembly: str, number: int, before: str = "") -> Iterator[str]:
    """A line of the candidate's text."""
    lines = assembly.split("\n")
    if 0 < number <= len(lines):
        yield f"  at        {before}line {number}: {' '.join(lines[number - 1].split())}"


def _headline(first: Difference) -> str:
    return f"{first.where}: expected {first.expected}, observed {first.observed}"


def _table(found: list[Difference]) -> Iterator[str]:
    rows = [("", "expected", "observed"), *((item.where, item.expected, item.observed) for item in found[:6])]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for where, expected, observed in rows:
        yield f"  {where:<{widths[0]}}  {expected:<{widths[1]}}  {observed}".rstrip()
    if len(found) > 6:
        yield f"  … and {len(found) - 6} more"
