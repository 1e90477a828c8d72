"""C with intrinsics of the processor: functions of headers that are always inlined."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmcompiler import check_file
from pytest_llmcompiler.program.case import read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.reference import Reference

SOURCES = {
    "sum": (
        "",
        "#include <emmintrin.h>\nint sum(const int *v)\n{\n    __m128i a = _mm_loadu_si128((const __m128i *)v);\n"
        "    a = _mm_add_epi32(a, _mm_shuffle_epi32(a, 0x4e));\n    a = _mm_add_epi32(a, _mm_shuffle_epi32(a, 0xb1));\n"
        "    return _mm_cvtsi128_si32(a);\n}\n",
    ),
    "crc": (
        "// LLMC: cflags -msse4.2\n",
        "#include <nmmintrin.h>\nunsigned crc(unsigned start, unsigned char byte) { return _mm_crc32_u8(start, byte); }\n",
    ),
}


@pytest.mark.parametrize("function", SOURCES)
def test_intrinsics(tmp_path: Path, function: str) -> None:
    case = tmp_path / "case.c"
    case.write_text("".join(SOURCES[function]))
    reference = Reference(read_case(case), Toolchain())
    for level in ("O0", "O2"):
        assert check_file(case, function, reference.texts.assembly(function, level), examples=20).passed
    wrong = "\txorl\t%eax, %eax\n\tretq\n"
    assert check_file(case, function, f"{function}:\n{wrong}", examples=20).kind == "mismatch"
    for passes in ("O0", "Oz"):
        optimised = reference.texts.optimised_ir(function, passes)
        assert check_file(case, function, optimised, examples=20, task="ir", passes=passes).passed
    assert ("+crc32" in reference.texts.ir(function)) == (function == "crc")
    assert reference.texts.sizes(function)[1] > 0
