from __future__ import annotations

import warnings
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest
from random_gguf import CONTEXT, LONG_TOKEN, write_random_gguf

from pytest_llmcompiler.model import ModelSettings, open_model
from pytest_llmcompiler.model.answer import Answer, Model, ModelError, Prompt, PromptTooLong, Sampling
from pytest_llmcompiler.model.llama import LlamaModel

SAMPLING = Sampling(temperature=1.0, top_p=0.95, max_tokens=60, seed=1)


def ask(function: str, text: str | None = None) -> Prompt:
    asked = f"[INST] Give the assembly of {function}: <code>define</code> [/INST]" if text is None else text
    return Prompt("a.c", function, "asm", "O0", "meta", asked, reference=lambda: "")


def told(answers: list[Answer]) -> list[tuple[str, int, str, int | None, int | None]]:
    return [(one.text, one.sample, one.stop, one.answer_tokens, one.seed) for one in answers]


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_gguf(tmp_path_factory.mktemp("model") / "random.gguf")


def open_llama(path: Path, sampling: Sampling = SAMPLING, n_ctx: int | None = None) -> Model:
    with warnings.catch_warnings():
        # On a machine with a GPU a CPU build warns: not what these tests are about.
        warnings.simplefilter("ignore", UserWarning)
        return open_model(str(path), ModelSettings(sampling, n_ctx))


def test_the_same_seed_makes_the_same_file(tmp_path: Path, gguf: Path) -> None:
    again = write_random_gguf(tmp_path / "again.gguf")
    other = write_random_gguf(tmp_path / "other.gguf", seed=1)
    assert again.read_bytes() == gguf.read_bytes() != other.read_bytes()


def test_it_says_what_it_is(gguf: Path) -> None:
    described = open_llama(gguf).describe()
    assert described["backend"] == "llama.cpp"
    assert described["name"] == "random"
    assert described["file"] == "random.gguf"
    assert described["size"] == gguf.stat().st_size < 2_000_000
    assert described["context"] == CONTEXT
    assert described["layers"] == 3
    assert (described["gpu_layers"] > 0) == described["gpu"]
    assert described["llama_cpp_python"].count(".") == 2


def test_answers_are_numbered_counted_and_timed(gguf: Path) -> None:
    answers = list(open_llama(gguf).answers(ask("f"), 4))
    assert [one.sample for one in answers] == [0, 1, 2, 3]
    assert len({one.seed for one in answers}) == 4
    assert len({one.text for one in answers}) == 4
    for one in answers:
        assert one.answer_tokens is not None and one.answer_tokens <= 60
        assert (one.stop == "length") == (one.answer_tokens == 60)
        assert one.prompt_tokens == 2 + len(ask("f").text)
    assert sum(one.seconds or 0 for one in answers) > 0


def test_an_answer_depends_on_nothing_that_was_asked_before(gguf: Path) -> None:
    model = open_llama(gguf)
    alone = {name: told(list(open_llama(gguf).answers(ask(name), 3))) for name in ("f", "g", "a longer name")}
    for order in (("f", "g", "a longer name", "f"), ("a longer name", "g", "g")):
        for name in order:
            assert told(list(model.answers(ask(name), 3))) == alone[name]
    assert told(list(model.answers(ask("f"), 1))) == alone["f"][:1]


def test_the_logits_behind_every_sample_are_the_same_to_the_last_bit(gguf: Path) -> None:
    import llama_cpp

    model = open_llama(gguf, Sampling(0.0, max_tokens=2))
    assert isinstance(model, LlamaModel)
    vocabulary = model._llama.n_vocab()

    def logits(asked: Iterator[Answer]) -> bytes:
        next(asked)
        values = llama_cpp.llama_get_logits_ith(model._llama.ctx, -1)
        return array("f", values[:vocabulary]).tobytes()

    # Only for some lengths does llama.cpp round otherwise in a batch than for a single token.
    for length in range(600, 800, 8):
        text = "".join(chr(33 + 7 * place % 90) for place in range(length))
        prompt, other = ask("f", text), ask("g", text[::-1])
        asked = model.answers(prompt, 3)
        seen = {logits(asked), logits(asked)}
        logits(model.answers(other, 1))
        seen |= {logits(asked), logits(model.answers(prompt, 1))}
        assert len(seen) == 1


def test_two_questions_may_take_turns(gguf: Path) -> None:
    model = open_llama(gguf)
    alone = [told(list(model.answers(ask(name), 3))) for name in ("f", "g")]
    turns = list(zip(model.answers(ask("f"), 3), model.answers(ask("g"), 3)))
    assert [told([turn[side] for turn in turns]) for side in (0, 1)] == alone


def test_the_seed_changes_the_answers_and_greedy_ignores_it(gguf: Path) -> None:
    def texts(temperature: float, seed: int) -> list[str]:
        model = open_llama(gguf, Sampling(temperature, max_tokens=30, seed=seed))
        return [one.text for one in model.answers(ask("f"), 2)]

    assert texts(1.0, 0) != texts(1.0, 1)
    assert texts(1.0, 0) == texts(1.0, 0)
    assert texts(0.0, 0) == texts(0.0, 1)
    assert len(set(texts(0.0, 0))) == 1


def test_what_ends_an_answer_is_told_and_not_in_it(gguf: Path) -> None:
    answers = list(open_llama(gguf, Sampling(1.0, 1.0, 150)).answers(ask("f"), 60))
    assert {one.stop for one in answers} == {"eos", "stop", "length"}
    assert not any("</" in one.text for one in answers)


def test_without_a_limit_the_context_ends_an_answer(tmp_path: Path) -> None:
    path = write_random_gguf(tmp_path / "endless.gguf", endless=True)
    model = open_llama(path, Sampling(0.0), n_ctx=256)
    (answer,) = model.answers(ask("f"), 1)
    assert answer.stop == "length"
    assert answer.prompt_tokens is not None and answer.answer_tokens is not None
    assert answer.prompt_tokens + answer.answer_tokens == 256


@pytest.mark.parametrize("n_ctx", [100, 512])
def test_a_prompt_over_the_context_is_told_with_both_counts(gguf: Path, n_ctx: int) -> None:
    model = open_llama(gguf, n_ctx=n_ctx)
    assert model.describe()["context"] == n_ctx
    with pytest.raises(PromptTooLong) as caught:
        next(model.answers(ask("f", "x" * n_ctx), 1))
    assert (caught.value.prompt_tokens, caught.value.context) == (n_ctx + 2, n_ctx)
    fitting = "x" * (n_ctx - 2 - 16)
    (answer,) = model.answers(ask("f", fitting), 1)
    assert answer.prompt_tokens == n_ctx - 16
    assert answer.answer_tokens is not None and answer.answer_tokens <= 16


def test_the_training_context_is_the_default_up_to_a_cap(tmp_path: Path) -> None:
    for context, expected in ((300, 300), (1_000_000, 16384)):
        path = write_random_gguf(tmp_path / f"{context}.gguf", context=context)
        assert open_llama(path).describe()["context"] == expected


def test_one_beginning_of_sequence_token_with_and_without_the_template_s(gguf: Path) -> None:
    model = open_llama(gguf)
    (plain,) = model.answers(ask("f", "xyz"), 1)
    (marked,) = model.answers(ask("f", "<s>xyz"), 1)
    # BOS, the blank that the tokenizer puts first, x, y, z; after a written BOS no blank is put.
    assert plain.prompt_tokens == 5
    assert marked.prompt_tokens in (4, 5)


def test_a_token_of_many_bytes_is_in_the_answer_whole(gguf: Path) -> None:
    text = "".join(one.text for one in open_llama(gguf, Sampling(1.0, 1.0, 500)).answers(ask("f"), 20))
    assert LONG_TOKEN in text
    assert "nop" not in text.replace(LONG_TOKEN, "")


def test_a_closed_model_can_be_opened_again(gguf: Path) -> None:
    for _ in range(2):
        model = open_llama(gguf)
        assert next(model.answers(ask("f"), 1)).sample == 0
        model.close()


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no model file .*no\.gguf"):
        open_llama(tmp_path / "no.gguf")


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
def test_a_damaged_file_is_an_error_in_llama_cpp_s_words(
    tmp_path: Path, gguf: Path, capfd: pytest.CaptureFixture[str], damage: object, message: str
) -> None:
    (tmp_path / "bad.gguf").write_bytes(damage(gguf.read_bytes()))  # type: ignore[operator]
    with pytest.raises(ModelError, match=rf"can't load .*bad\.gguf: .*{message}"):
        open_llama(tmp_path / "bad.gguf")
    assert capfd.readouterr() == ("", "")


def test_nothing_is_printed(gguf: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = open_llama(gguf)
    list(model.answers(ask("f"), 2))
    model.close()
    assert capfd.readouterr() == ("", "")


def test_a_cpu_build_warns_where_a_gpu_is_asked_for(gguf: Path) -> None:
    import llama_cpp

    if llama_cpp.llama_supports_gpu_offload():
        pytest.skip("this build can use the GPU")
    with pytest.warns(UserWarning, match="5 layers are to go to the GPU.*runs on the CPU.*GGML_CUDA=on") as caught:
        model = open_model(str(gguf), ModelSettings(SAMPLING, gpu_layers=5))
    assert caught[0].filename == __file__
    assert (model.describe()["gpu"], model.describe()["gpu_layers"]) == (False, 0)


@pytest.mark.parametrize("gpu_layers", [None, 0])
def test_it_warns_of_an_unused_gpu_only_where_there_is_one(gguf: Path, gpu_layers: int | None) -> None:
    import llama_cpp

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        LlamaModel(gguf, SAMPLING, None, gpu_layers).close()
    unused = Path("/dev/nvidia0").exists() and not llama_cpp.llama_supports_gpu_offload()
    assert len(caught) == (unused and gpu_layers is None)


def test_on_a_gpu_all_layers_go_there(gguf: Path) -> None:
    import llama_cpp

    if not llama_cpp.llama_supports_gpu_offload():
        pytest.skip("this build can't use a GPU, or there is none")
    described = open_model(str(gguf), ModelSettings(SAMPLING)).describe()
    assert (described["gpu"], described["gpu_layers"]) == (True, 3)
