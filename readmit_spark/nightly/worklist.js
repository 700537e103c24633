"use strict";
// Sorts and filters the rows of the table, and opens details. Text is inserted as text, never as markup.
(() => {
  document.documentElement.classList.add("scripts");
  const table = document.getElementById("patients");
  if (!table) return; // an empty night

  const patients = JSON.parse(document.getElementById("details").textContent);
  const body = table.tBodies[0];
  const rows = [...body.rows]; // rows[i] belongs to patients[i] in any order of the table
  const heads = table.tHead.querySelectorAll("[data-key]");
  const form = document.forms[0];
  const status = document.getElementById("shown");
  const open = new Map(); // index of a patient -> row of details
  const count = (n) => n.toLocaleString("en");

  // For each column: the value, the direction of the first click, the name. Null values come last.
  const listed = table.tHead.querySelector("[data-key=value]").textContent.trim().toLowerCase(); // risk or score
  const share = (p) => (p.drivers.length ? p.drivers[0].share : null);
  const columns = {
    rank: [(p) => p.rank, "ascending", "rank"],
    patient: [(p) => Number(p.subject), "ascending", "patient number"],
    day: [(p) => p.day, "descending", "day of stay"],
    value: [(p) => p.value, "descending", listed],
    moved: [(p) => p.moved, "descending", "change since last night"],
    newNotes: [(p) => p.newNotes.length, "descending", "number of new notes"],
    share: [share, "descending", "share of the driving chunk"],
  };
  let order = `highest ${listed} first`;

  function sort(button) {
    const head = button.parentElement;
    const [value, first, name] = columns[head.dataset.key];
    const other = first === "ascending" ? "descending" : "ascending";
    const direction = head.getAttribute("aria-sort") === first ? other : first;
    for (const th of heads) th.setAttribute("aria-sort", th === head ? direction : "none");
    const sign = direction === "ascending" ? 1 : -1;
    const values = patients.map(value);
    const indices = [...patients.keys()].sort((a, b) => {
      const [x, y] = [values[a], values[b]];
      if (x === null || y === null) return (x === null) - (y === null) || a - b;
      return sign * (x - y) || a - b;
    });
    body.append(...indices.flatMap((i) => (open.has(i) ? [rows[i], open.get(i)] : [rows[i]])));
    order = `sorted by ${name}, ${direction}`;
    updateStatus();
  }

  function updateStatus() {
    const shown = rows.filter((row) => !row.hidden).length;
    const total = shown === rows.length ? "" : ` of ${count(rows.length)}`;
    const noun = rows.length === 1 ? "patient" : "patients";
    status.textContent = shown
      ? `${count(shown)}${total} ${noun}, ${order}.`
      : "No patient matches the filters. “Show all” resets them.";
  }

  function filter() {
    const id = form.elements.id.value.trim();
    const change = form.elements.change.value;
    const alerted = form.elements.alert.checked;
    const places = [...form.querySelectorAll("[data-column]")].filter((field) => field.value);
    const minScore = form.elements.minScore.valueAsNumber; // NaN if empty
    patients.forEach((p, i) => {
      const matches =
        (!alerted || p.alert) &&
        (!change || p.change === change) &&
        (!id || p.subject.includes(id) || p.admission.includes(id)) &&
        places.every((field) => p.columns[field.dataset.column] === field.value) &&
        !(p.value < minScore);
      rows[i].hidden = !matches;
      if (open.has(i)) open.get(i).hidden = !matches;
    });
    updateStatus();
  }

  function toggle(button) {
    const i = rows.indexOf(button.closest("tr"));
    if (open.has(i)) {
      open.get(i).remove();
      open.delete(i);
      button.removeAttribute("aria-controls");
    } else {
      const row = details(patients[i], `details-${i}`);
      rows[i].after(row);
      open.set(i, row);
      button.setAttribute("aria-controls", row.id);
    }
    button.setAttribute("aria-expanded", open.has(i));
    button.textContent = open.has(i) ? "Hide" : "Show";
  }

  function element(tag, attributes, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  }

  const cell = (text, attributes = {}) => element("td", attributes, text);
  const percent = (x) => `${(100 * x).toFixed(1)}\u202f%`;

  const head = (name, attributes = {}) => element("th", { scope: "col", ...attributes }, name);

  function grid(caption, heads, lines) {
    return element(
      "table",
      {},
      element("caption", {}, caption),
      element("thead", {}, element("tr", {}, ...heads)),
      element("tbody", {}, ...lines),
    );
  }

  function details(p, id) {
    const parts = element("div", {}, passages(p), element("div", {}, newNotes(p), nights(p)));
    const kind = p.alert ? "details of-alert" : "details";
    return element("tr", { id, class: kind }, element("td", { colspan: rows[0].cells.length }, parts));
  }

  function passages(p) {
    const lines = p.drivers.flatMap((driver) => {
      const spans = { rowspan: Math.max(1, driver.passages.length) };
      const chunk = [
        element("th", { scope: "rowgroup", ...spans }, percent(driver.share)),
        cell(driver.probability.toFixed(3), { class: "probability", ...spans }),
      ];
      if (!driver.passages.length) return [element("tr", {}, ...chunk, cell("not known", { colspan: "3" }))];
      return driver.passages.map((passage, k) => {
        const characters = cell(`${count(passage.start)}–${count(passage.end)}`);
        if (passage.text !== null) characters.append(element("blockquote", {}, passage.text));
        const note = [cell(passage.note), cell(passage.category), characters];
        return element("tr", {}, ...(k ? [] : chunk), ...note);
      });
    });
    const summary = `${count(p.notes)} notes, read as ${count(p.chunks)} chunks`;
    if (!lines.length) return element("p", {}, `${summary}.`);
    const heads = [
      head("Share of score"),
      head("Probability", { class: "probability" }),
      ...["Note (ROW_ID)", "Category", "Characters"].map((name) => head(name)),
    ];
    return grid(`Chunks that contribute most to the score (${summary})`, heads, lines);
  }

  function newNotes(p) {
    if (!p.newNotes.length) {
      const reason = p.change === "new" ? "New on the list, so all notes are new." : "No new notes since last night.";
      return element("p", {}, reason);
    }
    const lines = p.newNotes.map((n) =>
      element("tr", {}, cell(n.note), cell(n.category), cell(n.written ?? "not known")),
    );
    const heads = ["Note (ROW_ID)", "Category", "Written"].map((name) => head(name));
    return grid("New notes since last night", heads, lines);
  }

  function nights(p) {
    const signed = (x) => (x < 0 ? "\u2212" : "+") + Math.abs(x).toFixed(3);
    const lines = p.nights.map(([night, value], k) => {
      const moved = k ? signed(value - p.nights[k - 1][1]) : "";
      return element("tr", {}, element("th", { scope: "row" }, night), cell(value.toFixed(3)), cell(moved));
    });
    const heads = ["Night", listed[0].toUpperCase() + listed.slice(1), "Change"].map((name) => head(name));
    const nightTable = grid("Each night of the stay", heads, lines.reverse());
    const label = `Nights of patient ${p.subject}`;
    return element("div", { class: "nights", role: "region", tabindex: "0", "aria-label": label }, nightTable);
  }

  for (const th of heads) th.replaceChildren(element("button", { type: "button" }, th.textContent));
  table.tHead.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) sort(button);
  });
  body.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) toggle(button);
  });
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.querySelector("button").addEventListener("click", () => {
    form.reset();
    filter();
  });
  filter(); // a browser may keep the values of the fields after a reload
})();
