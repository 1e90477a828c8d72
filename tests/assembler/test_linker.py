"""Linking ELF objects of real compilers: permissions, symbols, relocations and their ranges."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from pytest_llmcompiler.assembler.elf_object import load_object
from pytest_llmcompiler.assembler.linker import PAGE, LinkedImage, link
from pytest_llmcompiler.errors import LinkError, UnsupportedError
from pytest_llmcompiler.targets import get_target

BASE = 0x10000000
FAR = 0x7F0000000000


def build(tmp_path: Path, text: str, suffix: str = ".s", *flags: str) -> bytes:
    """The object that the bundled compiler makes of a source."""
    source = tmp_path / f"source{suffix}"
    source.write_text(text)
    target = tmp_path / "source.o"
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "x86_64-linux-musl", "-c", "-g0", "-fno-sanitize=all"]
    subprocess.run([*command, *flags, str(source), "-o", str(target)], check=True, capture_output=True)
    return target.read_bytes()


def load(elf: bytes, function: str, base: int, symbols: Mapping[str, int]) -> LinkedImage:
    return load_object(elf, function, base, symbols, get_target().relocations)


def find_data(image: LinkedImage, name: str) -> bytes:
    return next(segment.data for segment in image.segments if segment.name == name)


def read_word(data: bytes, offset: int, width: int = 4, signed: bool = True) -> int:
    return int.from_bytes(data[offset : offset + width], "little", signed=signed)


def test_relocations_have_the_values_of_the_abi(tmp_path: Path) -> None:
    elf = build(
        tmp_path,
        """
        .text
        .globl f
    f:  call ext@PLT
        movl ext+8(%rip), %eax
        movq ext@GOTPCREL(%rip), %rax
        addq other@GOTPCREL(%rip), %rax
        call *ext@GOTPCREL(%rip)
        movl $ext, %eax
        movq $ext+16, %rax
        movabsq $ext-1, %rax
        ret
        .section .mydata,"aw"
        .globl table
    table:
        .quad ext
        .long ext
        .short small
        .byte small
        .long ext-.
        .quad ext-.
        .short near-.
        .byte close-.
        .quad .Llocal
        .quad f
        .section .rodata
        .long 7
    .Llocal:
        .long 8
        """,
    )
    symbols = {"ext": 0x1000100, "other": 0x1000200, "small": 0x7F, "near": BASE + PAGE, "close": BASE + PAGE}
    image = load(elf, "f", BASE, symbols)
    code, table = find_data(image, ".text"), find_data(image, ".mydata")
    at = image.symbols["table"]
    got = next(segment for segment in image.segments if segment.name == ".got")
    slots = {read_word(got.data, place, 8): got.address + place for place in range(0, len(got.data), 8)}
    assert slots.keys() == {0x1000100, 0x1000200}
    assert read_word(code, 1) == 0x1000100 - (BASE + 5)
    assert read_word(code, 7) == 0x1000108 - (BASE + 11)
    assert read_word(code, 14) == slots[0x1000100] - (BASE + 18)
    assert read_word(code, 21) == slots[0x1000200] - (BASE + 25)
    assert read_word(code, 27) == slots[0x1000100] - (BASE + 31)
    assert read_word(code, 32) == 0x1000100
    assert read_word(code, 39) == 0x1000110
    assert read_word(code, 45, 8) == 0x10000FF
    assert at == BASE + PAGE
    assert read_word(table, 0, 8) == 0x1000100
    assert read_word(table, 8) == 0x1000100
    assert read_word(table, 12, 2) == 0x7F
    assert read_word(table, 14, 1) == 0x7F
    assert read_word(table, 15) == 0x1000100 - (at + 15)
    assert read_word(table, 19, 8) == 0x1000100 - (at + 19)
    assert read_word(table, 27, 2) == -27
    assert read_word(table, 29, 1) == -29
    rodata = next(segment for segment in image.segments if segment.name == ".rodata")
    assert read_word(table, 30, 8) == rodata.address + 4
    assert read_word(table, 38, 8) == BASE == image.symbols["f"]
    assert image.external_symbols == {"ext", "other", "small", "near", "close"}


def test_the_example_of_the_linkers_description(tmp_path: Path) -> None:
    elf = build(
        tmp_path,
        """
    f:  call strlen@PLT
        movq counter@GOTPCREL(%rip), %rax
        ret
        .data
    table: .quad f + 2
        """,
    )
    image = load(elf, "f", BASE, {"strlen": 0x1000100, "counter": 0x1003000})
    segments = {segment.name: segment for segment in image.segments}
    addresses = {name: segment.address for name, segment in segments.items()}
    assert addresses == {".text": 0x10000000, ".data": 0x10001000, ".got": 0x10002000}
    assert read_word(segments[".text"].data, 1) == -0xEFFFF05
    assert read_word(segments[".text"].data, 8) == 0x1FF4
    assert read_word(segments[".data"].data, 0, 8) == 0x10000002
    assert read_word(segments[".got"].data, 0, 8) == 0x1003000


def test_permissions_and_pages(tmp_path: Path) -> None:
    elf = build(
        tmp_path,
        """
        static int counter; int start = 3; static const char *const names[] = {"a", "b"};
        static int zeros[4000];
        const char *f(int i) { counter++; zeros[i] = 1; return names[i & 1]; }
        """,
        ".c",
        "-O1",
        "-fPIC",
    )
    image = load(elf, "f", BASE, {})
    seen = {s.name.split(".")[1]: (s.is_writable, s.is_executable) for s in image.segments}
    assert seen["text"] == (False, True)
    assert seen["rodata"] == (False, False)
    assert seen["data"] == (True, False)
    assert seen["bss"] == (True, False)
    ends = BASE
    for segment in image.segments:
        assert segment.address % PAGE == 0
        assert segment.address >= ends
        ends = segment.address + len(segment.data)
    assert image.symbols["start"] % PAGE == 0


def test_the_object_owns_the_names_that_it_defines(tmp_path: Path) -> None:
    elf = build(tmp_path, ".text\n.globl f, g\nf: jmp g\ng: ret\n")
    image = load(elf, "f", BASE, {"g": 0x1000000, "f": 0x1000000})
    assert read_word(find_data(image, ".text"), 1) == 0
    assert image.external_symbols == frozenset()


def test_common_and_weak_symbols(tmp_path: Path) -> None:
    elf = build(
        tmp_path,
        ".text\nf: movq $wk, %rax\n movq $a, %rax\n movq $b, %rax\n ret\n.weak wk\n.comm a,3,1\n.comm b,64,32\n",
    )
    image = load(elf, "f", BASE, {})
    code = find_data(image, ".text")
    common = [segment for segment in image.segments if segment.name == "COMMON"][-1]
    assert (common.is_writable, common.is_executable) == (True, False)
    assert read_word(code, 3) == 0
    assert image.symbols["b"] % 32 == 0
    assert {read_word(code, 10), read_word(code, 17)} == {image.symbols["a"], image.symbols["b"]}
    assert common.address <= image.symbols["b"] <= common.address + len(common.data) - 64
    with_weak = load(elf, "f", BASE, {"wk": 0x1234})
    assert read_word(find_data(with_weak, ".text"), 3) == 0x1234


@pytest.mark.parametrize(
    ("text", "value", "message"),
    [
        ("call ext", FAR, r"R_X86_64_PLT32 against 'ext' is out of range: 0x7eff\w+ does not fit 32 bits"),
        ("movl $ext, %eax", FAR, r"R_X86_64_32 against 'ext' is out of range: 0x7f0000000000 does not fit 32 bits"),
        ("movq $ext, %rax", 0x80000000, r"R_X86_64_32S against 'ext' is out of range: 0x80000000"),
        ("movl ext(,%rax,4), %eax", 0x90000000, r"R_X86_64_32S against 'ext' is out of range"),
        (".short ext", 0x10000, r"R_X86_64_16 against 'ext' is out of range"),
        (".byte ext", 256, r"R_X86_64_8 against 'ext' is out of range"),
    ],
)
def test_values_out_of_range_are_link_errors(tmp_path: Path, text: str, value: int, message: str) -> None:
    elf = build(tmp_path, f".text\nf: {text}\n ret\n")
    with pytest.raises(LinkError, match=message):
        load(elf, "f", BASE, {"ext": value})


def test_the_error_names_all_undefined_symbols(tmp_path: Path) -> None:
    elf = build(tmp_path, ".text\nf: call zeta\n call alpha\n call known\n ret\n")
    with pytest.raises(LinkError, match="undefined symbols: alpha, zeta") as error:
        load(elf, "f", BASE, {"known": 0x1000000})
    assert error.value.missing == ("alpha", "zeta")


def test_the_error_for_a_missing_function_names_the_symbols(tmp_path: Path) -> None:
    elf = build(tmp_path, ".text\n.globl g, h\ng: ret\nh: ret\n")
    with pytest.raises(LinkError, match="symbol 'f' is not defined: it defines g, h"):
        load(elf, "f", BASE, {})


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("movl %fs:x@tpoff, %eax", "R_X86_64_TPOFF32"),
        ("movq x@gottpoff(%rip), %rax", "R_X86_64_GOTTPOFF"),
        ("leaq _GLOBAL_OFFSET_TABLE_(%rip), %rax", "R_X86_64_GOTPC32 against '_GLOBAL_OFFSET_TABLE_'"),
    ],
)
def test_the_error_names_the_unsupported_relocation(tmp_path: Path, text: str, name: str) -> None:
    elf = build(tmp_path, f".text\nf: {text}\n ret\n")
    with pytest.raises(UnsupportedError, match=f"relocation {name} is not supported"):
        load(elf, "f", BASE, {"x": 0})


def test_thread_local_sections_are_unsupported(tmp_path: Path) -> None:
    elf = build(tmp_path, "static __thread int x; int f(void) { return x++; }", ".c", "-O1")
    with pytest.raises(UnsupportedError, match="thread-local storage"):
        load(elf, "f", BASE, {})


@pytest.mark.parametrize("junk", [b"", b"\x7fELF", b"not an object at all" * 10])
def test_bytes_that_are_no_object(junk: bytes) -> None:
    with pytest.raises(ValueError, match="not a readable ELF object"):
        load(junk, "f", BASE, {})


def test_objects_of_other_machines(tmp_path: Path) -> None:
    source = tmp_path / "a.c"
    source.write_text("int f(void) { return 1; }")
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-musl", "-c", "a.c", "-o", "a.o"]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    with pytest.raises(ValueError, match="not a relocatable EM_X86_64 object: ET_REL, EM_AARCH64"):
        load((tmp_path / "a.o").read_bytes(), "f", BASE, {})


def test_contents_of_sections_that_are_not_loaded(tmp_path: Path) -> None:
    elf = build(tmp_path, '.text\nf: ret\n.section .extra,"",@progbits\n.long 5\n')
    assert load(elf, "f", BASE, {}).unloaded[".extra"] == b"\5\0\0\0"


def test_an_empty_link() -> None:
    assert link([], {}, [], BASE, {}).segments == ()


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
@pytest.mark.parametrize(
    "flags", [("-O0", "-fPIC"), ("-O2", "-fno-pie"), ("-O2", "-fPIE"), ("-Os", "-fPIC", "-fno-plt")]
)
def test_gccs_objects_of_all_cases_load(tmp_path: Path, flags: tuple[str, ...], cases: list[Path]) -> None:
    for case in cases:
        target = tmp_path / f"{case.stem}.o"
        subprocess.run(["gcc", "-c", *flags, str(case), "-o", str(target)], check=True, capture_output=True)
        elf = target.read_bytes()
        functions = defined_functions(elf)
        image = load(elf, functions[0], BASE, AnyProgram())
        assert functions
        assert all(image.symbols[name] >= BASE for name in functions)


def defined_functions(elf: bytes) -> list[str]:
    table = ELFFile(io.BytesIO(elf)).get_section_by_name(".symtab")
    return [s.name for s in table.iter_symbols() if s["st_info"]["type"] == "STT_FUNC" and s["st_shndx"] != "SHN_UNDEF"]


class AnyProgram(dict[str, int]):
    """A program that defines every symbol."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> int:
        return 0x1000000

    def get(self, name: str, default: int | None = None) -> int:  # type: ignore[override]
        return 0x1000000


@pytest.fixture
def cases() -> list[Path]:
    return sorted((Path(__file__).parents[2] / "cases").glob("*.c"))
