// Follows the store: what is on screen is read again when there is a new commit, at most twice a second, and less often
// if it takes the server long. A hidden tab holds no connection.
const EVERY = 500;
const SHARE = 40; // reading takes at most one part in so many of the server's time
let source = null;
let paused = false;
let waiting = 0;
let busy = false;
let again = false;
let last = 0;
let cost = 0;
let tag = "";
let dress = () => {};

const base = document.body.dataset.base;
const page = () => document.getElementById("page");
const address = () => page().dataset.live || location.pathname + location.search;

function tell(state, word) {
  const shown = document.getElementById("link-state");
  shown.dataset.state = state;
  shown.querySelector(".word").textContent = word;
}

function open() {
  if (source || document.hidden || paused || page().hasAttribute("data-still")) return;
  tell("opening", "connecting");
  source = new EventSource(`${base}/live`);
  source.onopen = () => { tell("live", "live"); soon(); };
  source.addEventListener("moved", soon);
  source.onerror = () => {
    tell("lost", "connection lost");
    if (source && source.readyState === EventSource.CLOSED) {
      close();
      setTimeout(open, 2000);
    }
  };
}

function close() {
  source?.close();
  source = null;
  clearTimeout(waiting);
  waiting = 0;
}

function soon() {
  if (busy) { again = true; return; }
  if (waiting || paused) return;
  const pause = Math.max(EVERY, SHARE * cost) - (performance.now() - last);
  waiting = setTimeout(() => { waiting = 0; read(); }, Math.max(pause, 0));
}

export async function read() {
  if (busy) return;
  busy = true;
  again = false;
  last = performance.now();
  try {
    await window.htmx.ajax("GET", address(), {
      target: "#page", select: "#page", swap: "outerMorph",
      headers: tag ? { "If-None-Match": tag } : {},
    });
  } catch {
    // The connection is lost, which the event stream tells. What was read stays on screen.
  } finally {
    busy = false;
    if (again) soon();
  }
}

export function togglePause() {
  paused = !paused;
  if (paused) { close(); tell("paused", "paused"); } else open();
}

export function follow(then) {
  dress = then;
  document.addEventListener("htmx:before:response", (event) => {
    const headers = event.detail.ctx?.response?.headers;
    const took = /dur=([\d.]+)/.exec(headers?.get("server-timing") ?? "");
    cost = took ? Number(took[1]) : 0;
    tag = headers?.get("etag") ?? "";
  });
  // An answer that is no page, such as one of a proxy whose server is away, replaces nothing.
  document.addEventListener("htmx:before:swap", (event) => {
    const status = event.detail.ctx?.response?.raw?.status ?? event.detail.ctx?.response?.status ?? 200;
    if (status >= 502) event.preventDefault();
  });
  document.addEventListener("htmx:after:swap", () => dress());
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { close(); tell("off", "not following"); } else open();
  });
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  open();
}
