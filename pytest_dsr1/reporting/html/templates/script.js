"use strict";
// The page works without this script. It filters, opens the target of a link, and opens all for print.
const sections = [...document.querySelectorAll("[data-scenario]")];
const buttons = [...document.querySelectorAll("[data-filter]")];
const search = document.querySelector("#search");
const count = document.querySelector("#shown");
let chosen = null;

function apply() {
  const text = search.value.trim().toLowerCase();
  let shown = 0;
  for (const element of sections) {
    const fits = (chosen === null || element.dataset.status === chosen) &&
      element.dataset.scenario.toLowerCase().includes(text);
    element.hidden = !fits;
    shown += fits && element.tagName === "ARTICLE";
  }
  for (const button of buttons) {
    button.setAttribute("aria-pressed", String((button.dataset.filter || null) === chosen));
  }
  count.textContent = `${shown} shown`;
}

function open() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const details = target && target.querySelector("details");
  if (details) {
    details.open = true;
    target.scrollIntoView();
  }
}

for (const button of buttons) {
  button.addEventListener("click", () => {
    chosen = button.dataset.filter || null;
    apply();
  });
}
if (search) {
  search.addEventListener("input", apply);
  document.querySelector(".filters").hidden = false;
  apply();
}
window.addEventListener("hashchange", open);
window.addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
open();
