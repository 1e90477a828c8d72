"""A failing whole program as files: the answer, its input, and a script that shows the failure natively."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Mapping
from typing import Any

from pytest_llmcompiler.errors import ReproSourceError
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.repro.folder_files import FolderFiles

_SCRIPT = """\
#!/bin/sh
# Links the answer and the case with this machine's C library, runs both on the input, and shows where they differ.
# The answer is a model's machine code and has your rights: nothing checks what it does. Start it in a sandbox.
cd "$(dirname "$0")" || exit 2
grep -v '^[[:space:]]*\\.addrsig' {assembly} > answer.s  # a directive of clang that GNU as does not know
cc -no-pie -o answer answer.s -lm || exit 2
cc -w {flags} -o reference {case} -lm || exit 2
cd files || exit 2
for program in reference answer; do
    ../$program {arguments} < ../stdin > ../$program.out 2> ../$program.err
    echo "exit code $?" >> ../$program.err
done
cd ..
diff reference.out answer.out && diff reference.err answer.err && echo "no difference with this C library"
"""


def write_whole_program(files: FolderFiles, reference: Reference, assembly: str, detail: Mapping[str, Any]) -> None:
    """Write the input of a failing program, and the script. Raises ReproSourceError where the verdict has no input."""
    start = detail.get("program_input")
    if not isinstance(start, Mapping):
        raise ReproSourceError("the verdict has no input.")
    standard_input, arguments = bytes.fromhex(start["stdin"]), [bytes.fromhex(text) for text in start["argv"]]
    files.write("stdin", standard_input, "its standard input")
    (files.folder / "files").mkdir()
    for name, data in reference.case.files.items():
        path = files.folder / "files" / posixpath.normpath(posixpath.join("/", name)).lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    script = _SCRIPT.format(
        assembly=assembly,
        flags=shlex.join(reference.case.cflags),
        case=shlex.quote(str(reference.case.path.absolute())),
        arguments=shlex.join(argument.decode("utf-8", "surrogateescape") for argument in arguments),
    )
    data = script.encode("utf-8", "surrogateescape")
    files.write("run.sh", data, "builds the answer and the case, and compares them on this input", executable=True)
