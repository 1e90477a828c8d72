"""The exceptions that one room raises and another room handles, with one root.

Every exception of the package derives from `LLMCompilerError`, those that a room keeps to itself too, and its name ends
in `Error`. The one exception to that rule is `corpus.search.SearchDoneError`, which must not be an `Exception`.

A fault of the judged code is never an exception for the user: the judge turns `AssemblyError`, `LinkError`,
`LoweringError`, `NoCodeError` and `TruncatedError` into verdicts. All other errors stop a test, a session or a command.
"""

from __future__ import annotations


class LLMCompilerError(Exception):
    """The root of all exceptions that this package raises on purpose."""


# -- from answer to machine code: each becomes a verdict


class AssemblyError(LLMCompilerError):
    """No assembler accepts the text: the verdict `assemble`.

    Raised by `assembler` and `lowering`. `str()` is the message without the line and the column.
    """

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        """Line of the text, counted from 1; 0 where the assembler names none."""
        self.column = column
        """Column in characters, counted from 1; 0 where the assembler names none."""


class LinkError(LLMCompilerError):
    """The text assembles, but an address in it can't be filled in: the verdict `link`.

    Raised by `assembler` for an undefined symbol, a missing function, a value that does not fit its field, or an image
    that is too large.
    """

    def __init__(self, message: str, missing: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.missing = missing
        """The undefined symbols, sorted; empty where the error is another one."""


class ProcessStartError(LLMCompilerError):
    """The program of a case ends before `main`: a function that runs before it, a constructor, ends the process."""


class UnsupportedError(LinkError):
    """The text is valid, but uses a feature that the linker lacks, like a table that only dynamic linkers
    fill: `inconclusive`.

    Raised by `assembler`, and by `targets` for types that a calling convention passes in a way that is not supported.
    """


class LoweringError(LLMCompilerError):
    """LLVM does not accept IR of an answer, or can't make code of it: the verdict `assemble`.

    Raised by `lowering`. `str()` is the first line of LLVM's message.
    """

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        first, *rest = message.strip().splitlines() or ["LLVM gives no reason"]
        super().__init__(first)
        self.details = tuple(f"  {words.rstrip()}" for words in rest[:4])
        """The next lines of the message, four at most, indented."""
        self.line, self.column = line, column
        """Line and column of the text, counted from 1; 0 where LLVM names none."""


class NoCodeError(LLMCompilerError):
    """The answer holds no code: the verdict `no-answer`. Raised by `model.extract`."""


class TruncatedError(LLMCompilerError):
    """The token limit cut the answer off before its code was complete: the verdict `truncated`.

    Raised by `model.extract`.
    """


# -- child processes


class SandboxError(LLMCompilerError):
    """The base of the ways in which a sandboxed call fails. Raised by `sandbox.call`."""


class ChildDiedError(SandboxError):
    """The child process ended without a result: by a signal, by exiting, or because its memory limit was reached."""

    def __init__(self, reason: str, *, signal: int | None = None, status: int | None = None, stderr: str = "") -> None:
        super().__init__(reason if not stderr else f"{reason}; it printed: {stderr[-400:].strip()}")
        self.reason = reason
        """What happened, without the child's output."""
        self.signal = signal
        """The number of the signal that ended the child; None if it exited."""
        self.status = status
        """The exit status; None if a signal ended the child."""
        self.stderr = stderr
        """What the child wrote to stdout and stderr: the first `sandbox.OUTPUT_BYTES` bytes, decoded."""


class ChildTimeoutError(SandboxError):
    """The child process was ended because it computed for as long as it may."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"not finished after {seconds} s")
        self.seconds = seconds
        """The limit, in seconds of CPU time."""


class ChildLostError(SandboxError):
    """The machine did not let the child process finish: it got too little CPU time, or was killed from outside, as
    Linux does when memory is short. It says nothing of the input: the verdict `inconclusive`."""


class ChildFaultError(SandboxError):
    """The sandboxed function raised an exception: a fault of the harness, not of its input.

    The message holds the exception and, below it, the child's traceback.
    """


# -- cases and the reference compiler


class CaseError(LLMCompilerError):
    """A case can't be used. The message names file and line, and says what to change.

    Raised by `program`. pytest reports it as a collection error or as the error of an item.
    """


class CompileError(CaseError):
    """A case that a compiler refuses. Raised by `program`; `str()` is the compiler's first errors, and ways out."""

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind
        """The kind of the first error: `missing header`, `syntax error`, …; `other` where it is of no known kind."""


class UnfitTemplateError(CaseError):
    """A prompt template shows what the case does not have: the item is skipped."""


class NoCSourceError(UnfitTemplateError):
    """A prompt template shows C, or a compiler reads only C, but the case is IR: the item is skipped."""


class ClangError(LLMCompilerError):
    """clang rejects a case or can't be started. The message is clang's own, or says what to install.

    Raised by `program.clang`.
    """


class IRError(LLMCompilerError):
    """LLVM does not accept IR. The message is LLVM's. Raised by `program`."""


class PassListError(LLMCompilerError):
    """LLVM does not know a pass list. The message is LLVM's. Raised by `program.optimiser`."""


class OptimiserError(LLMCompilerError):
    """LLVM's optimiser crashed or took too long. The message says how it ended. Raised by `program.optimiser`."""


# -- prompts and models


class TemplateError(LLMCompilerError, ValueError):
    """A prompt template can't be found or read. The message names file and line; correct `--llmc-prompt`.

    Raised by `model.prompt`.
    """


class PromptTooLongError(LLMCompilerError):
    """The prompt leaves no room for an answer in the model's context: the item is skipped. Raised by `model`."""

    def __init__(self, prompt_tokens: int, context: int) -> None:
        super().__init__(
            f"the prompt has {prompt_tokens} tokens and the model's context only {context}: "
            "raise --llmc-n-ctx, or leave the function out with an `LLMC: functions` directive"
        )
        self.prompt_tokens = prompt_tokens
        self.context = context
        """Tokens that prompt and answer may have together."""


class ModelError(LLMCompilerError):
    """The model can't be loaded, or can't answer any more. The message says why and what to do. Raised by `model`."""


class UnansweredError(ModelError):
    """A server answers this request with a permanent error; it may answer other requests. Raised by `model.server`."""


class RequestRejectedError(UnansweredError):
    """A server rejects the contents of the request, for example because prompt and answer exceed its context."""

    def __init__(self, message: str, text: str, available_tokens: int | None) -> None:
        super().__init__(message)
        self.text = text
        """The server's own message."""
        self.available_tokens = available_tokens
        """Tokens that the prompt leaves for an answer; None where the server does not say."""


# -- judging


class LayoutError(LLMCompilerError):
    """An input has more objects, or larger ones, than the emulated memory has slots for. Raised by `values.layout`.

    Such an input is not used.
    """


class JudgeError(LLMCompilerError):
    """The harness itself failed, through no fault of any candidate: report it as a bug.

    Raised by `judge.client`. The message holds the traceback of the judging process.
    """


class JudgeTimeoutError(JudgeError):
    """There was no verdict within the time limit that the caller has set. Raised by `judge.pool`."""


# -- rewards


class ColumnError(LLMCompilerError, ValueError):
    """A row of a dataset lacks a column that a sample needs, or the column holds something else. The message names the
    column. Raised by `rewards`.
    """


class BodyError(LLMCompilerError, ValueError):
    """A request of a training framework is not in the form that the framework is known to send. The message says which
    part is not. Raised by `rewards`.
    """


# -- data sets


class DatasetError(LLMCompilerError):
    """A data set can't be imported: a file can't be read, or the folder can't be written. The message names it and
    says what to do. Raised by `importers`.
    """


# -- records, reports and reproducers


class BaselineError(LLMCompilerError):
    """A baseline file can't be read, written or compared with this session. The message says what to do.

    Raised by `report`.
    """


class ResumeError(LLMCompilerError):
    """The records of an earlier session can't be continued, because they were made with other settings.

    Raised by `report.resume`. The message names the difference.
    """


class RecordError(LLMCompilerError):
    """A record can't be written, for example since the disk is full. The message names the file and says why.

    Raised by `report.records`.
    """


class ExportError(LLMCompilerError):
    """The file of `--llmc-export` can't be written. The message says why. Raised by `report.export`."""


class ResultsError(LLMCompilerError):
    """Records can't be read, compared or drawn. The message says why, and names file and line of what is no record.

    Raised by `results`.
    """


class SettingError(LLMCompilerError):
    """The value of a flag or ini key can't be used. The message names the flag. Raised by `session`, `questions`
    and `judge.api`."""


class ReproFolderError(LLMCompilerError):
    """The folder of a failing sample (`--llmc-artifacts`) can't be written. The message names it and says why.

    Raised by `repro.folder`.
    """


class NativeLinkError(LLMCompilerError):
    """Assembly can't be linked into a native program. The message says why. Raised by `repro`."""


class ReproSourceError(LLMCompilerError):
    """A failure can't be written as a C program. The message says why. Raised by `repro`."""


class EngineError(LLMCompilerError):
    """The engine can't be built, loaded or used: the Python machine serves."""


class EmulatorError(LLMCompilerError):
    """The installed unicorn does not compute what verdicts rest on. The message says what, and what to install.

    Raised by `emulator.self_test`.
    """


class UnmodelledError(LLMCompilerError):
    """Code that the prover does not model, so that nothing is proved of it. The message says why."""
