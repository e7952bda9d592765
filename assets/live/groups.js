// The completions of a run: groups of a step or of all, filtered and searched; one group with its completions.

const { el } = await import("./dom.js" + new URL(import.meta.url).search);

const FILTERS = { all: "All groups", mixed: "Some right, some wrong", all_wrong: "All wrong", all_right: "All right",
  truncated: "With cut-off answers", equal: "All rewards equal", best: "Best of each step", worst: "Worst of each step",
  spread: "Widest spread of each step" };
const ORDERS = { newest: "Newest first", step: "In order", best: "Best reward first", worst: "Worst reward first", spread: "Widest spread first" };

export class Groups {
  constructor(live, root) {
    Object.assign(this, { live, root });
    const options = choices => Object.entries(choices).map(([value, text]) => el("option", { value }, text));
    this.filter = el("select", { "aria-label": "Which groups", onchange: () => this.list() }, ...options(FILTERS));
    this.order = el("select", { "aria-label": "Order", onchange: () => this.list() }, ...options(ORDERS));
    this.step = el("input", { type: "number", min: 0, placeholder: "all", onchange: () => this.stepTyped() });
    this.text = el("input", { type: "search", maxlength: 300, placeholder: "Search in all answers", "aria-label": "Search in all answers" });
    this.search = el("form", { class: "live-note", onsubmit: event => { event.preventDefault(); this.list(); } }, this.text,
      el("button", { type: "submit", class: "live-button" }, "Search"));
    this.text.addEventListener("search", () => this.text.value || this.list());
    this.about = el("p", { class: "live-quiet", role: "status" });
    this.rows = el("div", { class: "live-rows", onclick: event => this.clicked(event) });
    this.more = el("button", { type: "button", class: "live-button", hidden: true, onclick: () => this.list(true) }, "Show more");
    this.browse = el("div", {}, el("div", { class: "live-line" }, el("label", {}, "Step ", this.step), this.filter, this.order, this.search),
      this.about, this.rows, this.more);
    this.previous = el("button", { type: "button", class: "live-button", onclick: () => this.open(this.shown.before) }, "← Previous");
    this.following = el("button", { type: "button", class: "live-button", onclick: () => this.open(this.shown.after) }, "Next →");
    this.body = el("div", { onclick: event => this.clicked(event) });
    this.one = el("div", { hidden: true }, el("div", { class: "live-line" },
      el("button", { type: "button", class: "live-button", onclick: () => this.back() }, "All groups"), this.previous, this.following,
      this.copy = el("button", { type: "button", class: "live-button", onclick: () => this.copyAddress() }, "Copy link")), this.body);
    root.append(this.browse, this.one);
    this.reset();
  }

  reset() {
    this.asked = {}; this.opening = false;  // what is on its way is of another run
    this.stage = "grpo"; this.loaded = false; this.shown = null; this.one.hidden = true; this.browse.hidden = false;
    this.rows.replaceChildren(); this.about.textContent = ""; this.more.hidden = true;
  }

  opened() { if (!this.loaded && !this.opening && this.one.hidden && this.live.run) this.list(); }

  atStep(stage, step) {
    this.stage = stage; this.step.value = step; this.text.value = ""; this.filter.value = "all"; this.order.value = "step";
    this.one.hidden = true; this.browse.hidden = false; this.loaded = false;
    this.live.address({ step, group: null }, true);
    if (this.live.run) this.list();
  }

  stepTyped() {
    this.live.address({ step: this.step.value === "" ? null : this.step.value, group: null });
    this.list();
  }

  async list(more) {
    this.loaded = true;
    if (!more) { this.offset = 0; this.last = null; }
    const asked = this.asked = {}, run = this.live.run, words = this.text.value.trim();
    const answer = words
      ? await this.live.ask("live_search", { run, text: words, before: this.last })
      : await this.live.ask("live_groups", { run, stage: this.stage, step: this.step.value === "" ? null : +this.step.value,
        filter: this.filter.value, order: this.order.value, offset: this.offset });
    if (asked !== this.asked) return;
    if (!answer || answer.error) { this.about.textContent = answer?.error || "No answer from the app; try again."; return; }
    if (more) this.rows.insertAdjacentHTML("beforeend", answer.html); else this.rows.innerHTML = answer.html;
    this.more.hidden = !answer.more;
    if (words) { 
      this.last = answer.last;
      if (answer.count) this.about.textContent = `${answer.count} ${answer.count === "1" ? "answer holds" : "answers hold"} these words, newest first.`;
      return;
    }
    this.offset += answer.count;
    this.about.textContent = this.words(answer);
  }

  words(answer) {
    if (!answer.range) return "No answers have been recorded yet: they come with the first GRPO step.";
    const typed = this.step.value;
    if (typed !== "" && answer.step !== +typed) return `Step ${typed} recorded no answers; these are of step ${answer.step}, the nearest that did.`;
    return typed === "" ? `Steps ${answer.range[0]} to ${answer.range[1]} have recorded answers.` : `Groups of step ${answer.step}.`;
  }

  clicked(event) {
    const button = event.target.closest("[data-group]");
    if (button) this.open(+button.dataset.group);
  }

  async open(id) {
    if (!id || !this.live.run) return;
    const asked = this.asked = {};
    this.opening = true;
    const answer = await this.live.ask("live_group", { run: this.live.run, group: id });
    this.opening = false;
    if (asked !== this.asked || !answer) return;
    this.browse.hidden = true; this.one.hidden = false;
    if (answer.error) { this.body.textContent = answer.error; this.previous.disabled = this.following.disabled = true; return; }
    this.shown = answer; this.id = id;
    this.body.innerHTML = answer.html;
    this.previous.disabled = !answer.before; this.following.disabled = !answer.after;
    this.live.address({ step: answer.step, group: id }, true);
    this.body.querySelector("h3")?.focus({ preventScroll: true });
    const again = this.body.querySelector(".live-again"), current = again?.querySelector("[aria-current]");
    if (current) again.scrollLeft = current.offsetLeft - again.offsetLeft - 120;
  }

  back() {
    this.one.hidden = true; this.browse.hidden = false;
    this.live.address({ group: null });
    if (!this.loaded) { this.step.value = this.shown?.step ?? ""; this.order.value = "step"; this.list(); }
    const row = this.rows.querySelector(`[data-group="${this.id}"]`);
    row?.focus();
  }

  async copyAddress() {
    try { await navigator.clipboard.writeText(location.href); this.copy.textContent = "Copied"; }
    catch { this.copy.textContent = "Copy the address bar"; }
    setTimeout(() => { this.copy.textContent = "Copy link"; }, 2000);
  }
}
