"""Random C functions of the kind that people write, only without sense.

They take and give integers of all widths, read and write arrays, structs and globals, branch, loop, and call a second
function. Most of what would be undefined is kept out: shift amounts are masked, divisors are never zero, loops end.
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
_OTHERS = ("h0", "h1", "h2")
_GLOBALS = ("g_a", "g_b", "g_c", "g_d")
PRELUDE = """struct S { int a; unsigned char b; short c; long d; unsigned e; struct S *f; };
int g_a; unsigned g_b; long g_c; unsigned char g_d[16];
int h0(int); unsigned h1(unsigned, unsigned char); long h2(const unsigned char *, long);
"""
"""What the functions of a file share."""


@dataclass
class _Scope:
    """What can be named in a function so far."""

    values: list[str] = field(default_factory=list)
    """Integers that can be read."""
    places: list[str] = field(default_factory=list)
    """Integers that can be written."""
    arrays: list[tuple[str, str, bool]] = field(default_factory=list)
    """Pointers to integers: name, type, whether it can be written through."""
    structs: list[str] = field(default_factory=list)
    indices: list[str] = field(default_factory=list)
    """Loop counters that are in range of the arrays."""


class Program:
    """One random function. The same seed gives the same text."""

    def __init__(self, seed: int, *, longer: bool = False) -> None:
        """`longer`: with more loops and branches, in each other too."""
        self._random = random.Random(seed)
        self._longer = longer
        self._scope = _Scope()
        self._names = list(_VARIABLES)
        self._random.shuffle(self._names)
        self._loops, self._depth = 0, 0
        self._integers: list[str] = []
        """Parameters that are no pointers."""

    def text(self, name: str) -> str:
        """The function in C, under this name."""
        pick = self._random
        result = self._type()
        parameters = self._parameters()
        shares = (4, 12, 26, 34, 24) if self._longer else (16, 20, 24, 26, 14)
        shape = pick.choices(("expression", "straight", "branches", "loop", "mixed"), shares)[0]
        body = getattr(self, f"_{shape}")(result)
        kind = "void" if not any(line.strip().startswith("return") for line in body) else result
        lines = "\n".join("    " + line for line in body)
        return f"{kind} {name}({', '.join(parameters) or 'void'})\n{{\n{lines}\n}}\n"

    def _type(self) -> str:
        return self._random.choices(list(_TYPES), list(_TYPES.values()))[0]

    def _name(self) -> str:
        return self._names.pop()

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _parameters(self) -> list[str]:
        pick, scope = self._random, self._scope
        parameters = []
        for _ in range(pick.choices((1, 2, 3, 4, 5), (22, 40, 24, 10, 4))[0]):
            name, kind = self._name(), pick.choices(("int", "array", "struct"), (72, 22, 6))[0]
            if kind == "int":
                parameters.append(f"{self._type()} {name}")
                scope.values.append(name)
                scope.places.append(name)
                self._integers.append(name)
            elif kind == "array":
                writable = self._chance(0.5)
                element = self._type()
                parameters.append(f"{'' if writable else 'const '}{element} *{name}")
                scope.arrays.append((name, element, writable))
            else:
                parameters.append(f"struct S *{name}")
                scope.structs.append(name)
        pick.shuffle(parameters)
        return parameters

    # -- bodies

    def _expression(self, result: str) -> list[str]:
        return [f"return {self._value(self._random.choice((1, 2, 2, 3)))};"]

    def _straight(self, result: str) -> list[str]:
        count = self._random.choices((1, 2, 3, 4), (3, 4, 3, 1))[0]
        body = [line for _ in range(count) for line in self._simple()]
        return self._ended(body)

    def _branches(self, result: str) -> list[str]:
        body = self._simple() if self._chance(0.4) else []
        for _ in range(self._random.choices((1, 2, 3), (6, 3, 1))[0]):
            body += self._choice()
        return self._ended(body)

    def _loop(self, result: str) -> list[str]:
        return self._ended(self._looped(1))

    def _mixed(self, result: str) -> list[str]:
        body = self._simple()
        for _ in range(self._random.choice((1, 2))):
            body += self._random.choice((self._choice, self._simple, lambda: self._looped(2)))()
        return self._ended(body)

    def _ended(self, body: list[str]) -> list[str]:
        pick = self._random
        writes = any(mark in line for line in body for mark in ("] ", "->", "g_")) and "return" not in "".join(body)
        if writes and self._chance(0.3 if self._longer else 0.5):
            return body
        if self._longer and self._chance(0.12):
            return [*body, f"return {self._condition()} ? {self._leaf()} : {self._leaf()};"]
        if self._longer and self._scope.places and self._chance(0.8):
            joint = pick.choice((" + ", " - ", " ^ "))
            return [*body, f"return {joint.join(self._scope.places[-pick.choice((1, 2)) :])};"]
        if self._scope.places and self._chance(0.6):
            latest = self._scope.places[-1]
            more = f" {pick.choice('+-*&|^')} {self._leaf()}" if self._chance(0.35) else ""
            return [*body, f"return {latest}{more};"]
        return [*body, f"return {self._value(pick.choice((0, 1, 1, 2)))};"]

    # -- statements, each a list of lines

    def _simple(self) -> list[str]:
        pick, scope = self._random, self._scope
        kinds = ["declare"] * 5 + ["assign"] * 4 + ["store"] * 3 * bool(self._writable) + ["global"]
        kind = pick.choice(kinds)
        if kind == "assign" and scope.places:
            return [self._assignment()]
        if kind == "store":
            name, _, _ = pick.choice(self._writable)
            place = f"*{name}" if self._chance(0.2) else f"{name}[{self._index()}]"
            return [f"{place} {self._operator()} {self._value(pick.choice((0, 1, 1, 2)))};"]
        if kind == "global":
            place = pick.choice(
                (*_GLOBALS[:3], f"g_d[{self._index()}]", *(f"{s}->{self._field()}" for s in scope.structs))
            )
            return [f"{place} {self._operator()} {self._value(pick.choice((0, 1)))};"]
        return self._declared(self._value(pick.choice((1, 1, 2))))

    def _declared(self, value: str) -> list[str]:
        if not self._names:
            return []
        name = self._name()
        line = f"{self._type()} {name} = {value};"
        self._scope.values.append(name)
        self._scope.places.append(name)
        return [line]

    def _assignment(self) -> str:
        pick = self._random
        place = pick.choice(self._scope.places[-3:])
        if self._chance(0.15):
            return f"{place}{pick.choice(('++', '--'))};"
        if self._chance(0.08):
            return f"{place} {pick.choice(('<<=', '>>='))} {pick.randint(1, 7)};"
        return f"{place} {self._operator()} {self._value(pick.choice((0, 1, 1)))};"

    def _operator(self) -> str:
        return self._random.choices(("=", "+=", "-=", "^=", "|=", "&=", "*="), (8, 6, 3, 2, 2, 2, 1))[0]

    def _choice(self) -> list[str]:
        pick = self._random
        kind = pick.choices(("return", "then", "else", "switch"), (4, 4, 3, 1))[0]
        if kind == "return":
            return [f"if ({self._condition()})", f"    return {self._value(pick.choice((0, 0, 1, 1, 2)))};"]
        if kind == "switch":
            return self._switch()
        body = [f"if ({self._condition()}) {{", *self._inner()]
        if kind == "else":
            body += ["} else {", *self._inner()]
        return [*body, "}"]

    def _inner(self) -> list[str]:
        """Statements of a block, which leave no names behind."""
        scope = self._scope
        values, places = len(scope.values), len(scope.places)
        lines: list[str] = []
        for _ in range(self._random.choices((1, 2), (4, 1))[0]):
            if self._longer and scope.places and self._depth < 2 and self._chance(0.35):
                lines += self._nested()
            else:
                lines += [self._assignment()] if scope.places and self._chance(0.6) else self._simple()
        del scope.values[values:], scope.places[places:]
        return ["    " + line for line in lines]

    def _nested(self) -> list[str]:
        """A branch inside of a block."""
        self._depth += 1
        lines = [f"if ({self._condition()}) {{", *self._inner()]
        if self._chance(0.4):
            lines += ["} else {", *self._inner()]
        self._depth -= 1
        return [*lines, "}"]

    def _switch(self) -> list[str]:
        pick = self._random
        cases = pick.sample(range(-2, 12), pick.choice((2, 3, 4)))
        lines = [f"switch ({self._leaf()}) {{"]
        for number in cases:
            if self._scope.places and self._chance(0.5):
                lines += [f"case {number}:", f"    {self._assignment()}", "    break;"]
            else:
                lines += [f"case {number}:", f"    return {self._value(pick.choice((0, 0, 1)))};"]
        return [*lines, "}"]

    def _looped(self, most: int) -> list[str]:
        """A loop, with what it gathers."""
        pick = self._random
        lines = []
        for _ in range(pick.choice((1, 1, 2) if self._longer else (0, 1, 1, 1))):
            start = pick.choice(("0", "0", "0", "1", self._leaf()))
            lines += self._declared(start)
        kind = pick.choices(("count", "halve", "until"), (7, 2, 2))[0]
        if kind == "count" or not self._scope.values or not self._scope.places:
            return lines + self._counted()
        if kind == "until" and self._scope.arrays:
            return lines + self._until()
        place = pick.choice(self._integers if self._longer and self._integers else self._scope.places)
        step = pick.choice((f"{place} >>= 1;", f"{place} /= {pick.choice((2, 3, 10))};", f"{place} &= {place} - 1;"))
        if ">>" in step:
            kind = pick.choice(("unsigned", "unsigned char", "unsigned long"))
            head = f"while (({kind}){place} > {pick.choice((0, 1))}) {{"
            step = f"{place} = ({kind}){place} >> {pick.choice((1, 1, 2, 4))};"
        else:
            head = f"while ({place}) {{"
        kept = self._scope.places.copy()
        self._scope.places = [name for name in kept if name != place]
        body = self._inner() if self._scope.places else []
        self._scope.places = kept
        return [*lines, head, *body, f"    {step}", "}"]

    def _counted(self) -> list[str]:
        pick, scope = self._random, self._scope
        counter = f"i{self._loops or ''}"
        self._loops += 1
        kind = pick.choice(("int", "int", "unsigned", "long", "unsigned long"))
        bound = pick.choice((*scope.values[:3], *scope.values[:3], str(pick.choice((3, 4, 7, 8, 16)))))
        if self._longer and self._integers and bound.isidentifier():
            bound = pick.choice(self._integers)
        head = f"for ({kind} {counter} = {pick.choice(('0', '0', '0', '1'))}; {counter} < {bound}; {counter}++) {{"
        if self._longer and bound.isidentifier() and self._chance(0.2):
            bound = f"({bound} & {pick.choice((7, 15, 31))})"
            head = f"for ({kind} {counter} = 0; {counter} < {bound}; {counter} += {pick.choice((1, 1, 2))}) {{"
        if self._longer and kind in ("int", "long") and bound.isidentifier() and self._chance(0.15):
            head = f"for ({kind} {counter} = {bound} - 1; {counter} >= 0; {counter}--) {{"
        elif bound.isidentifier() and self._chance(0.2):
            head = f"for ({kind} {counter} = {bound}; {counter} > 0; {counter}--) {{"
        scope.values.append(counter)
        scope.indices.append(counter)
        kept = scope.places.copy()
        scope.places = [name for name in kept if name != bound]
        body = self._inner() if scope.places or self._writable else [f"    g_{pick.choice('abc')} += {counter};"]
        if self._chance(0.25):
            body += [f"    if ({self._condition()})", "        " + pick.choice(("break;", f"return {self._leaf()};"))]
        scope.places = kept
        scope.values.remove(counter)
        scope.indices.remove(counter)
        return [head, *body, "}"]

    def _until(self) -> list[str]:
        """Along an array to an end."""
        pick, scope = self._random, self._scope
        name, _, _ = pick.choice(scope.arrays)
        end = pick.choice(("0", "0", str(pick.randint(1, 100)), self._leaf()))
        kept, scope.places = scope.places, [p for p in scope.places if p != name]
        lines = [f"while (*{name} != {end}) {{" if end != "0" or self._chance(0.5) else f"while (*{name}) {{"]
        lines += self._inner() if scope.places else []
        scope.places = kept
        return [*lines, f"    {name}++;", "}"]

    # -- values

    @property
    def _writable(self) -> list[tuple[str, str, bool]]:
        return [array for array in self._scope.arrays if array[2]]

    def _field(self) -> str:
        return self._random.choice(_FIELDS[:5])

    def _index(self) -> str:
        pick, scope = self._random, self._scope
        if scope.indices and self._chance(0.75):
            index = pick.choice(scope.indices)
            return index if self._chance(0.8) else f"{index} {pick.choice('+-')} 1"
        if scope.values and self._chance(0.4):
            name = pick.choice(scope.values)
            return name if self._chance(0.5) else f"{name} & {pick.choice((1, 3, 7, 15))}"
        return str(pick.choice((0, 0, 1, 1, 2, 3, 4, 5, 7)))

    def _number(self) -> str:
        pick = self._random
        kind = pick.random()
        if kind < 0.5:
            return str(pick.randint(0, 10))
        if kind < 0.65:
            return str(pick.choice((1, 2, 4, 8, 16, 32, 64, 128, 256, 1024, 4096, 65536)))
        if kind < 0.78:
            return str(pick.choice((3, 7, 15, 31, 63, 127, 255, 1023, 65535, 0xFFFF)))
        if kind < 0.84:
            return repr(chr(pick.choice([*range(48, 58), *range(65, 91), *range(97, 123), 32])))
        if kind < 0.95:
            return str(pick.randint(11, 200))
        return str(pick.randint(201, 100000)) if kind < 0.985 else f"{pick.getrandbits(31)}u"

    def _leaf(self) -> str:
        pick, scope = self._random, self._scope
        kind = pick.random()
        if kind < 0.16 or not (scope.values or scope.arrays or scope.structs):
            return self._number()
        if scope.arrays and (kind < 0.42 or not scope.values):
            name, _, _ = pick.choice(scope.arrays)
            return f"*{name}" if self._chance(0.15) else f"{name}[{self._index()}]"
        if scope.structs and (kind < 0.5 or not scope.values):
            link = "f->" if self._chance(0.05) else ""
            return f"{pick.choice(scope.structs)}->{link}{self._field()}"
        if kind > 0.975:
            return pick.choice((*_GLOBALS[:3], f"g_d[{self._index()}]"))
        return pick.choice(scope.values[-4:] if self._chance(0.5) else scope.values)

    def _value(self, depth: int) -> str:
        pick = self._random
        if depth <= 0:
            return self._leaf()
        kind = pick.choices(
            ("binary", "shift", "divide", "compare", "select", "unary", "cast", "call"), (54, 11, 6, 7, 8, 6, 8, 4)
        )[0]
        left = self._operand(depth - 1)
        if kind == "binary":
            operator = pick.choices("+-*&|^", (30, 20, 12, 14, 9, 9))[0]
            right = self._operand(depth - pick.choice((1, 1, 2)))
            return f"{left} {operator} {right if right != left else self._number()}"
        if kind == "shift":
            amount = (
                str(pick.randint(1, 15)) if self._chance(0.7) else f"({self._leaf()} & {pick.choice((7, 7, 15, 31))})"
            )
            return f"{left} {pick.choice(('<<', '>>'))} {amount}"
        if kind == "divide":
            by = str(pick.randint(2, 20)) if self._chance(0.7) else f"(({self._leaf()} & 15) + 1)"
            return f"{left} {pick.choice('/%')} {by}"
        if kind == "compare":
            return f"({self._condition()})"
        if kind == "select":
            return f"({self._condition()} ? {self._operand(depth - 1)} : {self._operand(depth - 1)})"
        if kind == "unary":
            return f"{pick.choice('-~~!')}{left}"
        if kind == "cast":
            return f"({self._type()}){left}"
        return self._call()

    def _call(self) -> str:
        name = self._random.choice(_OTHERS)
        array = next((name for name, kind, _ in self._scope.arrays if kind == "unsigned char"), "g_d")
        given = {"h0": self._leaf(), "h1": f"{self._leaf()}, {self._leaf()}", "h2": f"{array}, {self._leaf()}"}
        return f"{name}({given[name]})"

    def _operand(self, depth: int) -> str:
        text = self._value(depth)
        return text if text.isalnum() or text.startswith("'") or depth <= 0 else f"({text})"

    def _condition(self) -> str:
        pick = self._random
        if self._longer and self._scope.values and self._chance(0.1):
            name, low = pick.choice(self._scope.values), pick.randint(0, 100)
            return f"{name} >= {low} && {name} <= {low + pick.randint(1, 60)}"
        if self._longer and self._chance(0.06):
            joints = pick.sample(("&&", "||"), 2)
            return f"({self._compared()} {joints[0]} {self._compared()}) {joints[1]} {self._compared()}"
        if self._chance(0.12):
            return f"{self._compared()} {pick.choice(('&&', '||'))} {self._compared()}"
        return self._compared()

    def _compared(self) -> str:
        pick = self._random
        left = self._operand(pick.choice((0, 0, 0, 1)))
        while self._longer and self._scope.values and left[0] in "'0123456789":
            left = self._operand(0)
        if self._chance(0.12):
            return f"{pick.choice(('', '!'))}{left}"
        operator = pick.choice(("<", ">", "<=", ">=", "==", "!="))
        right = self._number() if self._chance(0.5) else self._operand(pick.choice((0, 0, 0, 1)))
        return f"{left} {operator} {right if right != left else self._number()}"
