// One chart of the comparison, drawn by plotly.js when it comes into view, and its downloads.

export class Chart {
  constructor(compare, root) {
    Object.assign(this, { compare, root, name: "accuracy", wanted: false });
    const { el } = compare.dom;
    this.select = el("select", { onchange: () => { this.name = this.select.value; this.draw(); } });
    this.plot = el("div", { id: "compare-plot", role: "img", "aria-label": "Chart, not drawn yet" });
    const button = (title, about, onclick) => el("button", { type: "button", class: "cmp-button", title: about, onclick }, title);
    root.append(el("div", { class: "cmp-controls" }, el("label", { id: "compare-chart", class: "cmp-field" }, "Chart ", this.select),
      el("span", { class: "cmp-buttons" }, button("PNG", "Download the picture", () => this.png()),
        button("CSV", "Download the chart's numbers", () => this.csv()),
        button("JSON", "Download the chart as a Plotly figure", () => this.json()))), this.plot);
    new IntersectionObserver(seen => { if (seen.some(s => s.isIntersecting) && this.wanted) this.draw(); }).observe(this.plot);
    new ResizeObserver(() => this.drawn && this.plot.offsetWidth && window.Plotly.Plots.resize(this.plot)).observe(this.plot);
  }

  choices(pairs) {  // new answers: the chart is drawn again, once the rest of the page is on the screen
    this.compare.options("#compare-chart select", pairs, this.name);
    this.wanted = true;
    delete this.plot.dataset.chart;  // what is drawn is of other answers
    requestAnimationFrame(() => setTimeout(() => {
      const box = this.plot.getBoundingClientRect();
      if (this.wanted && this.plot.offsetWidth && box.top < innerHeight && box.bottom > 0) this.draw();
    }));
  }

  async draw() {
    this.wanted = false;
    const name = this.name, { compare } = this, { run } = compare, turn = this.turn = {};
    const [answer] = await Promise.all([compare.ask("compare_chart", { name }),
      compare.dom.loadPlotly(compare.page.files + compare.page.settings.plotly).catch(error => { this.plot.textContent = error.message; })]);
    if (!answer || turn !== this.turn || run !== compare.run || !window.Plotly) return;  // another one was asked for meanwhile
    this.figure = answer.figure;
    const ink = getComputedStyle(this.plot).color;
    const layout = { ...this.figure.layout, font: { ...this.figure.layout.font, color: ink }, autosize: true };
    await window.Plotly.react(this.plot, this.figure.data, layout, { displayModeBar: false, responsive: false });
    this.drawn = true;
    this.plot.setAttribute("aria-label", this.figure.layout.title?.text || name);
    this.plot.dataset.chart = name;
  }

  file(kind) { return `${this.compare.run}-${this.name}.${kind}`; }

  async png() {
    const file = this.file("png").slice(0, -4);
    for (let i = 0; i < 3 && this.plot.dataset.chart !== this.name; i++) await this.draw();
    if (this.plot.dataset.chart !== this.name || file !== this.file("png").slice(0, -4)) return;
    const page = getComputedStyle(document.body).getPropertyValue("--body-background-fill").trim() || "#fff";
    await window.Plotly.downloadImage({ data: this.plot.data, layout: { ...this.plot.layout, width: 1000, height: 480, autosize: false,
      paper_bgcolor: page } }, { format: "png", filename: file, width: 1000, height: 480, scale: 2 });
  }

  async csv() {
    const file = this.file("csv"), answer = await this.compare.ask("compare_chart", { name: this.name, csv: true });
    if (answer) this.compare.dom.save(file, answer.csv, "text/csv");
  }

  async json() {
    const file = this.file("json"), answer = await this.compare.ask("compare_chart", { name: this.name });
    if (answer) this.compare.dom.save(file, JSON.stringify(answer.figure, null, 1), "application/json");
  }
}
