// Writes the body of POST /predict from the form, and shows the answer or what is wrong, beside the field that it is about.
"use strict";

let key = null;

const find = (id) => document.getElementById(id);

function headers(more) {
  return key === null ? more : { ...more, "X-API-Key": key };
}

function element(name, text) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  return made;
}

function fields() {
  return [...document.querySelectorAll("#form .field")].map((place) => ({
    name: place.dataset.name,
    type: place.dataset.type,
    input: place.querySelector("input, select"),
    error: place.querySelector(".error"),
  }));
}

// JSON of a field's value; undefined for one that is left out, so that the service says whether it may be.
function written(field) {
  const { input, type } = field;
  if (input.tagName === "SELECT") {
    if ("none" in input.selectedOptions[0].dataset) return undefined;
    return type === "boolean" || type === "number" || type === "integer" ? input.value : JSON.stringify(input.value);
  }
  if (input.value === "") return undefined;
  if (type === "number" || type === "integer") {
    // An integer is sent as it was typed: a Number would round one beyond 2^53.
    return /^-?(0|[1-9][0-9]*)$/.test(input.value) ? input.value : JSON.stringify(Number(input.value));
  }
  return JSON.stringify(input.value);
}

function complain(field, text) {
  field.error.textContent = text;
  if (text) field.input.setAttribute("aria-invalid", "true");
  else field.input.removeAttribute("aria-invalid");
}

function clear() {
  fields().forEach((field) => complain(field, ""));
  find("problem").textContent = "";
  if (find("answer")) find("answer").hidden = true;
}

// A problem's JSON pointer (RFC 6901) → the column that it is about.
function column(pointer) {
  const match = /^\/rows\/0\/(.*)$/s.exec(pointer);
  return match === null ? null : match[1].replaceAll("~1", "/").replaceAll("~0", "~");
}

function refuse(said) {
  const problems = said.problems || [];
  const known = new Map(fields().map((field) => [field.name, field]));
  const others = [];
  let first = null;
  for (const problem of problems) {
    const field = known.get(column(problem.pointer));
    const text = `${problem.hint || `Give ${problem.expected}.`}`;
    if (field === undefined) others.push(`expected ${problem.expected}`);
    else complain(field, text);
    first = first || field;
  }
  find("problem").textContent = [said.detail || said.title || "The service refused the request", ...others].join("; ");
  (first ? first.input : find("problem")).focus();
}

function show(said, body) {
  find("prediction").textContent = String(said.predictions[0]);
  find("request").textContent = `POST ${location.origin}/predict\nContent-Type: application/json\n\n${body}`;
  const table = find("probabilities");
  table.hidden = !said.probabilities;
  if (said.probabilities) {
    const rows = Object.entries(said.probabilities[0]).sort((one, other) => other[1] - one[1]);
    table.tBodies[0].replaceChildren(...rows.map(([name, chance]) => {
      const row = element("tr");
      const head = element("th", name);
      head.scope = "row";
      const bar = element("progress");
      bar.max = 1;
      bar.value = chance;
      bar.setAttribute("aria-hidden", "true");
      const cell = element("td");
      cell.append(bar);
      row.append(head, element("td", `${(100 * chance).toFixed(2)} %`), cell);
      return row;
    }));
  }
  find("answer").hidden = false;
}

async function predict(event) {
  event.preventDefault();
  const button = event.target.querySelector("[type=submit]");
  if (button.getAttribute("aria-disabled") === "true") return;
  clear();
  const all = fields();
  const unreadable = all.filter((field) => field.input.validity.badInput);
  if (unreadable.length) {
    unreadable.forEach((field) => complain(field, "Give a number."));
    find("problem").textContent = "Not every number can be read";
    unreadable[0].input.focus();
    return;
  }
  const given = all.map((field) => [field.name, written(field)]).filter(([, value]) => value !== undefined);
  const row = given.map(([name, value]) => `${JSON.stringify(name)}: ${value}`).join(", ");
  const body = `{"rows": [{${row}}]}`;
  button.setAttribute("aria-disabled", "true");
  try {
    const answer = await fetch("/predict", { method: "POST", headers: headers({ "Content-Type": "application/json" }), body });
    const said = await answer.json();
    if (answer.ok) show(said, body);
    else refuse(said);
  } catch (error) {
    refuse({ detail: "The service did not answer. Try again." });
  } finally {
    button.removeAttribute("aria-disabled");
  }
}

async function unlock(event) {
  event.preventDefault();
  find("problem").textContent = "";
  key = find("key").value;
  try {
    const answer = await fetch("/", { headers: headers({ Accept: "text/html" }) });
    const other = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (other.getElementById("form") === null) throw new Error("locked");
    document.title = other.title;
    document.querySelector("main").replaceWith(other.querySelector("main"));
    start();
    fields()[0]?.input.focus();
  } catch (error) {
    key = null;
    find("problem").textContent = error.message === "locked" ? "This is not the API key" : "The service did not answer. Try again.";
    find("key")?.focus();
  }
}

function start() {
  find("form")?.addEventListener("submit", predict);
  find("form")?.addEventListener("reset", () => { clear(); fields()[0]?.input.focus(); });
  find("unlock")?.addEventListener("submit", unlock);
}

start();
