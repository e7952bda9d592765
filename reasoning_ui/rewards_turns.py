"""Changes of the reward set take turns: each waits for the answer to the one before, and starts from what that made.

A change is made by the server from the set that the page sends. Of two changes on their way, the later answer would
take back the earlier one, and a place in the list would mean another reward by then. So the page sends the second when
the first has arrived, and finds its reward again by its name, of which there is one in the set. A click on the list is
noted with the name that it was on, since the list may be older than the set; and whatever draws the list takes a turn.
Code is sent at every letter, so it waits for other changes only, and they for it. What uses the set (test bench, dry
run, training) waits until all changes have arrived.
"""

from typing import Any

LOST_SECONDS = 30  # an answer that never comes must not hold up the page for good
HEAD = """<script>
window.rewardTurns = {
  last: Promise.resolve(), ends: [], codes: 0, clicks: [],
  pause(seconds) { return new Promise(done => setTimeout(done, 1000 * seconds)); },
  box(id) { return document.querySelector(`#${id} input, #${id} textarea`).value; },
  now() { return this.box("shared-rewards"); },
  place() { return this.box("reward-place"); },
  names() { return JSON.parse(this.now()).functions.map(f => f.name || f.kind); },
  turn() {
    const before = this.last;
    this.last = before.then(() => Promise.race([new Promise(end => this.ends.push(end)), this.pause(LOST_SECONDS)]));
    return before.then(() => this.coded());
  },
  async coded() { for (let i = 0; this.codes && i < 50 * LOST_SECONDS; i++) await this.pause(0.02); },
  done() { setTimeout(() => this.ends.shift()?.(), 0); },  // when the page has taken over what was answered
  async all() { for (let last; last !== this.last;) await (last = this.last); },
  async settled() {
    await this.all();
    await this.coded();
    return this.now();
  },
  label(form) { return form.values.name.trim() || form.kind; },
  async sameReward(name, wait, label = name) {
    await wait();  // its place after that, by its name or by the one that it was given meanwhile; none when it has gone
    const names = this.names(), known = [name, label].find(one => names.includes(one));
    return known === undefined ? "" : String(names.indexOf(known));
  },
};
document.addEventListener("input", event => {
  if (event.target.closest?.("#reward-list")) window.rewardTurns.clicks.push(event.target.value);
}, true);
</script>""".replace("LOST_SECONDS", str(LOST_SECONDS))
SET = "async (rewards, ...given) => { await window.rewardTurns.turn(); return [window.rewardTurns.now(), ...given]; }"
PLACE = """async () => {
  const turns = window.rewardTurns;
  await turns.turn();
  return [turns.now(), turns.place()];
}"""
OPENED = """async (tab, rewards, data, place, drawn) => {
  const turns = window.rewardTurns;
  await turns.turn();
  return [tab, turns.now(), data, turns.place(), drawn];
}"""
CHOSEN = """async () => {
  const turns = window.rewardTurns, found = await turns.sameReward(turns.clicks.shift(), () => turns.turn());
  return [turns.now(), found || turns.place()];
}"""
FORM = """async (rewards, code) => {
  const turns = window.rewardTurns, form = window.rewardEdit();
  form.place = await turns.sameReward(form.name, () => turns.turn(), turns.label(form));
  return [turns.now(), code, JSON.stringify(form), turns.place()];
}"""
CODE = """async (rewards, data, place, code) => {
  const turns = window.rewardTurns, form = window.rewardForm?.() || {};
  const found = await turns.sameReward(turns.names()[place], () => turns.all());
  turns.codes++;
  return [turns.now(), data, found, code, JSON.stringify({...form, place: form.place === place ? found : ""})];
}"""
DONE = "() => { window.rewardTurns.done(); }"
CODED = "() => { window.rewardTurns.codes = Math.max(0, window.rewardTurns.codes - 1); }"


def settled(place: int) -> str:
    """The script that waits for all changes of the set, which is the input at that place."""
    return f"async (...given) => {{ given[{place}] = await window.rewardTurns.settled(); return given; }}"


def ends(change: Any, js: str = DONE) -> None:
    """The turn of a change (the event of a component) ends with its answer, or when it was refused."""
    for over in (change.success, change.failure):
        over(None, None, None, js=js, api_visibility="private", show_progress="hidden")
