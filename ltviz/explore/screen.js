// A picture that follows its sliders in the browser: frames come once, are kept, and are drawn on a canvas as a slider
// moves, without asking the kernel. It can be pointed at, and its handles dragged. `render` is what anywidget calls,
// and export.js on a page without a kernel, where plain inputs take the place of the sliders.

const AHEAD = 8; // frames decoded on either side of the slider
const RETRY = 3000, REST = 400; // ms until a sweep that never came is asked for again; until the sentence is read out
const REACH = 22; // CSS pixels from which a point is pointed at

const put = (node, facts) => { for (const key in facts) node.setAttribute(key, facts[key]); return node; };
const make = (parent, tag, facts) => put(parent.appendChild(document.createElement(tag)), facts);
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const FAR = { PageUp: [5, -5], PageDown: [-5, 5], Home: [-Infinity, Infinity], End: [Infinity, -Infinity] };
const taken = (event) => { event.preventDefault(); event.stopPropagation(); };
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const along = (t, [a, b], scale) => (scale === "one-minus-log" ? 1 - along(t, [1 - a, 1 - b], "log")
  : scale === "log" ? a * (b / a) ** t : a + t * (b - a));
const part = (v, [a, b], scale) => (scale === "one-minus-log" ? part(1 - v, [1 - a, 1 - b], "log")
  : scale === "log" ? Math.log(v / a) / Math.log(b / a) : (v - a) / (b - a));
/** Fractions of the picture to data, and back. */
const toData = ({ box: [l, t, r, b], ...region }, fx, fy) =>
  [along((fx - l) / (r - l), region.x, region.xscale), along((b - fy) / (b - t), region.y, region.yscale)];
const toPlace = ({ box: [l, t, r, b], ...region }, x, y) =>
  [l + part(x, region.x, region.xscale) * (r - l), b - part(y, region.y, region.yscale) * (b - t)];
/** "accuracy 40.0%" */
function written(region, axis, value) {
  const names = region[`${axis}names`], name = names[clamp(Math.round(value), 0, names.length - 1)];
  const near1 = region[`${axis}scale`] === "one-minus-log" && (1 - Number((1 - value).toPrecision(2))).toFixed(7);
  const number = region.percent.includes(axis) ? `${(100 * value).toFixed(1)}%` : Number(near1 || value.toPrecision(3));
  return `${region[`${axis}name`]} ${name ?? number}`;
}
/** What can be seen where an element is, [left, top, right, bottom] in the window: what scrolls around it hides the rest. */
function seen(node) {
  let [left, top, right, bottom] = [0, 0, innerWidth, innerHeight];
  // What the page's body hides, the window hides: JupyterLab's body has no height of its own.
  for (let around = node.parentElement; around && around !== document.body; around = around.parentElement) {
    const box = around.getBoundingClientRect(), { overflowX, overflowY } = getComputedStyle(around);
    if (overflowX !== "visible") [left, right] = [Math.max(left, box.left), Math.min(right, box.right)];
    if (overflowY !== "visible") [top, bottom] = [Math.max(top, box.top), Math.min(bottom, box.bottom)];
  }
  return [left, top, right, bottom];
}
const described = (region, x, y) => `${written(region, "x", x)}, ${written(region, "y", y)}`;

/** Hovering, choosing and dragging on a stage, by pointer, touch and keys. tell(message) reaches the kernel. */
class Pointing {
  constructor(stage, canvas, said, tell) {
    Object.assign(this, { stage, canvas, said, tell, cursor: null, last: null, waiting: null, busy: false });
    [this.meta, this.handles] = [{ regions: [], points: [], handles: [] }, new Map()];
    this.dot = make(stage, "div", { class: "dot", hidden: "" });
    this.tip = make(stage, "div", { class: "tip", hidden: "", "aria-hidden": "true" });
    for (const kind of ["pointermove", "pointerdown"]) canvas.addEventListener(kind, (event) => this.hover(event));
    canvas.addEventListener("pointerleave", (event) => event.pointerType === "touch" || this.leave());
    canvas.addEventListener("blur", () => this.leave());
    canvas.addEventListener("click", (event) => this.choose(this.look(...this.spot(event))));
    canvas.addEventListener("keydown", (event) => this.key(event));
  }
  /** Another picture is shown, with other things in it. */
  use(meta) {
    this.meta = meta;
    this.canvas.tabIndex = meta.regions.length ? 0 : -1;
    const gone = [...this.handles.keys()].filter((name) => !meta.handles.some((one) => one.name === name));
    gone.forEach((name) => { this.handles.get(name).node.remove(); this.handles.delete(name); });
    meta.handles.forEach((spec) => this.place(spec));
    if (this.last) this.point(this.look(...this.last));
  }
  spot(event) {
    const box = this.stage.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }
  where([x, y, , region]) { return toPlace(this.meta.regions[region], x, y); }
  /** What lies at a place: {region, x, y, point}, or null outside of all regions. */
  look(fx, fy) {
    const { regions, points } = this.meta, { width, height } = this.stage.getBoundingClientRect();
    const region = regions.findIndex(({ box: [l, t, r, b] }) => fx >= l && fx <= r && fy >= t && fy <= b);
    if (region < 0) return null;
    let [point, nearest] = [null, regions[region].cells ? Infinity : REACH];
    points.forEach((one, i) => {
      if (one[3] !== region || one[0] === null || one[1] === null) return;
      const [px, py] = this.where(one), away = Math.hypot((px - fx) * width, (py - fy) * height);
      if (away < nearest) [point, nearest] = [i, away];
    });
    const [x, y] = toData(regions[region], fx, fy);
    return { region, x, y, point, fx, fy };
  }
  hover(event) { this.last = this.spot(event); this.cursor = null; this.point(this.look(...this.last)); }
  leave() { this.last = this.cursor = null; this.point(null); }
  /** Show the text of what is pointed at. */
  point(found, aloud = false) {
    [this.tip.hidden, this.dot.hidden] = [!found, !found || found.point === null];
    if (!found) return;
    const one = this.meta.points[found.point], [fx, fy] = one ? this.where(one) : [found.fx, found.fy];
    this.tip.textContent = one?.[2] || described(this.meta.regions[found.region], found.x, found.y);
    for (const { style } of [this.tip, this.dot]) style.inset = `${100 * fy}% auto auto ${100 * fx}%`;
    const [left, up] = [fx > 0.5, fy > 0.4].map((over) => (over ? "calc(-100% - 12px)" : "12px"));
    this.tip.style.transform = `translate(${left}, ${up})`;
    const [l, t, r, b] = seen(this.stage), tip = this.tip.getBoundingClientRect();
    const [aside, down] = [[l - tip.left, r - tip.right], [t - tip.top, b - tip.bottom]].map(([low, high]) => Math.max(low, Math.min(0, high)));
    this.tip.style.transform += ` translate(${aside}px, ${down}px)`;
    if (aloud) this.said.textContent = this.tip.textContent;
  }
  choose(found) { if (found) this.tell({ ...found, kind: "click" }); }
  /** Arrow keys go to the next point in their direction, or over the picture where it has none; Enter chooses. */
  key(event) {
    const step = ARROWS[event.key], runs = event.key === "Enter" && (event.shiftKey || event.ctrlKey);
    if (!this.meta.regions.length || runs) return;
    if (step || event.key === "Home" || event.key === "End") this.cursor = this.next(step, event.key);
    else if (event.key === "Enter" || event.key === " ") this.choose(this.cursor);
    else if (event.key === "Escape" && this.cursor) this.cursor = null; // the next one leads out
    else return;
    taken(event); this.last = this.cursor && [this.cursor.fx, this.cursor.fy];
    this.point(this.cursor, true);
  }
  next(step, name) {
    const { regions, points } = this.meta, here = this.cursor, [l, t, r, b] = regions[here?.region ?? 0].box;
    const { width, height } = this.stage.getBoundingClientRect();
    const all = points.map((one, point) => {
      const [x, y, , region] = one, [fx, fy] = this.where(one);
      return { region, x, y, point, fx, fy };
    }).filter(({ x, y }) => x !== null && y !== null);
    if (!all.length) {
      const [fx, fy] = here ? [here.fx, here.fy] : [(l + r) / 2, (t + b) / 2], [sx, sy] = (here && step) || [0, 0];
      return this.look(clamp(fx + 0.02 * sx, l, r), clamp(fy + 0.02 * sy, t, b)) ?? here;
    }
    if (!step || !here) return all.at(name === "End" ? -1 : 0);
    const rank = ({ fx, fy }) => {
      const [dx, dy] = [(fx - here.fx) * width, (fy - here.fy) * height], forward = dx * step[0] + dy * step[1];
      return forward > 0.5 ? forward + 2 * Math.abs(dx * step[1] + dy * step[0]) : Infinity;
    };
    return all.reduce((best, one) => (rank(one) < rank(best) ? one : best), here);
  }
  /** A handle where the picture says, unless it is being dragged. */
  place(spec) {
    let handle = this.handles.get(spec.name);
    if (!handle) {
      const node = make(this.stage, "div", { class: "handle", role: "slider", tabindex: "0" });
      this.handles.set(spec.name, handle = { node, held: false });
      const hold = (held) => { handle.held = held; node.classList.toggle("held", held); };
      node.addEventListener("pointerdown", (event) => {
        if (event.button) return;
        node.setPointerCapture(event.pointerId);
        hold(true); taken(event); node.focus({ preventScroll: true });
      });
      node.addEventListener("pointermove", (event) => handle.held && this.drag(handle, ...this.spot(event), false));
      for (const kind of ["pointerup", "pointercancel"]) node.addEventListener(kind, (event) => {
        if (!handle.held) return;
        hold(false);
        this.drag(handle, ...(kind === "pointerup" ? this.spot(event) : handle.at), true);
      });
      node.addEventListener("keydown", (event) => this.nudge(handle, event));
    }
    handle.spec = spec;
    if (!handle.held && !this.busy) this.move(handle, spec.x, spec.y);
  }
  limits({ spec: { region, ...spec } }, axis) {
    return [...(spec[`${axis}lim`] ?? this.meta.regions[region][axis])].sort((one, other) => one - other);
  }
  move(handle, x, y) {
    const { node, spec } = handle, region = this.meta.regions[spec.region], axis = spec.axis === "y" ? "y" : "x";
    const [fx, fy] = toPlace(region, x, y), [low, high] = this.limits(handle, axis);
    Object.assign(handle, { x, y, at: [fx, fy] }); node.style.inset = `${100 * fy}% auto auto ${100 * fx}%`;
    const text = spec.told ? spec.told : spec.axis === "xy" ? described(region, x, y) : written(region, axis, handle[axis]);
    put(node, { title: `${spec.label}: ${text}`, "aria-label": spec.label, "aria-valuemin": low, "aria-valuemax": high,
      "aria-valuenow": handle[axis], "aria-valuetext": text, "aria-orientation": axis === "y" ? "vertical" : "horizontal" });
  }
  drag(handle, fx, fy, done) {
    let [x, y] = toData(this.meta.regions[handle.spec.region], fx, fy);
    x = handle.spec.axis === "y" ? handle.x : clamp(x, ...this.limits(handle, "x"));
    y = handle.spec.axis === "x" ? handle.y : clamp(y, ...this.limits(handle, "y"));
    this.move(handle, x, y);
    this.report({ kind: "drag", name: handle.spec.name, x, y, done });
  }
  /** One message is under way at a time, and the newest follows it: so the kernel sets the pace. */
  report(message) { if (this.busy) this.waiting = message; else this.tell(message); this.busy = true; }
  acknowledged() {
    const next = this.waiting; [this.busy, this.waiting] = [false, null]; if (next) this.report(next); else this.meta.handles.forEach((spec) => this.place(spec));
  }
  nudge(handle, event) {
    let step = ARROWS[event.key] ?? FAR[event.key]; if (!step) return;
    const { axis, region: number, step: unit } = handle.spec, region = this.meta.regions[number], [l, t, r, b] = region.box;
    if (axis !== "xy") step = axis === "x" ? [step[0] || -step[1], 0] : [0, step[1] || -step[0]];
    const [nx, ny] = step.map((one) => one * (event.shiftKey ? 5 : 1)), [fx, fy] = handle.at;
    const to = (which, by) => clamp(stop(unit, which, handle[which], by), ...this.limits(handle, which));
    const place = unit ? toPlace(region, nx ? to("x", nx) : handle.x, ny ? to("y", -ny) : handle.y)
      : [clamp(fx + 0.02 * nx * (r - l), l, r), clamp(fy + 0.02 * ny * (b - t), t, b)];
    this.drag(handle, ...place, true); taken(event);
  }
}

/** Show a model's screen in an element. kept: {frames, plans} of a page without a kernel. */
function render({ model, el, kept }) {
  const [width, height] = model.get("size");
  const root = make(el, "div", { class: "ltviz-screen", style: `max-width: ${width}px` });
  const stage = make(root, "div", { class: "stage", style: `aspect-ratio: ${width} / ${height}` });
  const canvas = make(stage, "canvas", { role: "img", "aria-label": "picture" });
  const caption = model.get("caption") ? make(root, "p", { class: "caption", "aria-hidden": "true" }) : null;
  const said = make(root, "p", { class: "said", role: "status" });
  const pen = canvas.getContext("2d"), pictures = new Pictures(kept ? Infinity : STORED);
  const pointing = new Pointing(stage, canvas, said, (message) => model.send(message));
  const tracks = new Map(), plans = new Map(), asked = new Map(), shown = { played: false, where: {}, key: null };
  let seq = -1, turn = 0, photos = null, boxes = [], active = null, resting = 0, wiring = 0, rest = ""; // rest: stands for values without a track
  const index = ({ spec: { places, trait, nearest }, model: slider }) => {
    const value = slider.get(trait);
    if (!nearest) return places.includes(value) ? places.indexOf(value) : null;
    return places.reduce((best, one, i) => (Math.abs(one - value) < Math.abs(places[best] - value) ? i : best), 0);
  };
  const where = () => Object.fromEntries([...tracks].map(([name, track]) => [name, index(track)]));
  const same = (one, other) => [...tracks.keys()].every((name) => (one[name] ?? null) === (other[name] ?? null));
  const planned = (name, place, others = rest) => // the state in which a plan holds
    [name, others, ...[...tracks.keys()].map((key) => (key === name ? "" : place[key]))].join();

  /** Draw a picture: at once where it is decoded, else as soon as it is, unless another has been asked for by then. */
  async function draw(key, facts) {
    const mine = ++turn, layers = pictures.layers(key), meta = pictures.meta(key);
    const bitmaps = () => layers.map(([layer]) => pictures.decoded(layer).bitmap);
    Object.assign(shown, facts, { key });
    for (let tries = 0; bitmaps().includes(null); tries++) {
      await Promise.all(layers.map(([layer]) => pictures.decoded(layer).ready));
      if (mine !== turn || !pictures.has(key) || tries > 3) return;
    }
    const [{ width: wide, height: high }] = bitmaps();
    if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height] = [wide, high];
    bitmaps().forEach((bitmap, i) => pen.drawImage(bitmap, layers[i][1], layers[i][2]));
    boxes = meta.photos ?? [];
    if (boxes.length || photos) uncover();
    put(canvas, { "aria-label": meta.text, "aria-busy": !facts.exact });
    if (caption) caption.textContent = meta.text;
    pointing.use(meta);
    clearTimeout(resting); resting = setTimeout(() => { said.textContent = meta.text; speak(); }, REST);
    canvas.dispatchEvent(new CustomEvent("ltviz-drawn", { bubbles: true, detail: { key, exact: facts.exact } }));
  }
  /** Photographs above the canvas, whose lightness a dark theme turns over: drawn while that theme shows them. */
  function uncover() {
    photos ??= Object.assign(make(stage, "canvas", { class: "photos", "aria-hidden": "true" }), { onanimationstart: uncover });
    if (getComputedStyle(photos).visibility === "hidden") return; // the animation begins when they are shown
    const { width: wide, height: high } = Object.assign(photos, { width: canvas.width, height: canvas.height }); // clears it
    const ink = photos.getContext("2d");
    for (const [l, t, r, b] of boxes) ink.rect(...[l * wide, t * high, (r - l) * wide, (b - t) * high].map(Math.round));
    ink.clip(); ink.drawImage(canvas, 0, 0);
  }
  /** Show the frame nearest to where a slider stands, if there is one of the present state. */
  function play(track) {
    const now = where(), i = now[track.spec.name], plan = plans.get(planned(track.spec.name, now));
    if (!plan || i === null || (!shown.played && same(shown.where, now))) return; // the kernel's own is here
    const there = (j) => plan.keys[j] !== undefined && pictures.has(plan.keys[j]);
    for (let away = 0; away < plan.keys.length; away++) {
      const j = [i - away, i + away].find(there);
      if (j === undefined) continue;
      draw(plan.keys[j], { played: true, where: now, exact: j === i });
      return prepare(plan, j);
    }
  }
  /** Decode what is near, but not so much that it pushes out itself. */
  function prepare({ keys }, i) {
    const ahead = Math.min(AHEAD, DECODED / (12 * canvas.width * canvas.height));
    for (const key of keys.slice(Math.max(i - ahead, 0), i + ahead + 1)) if (pictures.has(key)) pictures.decoded(key);
  }
  function ask(track) {
    const { name } = track.spec, id = planned(name, where());
    if (plans.get(id)?.done || Date.now() - (asked.get(id) ?? -Infinity) < RETRY) return;
    asked.set(id, Date.now()); model.send({ kind: "sweep", name });
  }
  /** A reader takes hold of something: of which control, by its slider or its box? */
  async function held({ target }) {
    for (const track of [...tracks.values()]) for (const part of [track.model, track.box]) {
      const views = await Promise.all(Object.values(part?.views ?? {}));
      if (!views.some((view) => view.el.contains(target))) continue;
      active = part === track.model ? track : null; ask(track);
    }
  }
  async function moved(track) {
    const i = index(track), value = track.model._state_lock && track.box?.get("value"); // of the kernel, where it moves it
    if (value && +value.toPrecision(6) !== +track.spec.labels[i]) return; // lies between two places: its picture comes
    play(track);
    if (active !== track) return;
    ask(track); // and the number beside the slider follows as well, also while the kernel is busy
    for (const view of await Promise.all(Object.values(track.box?.views ?? {}))) {
      const input = view.el.querySelector("input:not(:focus)");
      if (input && i !== null) input.value = track.spec.labels[i];
    }
    speak();
  }
  /** Sliders have the name of their box for screen readers, and its value, not that of their place. */
  function speak() {
    const box = root.closest(".ltviz-explorer"), all = (what) => box?.querySelectorAll(what) ?? []; ownKeys(box);
    for (const handle of all(".noUi-handle")) {
      const [name, input] = ["label", "input"].map((kind) => handle.closest(".widget-hbox")?.querySelector(kind));
      if (input) put(handle, { "aria-label": name?.textContent ?? "", "aria-valuetext": input.value });
      handle.tabIndex = handle.closest("[disabled]") ? -1 : 0;
    }
  }
  async function wire() {
    const mine = ++wiring, get = async (id) => (id ? model.widget_manager.get_model(id).catch(() => null) : null);
    const found = await Promise.all(model.get("tracks").map(async (spec) =>
      ({ spec, model: await get(spec.model), box: await get(spec.box) })));
    if (mine !== wiring) return; else unwire();
    for (const track of found.filter((one) => one.model)) {
      track.moved = () => moved(track);
      track.model.on(`change:${track.spec.trait}`, track.moved); tracks.set(track.spec.name, track);
    }
    for (const { name, where: place, keys } of kept?.plans ?? []) plans.set(planned(name, place), { keys, done: true });
  }
  function unwire() {
    for (const track of tracks.values()) track.model.off(`change:${track.spec.trait}`, track.moved);
    for (const one of [tracks, plans, asked]) one.clear();
    active = null;
  }
  /** The kernel's picture: drawn unless it is there, or late, or the page shows a frame of the present state and this is not. */
  function arrived() {
    const { seq: number, where: place, key, image, meta, rest: others } = model.get("picture") ?? {}, now = where();
    if (!(number > seq)) return;
    shown.played &&= rest === others; [seq, rest] = [number, others];
    if (image) pictures.put(OWN, { image, meta }); else if (!pictures.has(key)) return model.send({ kind: "want", seq });
    const late = shown.played && same(shown.where, now) && !same(place, now), there = !image && shown.exact && shown.key === key;
    if (!late && !there) shown.drawing = draw(image ? OWN : key, { played: false, where: place, exact: true });
  }
  const answers = {
    plan({ plan, name, where: place, rest: others, keys }) {
      plans.set(planned(name, place, others), { number: plan, keys, name, done: false });
      if (plans.size > 100) plans.delete(plans.keys().next().value);
    },
    frame(content, [image]) {
      pictures.put(content.key, { ...content, image });
      for (const plan of plans.values()) {
        const now = plans.get(planned(plan.name, where())) === plan && plan.number === content.plan;
        if (now && shown.played && !shown.exact) play(tracks.get(plan.name)); // it may be nearer than what is shown
      }
    },
    done({ plan }) {
      asked.clear(); const whole = [...plans.values()].filter(({ number }) => number === plan);
      whole.forEach((one) => { one.done = true; prepare(one, where()[one.name] ?? 0); });
      root.dataset.swept = plan;
    },
    stale(content) { answers.failed(content); asked.clear(); if (active) ask(active); },
    failed({ plan }) { for (const [id, one] of plans) if (one.number === plan) plans.delete(id); },
    forget() { plans.clear(); asked.clear(); pictures.clear(); shown.played = false; },
    ack() { Promise.resolve(shown.drawing).then(() => pointing.acknowledged()); }, // its picture may be decoding still
  };
  function report() {
    const dark = document.body.matches("[data-jp-theme-light=false], .vscode-dark");
    const facts = { ratio: clamp(window.devicePixelRatio || 1, 1, 3), theme: dark ? "dark" : "light" };
    const news = Object.keys(facts).filter((key) => model.get(key) !== facts[key]);
    if (news.length) { news.forEach((key) => model.set(key, facts[key])); model.save_changes(); }
  }
  const theme = new MutationObserver(report), options = { capture: true, passive: true }; const grips = ["focusin", "pointerdown", "wheel"].map((kind) => [document, kind, held]);
  const page = [...grips, [window, "resize", report]], kernel = [["change:picture", arrived], ["change:tracks", wire],
    ["msg:custom", (content, buffers) => answers[content.kind]?.(content, buffers)]];
  page.forEach(([target, kind, act]) => target.addEventListener(kind, act, options));
  kernel.forEach(([kind, act]) => model.on(kind, act));
  theme.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "class"] });
  for (const frame of kept?.frames ?? []) pictures.put(frame.key, frame);
  report(); model.send({ kind: "ready" }); // the answer lets what follows be heard while a cell runs, once more if it
  const again = setTimeout(() => model.send({ kind: "ready" }), 800); // came before there was a thread for it
  wire().then(() => kept && [...tracks.values()].slice(0, 1).forEach(play));
  arrived();
  return () => {
    page.forEach(([target, kind, act]) => target.removeEventListener(kind, act, options));
    kernel.forEach(([kind, act]) => model.off(kind, act));
    clearTimeout(resting); clearTimeout(again); theme.disconnect(); unwire(); pictures.clear(); root.remove();
  };
}

export default { render };
