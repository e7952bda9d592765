"""The page's clock: `tick` fires when the runs have changed, not every second.

Each event of a `gr.Timer` makes Gradio walk through all components for every output of every listener: with five
listeners that kept half a core busy in an idle browser. This component asks Python once a second with one small
request, and fires at once when a run's state changed (started, stopped, another stage), every 5 seconds while one only
goes on (20 on the Live tab, which has its own way), and not at all while nothing happens or nobody looks. It is used
like a timer: `pulse(home).tick(…)`.
"""

import hashlib
from typing import TYPE_CHECKING, Any

import gradio as gr

from pipeline import jobs
from pipeline.errors import StudioError

if TYPE_CHECKING:
    from pipeline.studio_home import StudioHome

SCRIPT = """
let states = null, progress = null, fired = 0, asking = false;
async function beat() {
  if (!element.isConnected) return clearInterval(timer);
  if (document.hidden || asking) return;
  asking = true;
  const now = await server.pulse({}).catch(() => null);
  asking = false;
  if (!now) return;
  const tab = document.querySelector("#shared-tab textarea, #shared-tab input")?.value;
  const late = performance.now() - fired > (tab === "live" ? 20000 : 5000);
  if (now[0] === states && (now[1] === progress || !late)) return;
  [states, progress] = now;
  fired = performance.now();
  trigger("tick");
}
const timer = setInterval(beat, 1000);
document.addEventListener("visibilitychange", beat);
"""


def pulse(home: "StudioHome") -> gr.HTML:
    """The clock of a page, with a `tick` event."""

    def pulse(_: Any = None) -> list[str]:
        return changes(home)

    return gr.HTML("", visible="hidden", apply_default_css=False, js_on_load=SCRIPT, server_functions=[pulse])


def changes(home: "StudioHome") -> list[str]:
    """Two digests: of what every run is doing, and of how far it has got. Starts what waits in the queue, too."""
    try:
        jobs.tend(home)
        cards = jobs.list_runs(home, kinds=None)
    except (StudioError, OSError):
        return ["", ""]
    states = [(c.id, c.name, c.note, c.state.state, c.state.stage, c.state.reason, c.state.position, repr(c.state.job))
              for c in cards]
    return [_digest(states), _digest([(c.state.done, c.state.total, c.state.message, c.last_reward) for c in cards])]


def _digest(value: object) -> str:
    return hashlib.blake2b(repr(value).encode(), digest_size=6).hexdigest()
