"""A page that strangers share, attacked over HTTP: with another visitor's cookie, nothing of a run can be had."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipeline import locks
from pipeline.recipe import Recipe
from pipeline.studio_home import StudioHome
from reasoning_ui.visitors import COOKIE
from tests.browser.conftest import _free_port, wait_for
from tests.live.synthetic import Synthetic, write_run

PROJECT = Path(__file__).resolve().parents[2]
RUN = "20260101-0000-anna-0001"
SECRET = "xylophone"  # in the name, the note, the answers, the log and the votes of Anna's run, and nowhere else
OF_A_RUN = (SECRET, "step,", "live-row", '"series"')  # words that only a run's records bring


@dataclass
class Space:
    """A running app, its home, and two visitors."""

    url: str
    home: StudioHome
    anna: httpx.Client
    boris: httpx.Client


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Space]:
    """An app as on a Space with a finished run of Anna's; the device is taken, so that whatever is started waits."""
    folder = tmp_path_factory.mktemp("space")
    home, port = StudioHome(folder / "home"), _free_port()
    locks.take(home.device_lock("cpu"))
    environment = os.environ | {"SPACE_ID": "carla/space", "HF_TOKEN": "hf_ownersownersownersowners",
                                "CUDA_VISIBLE_DEVICES": ""}
    with (folder / "app.log").open("wb") as log:
        app = subprocess.Popen([sys.executable, str(PROJECT / "app.py"), "--port", str(port), "--home", str(home.path)],
                               cwd=folder, env=environment, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}/"
    wait_for(url, app, folder / "app.log")
    anna, boris = (httpx.Client(base_url=url, timeout=60) for _ in range(2))
    for visitor in (anna, boris):
        visitor.get("/")
    _annas_run(home, anna)
    yield Space(url, home, anna, boris)
    app.terminate()
    app.wait(20)
    locks.release(home.device_lock("cpu"))


def _annas_run(home: StudioHome, anna: httpx.Client) -> None:
    recipe = Recipe.parse({"name": f"{SECRET} run"})
    folder = write_run(home.runs_dir / RUN, Synthetic(sft_steps=12, grpo_steps=12, recipe=recipe,
                                                      texts=lambda *_: f"<answer>{SECRET}</answer>"))
    folder.log.write_text(f"{SECRET} in the log\n")
    token = anna.cookies[COOKIE].partition(".")[0]
    owner = "cookie:" + hashlib.sha256(token.encode()).hexdigest()[:32]
    home.add_run(RUN, f"{SECRET} run", "train", owner=owner)
    home.write("UPDATE runs SET note = ? WHERE id = ?", (f"{SECRET} note", RUN))
    home.add_mark(RUN, "grpo", 3, f"{SECRET} mark")
    home.set_vote(RUN, "ask-1", {"winner": "sft", "question": SECRET})
    (home.path / "exports" / RUN).mkdir(parents=True)
    (home.path / "exports" / RUN / "recipe.yaml").write_text(SECRET)
    (home.path / "datasets" / "0123456789ab").mkdir(parents=True)
    (home.path / "datasets" / "0123456789ab" / "card.json").write_text(json.dumps(
        {"id": "0123456789ab", "name": SECRET, "created": 0, "hash": "0", "data": {}, "model": "tiny", "seed": 1}))


def asked(client: httpx.Client, fn: int, data: list[Any]) -> str:
    """Everything that an event handler answers, as text."""
    session = os.urandom(6).hex()
    event = {"fn_index": fn, "data": data, "session_hash": session}
    client.post("/gradio_api/queue/join", json=event).raise_for_status()
    text = ""
    with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as stream:
        for line in stream.iter_lines():
            text += line
            if "process_completed" in line or "unexpected_error" in line or "close_stream" in line:
                break
    return text


def asked_all(client: httpx.Client, questions: list[tuple[str, int, list[Any]]]) -> list[tuple[str, str]]:
    """The answers of many handlers, by their names."""
    with ThreadPoolExecutor(8) as pool:
        texts = pool.map(lambda question: asked(client, question[1], question[2]), questions)
        return [(question[0], text) for question, text in zip(questions, texts, strict=True)]


def calls(client: httpx.Client, run: str) -> Iterator[tuple[str, int, list[Any]]]:
    """Every event handler of the page with its inputs, each text that names a run set to `run`."""
    config = client.get("/config").json()
    props = {part["id"]: part["props"] for part in config["components"]}
    for handler in config["dependencies"]:
        if not handler["backend_fn"]:
            continue
        inputs = [props[i] for i in handler["inputs"]]
        naming = {"shared-run", "shared-followed"}
        values = [run if p.get("elem_id") in naming or p.get("label") in ("dry-run", "runs-deleted", "Deleted runs")
                  else p.get("value") for p in inputs]
        yield str(handler["targets"]), handler["id"], values


def test_no_handler_of_the_page_gives_anything_of_a_run_to_another_visitor(space: Space) -> None:
    """Each of the page's event handlers, called directly with Anna's run: Boris never reads a word, Anna does."""
    boris = asked_all(space.boris, list(calls(space.boris, RUN)))
    assert len(boris) > 60
    assert [name for name, text in boris if SECRET in text] == []
    assert (space.home.runs_dir / RUN / "run.db").is_file() and space.home.about(RUN)["deleted"] is None
    assert space.home.about(RUN)["note"] == f"{SECRET} note" and space.home.stop_presses(RUN) == 0
    assert (space.home.path / "datasets" / "0123456789ab").is_dir()
    harmless = [c for c in calls(space.anna, RUN) if "load" in c[0] or "open_" in c[0]]
    assert any(SECRET in text for _, text in asked_all(space.anna, harmless))


def test_no_server_function_of_the_live_page_answers_another_visitor(space: Space) -> None:
    config = space.boris.get("/config").json()
    page = next(c["id"] for c in config["components"] if c["props"].get("elem_id") == "live")

    def ask(client: httpx.Client, name: str, **what: Any) -> str:
        return client.post("/gradio_api/component_server", json={
            "session_hash": "attack", "component_id": page, "fn_name": name, "data": {"run": RUN, **what}}).text

    questions: list[tuple[str, dict[str, Any]]] = [
        ("live_show", {"cards": [[["grpo.reward"], RUN, "", 1, 0, -1]], "log": None}), ("live_groups", {}),
        ("live_group", {"group": 1}), ("live_search", {"text": SECRET}), ("live_csv", {"chart": "grpo.reward"}),
        ("live_log_search", {"text": SECRET}), ("live_log_search", {"text": ""}), ("live_mark", {"remove": 99})]
    for name, what in questions:
        assert any(word in ask(space.anna, name, **what) for word in OF_A_RUN), name
        told = ask(space.boris, name, **what)
        assert not any(word in told for word in OF_A_RUN), name
        assert SECRET not in ask(httpx.Client(base_url=space.url), name, **what), name
    assert "no run" in ask(space.boris, "live_job", action="stop")
    assert "no run" in ask(space.boris, "live_job", action="resume")
    assert "no run" in ask(space.boris, "live_mark", step=1, text="hello")
    overlaid = ask(space.boris, "live_show", run="", cards=[[["grpo.reward"], RUN, "", 1, 0, -1]])
    assert '"series"' not in overlaid and SECRET not in overlaid


def test_files_of_the_home_are_fetched_only_by_whose_they_are(space: Space) -> None:
    export = f"/gradio_api/file={space.home.path}/exports/{RUN}/recipe.yaml"
    assert space.anna.get(export).text == SECRET
    forged = httpx.Client(base_url=space.url, cookies={COOKIE: space.anna.cookies[COOKIE].partition(".")[0] + ".00"})
    for stranger in (space.boris, forged, httpx.Client(base_url=space.url)):
        for address in (export, export.replace("file=", "file/"), export.replace("/recipe", "/../" + RUN + "/recipe"),
                        export.replace("exports", "%65xports"),
                        f"/gradio_api/file={space.home.path}/runs/{RUN}/log.txt",
                        f"/gradio_api/file={space.home.path}/studio.db",
                        f"/gradio_api/file={space.home.path}/visitors/cookie.key"):
            found = stranger.get(address)
            assert found.status_code in (403, 404) and SECRET not in found.text, address
    assert space.anna.get(f"/gradio_api/file={space.home.path}/studio.db").status_code == 404


def test_a_visitor_reaches_neither_local_files_nor_models_of_others(space: Space) -> None:
    """The choices are texts in the browser: with a path in them, nothing of a file comes back, and nothing starts."""
    config = space.boris.get("/config").json()
    props = {part["id"]: part["props"] for part in config["components"]}
    questions = []
    for source in ("/etc/passwd", str(space.home.path / "datasets" / "0123456789ab")):
        for handler in config["dependencies"]:
            ids = [props[i].get("elem_id") for i in handler["inputs"]]
            if handler["backend_fn"] and {"shared-data", "shared-model"} & set(ids):
                named = {"shared-data": json.dumps({"source": source}), "shared-model": json.dumps({"source": source})}
                data = [named.get(str(e), props[i].get("value")) for i, e in zip(handler["inputs"], ids, strict=True)]
                questions.append((str(handler["targets"]), handler["id"], data))
    for name, told in asked_all(space.boris, questions):
        assert "root:" not in told and SECRET not in told, name
    assert all("passwd" not in row["request"] for row in space.home.read("SELECT * FROM queue"))
    for row in space.home.known_runs():
        recipe = space.home.run(row["id"]).recipe()
        assert not recipe.data.source.startswith("/") and not recipe.model.source.startswith("/")


def test_the_cookie_is_long_signed_and_out_of_reach_of_scripts(space: Space) -> None:
    given = httpx.get(space.url).headers["set-cookie"]
    value = given.split(";")[0].partition("=")[2]
    assert len(value) == 64 + 1 + 64 and "HttpOnly" in given
    assert "set-cookie" not in space.anna.get("/").headers  # known: keeps hers
    over_https = httpx.get(space.url, headers={"x-forwarded-proto": "https"}).headers["set-cookie"]
    assert "Secure" in over_https and "SameSite=None" in over_https and "Partitioned" in over_https
