from __future__ import annotations

from collections.abc import Mapping

import pytest
from faces import Compile

from pytest_llmcompiler.values.c_types import (
    Array,
    Float,
    Function,
    Int,
    Pointer,
    Struct,
    Type,
    Unsupported,
    Vector,
    find_unsupported,
)

SOURCE = """
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdarg.h>
#define FN(name, type) void name(type x) { (void)x; }
FN(f_char, char) FN(f_schar, signed char) FN(f_uchar, unsigned char) FN(f_short, short) FN(f_ushort, unsigned short)
FN(f_int, int) FN(f_uint, unsigned) FN(f_long, long) FN(f_ulong, unsigned long) FN(f_llong, long long)
FN(f_i128, __int128) FN(f_u128, unsigned __int128) FN(f_bool, bool) FN(f_float, float) FN(f_double, double)
FN(f_size, size_t) FN(f_i8, int8_t) FN(f_u64, uint64_t) FN(f_const, const int)
enum color { RED, GREEN = 5, BLUE }; enum sign { NEG = -1, POS = 1 }; enum __attribute__((packed)) tiny { T0, T1 };
FN(f_enum, enum color) FN(f_sign, enum sign) FN(f_tiny, enum tiny)
typedef int word; typedef word other_word; typedef const other_word third_word;
FN(f_typedef, third_word) FN(f_ptr, int *) FN(f_cptr, const char *) FN(f_pptr, char *const *) FN(f_void, void *)
FN(f_cvoid, const void *) typedef const int *cip; FN(f_tptr, cip) typedef const int cint; FN(f_tcptr, cint *)
FN(f_volatile, volatile int *) FN(f_restrict, int *restrict)
typedef int (*fn)(int, const char *); FN(f_fn, fn) typedef void (*vfn)(int, ...); FN(f_vfn, vfn)
struct plain { char a; int b; short c; }; FN(f_plain, struct plain)
struct __attribute__((packed)) packed { char a; int b; short c; }; FN(f_packed, struct packed)
union u { int i; double d; char s[3]; }; FN(f_union, union u)
struct bits { unsigned a : 3; int b : 5; unsigned long c : 40; unsigned : 0; bool d : 1; }; FN(f_bits, struct bits)
struct __attribute__((packed)) pbits { unsigned a : 7; unsigned b : 11; }; FN(f_pbits, struct pbits)
struct outer { int a; struct { short b, c; }; union { int d; float e; }; struct plain p[2]; }; FN(f_outer, struct outer)
struct flex { int n; short data[]; }; FN(f_flex, struct flex *)
struct grid { int cells[2][3]; char name[4]; }; FN(f_grid, struct grid)
struct node { struct node *next; int value; }; FN(f_node, struct node *)
struct tree { struct { struct tree *kids[2]; } in; }; FN(f_tree, struct tree)
struct hidden; FN(f_hidden, struct hidden *) struct empty {}; FN(f_empty, struct empty)
FN(f_ldouble, long double) FN(f_complex, _Complex double)
typedef int v4 __attribute__((vector_size(16))); FN(f_four, v4)
typedef int v8 __attribute__((vector_size(32))); FN(f_vector, v8)
struct holds { int n; long double x; }; FN(f_holds, struct holds *) FN(f_half, _Float16)
void f_array(int x[4]) {} void f_matrix(int x[][3]) {} void f_vla(int n, int x[n]) {}
int f_variadic(const char *format, ...) { return 0; }
void f_none(void) {} double f_result(void) { return 0; } struct plain f_struct(void) { return (struct plain){0}; }
int f_unnamed(int, int y) { return y; }
static int f_static(int a) { return a; } int use(void) { return f_static(1); }
"""


@pytest.fixture(scope="module")
def types(compiled: Compile) -> Mapping[str, Function]:
    return compiled(SOURCE).signatures


def of(types: Mapping[str, Function], name: str) -> Type:
    return types[f"f_{name}"].params[0].type


@pytest.mark.parametrize(
    ("name", "size", "signed"),
    [
        *[("char", 1, True), ("schar", 1, True), ("uchar", 1, False), ("short", 2, True), ("ushort", 2, False)],
        *[("int", 4, True), ("uint", 4, False), ("long", 8, True), ("ulong", 8, False), ("llong", 8, True)],
        *[("i128", 16, True), ("u128", 16, False), ("size", 8, False), ("i8", 1, True), ("u64", 8, False)],
        *[("const", 4, True), ("typedef", 4, True), ("enum", 4, False), ("sign", 4, True), ("tiny", 1, False)],
        ("bool", 1, False),
    ],
)
def test_integers(types: Mapping[str, Function], name: str, size: int, signed: bool) -> None:
    type = of(types, name)
    assert isinstance(type, Int)
    assert (type.size, type.signed, type.align) == (size, signed, size)
    assert type.boolean == (name == "bool")
    assert type.character == (name in ("char", "schar", "uchar", "i8"))


def test_bounds(types: Mapping[str, Function]) -> None:
    def bounds(name: str) -> tuple[int, int]:
        type = of(types, name)
        assert isinstance(type, Int)
        return type.bounds

    assert bounds("schar") == (-128, 127)
    assert bounds("u128") == (0, (1 << 128) - 1)
    assert bounds("bool") == (0, 1)


def test_enumerators(types: Mapping[str, Function]) -> None:
    color, sign = of(types, "enum"), of(types, "sign")
    assert isinstance(color, Int)
    assert isinstance(sign, Int)
    assert color.name == "enum color"
    assert color.enumerators == (("RED", 0), ("GREEN", 5), ("BLUE", 6))
    assert sign.enumerators == (("NEG", -1), ("POS", 1))


def test_floats(types: Mapping[str, Function]) -> None:
    assert of(types, "float") == Float(4, "float")
    assert of(types, "double") == Float(8, "double")


@pytest.mark.parametrize(
    ("name", "target", "const"),
    [
        *[("ptr", "int", False), ("cptr", "char", True), ("pptr", "char *", True), ("tptr", "int", True)],
        *[("tcptr", "int", True), ("volatile", "int", False), ("restrict", "int", False), ("array", "int", False)],
        *[("node", "struct node", False), ("matrix", "int[3]", False)],
    ],
)
def test_pointers(types: Mapping[str, Function], name: str, target: str, const: bool) -> None:
    type = of(types, name)
    assert isinstance(type, Pointer)
    assert type.target is not None
    assert (type.target.name, type.const, type.size) == (target, const, 8)


def test_void_pointers(types: Mapping[str, Function]) -> None:
    plain, const = of(types, "void"), of(types, "cvoid")
    assert isinstance(plain, Pointer)
    assert isinstance(const, Pointer)
    assert (plain.target, plain.const, const.target, const.const) == (None, False, None, True)


def test_function_pointers(types: Mapping[str, Function]) -> None:
    type = of(types, "fn")
    assert isinstance(type, Pointer)
    assert isinstance(type.target, Function)
    assert type.target.name == "int (int, const char *)"
    variadic = of(types, "vfn")
    assert isinstance(variadic, Pointer)
    assert isinstance(variadic.target, Function)
    assert variadic.target.variadic
    assert variadic.target.result is None


def layout(types: Mapping[str, Function], name: str) -> tuple[int, int, list[tuple[str, int]]]:
    type = of(types, name)
    if isinstance(type, Pointer) and type.target is not None:
        type = type.target
    assert isinstance(type, Struct)
    return type.size, type.align, [(field.name, field.offset) for field in type.fields]


def test_layouts(types: Mapping[str, Function]) -> None:
    assert layout(types, "plain") == (12, 4, [("a", 0), ("b", 4), ("c", 8)])
    assert layout(types, "packed") == (7, 1, [("a", 0), ("b", 1), ("c", 5)])
    assert layout(types, "union") == (8, 8, [("i", 0), ("d", 0), ("s", 0)])
    assert layout(types, "flex") == (4, 4, [("n", 0), ("data", 4)])
    assert layout(types, "grid") == (28, 4, [("cells", 0), ("name", 24)])
    assert layout(types, "empty") == (0, 1, [])
    assert layout(types, "outer") == (36, 4, [("a", 0), ("", 4), ("", 8), ("p", 12)])


def test_arrays_of_arrays(types: Mapping[str, Function]) -> None:
    grid, flex = of(types, "grid"), of(types, "flex")
    assert isinstance(grid, Struct)
    assert isinstance(flex, Pointer)
    assert isinstance(flex.target, Struct)
    cells, data = grid.fields[0].type, flex.target.fields[1].type
    assert isinstance(cells, Array)
    assert isinstance(cells.element, Array)
    assert (cells.count, cells.element.count, cells.size) == (2, 3, 24)
    assert isinstance(data, Array)
    assert data.count == 0


def test_bit_fields(types: Mapping[str, Function]) -> None:
    def bits(name: str) -> dict[str, tuple[int, int] | None]:
        type = of(types, name)
        assert isinstance(type, Struct)
        return {field.name: field.bits for field in type.fields}

    assert bits("bits") == {"a": (0, 3), "b": (3, 5), "c": (8, 40), "d": (64, 1)}
    assert bits("pbits") == {"a": (0, 7), "b": (7, 11)}
    assert layout(types, "bits")[:2] == (16, 8)
    assert layout(types, "pbits")[:2] == (3, 1)


def test_recursive_structs(types: Mapping[str, Function]) -> None:
    node, tree = of(types, "node"), of(types, "tree")
    assert isinstance(node, Pointer)
    assert isinstance(node.target, Struct)
    following = node.target.fields[0].type
    assert isinstance(following, Pointer)
    assert following.target is node.target
    assert find_unsupported(node) is None
    assert find_unsupported(tree) is None


@pytest.mark.parametrize("name", ["ldouble", "complex", "vector", "half", "holds"])
def test_unsupported_types(types: Mapping[str, Function], name: str) -> None:
    assert find_unsupported(of(types, name))


def test_a_pointer_to_an_incomplete_struct_is_opaque(types: Mapping[str, Function]) -> None:
    hidden = of(types, "hidden")
    assert isinstance(hidden, Pointer) and hidden.target is None
    assert find_unsupported(hidden) is None


def test_vectors_of_the_size_of_a_register_are_supported(types: Mapping[str, Function]) -> None:
    assert of(types, "four") == Vector(Int(4, True, "int"), 4)
    assert find_unsupported(of(types, "four")) is None


def test_unsupported_types_are_named(types: Mapping[str, Function]) -> None:
    assert of(types, "ldouble") == Unsupported("type long double", 16)
    assert "long double" in str(find_unsupported(of(types, "holds")))
    assert "vector" in str(find_unsupported(of(types, "vector")))


def test_functions(types: Mapping[str, Function]) -> None:
    assert types["f_none"].params == ()
    assert types["f_none"].result is None
    assert types["f_result"].result == Float(8, "double")
    assert types["f_variadic"].variadic
    assert not types["f_int"].variadic
    assert [param.name for param in types["f_vla"].params] == ["n", "x"]
    assert [param.name for param in types["f_unnamed"].params] == ["0", "y"]
    assert types["f_static"].params[0].name == "a"
    assert types["f_struct"].name == "struct plain (void)"


def test_thread_local_variables_do_not_stand_in_the_way(compiled: Compile) -> None:
    assert "f" in compiled("_Thread_local int t; int f(int x) { return t + x; }").signatures


POINTED = """
#include <stdio.h>
struct person { int age; const struct person *boss; };
typedef struct { long magic; char text[40]; } handle;
struct unknown;
__BEGIN_DECLS
int by_age(const void *a, const void *b) __THROW;
__END_DECLS
int by_age(const void *a, const void *b) { const struct person *p = a, *q = b; return p->age - q->age; }
int by_boss(const void *a, const void *b) { return by_age(((struct person *)a)->boss, ((struct person *)b)->boss); }
long magic_of(void *opaque) { handle *h; h = (handle *)opaque; return h->magic; }
long handed_on(void *opaque) { return magic_of(opaque); }
int either(void *p, int is_person) { return is_person ? ((struct person *)p)->age : ((handle *)p)->text[1]; }
int number(const void *p) { return *(const int *)p; }
int opaque(struct unknown *p) { return p != 0; }
"""


def test_void_pointers_lead_to_the_structs_that_they_are_taken_for(compiled: Compile) -> None:
    """The source uses macros of glibc's <sys/cdefs.h> too."""
    types = compiled(POINTED).signatures
    shown = {name: [param.type.name for param in type.params] for name, type in types.items()}
    assert shown == {
        "by_age": ["const struct person *"] * 2,
        "by_boss": ["const struct person *"] * 2,
        "magic_of": ["struct *"],
        "handed_on": ["struct *"],
        "either": ["void *", "int"],
        "number": ["const void *"],
        "opaque": ["void *"],
    }


def test_old_style_definitions(compiled: Compile) -> None:
    signatures = compiled("long f(a, b) int a; char *b; { return a + *b; }").signatures["f"]
    assert signatures.name == "long (int, char *)"


def test_signatures_of_ir(compiled: Compile) -> None:
    text = """
%pair = type { i64, i32 }
define signext i16 @a(i8 zeroext %byte, i8 signext %char, i1 %flag, i64, i128 %wide) { ret i16 0 }
define double @b(float %x, ptr %p, ...) { ret double 0.0 }
define void @c(ptr byval(%pair) %p) { ret void }
define void @d(ptr sret(%pair) %p) { ret void }
define <8 x i32> @e(i7 %odd, {i32, i32} %pair) { ret <8 x i32> zeroinitializer }
define <4 x i32> @f(<8 x i8> %half, <3 x float> %odd) { ret <4 x i32> zeroinitializer }
declare void @other(i32)
"""
    signatures = compiled(text, ".ll").signatures
    assert list(signatures) == ["a", "b", "c", "d", "e", "f"]
    types = [param.type for param in signatures["a"].params]
    assert [type.size for type in types] == [1, 1, 1, 8, 16]
    assert [type.signed for type in types if isinstance(type, Int)] == [False, True, False, False, False]
    assert isinstance(signatures["a"].result, Int)
    assert signatures["a"].result.signed
    assert [param.name for param in signatures["a"].params] == ["byte", "char", "flag", "3", "wide"]
    assert signatures["b"].variadic
    assert signatures["b"].result == Float(8, "double")
    assert isinstance(signatures["b"].params[1].type, Pointer)
    for name in ("c", "d", "e"):
        assert find_unsupported(signatures[name].params[0].type), name
    assert find_unsupported(signatures["e"].result)
    assert find_unsupported(signatures["e"].params[1].type)
    assert signatures["f"].result == Vector(Int(4, False, "i32"), 4)
    half, odd = (param.type for param in signatures["f"].params)
    assert half == Vector(Int(1, False, "i8"), 8)
    assert find_unsupported(odd)


VARIADIC = """
#include <stdarg.h>
#include <stddef.h>
#define READ(type) va_list ap; va_start(ap, n); type x = va_arg(ap, type); va_end(ap); return x;
int ints(int n, ...) { READ(int) }
long long longs(int n, ...) { READ(long long) }
double doubles(int n, ...) { READ(double) }
char *texts(int n, ...) { READ(char *) }
int *numbers(int n, ...) { READ(int *) }
int none(int n, ...) { return n; }
static double from(int n, va_list ap) { return n ? va_arg(ap, int) : va_arg(ap, double); }
double handed(int n, ...) { va_list ap; va_start(ap, n); double x = from(n, ap); va_end(ap); return x; }
int main(void) {
    int x = 0;
    return texts(1, "a") == texts(2, "b", (char *)NULL) || numbers(1, &x) == &x;
}
"""


@pytest.mark.parametrize("target", ["x86_64-linux", "aarch64-linux", "x86_64-windows"])
def test_what_a_function_reads_of_its_unnamed_arguments(compiled: Compile, target: str) -> None:
    types = {
        name: [type.name for type in one.unnamed] for name, one in compiled(VARIADIC, target=target).signatures.items()
    }
    assert {name: read for name, read in types.items() if read} == {
        "ints": ["int"],
        "longs": ["long"],
        "doubles": ["double"],
        "texts": ["char *"],
        "numbers": ["char *", "void *"],
        "handed": ["int", "double"],
    }
