// Above the views: which run, its state and stages, stop and resume, runs to compare with, and what stands out.

const { el, tell, timeLeft } = await import("./dom.js" + new URL(import.meta.url).search);

const STATES = { waiting: "Waiting", running: "Running", stopping: "Stopping", stopped: "Stopped",
  interrupted: "Interrupted", failed: "Failed", finished: "Finished", none: "No run" };
const STAGES = { prepare: "Data", sft: "SFT", merge_sft: "Merge", grpo: "GRPO", merge_grpo: "Merge",
  evaluate: "Compare", dry_run: "Dry run" };

export class Head {
  constructor(live, root) {
    this.live = live;
    this.head = root.querySelector(".live-head");
    this.box = root.querySelector(".live-findings");
    this.state = el("span", { class: "live-state", role: "status" });
    this.left = el("span", { class: "live-quiet" });
    this.stop = el("button", { type: "button", class: "live-button", onclick: () => this.job("stop") }, "Stop and save");
    this.resume = el("button", { type: "button", class: "live-button strong", onclick: () => this.job("resume") }, "Resume");
    this.stages = el("ol", { class: "live-stages", "aria-label": "Stages" });
    this.reason = el("p", { class: "live-reason", role: "alert" });
    this.head.append(el("div", { class: "live-line" }, this.state, this.left, this.stop, this.resume),
      this.stages, this.reason);
    this.head.hidden = true;
  }

  reset() {  // another run: until it is known how that one is, nothing shown here may be pressed for it
    this.said = ""; this.findings([]);
    this.stop.disabled = this.resume.disabled = true;
  }

  async job(action) {
    const run = this.live.run;
    this.working = run; this.stop.disabled = this.resume.disabled = true;
    const answer = await this.live.ask("live_job", { run, action });
    this.working = null;
    if (run !== this.live.run) return;
    this.stop.disabled = this.resume.disabled = false;
    this.said = answer?.error || answer?.said || "";
    this.reason.textContent = this.said;
    this.live.soon();
  }

  take(head) {
    const live = this.live;
    live.state = head.state; live.runs = head.runs; live.stages = head.stages || [];
    const ids = Object.keys(head.runs);
    if (head.state === "none") return this.none(head, ids);
    this.head.hidden = false;
    live.root.classList.remove("live-none");
    tell(this.state, head.paused ? "Paused" : STATES[head.state] || head.state);
    this.state.dataset.state = head.paused ? "waiting" : head.state;
    this.left.textContent = head.state === "running" ? timeLeft(head.left) : "";
    this.stop.disabled = this.resume.disabled = this.working === live.run;
    this.stop.hidden = !["waiting", "running", "stopping"].includes(head.state);
    this.resume.hidden = !["stopped", "interrupted", "failed"].includes(head.state);
    tell(this.reason, [head.reason, head.remedy].filter(Boolean).join(" ") || this.said || "");
    this.stages.replaceChildren(...live.stages.map(stage => this.stage(stage, head)));
    live.board.setRuns(head.runs);
  }

  none(head, ids) {
    if (ids.length && !head.asked) return this.live.choose(ids[0]);
    this.head.hidden = false;
    this.live.root.classList.add("live-none");
    this.state.textContent = ""; this.left.textContent = ""; this.stop.hidden = this.resume.hidden = true;
    this.stages.replaceChildren();
    tell(this.reason, ids.length ? "That run is not here any more: choose another above." : "No run yet. Start one on the Train tab, or train the demo on the Start tab.");
  }

  stage(row, head) {
    const running = row.state === "running" && ["running", "stopping"].includes(head.state);
    const share = row.total ? Math.min(1, row.done / row.total) : row.state === "finished" ? 1 : 0;
    const ended = ["failed", "stopped", "interrupted"].includes(row.state) ? row.state : "";
    const count = row.total && row.total > 1 && (row.done || !row.message) ? `${Math.round(row.done)} of ${Math.round(row.total)} ${row.unit || ""}` : "";
    const item = el("li", { "data-state": running ? "running" : row.state, "aria-current": running ? "step" : null },
      el("span", {}, STAGES[row.name] || row.name), el("small", {}, row.state === "finished" ? "done" : count || ended || row.message || row.state),
      el("i", { style: `width:${(100 * (row.state === "finished" ? 1 : share)).toFixed(1)}%` }));
    if (row.message) item.title = row.message;
    return item;
  }

  findings(list) {
    this.box.replaceChildren();
    this.box.hidden = !list.length;
    if (!list.length) return;
    this.box.append(el("h3", {}, list.length === 1 ? "One thing stands out" : `${list.length} things stand out`));
    for (const finding of list) {
      const links = finding.evidence.map(link => el("button", { type: "button", class: "live-link",
        onclick: () => link.group ? this.live.openGroup(link.group) : this.live.openStep(link.stage, link.step) }, link.label));
      this.box.append(el("details", { "data-level": finding.level, open: list.length <= 2 },
        el("summary", {}, finding.title), el("p", {}, finding.what),
        el("p", {}, el("b", {}, "To try: "), finding.change), el("p", { class: "live-evidence" }, ...links)));
    }
  }
}
