// The grid of charts: which are on screen, what has arrived for each, smoothing, the common cursor, notes, overlays.

const version = new URL(import.meta.url).search;
const { el, shown, save, loadPlotly, dark } = await import("./dom.js" + version);
const { Card } = await import("./card.js" + version);

export class Board {
  constructor(live, root) {
    Object.assign(this, { live, root, cards: new Map(), smoothing: 0, marks: [], runs: {}, cursor: null,
      waiting: new Set(), rest: 0 });
    this.onScreen = new IntersectionObserver(entries => this.scrolled(entries), { rootMargin: "150px" });
    new MutationObserver(() => this.recolour()).observe(document.body, { attributeFilter: ["class"] });
    this.isDark = dark();
    this.tools();
  }

  tools() {
    this.slider = el("input", { type: "range", min: 0, max: 100, step: 5, value: 0, oninput: () => this.smooth() });
    this.amount = el("output", {}, "off");
    this.compare = el("select", { "aria-label": "Draw another run over this one", onchange: () => this.overlay(this.compare.value) });
    this.chips = el("span", { class: "live-chips" });
    this.note = el("input", { type: "text", maxlength: 2000, placeholder: "Note at the marked step", "aria-label": "Note at the marked step" });
    this.noteForm = el("form", { class: "live-note", hidden: true, onsubmit: event => this.addNote(event) },
      this.noteAt = el("span", {}), this.note, el("button", { type: "submit", class: "live-button" }, "Add note"),
      el("button", { type: "button", class: "live-button", onclick: () => this.openCompletions() }, "See its completions"),
      el("button", { type: "button", class: "live-icon", "aria-label": "Close", onclick: () => this.unmark() }, "×"));
    this.notes = el("ul", { class: "live-notes", "aria-label": "Notes" });
    this.empty = el("p", { class: "live-quiet" }, "Curves appear with the first step.");
    this.grid = el("div", {});
    this.root.append(
      el("div", { class: "live-line" }, el("label", { class: "live-smooth" }, "Smoothing", this.slider, this.amount),
        this.compare, this.chips), this.noteForm, this.notes, this.empty, this.grid);
  }

  reset() {
    for (const card of this.cards.values()) this.drop(card);
    this.cards.clear(); this.grid.replaceChildren(); this.empty.hidden = false; this.marks = []; this.showNotes();
    this.unmark();
  }

  drop(card) { this.onScreen.unobserve(card.root); card.close(); }

  // ---- what there is to draw

  setCharts(specs) {
    const ids = new Set(specs.map(s => s.id));
    for (const [id, card] of this.cards) if (!ids.has(id)) { this.drop(card); card.root.remove(); this.cards.delete(id); }
    let stage = null, section = null, sections = [];
    for (const spec of specs) {
      if (spec.stage !== stage) {
        stage = spec.stage;
        section = this.grid.querySelector(`[data-stage="${stage}"]`) || el("section", { "data-stage": stage },
          el("h3", {}, { grpo: "GRPO: learning from rewards", sft: "SFT: imitating worked solutions" }[stage] || "Dry run"),
          el("div", { class: "live-grid" }));
        sections.push(section);
      }
      let card = this.cards.get(spec.id);
      if (!card) {
        card = new Card(this, spec);
        this.cards.set(spec.id, card);
        this.onScreen.observe(card.root);
      } else card.setSpec(spec);
      section.lastElementChild.append(card.root);
    }
    this.grid.replaceChildren(...sections);
    this.empty.hidden = specs.length > 0;
    if (specs.length) this.plotly();
  }

  shownRuns() { return [this.live.run, ...this.live.others]; }

  wanted() {
    const wanted = new Map();  // charts that have got as far ask together: fewer bytes a tick
    for (const card of this.cards.values()) if (card.visible) for (const run of this.shownRuns()) {
      const [id, ...rest] = card.ask(run), key = rest.join(" ");
      if (wanted.has(key)) wanted.get(key)[0].push(id); else wanted.set(key, [[id], ...rest]);
    }
    return [...wanted.values()];
  }

  take(pieces) {
    const changed = new Set();
    for (const { charts, steps, ...piece } of pieces) {
      for (const [id, series] of Object.entries(charts)) {
        const card = this.cards.get(id);
        if (!card || !this.shownRuns().includes(piece.run)) continue;
        for (const columns of Object.values(series)) columns[0] ||= steps.slice();
        card.take({ ...piece, series }); card.readout(); changed.add(card);
      }
    }
    for (const card of changed) this.waiting.add(card);
    if (this.waiting.size) this.plotly().then(() => this.drawWaiting());
  }

  // New points are drawn at once while that is cheap. Drawing takes an eighth of the time at most: on a slow machine, or
  // with many charts and runs on screen, curves follow every few seconds, while the numbers above them follow each tick.
  drawWaiting() {
    if (performance.now() < this.rest) return;
    const started = performance.now();
    let again = 0;
    for (const card of this.waiting) { again += card.drawn ? 1 : 0; card.draw(); }
    if (again) this.rest = started + Math.min(5000, 8 * (performance.now() - started) * again / this.waiting.size);
    this.waiting.clear();
  }

  plotly() { return loadPlotly(this.live.page.files + this.live.settings.plotly).catch(error => { this.empty.textContent = error.message; this.empty.hidden = false; }); }

  scrolled(entries) {
    let more = false;
    for (const entry of entries) {
      const card = [...this.cards.values()].find(c => c.root === entry.target);
      if (!card) continue;
      card.visible = entry.isIntersecting;
      if (card.visible) { more = true; card.later(); }
    }
    if (more) this.live.soon();
  }

  resized() { for (const card of this.cards.values()) card.resized = true, card.later(); }

  recolour() {
    if (dark() === this.isDark) return;
    this.isDark = dark();
    for (const card of this.cards.values()) card.later();
  }

  colours() { return this.live.settings[this.isDark ? "coloursDark" : "colours"]; }

  smooth() {
    this.smoothing = this.slider.value / 100;
    this.amount.textContent = this.slider.value === "0" ? "off" : this.slider.value + " %";
    for (const card of this.cards.values()) card.later();
  }

  // ---- several runs

  setRuns(runs) {
    this.runs = runs;
    const free = Object.entries(runs).filter(([id]) => !this.shownRuns().includes(id));
    const key = JSON.stringify(free);
    if (key !== this.freeShown) {
      this.compare.replaceChildren(el("option", { value: "" }, "Draw another run over this one…"),
        ...free.map(([id, name]) => el("option", { value: id }, name)));
      this.compare.hidden = !free.length; this.freeShown = key;
    }
    this.showChips();
  }

  overlay(run) {
    if (!run) return;
    if (this.live.others.length < 5) this.live.others.push(run);
    this.freeShown = null; this.setRuns(this.runs); this.live.soon();
  }

  without(run) {
    this.live.others = this.live.others.filter(r => r !== run);
    for (const card of this.cards.values()) card.forget(run);
    this.freeShown = null; this.setRuns(this.runs);
  }

  showChips() {
    const key = JSON.stringify([this.live.others, this.live.run]);
    if (key === this.chipsShown) return;
    this.chipsShown = key;
    this.chips.replaceChildren(...(this.live.others.length ? this.shownRuns() : []).map((run, i) => el("span", { class: "live-chip" },
      el("i", { class: "dash" + Math.min(i, 3) }), this.runs[run] || run,
      i ? el("button", { type: "button", class: "live-icon", "aria-label": "Remove " + (this.runs[run] || run), onclick: () => this.without(run) }, "×") : null)));
  }

  // ---- the cursor that all charts of a stage share

  point(stage, step) {
    this.cursor = step === null ? null : { stage, step };
    if (this.pointing) return;
    this.pointing = requestAnimationFrame(() => {
      this.pointing = 0;
      for (const card of this.cards.values()) if (card.visible) card.readout();
    });
  }

  // ---- a marked step: its completions, and notes

  mark(stage, step) {
    this.marked = { stage, step };
    this.noteForm.hidden = false;
    this.noteAt.textContent = `Step ${step}`;
    for (const card of this.cards.values()) card.later();
  }

  unmark() { this.marked = null; this.noteForm.hidden = true; for (const card of this.cards.values()) card.later(); }
  openCompletions() { this.live.openStep(this.marked.stage, this.marked.step); }

  async addNote(event) {
    event.preventDefault();
    const text = this.note.value, run = this.live.run;
    if (!text.trim() || !this.marked || this.adding === text) return;
    this.adding = text;
    const answer = await this.live.ask("live_mark", { run, ...this.marked, text });
    this.adding = null;
    if (!answer?.marks) return;
    if (this.note.value === text) this.note.value = "";
    if (run === this.live.run) this.setMarks(answer.marks);
  }

  async removeNote(id) {
    const run = this.live.run, answer = await this.live.ask("live_mark", { run, remove: id });
    if (answer?.marks && run === this.live.run) this.setMarks(answer.marks);
  }

  setMarks(marks) { this.marks = marks; this.showNotes(); for (const card of this.cards.values()) card.later(); }

  showNotes() {
    this.notes.replaceChildren(...this.marks.map(mark => el("li", {},
      el("button", { type: "button", class: "live-link", onclick: () => this.mark(mark.stage, mark.step) }, `${mark.stage.toUpperCase()} step ${mark.step}`),
      " ", mark.text, el("button", { type: "button", class: "live-icon", "aria-label": "Remove this note", onclick: () => this.removeNote(mark.id) }, "×"))));
  }

  async csv(card) {
    const run = this.live.run, answer = await this.live.ask("live_csv", { run, chart: card.spec.id });
    if (answer?.csv) save(`${run}-${card.spec.id}.csv`, answer.csv, "text/csv");
  }

  shownValue(value, unit) { return shown(value, unit); }
}
