"""Which flags of a compiler have a say in what a C file means. The others are left out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

FOLDER_FLAGS = ("-isystem", "-iquote", "-idirafter", "-I")
"""Flags whose value is a folder, in the same word or in the next."""
FILE_FLAGS = ("-include", "-imacros")
"""Flags whose value is a file, in the same word or in the next. Where it is not found,
clang searches for it as for a header."""

_KEPT_PAIRS = (*FOLDER_FLAGS, *FILE_FLAGS, "-D", "-U", "-x")
_LEFT_OUT_PAIRS = (
    *("-o", "-MF", "-MT", "-MQ", "-MJ", "-Xlinker", "-Xassembler", "-T", "-u", "-z", "-e", "-L", "-l", "-B"),
    *("-target", "-arch", "-isysroot", "--sysroot", "-include-pch", "-mllvm", "--param", "-wrapper"),
    *("-aux-info", "-dumpbase", "-dumpbase-ext", "-dumpdir", "-iprefix", "-iwithprefix", "-iwithprefixbefore"),
)
_PAIRS = (*_KEPT_PAIRS, *_LEFT_OUT_PAIRS, "-Xclang")
"""Flags that take the next word as their value where they have none of their own."""

_LANGUAGE_MODES = """
signed-char unsigned-char short-enums short-wchar wrapv wrapv-pointer trapv strict-aliasing strict-overflow
delete-null-pointer-checks ms-extensions ms-compatibility borland-extensions declspec gnu89-inline common freestanding
hosted builtin fast-math math-errno finite-math-only unsafe-math-optimizations associative-math reciprocal-math
signed-zeros rounding-math trapping-math cx-limited-range cx-fortran-rules dollars-in-identifiers blocks asm
gnu-keywords lax-vector-conversions pack-struct pascal-strings writable-strings finite-loops honor-nans honor-infinities
"""
_KEPT_F = (
    rf"-f(no-)?({'|'.join(_LANGUAGE_MODES.split())})|-fno-builtin-\w+|-fpack-struct=\d+|-ffp-contract=\w+|-ffp-model=\w+|"
    r"-fcomplex-arithmetic=\w+|-fexcess-precision=\w+|-fexec-charset=.+|-fstrict-flex-arrays=\d|"
    r"-ftrivial-auto-var-init=\w+|-finput-charset=(?i:utf-?8)"
)
_KEPT_M = (
    r"-m(no-)?(sse3|ssse3|sse4|sse4\.[12]|popcnt|aes|pclmul|crc32|cx16|ms-bitfields)|-mlong-double-(64|80|128)|"
    r"-malign-double"
)
_KEPT = re.compile(rf"-(D|U).+|--?std=.+|-ansi|-undef|-trigraphs|-nostdinc|-pthread|-xc|{_KEPT_F}|{_KEPT_M}", re.DOTALL)
"""Flags without a folder or file that decide what C means, or how its types are laid out."""

_LEFT_OUT = re.compile(
    r"-[cSEPCvwsrpHQ]|-CC|-pg|-pipe|-###|--version|-time|-emit-llvm|-save-temps.*|--?coverage|"
    r"-O.*|-g.*|-W.*|-M.*|-d[A-Z].*|-pedantic.*|-[oLlB].+|-shared.*|-static.*|-rdynamic|-(no-?)?pie|"
    r"-nostdlib|-nodefaultlibs|-nostartfiles|--?specs=.+|--param=.+|-m64|-mtune=.+|-no-canonical-prefixes|"
    r"-f(no-)?(sanitize|lto|stack-|diagnostics|color-diagnostics|message-length|profile|test-coverage|dump|plugin|"
    r"save-optimization|time-|syntax-only|PIC|PIE|pic|pie|visibility|[a-z]+-prefix-map).*"
)
"""Flags that change output, warnings, optimisation, instrumentation or linking, and no meaning."""

_WITHOUT_FILES = re.compile(r"-O[0-3sz]?|-g[0-3]?|-W[\w=+-]*|-w|-pedantic|-pedantic-errors|-pipe|-m64", re.DOTALL)
"""Flags of the former kind that name no file whatever follows."""

_REASONS = (
    (r"-m(arch|cpu)=.+", "code is judged for the oldest processor of the target"),
    (r"-m(avx|fma|f16c|xop|bmi|vaes|vpclmul|amx).*", "the emulated processor has no AVX and no BMI"),
    (r"-m(16|32|x32)|-target|-arch|--target=.+", "code is judged for --llmc-target"),
    (r"-f(no-)?openmp.*", "one thread runs, and pragmas of OpenMP are ignored"),
    (r"-finput-charset=(?!(?i:utf-?8)$).+", "clang reads every file as UTF-8"),
    (r"-f(plan9-extensions|single-precision-constant|unsigned-bitfields|cond-mismatch)", "clang has no such mode"),
    (r"-traditional.*", "clang has no such mode"),
    (r"-isysroot.*|--sysroot.*", "the headers of the C library are the bundled ones"),
    (r"-x.+", "a case is compiled as C"),
)
"""Flags that do have a say in meaning and are left out all the same, as patterns, with the reason."""
_SYSTEM_HEADERS = r"(/usr(/local)?)?/include(/[\w.]+-linux-\w+)?/?|/usr/lib(64)?/(gcc|clang|llvm).*/include/?"
_SYSTEM_HEADERS_REASON = "the headers of the system's C library do not fit the bundled one; -idirafter adds the others"


class Flag(NamedTuple):
    """A flag with the word that is its value, where it takes one."""

    name: str
    value: str | None = None

    def __str__(self) -> str:
        return self.name if self.value is None else f"{self.name} {self.value}"


class LeftOutFlag(NamedTuple):
    """A flag that could change what a file means, and is left out."""

    flag: str
    reason: str


def pair_values(words: Sequence[str]) -> Iterator[Flag]:
    """The flags in the words of a command line. Raises ValueError where a flag lacks its value."""
    rest = iter(words)
    for word in rest:
        if word not in _PAIRS:
            yield Flag(word)
            continue
        value = next(rest, None)
        if value is None:
            raise ValueError(f"the flag {word} lacks its value")
        yield Flag(word, value)


def unwrap(words: Sequence[str], *, with_frontend_flags: bool) -> Iterator[str]:
    """The words of a command line, with flags in the place of `-Wp,FLAG` and `-Xpreprocessor FLAG`, and of
    `-Xclang FLAG` where asked for."""
    for word in words:
        if word.startswith("-Wp,"):
            yield from word.split(",")[1:]
        elif word != "-Xpreprocessor" and (word != "-Xclang" or not with_frontend_flags):
            yield word


def has_meaning(flag: Flag) -> bool | None:
    """Whether a flag has a say in what a C file means; None for a flag that is not known."""
    if flag.name in _KEPT_PAIRS or flag.name.startswith((*FOLDER_FLAGS, *FILE_FLAGS)) or _KEPT.fullmatch(flag.name):
        return True
    return False if flag.name in _LEFT_OUT_PAIRS or _LEFT_OUT.fullmatch(flag.name) else None


def find_reason(flag: Flag) -> str | None:
    """Why a flag that could change what a file means is left out; None for a flag that is not."""
    if flag.name.startswith("-x") and (flag.value or flag.name.removeprefix("-x")) in ("c", "none"):
        return None
    folder = flag.value or flag.name.removeprefix("-isystem").removeprefix("-I")
    if flag.name.startswith(("-I", "-isystem")) and re.fullmatch(_SYSTEM_HEADERS, folder):
        return _SYSTEM_HEADERS_REASON
    return next((reason for pattern, reason in _REASONS if re.fullmatch(pattern, flag.name)), None)


def is_without_files(flag: Flag) -> bool:
    """Whether a flag is known, and can't name a file or folder that the compiler reads or writes."""
    if flag.value is not None:
        return flag.name in ("-D", "-U")
    is_meant = _KEPT.fullmatch(flag.name) and not flag.name.startswith("-x")
    return bool(is_meant or _WITHOUT_FILES.fullmatch(flag.name))
