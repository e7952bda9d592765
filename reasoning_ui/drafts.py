"""What a person has typed and not stored yet: an answer of the server that comes late must not overwrite it.

Every update from the server replaces what its box holds, also what was typed while the server was still at work. So a
box with the class `draft` is remembered by the page from the first letter on, under its `elem_id`, in
`window.drafts.typed`; whoever fills such a box asks there first.
"""

KEEP = "draft"  # the class of a textbox whose typed text is kept
HEAD = """<script>
window.drafts = {
  typed: {},
  run: null,
  choose(run) {  // another run: what was typed for the one before is no draft of this one
    if (this.run === run) return;
    this.run = run;
    this.drop("runs-name", "runs-note");
  },
  drop(...boxes) { for (const box of boxes) delete this.typed[box]; },
};
document.addEventListener("input", event => {
  const box = event.target.closest?.(".KEEP");
  if (box) window.drafts.typed[box.id] = event.target.value;
}, true);
</script>""".replace("KEEP", KEEP)
CHOSEN_RUN = "() => window.drafts.run"  # `StudioHome` checks the id wherever it is used
RUN_CHANGED = "run => { window.drafts.choose(run); return [run]; }"
FILL_RUN = """text => {
  const {run, name, note} = JSON.parse(text), {typed, run: chosen} = window.drafts;
  if (run !== chosen) return [undefined, undefined];
  return ["runs-name" in typed ? undefined : name, "runs-note" in typed ? undefined : note];
}"""  # undefined leaves a box as it is
TYPED_FOR_RUN = """(run, name, note) => {
  const {typed, run: chosen} = window.drafts;
  return [chosen ?? run, typed["runs-name"] ?? null, typed["runs-note"] ?? null];
}"""  # what was not typed stays as it is stored, also where the box still shows another run's
USE_YAML = """async given => {
  const text = window.drafts.typed["reward-yaml"];
  await window.rewardTurns.turn();
  window.drafts.asked = text;
  return [given];
}"""
YAML_USED = "() => { window.drafts.used = window.drafts.asked; }"  # not before: a text that is refused stays
FILL_YAML = """text => {
  const {typed, used} = window.drafts, draft = typed["reward-yaml"];
  if (draft?.trim() && draft !== used) return undefined;
  window.drafts.drop("reward-yaml");
  window.drafts.used = undefined;
  return text;
}"""
