// Times: relative, exact in the browser's zone, or exact in UTC. The page itself holds them exact and in UTC.
import { keep, kept } from "./kept.js";

const MODES = ["relative", "local", "utc"];
let mode = kept("clock", "relative");
const local = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

function span(seconds) {
  const whole = Math.floor(seconds);
  const two = (number) => String(number).padStart(2, "0");
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} m ${two(whole % 60)} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} m`;
  return `${Math.floor(whole / 86400)} d ${two(Math.floor((whole % 86400) / 3600))} h`;
}

function exact(moment) {
  return mode === "utc" ? `${moment.toISOString().slice(0, 19).replace("T", " ")} UTC` : local.format(moment);
}

function words(moment, how) {
  const ago = (Date.now() - moment) / 1000;
  if (how === "for") return span(Math.max(ago, 0));
  if (how === "clock") return mode === "utc" ? moment.toISOString().slice(11, 19) : clock.format(moment);
  if (mode !== "relative") return exact(moment);
  if (Math.abs(ago) < 1) return "now";
  return ago >= 0 ? `${span(ago)} ago` : `in ${span(-ago)}`;
}

export function showTimes() {
  for (const each of document.querySelectorAll("time[datetime]")) {
    const moment = new Date(each.dateTime);
    const text = words(moment, each.dataset.how);
    if (each.textContent !== text) each.textContent = text;
    const title = mode === "utc" ? moment.toISOString() : `${local.format(moment)} · ${moment.toISOString()}`;
    if (each.title !== title) each.title = title;
  }
}

export function nextMode() {
  mode = MODES[(MODES.indexOf(mode) + 1) % MODES.length];
  keep("clock", mode);
  showTimes();
}

setInterval(() => { if (!document.hidden) showTimes(); }, 1000);
