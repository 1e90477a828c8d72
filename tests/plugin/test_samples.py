"""Samples of an item: their records, the table, how many must pass, and how a failure reads."""

from __future__ import annotations

import json
import re

import pytest
from sessions import (
    LOW,
    PROMPT_MODEL,
    TWICE,
    VEX,
    WRONG,
    assert_no_traceback,
    put,
    records,
    replay,
    run,
    text_of,
)


def test_what_is_recorded_replays_to_the_same_verdicts(project: pytest.Pytester) -> None:
    answers = [TWICE, WRONG, "no code at all", "twice:\n\tfrobnicate %eax\n", "twice:\n\tcall nobody\n\tret\n", VEX]
    model = replay(
        project, *answers, f"<code>\n{TWICE}", "twice:\n1:\tjmp 1b\n", "twice:\n\tmovl (%rax), %eax\n\tret\n"
    )
    result = run(project, model, "--llmc-samples=9", "--llmc-record=first.jsonl", "-k", "twice")
    result.assert_outcomes(passed=1, deselected=1)
    first = records(project.path / "first.jsonl")
    assert [line["verdict"] for line in first] == [
        "pass",
        "mismatch",
        "no-answer",
        "assemble",
        "link",
        "inconclusive",
        "pass",
        "hang",
        "crash",
    ]
    run(project, "--llmc-model=replay:first.jsonl", "--llmc-samples=9", "--llmc-record=second.jsonl", "-k", "twice")
    second = records(project.path / "second.jsonl")
    assert [(line["verdict"], line["detail"], line["answer"]) for line in second] == [
        (line["verdict"], line["detail"], line["answer"]) for line in first
    ]
    for line in first:
        assert line["schema"] == 1 and line["case"] == "a.c" and line["task"] == "asm" and line["prompt"] == "meta"


def test_samples_judged_side_by_side_are_recorded_in_their_order(project: pytest.Pytester) -> None:
    """The first answer takes the longest, and the answers that are copies wait for it."""
    slow = "twice:\n1:\tjmp 1b\n"
    model = replay(project, slow, WRONG, TWICE, slow, VEX, TWICE, VEX, "prose")
    kinds = ["hang", "mismatch", "pass", "hang", "inconclusive", "pass", "inconclusive", "no-answer"]
    lines = {}
    for jobs, words in (("1", "1 worker"), ("3", "up to 3 workers")):
        args = (model, f"--llmc-jobs={jobs}", "--llmc-samples=8", f"--llmc-record={jobs}.jsonl", "-k", "twice")
        result = run(project, *args)
        result.assert_outcomes(passed=1, deselected=1)
        result.stdout.fnmatch_lines(
            [f"llmc: judge {words}, each keeps functions ready in 768 MiB, and in more that is free"]
        )
        lines[jobs] = records(project.path / f"{jobs}.jsonl")
        assert [line["verdict"] for line in lines[jobs]] == kinds
        assert [line["sample"] for line in lines[jobs]] == list(range(8))
    assert [line["detail"] for line in lines["1"]] == [line["detail"] for line in lines["3"]]


def test_the_next_items_are_prepared_meanwhile(project: pytest.Pytester) -> None:
    project.makeconftest(
        """
        from pytest_llmcompiler.judge import client

        real = client.JudgeClient.prepare

        def prepare(self, case, function):
            print("prepares", function)
            return real(self, case, function)

        client.JudgeClient.prepare = prepare
        """
    )
    model = replay(project, ("twice", TWICE), ("low", LOW))
    for flags, is_ahead in ((["--llmc-jobs=2"], True), (["--llmc-jobs=1"], False), (["--llmc-jobs=2", "-x"], False)):
        result = run(project, model, "-s", *flags)
        result.assert_outcomes(passed=2)
        assert ("prepares low" in text_of(result)) == is_ahead
        assert "prepares twice" not in text_of(result)


def test_answers_before_the_fault_of_a_model_are_judged(project: pytest.Pytester) -> None:
    project.makeconftest(
        PROMPT_MODEL.replace(
            "yield Answer(prompt.reference())",
            "yield Answer(prompt.reference(), 0); yield Answer('prose', 1); pytest.skip('enough')",
        )
    )
    result = run(project, "-k", "twice", "--llmc-samples=3", "--llmc-record=out.jsonl", "-rs")
    result.assert_outcomes(skipped=1, deselected=1)
    assert "enough" in text_of(result)
    assert [line["verdict"] for line in records(project.path / "out.jsonl")] == ["pass", "no-answer"]


def test_an_answer_that_hit_the_token_limit(project: pytest.Pytester) -> None:
    result = run(project, replay(project, "<code>\ntwice:\n\tleal (%rdi", stop="length"), "-k", "twice")
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(["truncated: the token limit came before the end of 'twice'*"])


def test_the_table(project: pytest.Pytester) -> None:
    model = replay(project, *[TWICE, WRONG, WRONG, VEX])
    result = run(project, model, "--llmc-samples=4", "--llmc-pass-k=1,3", "-k", "twice")
    assert result.outlines.count("by file") >= 1
    [headline] = [line for line in result.outlines if "pass@1" in line and "samples" in line]
    assert re.search(r"items +samples +pass@1 +pass@3 +speed@O3 +size@Oz", headline)
    [first, second] = [line for line in result.outlines if line.startswith("overall")]
    # One of three judged samples is right: 1/3 at one try, certain at three.
    assert re.match(r"overall +1 +4 +33\.3 \(0-100\) +100 \(0-100\) +1\.00 +1\.00$", first)
    assert re.match(r"overall +100 +1 +2 +1$", second)
    result.stdout.fnmatch_lines(["*1 inconclusive, counted neither as passed nor as failed:"])


def test_inconclusive_samples_are_shown_and_counted_apart(project: pytest.Pytester) -> None:
    result = run(project, replay(project, VEX), "-rs", "-k", "twice")
    result.assert_outcomes(skipped=1, deselected=1)
    result.stdout.fnmatch_lines(["SKIPPED*inconclusive: *vpxor*"])
    result.stdout.fnmatch_lines(["*1 inconclusive, counted neither as passed nor as failed:"])
    overall = next(line for line in result.outlines if line.startswith("overall"))
    assert re.match(r"overall +1 +1 +- +- +0 +1", overall)


def test_a_failure_is_worth_reading(project: pytest.Pytester) -> None:
    put(
        project,
        "cases/b.c",
        "#include <stddef.h>\n"
        "int sum(const unsigned char *buf, size_t len)\n"
        "{ int s = 0; for (size_t i = 0; i < len; i++) s += buf[i]; return s; }\n",
    )
    short = "sum:\n\txorl\t%eax, %eax\n\ttestq\t%rsi, %rsi\n\tje\t1f\n\tmovzbl\t(%rdi), %eax\n1:\tretq\n"
    far = "Here it is:\n\n```asm\nsum:\n\txorl\t%eax, %eax\n\tmovl\t0x10(%rax), %eax\n\tretq\n```\n"
    abi = "sum:\n\txorl %eax,%eax\n\txorl %ebx,%ebx\n\ttestq %rsi,%rsi\n\tje 2f\n1:\tmovzbl -1(%rdi,%rsi),%ecx\n"
    abi += "\taddl %ecx,%eax\n\tdecq %rsi\n\tjne 1b\n2:\tretq\n"
    model = replay(project, *[("sum", text) for text in (short, far, abi)], case="b.c")
    lines = (project.path / "answers.jsonl").read_text().splitlines()
    numbered = [json.dumps(json.loads(line) | {"sample": number}) for number, line in enumerate(lines)]
    put(project, "answers.jsonl", "\n".join(numbered) + "\n")
    result = run(project, model, "cases/b.c", "--llmc-samples=3")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*sum[[]asm-O0[]]*",
            "0 of 3 samples pass (*1 mismatch*)",
            "sample 0:",
            "mismatch: return value: expected 1, observed 0",
            "  input     buf = *len = 2*",
            "*expected  observed",
            "  return value  1 *0",
            "sample 1:",
            "crash: bad read of 4 bytes at 0x10 (a null pointer) in line 6",
            "  input     *",
            "  at        line 6: movl 0x10(%rax), %eax",
            "  expected  a return; observed: *",
            "sample 2:",
            "abi: *%rbx is not restored",
        ]
    )
    assert_no_traceback(result)


def test_a_refused_answer_names_line_and_column(project: pytest.Pytester) -> None:
    text = "The answer:\n<code>\ntwice:\n\tmovl\t%edi, %eax\n\taddl\t%eax, %eex\n\tretq\n</code>\n"
    result = run(project, replay(project, text), "-k", "twice", "--llmc-record=out.jsonl")
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(["assemble: *"])
    [record] = records(project.path / "out.jsonl")
    assert (record["detail"]["line"], record["detail"]["column"]) == (5, 13)
    assert re.search(r"\b5\b", text_of(result).partition("assemble: ")[2].splitlines()[0]), "the line goes unsaid"
