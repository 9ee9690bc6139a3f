// The query: completion of its last term, and views that this browser keeps.
import { keep, kept } from "./kept.js";

const MOST = 30;

export function complete() {
  const field = document.getElementById("query");
  const list = document.getElementById("terms");
  if (!field || !list) return;
  const { fields, states, names } = field.dataset;
  const known = { state: states.split(" "), task: JSON.parse(names), kind: ["task", "call", "event", "schedule", "http"] };
  const offer = () => {
    const before = field.value.slice(0, field.value.lastIndexOf(" ") + 1);
    const term = field.value.slice(before.length);
    const minus = term.startsWith("-") ? "-" : "";
    const [name, value] = term.slice(minus.length).split(":", 2);
    const offers = value === undefined
      ? fields.split(" ").filter((each) => each.startsWith(name)).map((each) => `${each}:`)
      : (known[name] ?? []).filter((each) => each.includes(value)).map((each) => `${name}:${/[^\w.:*-]/.test(each) ? `'${each}'` : each}`);
    list.replaceChildren(...offers.slice(0, MOST).map((each) => {
      const option = document.createElement("option");
      option.value = before + minus + each;
      return option;
    }));
  };
  field.addEventListener("input", offer);
  field.addEventListener("focus", offer);
}

export function saveView() {
  const query = document.getElementById("query")?.value.trim();
  if (!query) return;
  keep("views", [...kept("views", []).filter((each) => each !== query), query].slice(-20));
  showViews();
}

export function showViews() {
  const place = document.getElementById("views");
  if (!place) return;
  place.replaceChildren(...kept("views", []).map((query) => {
    const view = document.createElement("span");
    view.className = "view";
    const link = document.createElement("a");
    link.href = `${document.body.dataset.base}/tasks?${new URLSearchParams({ q: query })}`;
    link.textContent = query;
    const drop = document.createElement("button");
    drop.type = "button";
    drop.textContent = "×";
    drop.setAttribute("aria-label", `Forget the view ${query}`);
    drop.addEventListener("click", () => {
      keep("views", kept("views", []).filter((each) => each !== query));
      showViews();
    });
    view.append(link, drop);
    return view;
  }));
}
