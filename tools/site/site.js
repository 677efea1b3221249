// Explorers that load when the reader comes near, whose state stands in the address; the search; the theme's button.
const root = document.body.dataset.root;
const explorers = new Map([...document.querySelectorAll(".explorer")].map((one) => [one.dataset.name, one]));
const inputs = (section) => [...section.querySelectorAll(".controls :is(input, select)")];
const nameOf = (input) => input.labels[0].textContent.replaceAll(" ", "_");

function load(file, done = () => {}) {
  const script = document.createElement("script");
  script.addEventListener("load", done);
  script.src = file;
  document.head.append(script);
}

/** The values that an input can have, as they are written. */
function labels(input, data) { return data.inputs.find(({ id }) => id === input.id).labels; }
function nearest(all, wanted) {
  const exact = all.indexOf(wanted);
  if (exact >= 0 || wanted === "" || Number.isNaN(Number(wanted))) return exact;
  const away = all.map((one) => Math.abs(Number(one) - Number(wanted)));
  return away.some(Number.isNaN) ? -1 : away.indexOf(Math.min(...away));
}

/** Frames of an explorer have come: show it where the address says. */
const given = new Map();
window.ltvizFrames = (name, data) => {
  const section = explorers.get(name), place = section.querySelector(".waits");
  given.set(name, data);
  const points = data.points.map((all) => all.map(([x, y, text, region]) => [x, y, data.texts[text], region]));
  for (const { meta } of data.frames) if ("points" in meta) meta.points = points[meta.points];
  place.removeAttribute("style");
  place.classList.remove("waits");
  follow(name); // before the module reads where the sliders stand
  window.ltvizMount(place, data);
  const box = document.createElement("div"), stage = place.querySelector(".stage");
  box.className = "scroll";
  stage.before(box);
  box.append(stage);
  for (const input of inputs(section)) input.addEventListener("input", () => tell(name));
  tell(name, false);
};

/** The address of what an explorer shows now; in the bar as well, once the reader has moved something. */
function tell(name, moved = true) {
  const section = explorers.get(name), data = given.get(name), state = new URLSearchParams({ explorer: name });
  for (const input of inputs(section)) state.set(nameOf(input), labels(input, data)[input.value]);
  section.querySelector(".moment a").href = `#${state}`;
  if (moved) history.replaceState(null, "", `#${state}`);
}

/** Put the inputs of an explorer where the address says, if it speaks of this one. Returns whether it does. */
function follow(name, shown = false) {
  const state = new URLSearchParams(location.hash.slice(1));
  if (state.get("explorer") !== name) return false;
  for (const input of inputs(explorers.get(name))) {
    const at = state.has(nameOf(input)) ? nearest(labels(input, given.get(name)), state.get(nameOf(input))) : -1;
    if (at < 0 || Number(input.value) === at) continue;
    input.value = at;
    if (shown) input.dispatchEvent(new Event("input"));
  }
  return true;
}

const near = new IntersectionObserver((seen) => seen.filter((one) => one.isIntersecting).forEach(({ target }) => {
  near.unobserve(target);
  load(target.dataset.src);
}), { rootMargin: "800px" });
explorers.forEach((section) => near.observe(section));

function go() {
  const name = new URLSearchParams(location.hash.slice(1)).get("explorer"), section = explorers.get(name);
  if (!section) return;
  section.scrollIntoView();
  if (given.has(name)) follow(name, true);
}
addEventListener("hashchange", go);
go();

document.getElementById("theme").addEventListener("click", () => window.ltvizTheme());

// ---- the search: every word must be there; in a title it counts for more
const field = document.getElementById("search"), found = document.getElementById("found");
const words = (text) => text.toLowerCase().split(/[^\p{L}\p{N}]+/u).filter(Boolean);
const count = (all, word) => all.filter((one) => one.startsWith(word)).length;

function score({ t, x }, wanted) {
  const [title, text] = [words(t), words(x)];
  const each = wanted.map((word) => 20 * count(title, word) + Math.min(count(text, word), 10));
  return each.every(Boolean) ? each.reduce((sum, one) => sum + one) : 0;
}

function excerpt(text, word) {
  const at = Math.max(text.toLowerCase().search(new RegExp(`(?<![\\p{L}\\p{N}])${word}`, "u")), 0);
  return `${at > 40 ? "… " : ""}${text.slice(Math.max(at - 40, 0), at + 110)}${text.length > at + 110 ? " …" : ""}`;
}

function search() {
  const wanted = words(field.value), index = window.ltvizIndex;
  found.hidden = !wanted.length;
  if (!wanted.length || !index) return;
  const best = index.map((one) => [score(one, wanted), one]).filter(([points]) => points);
  best.sort(([a], [b]) => b - a);
  found.replaceChildren(...best.slice(0, 12).map(([, one]) => {
    const link = document.createElement("a"), [title, text] = ["b", "span"].map((tag) => document.createElement(tag));
    link.href = root + one.u;
    title.textContent = one.t;
    text.textContent = excerpt(one.x, wanted[0]);
    link.append(title, text);
    return link;
  }));
  if (!best.length) found.textContent = "Nothing found.";
}
field.addEventListener("focus", () => window.ltvizIndex || load(`${root}assets/index.js`, search), { once: true });
field.addEventListener("input", search);
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.target.closest("input, textarea, select, canvas")) { event.preventDefault(); field.focus(); }
  if (event.key === "Escape") found.hidden = true;
});
document.addEventListener("click", (event) => { if (!event.target.closest(".search")) found.hidden = true; });
