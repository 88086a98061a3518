"use strict";
// Everything shown here was worked out when the page was made; this only looks it up and sorts, filters, marks.
const known = JSON.parse(document.getElementById("data").textContent);
const at = id => document.getElementById(id);
document.documentElement.classList.add("js");
const table = at("arms"), bodies = () => [...table.tBodies];
const body = id => table.querySelector(`tbody[data-id="${id}"]`);
const FIRST = 25; // rows that are listed until more are asked for
const state = {marked: -1, filters: {}, all: false};
let view = null;

// Sorting: a heading's button sorts by the cells' data-value; cells without one stay at the end.
table.tHead.querySelectorAll("th").forEach((heading, column) => {
  heading.querySelector("button").addEventListener("click", () => {
    const rising = heading.getAttribute("aria-sort") === "descending";
    table.tHead.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const value = each => each.rows[0].cells[column].dataset.value;
    const order = (a, b) => {
      const x = value(a), y = value(b);
      if (x === "" || y === "") return (x === "") - (y === "");
      const by = column ? Number(x) - Number(y) : x.localeCompare(y, "en", {numeric: true});
      return rising ? by : -by;
    };
    table.append(...bodies().sort(order));
    list();
  });
});

// The first rows, and those that a reader looks for: first stages, what is recommended, what is marked.
function list() {
  let room = state.all ? Infinity : FIRST, left = 0;
  for (const each of bodies().filter(each => !each.hidden)) {
    const arm = known.arms[each.dataset.id];
    const wanted = room-- > 0 || !arm.reranker || each.matches(".chosen, .marked");
    each.classList.toggle("rest", !wanted);
    left += !wanted;
  }
  at("all").hidden = !left;
  at("all").textContent = `Show ${left.toLocaleString("en")} more`;
}
at("all").addEventListener("click", () => { state.all = true; list(); });

// A row and its point are marked together.
function mark(id, scroll) {
  state.marked = id === state.marked ? -1 : id;
  bodies().forEach(each => each.classList.toggle("marked", Number(each.dataset.id) === state.marked));
  list();
  const row = body(state.marked);
  if (row && scroll) row.scrollIntoView({block: "center", behavior: "smooth"});
  if (view) view.signal("marked", state.marked).run();
}
bodies().forEach(each => each.rows[0].addEventListener("click", event => {
  const fold = each.querySelector(".fold");
  if (event.target === fold) {
    const open = each.classList.toggle("open");
    fold.setAttribute("aria-expanded", open);
    if (open === (Number(each.dataset.id) === state.marked)) return;
  }
  mark(Number(each.dataset.id), false);
}));

// Filters apply to the table and to the plot.
const shown = () => known.arms.filter(arm => Object.entries(state.filters).every(
  ([key, value]) => !value || String(arm[key]) === value || (key !== "stage" && !arm.reranker)));
function filter() {
  const kept = new Set(shown().map(arm => arm.id));
  bodies().forEach(each => { each.hidden = !kept.has(Number(each.dataset.id)); });
  list();
  at("count").textContent = kept.size === known.arms.length ? "" : `${kept.size} of ${known.arms.length} shown`;
  if (view) view.data("arms", shown().map(arm => ({...arm}))).run();
}
document.querySelectorAll("#filters select").forEach(select => select.addEventListener("change", () => {
  state.filters[select.dataset.key] = select.value;
  filter();
}));

// The table as CSV; a text that a spreadsheet would compute is kept a text.
const COLUMNS = ["name", "kind", "stage", "reranker", "depth", "layer", "mean", "low", "high", "gain", "gain_low",
  "gain_high", "cost", "good"];
function cell(value) {
  if (value === null || value === undefined) return "";
  const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
at("csv").addEventListener("click", () => {
  const heads = COLUMNS.map(name => name === "mean" ? known.measure : name === "cost" ? known.cost : name);
  const lines = [heads, ...shown().map(arm => COLUMNS.map(name => arm[name]))].map(line => line.map(cell).join(","));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([lines.join("\r\n") + "\r\n"], {type: "text/csv"}));
  link.download = "arms.csv";
  link.click();
  URL.revokeObjectURL(link.href);
});

// The answers: by budget, bound and margin.
const NAMES = {latency_p50_ms: "median latency", latency_p95_ms: "p95 latency", memory_mb: "memory",
  price_per_1k: "price"};
const margins = [...new Set(known.answers.map(each => each.margin))].sort((a, b) => a - b);
const budgets = [...new Set(known.answers.map(each => each.budget))];
const bounds = budget => [...new Set(known.answers.filter(each => each.budget === budget).map(each => each.bound))]
  .sort((a, b) => a - b);
const number = value => value.toLocaleString("en", {maximumSignificantDigits: 4});
function answer() {
  const budget = at("budget").value || null, steps = bounds(budget), margin = margins[Number(at("margin").value)];
  const bound = budget === null ? null : steps[Number(at("bound").value)];
  const found = known.answers.find(
    each => each.budget === budget && each.bound === bound && each.margin === margin);
  at("bound-said").textContent = budget === null ? "any cost" : `${number(bound)} ${known.units[budget]}`;
  at("margin-said").textContent = `${margin} ${known.measure}`;
  at("answer").textContent = found ? found.sentence : "";
  const name = found ? found.arm || "" : "";
  bodies().forEach(each => each.classList.toggle("chosen", known.arms[each.dataset.id].name === name));
  list();
  if (view) view.signal("deployed", name).run();
}
if (at("answers")) {
  budgets.forEach(each => at("budget").append(new Option(each === null ? "none" : NAMES[each], each === null ? "" : each)));
  at("margin").max = margins.length - 1;
  at("margin").value = margins.indexOf(known.margin);
  const ranges = () => {
    const count = bounds(at("budget").value || null).length;
    at("bound").max = Math.max(0, count - 1);
    at("bound").value = count - 1;
    at("bound").disabled = at("budget").value === "";
    answer();
  };
  at("budget").addEventListener("change", ranges);
  for (const id of ["bound", "margin"]) at(id).addEventListener("input", answer);
  ranges();
}

// The plot. Its expressions are interpreted, so that no policy has to allow code made from text.
const signed = value => `${value >= 0 ? "+" : ""}${value.toFixed(4)}`;
function told(arm) {
  const lines = [arm.name, `${known.measure} ${arm.mean.toFixed(4)} [${arm.low.toFixed(3)}, ${arm.high.toFixed(3)}]`];
  if (arm.gain !== null) lines.push(`difference ${signed(arm.gain)} [${signed(arm.gain_low)}, ${signed(arm.gain_high)}]`);
  lines.push(`cost ${arm.cost_text} (${known.cost})`, `as good: ${arm.good}`);
  return lines.join("\n");
}
const tip = Object.assign(document.createElement("div"), {id: "tip", hidden: true});
document.body.append(tip);
function hover(handler, event, item, value) {
  tip.hidden = !value || value.id === undefined;
  if (tip.hidden) return;
  tip.textContent = told(known.arms[value.id]);
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - box.width - 8))}px`;
  tip.style.top = `${event.clientY + 18 + box.height > innerHeight ? event.clientY - box.height - 12 : event.clientY + 18}px`;
}
if (at("chart")) {
  const spec = vegaLite.compile({...known.chart, datasets: {arms: shown().map(arm => ({...arm}))}}).spec;
  view = new vega.View(vega.parse(spec, null, {ast: true}), {
    renderer: "svg", container: at("chart"), hover: true, expr: vega.expressionInterpreter, tooltip: hover,
    logLevel: vega.Warn,
  });
  view.addEventListener("click", (event, item) => {
    if (item && item.datum && item.datum.id !== undefined) mark(item.datum.id, true);
  });
  const lost = known.arms.filter(arm => arm.cost === null).length;
  at("chart-note").textContent = lost ? `${lost} without a known cost are in the table only.` : "";
  view.runAsync().then(() => { if (at("answers")) answer(); });
}
list();
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(each => { each.open = true; }));
