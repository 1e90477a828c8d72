"""The values of flags and ini keys, from their texts. Each function raises ValueError with a message for users."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import cast

from pytest_llmcompiler.model.answer import TASKS, Task, get_template_label
from pytest_llmcompiler.program.case import split_passes
from pytest_llmcompiler.report.cost_ratios import MEASURES
from pytest_llmcompiler.report.export import ExportFile, parse_export


def parse_passes(text: str) -> tuple[str, ...]:
    pass_lists = tuple(split_passes(text))
    if not all(pass_lists):
        raise ValueError("expected pass lists separated by commas")
    return pass_lists


def parse_templates(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    labels = {get_template_label(name) for name in names}
    if not all(names) or len(labels) < len(names):
        raise ValueError("expected prompt templates of different names, separated by commas")
    return names


def parse_tasks(text: str) -> tuple[Task, ...]:
    parse = parse_choice(*TASKS)
    return tuple(dict.fromkeys(cast(Task, parse(name.strip())) for name in text.split(",")))


def parse_counts(text: str) -> tuple[int, ...]:
    return tuple(parse_count(part) for part in text.split(","))


def parse_integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("expected a whole number") from None


def _parse_float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("expected a number") from None


def parse_count(text: str) -> int:
    value = parse_integer(text)
    if value < 1:
        raise ValueError("expected a number of at least 1")
    return value


def parse_temperature(text: str) -> float:
    value = _parse_float(text)
    if not 0 <= value < 100:
        raise ValueError("expected a number from 0 to 100")
    return value


def parse_share(text: str) -> float:
    value = _parse_float(text)
    if not 0 < value <= 1:
        raise ValueError("expected a number above 0 and up to 1")
    return value


def parse_coverage(text: str) -> float:
    value = _parse_float(text)
    if not 0 <= value <= 1:
        raise ValueError("expected a number from 0 to 1")
    return value


def parse_effort(text: str) -> float:
    value = _parse_float(text)
    if not 0 <= value < math.inf:
        raise ValueError("expected a number of 0 or more")
    return value


def parse_requirement(text: str) -> float | None:
    """The share of judged samples that must pass; 0 stands for `any`, None for `none`."""
    words = {"any": 0.0, "all": 1.0, "none": None}
    if text in words:
        return words[text]
    try:
        return parse_share(text)
    except ValueError:
        raise ValueError("expected any, all, none, or a number above 0 and up to 1") from None


def parse_thresholds(text: str) -> dict[str, float]:
    """The least pass@k, as a fraction of 1, and the least of measures of speed and size, by their names."""
    thresholds = {}
    for part in text.split(","):
        name, is_given, number = (word.strip() for word in part.partition("="))
        if is_given and name in MEASURES:
            thresholds[name] = _parse_ratio(number)
        elif is_given and re.fullmatch(r"pass@\d+", name):
            thresholds[f"pass@{parse_count(name.removeprefix('pass@'))}"] = parse_share(number)
        else:
            raise ValueError(
                "expected pass@K=SHARE, such as pass@1=0.8, or speed@LEVEL=RATIO, such as speed@O3=0.9 or size@Oz=0.9"
            )
    return thresholds


def _parse_ratio(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise ValueError(f"expected a ratio above 0, found {text!r}")
    return value


_ON, _OFF = ("on", "true", "yes", "1"), ("off", "false", "no", "0")
"""The spellings of a switch, some of those that pytest takes for its own booleans."""


def parse_switch(text: str) -> bool:
    if text.lower() not in (*_ON, *_OFF):
        raise ValueError("expected on or off")
    return text.lower() in _ON


def parse_cache(text: str) -> str:
    if text.lower() in (*_ON, *_OFF):
        return "on" if parse_switch(text) else "off"
    return parse_choice("on", "off", "refresh")(text)


def parse_exports(text: str) -> tuple[ExportFile, ...]:
    files = tuple(parse_export(part.strip()) for part in text.split(","))
    if len({file.path for file in files}) < len(files):
        raise ValueError("expected different files")
    return files


def parse_choice(*names: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in names:
            raise ValueError(f"expected {', '.join(names[:-1])} or {names[-1]}")
        return text

    return parse
