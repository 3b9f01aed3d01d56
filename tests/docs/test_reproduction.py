"""Records of the runs that `docs/reproduction` shows."""

import subprocess

import pytest

from docs.tools import reproduction


def test_a_resumed_study_keeps_the_commit_of_its_first_session(tmp_path, monkeypatch):
    study = reproduction.Study("htfjax verify --help", {}, dict)
    monkeypatch.setitem(reproduction.STUDIES, "one", study)
    monkeypatch.setattr(reproduction, "RUNS", tmp_path)
    (tmp_path / "one").mkdir()
    origins = []
    for commit in ("first", "second"):
        monkeypatch.setattr(reproduction, "_commit", lambda commit=commit: commit)
        assert reproduction.run("one") == 0
        origins.append(reproduction._origin("one"))
    assert [origin["commit"] for origin in origins] == ["first", "first"]
    assert 0 < origins[0]["seconds"] < origins[1]["seconds"]


def test_a_study_without_its_folder_is_recorded_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(reproduction, "RUNS", tmp_path)
    monkeypatch.setattr(reproduction, "_commit", lambda: "now")
    (tmp_path / "one.json").write_text('{"seconds": 9.0, "commit": "before"}')
    assert reproduction._origin("one")["commit"] == "now"
    assert reproduction._origin("one")["seconds"] == 0


def test_an_interrupted_session_counts(tmp_path, monkeypatch):
    def interrupted(*args, **kwargs):
        (tmp_path / "one").mkdir()
        raise KeyboardInterrupt

    study = reproduction.Study("htfjax verify", {}, dict)
    monkeypatch.setitem(reproduction.STUDIES, "one", study)
    monkeypatch.setattr(reproduction, "RUNS", tmp_path)
    monkeypatch.setattr(reproduction, "_commit", lambda: "first")
    monkeypatch.setattr(reproduction.subprocess, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        reproduction.run("one")
    monkeypatch.setattr(reproduction, "_commit", lambda: "second")
    assert reproduction._origin("one")["commit"] == "first"
    assert reproduction._origin("one")["seconds"] > 0


@pytest.mark.parametrize(
    ("file", "marked"),
    [("htfjax/new.py", True), ("sims/old.py", True), ("docs/a.json", False)],
)
def test_a_commit_is_marked_where_its_code_has_changes(tmp_path, monkeypatch, file, marked):
    def git(*words):
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *who, *words], cwd=tmp_path, check=True)

    monkeypatch.setattr(reproduction, "ROOT", tmp_path)
    for name in ("htfjax/old.py", "sims/old.py", "docs/a.json"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    clean = reproduction._commit()
    assert not clean.endswith("-dirty")
    (tmp_path / file).write_text("x = 1")
    assert reproduction._commit() == clean + "-dirty" * marked
