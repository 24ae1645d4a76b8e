"use strict";
// A fault of this page marks the document, so that a test (or a reader of the source) sees it.
const root = document.documentElement;
addEventListener("error", (event) => (root.dataset.error = event.message || "error"));
addEventListener("unhandledrejection", (event) => (root.dataset.error = String(event.reason)));
document.addEventListener("securitypolicyviolation", (event) => (root.dataset.error = `refused ${event.blockedURI}`));

document.addEventListener("DOMContentLoaded", () => {
  tips();
  document.querySelectorAll("table.sortable").forEach(sortable);
  document.querySelectorAll(".examples").forEach(slider);
  document.querySelectorAll(".scroll").forEach((box) => {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0; // so that it scrolls by keyboard as well
  });
  addEventListener("hashchange", reveal);
  reveal();
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((box) => (box.open = true)));
  root.dataset.ready = "true";
});

// What a mark tells, beside it, while the pointer or the focus is there.
function tips() {
  const tip = document.getElementById("tip");
  const show = (mark) => {
    tip.textContent = mark.dataset.tip;
    tip.hidden = false;
    const place = mark.querySelector("path").getBoundingClientRect();
    const room = root.clientWidth - tip.offsetWidth - 8;
    const left = Math.max(8, Math.min(place.left + place.width / 2 - tip.offsetWidth / 2, room));
    const above = place.top - tip.offsetHeight - 10;
    tip.style.left = `${left + scrollX}px`;
    tip.style.top = `${(above > 0 ? above : place.bottom + 10) + scrollY}px`;
  };
  const hide = () => (tip.hidden = true);
  document.querySelectorAll("a.mark").forEach((mark) => {
    mark.querySelector("title")?.remove(); // the browser's own tip would stand on top
    mark.addEventListener("pointerenter", () => show(mark));
    mark.addEventListener("pointerleave", hide);
    mark.addEventListener("focus", () => show(mark));
    mark.addEventListener("blur", hide);
  });
  addEventListener("keydown", (event) => event.key === "Escape" && hide());
}

// A click on a column's name sorts by it; a second turns the order round. Empty cells stay last.
function sortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = (row) => {
        const cell = row.cells[column];
        return "value" in cell.dataset ? cell.dataset.value : cell.textContent.trim();
      };
      const order = (a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === "" || y === "") return (x === "") - (y === "");
        const numbers = head.classList.contains("num");
        return (numbers ? x - y : x.localeCompare(y, undefined, { numeric: true })) * (up ? 1 : -1);
      };
      table.tBodies[0].append(...[...table.tBodies[0].rows].sort(order));
    });
  });
}

// What is left of the sentences after a layer: the words that are gone fade.
function slider(box) {
  const line = box.querySelector(".slider");
  if (!line) return;
  const [input, output] = [line.querySelector("input"), line.querySelector("output")];
  const words = [...box.querySelectorAll(".sentences .w")];
  line.hidden = false;
  input.value = 0;
  input.addEventListener("input", () => {
    const layer = Number(input.value);
    words.forEach((word) => word.classList.toggle("gone", Number(word.dataset.life) < layer));
    const left = words.filter((word) => Number(word.dataset.life) >= layer).length;
    output.textContent = layer ? `${layer}: ${left} of ${words.length} words` : "0: all words";
  });
}

// A link into a closed table opens it.
function reveal() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (!target) return;
  const box = target.closest("details");
  if (box) box.open = true;
  target.scrollIntoView({ block: "center" });
}
