// Keys inside an explorer or a lab are its own, so that the notebook around does not take them for commands: Escape leads
// back to the cell, Shift+Enter on to the next one, without running this one again, which would lose what it shows.
function ownKeys(box) {
  if (!box || box.dataset.keys) return;
  box.dataset.keys = "own";
  const order = () => [...document.querySelectorAll(".jp-Notebook .jp-Cell")];
  function lead(event) {
    const cell = box.closest(".jp-Cell"), modified = event.shiftKey || event.ctrlKey || event.altKey || event.metaKey;
    if (!cell || ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "s")) return; // saving is the notebook's
    event.stopPropagation();
    if (event.key === "Escape") cell.focus();
    if (event.key !== "Enter" || !modified) return;
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
  // A button that is pressed and then disabled (Start, while a lab trains) would leave the focus nowhere.
  let last = null;
  box.addEventListener("focusin", (event) => { last = event.target; });
  const settle = () => {
    const lost = document.activeElement === document.body || document.activeElement === last;
    if (last?.disabled && last.isConnected && lost) last.parentElement.querySelector("button:enabled")?.focus();
  };
  new MutationObserver(() => last?.disabled && setTimeout(settle, 50))
    .observe(box, { subtree: true, attributes: true, attributeFilter: ["disabled"] });
}
