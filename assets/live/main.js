// The Live page: asks Python what is new once a second while it can be seen, and hands the answer to its parts.
// Nothing from the server is trusted as HTML but what live_groups_view.py has escaped.

const TICK = 1000, TICK_FINISHED = 2500, TICK_LOST = 2000;  // what another browser does is seen within 3 s
const MOVING = ["waiting", "running", "stopping"];

export async function mount(page) {
  const version = new URL(import.meta.url).search;
  const load = name => import(new URL(name, import.meta.url).href + version);
  const [{ Board }, { Head }, { Groups }, { Log }, dom] = await Promise.all(
    ["./board.js", "./head.js", "./groups.js", "./log.js", "./dom.js"].map(load));
  dom.stylesheet(new URL("live.css", import.meta.url).href + version);
  const root = page.element.querySelector(".live-root");
  const live = new Live(page, root, dom);
  root.live = live;  // for tests and the curious
  root.innerHTML = FRAME;
  live.head = new Head(live, root);
  live.board = new Board(live, root.querySelector(".live-board"));
  live.groups = new Groups(live, root.querySelector(".live-groups"));
  live.log = new Log(live, root.querySelector(".live-log"));
  page.watch("value", () => page.props.value && live.told(page.props.value));
  live.start();
}

const FRAME = `
<div class="live-head"></div>
<div class="live-lost" role="status" hidden>The connection to the app is lost. Training goes on; this page tries again.</div>
<section class="live-findings" aria-label="What stands out" hidden></section>
<div class="live-views" role="tablist" aria-label="Views of the run">
  <button type="button" role="tab" data-view="curves">Curves</button>
  <button type="button" role="tab" data-view="groups">Completions</button>
  <button type="button" role="tab" data-view="log">Log</button>
</div>
<div class="live-view live-board" data-view="curves" role="tabpanel" aria-label="Curves"></div>
<div class="live-view live-groups" data-view="groups" role="tabpanel" aria-label="Completions"></div>
<div class="live-view live-log" data-view="log" role="tabpanel" aria-label="Log"></div>`;

class Live {
  constructor(page, root, dom) {
    Object.assign(this, { page, root, dom, server: page.server, settings: page.settings });
    this.run = ""; this.others = []; this.have = {}; this.view = "curves"; this.runs = {}; this.state = "none";
    this.stages = []; this.timer = 0; this.asking = false; this.patience = 20;
  }

  start() {
    const address = new URLSearchParams(location.search);
    this.root.querySelectorAll(".live-views button").forEach(button => {
      button.addEventListener("click", () => this.show(button.dataset.view));
      button.addEventListener("keydown", event => this.arrow(event, button));
    });
    window.addEventListener("popstate", () => this.readAddress());
    document.addEventListener("visibilitychange", () => document.hidden || this.soon());
    new ResizeObserver(() => this.seenOrHidden()).observe(this.root);
    this.look(address.get("run") || this.page.props.value || "");
    this.readAddress();
  }

  arrow(event, button) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const all = [...this.root.querySelectorAll(".live-views button")];
    const next = all[(all.indexOf(button) + step + all.length) % all.length];
    next.focus(); next.click();
  }

  // ---- which run, which view, which address

  look(run) {
    if (run === this.run && run) return;
    this.run = run || ""; this.have = {}; this.others = this.others.filter(r => r !== run);
    this.board.reset(); this.groups.reset(); this.log.reset(); this.head.reset();
    if (this.view === "groups") this.groups.opened();
    this.soon();
  }

  told(run) {  // of a run that was chosen elsewhere on the page: a reload is to find that one
    if (run === this.run) return;
    this.look(run);
    if (this.visible()) this.address({ step: null, group: null });
  }

  choose(run) {
    this.look(run); this.page.choose(run);
    this.address({ run, step: null, group: null }, true);
  }

  show(view, quietly) {
    this.view = view;
    this.root.querySelectorAll(".live-views button").forEach(button => {
      const on = button.dataset.view === view;
      button.setAttribute("aria-selected", on); button.tabIndex = on ? 0 : -1;
    });
    this.root.querySelectorAll(".live-view").forEach(part => { part.hidden = part.dataset.view !== view; });
    if (view === "groups") this.groups.opened();
    if (!quietly && view !== "groups") this.address({ step: null, group: null });
    this.soon();
  }

  openStep(stage, step) { this.groups.atStep(stage, step); this.show("groups", true); }
  openGroup(id) { this.groups.open(id); this.show("groups", true); }

  readAddress() {
    const address = new URLSearchParams(location.search);
    const group = parseInt(address.get("group")), step = parseInt(address.get("step"));
    if (group) this.openGroup(group);
    else if (address.has("step") && step >= 0) this.openStep("grpo", step);
    else this.show("curves", true);
  }

  address(changes, push) {
    const url = new URL(location.href);
    if (this.run) url.searchParams.set("run", this.run);
    for (const [key, value] of Object.entries(changes)) {
      if (value === null) url.searchParams.delete(key); else url.searchParams.set(key, value);
    }
    if (url.href === location.href) return;
    history[push ? "pushState" : "replaceState"](history.state, "", url);
  }

  // ---- the tick

  visible() { return !document.hidden && this.root.offsetWidth > 0; }

  seenOrHidden() {
    const width = this.root.offsetWidth;
    if (width && !this.width) { this.soon(); this.board.resized(); }
    else if (!width && this.width) this.leave();
    else if (width !== this.width) this.board.resized();
    this.width = width;
  }

  leave() {  // another tab of the app was opened: its address is not ours
    const url = new URL(location.href);
    ["run", "step", "group"].forEach(key => url.searchParams.delete(key));
    history.replaceState(history.state, "", url);
  }

  soon() { this.again = true; this.next(0); }
  next(delay) { clearTimeout(this.timer); this.timer = setTimeout(() => this.tick(), delay); }

  async tick() {
    if (!this.root.isConnected) return;
    if (!this.visible()) return;
    if (this.asking) { this.again = true; return; }
    const asked = this.run;
    const seen = { run: asked, have: this.have };
    if (this.view === "curves") seen.cards = this.board.wanted();
    if (this.view === "log") seen.log = this.log.end;
    const started = performance.now();
    this.asking = true; this.again = false;
    const answer = await this.dom.inTime(this.ask("live_show", seen), this.patience);
    this.asking = false;
    this.root.querySelector(".live-lost").hidden = !!answer;
    if (!answer) { this.again = false; return this.next(TICK_LOST); }
    if (asked === this.run) this.take(answer);
    if (this.again) { this.again = false; return this.next(0); }
    const every = MOVING.includes(this.state) || this.others.length ? TICK : TICK_FINISHED;
    this.next(Math.max(50, every - (performance.now() - started)));
  }

  async ask(name, what) {
    try { return await this.server[name](what) || null; } catch (error) { console.warn(error); return null; }
  }

  take(answer) {
    Object.assign(this.have, answer.have || {});
    if (answer.head) this.head.take(answer.head);
    if (answer.charts) this.board.setCharts(answer.charts);
    if (answer.marks) this.board.setMarks(answer.marks);
    if (answer.findings) this.head.findings(answer.findings);
    if (answer.data) this.board.take(answer.data);
    if (answer.log) this.log.take(answer.log);
    if (answer.charts) this.soon();
  }
}
