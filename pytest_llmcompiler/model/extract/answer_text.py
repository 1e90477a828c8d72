"""What surrounds the answer proper in a model's text: line ends, a chat template's marks, reasoning, JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_CHAT_MARK = re.compile(
    r"(?:<\|(?:im_start|im_end|eot_id|end|endoftext|end_of_text|assistant|user|return)\|>|</s>|<(?:start|end)_of_turn>|<eos>)"
    r"[ \t]*$",
    re.MULTILINE,
)
"""Tokens of chat templates that servers leave in texts. Elsewhere in a line they may be part of a string."""
_REASONING_TAG = re.compile(
    r"<(/?)(?:think|thinking|thought|reasoning|reflection|scratchpad)>|\[(/?)think\]"
    r"|<\|(?:begin|(end))_of_thought\|>",
    re.IGNORECASE,
)
_DEEPEST_JSON = 4
"""Levels of objects and lists in which an answer in JSON is searched for code."""


def normalise_answer(text: str) -> str:
    """The text without carriage returns and marks of chat templates. Lines stay what they are."""
    text = text.replace("\r\n", "\n")
    return _CHAT_MARK.sub("", text) if "<" in text else text


def blank_reasoning(text: str) -> tuple[str, bool]:
    """The text with its reasoning (`<think>…</think>`) replaced by as many empty lines, and whether that has no end.

    Reasoning that ends and does not begin starts with the text: the prompt has opened it.
    """
    if "<" not in text and "[" not in text:
        return text, False
    pieces, copied, start = list[str](), 0, -1
    for tag in _REASONING_TAG.finditer(text):
        is_closing = any(tag.groups())
        if not is_closing:
            start = tag.start() if start < 0 else start
            continue
        begin = start if start >= 0 else copied
        pieces += (text[copied:begin], "\n" * text.count("\n", begin, tag.end()))
        copied, start = tag.end(), -1
    if start >= 0:
        pieces += (text[copied:start], "\n" * text.count("\n", start))
        return "".join(pieces), True
    return "".join((*pieces, text[copied:])), False


def unwrap_json(text: str, label: re.Pattern[str]) -> str | None:
    """The string that has the label, where the text is JSON, such as `{"assembly": "f:\\n…"}`; else None."""
    stripped = text.strip()
    if stripped.startswith("```"):
        stripped = stripped.strip("`").removeprefix("json").strip()
    if stripped[:1] not in ("{", "[", '"') or stripped[-1:] not in ("}", "]", '"'):
        return None
    try:
        value = json.loads(stripped, strict=False)
    except (ValueError, RecursionError):
        return None
    strings = [string for string in _list_strings(value, 0) if label.search(string)]
    return max(strings, key=lambda string: string.count("\n"), default=None)


def _list_strings(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif depth < _DEEPEST_JSON and isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _list_strings(inner, depth + 1)


def unescape_newlines(text: str) -> str | None:
    """The text with `\n` and `\t` decoded, where it has them in the place of line ends; else None."""
    if "\n" in text.strip() or text.count("\\n") < 2:
        return None
    return text.replace("\\n", "\n").replace("\\t", "\t").replace('\\"', '"')
