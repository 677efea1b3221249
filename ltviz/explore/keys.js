// Keys inside an explorer or a lab are its own, so that the notebook around does not take them for commands: Escape leads
// back to the cell, Shift+Enter on to the next one, without running this one again, which would lose what it shows.
function ownKeys(box) {
  if (!box || box.dataset.keys) return;
  box.dataset.keys = "own";
  const order = () => [...document.querySelectorAll(".jp-Notebook .jp-Cell")];
  function lead(event) {
    const cell = box.closest(".jp-Cell");
    if (!cell || notebooks(event)) return;
    event.stopPropagation();
    if (event.key === "Escape") cell.focus();
    if (!runs(event)) return;
    event.preventDefault();
    const cells = order(), next = cells[cells.indexOf(cell) + 1] ?? cell;
    next.scrollIntoView({ block: "nearest" });
    next.focus();
  }
  box.addEventListener("keydown", lead);
  box.addEventListener("keydown", (event) => { // a field tells nobody of its keys
    const out = event.key === "Escape" || (event.key === "Enter" && (event.shiftKey || event.ctrlKey));
    if (out && event.target.matches("input, select, textarea")) lead(event);
  }, true);
  box.addEventListener("keydown", (event) => { // would scroll the page away under the hand
    if (event.key === " " && event.target.matches('[role="slider"]')) event.preventDefault();
  }, true);
  let typed = false; // and not yet told
  for (const kind of ["input", "change"]) box.addEventListener(kind, () => { typed = kind === "input"; }, true);
  box.addEventListener("keydown", (event) => { // by itself a box of fractions would go up and down by 1
    const handle = event.target.closest(".widget-hbox")?.querySelector(".noUi-handle");
    if (!handle || !/^Arrow(Up|Down)$/.test(event.key) || !event.target.matches('[type="number"][step="any"]')) return;
    event.preventDefault();
    if (typed) event.target.dispatchEvent(new Event("change", { bubbles: true }));
    else handle.dispatchEvent(new KeyboardEvent("keydown", { key: event.key, cancelable: true }));
  }, true);
  // A button that is pressed and then disabled (Start, while a lab trains) would leave the focus nowhere.
  let last = null;
  box.addEventListener("focusin", (event) => { last = event.target; });
  const settle = () => {
    const lost = document.activeElement === document.body || document.activeElement === last;
    if (last?.disabled && last.isConnected && lost) last.parentElement.querySelector("button:enabled")?.focus();
  };
  new MutationObserver(() => last?.disabled && setTimeout(settle, 50))
    .observe(box, { subtree: true, attributes: true, attributeFilter: ["disabled"] });
  box.querySelectorAll(".widget-hprogress").forEach(tellProgress);
}

// A bar of progress says what it is and how far: ipywidgets gives it neither a role nor a value.
function tellProgress(widget) {
  const bar = widget.querySelector(".progress"), name = widget.querySelector("label"), filled = bar.firstElementChild;
  const tell = () => {
    const now = Math.round(parseFloat(filled.style.width) || 0), text = `${name.textContent}, ${now}%`;
    const facts = { role: "progressbar", "aria-label": "progress", "aria-valuemin": 0, "aria-valuemax": 100 };
    Object.entries({ ...facts, "aria-valuenow": now, "aria-valuetext": text }).forEach((one) => bar.setAttribute(...one));
  };
  new MutationObserver(tell).observe(widget, { subtree: true, childList: true, attributes: true, attributeFilter: ["style"] });
  tell();
}

// Where arrow keys take a handle from a place on an axis: by so many steps of one size, or stops of a rising grid, which
// it may lie between; a handle on both axes has a grid of its own for each.
function stop(step, axis, from, by) {
  const grid = step[0]?.map ? step[axis === "x" ? 0 : 1] : step;
  if (!grid.map) return from + by * grid;
  const near = 1e-9 * (grid.at(-1) - grid[0]), last = grid.length - 1;
  const above = grid.findIndex((one) => one > from + near), below = grid.findLastIndex((one) => one < from - near);
  const at = by > 0 ? (above < 0 ? last : above) + by - 1 : Math.max(below, 0) + by + 1;
  return grid[Math.min(Math.max(at, 0), last)];
}
