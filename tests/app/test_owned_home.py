"""Whose is what in a home that strangers share, without a server: runs, queue places, uploads, the owner's login."""

import os
from pathlib import Path

import pytest

from pipeline import hub_token, jobs, locks, reach
from pipeline.errors import RunError
from pipeline.owned_home import NOBODY, OwnedHome, Visitor
from pipeline.recipe import Recipe
from pipeline.run_folder import RunFolder
from pipeline.studio_home import StudioHome
from reasoning_ui.visitors import Identities
from tests.live.synthetic import Synthetic, write_run


@pytest.fixture
def people(tmp_path: Path) -> tuple[OwnedHome, dict[str, Visitor]]:
    """A shared home, and who asks."""
    asking = {"now": Visitor("cookie:anna")}
    return OwnedHome(tmp_path / "home", who=lambda: asking["now"]), asking


def _waiting(home: StudioHome, name: str) -> str:
    return jobs.start(home, Recipe.parse({"name": name}))


def test_runs_queue_places_and_the_trash_are_each_visitors_own(people: tuple[OwnedHome, dict[str, Visitor]]) -> None:
    home, asking = people
    locks.take(home.device_lock("cpu"))
    try:
        first, second = _waiting(home, "one"), _waiting(home, "two")
        asking["now"] = Visitor("cookie:boris")
        mine, later = _waiting(home, "three"), _waiting(home, "four")
        assert [c.id for c in jobs.list_runs(home)] == [later, mine]
        assert "another visitor's run" in jobs.state(home, mine).reason and "one" not in jobs.state(home, mine).reason
        jobs.move(home, later, -10)  # ahead of his own, not of Anna's
        assert [r["run"] for r in home.read("SELECT run FROM queue ORDER BY position")] == [first, second, later, mine]
        for act in (jobs.stop, jobs.resume, jobs.state, jobs.delete, jobs.duplicate, jobs.restore):
            with pytest.raises(RunError, match=r"no run|not in the trash"):
                act(home, first)
        for read in (home.marks, home.votes):
            with pytest.raises(RunError, match="no run"):
                read(first)
        jobs.delete(home, mine)
        asking["now"] = Visitor("cookie:anna")
        assert home.known_runs(deleted=True) == [] and jobs.empty_trash(home) == 0
        asking["now"] = Visitor("hf:carla", trusted=True)
        assert len(jobs.list_runs(home)) == 3 and len(home.known_runs(deleted=True)) == 1
        asking["now"] = NOBODY
        assert jobs.list_runs(home) == []
        with pytest.raises(RunError, match="cookie"):
            _waiting(home, "five")
    finally:
        locks.release(home.device_lock("cpu"))


def test_a_run_may_start_only_from_what_is_ones_own(people: tuple[OwnedHome, dict[str, Visitor]],
                                                     tmp_path: Path) -> None:
    home, asking = people
    (home.private / "uploads").mkdir(parents=True)
    own = home.private / "uploads" / "rows.csv"
    own.write_text("question,answer\n1+1?,2\n")
    home.may_start(Recipe.parse({"data": {"source": str(own)}}))
    write_run(home.runs_dir / "annas-run", Synthetic(sft_steps=1, grpo_steps=1))
    home.add_run("annas-run", "hers", "train")
    home.may_start(Recipe.parse({"model": {"source": str(RunFolder(home.runs_dir / "annas-run").model("sft"))}}))
    asking["now"] = Visitor("cookie:boris")
    outside = tmp_path / "secret.csv"
    outside.write_text("question,answer\n")
    for values in ({"data": {"source": str(own)}}, {"data": {"source": str(outside)}},
                   {"data": {"test_source": str(outside)}}, {"evaluate": {"benchmarks": [str(outside)]}},
                   {"model": {"source": str(RunFolder(home.runs_dir / "annas-run").model("sft"))}},
                   {"parent": {"run": "annas-run"}}):
        with pytest.raises(RunError, match=r"no run|upload the data"):
            home.may_start(Recipe.parse(values))
    with pytest.raises(RunError, match="upload the data"):
        home.may_start(Recipe(), {"models": ["base", str(outside)]})
    home.may_start(Recipe(), {"system_prompt": "... think / then answer"})


def test_the_owners_login_is_for_the_owners_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants, get_token

    monkeypatch.setenv("HF_TOKEN", "hf_ownersownersownersowners")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", constants.HF_TOKEN_PATH)
    monkeypatch.setattr(hub_token, "_kept", {})
    monkeypatch.setenv("HF_TOKEN_PATH", "/nonexistent")
    hub_token.withhold()
    assert get_token() is None and hub_token.kept() == "hf_ownersownersownersowners"
    assert hub_token.for_worker(os.environ, tmp_path, trusted=True)["HF_TOKEN"] == "hf_ownersownersownersowners"
    visitors = hub_token.for_worker(os.environ, tmp_path, trusted=False)
    assert "hf_owners" not in str(visitors) and visitors["HF_HUB_CACHE"].startswith(str(tmp_path))


def test_the_author_of_the_space_is_its_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACE_ID", "carla/space")
    identities = Identities(tmp_path)

    def user(name: str, *orgs: dict[str, str]) -> Visitor:
        info = {"userinfo": {"preferred_username": name, "orgs": list(orgs)}}
        return identities.visitor({"session": {"oauth_info": info}, "headers": []})

    assert user("carla").trusted and not user("dora").trusted
    assert user("dora", {"preferred_username": "carla", "roleInOrg": "admin"}).trusted
    assert not user("dora", {"preferred_username": "carla", "roleInOrg": "read"}).trusted
    assert identities.visitor({"headers": [(b"cookie", b"reasoning-studio-visitor=" + b"a" * 64 + b".00")]}) is NOBODY


def test_reach_says_the_same_of_what_is_there_and_what_is_not(tmp_path: Path) -> None:
    from pipeline.dataset.models import model_folder
    from pipeline.dataset.sources import open_named
    from pipeline.errors import StudioError

    reach.limit(lambda path: False)
    try:
        told = set()
        for act in (open_named, model_folder):
            for source in (str(tmp_path), str(tmp_path / "nothing")):
                with pytest.raises(StudioError) as error:
                    act(source)
                told.add(str(error.value))
        assert len(told) == 1
        assert model_folder("tiny").is_dir()
    finally:
        reach.limit(None)
