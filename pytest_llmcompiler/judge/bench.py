"""The bench: one function of one case, ready to judge any number of candidates."""

from __future__ import annotations

import functools
import gc
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Set
from dataclasses import dataclass, replace
from typing import Any, Literal

from pytest_llmcompiler.inputs.corpus import Corpus, NothingNew, Overrun, Undefined, shrink, weight
from pytest_llmcompiler.inputs.feedback import learned
from pytest_llmcompiler.inputs.place import LARGE, PAGE, DoesNotFit, Placed, place
from pytest_llmcompiler.inputs.scope import Scope, Ties
from pytest_llmcompiler.inputs.snapshot import from_main
from pytest_llmcompiler.inputs.store import Store, Stored
from pytest_llmcompiler.inputs.strategies import Hints, hints, inputs, specials
from pytest_llmcompiler.inputs.value import Input
from pytest_llmcompiler.judge.compare import Difference, Frame, Loose, agree, differences, loose_bytes, wild_write
from pytest_llmcompiler.judge.show import show_input
from pytest_llmcompiler.judge.trace import Seen, Text, alike, common, parting, wrong_store
from pytest_llmcompiler.judge.verdict import Kind, Verdict
from pytest_llmcompiler.judge.whole import Whole, compared, whole
from pytest_llmcompiler.machine import abi, sandbox
from pytest_llmcompiler.machine.assemblers import Assembled, AssemblyError, LinkError, UnsupportedError, assemble
from pytest_llmcompiler.machine.emulator import MOST_ARGUMENTS, Machine
from pytest_llmcompiler.machine.run import Compared, Fault, Feature, Features, Run
from pytest_llmcompiler.machine.watch import MOST_STEPS, Watch
from pytest_llmcompiler.program.case import CaseError
from pytest_llmcompiler.program.reference import Program, Reference
from pytest_llmcompiler.program.types import Pointer, Type, unsupported

BASE = 0x10000000
"""Where candidates are loaded: near the program, so that 32-bit displacements reach it."""
_REFERENCE_LIMIT = 1_000_000
"""Instructions; an input for which the reference needs more is not a test."""
_HANG_FACTOR, _HANG_FLOOR = 32, 20_000
"""A candidate hangs past this many instructions for each byte of code that the reference executed, and as many more."""
_TRACED = 20_000
"""Instructions, and stores, that are looked at to find out where two ways part."""
_VARIED = 4
"""Inputs with other garbage for each way from block to block of the function."""
_INSPECTED, _INSPECTED_BYTES, _INSPECTED_LIMIT = 8, 20_000, 50_000
"""Inputs for a closer look; bytes of code that the reference executes on them, instructions of the candidate."""
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
    features: Features
    compared: Compared | None
    """What the probe compared; None where it went nowhere new."""
    steps: int
    """Edges that the probe took."""

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
    blank: bool = False
    """Whether the unused stack and registers held zeros."""


_Stage = Literal["input", "program", "inspection"]
_Failure = tuple[Input, Entry, _Finding]
_Find = Callable[[Machine, Entry, str], "_Finding | None"]
_Given = tuple[Placed, abi.Call, int, int]
_NOWHERE = Placed((), (), (), (), 0, None)


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
        self._learned: dict[Scope, Ties] = {}

    def limited(self, inputs: Collection[Input]) -> Bench:
        """A bench that judges on these inputs of the corpus alone, and never on the whole program."""
        other = Bench(self.reference, self.function, self.settings)
        corpus = Corpus(other._accept)
        corpus.entries = {made: entry for made, entry in self.corpus.entries.items() if made in inputs}
        other.corpus, other._whole = corpus, None
        return other

    # -- judging

    def judge(self, assembly: str, *, explain: bool = True) -> Verdict:
        """Judge the text of a candidate. What goes wrong inside is a verdict; what goes wrong here is raised.

        Without `explain`, no smaller input is looked for, which takes most of the time that wrong code takes.
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
            failure = self._isolated(self._first_failure, candidate, assembly)
        except (sandbox.Died, sandbox.TimedOut) as error:
            return Verdict("inconclusive", f"the emulator gave up on it: {error}", detail=detail)
        if failure is None:
            return Verdict("pass", detail=detail)
        if explain:
            self._texts  # noqa: B018 - made here, or each child would make them anew
        try:
            found = self._isolated(self._explained, candidate, assembly, *failure, explain)
        except (sandbox.Died, sandbox.TimedOut):
            found = self._isolated(self._explained, candidate, assembly, *failure, False)
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
            self.corpus, self._whole  # noqa: B018
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

    def _first_failure(self, candidate: Assembled, assembly: str) -> tuple[_Stage, int] | None:
        """Where a candidate fails first: the stage, and the number of the input.

        What can't be judged on one input does not excuse what fails on another; a breach of the convention alone
        comes last. Only a candidate that passes is looked at more closely.
        """
        machine = self._machine(self.reference.golden, candidate)
        lesser: dict[Kind, int] = {}
        for index, entry in enumerate(self.corpus.entries.values()):
            finding = self._finding(machine, entry, assembly, varied=index in self._varied)
            if finding and finding.kind not in ("inconclusive", "abi"):
                return "input", index
            if finding:
                lesser.setdefault(finding.kind, index)
        if lesser:
            return "input", lesser["inconclusive"] if "inconclusive" in lesser else lesser["abi"]
        if self._as_program(machine, assembly):
            return "program", 0
        entries = list(self.corpus.entries.values())
        suspects = (index for index in self._inspected if self._inspection(machine, entries[index], assembly))
        return next((("inspection", index) for index in suspects), None)

    def _explained(
        self, candidate: Assembled, assembly: str, stage: _Stage, index: int, smaller: bool
    ) -> dict[str, Any]:
        """What goes wrong on an input, or on the smallest that shows the same."""
        machine = self._machine(self.reference.golden, candidate)
        if stage == "program":
            finding, shown = self._as_program(machine, assembly), ["  input     the whole program, from main on"]
        else:
            finding, shown = self._explained_input(machine, candidate, assembly, stage, index, smaller)
        if finding is None:
            finding = _Finding("inconclusive", "it fails on an input once and not again", ())
        return {"kind": finding.kind, "message": finding.message, "evidence": [*shown, *finding.evidence]}

    def _explained_input(
        self, machine: Machine, candidate: Assembled, assembly: str, stage: _Stage, index: int, smaller: bool
    ) -> tuple[_Finding | None, list[str]]:
        find = self._finding if stage == "input" else self._inspection
        made, entry = list(self.corpus.entries.items())[index]
        finding = find(machine, entry, assembly)
        if smaller and finding and finding.kind != "inconclusive":
            made, entry, finding = self._smallest(machine, assembly, find, (made, entry, finding))
        lines = show_input(made, self.signature.params)
        shown = [f"  input     {lines[0]}", *(f"            {line}" for line in lines[1:])]
        if smaller and finding and finding.kind != "inconclusive" and stage == "input":
            more = (
                *self._on_garbage(machine, entry, finding),
                *self._parting(machine, candidate, assembly, entry, finding),
            )
            finding = replace(finding, evidence=(*finding.evidence, *more))
        return finding, shown

    def _smallest(self, machine: Machine, assembly: str, find: _Find, first: _Failure) -> _Failure:
        """The smallest input that shows the same kind of failure."""
        made, _, finding = first
        found: dict[Input, _Failure] = {made: first}

        def fails(other: Input) -> bool:
            try:
                entry = self.corpus.entries.get(other) or self._accept(other)
            except Undefined:
                return False
            again = find(machine, entry, assembly)
            if again is None or again.kind != finding.kind:
                return False
            found[other] = other, entry, again
            return True

        return found[shrink(self._strategy, made, self.settings.examples, self.settings.seed, fails)]

    def _finding(self, machine: Machine, entry: Entry, assembly: str, *, varied: bool = True) -> _Finding | None:
        """What goes wrong on an input; if `varied`, whatever the unused stack and registers hold."""
        run = machine.run(entry.placed, entry.call, entry.limit)
        finding = self._fault_of(machine, run, entry, assembly)
        if finding or not varied:
            return finding
        blank = machine.run(entry.placed, entry.call, entry.limit, blank=True)
        finding = None if blank.alike(run) else self._fault_of(machine, blank, entry, assembly)
        return finding and replace(finding, blank=True)

    def _on_garbage(self, machine: Machine, entry: Entry, finding: _Finding) -> Iterator[str]:
        """Whether it is garbage that a failure depends on."""
        if finding.kind == "abi":
            return
        other = machine.run(entry.placed, entry.call, entry.limit, blank=not finding.blank)
        if not self._fault_of(machine, other, entry, ""):
            held, other_values = ("zeros", "other values") if finding.blank else ("other values", "zeros")
            yield (
                f"  unset     something is read before it is set: the unused stack and registers held {held} here, and "
                f"with {other_values} there this input passes"
            )

    def _parting(
        self, machine: Machine, candidate: Assembled, assembly: str, entry: Entry, finding: _Finding
    ) -> Iterator[str]:
        """Where the candidate's way parts from the reference's, as far as that can be said."""
        mine = Text("the candidate", assembly, candidate)
        given = entry.placed, entry.call, entry.limit, _TRACED
        texts = [text for text in self._texts if alike(mine, text)]
        words = None
        if texts:
            trace = machine.trace(*given, blank=finding.blank)
            pairs = [(text, (trace, self._traced(text, given, finding.blank))) for text in texts]
            text, traces = max(pairs, key=lambda pair: common(mine, *pair))
            words = parting(mine, text, traces)
        elif finding.kind != "abi":
            golden = self._machine(self.reference.golden)
            machines = machine, golden
            stores = tuple(one.stores(*given, blank=finding.blank) for one in machines)
            symbols = self.reference.golden.symbols
            places = {name: (symbols[name].address, symbols[name].size) for name in self.reference.golden.globals}
            seen = Seen(entry.frame, entry.loose, places, finding.kind == "mismatch")
            words = wrong_store(mine, machines, (stores[0], stores[1]), seen)
        if words:
            yield f"  parts     {words}"

    def _traced(self, text: Text, given: _Given, blank: bool) -> list[int]:
        return self._machine(self.reference.golden, text.assembled).trace(*given, blank=blank)

    @functools.cached_property
    def _texts(self) -> list[Text]:
        """clang's own texts for the function."""
        made = [(level, self.reference.assembly(self.function, level)) for level in ("O0", "O1", "O2", "O3")]
        symbols = self.reference.golden.addresses
        return [
            Text(f"clang -{level}", text, assemble(text, self.function, BASE, symbols, "llvm")) for level, text in made
        ]

    def _as_program(self, machine: Machine, assembly: str) -> _Finding | None:
        """What goes wrong when the whole program is run."""
        if self._whole is None:
            return None
        run = machine.run_main(self._whole.limit)
        finding = self._stopped(machine, run, _NOWHERE, self._whole.expected, self._whole.limit, assembly)
        if finding:
            return replace(finding, message=f"the whole program: {finding.message}")
        found = list(compared(self._whole.expected, run))
        return (
            _Finding("mismatch", f"the whole program: {_headline(found[0])}", tuple(_table(found))) if found else None
        )

    @functools.cached_property
    def _whole(self) -> Whole | None:
        if not self.reference.golden.has_main or self.function == "main":
            return None
        probe, golden, optimised = self._references
        found = whole([probe.run_main, optimised.run_main], golden, (_HANG_FACTOR, _HANG_FLOOR))
        self.__dict__.pop("_references", None)
        return found

    @functools.cached_property
    def _varied(self) -> frozenset[int]:
        """The inputs that are run on other garbage too: so many that each way through the function is."""
        return frozenset(self._covering(_VARIED))

    @functools.cached_property
    def _inspected(self) -> list[int]:
        """The inputs for a closer look, which is slow."""
        entries = list(self.corpus.entries.values())
        short = [index for index in self._covering(1) if entries[index].expected.length <= _INSPECTED_BYTES]
        return short[:_INSPECTED]

    def _covering(self, times: int) -> list[int]:
        """Inputs, by number, on which every part of the reference's code that any input reaches runs so many times."""
        seen: Counter[tuple[int, int]] = Counter()
        chosen = []
        for index, entry in enumerate(self.corpus.entries.values()):
            if any(seen[edge] < times for edge in entry.expected.edges):
                seen.update(entry.expected.edges)
                chosen.append(index)
        return chosen

    def _inspection(self, machine: Machine, entry: Entry, assembly: str) -> _Finding | None:
        """What a closer look finds fault with."""
        fault = machine.inspect(entry.placed, entry.call, min(entry.limit, _INSPECTED_LIMIT))
        if fault is None:
            return None
        line = machine.line_of(fault)
        evidence = tuple(_quoted(assembly, line or 0))
        if fault.address is None:
            return _Finding("inconclusive", f"{fault.what} in line {line}, which the emulator can't judge", evidence)
        words = f"{fault.what}, where a signal handler may write at any time: {fault.size} bytes in line {line}"
        return _Finding("abi", words, evidence)

    def _fault_of(self, machine: Machine, run: Run, entry: Entry, assembly: str) -> _Finding | None:
        finding = self._stopped(machine, run, entry.placed, entry.expected, entry.limit, assembly)
        if finding:
            return finding
        found = list(differences(entry.frame, entry.expected, run, entry.loose))
        if found:
            return _Finding("mismatch", _headline(found[0]), tuple(_table(found)))
        if run.abi:
            return _Finding("abi", run.abi[0], tuple(f"  breach    {words}" for words in run.abi))
        return None

    def _stopped(
        self, machine: Machine, run: Run, placed: Placed, expected: Run, limit: int, assembly: str
    ) -> _Finding | None:
        """Why a run has no result."""
        if run.outcome == "vex":
            assert run.fault is not None
            return _Finding("inconclusive", f"{run.fault.what}, which the emulator can't judge", ())
        if run.outcome in ("fault", "forbidden"):
            assert run.fault is not None
            return self._crash(machine, placed, expected, run.fault, assembly)
        if run.outcome == "limit":
            words = f"still running after {limit} instructions; the reference executes {expected.length} bytes of code"
            return _Finding("hang", words, ())
        return None

    def _crash(self, machine: Machine, placed: Placed, expected: Run, fault: Fault, assembly: str) -> _Finding:
        words = fault.what
        if fault.address is not None:
            size = f" of {fault.size} bytes" if fault.access != "jump" else ""
            words = f"{fault.what}{size} at {_where(fault.address, placed)}"
        line = machine.line_of(fault)
        inside = machine.name_of(fault.pc) if not machine.in_candidate(fault.pc) else None
        evidence = list(_quoted(assembly, line or 0, f"{inside}, called from " if inside else ""))
        if line is not None:
            words += f" in {inside}, called from line {line}" if inside else f" in line {line}"
        elif inside:
            evidence.append(f"  at        {inside}")
        end = "a return" if expected.outcome == "return" else expected.outcome
        evidence.append(f"  expected  {end}; observed: {fault.what}")
        return _Finding("crash", words, tuple(evidence))

    # -- the reference

    @functools.cached_property
    def corpus(self) -> Corpus[Entry]:
        """The inputs, smallest first, each with what the reference shows on it."""
        corpus = Corpus(self._accept)
        stored = self._store.load()
        if stored and corpus.restore(stored.inputs, stored.dropped):
            self._learned = stored.learned
        else:
            corpus = self._generated()
            self._store.save(Stored(tuple(corpus.entries), corpus.dropped, self._learned))
        # The machines are large, and only explaining a failure needs them again.
        self.__dict__.pop("_references", None)
        gc.collect()
        corpus.entries = dict(sorted(corpus.entries.items(), key=lambda pair: weight(pair[0])))
        return corpus

    @property
    def _store(self) -> Store:
        # Where the file lies makes no difference.
        source = re.sub(r"^(?:; ModuleID|source_filename) = .*\n", "", self.reference.ir, flags=re.M)
        variables = self.reference.variables
        settings = (self.function, repr(sorted(self._rules.items())), repr(self.settings))
        return Store((source, *settings, *variables), [self.signature, *variables.values()])

    def _generated(self) -> Corpus[Entry]:
        corpus, examples, seed = Corpus(self._accept), self.settings.examples, self.settings.seed
        for made in self.from_main:
            corpus.offer(made)
        corpus.explore(self._strategy, examples // 3, seed)
        self._learned = learned(self.signature.params, corpus.repairs)
        if self._learned:
            del self._strategy
        corpus.explore(self._strategy, examples - examples // 3, seed + 1)
        if corpus.entries:
            for made in specials(max(corpus.entries, key=weight), self._hints, self._globals):
                corpus.offer(made)
        corpus.steer(examples)
        return corpus

    @functools.cached_property
    def from_main(self) -> list[Input]:
        """What the program's own `main` passes, in the order of its calls."""
        return _seeds_of(self.reference).get(self.function, [])

    @functools.cached_property
    def _strategy(self) -> Any:
        asked = (self.signature, self._rules, self._hints, self.from_main)
        salted = self.reference.is_salted(self.function)
        return inputs(*asked, globals=self._globals, salted=salted, learned=self._learned)

    @functools.cached_property
    def _globals(self) -> dict[str, Type]:
        return self.reference.inputs_of(self.function)

    @functools.cached_property
    def _hints(self) -> Hints:
        return hints(self.reference.extracted(self.function), self.reference.ir)

    @functools.cached_property
    def _references(self) -> tuple[Watch, Machine, Machine]:
        """The probe (undefined behaviour traps), the program as it is, and the function optimised, on other garbage."""
        golden = self.reference.golden
        return (
            Watch(self._machine(self.reference.probe, strict=True)),
            self._machine(golden, counting=True),
            self._machine(golden, self._optimised, fill=1),
        )

    @functools.cached_property
    def _optimised(self) -> Assembled:
        text = self.reference.assembly(self.function, "O2")
        return assemble(text, self.function, BASE, self.reference.golden.addresses, "llvm")

    @functools.cached_property
    def _minds_errno(self) -> bool:
        return self.reference.minds_errno(self.function)

    def _machine(self, program: Program, candidate: Assembled | None = None, **options: Any) -> Machine:
        return Machine(
            program, self.function, self.signature, candidate=candidate, externals=self.reference.externals, **options
        )

    def _accept(
        self, made: Input, known: Set[Feature] = frozenset(), only_new: bool = False, steps: int = MOST_STEPS
    ) -> Entry:
        """What the reference shows on an input. Raises Undefined where that is nothing to hold a candidate to, and
        NothingNew where only new features are asked for and there are none."""
        buffer = self.signature.result if abi.result(self.signature).in_memory else None
        try:
            placed = place(made, [*self._names, *("" for _ in made.args[len(self._names) :])], buffer)
        except DoesNotFit:
            raise Undefined("too large") from None
        call = self._call(made, placed)
        if len(call.stack) > MOST_ARGUMENTS:
            raise Undefined("too large")
        probe, golden, optimised = self._references
        _defined(probe.run(placed, call, steps), placed)
        features = probe.features()
        is_new = not features <= known
        if only_new and not is_new:
            raise NothingNew
        run = _defined(golden.run(placed, call, _REFERENCE_LIMIT), placed)
        limit = _HANG_FLOOR + _HANG_FACTOR * run.length
        others = (
            optimised.run(placed, call, limit),
            golden.run(placed, call, limit, blank=True),
            optimised.run(placed, call, limit, blank=True),
        )
        frame = Frame(
            self.signature, placed, self.reference.golden.globals, self.reference.variables, self._minds_errno
        )
        if not all(agree(frame, run, other) for other in others):
            raise Undefined("the optimised reference disagrees")
        if wild_write(placed, run):
            raise Undefined("writes outside of every object")
        loose = frozenset().union(*(loose_bytes(frame, run, other) for other in others))
        return Entry(frame, call, run, loose, limit, features, probe.compared() if is_new else None, probe.steps)

    def _call(self, made: Input, placed: Placed) -> abi.Call:
        types = [value.type for value in made.args]
        images = list(placed.images)
        if placed.result is not None:
            types.insert(0, Pointer(None))
            images.insert(0, placed.result.address.to_bytes(8, "little"))
        return abi.call(types, images, variadic=self.signature.variadic)


@functools.lru_cache(maxsize=32)
def _seeds_of(reference: Reference) -> dict[str, list[Input]]:
    """What `main` passes, by function."""
    functions = {name: reference.signatures[name] for name in reference.functions}
    return from_main(reference.golden, functions, {name: reference.inputs_of(name) for name in functions})


def _defined(run: Run, placed: Placed) -> Run:
    if run.outcome == "fault":
        assert run.fault is not None
        if run.fault.address is None:
            raise Undefined("undefined behaviour", null=True)
        raise Undefined("bad memory access", _overrun(run.fault, placed), null=run.fault.address < PAGE)
    if run.outcome == "limit":
        raise Undefined("runs too long")
    return run


def _overrun(fault: Fault, placed: Placed) -> Overrun | None:
    """The object past whose end a fault lies."""
    for number, (target, _) in enumerate(placed.contents):
        size = (fault.address or 0) + fault.size - target.address
        if target.size < size <= LARGE and fault.access != "jump":
            return Overrun(number, size)
    return None


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
        if target.address <= address < target.address + target.size:
            return f"{target.label} + {address - target.address} (of {target.size} bytes)"
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
