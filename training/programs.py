"""Random C functions that resemble those that people write, but compute nothing useful.

They take and return integers of all widths, read and write arrays, structs and globals, branch, loop, and call other
functions. Most undefined behaviour is avoided: shift amounts are masked, divisors are never zero, loops end.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

_TYPES = {
    "int": 10,
    "unsigned": 8,
    "long": 4,
    "unsigned long": 4,
    "short": 2,
    "unsigned short": 3,
    "signed char": 2,
    "unsigned char": 4,
    "char": 2,
}
_BITS = {"int": 32, "unsigned": 32, "long": 64, "unsigned long": 64, "short": 16, "unsigned short": 16}
_VARIABLES = "abcdexyzuvwkmrst"
_FIELDS = "abcdef"
_CALLEES = ("h0", "h1", "h2")
_GLOBALS = ("g_a", "g_b", "g_c", "g_d")
PRELUDE = """struct S { int a; unsigned char b; short c; long d; unsigned e; struct S *f; };
int g_a; unsigned g_b; long g_c; unsigned char g_d[16];
int h0(int); unsigned h1(unsigned, unsigned char); long h2(const unsigned char *, long);
"""
"""The declarations that all functions of a file use."""


@dataclass
class _Scope:
    """The names that the next statement may use."""

    values: list[str] = field(default_factory=list)
    """Integers that may be read."""
    assignable: list[str] = field(default_factory=list)
    """Integer variables that may be assigned."""
    arrays: list[tuple[str, str, bool]] = field(default_factory=list)
    """Pointers to integers: name, element type, whether the elements may be written."""
    structs: list[str] = field(default_factory=list)
    indices: list[str] = field(default_factory=list)
    """Loop counters, which are used as indices of arrays."""


class _ExpressionBuilder:
    """Builds expressions of the names in a scope."""

    def __init__(self, rng: random.Random, *, longer: bool) -> None:
        self._random = rng
        self._longer = longer
        self._scope = _Scope()

    def _choose_type(self) -> str:
        return self._random.choices(list(_TYPES), list(_TYPES.values()))[0]

    def _toss(self, share: float) -> bool:
        return self._random.random() < share

    @property
    def _writable_arrays(self) -> list[tuple[str, str, bool]]:
        return [array for array in self._scope.arrays if array[2]]

    def _choose_field(self) -> str:
        return self._random.choice(_FIELDS[:5])

    def _build_index(self) -> str:
        rng, scope = self._random, self._scope
        if scope.indices and self._toss(0.75):
            index = rng.choice(scope.indices)
            return index if self._toss(0.8) else f"{index} {rng.choice('+-')} 1"
        if scope.values and self._toss(0.4):
            name = rng.choice(scope.values)
            return name if self._toss(0.5) else f"{name} & {rng.choice((1, 3, 7, 15))}"
        return str(rng.choice((0, 0, 1, 1, 2, 3, 4, 5, 7)))

    def _choose_number(self) -> str:
        rng = self._random
        kind = rng.random()
        if kind < 0.5:
            return str(rng.randint(0, 10))
        if kind < 0.65:
            return str(rng.choice((1, 2, 4, 8, 16, 32, 64, 128, 256, 1024, 4096, 65536)))
        if kind < 0.78:
            return str(rng.choice((3, 7, 15, 31, 63, 127, 255, 1023, 65535, 0xFFFF)))
        if kind < 0.84:
            return repr(chr(rng.choice([*range(48, 58), *range(65, 91), *range(97, 123), 32])))
        if kind < 0.95:
            return str(rng.randint(11, 200))
        return str(rng.randint(201, 100000)) if kind < 0.985 else f"{rng.getrandbits(31)}u"

    def _build_leaf(self) -> str:
        rng, scope = self._random, self._scope
        kind = rng.random()
        if kind < 0.16 or not (scope.values or scope.arrays or scope.structs):
            return self._choose_number()
        if scope.arrays and (kind < 0.42 or not scope.values):
            name, _, _ = rng.choice(scope.arrays)
            return f"*{name}" if self._toss(0.15) else f"{name}[{self._build_index()}]"
        if scope.structs and (kind < 0.5 or not scope.values):
            link = "f->" if self._toss(0.05) else ""
            return f"{rng.choice(scope.structs)}->{link}{self._choose_field()}"
        if kind > 0.975:
            return rng.choice((*_GLOBALS[:3], f"g_d[{self._build_index()}]"))
        return rng.choice(scope.values[-4:] if self._toss(0.5) else scope.values)

    def _build_value(self, depth: int) -> str:
        rng = self._random
        if depth <= 0:
            return self._build_leaf()
        kind = rng.choices(
            ("binary", "shift", "divide", "compare", "select", "unary", "cast", "call"), (54, 11, 6, 7, 8, 6, 8, 4)
        )[0]
        left = self._build_operand(depth - 1)
        if kind == "binary":
            operator = rng.choices("+-*&|^", (30, 20, 12, 14, 9, 9))[0]
            right = self._build_operand(depth - rng.choice((1, 1, 2)))
            return f"{left} {operator} {right if right != left else self._choose_number()}"
        if kind == "shift":
            amount = (
                str(rng.randint(1, 15)) if self._toss(0.7) else f"({self._build_leaf()} & {rng.choice((7, 7, 15, 31))})"
            )
            return f"{left} {rng.choice(('<<', '>>'))} {amount}"
        if kind == "divide":
            by = str(rng.randint(2, 20)) if self._toss(0.7) else f"(({self._build_leaf()} & 15) + 1)"
            return f"{left} {rng.choice('/%')} {by}"
        if kind == "compare":
            return f"({self._build_condition()})"
        if kind == "select":
            return f"({self._build_condition()} ? {self._build_operand(depth - 1)} : {self._build_operand(depth - 1)})"
        if kind == "unary":
            return f"{rng.choice('-~~!')}{left}"
        if kind == "cast":
            return f"({self._choose_type()}){left}"
        return self._build_call()

    def _build_call(self) -> str:
        name = self._random.choice(_CALLEES)
        array = next((name for name, kind, _ in self._scope.arrays if kind == "unsigned char"), "g_d")
        arguments = {
            "h0": self._build_leaf(),
            "h1": f"{self._build_leaf()}, {self._build_leaf()}",
            "h2": f"{array}, {self._build_leaf()}",
        }
        return f"{name}({arguments[name]})"

    def _build_operand(self, depth: int) -> str:
        text = self._build_value(depth)
        return text if text.isalnum() or text.startswith("'") or depth <= 0 else f"({text})"

    def _build_condition(self) -> str:
        rng = self._random
        if self._longer and self._scope.values and self._toss(0.1):
            name, low = rng.choice(self._scope.values), rng.randint(0, 100)
            return f"{name} >= {low} && {name} <= {low + rng.randint(1, 60)}"
        if self._longer and self._toss(0.06):
            joints = rng.sample(("&&", "||"), 2)
            first, second, third = (self._build_comparison() for _ in range(3))
            return f"({first} {joints[0]} {second}) {joints[1]} {third}"
        if self._toss(0.12):
            return f"{self._build_comparison()} {rng.choice(('&&', '||'))} {self._build_comparison()}"
        return self._build_comparison()

    def _build_comparison(self) -> str:
        rng = self._random
        left = self._build_operand(rng.choice((0, 0, 0, 1)))
        while self._longer and self._scope.values and left[0] in "'0123456789":
            left = self._build_operand(0)
        if self._toss(0.12):
            return f"{rng.choice(('', '!'))}{left}"
        operator = rng.choice(("<", ">", "<=", ">=", "==", "!="))
        is_number = self._toss(0.5)
        right = self._choose_number() if is_number else self._build_operand(rng.choice((0, 0, 0, 1)))
        return f"{left} {operator} {right if right != left else self._choose_number()}"


class Program(_ExpressionBuilder):
    """One random function. The same seed gives the same text."""

    def __init__(self, seed: int, *, longer: bool = False) -> None:
        """`longer`: with more loops and branches, also nested ones."""
        super().__init__(random.Random(seed), longer=longer)
        self._names = list(_VARIABLES)
        self._random.shuffle(self._names)
        self._loops, self._depth = 0, 0
        self._integers: list[str] = []
        """Parameters that are integers."""

    def write(self, name: str) -> str:
        """The C source of the function, under this name."""
        rng = self._random
        result = self._choose_type()
        parameters = self._build_parameters()
        shares = (4, 12, 26, 34, 24) if self._longer else (16, 20, 24, 26, 14)
        shape = rng.choices(("expression", "straight", "branches", "loop", "mixed"), shares)[0]
        body = getattr(self, f"_build_{shape}_body")()
        kind = "void" if not any(line.strip().startswith("return") for line in body) else result
        lines = "\n".join("    " + line for line in body)
        return f"{kind} {name}({', '.join(parameters) or 'void'})\n{{\n{lines}\n}}\n"

    def _take_name(self) -> str:
        return self._names.pop()

    def _build_parameters(self) -> list[str]:
        rng, scope = self._random, self._scope
        parameters = []
        for _ in range(rng.choices((1, 2, 3, 4, 5), (22, 40, 24, 10, 4))[0]):
            name, kind = self._take_name(), rng.choices(("int", "array", "struct"), (72, 22, 6))[0]
            if kind == "int":
                parameters.append(f"{self._choose_type()} {name}")
                scope.values.append(name)
                scope.assignable.append(name)
                self._integers.append(name)
            elif kind == "array":
                writable = self._toss(0.5)
                element = self._choose_type()
                parameters.append(f"{'' if writable else 'const '}{element} *{name}")
                scope.arrays.append((name, element, writable))
            else:
                parameters.append(f"struct S *{name}")
                scope.structs.append(name)
        rng.shuffle(parameters)
        return parameters

    # -- Bodies.

    def _build_expression_body(self) -> list[str]:
        return [f"return {self._build_value(self._random.choice((1, 2, 2, 3)))};"]

    def _build_straight_body(self) -> list[str]:
        count = self._random.choices((1, 2, 3, 4), (3, 4, 3, 1))[0]
        body = [line for _ in range(count) for line in self._build_statement()]
        return self._add_return(body)

    def _build_branches_body(self) -> list[str]:
        body = self._build_statement() if self._toss(0.4) else []
        for _ in range(self._random.choices((1, 2, 3), (6, 3, 1))[0]):
            body += self._build_branch()
        return self._add_return(body)

    def _build_loop_body(self) -> list[str]:
        return self._add_return(self._build_loop())

    def _build_mixed_body(self) -> list[str]:
        body = self._build_statement()
        for _ in range(self._random.choice((1, 2))):
            body += self._random.choice((self._build_branch, self._build_statement, self._build_loop))()
        return self._add_return(body)

    def _add_return(self, body: list[str]) -> list[str]:
        rng = self._random
        writes = any(mark in line for line in body for mark in ("] ", "->", "g_")) and "return" not in "".join(body)
        if writes and self._toss(0.3 if self._longer else 0.5):
            return body
        if self._longer and self._toss(0.12):
            return [*body, f"return {self._build_condition()} ? {self._build_leaf()} : {self._build_leaf()};"]
        if self._longer and self._scope.assignable and self._toss(0.8):
            joint = rng.choice((" + ", " - ", " ^ "))
            return [*body, f"return {joint.join(self._scope.assignable[-rng.choice((1, 2)) :])};"]
        if self._scope.assignable and self._toss(0.6):
            latest = self._scope.assignable[-1]
            more = f" {rng.choice('+-*&|^')} {self._build_leaf()}" if self._toss(0.35) else ""
            return [*body, f"return {latest}{more};"]
        return [*body, f"return {self._build_value(rng.choice((0, 1, 1, 2)))};"]

    # -- Statements, each a list of lines.

    def _build_statement(self) -> list[str]:
        rng, scope = self._random, self._scope
        kinds = ["declare"] * 5 + ["assign"] * 4 + ["store"] * 3 * bool(self._writable_arrays) + ["global"]
        kind = rng.choice(kinds)
        if kind == "assign" and scope.assignable:
            return [self._build_assignment()]
        if kind == "store":
            name, _, _ = rng.choice(self._writable_arrays)
            target = f"*{name}" if self._toss(0.2) else f"{name}[{self._build_index()}]"
            return [f"{target} {self._choose_operator()} {self._build_value(rng.choice((0, 1, 1, 2)))};"]
        if kind == "global":
            target = rng.choice(
                (*_GLOBALS[:3], f"g_d[{self._build_index()}]", *(f"{s}->{self._choose_field()}" for s in scope.structs))
            )
            return [f"{target} {self._choose_operator()} {self._build_value(rng.choice((0, 1)))};"]
        return self._build_declaration(self._build_value(rng.choice((1, 1, 2))))

    def _build_declaration(self, value: str) -> list[str]:
        if not self._names:
            return []
        name = self._take_name()
        line = f"{self._choose_type()} {name} = {value};"
        self._scope.values.append(name)
        self._scope.assignable.append(name)
        return [line]

    def _build_assignment(self) -> str:
        rng = self._random
        target = rng.choice(self._scope.assignable[-3:])
        if self._toss(0.15):
            return f"{target}{rng.choice(('++', '--'))};"
        if self._toss(0.08):
            return f"{target} {rng.choice(('<<=', '>>='))} {rng.randint(1, 7)};"
        return f"{target} {self._choose_operator()} {self._build_value(rng.choice((0, 1, 1)))};"

    def _choose_operator(self) -> str:
        return self._random.choices(("=", "+=", "-=", "^=", "|=", "&=", "*="), (8, 6, 3, 2, 2, 2, 1))[0]

    def _build_branch(self) -> list[str]:
        rng = self._random
        kind = rng.choices(("return", "then", "else", "switch"), (4, 4, 3, 1))[0]
        if kind == "return":
            condition = self._build_condition()
            return [f"if ({condition})", f"    return {self._build_value(rng.choice((0, 0, 1, 1, 2)))};"]
        if kind == "switch":
            return self._build_switch()
        body = [f"if ({self._build_condition()}) {{", *self._build_block()]
        if kind == "else":
            body += ["} else {", *self._build_block()]
        return [*body, "}"]

    def _build_block(self) -> list[str]:
        """The statements of a block. Names that it declares can't be used behind it."""
        scope = self._scope
        values, assignable = len(scope.values), len(scope.assignable)
        lines: list[str] = []
        for _ in range(self._random.choices((1, 2), (4, 1))[0]):
            if self._longer and scope.assignable and self._depth < 2 and self._toss(0.35):
                lines += self._build_nested_branch()
            else:
                is_assignment = scope.assignable and self._toss(0.6)
                lines += [self._build_assignment()] if is_assignment else self._build_statement()
        del scope.values[values:], scope.assignable[assignable:]
        return ["    " + line for line in lines]

    def _build_nested_branch(self) -> list[str]:
        """A branch inside of another."""
        self._depth += 1
        lines = [f"if ({self._build_condition()}) {{", *self._build_block()]
        if self._toss(0.4):
            lines += ["} else {", *self._build_block()]
        self._depth -= 1
        return [*lines, "}"]

    def _build_switch(self) -> list[str]:
        rng = self._random
        cases = rng.sample(range(-2, 12), rng.choice((2, 3, 4)))
        lines = [f"switch ({self._build_leaf()}) {{"]
        for number in cases:
            if self._scope.assignable and self._toss(0.5):
                lines += [f"case {number}:", f"    {self._build_assignment()}", "    break;"]
            else:
                lines += [f"case {number}:", f"    return {self._build_value(rng.choice((0, 0, 1)))};"]
        return [*lines, "}"]

    def _build_loop(self) -> list[str]:
        """A loop, with declarations of variables for its results before it."""
        rng = self._random
        lines = []
        for _ in range(rng.choice((1, 1, 2) if self._longer else (0, 1, 1, 1))):
            start = rng.choice(("0", "0", "0", "1", self._build_leaf()))
            lines += self._build_declaration(start)
        kind = rng.choices(("count", "halve", "until"), (7, 2, 2))[0]
        if kind == "count" or not self._scope.values or not self._scope.assignable:
            return lines + self._build_counted_loop()
        if kind == "until" and self._scope.arrays:
            return lines + self._build_search_loop()
        target = rng.choice(self._integers if self._longer and self._integers else self._scope.assignable)
        divisor = rng.choice((2, 3, 10))
        step = rng.choice((f"{target} >>= 1;", f"{target} /= {divisor};", f"{target} &= {target} - 1;"))
        if ">>" in step:
            kind = rng.choice(("unsigned", "unsigned char", "unsigned long"))
            head = f"while (({kind}){target} > {rng.choice((0, 1))}) {{"
            step = f"{target} = ({kind}){target} >> {rng.choice((1, 1, 2, 4))};"
        else:
            head = f"while ({target}) {{"
        assignable = self._scope.assignable.copy()
        self._scope.assignable = [name for name in assignable if name != target]
        body = self._build_block() if self._scope.assignable else []
        self._scope.assignable = assignable
        return [*lines, head, *body, f"    {step}", "}"]

    def _build_counted_loop(self) -> list[str]:
        rng, scope = self._random, self._scope
        counter = f"i{self._loops or ''}"
        self._loops += 1
        kind = rng.choice(("int", "int", "unsigned", "long", "unsigned long"))
        bound = rng.choice((*scope.values[:3], *scope.values[:3], str(rng.choice((3, 4, 7, 8, 16)))))
        if self._longer and self._integers and bound.isidentifier():
            bound = rng.choice(self._integers)
        head = f"for ({kind} {counter} = {rng.choice(('0', '0', '0', '1'))}; {counter} < {bound}; {counter}++) {{"
        if self._longer and bound.isidentifier() and self._toss(0.2):
            bound = f"({bound} & {rng.choice((7, 15, 31))})"
            head = f"for ({kind} {counter} = 0; {counter} < {bound}; {counter} += {rng.choice((1, 1, 2))}) {{"
        if self._longer and kind in ("int", "long") and bound.isidentifier() and self._toss(0.15):
            head = f"for ({kind} {counter} = {bound} - 1; {counter} >= 0; {counter}--) {{"
        elif bound.isidentifier() and self._toss(0.2):
            head = f"for ({kind} {counter} = {bound}; {counter} > 0; {counter}--) {{"
        scope.values.append(counter)
        scope.indices.append(counter)
        assignable = scope.assignable.copy()
        scope.assignable = [name for name in assignable if name != bound]
        if scope.assignable or self._writable_arrays:
            body = self._build_block()
        else:
            body = [f"    g_{rng.choice('abc')} += {counter};"]
        if self._toss(0.25):
            condition = self._build_condition()
            body += [f"    if ({condition})", "        " + rng.choice(("break;", f"return {self._build_leaf()};"))]
        scope.assignable = assignable
        scope.values.remove(counter)
        scope.indices.remove(counter)
        return [head, *body, "}"]

    def _build_search_loop(self) -> list[str]:
        """A loop that moves a pointer up to a terminating element."""
        rng, scope = self._random, self._scope
        name, _, _ = rng.choice(scope.arrays)
        end = rng.choice(("0", "0", str(rng.randint(1, 100)), self._build_leaf()))
        assignable, scope.assignable = scope.assignable, [p for p in scope.assignable if p != name]
        lines = [f"while (*{name} != {end}) {{" if end != "0" or self._toss(0.5) else f"while (*{name}) {{"]
        lines += self._build_block() if scope.assignable else []
        scope.assignable = assignable
        return [*lines, f"    {name}++;", "}"]
