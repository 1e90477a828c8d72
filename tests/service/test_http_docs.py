"""The examples of the page about `llmc serve`, and the files in docs/examples/serve."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from http_service import RunningServer, serve

from pytest_llmcompiler.cli import _build_parser
from pytest_llmcompiler.service.http.limits import ServiceLimits

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "pages" / "serve.md").read_text(encoding="utf-8")
EXAMPLES = ROOT / "docs" / "examples" / "serve"
DOCKERFILE = (EXAMPLES / "Dockerfile").read_text(encoding="utf-8")
MANIFESTS = list(yaml.safe_load_all((EXAMPLES / "kubernetes.yaml").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with serve("--examples", "5") as server:
        yield server


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_request(server: RunningServer, tmp_path: Path) -> None:
    [request] = blocks("json")
    [command] = [line for block in blocks("text") for line in block.splitlines() if line.startswith("curl")]
    (tmp_path / "request.json").write_text(request)
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    result = subprocess.run(
        command.replace(":8000", f":{server.port}").split(), cwd=tmp_path, capture_output=True, check=True
    )
    shown = [verdict["verdict"] for verdict in json.loads(result.stdout)["verdicts"]]
    assert shown == ["pass", "mismatch"]
    assert "return value: expected 2, observed 1" in result.stdout.decode()


def test_the_client(server: RunningServer) -> None:
    [text] = blocks("python")
    text = text.replace(":8000", f":{server.port}")
    result = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert result.stdout.split() == re.findall(r"print\(.*\)  # (.+)", text)


def test_the_routes_and_options_of_the_page_exist(server: RunningServer) -> None:
    for method, path in re.findall(r"`(GET|POST) (/\w+)`", PAGE):
        assert server.ask(method, path, b"{}" if method == "POST" else None).status in (200, 422), path
    help_text = subprocess.run(
        [sys.executable, "-m", "pytest_llmcompiler", "serve", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for option in re.findall(r"`(--[\w-]+)", PAGE):
        assert option in help_text


def test_the_limits_of_the_page_are_the_defaults() -> None:
    limits = ServiceLimits()
    assert f"`--max-body` ({limits.body_bytes >> 20} MiB)" in PAGE
    assert f"`--max-samples` ({limits.samples:,})" in PAGE
    assert f"`--max-queue` ({limits.queue:,})" in PAGE
    assert f"after {limits.body_seconds:g} s" in PAGE


def parse_arguments(arguments: list[str]) -> Any:
    return _build_parser().parse_args(arguments)


def test_the_dockerfile_starts_the_server() -> None:
    [entry] = re.findall(r"^ENTRYPOINT (.+)$", DOCKERFILE, re.MULTILINE)
    [arguments] = re.findall(r"^CMD (.+)$", DOCKERFILE, re.MULTILINE)
    program, *words = json.loads(entry)
    assert program == "llmc"
    options = parse_arguments([*words, *json.loads(arguments)])
    assert re.findall(r"^EXPOSE (\d+)$", DOCKERFILE, re.MULTILINE) == [str(options.port)]
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for extra in re.findall(r"\[(\w+)\]\"", DOCKERFILE):
        assert re.search(rf"^{extra} = ", settings, re.MULTILINE)
    [health] = re.findall(r"^HEALTHCHECK CMD (.+)$", DOCKERFILE, re.MULTILINE)
    compile(json.loads(health)[2], "health", "exec")


def test_the_health_check_of_the_dockerfile_works(server: RunningServer) -> None:
    [health] = re.findall(r"^HEALTHCHECK CMD (.+)$", DOCKERFILE, re.MULTILINE)
    _, option, code = json.loads(health)
    run = [sys.executable, option, code.replace(":8000", f":{server.port}")]
    assert subprocess.run(run, check=False).returncode == 0


def test_the_manifests_fit_the_server_and_the_image() -> None:
    kinds = {manifest["kind"]: manifest for manifest in MANIFESTS}
    assert set(kinds) == {"Deployment", "Service", "NetworkPolicy"}
    template = kinds["Deployment"]["spec"]["template"]
    [container] = template["spec"]["containers"]
    options = parse_arguments(["serve", *container["args"]])
    [port] = container["ports"]
    assert port["containerPort"] == options.port == kinds["Service"]["spec"]["ports"][0]["port"]
    assert container["readinessProbe"]["httpGet"] == {"path": "/health", "port": port["name"]}
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert str(options.token_file.parent) in mounts
    written = re.findall(r"(?:LLMC_CACHE|ZIG_GLOBAL_CACHE_DIR)=(/\w+)", DOCKERFILE)
    assert set(written) < mounts and "/tmp" in mounts  # the rest of the file system can't be written
    assert {volume["name"] for volume in template["spec"]["volumes"]} == {
        mount["name"] for mount in container["volumeMounts"]
    }
    assert f"--uid {template['spec']['securityContext']['runAsUser']} " in DOCKERFILE
    labels = kinds["Deployment"]["spec"]["selector"]["matchLabels"]
    assert template["metadata"]["labels"] == labels == kinds["Service"]["spec"]["selector"]
    assert kinds["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
