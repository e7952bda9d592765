"""The data settings are edited in the browser: no edit waits for an answer of the server, and none is undone by one.

Each field of the Data tab changes its own setting in `shared.data` and leaves the others alone. Made by the server from
what the page had sent, of two edits on their way the later answer would take back the earlier one. The page also fills
the fields in: never over text that is being typed, nor with what the server said of other tags.

Which rows are used is found out by the server, and may take long (`choosing`). What was edited since it was asked
stays; only columns go, since they belong to the rows before. Of two choices on their way, the later one counts.
"""

import json
from collections.abc import Callable
from typing import Any

import gradio as gr

from pipeline.recipe import DataStep
from reasoning_ui.shared import Shared, guard

GUESS = "\N{ZERO WIDTH SPACE}guess"  # cannot be a column's visible name
LONGEST = 131_072  # tokens, as the recipe allows
COLUMNS = ("question", "reasoning", "answer", "system", "answer_rule")
HEAD = """<script>
window.dataEdits = {
  going: new Set(), made: "",  // the choices of edits that the page is still taking over, and what becomes of the last
  parse(text) {
    try { return JSON.parse(text === this.asked ? this.whole : text); } catch { return {}; }
  },
  asks: 0, taken: 0, edited: {},  // how often data were asked for; the newest answer; each setting's last edit, in asks
  put(now, change) {  // of two edits in one moment, the second may not see the first in the choice yet
    const late = this.going.has(now), step = this.parse(late ? this.made : now);
    if (!late) this.going.clear();
    this.made = JSON.stringify({...step, ...change(step)});
    this.going.add(now).add(this.made);
    return this.made;
  },
  edit(now, change) {
    return this.put(now, step => {
      const edits = change(step);
      for (const name of Object.keys(edits)) this.edited[name] = this.asks;
      return edits;
    });
  },
  arrived(text, now) {
    const {asked, step} = JSON.parse(text);
    if (asked < this.taken) return undefined;
    this.taken = asked;
    return this.put(now, old => {
      const kept = Object.keys(this.edited).filter(name => this.edited[name] >= asked && !COLUMNS.includes(name));
      return {...step, ...Object.fromEntries(kept.map(name => [name, old[name]]))};
    });
  },
  withTyped(now) {  // with what is typed in a box that was not left yet
    const step = this.parse(this.going.has(now) ? this.made : now);
    for (const [id, text] of Object.entries(window.drafts.typed)) {
      const change = /^(tag-|split-|(system-prompt|test-source|grpo-longest)$)/.test(id) && this.read(id, text);
      if (change) Object.assign(step, change(step));
    }
    return JSON.stringify(step);
  },
  column(role, now, name) {
    return name?.length > 200 ? undefined : this.edit(now, () => ({[role]: name === GUESS ? null : name}));
  },
  scheme(now, scheme) { return this.edit(now, step => ({tags: {...step.tags, scheme}})); },
  usualPrompt(now) {
    window.drafts.drop("system-prompt");
    return this.edit(now, () => ({system_prompt: null}));
  },
  box(id, now) {  // a box that was only visited changes nothing; what is wrong stays as it was typed
    const text = window.drafts.typed[id], change = text === undefined ? null : this.read(id, text);
    if (!change) return undefined;
    window.drafts.drop(id);
    return this.edit(now, change);
  },
  read(id, text) {
    const words = text.trim(), dash = id.indexOf("-"), name = id.slice(dash + 1);
    if (id === "system-prompt") return () => ({system_prompt: words === this.usual ? null : text.slice(0, 20000)});
    if (id === "test-source") return () => ({test_source: words.slice(0, 1000) || null});
    if (id === "grpo-longest") {
      const number = words.replaceAll(",", "");
      const right = !number || /^[0-9]{1,6}$/.test(number) && number >= 1 && number <= LONGEST;
      return right ? () => ({grpo_longest: number ? Number(number) : null}) : null;
    }
    if (id.slice(0, dash) === "tag") return step => ({tags: {...step.tags, [name]: words.slice(0, 50)}});
    return step => ({split: {...step.split, [name]: Math.max(0, Number(words) || 0)}});
  },
  told(text) {  // of the server: the settings as it understands them, and the usual system prompt of their tags
    if (!text) return;
    const {asked, whole, tags, usual} = JSON.parse(text);
    Object.assign(this, {asked, whole, tags, usual});
  },
  shown(now) {
    if (now === this.made || !this.going.has(now)) this.going.clear();
    const step = this.parse(now);
    if (!step.tags || !step.split) return {};
    const shown = {"tag-scheme": step.tags.scheme, "test-source": step.test_source ?? "",
      "grpo-longest": String(step.grpo_longest ?? ""), "system-prompt": step.system_prompt ??
      (JSON.stringify(step.tags) === this.tags ? this.usual : undefined)};
    for (const [name, value] of Object.entries(step.split)) shown["split-" + name] = value;
    for (const [name, value] of Object.entries(step.tags)) if (name !== "scheme") shown["tag-" + name] = value;
    for (const id of Object.keys(window.drafts.typed)) shown[id] = undefined;  // leaves the box as it is
    return shown;
  },
};
</script>""".replace("GUESS", json.dumps(GUESS)).replace("LONGEST", str(LONGEST)).replace(
    "COLUMNS", json.dumps(COLUMNS))
ASK = "(...given) => [...given.slice(0, -1), String(++window.dataEdits.asks)]"
ARRIVED = "(text, now) => window.dataEdits.arrived(text, now)"
SCHEME = "(now, scheme) => window.dataEdits.scheme(now, scheme)"
USUAL = "now => window.dataEdits.usualPrompt(now)"
SYSTEM = '(told, now) => { window.dataEdits.told(told); return window.dataEdits.shown(now)["system-prompt"]; }'


def choosing(listen: Callable[..., Any], shared: Shared, choose: Callable[..., Any], inputs: list[Any]) -> None:
    """Let an event choose data: `choose(*inputs, now)` gives the new choice as JSON, or `gr.skip()`."""
    arrived = shared.extras["arrived"]

    def answer(*given: Any) -> Any:
        step = choose(*given[:-1])
        return json.dumps({"asked": int(given[-1]), "step": json.loads(step)}) if isinstance(step, str) else gr.skip()

    listen(guard(answer), [*inputs, shared.data, arrived], arrived, js=ASK, api_visibility="private",
           show_progress="hidden")


def column(role: str) -> str:
    """The script that stores the column of a role, or the rule for answers."""
    return f'(now, name) => window.dataEdits.column("{role}", now, name)'


def box(name: str) -> str:
    """The script that stores what was typed into the box of that id."""
    return f'now => window.dataEdits.box("{name}", now)'


def fill(*names: str) -> str:
    """The script that shows the choice in the fields of these ids; `custom-tags` is the row of the four boxes."""
    return ("now => { const shown = window.dataEdits.shown(now); "
            'shown["custom-tags"] = {visible: shown["tag-scheme"] === "custom", __type__: "update"}; '
            f"return {json.dumps(names)}.map(id => shown[id]); }}")


def told(asked: str, step: DataStep, usual: str) -> str:
    """What the page is told of the choice that it asked about."""
    tags = json.dumps(step.tags.model_dump(), separators=(",", ":"), ensure_ascii=False)
    return json.dumps({"asked": asked, "whole": step.model_dump_json(), "tags": tags, "usual": usual})
