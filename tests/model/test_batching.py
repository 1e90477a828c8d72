"""Many answers at once from a real llama.cpp model: they must not depend on how they were batched."""

from __future__ import annotations

import random
import threading
import warnings
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from random_gguf import CONTEXT, LONG_TOKEN, write_random_gguf

from pytest_llmcompiler.errors import ModelError, PromptTooLongError
from pytest_llmcompiler.model.answer import Answer, Question, Sampling
from pytest_llmcompiler.model.llama.backend import LlamaBackend
from pytest_llmcompiler.model.llama.resources import measure_free_memory
from pytest_llmcompiler.model.llama.weights import Weights
from pytest_llmcompiler.model.queue.job_queue import JobQueue

pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")

SAMPLING = Sampling(temperature=1.0, top_p=0.95, max_tokens=60, seed=1)
GREEDY = Sampling(0.0, max_tokens=60)


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_gguf(tmp_path_factory.mktemp("model") / "random.gguf")


def ask(function: str, text: str | None = None, draft: str = "") -> Question:
    prompt = f"[INST] Give the assembly of {function}: <code>define</code> [/INST]" if text is None else text
    return Question(case="a.c", function=function, task="asm", passes="O0", text=prompt, draft=draft)


@contextmanager
def open_backend(path: Path, sampling: Sampling = SAMPLING, **options: Any) -> Iterator[tuple[LlamaBackend, JobQueue]]:
    with warnings.catch_warnings():
        # A CPU build warns on a machine with a GPU, which these tests do not check.
        warnings.simplefilter("ignore", UserWarning)
        backend = LlamaBackend(path, sampling, **{"streams": 16, **options})
    job_queue = JobQueue()

    def work() -> None:
        try:
            backend.work(job_queue)
        except BaseException as error:  # without this the test would wait for ever
            job_queue.fail(ModelError(repr(error)))
            raise

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield backend, job_queue
    finally:
        job_queue.close()
        worker.join()
        backend.close()


def collect_answers(job_queue: JobQueue, questions: Sequence[Question], samples: int) -> dict[str, list[Answer]]:
    for order, question in enumerate(questions):
        job_queue.plan(question, samples, order)
    return {
        question.function: sorted(job_queue.answers(question, samples), key=lambda answer: answer.sample)
        for question in questions
    }


def ask_all(path: Path, questions: Sequence[Question], samples: int, *args: Any, **options: Any) -> Any:
    with open_backend(path, *args, **options) as (_, job_queue):
        return list_facts(collect_answers(job_queue, questions, samples))


def list_facts(answers: dict[str, list[Answer]]) -> dict[str, list[tuple[Any, ...]]]:
    return {
        name: [
            (answer.text, answer.sample, answer.stop, answer.prompt_tokens, answer.answer_tokens, answer.seed)
            for answer in samples
        ]
        for name, samples in answers.items()
    }


def assert_alike(first: dict[str, list[tuple[Any, ...]]], second: dict[str, list[tuple[Any, ...]]]) -> None:
    """The answers are the same but for rounding.

    A batch of another shape is rounded differently in the last bits. That changes about one token in ten thousand, and
    from there on the answer differs. Numbers of samples and seeds are always the same.
    """
    pairs = [(a, b) for name in first for a, b in zip(first[name], second[name], strict=True)]
    assert len(pairs) == sum(map(len, second.values()))
    assert [a[1:2] + a[5:] for a, _ in pairs] == [b[1:2] + b[5:] for _, b in pairs]
    assert sum(a != b for a, b in pairs) <= max(1, len(pairs) // 10)


def test_the_same_seed_makes_the_same_file(tmp_path: Path, gguf: Path) -> None:
    again = write_random_gguf(tmp_path / "again.gguf")
    other = write_random_gguf(tmp_path / "other.gguf", seed=1)
    assert again.read_bytes() == gguf.read_bytes() != other.read_bytes()


def test_the_backend_describes_its_model(gguf: Path) -> None:
    with open_backend(gguf) as (backend, _):
        described = backend.describe()
    assert described["backend"] == "llama.cpp"
    assert described["name"] == "random"
    assert described["file"] == "random.gguf"
    assert described["size"] == gguf.stat().st_size < 2_000_000
    assert described["context"] == CONTEXT
    assert described["layers"] == 3
    assert (described["gpu_layers"] > 0) == described["gpu"]
    assert described["sampling"] == {"temperature": 1.0, "top_p": 0.95, "seed": 1}
    assert described["llama_cpp_python"].count(".") == 2


@pytest.mark.parametrize(("pass_in_tokens", "streams"), [(100, 2), (933, 3), (7280, 8), (10**6, 16)])
def test_a_cpu_generates_as_many_answers_at_once_as_pays(
    gguf: Path, monkeypatch: pytest.MonkeyPatch, pass_in_tokens: float, streams: int
) -> None:
    monkeypatch.setattr(Weights, "pass_in_tokens", pass_in_tokens)
    backend = LlamaBackend(gguf, SAMPLING, gpu_layers=0)
    assert backend.describe()["streams"] == streams
    backend.close()


def test_answers_are_numbered_counted_and_timed(gguf: Path) -> None:
    with open_backend(gguf) as (backend, job_queue):
        answers = collect_answers(job_queue, [ask("f")], 4)["f"]
        usage = backend.usage()
    assert [answer.sample for answer in answers] == [0, 1, 2, 3]
    assert len({answer.seed for answer in answers}) == 4
    assert len({answer.text for answer in answers}) == 4
    for answer in answers:
        assert answer.answer_tokens is not None and answer.answer_tokens <= 60
        assert (answer.stop == "length") == (answer.answer_tokens == 60)
        assert answer.prompt_tokens == 2 + len(ask("f").text)
    assert sum(answer.seconds or 0 for answer in answers) > 0
    # The token that ends an answer is sampled, and is not part of the answer.
    ends = sum(answer.stop == "eos" for answer in answers)
    assert usage["tokens"] == sum(answer.answer_tokens or 0 for answer in answers) + ends
    assert usage["busy"] > 0


@pytest.mark.parametrize("sampling", [SAMPLING, GREEDY], ids=["sampled", "greedy"])
def test_answers_do_not_depend_on_what_else_is_generated(gguf: Path, sampling: Sampling) -> None:
    questions = [ask(f"f{number}", draft="%eax" * number) for number in range(6)]
    alone: dict[str, Any] = {}
    for question in questions:
        alone |= ask_all(gguf, [question], 4, sampling, streams=1, drafts=False)
    assert_alike(ask_all(gguf, questions, 4, sampling), alone)
    assert_alike(ask_all(gguf, questions[::-1], 4, sampling, streams=3, drafts=False), alone)
    assert_alike(ask_all(gguf, questions, 4, sampling, streams=5, n_ctx=140), alone)
    # Several threads sample the tokens of a large model.
    assert_alike(ask_all(gguf, questions, 4, sampling, streams=7, threads=2), alone)
    # Alone in its batches, an answer is the same to the last bit.
    assert ask_all(gguf, questions, 4, sampling, streams=1, drafts=False) == alone


def test_preempted_sequences_go_on_later(gguf: Path) -> None:
    question = ask("f")
    expected = ask_all(gguf, [question], 8, streams=1, drafts=False)
    with open_backend(gguf, n_ctx=140, streams=8, extra_cells=16, usual_answer=1) as (backend, job_queue):
        assert_alike(list_facts(collect_answers(job_queue, [question], 8)), expected)
        assert backend.engine.preemptions > 0


@pytest.mark.parametrize("sizes", [(1000, 700), (700, 1000), (900, 800)])
def test_preempted_sequences_of_two_questions_go_on_later(tmp_path: Path, sizes: tuple[int, int]) -> None:
    """The prompt of a waiting sequence must not be evicted to make room for that very sequence."""
    path = write_random_gguf(tmp_path / "endless.gguf", endless=True)
    questions = [ask(f"f{size}", "".join(chr(33 + (i * i * 7) % 90) for i in range(size))) for size in sizes]
    # 1472 tokens of context, 1024 for the second sequence and 64 to spare are as many as llama.cpp itself allocates.
    options = {"n_ctx": 1472, "streams": 2, "drafts": False, "usual_answer": 50}
    answers = ask_all(path, questions, 1, Sampling(0.0), **options)
    assert {stop for facts in answers.values() for _, _, stop, *_ in facts} == {"length"}


def test_an_answer_does_not_depend_on_earlier_questions(gguf: Path) -> None:
    names = ("f", "g", "a longer name")
    alone = {name: ask_all(gguf, [ask(name)], 3)[name] for name in names}
    with open_backend(gguf) as (_, job_queue):
        for name in ("a longer name", "f", "g"):
            fewer = list_facts(collect_answers(job_queue, [ask(name)], 2))[name]
            more = list_facts(collect_answers(job_queue, [ask(name)], 3))
            assert more[name][:2] == fewer
            assert_alike(more, {name: alone[name]})


def test_a_draft_does_not_change_the_answer(gguf: Path) -> None:
    choose = random.Random(1)
    different = total = 0
    for number in range(40):
        sampling = Sampling(0.7 * (number % 2), 0.9, 40, number % 4)
        plain = ask_all(gguf, [ask("f")], 3, sampling, drafts=False)["f"]
        text = plain[number % 3][0]
        start, end = (choose.randint(0, len(text)) for _ in range(2))
        draft = choose.choice([text, text[start:], text[:end], text[end:] + text[:start], "mov %eax" * 9])
        drafted = ask_all(gguf, [ask("f", draft=draft)], 3, sampling)["f"]
        different += sum(a != b for a, b in zip(plain, drafted, strict=True))
        total += 3
    # As in assert_alike: of about 4,800 sampled tokens one or another may differ.
    assert total == 120 and different <= 3


def test_tokens_of_a_correct_draft_are_accepted(gguf: Path) -> None:
    with open_backend(gguf, GREEDY) as (_, job_queue):
        text = collect_answers(job_queue, [ask("f")], 1)["f"][0].text
    with open_backend(gguf, GREEDY) as (backend, job_queue):
        assert collect_answers(job_queue, [ask("f", draft=text)], 1)["f"][0].text == text
        assert backend.usage()["from_draft"] > 5
    with open_backend(gguf, GREEDY, drafts=False) as (backend, job_queue):
        assert collect_answers(job_queue, [ask("f", draft=text)], 1)["f"][0].text == text
        assert backend.usage()["from_draft"] == 0


def test_the_logits_behind_every_sample_are_the_same_to_the_last_bit(
    gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import llama_cpp

    recorded: list[bytes] = []
    sample = llama_cpp.llama_sampler_sample

    def record_logits(sampler: Any, context: Any, row: int) -> Any:
        vocabulary = llama_cpp.llama_model_get_vocab(llama_cpp.llama_get_model(context))
        values = llama_cpp.llama_get_logits_ith(context, row)
        recorded.append(array("f", values[: llama_cpp.llama_vocab_n_tokens(vocabulary)]).tobytes())
        return sample(sampler, context, row)

    monkeypatch.setattr(llama_cpp, "llama_sampler_sample", record_logits)
    # Only for some lengths does llama.cpp round differently in a batch than for a single token.
    for length in range(600, 800, 8):
        text = "".join(chr(33 + 7 * place % 90) for place in range(length))
        questions = [ask("f", text), ask("g", text[::-1])]
        first_tokens: list[bytes] = []
        for order in (questions, questions[::-1]):
            with open_backend(gguf, Sampling(0.0, max_tokens=1), streams=1, drafts=False) as (_, job_queue):
                for question in order:
                    recorded.clear()
                    collect_answers(job_queue, [question], 2)
                    first_tokens += recorded if question.function == "f" else []
        assert len(first_tokens) == 4 and len(set(first_tokens)) == 1


def test_the_seed_changes_the_answers_and_greedy_ignores_it(gguf: Path) -> None:
    def texts(temperature: float, seed: int) -> list[str]:
        return [text for text, *_ in ask_all(gguf, [ask("f")], 2, Sampling(temperature, max_tokens=30, seed=seed))["f"]]

    assert texts(1.0, 0) != texts(1.0, 1)
    assert texts(1.0, 0) == texts(1.0, 0)
    assert texts(0.0, 0) == texts(0.0, 1)
    assert len(set(texts(0.0, 0))) == 1


def test_the_stop_reason_is_reported_and_the_stop_string_left_out(gguf: Path) -> None:
    answers = ask_all(gguf, [ask("f")], 60, Sampling(1.0, 1.0, 150))["f"]
    assert {stop for _, _, stop, *_ in answers} == {"eos", "stop", "length"}
    assert not any("</" in text for text, *_ in answers)


def test_without_a_limit_the_context_ends_an_answer(tmp_path: Path) -> None:
    path = write_random_gguf(tmp_path / "endless.gguf", endless=True)
    for streams in (1, 4):
        with open_backend(path, Sampling(0.0), n_ctx=256, streams=streams) as (_, job_queue):
            for answer in collect_answers(job_queue, [ask("f"), ask("g")], 2)["f"]:
                assert answer.stop == "length"
                assert answer.prompt_tokens is not None and answer.answer_tokens is not None
                assert answer.prompt_tokens + answer.answer_tokens == 256


@pytest.mark.parametrize("n_ctx", [100, 512])
def test_a_prompt_over_the_context_is_refused_with_both_counts(gguf: Path, n_ctx: int) -> None:
    with open_backend(gguf, n_ctx=n_ctx) as (backend, job_queue):
        assert backend.describe()["context"] == n_ctx
        with pytest.raises(PromptTooLongError) as error:
            next(job_queue.answers(ask("f", "x" * n_ctx), 1))
        assert (error.value.prompt_tokens, error.value.context) == (n_ctx + 2, n_ctx)
        fitting = "x" * (n_ctx - 2 - 16)
        (answer,) = job_queue.answers(ask("g", fitting), 1)
    assert answer.prompt_tokens == n_ctx - 16
    assert answer.answer_tokens is not None and answer.answer_tokens <= 16


def test_the_training_context_is_the_default_up_to_a_cap(tmp_path: Path) -> None:
    for context, expected in ((300, 300), (1_000_000, 16384)):
        path = write_random_gguf(tmp_path / f"{context}.gguf", context=context)
        with open_backend(path) as (backend, _):
            assert backend.describe()["context"] == expected


def test_a_prompt_has_one_bos_token_whether_it_spells_it_out_or_not(gguf: Path) -> None:
    with open_backend(gguf) as (_, job_queue):
        (plain,) = job_queue.answers(ask("f", "xyz"), 1)
        (marked,) = job_queue.answers(ask("g", "<s>xyz"), 1)
    # BOS, a space that the tokenizer inserts, x, y, z; behind a spelt-out BOS no space is inserted.
    assert plain.prompt_tokens == 5
    assert marked.prompt_tokens in (4, 5)


def test_a_long_token_is_not_cut(gguf: Path) -> None:
    text = "".join(text for text, *_ in ask_all(gguf, [ask("f")], 20, Sampling(1.0, 1.0, 500))["f"])
    assert LONG_TOKEN in text
    assert "nop" not in text.replace(LONG_TOKEN, "")


def test_a_context_that_does_not_fit_into_memory_is_an_error(tmp_path: Path) -> None:
    path = write_random_gguf(tmp_path / "long.gguf", context=2**31 - 1)
    with pytest.raises(ModelError, match=r"needs \d+ bytes for each token.*lower --llmc-n-ctx"):
        LlamaBackend(path, SAMPLING, n_ctx=2**31 - 1)


def test_more_streams_than_llama_cpp_knows_sequences(gguf: Path) -> None:
    with pytest.raises(ModelError, match="at most 128 answers at once"):
        LlamaBackend(gguf, SAMPLING, streams=129)


def test_a_context_longer_than_the_trained_one_is_an_error(gguf: Path) -> None:
    with pytest.raises(ModelError, match=f"made for contexts of {CONTEXT} tokens"):
        LlamaBackend(gguf, SAMPLING, n_ctx=CONTEXT + 1)


def test_a_prefix_outside_the_sliding_window_is_not_copied(tmp_path: Path) -> None:
    """Cells that lie before the window are used for other prompts, though the prompt itself is still cached."""
    path = write_random_gguf(tmp_path / "window.gguf", window=32)
    prefix = "[INST] Give the assembly of " * 8
    first, other, last = ask("a", prefix + "a" * 500), ask("b", "b" * 500), ask("c", prefix + "c" * 50)
    hot = Sampling(20.0, max_tokens=60)
    with open_backend(path, hot, n_ctx=1024, streams=3) as (_, job_queue):
        list(job_queue.answers(ask("x", "x" * 200), 1))
        list(job_queue.answers(first, 1))
        job_queue.plan(other, 5, 0)
        job_queue.plan(last, 1, 1)
        list(job_queue.answers(other, 5))
        answers = list_facts({"c": list(job_queue.answers(last, 1))})
    assert answers == ask_all(path, [last], 1, hot)


def test_a_model_in_several_files(tmp_path: Path, gguf: Path) -> None:
    first = write_random_gguf(tmp_path / "split.gguf", files=3)
    with open_backend(first) as (backend, job_queue):
        assert backend.describe()["size"] == sum(part.stat().st_size for part in tmp_path.iterdir())
        assert_alike(list_facts(collect_answers(job_queue, [ask("f")], 3)), ask_all(gguf, [ask("f")], 3))
    (tmp_path / "split-00002-of-00003.gguf").unlink()
    with pytest.raises(ModelError, match=r"is the first of 3 files, and there is no .*split-00002-of-00003\.gguf"):
        LlamaBackend(first, SAMPLING)


def test_weights_are_counted_once_as_memory(gguf: Path) -> None:
    """Some builds of llama.cpp copy them into other layouts, and then they are no cached file any more."""
    measured = iter([10**9])
    weights = Weights(gguf, None, measure_memory=lambda: next(measured))
    assert weights.measure_context_memory() == pytest.approx(0.9 * (10**9 - gguf.stat().st_size), abs=1)
    weights.close()


def test_cached_files_of_a_container_are_free_memory(tmp_path: Path) -> None:
    for name, text in (("max", "500000000"), ("current", "490000000")):
        (tmp_path / f"memory.{name}").write_text(f"{text}\n")
    (tmp_path / "memory.stat").write_text("anon 40000000\nactive_file 150000000\ninactive_file 300000000\n")
    assert measure_free_memory(tmp_path) == 460_000_000


def test_a_model_that_does_not_fit_into_memory_is_not_loaded(gguf: Path) -> None:
    with pytest.raises(ModelError, match=r"random\.gguf has \d\.\d GB, and \d\.\d GB of memory are free"):
        Weights(gguf, None, measure_memory=lambda: gguf.stat().st_size)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no model file .*no\.gguf"):
        LlamaBackend(tmp_path / "no.gguf", SAMPLING)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"", "failed to read magic"),
        (lambda data: b"not a model at all", "invalid magic characters: 'not ', expected 'GGUF'"),
        (lambda data: data[:3000], "failed to read key-value pairs"),
        (lambda data: data[: len(data) // 2], "model is corrupted or incomplete"),
    ],
    ids=["empty", "not a GGUF", "head cut", "tensors cut"],
)
def test_a_damaged_file_is_an_error_with_llama_cpp_s_message(
    tmp_path: Path, gguf: Path, damage: Any, message: str
) -> None:
    (tmp_path / "bad.gguf").write_bytes(damage(gguf.read_bytes()))
    with pytest.raises(ModelError, match=rf"can't load .*bad\.gguf: .*{message}"):
        LlamaBackend(tmp_path / "bad.gguf", SAMPLING)


def test_a_cpu_build_warns_of_requested_gpu_layers(gguf: Path) -> None:
    import llama_cpp

    if llama_cpp.llama_supports_gpu_offload():
        pytest.skip("this build can use the GPU")
    with pytest.warns(UserWarning, match=r"5 layers are to go to the GPU.*runs on the CPU.*GGML_CUDA=on"):
        weights = Weights(gguf, 5)
    assert (weights.uses_gpu, weights.gpu_layers) == (False, 0)


@pytest.mark.parametrize("gpu_layers", [None, 0])
def test_a_cpu_build_warns_of_an_unused_gpu_only_where_there_is_one(gguf: Path, gpu_layers: int | None) -> None:
    import llama_cpp

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Weights(gguf, gpu_layers).close()
    unused = Path("/dev/nvidia0").exists() and not llama_cpp.llama_supports_gpu_offload()
    assert len(caught) == (unused and gpu_layers is None)


def test_all_layers_go_to_a_gpu(gguf: Path) -> None:
    import llama_cpp

    if not llama_cpp.llama_supports_gpu_offload():
        pytest.skip("this build can't use a GPU, or there is none")
    with open_backend(gguf) as (backend, _):
        described = backend.describe()
    assert (described["gpu"], described["gpu_layers"]) == (True, 3)
