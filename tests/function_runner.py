"""One function in an emulated machine, called with numbers and callbacks."""

from __future__ import annotations

from pytest_llmcompiler.assembler.assemble import assemble
from pytest_llmcompiler.emulator.machine import Machine
from pytest_llmcompiler.emulator.observation import Observation
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.targets import get_target
from pytest_llmcompiler.values.input import Callback, Input, Object, Value
from pytest_llmcompiler.values.layout import Layout, lay_out

BASE = 0x10000000


class FunctionRunner:
    """One function, with numbers and callbacks for arguments."""

    def __init__(self, reference: Reference, function: str, assembly: str | None = None, **options: object) -> None:
        self.signature = reference.signatures[function]
        candidate = None
        if assembly is not None:
            text = f"{function}:\n{assembly}\n"
            candidate = assemble(text, function, BASE, reference.golden.addresses, "llvm")
        externals = {"outside": reference.signatures["external"]} if "external" in reference.signatures else {}
        self.machine = Machine(
            reference.golden,
            function,
            self.signature,
            candidate=candidate,
            externals=externals,
            **options,  # type: ignore[arg-type]
        )

    def placed(self, *args: int | Object | Callback) -> Layout:
        values = []
        for param, arg in zip(self.signature.params, args, strict=True):
            if isinstance(arg, int):
                values.append(Value(param.type, (arg % (1 << 8 * param.type.size)).to_bytes(param.type.size, "little")))
            else:
                values.append(Value(param.type, bytes(8), ((0, arg),)))
        return lay_out(Input(tuple(values)), [param.name for param in self.signature.params])

    def __call__(self, *args: int | Object | Callback, limit: int = 100_000) -> Observation:
        placed = self.placed(*args)
        types = [param.type for param in self.signature.params]
        return self.machine.run(placed, get_target().convention.set_up_call(types, placed.images), limit)


def value(run: Observation) -> int:
    assert run.outcome == "return", run.fault
    assert run.abi_breaches == ()
    return int.from_bytes(run.result, "little", signed=True)
