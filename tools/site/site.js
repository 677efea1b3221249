// Explorers that load when the reader comes near, whose state stands in the address; the search; the theme's button.
const root = document.body.dataset.root;
const explorers = new Map([...document.querySelectorAll(".explorer")].map((one) => [one.dataset.name, one]));
const inputs = (section) => [...section.querySelectorAll(".controls :is(input, select)")];
const nameOf = (input) => input.dataset.name;

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
  box.className = "scroll stage-box";
  stage.before(box);
  box.append(stage);
  wide(box);
  for (const input of inputs(section)) input.addEventListener("input", () => tell(name));
  tell(name, false);
  copies(section.querySelector(".moment"));
};

/** The address of what an explorer shows now; in the bar as well, once the reader has moved something. */
function tell(name, moved = true) {
  const section = explorers.get(name), data = given.get(name), state = new URLSearchParams({ explorer: name });
  for (const input of inputs(section)) state.set(nameOf(input), labels(input, data)[input.value]);
  section.querySelector(".moment a").href = `#${state}`;
  if (moved) history.replaceState(null, "", `#${state}`);
}

/** A click on the link takes it along: its address is copied, and stands in the bar in any case. */
function copies(moment) {
  const said = document.createElement("span"), link = moment.querySelector("a");
  said.setAttribute("role", "status");
  moment.append(" ", said);
  link.addEventListener("click", async (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault(); // the reader stays where they are
    history.replaceState(null, "", link.hash);
    said.textContent = await navigator.clipboard?.writeText(link.href).then(() => "copied", () => null) ?? "now in the address bar";
    setTimeout(() => { said.textContent = ""; }, 4000);
  });
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

// ---- what is wider than its place: its edge fades where there is more, and pictures say so until one has been moved
const WIDE = ".scroll, pre";
function edges(box) {
  const over = box.scrollWidth - box.clientWidth > 1;
  box.classList.toggle("more-left", over && box.scrollLeft > 1);
  box.classList.toggle("more-right", over && box.scrollLeft < box.scrollWidth - box.clientWidth - 1);
  const hint = box.nextElementSibling?.matches(".swipe") ? box.nextElementSibling : null;
  if (!hint && over && box.matches(".picture, .stage-box")) {
    const made = document.createElement("p");
    made.className = "swipe";
    made.textContent = "wider than the screen: swipe sideways";
    box.after(made);
  } else if (hint && !over) hint.remove();
}
const sized = new ResizeObserver((all) => all.forEach(({ target }) => edges(target)));
function wide(box) {
  sized.observe(box);
  box.addEventListener("scroll", () => { edges(box); if (box.scrollLeft > 30) document.body.classList.add("swiped"); }, { passive: true });
}
document.querySelectorAll(WIDE).forEach(wide);
document.addEventListener("toggle", ({ target }) => target.querySelectorAll?.(WIDE).forEach(edges), true);

// ---- the search: every word must be there; in a title it counts for more. Greek letters are their names.
const field = document.getElementById("search"), found = document.getElementById("found");
const LETTERS = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau upsilon phi chi psi omega".split(" ");
const GREEK = Object.fromEntries([..."αβγδεζηθικλμνξοπρστυφχψω"].map((sign, i) => [sign, LETTERS[i]]));
const words = (text) => text.toLowerCase().replace(/[α-ω]/g, (sign) => ` ${GREEK[sign] ?? sign} `).split(/[^\p{L}\p{N}]+/u).filter(Boolean);
const count = (all, word) => all.filter((one) => one.startsWith(word)).length;
const LATE = /: (references|take away|when it fails|where to read on)$/i; // parts that name everything and teach nothing
const HITS = 12, OF_A_PAGE = 2;

function score({ t, x, k = "" }, wanted) {
  const [title, text, known] = [words(t), words(x), words(k)];
  const each = wanted.map((word) => 20 * count(title, word) + 6 * Math.min(count(known, word), 2) + Math.min(count(text, word), 10));
  return each.every(Boolean) ? each.reduce((sum, one) => sum + one) * (LATE.test(t) ? 0.1 : 1) : 0;
}

/** About 150 letters of a text around the first word that begins as asked, cut between words. */
function excerpt(text, word) {
  const all = text.split(/\s+/), at = Math.max(all.findIndex((one) => words(one).some((part) => part.startsWith(word))), 0);
  const from = Math.max(at - 6, 0), some = [];
  for (let i = from; i < all.length && some.join(" ").length < 140; i++) some.push(all[i]);
  return `${from ? "… " : ""}${some.join(" ")}${from + some.length < all.length ? " …" : ""}`;
}

function search() {
  const wanted = words(field.value), index = window.ltvizIndex, seen = {};
  found.hidden = !wanted.length;
  if (!wanted.length || !index) return;
  const best = index.map((one) => [score(one, wanted), one]).filter(([points]) => points).sort(([a], [b]) => b - a);
  const few = best.filter(([, { u }]) => {
    const page = u.split("#")[0];
    seen[page] = (seen[page] ?? 0) + 1;
    return seen[page] <= (page === "glossary.html" ? HITS : OF_A_PAGE);
  });
  found.replaceChildren(...few.slice(0, HITS).map(([, one]) => {
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
document.querySelector(".search").addEventListener("keydown", (event) => {
  const links = [...found.querySelectorAll("a")], at = links.indexOf(document.activeElement);
  if (event.key === "Enter" && event.target === field && !found.hidden) links[0]?.click();
  if (!["ArrowDown", "ArrowUp"].includes(event.key) || !links.length || found.hidden) return;
  event.preventDefault();
  const to = at + (event.key === "ArrowDown" ? 1 : -1);
  (to < 0 ? field : links[Math.min(to, links.length - 1)]).focus();
});
found.addEventListener("click", (event) => { if (event.target.closest("a")) found.hidden = true; });
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && (event.target === field || !event.target.closest("input, textarea, select, canvas"))) {
    event.preventDefault();
    field.focus();
    field.select();
  }
  if (event.key === "Escape") found.hidden = true;
});
document.addEventListener("click", (event) => { if (!event.target.closest(".search")) found.hidden = true; });
