// The Compare page: asks Python for the top and for pages of questions, and puts the answers into the document.
// Nothing from the server is trusted as HTML but what compare_html.py has escaped.

export async function mount(page) {
  const version = new URL(import.meta.url).search;
  const [dom, { Chart }] = await Promise.all([
    import(page.files + page.settings.dom + version), import(new URL("./chart.js", import.meta.url).href + version)]);
  const root = page.element.querySelector(".compare-root");
  const compare = new Compare(page, root, dom, Chart);
  root.compare = window.studioCompare = compare;
  page.watch("value", () => compare.look(page.run()));
  document.addEventListener("studio-tick", tick => { if (tick.detail === "compare" && root.isConnected) compare.look(); });
  compare.look(page.run() || new URLSearchParams(location.search).get("run") || "");
}

const FRAME = `
<div id="compare-which" class="cmp-controls"><label id="compare-benchmark" class="cmp-field" hidden>Questions of <select></select></label>
<label id="compare-way" class="cmp-field" hidden>Answers <select></select></label></div>
<div id="compare-summary"></div>
<div id="compare-sentences"></div>
<div class="cmp-body" hidden>
  <div id="compare-jump" class="cmp-controls"></div>
  <section id="compare-charts" aria-label="Charts"></section>
  <section id="compare-side" aria-labelledby="compare-side-title">
    <h3 id="compare-side-title">Answers side by side</h3>
    <div id="compare-matrices"></div>
    <fieldset id="compare-filter"><legend>Show</legend></fieldset>
    <div class="cmp-controls">
      <label id="compare-search" class="cmp-field">Search <input type="search" placeholder="words, or #12 for question 12"></label>
      <label id="compare-sort" class="cmp-field">Sort <select></select></label>
      <label id="compare-page" class="cmp-field">Page <input type="number" min="1" value="1"></label>
    </div>
    <div id="compare-count" role="status"></div>
    <div id="compare-questions"></div>
  </section>
  <section id="compare-download" aria-label="Download"><h3>Download</h3><div class="cmp-controls"></div></section>
</div>
<div class="cmp-lost" role="alert" hidden></div>`;
const FILES = [["answers.csv", "All answers (CSV)", "text/csv"], ["comparison.json", "Everything (JSON)", "application/json"],
  ["report.md", "Report (Markdown)", "text/markdown"], ["report.html", "Report (one HTML page)", "text/html"]];
const JUMPS = [["compare-ask", "Ask them a question"], ["compare-more", "Compare others"]];  // below all questions
const START = { kind: "all", cell: "", search: "", sort: "number", page: 1 };

class Compare {
  constructor(page, root, dom, Chart) {
    Object.assign(this, { page, root, dom, server: page.server, run: "", benchmark: "", way: "", seen: "", drawn: "", asked: 0, patience: 20 });
    this.chosen = { ...START };
    root.innerHTML = FRAME;
    this.body = this.part(".cmp-body");
    this.chart = new Chart(this, this.part("#compare-charts"));
    this.listen();
    this.arrive(new URLSearchParams(location.search));
  }

  part(selector) { return this.root.querySelector(selector); }

  listen() {
    const change = (selector, name, event = "change") => this.part(selector).addEventListener(event, e =>
      this.choose({ [name]: e.target.value, ...(name === "page" ? {} : { page: 1 }) }));
    for (const name of ["benchmark", "way"]) this.part("#compare-" + name).addEventListener("change", e => {
      Object.assign(this, { [name]: e.target.value, seen: "", drawn: "", chosen: { ...START }, asked: this.asked + 1 }); this.look(); });
    change("#compare-search", "search", "input");
    change("#compare-sort", "sort");
    change("#compare-page", "page");
    this.part("#compare-filter").addEventListener("change", e => this.choose({ kind: e.target.value, cell: "", page: 1 }));
    this.part("#compare-matrices").addEventListener("click", e => {
      const cell = e.target.closest("[data-cell]")?.dataset.cell;
      if (cell) this.choose({ kind: "all", cell: cell === this.chosen.cell ? "" : cell, page: 1 });  // again: leave it
    });
    this.part("#compare-sentences").addEventListener("click", e => {
      if (e.target.matches("[data-another-seed]")) this.anotherSeed(e.target); });
    this.part("#compare-jump").append(...JUMPS.map(([id, title]) =>
      this.dom.el("button", { type: "button", class: "cmp-button", onclick: () => this.jump(id) }, title)));
    this.part("#compare-download .cmp-controls").append(...FILES.map(([name, title, type]) =>
      this.dom.el("button", { type: "button", class: "cmp-button", onclick: e => this.download(name, type, e.target) }, title)));
  }

  jump(id) {
    const part = document.getElementById(id);
    part.querySelector("button.label-wrap:not(.open)")?.click();
    part.querySelector("button").focus({ preventScroll: true });
    setTimeout(() => part.scrollIntoView({ behavior: "smooth" }), 150);  // when what was closed has its height
  }

  arrive(address) {  // a link to a question
    if (!/^\d+$/.test(address.get("question") || "")) return;
    this.benchmark = address.get("benchmark") || "";
    this.chosen.search = "#" + address.get("question");
    this.scroll = true;
  }

  async ask(name, asked) {
    const answer = await this.server[name]({ run: this.run, benchmark: this.benchmark, way: this.way, ...asked }).catch(() => null);
    const lost = this.part(".cmp-lost");
    lost.hidden = !!answer && !answer.error;
    lost.textContent = answer ? answer.error || "" : "The app does not answer. Is it still running?";
    this.refused = !!answer?.error;
    return answer && !answer.error ? answer : null;
  }

  // ---- the top

  async look(run = this.run) {
    if (run && this.run && run !== this.run) Object.assign(this, { benchmark: "", way: "", chosen: { ...START } });
    if (run !== this.run) Object.assign(this, { run, seen: "", drawn: "", asked: this.asked + 1 });  // no list of another run
    this.again = true;
    this.looking ??= this.lookUntilNew();
    return this.looking;  // when what it shows is newer than this call, also where an answer was on its way already
  }

  async lookUntilNew() {
    try {
      while (this.again) {
        this.again = false;
        const chosen = { ...this.chosen }, { run, benchmark, way, seen, drawn } = this;
        const answer = await this.dom.inTime(this.ask("compare_look", { seen, drawn, ...chosen }), this.patience);
        if (answer === undefined) { this.again = true; continue; }
        const same = run === this.run && benchmark === this.benchmark && way === this.way && seen === this.seen;
        if (same && answer) this.take(answer, chosen);
        else if (run === this.run && this.refused) this.clear();  // deleted in another window: what it showed is no more
      }
    } finally {
      this.looking = null;
    }
  }

  async anotherSeed(button) {  // the recipe once more with another seed
    button.disabled = true;
    const answer = await this.ask("compare_again", {});
    button.disabled = false;
    if (!answer) return;
    await this.look();
    this.part("[data-another-seed]")?.focus();
    window.studio?.fire("tick");  // the header's list of runs
  }

  clear() {
    Object.assign(this, { seen: "", drawn: "" });
    this.body.hidden = this.part("#compare-benchmark").hidden = this.part("#compare-way").hidden = true;
    this.part("#compare-summary").innerHTML = this.part("#compare-sentences").innerHTML = "";
  }

  take(top, chosen) {
    if (top.seen === this.seen) return;
    this.seen = top.seen;
    this.body.hidden = "nothing" in top;
    this.part("#compare-summary").innerHTML = top.nothing ?? top.summary;
    this.part("#compare-sentences").innerHTML = top.words ?? "";
    if ("nothing" in top) { this.drawn = ""; this.part("#compare-benchmark").hidden = this.part("#compare-way").hidden = true; return; }
    Object.assign(this, { benchmark: top.benchmark, way: top.way });
    this.options("#compare-benchmark select", top.benchmarks.map(name => [name, name]), top.benchmark);
    this.part("#compare-benchmark").hidden = top.benchmarks.length < 2;
    this.options("#compare-way select", top.ways, top.way);
    this.part("#compare-way").hidden = !top.ways.length;
    this.options("#compare-sort select", top.sorts, this.chosen.sort);
    this.filters(top.filters);
    if (!top.list) return;
    this.drawn = top.drawn;
    const same = Object.keys(chosen).every(name => chosen[name] === this.chosen[name]);
    if (same) this.show(top.list); else this.list();  // somebody chose other questions meanwhile
    this.chart.choices(top.charts);
    if (top.first) setTimeout(() => window.studio?.fire("tick"), 500);  // the header's next step is another now
    if (this.scroll) { this.scroll = false; this.part("#compare-side").scrollIntoView(); }
  }

  options(selector, pairs, value) {
    this.part(selector).replaceChildren(...pairs.map(([key, title]) => this.dom.el("option", { value: key }, title)));
    this.part(selector).value = value;
  }

  filters(found) {
    const field = this.part("#compare-filter");
    field.replaceChildren(field.firstElementChild, ...found.map(([name, title, count]) => this.dom.el("label", {},
      this.dom.el("input", { type: "radio", name: "compare-kind", value: name }), ` ${title} (${count})`)));
    this.mark();
  }

  // ---- the questions

  choose(changes) {
    Object.assign(this.chosen, changes);
    this.mark();
    return this.list();
  }

  mark() {  // what is chosen, before the answer comes
    this.part("#compare-filter").querySelectorAll("input").forEach(box => {
      box.checked = !this.chosen.cell && box.value === this.chosen.kind; });
    const search = this.part("#compare-search input");
    if (search.value !== this.chosen.search) search.value = this.chosen.search;
  }

  async list() {
    const turn = ++this.asked;
    const answer = await this.ask("compare_list", this.chosen);
    if (answer && turn === this.asked) this.show(answer);  // not an answer that was overtaken
  }

  show(list) {
    Object.assign(this.chosen, { kind: list.kind, page: list.page });
    this.part("#compare-matrices").innerHTML = list.matrices;
    this.part("#compare-count").innerHTML = list.count;
    this.part("#compare-questions").innerHTML = list.html;
    const page = this.part("#compare-page input");
    page.max = list.pages; page.value = list.page;
    this.part("#compare-page").hidden = list.pages < 2;
    this.mark();
  }

  // ---- files

  async download(name, type, button) {
    button.disabled = true;
    const file = `${this.run}-${name}`;
    const answer = await this.ask("compare_file", { name });
    button.disabled = false;
    if (answer) this.dom.save(file, answer.text, type);
  }
}
