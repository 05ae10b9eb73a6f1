"""README's snippets for CI: right by the schema of each system, and their shell parts run."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from junitparser import JUnitXml

ROOT = Path(__file__).parents[1]
SECTION = (ROOT / "README.md").read_text(encoding="utf-8").split("\n## In CI\n")[1]
TEXTS = {
    name: f"# {name}\n{text}"
    for name, text in re.findall(
        r"```yaml\n# (\S+)\n(.*?)```", SECTION.split("\n## ")[0], flags=re.S
    )
}
GITHUB, GITLAB, HOOK = ".github/workflows/quantize.yml", ".gitlab-ci.yml", ".pre-commit-config.yaml"
INSTALL = "pip install qtool"
HOLDS, FAILS = "top1.drop <= 1pp", "top1.drop <= -90pp"


def parsed(name: str) -> Any:
    """A snippet; YAML 1.1 reads the key `on` as true."""
    return yaml.safe_load(TEXTS[name])


def steps() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = parsed(GITHUB)["jobs"]["quantize"]["steps"]
    return found


def scripts(name: str) -> list[str]:
    """The shell parts without the installation, which must be there and first."""
    if name == GITHUB:
        lines = [step["run"] for step in steps() if "run" in step]
    elif name == GITLAB:
        lines = parsed(GITLAB)["quantize"]["script"]
    else:
        (hook,) = parsed(HOOK)["repos"][0]["hooks"]
        assert hook["additional_dependencies"] == ["qtool"]
        return [hook["entry"]]
    assert lines[0] == INSTALL
    return lines[1:]


@dataclass
class Checkout:
    """A repository with the model and its data, the command on PATH, and no CI around it."""

    folder: Path
    environ: dict[str, str]

    def sh(self, line: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", line],
            cwd=self.folder, env=self.environ | environ, capture_output=True, text=True,
        )  # fmt: skip

    def job(self, lines: list[str], **environ: str) -> subprocess.CompletedProcess[str]:
        """The lines in turn, up to the first that fails, as the runners do; the last one's end."""
        for line in lines:
            done = self.sh(line, **environ)
            if done.returncode:
                break
        return done


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    folder = tmp_path_factory.mktemp("checkout")
    sample = ROOT / "sample_models/digits_cnn"
    for name in ("model.onnx", "qtool.toml", "calib", "eval"):
        place = shutil.copytree if (sample / name).is_dir() else shutil.copy
        place(sample / name, folder / name)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GITHUB_", "GIT_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    made = Checkout(folder, kept | {"PATH": path, "CI": "true"})
    done = made.job(
        [
            "qtool quantize model.onnx --data calib -o model.int8.onnx -q",
            "qtool compare model.onnx model.int8.onnx --data eval --json baseline.json -q",
            "rm model.int8.onnx",
        ]
    )
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture
def clean(checkout: Checkout) -> Iterator[Checkout]:
    there = set(checkout.folder.iterdir())
    yield checkout
    for path in set(checkout.folder.iterdir()) - there:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_there_are_three() -> None:
    assert set(TEXTS) == {GITHUB, GITLAB, HOOK}


@pytest.mark.parametrize(
    ("name", "schema"), [(GITHUB, "vendor.github-workflows"), (GITLAB, "vendor.gitlab-ci")]
)
def test_each_fits_the_schema_of_its_system(tmp_path: Path, name: str, schema: str) -> None:
    def check(text: str) -> subprocess.CompletedProcess[str]:
        file = tmp_path / "snippet.yml"
        file.write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(file)]
        return subprocess.run(command, capture_output=True, text=True)

    done = check(TEXTS[name])
    assert done.returncode == 0, done.stdout
    wrong = check(TEXTS[name].replace("quantize:", "quantize:\n    nonsense: [{}]", 1))
    assert wrong.returncode == 1, "the check can fail"


def test_actions_have_a_version_and_what_is_uploaded_is_written() -> None:
    used = [step["uses"] for step in steps() if "uses" in step]
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", each) for each in used)
    names = [each.split("@")[0] for each in used]
    assert names == ["actions/checkout", "actions/setup-python", "actions/upload-artifact"]
    upload = steps()[-1]
    assert upload["if"] == "always()", "a failed gate is when one looks at the report"
    assert "uses" in steps()[0], "checkout comes first"
    assert set(upload["with"]["path"].split()) <= set(shlex.split(" ".join(scripts(GITHUB))))


def test_artifacts_of_gitlab_are_kept_when_a_gate_failed() -> None:
    artifacts = parsed(GITLAB)["quantize"]["artifacts"]
    assert artifacts["when"] == "always"
    written = set(shlex.split(" ".join(scripts(GITLAB))))
    assert {*artifacts["paths"], artifacts["reports"]["junit"]} <= written


@pytest.mark.parametrize("name", TEXTS)
def test_only_the_tool_runs(name: str) -> None:
    for line in scripts(name):
        assert shlex.split(line)[0] == "qtool"
        assert not set(line) & set(";|&$`\\\n"), "one command for any shell"


@pytest.mark.slow
def test_the_job_on_github(clean: Checkout) -> None:
    told = {each: clean.folder / each for each in ("summary", "output")}
    for path in told.values():
        path.touch()
    environ = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_STEP_SUMMARY": str(told["summary"]),
        "GITHUB_OUTPUT": str(told["output"]),
    }
    lines = scripts(GITHUB)
    done = clean.job(lines, **environ)
    assert done.returncode == 0, done.stderr
    for path in steps()[-1]["with"]["path"].split():
        assert (clean.folder / path).stat().st_size > 0
    assert "::error" not in done.stderr
    report = (clean.folder / "report.md").read_text(encoding="utf-8")
    assert "✅ qtool compare" in report
    assert told["summary"].read_text(encoding="utf-8") == f"\n{report}"
    outputs = dict(each.split("=", 1) for each in told["output"].read_text().split("\n") if each)
    assert (outputs["passed"], outputs["failed-gates"]) == ("true", "0")
    assert json.loads(outputs["metrics"])["top1.drop"] < 0.01

    for path in steps()[-1]["with"]["path"].split():
        (clean.folder / path).unlink()
    told["output"].write_text("")
    failing = [line.replace(HOLDS, FAILS) for line in lines]
    assert failing != lines
    done = clean.job(failing, **environ)
    assert done.returncode == 1
    assert f"::error title=qtool%3A {FAILS}::top1.drop is " in done.stderr
    assert "passed=false\nfailed-gates=1\n" in told["output"].read_text()
    for path in steps()[-1]["with"]["path"].split():
        assert (clean.folder / path).stat().st_size > 0, "the report of a failure is what counts"


@pytest.mark.slow
def test_the_job_on_gitlab(clean: Checkout) -> None:
    lines = scripts(GITLAB)
    done = clean.job(lines)
    assert done.returncode == 0, done.stderr
    artifacts = parsed(GITLAB)["quantize"]["artifacts"]
    for path in artifacts["paths"]:
        assert (clean.folder / path).stat().st_size > 0
    junit = clean.folder / artifacts["reports"]["junit"]
    assert JUnitXml.fromfile(str(junit)).failures == 0

    failing = [f"{line.replace(HOLDS, FAILS)} -f" for line in lines]
    done = clean.job(failing)
    assert done.returncode == 1
    (suite,) = JUnitXml.fromfile(str(junit))
    assert [case.name for case in suite if not case.is_passed] == [FAILS]


@pytest.mark.slow
def test_a_job_with_a_broken_model_does_not_end_as_a_failed_gate(clean: Checkout) -> None:
    (clean.folder / "model.int8.onnx").write_bytes(b"no model")
    done = clean.job(scripts(GITLAB)[1:])
    assert done.returncode == 3
    assert not (clean.folder / "junit.xml").exists()


@pytest.mark.slow
def test_the_hook(clean: Checkout, tmp_path: Path) -> None:
    """By pre-commit itself; the command is on PATH in place of an environment of its own."""
    assert clean.job(scripts(GITLAB)[:1]).returncode == 0
    here = TEXTS[HOOK].replace("language: python", "language: system")
    here = here.replace("        additional_dependencies: [qtool]\n", "")
    assert here.count("\n") == TEXTS[HOOK].count("\n") - 1
    config = clean.folder / HOOK
    pre_commit = f"{shlex.quote(sys.executable)} -m pre_commit"
    home = {"PRE_COMMIT_HOME": str(tmp_path), "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}
    config.write_text(TEXTS[HOOK], encoding="utf-8")
    assert clean.sh(f"{pre_commit} validate-config", **home).returncode == 0
    config.write_text(here, encoding="utf-8")
    assert clean.sh("git init -q && git add model.int8.onnx", **home).returncode == 0
    run = f"{pre_commit} run --verbose"

    done = clean.sh(run, **home)
    assert done.returncode == 0, done.stdout
    assert re.search(r"qtool compare\.*Passed", done.stdout)
    assert "1 gate" in done.stdout or HOLDS in done.stdout

    config.write_text(here.replace(HOLDS, FAILS), encoding="utf-8")
    done = clean.sh(run, **home)
    assert done.returncode == 1
    assert re.search(r"qtool compare\.*Failed", done.stdout)
    assert f'gate "{FAILS}" failed' in done.stdout
    assert "exit code: 1" in done.stdout

    assert clean.sh("git rm -q --cached model.int8.onnx && git add eval", **home).returncode == 0
    assert "Skipped" in clean.sh(run, **home).stdout, "no model changed"
