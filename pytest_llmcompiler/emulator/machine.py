"""The machine: a program in an emulator, and the runner of one of its functions on inputs.

Every run starts from the same state: the machine resets memory and registers, writes the input, runs the function until
it returns, faults or has taken too many instructions, and builds an observation. Beside the code that a run executes,
this takes 20 to 40 µs (`native_run`), and 0.1 ms where Python does all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import unicorn

from pytest_llmcompiler.emulator.addresses import AddressMap
from pytest_llmcompiler.emulator.arena import ObjectArena
from pytest_llmcompiler.emulator.calls import CallMonitor
from pytest_llmcompiler.emulator.candidate import CandidateImage
from pytest_llmcompiler.emulator.environment import initial_errno
from pytest_llmcompiler.emulator.external_calls import CallRecord, ExternalCalls
from pytest_llmcompiler.emulator.faults import FaultHooks
from pytest_llmcompiler.emulator.guest import Guest, RunEnd
from pytest_llmcompiler.emulator.heap import MAX_ALLOCATIONS, MAX_FUNCTION_ALLOCATIONS, Heap
from pytest_llmcompiler.emulator.heap_pool import HeapPool
from pytest_llmcompiler.emulator.kernel import GuestTrapError, Kernel
from pytest_llmcompiler.emulator.libc_preconditions import watch_preconditions
from pytest_llmcompiler.emulator.native.execution import ProcessorExecution
from pytest_llmcompiler.emulator.native_run import NativeBlockTrace, NativeRunner
from pytest_llmcompiler.emulator.observation import ENDINGS, AbiBreach, GuestFault, Observation, Reply
from pytest_llmcompiler.emulator.process_start import place_process_stack, start_process
from pytest_llmcompiler.emulator.register_batch import RegisterBatch
from pytest_llmcompiler.emulator.stack import (
    MAX_CANDIDATE_GROWTH,
    MAX_REFERENCE_GROWTH,
    PROCESS_GROWTH_FACTOR,
    STACK_START,
)
from pytest_llmcompiler.emulator.uninitialised import FillValues, StartState, UninitialisedFill, UninitialisedValues
from pytest_llmcompiler.emulator.upper_parts import XMM_BYTES
from pytest_llmcompiler.program.image import ProgramImage, Symbol
from pytest_llmcompiler.targets.abi import CallSetup
from pytest_llmcompiler.targets.code import AssembledCode
from pytest_llmcompiler.targets.processor import Processor
from pytest_llmcompiler.targets.target import Target
from pytest_llmcompiler.values.c_types import Function
from pytest_llmcompiler.values.layout import GARBAGE, RETURN, STREAMS, Layout
from pytest_llmcompiler.values.program_input import ProgramInput

PROGRAM_SEED = 0
"""The environment seed of runs of the whole program."""
_NO_INPUT = Layout((), (), (), (), PROGRAM_SEED, None)
_MAX_ASSERTION_BYTES = 4096
"""Bytes of the expression of an assertion that are compared: as many as C compilers must accept in a string."""
_ALLOCATION_COST = 4
"""What an allocation costs the host, in external calls, where inputs are compared by what they cost."""
_CALL_MICROSECONDS, _ALLOCATION_MICROSECONDS, _HOOK_MICROSECONDS = 70, 150, 10
"""The time of an external call and of an allocation beyond that of any hook, and the time of any hook."""

_CUBED_OBJECTS_PER_MICROSECOND = 300
"""The number of live objects to the third power that are mapped in a microsecond. Measured: 3.6 s for 1,024 objects."""


def _trap(message: str) -> None:
    """End the run with a fault."""
    raise GuestTrapError(message)


class Machine:
    """A program whose function can be run again and again, each time from the same state.

    With a `candidate`, the function's own code is replaced by a jump to it. A machine that `awaits_candidate` can run
    once `load_candidate` has done that: so one machine can be built for the candidates of many forked children.
    `externals` are the types of the functions that the program only declares. `garbage_pattern` is the index in
    `layout.GARBAGE` of what fills uninitialised memory. With `trace_blocks`, observations have the executed bytes and
    the edges, at the cost of speed. With `check_preconditions`, a call of a library function that C leaves undefined is
    a fault. If it runs `natively`, the candidate and all that it calls run on this machine's processor, in a confined
    process; only hooks run in the emulator. A machine that `runs_processes` has the stack and the buffered output of a
    process.
    """

    def __init__(
        self,
        program: ProgramImage,
        function: str,
        signature: Function,
        *,
        candidate: AssembledCode | None = None,
        awaits_candidate: bool = False,
        natively: bool = False,
        externals: Mapping[str, Function] | None = None,
        garbage_pattern: int = 0,
        trace_blocks: bool = False,
        check_preconditions: bool = False,
        runs_processes: bool = False,
    ) -> None:
        self.program = program
        self.processor, self.convention = program.target.processor, program.target.convention
        self._signature, self._garbage_pattern = signature, garbage_pattern
        self._function, self._function_name, self._externals = program.symbols[function], function, externals or {}
        is_for_candidates = awaits_candidate or candidate is not None
        growth = MAX_CANDIDATE_GROWTH if is_for_candidates else MAX_REFERENCE_GROWTH
        self.guest = Guest(program, growth * PROCESS_GROWTH_FACTOR if runs_processes else growth)
        self._uninitialised = UninitialisedValues(self.guest, garbage_pattern)
        self._arena = ObjectArena(self.guest.uc, self.guest.pages, garbage_pattern)
        self._heap = Heap(self.guest, self._arena, garbage_pattern)
        self._most_allocations = MAX_ALLOCATIONS
        if runs_processes:
            self._heap.pool = HeapPool(self.guest.uc, self.guest.pages, GARBAGE[garbage_pattern])
        self._kernel = Kernel(self.guest.uc, self.processor)
        self._processor_execution: ProcessorExecution | None = None
        """Runs code on the processor itself; None where the emulator runs it."""
        self._blocks = NativeBlockTrace(
            self._function.address, self._function.address + self._function.size, program.case_code
        )
        self._install_hooks(trace_blocks, check_preconditions)
        # The start-up code runs before the candidate is loaded: nothing that it does depends on a candidate.
        self._process = start_process(self.guest, buffers_output=runs_processes)
        self._heap.errno_address = self._process.errno_address
        self._uninitialised.prepare_states()
        if not awaits_candidate:
            self._complete(candidate, natively)

    def load_candidate(self, candidate: AssembledCode, *, natively: bool = False) -> None:
        """Put a candidate into a machine that awaits one. Raises EngineError where it can't run `natively`."""
        self._complete(candidate, natively)

    def _complete(self, candidate: AssembledCode | None, natively: bool) -> None:
        """Load the candidate, if there is one, and save the state from which runs start."""
        self.candidate = candidate
        self._image = (
            CandidateImage(self.guest, candidate, self._function_name, natively=natively) if candidate else None
        )
        self.addresses = AddressMap(self.guest, self._heap, self._image)
        self._monitor = CallMonitor(self.guest, self.addresses, self._uninitialised)
        if candidate:
            self._monitor.watch_calls(candidate, self._function_name)
        self._external_calls = ExternalCalls(
            self.guest, self.addresses, self._heap, self._monitor, self._uninitialised, self._externals
        )
        self._external_calls.watch_stubs()
        self._shown_registers = list_shown_registers(self.program.target, self._signature)
        self._shown_batch = RegisterBatch([(self.guest.numbers[name], 0) for name in self._shown_registers])
        self.guest.save_memory()
        has_booleans = bool(candidate and candidate.booleans)
        if natively:
            further = self._heap.pool.size if self._heap.pool else 0
            self._processor_execution = ProcessorExecution(self.guest, self._arena, self._uninitialised, further)
        self._native = (
            None if has_booleans or natively else NativeRunner.open(self.guest, self._arena, self.errno_address)
        )
        """Does the work around a run faster; None where only Python can do it."""

    def _install_hooks(self, trace_blocks: bool, check_preconditions: bool) -> None:
        FaultHooks(self.guest, self._arena, self._kernel, self._uninitialised)
        functions = {
            **self._heap.functions,
            "abort": lambda: self.guest.stop(RunEnd("abort")),
            **dict.fromkeys(("__assert_fail", "__assert"), self._fail_assertion),
            "__stack_chk_fail": lambda: _trap("the stack is smashed"),
            "__chk_fail": lambda: _trap("a buffer overflows"),
        }
        for name in functions.keys() & self.program.library.keys():
            self.guest.replace_function(self.program.library[name].address, functions[name])
        if trace_blocks:
            self._blocks.watch(self.guest.uc)
        if check_preconditions:
            watch_preconditions(self.guest)

    def _fail_assertion(self) -> None:
        """Abort. What an assertion prints beside its expression is up to the C library and to how a file is named."""
        expression = self.guest.read_string(self.guest.library_argument(0), _MAX_ASSERTION_BYTES)
        self.guest.stop(RunEnd("abort", assertion=expression.decode(errors="replace")))

    @property
    def thread_pointer(self) -> int:
        """The address that code reaches thread-local variables from."""
        return self.guest.register(self.processor.thread_pointer)

    def close(self) -> None:
        """Free the emulator and its memory: the machine can't run any more."""
        if self._processor_execution:
            self._processor_execution.close()
        self.guest.close()
        self._arena.free()

    # -- runs

    def run(
        self,
        layout: Layout,
        call: CallSetup,
        limit: int,
        *,
        uninitialised: UninitialisedFill = "garbage",
        outcome_only: bool = False,
    ) -> Observation:
        """Run the function on an input, for at most `limit` instructions (0: without a limit).

        `uninitialised` chooses the contents of unused stack and registers, and of the memory around constants. With
        `outcome_only`, the observation has only the outcome, the fault and the exit code.
        """
        setup, native, begin = self._fill_call(call, uninitialised), self._native, self._function.address
        self._heap.most_allocations = min(self._most_allocations, MAX_FUNCTION_ALLOCATIONS)
        if native:
            last, start = self._forget_run(layout), self._uninitialised.select_state(uninitialised)
            self._watch_end(lambda: native.run(last, start, setup, begin, limit))
        else:
            start = self._begin(layout, setup, uninitialised)
            self._emulate(begin, limit)
        return self._observe_end() if outcome_only else self._observe(start, setup)

    @contextmanager
    def stepping(self, action: Callable[[int], bool]) -> Iterator[None]:
        """Have `action` called with the address before each instruction of the candidate that runs execute. Where it
        returns False, the run ends."""
        candidate, execution, uc = self.candidate, self._processor_execution, self.guest.uc
        assert candidate is not None
        if execution:
            execution.on_step = lambda pc: not candidate.contains_code(pc) or action(pc)
            try:
                yield
            finally:
                execution.on_step = None
            return

        def on_code(_: Any, address: int, size: int, data: Any) -> None:
            if not action(address):
                uc.emu_stop()

        with ExitStack() as hooks:
            for segment in candidate.segments:
                if segment.is_executable:
                    end = segment.address + len(segment.data)
                    hooks.enter_context(self.guest.hooked(unicorn.UC_HOOK_CODE, on_code, segment.address, end))
            yield

    def run_program(self, limit: int) -> Observation:
        """Run the whole program for at most `limit` instructions, with all that runs before and after `main`.

        A foreign system's program runs from `main` on, since its host can't start it. A return from `main` is an exit.
        """
        self._heap.most_allocations = self._most_allocations
        start = self._reset(_NO_INPUT, "garbage")
        setup = CallSetup(dict(zip(self.convention.integer_registers, self._process.main_arguments)), b"")
        if self.program.target.foreign_system:
            self._enter(start, setup)
            self._emulate(self.program.symbols["main"].address, limit)
        else:
            self.guest.restore_loaded_memory()
            place_process_stack(self.guest, start.frame_offset)
            self._emulate(self.program.entry, limit)
        observation = self._observe(start, setup)
        if observation.outcome != "return":
            return observation
        return replace(
            observation, outcome="exit", exit_code=self.guest.register(self.convention.return_register) & 0xFF
        )

    def run_process(
        self, program: ProgramInput, limit: int, uninitialised: UninitialisedFill = "garbage"
    ) -> Observation:
        """Run the whole program on an input, for at most `limit` instructions (0: without a limit).

        The observation has how the process ends, what it writes, the misaligned calls of a candidate, and the coverage.
        """
        self._heap.most_allocations = self._most_allocations
        start = self._reset(_NO_INPUT, uninitialised)
        self._kernel.reset(PROGRAM_SEED, program.standard_input, program.files)
        self.guest.restore_loaded_memory()
        place_process_stack(self.guest, start.frame_offset, program.arguments)
        self._emulate(self.program.entry, limit)
        self._clean_unused_slots(_NO_INPUT)
        end = self._run_end(self.guest.registers.read(self.guest.counter_number))
        observation = Observation(
            end.outcome, self._garbage_pattern, fault=end.fault, exit_code=end.exit_code, assertion=end.assertion
        )
        observation.executed_bytes, observation.edges = self._blocks.executed_bytes, frozenset(self._blocks.edges)
        observation.output = {number: bytes(data) for number, data in self._kernel.output.items()}
        observation.abi_breaches = tuple(self._monitor.breaches)
        return observation

    def unread_input(self) -> bytes:
        """What the run has not taken from standard input so far: what is left in the buffer of `stdin` counts."""
        return self._kernel.input[len(self._read_consumed_input()) :]

    def read_entry_registers(self, layout: Layout, call: CallSetup, uninitialised: UninitialisedFill) -> dict[str, int]:
        """The registers with which a run on an input starts. Vector registers have 64 bytes."""
        fill = self.fill_values(uninitialised).upper_half
        self._begin(layout, self._fill_call(call, uninitialised), uninitialised)
        names = dict(zip(self.guest.streams, STREAMS, strict=True))
        registers = (*self.processor.registers, self.processor.stack_pointer, self.processor.flags_register)
        return {
            name: names.get(value, value) | self.guest.uppers.read_next(name, fill) << 8 * XMM_BYTES
            for name in registers
            for value in [self.guest.register(name)]
        }

    def _fill_call(self, call: CallSetup, uninitialised: UninitialisedFill) -> CallSetup:
        """A call with what a fill puts in the bits and registers that the convention leaves undefined."""
        if uninitialised == "small":
            return replace(call, registers=call.choose_small_numbers(self.convention.caller_saved) | call.registers)
        return call.inverse if uninitialised == "inverse" else call

    def _begin(self, layout: Layout, call: CallSetup, uninitialised: UninitialisedFill) -> StartState:
        """Set the state from which the function runs on an input."""
        start = self._reset(layout, uninitialised)
        frame = STACK_START + start.frame_offset
        start = replace(start, frame_offset=start.frame_offset - frame % -call.alignment)
        self._enter(start, call)
        return start

    def _reset(self, layout: Layout, uninitialised: UninitialisedFill) -> StartState:
        guest, last = self.guest, self._forget_run(layout)
        start = self._uninitialised.restore_state(uninitialised)
        guest.restore_memory(layout.globals)
        for memory, offset, data in start.pads:
            memory.write(data, offset)
        guest.set_symbol_pointers(layout.symbol_pointers)
        for boolean in self.candidate.booleans if self.candidate else ():
            guest.set_boolean(boolean)
        if self._process.errno_address:
            errno = initial_errno(layout.environment_seed)
            guest.write(self._process.errno_address, errno.to_bytes(4, "little"))
        for first, end in guest.stack.begin_run(start.stack):
            guest.stack.memory.write(start.stack[first:end], first)
        self._arena.place_objects(layout, last, guest.insert_streams)
        return start

    def _forget_run(self, layout: Layout) -> Layout | None:
        """Forget all of the last run but the contents of memory. Returns its input."""
        last = self.guest.layout
        self.guest.begin_run(layout)
        self.guest.stack.shrink()
        self._heap.reset()
        self._kernel.reset(layout.environment_seed, layout.standard_input)
        self._blocks.reset()
        self._monitor.reset()
        self._external_calls.reset()
        return last

    def _enter(self, start: StartState, call: CallSetup) -> None:
        """Set the arguments and the return address."""
        guest, stack = self.guest, self.guest.stack.memory
        frame = STACK_START + start.frame_offset
        pushed = b"" if self.processor.link_register else RETURN.to_bytes(8, "little")
        stack.write(pushed + guest.insert_streams(call.stack), start.frame_offset - len(pushed))
        guest.uc.reg_write(guest.stack_number, frame - len(pushed))
        if self.processor.link_register:
            guest.set_register(self.processor.link_register, RETURN)
        for name, value in call.registers.items():
            guest.uc.reg_write(guest.numbers[name], guest.stream_addresses.get(value, value))
        for name, size in call.wide:
            guest.set_low_bytes(name, call.registers[name].to_bytes(size, "little"))
        for copy in call.copies:
            if isinstance(copy.pointer, str):
                guest.set_register(copy.pointer, frame + copy.offset)
            else:
                stack.write((frame + copy.offset).to_bytes(8, "little"), start.frame_offset + copy.pointer)

    def _emulate(self, address: int, limit: int) -> None:
        execution = self._processor_execution
        if execution:
            self._watch_end(lambda: execution.run(address, limit))
        else:
            self._watch_end(lambda: self.guest.uc.emu_start(address, RETURN, count=limit))

    def _watch_end(self, run: Callable[[], None]) -> None:
        """Run, and note where the emulator or a hook ends the run."""
        guest = self.guest
        try:
            run()
        except unicorn.UcError as error:
            if guest.end is None:
                is_illegal = error.errno == unicorn.UC_ERR_INSN_INVALID
                description = "illegal instruction" if is_illegal else str(error)
                guest.end = RunEnd("fault", GuestFault(description, guest.uc.reg_read(guest.counter_number)))
        if guest.hook_error:
            raise guest.hook_error
        self._blocks.collect()

    # -- what a run shows

    @property
    def function(self) -> Symbol:
        """The function under test in the program."""
        return self._function

    @property
    def errno_address(self) -> int:
        """The address of the C library's error number; 0 where there is none."""
        return self._process.errno_address

    @property
    def main_arguments(self) -> tuple[int, int]:
        """The arguments of `main`."""
        return self._process.main_arguments

    def fill_values(self, fill: UninitialisedFill) -> FillValues:
        """What a run with a fill starts from."""
        return self._uninitialised.fill_values(fill)

    @property
    def replies(self) -> list[Reply]:
        """The answers to the external calls of the last run."""
        return self._external_calls.replies

    @property
    def call_records(self) -> Sequence[CallRecord]:
        """The external calls of the last run, with all that their answers depend on."""
        return self._external_calls.records

    @property
    def host_cost(self) -> int:
        """What the last run cost the host, in external calls: these, its allocations, and the objects of its input."""
        objects = self.guest.layout.objects if self.guest.layout else ()
        return _ALLOCATION_COST * self._heap.allocation_count + len(self._external_calls.calls) + len(objects)

    @property
    def executed_code(self) -> tuple[int, int]:
        """Bytes of code that the last run executed, and those of them that are the case's own."""
        return self._blocks.executed_bytes, self._blocks.case_bytes

    def limit_host_cost(self, most: int) -> None:
        """End further runs about where they cost the host so much (see `host_cost`)."""
        self._external_calls.most_calls = most + 1
        self._most_allocations = most // _ALLOCATION_COST + 1

    @property
    def host_microseconds(self) -> int:
        """About how long Python's hooks took in the last run. It is computed from counts, the same on every machine."""
        return (
            _CALL_MICROSECONDS * len(self._external_calls.calls)
            + _ALLOCATION_MICROSECONDS * self._heap.allocation_count
            + _HOOK_MICROSECONDS * self.guest.hook_calls
        )

    @property
    def mapping_microseconds(self) -> int:
        """About how long it takes to map the heap's live objects of the last run, and to unmap them: for each of them,
        unicorn compares all that is mapped with all that is mapped."""
        return int(self._heap.live_count**3 // _CUBED_OBJECTS_PER_MICROSECOND)

    def line_of(self, fault: GuestFault) -> int | None:
        """The line of the candidate's assembly from which the last run's fault comes: that of the instruction, or of
        the call that led to it. None where no line of the candidate is found."""
        return self._image.line_of(fault.pc, self._monitor.return_addresses()) if self._image else None

    def _run_end(self, counter: int) -> RunEnd:
        return self.guest.end or RunEnd("return" if counter == RETURN else "limit")

    def _observe_end(self) -> Observation:
        assert self.guest.layout is not None
        self._clean_unused_slots(self.guest.layout)
        end = self._run_end(self.guest.registers.read(self.guest.counter_number))
        return Observation(
            end.outcome, self._garbage_pattern, fault=end.fault, exit_code=end.exit_code, assertion=end.assertion
        )

    def _observe(self, start: StartState, call: CallSetup) -> Observation:
        guest, layout = self.guest, self.guest.layout
        assert layout is not None
        registers = dict(zip(self._shown_registers, self._shown_batch.read(guest.uc), strict=True))
        end = self._run_end(registers[self.processor.program_counter])
        observation = Observation(
            end.outcome,
            self._garbage_pattern,
            self.addresses.read_constants(),
            end.fault,
            end.exit_code,
            end.assertion,
            registers,
            calls=tuple(self._external_calls.calls),
            executed_bytes=self._blocks.executed_bytes,
            edges=frozenset(self._blocks.edges),
            out_of_memory=self._heap.out_of_memory,
        )
        slots = self._arena.read_slots(layout)
        observation.has_stray_write = self._clean_unused_slots(layout)
        if end.outcome not in ENDINGS:
            return observation
        if end.outcome == "return":
            whole = registers
            if self._processor_execution:
                whole = {name: value | guest.uppers.read(name) << 8 * XMM_BYTES for name, value in registers.items()}
            observation.result = guest.name_streams(self.convention.read_result(self._signature, whole))
            breaches = self._find_breaches(registers, start, call)
            observation.abi_breaches = (*self._monitor.breaches, *breaches)
        observation.slots = tuple(map(guest.remove_streams, slots))
        for boolean in self.candidate.booleans if self.candidate else ():
            guest.read_boolean(boolean)
        observation.globals = tuple(map(guest.remove_streams, map(guest.read_variable, self.program.globals)))
        observation.heap, observation.freed_blocks = self._heap.blocks(), self._heap.freed_blocks
        observation.freed_objects = self._heap.freed_objects
        if self._process.errno_address:
            observation.errno = int.from_bytes(guest.read(self._process.errno_address, 4), "little")
        consumed = self._read_consumed_input()
        observation.output = {number: bytes(data) for number, data in self._kernel.output.items()}
        observation.output |= {0: consumed} if consumed else {}
        return observation

    def _clean_unused_slots(self, layout: Layout) -> bool:
        has_host_work = bool(self._kernel.call_count or self._external_calls.calls)
        return self._arena.clean_unused_slots(layout, has_host_work)

    def _read_consumed_input(self) -> bytes:
        """What the run took from standard input, without what is left in the buffer of `stdin`."""
        if not self._kernel.input_position:
            return b""
        words = self.guest.read(self.guest.streams[0], 24)  # musl's struct: flags, then the bounds of the unread bytes
        start, end = int.from_bytes(words[8:16], "little"), int.from_bytes(words[16:24], "little")
        return self._kernel.input[: max(0, self._kernel.input_position - max(0, end - start))]

    def _find_breaches(self, registers: Mapping[str, int], start: StartState, call: CallSetup) -> Iterator[AbiBreach]:
        """The rules of the calling convention that a function breaks with what it leaves at its return."""
        changed = [name for name, value in start.callee_saved.items() if registers[name] != value]
        difference = registers[self.processor.stack_pointer] - (STACK_START + start.frame_offset)
        frame = start.frame_offset + len(call.stack)
        is_written = self.guest.stack.memory.read(frame) != start.stack[frame:]
        return describe_breaches(self.processor, registers, changed, difference, is_frame_written=is_written)


def list_shown_registers(target: Target, signature: Function) -> tuple[str, ...]:
    """The registers that an observation of a function has."""
    return (
        *target.convention.callee_saved,
        target.processor.stack_pointer,
        target.processor.program_counter,
        *target.processor.control_registers,
        *target.convention.locate_result(signature).registers,
    )


def describe_breaches(
    processor: Processor,
    registers: Mapping[str, int],
    changed: Iterable[str],
    difference: int,
    *,
    is_frame_written: bool,
) -> Iterator[AbiBreach]:
    """The rules of the calling convention that a function breaks: `changed` are the callee-saved registers that it has
    not restored, `difference` how many bytes the stack pointer is off."""
    for name in changed:
        yield AbiBreach(f"callee-saved register {processor.register_prefix}{name} is not restored", name)
    if difference:
        yield AbiBreach(f"the stack pointer returns {difference:+d} bytes off")
    yield from map(AbiBreach, processor.find_breaches(registers))
    if is_frame_written:
        yield AbiBreach("the caller's stack frame is written")
