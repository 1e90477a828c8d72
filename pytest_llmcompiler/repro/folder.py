"""The folders of failing samples: what was asked, what was answered, and a program that shows what is wrong with it."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pytest_llmcompiler.assembler.assemble import build_linkable_object
from pytest_llmcompiler.assembler.linkage import DEBUG_FILE_NAME, Linkage
from pytest_llmcompiler.errors import (
    AssemblyError,
    CaseError,
    ClangError,
    LinkError,
    NativeLinkError,
    NoCodeError,
    ReproFolderError,
    ReproSourceError,
    TruncatedError,
)
from pytest_llmcompiler.judge.reproducer import Reproducer, ReproducibleVerdict
from pytest_llmcompiler.judge.verdict import Verdict, harmless
from pytest_llmcompiler.model.answer import Answer, Prompt, QuestionKey
from pytest_llmcompiler.model.extract.assembly import find_judged_assembly
from pytest_llmcompiler.program.clang import compile_c, link
from pytest_llmcompiler.program.ir_queries import mentioned_globals
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.repro.c_source import source_of
from pytest_llmcompiler.repro.link import ProgramRest, surroundings, watching, without
from pytest_llmcompiler.targets import get_target

_TITLE = "A sample that failed, for inspection (pytest-llmcompiler)"
"""The first line of the README.txt of every folder, by which a folder is known that may be replaced."""
_FREESTANDING = ("-O1", "-ffreestanding", "-fno-builtin", "-fno-stack-protector", "-fno-sanitize=all", "-fno-pie", "-w")
_LINKING = ("-g", "-Wl,--gc-sections", "-Wl,--compress-debug-sections=zlib")
_LONGEST = 80
_SALTED = re.compile(r"@(?:time|clock\w*|gettimeofday|timespec_get|times|getpid|gettid|getrandom|getentropy)\b")
_FORBIDDEN = re.compile(r"`(\w+)` .*in user code")

_RAN = ("crash", "hang", "mismatch", "abi")
"""The verdicts on code that was run."""
_FAULTS = (CaseError, ClangError, NativeLinkError, ReproSourceError, AssemblyError, LinkError)
"""Why there may be no program."""


class ReproWriter:
    """The folders below one folder, one for each failing sample: `CASE/FUNCTION/TASK-PASSES/sample-N`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rests: dict[tuple[Path, str], ProgramRest] = {}
        self._made: dict[tuple[QuestionKey, str, str], Path] = {}
        """The folder of each answer to a question, by the question, the answer and why it ended."""

    def place(self, prompt: Prompt, sample: int) -> Path:
        """The folder of a sample."""
        case = [_part(part) for part in prompt.case.split("/")]
        task = _part(prompt.key.variant)
        return self._folder.joinpath(*case, _part(prompt.function), task, f"sample-{sample}")

    def keep(self, reference: Reference, prompt: Prompt, answer: Answer, judged: ReproducibleVerdict) -> None:
        """Write the folder of a sample that failed; take the one of an earlier session away where it did not.

        Raises FolderError where that can't be done.
        """
        place = self.place(prompt, answer.sample)
        verdict, reproducer = judged
        try:
            if verdict.passed or not verdict.conclusive:
                _remove(place)
                return
            if verdict.kind in _RAN and reproducer is None and reference.target.is_native and place.exists():
                return  # a resumed sample: what is there was made when it was judged
            place.parent.mkdir(parents=True, exist_ok=True)
            key = prompt.key, answer.text, answer.stop
            first = self._made.get(key, place)
            if first != place:  # the same answer again
                _remove(place)
                place.symlink_to(first.name)
                return
            with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{place.name}-") as made:
                folder = Path(made) / place.name
                folder.mkdir()
                self._fill(_FolderFiles(folder), reference, prompt, answer, verdict, reproducer)
                _remove(place)
                folder.rename(place)
            self._made[key] = place
        except OSError as error:
            raise ReproFolderError(f"--llmc-artifacts: can't write {place}: {error.strerror or error}") from error

    def _fill(
        self,
        files: _FolderFiles,
        reference: Reference,
        prompt: Prompt,
        answer: Answer,
        verdict: Verdict,
        reproducer: Reproducer | None,
    ) -> None:
        files.write("prompt.txt", prompt.text, "what the model was asked")
        files.write("answer.txt", answer.text, "what it answered")
        files.write("function.ll", reference.texts.ir(prompt.function), "the function's IR, as in the prompt")
        notes: list[str] = []
        try:
            text = find_judged_assembly(answer, prompt, verdict.detail)
            own = "the assembly in the answer, on the same lines"
            files.write(
                DEBUG_FILE_NAME, text, own if prompt.task == "asm" else "the assembly that LLVM makes of the answer"
            )
            if not reference.target.is_native:
                raise NativeLinkError(f"the code is for {reference.target.name}, which this machine does not run.")
            self._program(files, reference, prompt.function, text, verdict, reproducer, notes)
        except (NoCodeError, TruncatedError) as error:
            notes.append(f"There is no `run`: {error}.")
        except _FAULTS as error:
            notes.append(f"There is no `run`: {error}")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            # What it is made of comes from a process that ran hostile code.
            notes.append(f"There is no `run`: the scene makes no sense: {error!r}")
        files.finish(prompt, answer, verdict, notes)

    def _program(
        self,
        files: _FolderFiles,
        reference: Reference,
        function: str,
        text: str,
        verdict: Verdict,
        reproducer: Reproducer | None,
        notes: list[str],
    ) -> None:
        kept = f"{function}__reference"
        if reproducer is None:  # it was never run
            own = build_linkable_object(text, reference.golden.addresses, Linkage(function, reference.golden.aliases))
            files.write("candidate.o", own, "its object")
            unknown = "it was judged in an earlier session, or the judge gave up before it knew all that is needed"
            why = unknown if verdict.kind in _RAN else verdict.message
            notes.append(f"There is no `run`: {why}.")
            return
        rest = self._rest(reference, function, kept)
        around = surroundings(reference, function, kept, rest, text)
        own = build_linkable_object(text, reference.golden.addresses, watching(reference, around))
        files.write("candidate.o", own, "its object")
        files.write("program.ll", rest.ir, f"the program with {function} only declared, and its code as {kept}")
        if "fault" in reproducer:
            notes.append(f"There is no `run`: the scene could not be made.\n{reproducer['fault']}")
            return
        files.write("input.c", source_of(reproducer, around, verdict), f"calls {function} with the input")
        for name, words in (("runner.c", "runs both on the input, and tells in what they differ"), ("runner.h", "")):
            files.write(name, Path(__file__).with_name(name).read_text(encoding="utf-8"), words)
        files.write("build.sh", _build(), "builds `run` again", executable=True)
        described = compile_c(files.folder / "input.c", *_FREESTANDING, "-g0")
        files.write("run", link([own, rest.object, described, _kit_object()], *_LINKING), "shows it", executable=True)
        files.write("break.gdb", _breakpoints(reproducer), "stops a debugger where it goes wrong")
        notes += [*reproducer["notes"], *_differing(reference, function, verdict, reproducer)]

    def _rest(self, reference: Reference, function: str, kept: str) -> ProgramRest:
        key = reference.case.path, function
        if key not in self._rests:
            self._rests = {key: without(reference, function, kept)}  # items come one after another
        return self._rests[key]


class _FolderFiles:
    """The files of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._described: list[tuple[str, str]] = []

    def write(self, name: str, data: str | bytes, words: str, *, executable: bool = False) -> None:
        path = self.folder / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass"))
        path.chmod(0o755 if executable else 0o644)
        self._described.append((name, words))

    def finish(self, prompt: Prompt, answer: Answer, verdict: Verdict, notes: list[str]) -> None:
        """Write the README.txt, which says what there is and what is to be minded."""
        runs = any(name == "run" for name, _ in self._described)
        lines = [
            _TITLE,
            "",
            f"{prompt.key}, sample {answer.sample}",
            str(verdict),
            "",
            *(f"{name:<14}{words}".rstrip() for name, words in self._described),
            *(("", *_USE) if runs else ()),
            *(("", *(f"- {harmless(note)}" for note in notes)) if notes else ()),
        ]
        (self.folder / "README.txt").write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogatepass")


_USE = (
    "./run                       the reference and the candidate on the same input, and in what they differ",
    "gdb -x break.gdb ./run      the candidate alone, stopped where it goes wrong",
    "",
    "`run` is a model's machine code and has your rights: nothing checks what it does. Start it in a sandbox, such as",
    "a container without network and without files that matter. Nothing here has started it.",
    "",
    "Memory, registers, stack and heap are as in the judge's emulator, at the same addresses. What differs:",
    "- The program's own code, constants and variables lie elsewhere, and other things beside them.",
    "- The emulator has no files, no network and an empty environment; here the kernel is a real one.",
    "- A hang is decided by time, not by instructions.",
    "- Pointers to the heap are compared as they are; the judge looks only at what they lead to.",
)


def _differing(reference: Reference, function: str, verdict: Verdict, reproducer: Reproducer) -> Iterator[str]:
    """What a native run can't show as the emulator did."""
    mentioned = mentioned_globals(reference.module, function)
    if any(_SALTED.match(f"@{name}") for name in mentioned):
        yield "The clock, random bytes and the process's number are part of the input: here they are the machine's."
    forbidden = _FORBIDDEN.search(verdict.message)
    if forbidden:
        yield f"The judge stops at `{forbidden[1]}`; here the processor, or the kernel, does with it what it does."
    if reproducer["whole"]:
        yield "The name of the program is `./run`, and it runs on the process's own stack."


def _breakpoints(reproducer: Reproducer) -> str:
    """Commands for gdb."""
    line, passes = int(reproducer["stop"]["line"]), int(reproducer["stop"]["passes"])
    ignored = [f"ignore $bpnum {passes}"] if passes else []
    commands = (
        "set pagination off",
        "set confirm off",
        "set environment LLMC_HERE=1",
        f"break {DEBUG_FILE_NAME}:{line}",
    )
    return "\n".join((*commands, *ignored, "run")) + "\n"


def _build() -> str:
    """A script that builds `run` from the other files, with the bundled toolchain or another one that has its place."""
    clang = f"-m ziglang cc -target {get_target().zig_target}"
    return "\n".join((
        "#!/bin/sh",
        "# Needs ziglang, as the package that wrote this: PYTHON=... names a Python that has it.",
        'set -e; cd "$(dirname "$0")"',
        f'[ -n "$PYTHON" ] || PYTHON={shlex.quote(sys.executable)}',
        f'"$PYTHON" {clang} {" ".join(_FREESTANDING)} -c runner.c -o runner.o',
        f'"$PYTHON" {clang} {" ".join(_FREESTANDING)} -c input.c -o input.o',
        f'"$PYTHON" {clang} -O0 -w -fno-sanitize=all -c program.ll -o program.o',
        f'"$PYTHON" {clang} -static -no-pie {" ".join(_LINKING)} -o run candidate.o program.o input.o runner.o',
    )) + "\n"  # fmt: skip


@functools.cache
def _kit_object() -> bytes:
    return compile_c(Path(__file__).with_name("runner.c"), *_FREESTANDING, "-g0")


def _part(text: str) -> str:
    """A name as one part of a path: readable, of one length at most, and no other name's."""
    plain = re.sub(r"[^A-Za-z0-9._+=-]+", "-", text).strip("-")
    if plain == text and text.strip(".") and len(text) <= _LONGEST:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{plain.strip('.')[:_LONGEST] or 'x'}-{digest}"


def _remove(place: Path) -> None:
    """Take a folder of an earlier session away. Raises OSError where something else is in its place."""
    if place.is_symlink():
        place.unlink()
    elif place.exists():
        readme = place / "README.txt"
        if not readme.is_file() or not readme.read_bytes().startswith(_TITLE.encode()):
            raise FileExistsError(0, "something is there that was not written here", os.fspath(place))
        shutil.rmtree(place)
