// Runs before the page is drawn, so that a chosen theme does not flash.
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  try {
    const theme = localStorage.getItem("understudy.theme");
    if (theme) root.dataset.theme = theme;
  } catch { /* a browser that keeps nothing */ }
})();
