"""The errors that one room raises and another handles.

`LLMCompilerError` is the root of all of them, and of the errors that a room keeps to itself. The name of each ends in
`Error`.
"""

from __future__ import annotations


class LLMCompilerError(Exception):
    """The root: whatever this package raises on purpose is one of these."""


class AssemblyError(LLMCompilerError):
    """The text is not assembly that can be taken. `str()` is the message alone, without the place."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        """1-based line of the text, 0 where the assembler names no place."""
        self.column = column
        """1-based column in characters, 0 where the assembler names no place."""


class LinkError(LLMCompilerError):
    """The text assembles, but its symbols can't be resolved."""

    def __init__(self, message: str, missing: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.missing = missing
        """The undefined symbols, sorted; empty where the error is another one."""


class UnsupportedError(LinkError):
    """Valid code that this loader can't place, like thread-local storage: no fault of the text."""


class SandboxError(LLMCompilerError):
    """The base of all that can go wrong in the child."""


class ChildDiedError(SandboxError):
    """The child ended without a result: a signal, an exit, or memory used up."""

    def __init__(self, reason: str, *, signal: int | None = None, status: int | None = None, stderr: str = "") -> None:
        super().__init__(reason if not stderr else f"{reason}; it printed: {stderr[-400:].strip()}")
        self.reason = reason
        """What happened, in words, without what was printed."""
        self.signal = signal
        """The signal that ended the child, None if it ended by itself."""
        self.status = status
        """The exit status, None if a signal ended the child."""
        self.stderr = stderr
        """What the child wrote to stdout and stderr, the first `OUTPUT_BYTES` of it."""


class ChildTimeoutError(SandboxError):
    """The child was killed at its time limit."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"not finished after {seconds:g} s")
        self.seconds = seconds


class ChildFaultError(SandboxError):
    """The function raised an exception in the child: a fault of the harness, not of what it worked on.

    The message holds the exception, and below it the child's traceback.
    """


class KeystoneRefusalError(LLMCompilerError):
    """Keystone can't or shall not assemble this; the message says why."""


class LoweringError(LLMCompilerError):
    """IR that LLVM does not make code of. `str()` is the first line of LLVM's message."""

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        first, *rest = message.strip().splitlines() or ["LLVM gives no reason"]
        super().__init__(first)
        self.more = tuple(f"  {words.rstrip()}" for words in rest[:4])
        """Further lines of the message."""
        self.line, self.column = line, column
        """The place in the text, counted from 1; 0 where LLVM names none."""


class CaseError(LLMCompilerError):
    """A case that can't be used; the message names the file and line and says what to do."""


class NoCSourceError(CaseError):
    """A prompt that shows C can't be made of a case that is IR."""


class ClangError(LLMCompilerError):
    """clang refused a case, or can't be run; the message is clang's own, or says what to install."""


class IRError(LLMCompilerError):
    """IR that LLVM does not accept; the message is LLVM's."""


class PassListError(LLMCompilerError):
    """A pass list that LLVM does not know; the message is LLVM's."""


class OptimiserError(LLMCompilerError):
    """LLVM did not get through the passes; the message says how it ended."""


class PromptTooLongError(LLMCompilerError):
    """The prompt leaves no room for an answer in the model's context."""

    def __init__(self, prompt_tokens: int, context: int) -> None:
        super().__init__(
            f"the prompt has {prompt_tokens} tokens and the model's context only {context}: "
            "raise --llmc-n-ctx, or leave the function out with an `LLMC: functions` directive"
        )
        self.prompt_tokens = prompt_tokens
        self.context = context


class ModelError(LLMCompilerError):
    """The model can't be had or can't answer; the message says why and what to do."""


class TemplateError(LLMCompilerError, ValueError):
    """A template that can't be found or read; the message names the file and the line."""


class NoCodeError(LLMCompilerError):
    """The answer holds no code: the verdict `no-answer`."""


class TruncatedError(LLMCompilerError):
    """The token limit came before the end of the function: the verdict `truncated`."""


class UnansweredError(ModelError):
    """This request gets no answer; another may."""


class RequestRejectedError(UnansweredError):
    """The server finds fault with the request itself."""

    def __init__(self, message: str, text: str, room: int | None) -> None:
        super().__init__(message)
        self.text = text
        """The server's own words."""
        self.room = room
        """Tokens that the prompt leaves for an answer; None where the server does not say."""


class LayoutError(LLMCompilerError):
    """The input has more or larger objects than there are slots."""


class JudgeError(LLMCompilerError):
    """The harness failed: not the fault of any candidate. The message holds the traceback of the judge's process."""


class BaselineError(LLMCompilerError):
    """A baseline that can't be used; the message says what to do."""


class ResumeError(LLMCompilerError):
    """A record that can't be gone on with; the message says why and what to do."""


class ExportError(LLMCompilerError):
    """A table that can't be written; the message says what to do."""


class SettingError(LLMCompilerError):
    """A setting that leads nowhere; the message names the flag."""


class ReproFolderError(LLMCompilerError):
    """A folder can't be written; the message says which and why."""


class NativeLinkError(LLMCompilerError):
    """A program that can't be made; the message says why."""


class ReproSourceError(LLMCompilerError):
    """A scene that can't be written as C; the message says why."""
