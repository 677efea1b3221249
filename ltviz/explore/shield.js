// Keys that the notebook around would take for commands. JupyterLab hears them on their way out of the page, where
// explorers and cards can stop them; Notebook 7 on their way in, before anything here. So what has the focus is marked,
// key by key, and both then pass over it.
const runs = (event) => event.key === "Enter" && (event.shiftKey || event.ctrlKey || event.altKey || event.metaKey);

/** Whether a key pressed in an explorer, in a card or on a fold of an output is the notebook's all the same: to save;
 *  on a fold or the button of a card also to run the cell, and on a fold whatever has Ctrl or Command. */
function notebooks(event) {
  const held = event.ctrlKey || event.metaKey, on = (what) => !!event.target.matches?.(what);
  return (held && event.key.toLowerCase() === "s") || (runs(event) && on("button.commit, .jp-OutputArea summary"))
    || (held && on(".jp-OutputArea summary"));
}

if (!window.ltvizShield) window.addEventListener("keydown", (event) => {
  if (event.target.closest?.(".ltviz-screen, .ltviz-explorer, .ltviz-answer, .jp-OutputArea summary"))
    event.target.toggleAttribute("data-lm-suppress-shortcuts", !notebooks(event));
}, true);
window.ltvizShield = true; // this is loaded once for each widget
