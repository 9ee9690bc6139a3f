// Everything by keyboard, and the buttons that do the same.
import { redraw } from "./chart.js";
import { read, togglePause } from "./follow.js";
import { saveView } from "./search.js";
import { nextMode } from "./times.js";

const base = document.body.dataset.base;
let goes = 0;

function nextTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem("understudy.theme", root.dataset.theme); } catch { /* for this page alone */ }
  redraw();
}

function move(step) {
  const rows = [...document.querySelectorAll("#page a.open")];
  if (!rows.length) return;
  const at = rows.indexOf(document.activeElement);
  rows[at < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(Math.max(at + step, 0), rows.length - 1)].focus();
}

const ACTS = {
  "help": () => document.getElementById("help").showModal(),
  "theme": nextTheme,
  "clock": nextMode,
  "save-view": saveView,
};

const KEYS = {
  "?": ACTS.help,
  "/": () => { const field = document.querySelector("[data-search]"); field ? field.focus() : location.assign(`${base}/tasks`); },
  "j": () => move(1),
  "k": () => move(-1),
  "n": () => document.querySelector("[data-do='show-new']")?.click(),
  "r": () => read(),
  "p": togglePause,
  "c": nextMode,
  "d": nextTheme,
};

export function listen() {
  document.addEventListener("click", (event) => {
    ACTS[event.target.closest("[data-do]")?.dataset.do]?.();
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select, dialog")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (event.key === "g") { goes = Date.now(); return; }
    const page = Date.now() - goes < 1500 ? document.querySelector(`nav [data-key='${CSS.escape(event.key)}']`) : null;
    goes = 0;
    const act = page ? () => page.click() : KEYS[event.key];
    if (act) { event.preventDefault(); act(); }
  });
}
