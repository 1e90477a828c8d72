"""Runs one function of a reference, or a candidate in its place, with arguments that a test writes down."""

from __future__ import annotations

from pytest_llmcompiler.assembler.assemble import assemble
from pytest_llmcompiler.emulator.machine import Machine
from pytest_llmcompiler.emulator.observation import Observation
from pytest_llmcompiler.emulator.uninitialised import UninitialisedFill
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.targets import get_target
from pytest_llmcompiler.values.input import Callback, Input, Object, Value
from pytest_llmcompiler.values.layout import Layout, lay_out

BASE = 0x10000000
"""The address of the candidate's code."""


class FunctionRunner:
    """A machine for one function. `options` are those of `Machine`."""

    def __init__(self, reference: Reference, function: str, assembly: str | None = None, **options: object) -> None:
        self.signature = reference.signatures[function]
        candidate = None
        if assembly is not None:
            text = f"{function}:\n{assembly}\n"
            candidate = assemble(text, function, BASE, reference.golden.addresses, "llvm")
        self.machine = Machine(
            reference.golden,
            function,
            self.signature,
            candidate=candidate,
            externals=reference.external_functions,
            **options,  # type: ignore[arg-type]
        )

    def __call__(
        self, *args: int | Object | Callback, limit: int = 100_000, uninitialised: UninitialisedFill = "garbage"
    ) -> Observation:
        """Run the function with an argument for each parameter."""
        layout = self._lay_out(args)
        call = get_target().convention.set_up_call([param.type for param in self.signature.params], layout.images)
        return self.machine.run(layout, call, limit, uninitialised=uninitialised)

    def _lay_out(self, args: tuple[int | Object | Callback, ...]) -> Layout:
        values = []
        for param, arg in zip(self.signature.params, args, strict=True):
            if isinstance(arg, int):
                values.append(Value(param.type, (arg % (1 << 8 * param.type.size)).to_bytes(param.type.size, "little")))
            else:
                values.append(Value(param.type, bytes(8), ((0, arg),)))
        return lay_out(Input(tuple(values)), [param.name for param in self.signature.params])


def result_of(run: Observation) -> int:
    """The signed number that a run returns, which breaks no rule of the calling convention."""
    assert run.outcome == "return", run.fault
    assert run.abi_breaches == ()
    return int.from_bytes(run.result, "little", signed=True)
