"""Routes of `llmc serve` for tools that have their own shape of requests: OpenRLHF and NeMo Gym."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_llmcompiler.errors import BodyError, ColumnError
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.rewards import nemo_gym, openrlhf
from pytest_llmcompiler.rewards.columns import Columns
from pytest_llmcompiler.rewards.table import RewardTable
from pytest_llmcompiler.service.http.bodies import parse_json
from pytest_llmcompiler.service.http.faces import Batch, Face
from pytest_llmcompiler.service.http.refusals import FieldFault, RefusalError

CONSTANTS: Mapping[str, object] = {"/reverify_mode": "stateless"}
"""What NeMo Gym asks a resources server for by GET: a verdict depends on the request alone."""


def build_faces(columns: Columns, table: str | RewardTable | None = None) -> list[Face]:
    """The routes `/openrlhf`, `/verify` and `/seed_session`.

    `columns` are those of the dataset, `table` has the rewards (see `reward_of`).
    `/seed_session` is what NeMo Gym calls before each rollout; it has no samples.
    """

    def read_openrlhf(body: bytes) -> Batch:
        try:
            samples = openrlhf.read_body(parse_json(body), columns)
        except (BodyError, ColumnError) as error:
            raise _refuse(error, "labels") from error

        def answer(verdicts: Sequence[Verdict]) -> Any:
            return openrlhf.write_response(verdicts, table)

        return Batch(samples, answer, lambda index, name: f"labels.{index}.{_find_column(columns, name)}")

    def read_nemo_gym(body: bytes) -> Batch:
        request: Any = parse_json(body)
        try:
            sample = nemo_gym.read_body(request, columns)
        except (BodyError, ColumnError) as error:
            raise _refuse(error, "verifier_metadata") from error

        def answer(verdicts: Sequence[Verdict]) -> Any:
            return nemo_gym.write_response(request, verdicts[0], table)

        return Batch([sample], answer, lambda _, name: f"verifier_metadata.{_find_column(columns, name)}")

    def read_seed_session(body: bytes) -> Batch:
        parse_json(body)
        return Batch([], lambda _: {}, lambda _, name: name)

    return [
        Face("/openrlhf", read_openrlhf),
        Face("/verify", read_nemo_gym),
        Face("/seed_session", read_seed_session),
    ]


def _find_column(columns: Columns, attribute: str) -> str:
    """The column of an attribute of `Sample`."""
    return getattr(columns, attribute, None) or attribute


def _refuse(error: BodyError | ColumnError, field: str) -> RefusalError:
    """The refusal for a body of another shape, or for a row without the columns."""
    fault = FieldFault(field if isinstance(error, ColumnError) else "body", str(error))
    return RefusalError(422, "fields", f"{fault.field}: {fault.message}", [fault])
