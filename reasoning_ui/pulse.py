"""The page's clock and its usher: events that reach only the tab that is open.

`tick` fires when the runs have changed, not every second.

Each event of a `gr.Timer` makes Gradio walk through all components for every output of every listener: with five
listeners that kept half a core busy in an idle browser. This component asks Python once a second with one small
request, and fires at once when a run's state changed (started, stopped, another stage), every 5 seconds while one only
goes on (20 on the Live tab, which has its own way), and not at all while nothing happens or nobody looks. A question
without an answer is given up after `window.studio.patience` seconds. It is used like a timer: `pulse(home).tick(…)`.

Every output of every listener costs the browser a walk through all components, twice; a listener of each tab on "the
tab changed" made a click on a tab take seconds. So for each tab there are events that fire only while it is the open
one: `open_data` when it opens, `changed_data` when a shared choice changes, `tick_data` with each tick. The page's own
scripts fire them through `window.studio`: `opened(tab)`, `changed()` and `fire(name)`. A script that asks Python itself
hears a tick as the document's event `studio-tick`, with the open tab: Gradio calls the listeners of an event one after
the other, and one whose answer is lost would keep it from those behind it.
"""

import hashlib
import json
from types import MethodType
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.events import EventListener

from pipeline import jobs
from pipeline.errors import StudioError

if TYPE_CHECKING:
    from pipeline.studio_home import StudioHome

TABS = ("start", "data", "rewards", "train", "live", "compare", "export", "runs")
EXTRA = ("fill_train", "review_train", "hold_start", "free_start")  # what the Train tab fires itself (filling.py)
NAMES = ("tick", *(f"{what}_{tab}" for what in ("open", "changed", "tick") for tab in TABS), *EXTRA)

SCRIPT = """
const names = NAMES;
let here = "start";
const fire = name => { if (names.includes(name)) trigger(name); };
window.studio = {
  fire,
  patience: 20,
  opened: tab => { here = document.body.dataset.tab = tab || "start"; fire("open_" + here); },
  changed: () => fire("changed_" + here),
};
document.body.dataset.tab = here;
let states = null, progress = null, fired = 0, asked = 0;
async function beat() {
  if (!element.isConnected) return clearInterval(timer);
  if (document.hidden || asked && performance.now() - asked < 1000 * window.studio.patience) return;
  const mine = asked = performance.now();
  const now = await server.pulse({}).catch(() => null);
  if (mine !== asked) return;  // it was given up, and another has been asked since
  asked = 0;
  if (!now) return;
  const late = performance.now() - fired > (here === "live" ? 20000 : 5000);
  if (now[0] === states && (now[1] === progress || !late)) return;
  [states, progress] = now;
  fired = performance.now();
  document.dispatchEvent(new CustomEvent("studio-tick", { detail: here }));
  trigger("tick");
  fire("tick_" + here);
}
const timer = setInterval(beat, 1000);
document.addEventListener("visibilitychange", beat);
""".replace("NAMES", json.dumps(NAMES))


def pulse(home: "StudioHome") -> gr.HTML:
    """The clock of a page, with a `tick` event."""

    def pulse(_: Any = None) -> list[str]:
        return changes(home)

    clock = gr.HTML("", visible="hidden", apply_default_css=False, js_on_load=SCRIPT, server_functions=[pulse])
    for name in NAMES:
        if name != "tick":  # gr.on does not take a custom event of gr.HTML; a bound listener it does
            setattr(clock, name, MethodType(EventListener(name).listener, clock))
    return clock


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
