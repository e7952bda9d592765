"""Start waits for the form: nobody trains the old recipe because the chosen one is still on its way into the form.

The form takes over a recipe in three steps: the server reads it, the shared choices take it, and the fields are filled.
From the choice of the file until the last of them the button says what it waits for and takes no click. Its words come
with the page's next drawing; that it takes no click holds from the same moment on.
"""

WAITING, READY = "Filling in the recipe…", "Start training"
LOST_SECONDS = 20  # Gradio says nothing to the page when a file does not arrive: then the form counts again
HEAD = """<script>
window.filling = {
  held: false, asked: 0, arriving: null,
  hold() { if (!this.held) this.turn(true, "hold_start"); },
  free() { if (this.held && !this.asked && !this.arriving) this.turn(false, "free_start"); },
  turn(held, event) {
    this.held = held;
    const start = document.getElementById("start-training");
    if (start) start.disabled = held;
    window.studio?.fire(event);
  },
  file() {
    clearTimeout(this.arriving);
    this.arriving = setTimeout(() => { this.arrived(); window.studio?.fire("open_train"); }, LOST_SECONDS * 1000);
    this.hold();
  },
  arrived() { clearTimeout(this.arriving); this.arriving = null; },
  same(model, training, sent) {
    const [shownModel, shownTraining] = sent ? JSON.parse(sent) : ["", ""];
    return shownTraining === training && (shownModel === model || shownModel === null);
  },
};
document.addEventListener("change", event => {
  if (event.target.matches?.("#review input[type=file]")) window.filling.file();
}, true);
</script>""".replace("LOST_SECONDS", str(LOST_SECONDS))
EDITED = '(...given) => [...given.slice(0, -1), window.filling.held ? "late" : ""]'
# While a recipe is on its way into the form, Gradio may still send the fields as they were: that would undo it
ASK = "(...given) => { const f = window.filling; f.arrived(); f.asked++; f.hold(); return given; }"
OUTDATED = """(model, training, sent) => {
  const f = window.filling, same = f.same(model, training, sent);
  if (same) f.free(); else f.hold();
  window.studio.fire(same ? "review_train" : "fill_train");
}"""  # filling the form means an update of all its fields, so the browser asks for it only where they differ
TAKEN = '() => { window.filling.asked--; window.filling.hold(); window.studio.fire("fill_train"); }'
# what a person opened is always filled in: a field may have been changed since the form told its values
REFUSED = "(...now) => { window.filling.asked--; (OUTDATED)(...now); }".replace("OUTDATED", OUTDATED)
FILLED = "(...now) => { if (window.filling.same(...now)) window.filling.free(); }"
HOLD = f'() => ({{value: "{WAITING}", interactive: false, __type__: "update"}})'
FREE = f'() => ({{value: "{READY}", interactive: true, __type__: "update"}})'
