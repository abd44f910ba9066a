"""Which code made a result: commit, state of the work tree, digest of the source."""

import json
import os
import shutil
import subprocess
from datetime import datetime, timedelta

import pytest

from tsdtp.provenance import code_digest, code_state, now, same_code, with_own

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="no git")


def git(folder, *arguments):
    """Runs git without the user's configuration (hooks, signing)."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    variables |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    identity = ["-c", "user.name=someone", "-c", "user.email=someone@example.org"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, env=variables, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path):
    package = tmp_path / "repository" / "package"
    package.mkdir(parents=True)
    (package / "module.py").write_text("x = 1\n")
    git(package.parent, "init")
    git(package.parent, "add", ".")
    git(package.parent, "commit", "-m", "first")
    return package.parent


UNKNOWN = (None, None)


def git_part(folder):
    state = code_state(folder)
    return state["commit"], state["dirty"]


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module, a package and one without `__init__.py`, none of them imported."""
    for name in (
        "own_module.py",
        "own_package/__init__.py",
        "own_package/part.py",
        "own_bare/a.py",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("target", "file"),
    [
        ("own_module.Mine", "own_module.py"),
        ("own_package.part.Mine", "own_package/part.py"),
        ("own_package.part.Mine", "own_package/__init__.py"),
        ("own_bare.a.Mine", "own_bare/a.py"),
    ],
)
def test_a_method_of_ones_own_belongs_to_the_code(own, target, file):
    config = {"seed": 0, "pruning": {"_target_": target}, "callbacks": [{"_target_": "math.sqrt"}]}
    code = code_state()
    before = with_own(code, config)
    assert not same_code(before, code) and same_code(before, with_own(code, config))
    (own / file).write_text("x = 2\n")
    assert not same_code(before, with_own(code, config))
    assert {**before, "code": ""} == {**code, "code": ""}


def test_what_is_installed_or_ours_or_nowhere_adds_nothing(own):
    targets = ("torch.nn.Linear", "json.JSONDecoder", "sys.exit", "tsdtp.pruning.dtp.GeneralDTP")
    for target in (*targets, "nowhere.at.all", "__main__.Mine"):
        assert with_own({"code": "a"}, {"pruning": {"_target_": target}}) == {"code": "a"}


def test_now_is_utc_to_the_second():
    moment = datetime.fromisoformat(now())
    assert moment.utcoffset() == timedelta(0)
    assert moment.microsecond == 0


def test_code_state_outside_a_repository(tmp_path):
    assert git_part(tmp_path) == UNKNOWN


def test_code_state_of_a_missing_folder(tmp_path):
    assert git_part(tmp_path / "missing") == UNKNOWN


def test_code_state_without_git(monkeypatch):
    monkeypatch.setenv("PATH", "")
    state = code_state()
    assert (state["commit"], state["dirty"]) == UNKNOWN
    assert state["code"] == code_digest()


def test_code_state_of_this_package_is_json():
    assert set(json.loads(json.dumps(code_state()))) == {"commit", "dirty", "code"}


def test_the_digest_follows_the_source_and_nothing_else(tmp_path):
    (tmp_path / "module.py").write_text("x = 1")
    first = code_digest(tmp_path)
    (tmp_path / "notes.txt").write_text("not code")
    assert code_digest(tmp_path) == first
    (tmp_path / "module.py").write_text("x = 2")
    assert code_digest(tmp_path) != first
    (tmp_path / "module.py").write_text("x = 1")
    assert code_digest(tmp_path) == first
    (tmp_path / "module.py").rename(tmp_path / "other.py")
    assert code_digest(tmp_path) != first


def test_same_code_goes_by_the_digest_and_for_older_records_by_the_commit():
    now_ = {"commit": "b", "dirty": False, "code": "2"}
    assert same_code({"commit": "a", "code": "2"}, now_)
    assert not same_code({"commit": "b", "code": "1"}, now_)
    assert same_code({"commit": "b"}, now_)
    assert not same_code({"commit": "a"}, now_)


@needs_git
def test_code_state_of_a_repository(repository):
    head = git(repository, "rev-parse", "HEAD").strip()
    assert git_part(repository / "package") == (head, False)
    (repository / "package" / "module.py").write_text("x = 2\n")
    assert git_part(repository / "package") == (head, True)


@needs_git
def test_code_state_inside_a_hook_is_still_the_folder_s(repository, monkeypatch, tmp_path):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert code_state(repository)["dirty"] is False


@needs_git
def test_code_state_of_a_folder_that_the_repository_does_not_track(repository):
    installed = repository / ".venv" / "package"
    installed.mkdir(parents=True)
    (installed / "module.py").write_text("x = 1\n")
    assert git_part(installed) == UNKNOWN


@needs_git
def test_code_state_before_the_first_commit(tmp_path):
    (tmp_path / "module.py").write_text("x = 1\n")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    assert git_part(tmp_path) == UNKNOWN
