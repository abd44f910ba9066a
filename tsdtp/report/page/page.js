"use strict";

// Tables: a click or Enter on a header sorts by it; gaps stay at the end.
const value = (row, column) => {
  const text = row.cells[column].textContent.trim();
  const number = parseFloat(text.replace("−", "-").replace(/^<\s*/, "")); // NaN unless it begins with one
  return text === "–" ? null : Number.isNaN(number) || column === 0 ? text : number;
};
const order = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
document.querySelectorAll("table.sortable thead button").forEach((button) => {
  button.addEventListener("click", () => {
    const head = button.parentElement;
    const body = head.closest("table").tBodies[0];
    const up = head.ariaSort !== "ascending";
    head.parentElement.querySelectorAll("[aria-sort]").forEach((other) => (other.ariaSort = "none"));
    head.ariaSort = up ? "ascending" : "descending";
    const rows = [...body.rows].map((row) => [value(row, head.cellIndex), row]);
    rows.sort(([a], [b]) => (a === null) - (b === null) || (up ? order(a, b) : order(b, a)));
    body.append(...rows.map(([, row]) => row));
  });
});

// Examples: two methods side by side on the same inputs.
const runs = JSON.parse(document.getElementById("data").textContent);
const form = document.getElementById("filters");
const field = (name) => form.elements.namedItem(name);

const fill = (select, names) => {
  const before = select.value;
  select.replaceChildren(...names.map((name) => new Option(name || "nothing", name)));
  if (names.includes(before)) select.value = before;
};
const find = (method) => runs.find((run) => run.task === field("task").value && run.method === method);
const answer = (run, index) => run && run.examples.find((example) => example.index === index);
const right = (example) => example.label === example.prediction;

const reading = (run, example) => {
  const line = document.createElement("div");
  line.className = "reading";
  const who = document.createElement("div");
  who.className = "who";
  const name = (label) => run.labels[label] ?? String(label);
  who.textContent = `${run.method}: ${name(example.prediction)} (${(100 * example.probability).toFixed(1)} %), ${right(example) ? "right" : `wrong, it is ${name(example.label)}`}`;
  line.append(who);
  example.tokens.forEach((text, i) => {
    const stayed = example.kept_layers[i];
    const token = document.createElement("span");
    token.className = stayed === run.layers ? "token kept" : "token dropped";
    token.style.setProperty("--stay", stayed / run.layers);
    token.title = stayed === run.layers ? "kept to the end" : `dropped in block ${stayed + 1}`;
    token.textContent = text;
    if (stayed < run.layers) {
      const layer = document.createElement("sub");
      layer.textContent = stayed + 1;
      token.append(layer);
    }
    line.append(token, " ");
  });
  return line;
};

const show = () => {
  const [first, second] = [find(field("first").value), find(field("second").value)];
  const wanted = field("outcome").value;
  const chosen = first.examples.filter((example) => {
    const other = answer(second, example.index);
    if (wanted === "differ") return other && other.prediction !== example.prediction;
    return wanted === "all" || right(example) === (wanted === "right");
  });
  field("count").textContent = `${chosen.length} of ${first.examples.length}`;
  document.getElementById("list").replaceChildren(
    ...chosen.map((example) => {
      const item = document.createElement("li");
      item.append(reading(first, example));
      const other = answer(second, example.index);
      if (other) item.append(reading(second, other));
      return item;
    }),
  );
};

const methods = () => {
  const names = runs.filter((run) => run.task === field("task").value).map((run) => run.method);
  fill(field("first"), names);
  fill(field("second"), ["", ...names]);
};

if (runs.length) {
  document.getElementById("examples").hidden = document.getElementById("to-examples").hidden = false;
  fill(field("task"), [...new Set(runs.map((run) => run.task))]);
  methods();
  const start = (wanted) => [...field("first").options].find((option) => option.value.startsWith(wanted));
  if (start("ts_dtp ")) field("first").value = start("ts_dtp ").value;
  if (start("dtp ")) field("second").value = start("dtp ").value;
  form.addEventListener("change", (event) => {
    if (event.target.name === "task") methods();
    show();
  });
  show();
}
