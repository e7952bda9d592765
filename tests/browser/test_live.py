"""The Live page in a real browser: curves that follow a run, completions, addresses, notes; on a laptop and a phone."""

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.run_folder import CompletionRecord, GroupRecord, RunWriter
from pipeline.studio_home import StudioHome
from tests.browser.conftest import held, let_go
from tests.browser.test_other_run import look_at
from tests.live.synthetic import Synthetic, write_run

DRAWN = ".live-plot .main-svg"
DASHED = "[...document.querySelectorAll('.live-plot')].some(e => e.data?.some(t => t.line.dash === 'dash'))"
HOSTILE = '<img src=x onerror="window.hacked = 1"><script>window.hacked = 1</script>'


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> StudioHome:
    """Two runs; step 41 of the first has a hostile completion."""
    home = StudioHome(tmp_path_factory.mktemp("live-home"))
    folder = write_run(home.runs_dir / "first-run", Synthetic(grpo_steps=40, sft_steps=20))
    writer = RunWriter(folder)
    writer.add_groups("grpo", 1, 41, [GroupRecord("question " + HOSTILE, HOSTILE, [
        CompletionRecord("zebra " + HOSTILE, 9, True, {HOSTILE: 1.0}, float(i), i - 0.5, HOSTILE) for i in (0, 1)], 0)])
    writer.add_metrics("grpo", 1, 41, {"reward/total": 5.0})
    writer.close()
    write_run(home.runs_dir / "second-run", Synthetic(grpo_steps=30, sft_steps=10, seed=2))
    return home


@pytest.fixture(scope="module")
def url(start_app: Callable[..., str], home: StudioHome) -> str:
    """The app on that home."""
    return start_app(home.path)


@pytest.fixture(autouse=True)
def _patience(page: Any) -> None:
    """A page draws nine charts at once: on a machine that is shared by many that takes its time."""
    page.set_default_timeout(120_000)


def test_plotly_is_loaded_when_the_live_tab_opens_and_not_before(page: Any, url: str) -> None:
    """4.8 MB that nobody waits for who only looks at the Start tab; without a choice the newest run is shown."""
    asked: list[str] = []
    page.on("request", lambda r: asked.append(r.url) if "plotly" in r.url else None)
    page.goto(url)
    page.get_by_role("tab", name="Live").wait_for()
    page.wait_for_timeout(500)
    assert asked == []
    page.get_by_role("tab", name="Live").click()
    page.locator(DRAWN).first.wait_for()
    assert len(asked) == 1


def test_the_live_tab_without_a_choice_does_not_wait_for_the_next_tick(page: Any, url: str) -> None:
    """It asks which runs there are, chooses the newest and asks again at once, though nothing runs."""
    page.add_init_script("""const ask = window.setTimeout;
        window.setTimeout = (what, delay, ...more) => ask(what, delay >= 2000 && delay <= 5000 ? 1e9 : delay, ...more);
    """)
    page.goto(url)
    page.get_by_role("tab", name="Live").click()
    page.locator(".live-state", has_text="Finished").wait_for(timeout=30_000)


def test_curves_follow_the_run_and_keep_the_zoom(page: Any, url: str, home: StudioHome) -> None:
    """New steps reach the graph that is there: the element, its zoom and the other tab's visit survive."""
    page.goto(f"{url}?run=first-run")
    page.locator(DRAWN).first.wait_for()
    plot = page.locator(".live-plot").first
    plot.evaluate("e => { e.marked = 1; return window.Plotly.relayout(e, {'xaxis.range': [5, 25]}) }")
    writer = RunWriter(home.run("first-run"))
    for step in range(42, 46):
        writer.add_metrics("grpo", 1, step, {"reward/total": 77.0})
    writer.close()
    page.get_by_role("tab", name="Runs").click()
    page.get_by_role("tab", name="Live").click()
    page.locator(".live-legend b", has_text="77.00").wait_for()
    kept = plot.evaluate("e => [e.marked, e.layout.xaxis.range[0], e.data.at(-1).x.at(-1), "
                         "e.querySelector('svg').clientWidth]")
    assert kept[:3] == [1, 5, 45] and kept[3] > 250


def test_a_click_on_a_point_opens_its_groups_and_the_address_stays(page: Any, url: str) -> None:
    """From the curve by keyboard to the step, to a group; Back, and a reload, find the same."""
    page.goto(f"{url}?run=first-run")
    page.locator(DRAWN).first.wait_for()
    page.locator(".live-plot").first.focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.get_by_text("Groups of step 2.").wait_for()
    assert "step=2" in page.url
    page.locator(".live-row").first.click()
    page.get_by_role("heading", name="Step 2, group 1").wait_for()
    assert page.locator(".live-completion").count() == 4
    assert page.locator(".live-completion .answer").count() == 4
    assert re.search(r"run=first-run&step=2&group=\d+", page.url)
    page.reload()
    page.get_by_role("heading", name="Step 2, group 1").wait_for()
    page.go_back()
    page.get_by_text("Groups of step 2.").wait_for()


def test_hostile_text_is_only_shown(page: Any, url: str) -> None:
    """Nothing that a model wrote runs, in the group, the list or the search."""
    page.goto(f"{url}?run=first-run&step=41")
    page.locator(".live-row").first.click()
    page.locator(".live-completion").first.wait_for()
    assert "<img src=x" in page.locator(".live-text").first.inner_text()
    page.get_by_role("button", name="All groups").click()
    page.get_by_role("searchbox", name="Search in all answers").fill("zebra")
    page.keyboard.press("Enter")
    page.get_by_text("2 answers hold these words").wait_for()
    page.wait_for_timeout(200)
    assert page.evaluate("window.hacked") is None


def test_a_note_and_a_second_run_on_the_curves(page: Any, url: str) -> None:
    """Mark a step, write, see it after a reload, remove it; overlay a run and take it away."""
    page.goto(f"{url}?run=second-run")
    page.locator(DRAWN).first.wait_for()
    page.locator('[data-stage="sft"] .live-plot').first.scroll_into_view_if_needed()
    page.locator('[data-stage="sft"] .live-plot').first.click()
    page.get_by_role("textbox", name="Note at the marked step").fill("here it turned")
    page.get_by_role("button", name="Add note").click()
    page.get_by_role("list", name="Notes").get_by_text("here it turned").wait_for()
    page.reload()
    page.get_by_role("list", name="Notes").get_by_text("here it turned").wait_for()
    page.get_by_role("button", name="Remove this note").click()
    page.get_by_text("here it turned").wait_for(state="detached")
    page.get_by_label("Draw another run over this one").select_option("first-run")
    page.wait_for_function(DASHED)
    page.get_by_role("button", name=re.compile("^Remove My reasoner")).click()
    page.wait_for_function("!" + DASHED)


def test_a_click_before_the_points_have_come_is_not_lost(page: Any, url: str) -> None:
    """The app's answers are held back while a chart that has just been scrolled to is clicked: the step is marked."""
    page.add_init_script("""const ask = window.fetch; window.answers = Promise.resolve();
        window.fetch = async (...what) => { const found = await ask(...what); await window.answers; return found; };""")
    page.goto(f"{url}?run=second-run")
    page.locator(DRAWN).first.wait_for()
    page.evaluate("() => { window.answers = new Promise(done => { window.answerNow = done; }); }")
    plot = page.locator('[data-stage="sft"] .live-plot').first
    plot.click()
    assert plot.locator("svg").count() == 0 and not page.locator(".live-board .live-note").is_visible()
    page.evaluate("() => window.answerNow()")
    page.get_by_role("textbox", name="Note at the marked step").wait_for()
    assert plot.locator("svg").count() > 0


def test_a_growing_run_widens_its_points_without_asking_for_all_again(page: Any, url: str, home: StudioHome) -> None:
    """At step 301 a point begins to stand for two steps: the page makes them itself, and a reload gets the same."""
    folder = write_run(home.runs_dir / "growing-run", Synthetic(grpo_steps=290, sft_steps=1, groups_per_step=0, seed=3))
    drawn = """() => { const all = document.querySelector('.live-root')?.live?.board.cards.get('grpo.reward')?.data;
        return all?.get('growing-run')?.series['reward/total']; }"""
    last = "step => { const points = (" + drawn + ")(); return points?.length === 4 && points[0].at(-1) === step; }"
    page.goto(f"{url}?run=growing-run")
    page.locator(DRAWN).first.wait_for()
    writer = RunWriter(folder)
    rng = random.Random(7)
    for step in range(291, 312):
        writer.add_metrics("grpo", 1, step, {"reward/total": rng.random()})
    writer.close()
    page.evaluate("() => document.querySelector('.live-root').live.soon()")
    page.wait_for_function(last, arg=311)
    kept = page.evaluate(drawn)
    page.reload()
    page.wait_for_function(last, arg=311)
    fresh = page.evaluate(drawn)
    assert kept[0] == fresh[0] and kept[2:] == fresh[2:] and kept[1] == pytest.approx(fresh[1], rel=1e-4)


def test_a_phone_shows_everything_in_its_width(chromium: Any, url: str) -> None:
    """390 px: nothing is cut off at the side."""
    phone = chromium.new_page(viewport={"width": 390, "height": 800})
    phone.set_default_timeout(60_000)
    for where, seen in (("", DRAWN), ("&step=3", ".live-row"), ("&group=5", ".live-completion")):
        phone.goto(f"{url}?run=first-run{where}")
        phone.locator(seen).first.wait_for()
        assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    phone.close()


def test_csv_png_and_log_can_be_downloaded(page: Any, url: str, home: StudioHome, tmp_path: Path) -> None:
    """Three files, each with what its name promises."""
    page.goto(f"{url}?run=first-run")
    page.locator(DRAWN).first.wait_for()
    for button, name, start in (("CSV", "first-run-grpo.reward.csv", b"step,reward/total"),
                                ("PNG", "first-run-grpo.reward.png", b"\x89PNG")):
        with page.expect_download() as waited:
            page.get_by_role("button", name=button, exact=True).first.click()
        assert waited.value.suggested_filename == name
        waited.value.save_as(tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(start)
    page.get_by_role("tab", name="Log").click()
    page.get_by_text("step 39: ok").wait_for()
    page.get_by_role("searchbox", name="Search the whole log").fill("STEP 17:")
    page.keyboard.press("Enter")
    page.get_by_text("1 line", exact=True).wait_for()
    assert "step 17: ok" in page.get_by_role("log").inner_text()
    with page.expect_download() as waited:
        page.get_by_role("button", name="Download", exact=True).click()
    assert waited.value.suggested_filename == "first-run-log.txt"
    waited.value.save_as(tmp_path / "log.txt")
    assert (tmp_path / "log.txt").read_bytes() == home.run("first-run").log.read_bytes()


PARTS = {
    "live_groups": "live.groups.list()",
    "live_group": "live.groups.rows.querySelector('[data-group]').click()",
    "live_log_search": "live.log.text.value = 'no such words', live.log.find()",
    "live_search": "live.groups.text.value = 'zebra', live.groups.list()",
}


def test_parts_of_the_run_before_do_not_come_late(page: Any, url: str) -> None:
    """Of step 41 of the first run, asked for before the second was chosen, which ends with step 30, and answered after
    that: the groups, one of them, lines of the log, and the answers that hold a word."""
    page.goto(f"{url}?run=first-run&step=41")
    for part, act in PARTS.items():
        look_at(page, "first-run")
        page.get_by_text("Groups of step 41.").wait_for()
        late = held(page, f'"{part}"', "first-run")
        page.evaluate("act => { const {live} = document.querySelector('.live-root'); eval(act); }", act)
        while not late:
            page.wait_for_timeout(20)
        look_at(page, "second-run")
        page.wait_for_function("() => document.querySelector('.live-root').live.run === 'second-run'")
        let_go(page, late)
        seen = page.evaluate("""async () => {
          const {live} = document.querySelector(".live-root");
          await live.ask("live_groups", {run: live.run});  // after the late part
          return [live.groups.root.textContent, live.log.about.textContent, location.search];
        }""")
        page.unroute("**/component_server/")
        assert not re.search("Groups of step 41|zebra|No line|group=|step=", " ".join(seen)), part
        assert "run=second-run" in seen[2]  # a reload finds the run that was chosen last
        page.evaluate("document.querySelector('.live-root').live.openStep('grpo', 41)")
