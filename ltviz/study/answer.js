// One answer of a reader: a choice, a number, an order or a drawn curve, with its question above and what the kernel
// says about it below. Python holds the truth; this page only asks and shows. Keys stay inside, so that the notebook
// around does not take them for its own.

const PATIENCE = 4000; // ms until a card says that its kernel does not answer
const own = Math.random().toString(36).slice(2); // this module is loaded once for each card
let made = 0;

function node(tag, attributes = {}, ...children) {
  const one = tag.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4)) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) one.setAttribute(name, "");
    else if (value !== false && value !== null) one.setAttribute(name, value);
  }
  one.append(...children);
  return one;
}
const html = (tag, attributes, text) => Object.assign(node(tag, attributes), { innerHTML: text });
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

// --------------------------------------------------------------------------------------------------------- the kinds
// Each takes (spec, set, id of the question) and gives { el, show(state), value() }; set(value) tells the kernel.

function choice(spec, set, question) {
  const name = `ltviz-choice-${own}-${++made}`;
  const rows = spec.options.map(([value, text]) => {
    const input = node("input", { type: "radio", name });
    const mark = node("span", { class: "mark", hidden: true }, "your answer before");
    input.addEventListener("change", () => set(value));
    input.addEventListener("keydown", (event) => step(event, input));
    input.addEventListener("focus", () => rove(input));
    return { value, input, mark, el: node("label", {}, input, html("span", { class: "words" }, text), mark) };
  });
  /** Arrows go through the options, and choose where a button commits; a quiz tells at once whether a choice is right,
   *  so there Space chooses. */
  function step(event, input) {
    if (event.key === "Enter" && !runs(event)) return input.click();
    const by = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const inputs = rows.map((row) => row.input), next = inputs.at((inputs.indexOf(input) + by) % inputs.length);
    next.focus();
    if (el.closest(".ltviz-answer")?.querySelector("button.commit:not([hidden])")) next.click();
  }
  /** Tab stops once at a question, forwards and backwards: at what is chosen or was last looked at, at first on top. */
  const rove = (stop) => rows.forEach(({ input }) => { input.tabIndex = input === stop ? 0 : -1; });
  rove(rows[0].input);
  const el = node("fieldset", { "aria-labelledby": question }, ...rows.map((row) => row.el));
  return {
    el,
    value: () => rows.find((row) => row.input.checked)?.value ?? null,
    show({ value, before, locked }) {
      for (const row of rows) {
        row.input.checked = row.value === value;
        if (row.input.checked) rove(row.input);
        row.input.disabled = locked;
        row.mark.hidden = locked || row.value !== before;
      }
    },
  };
}

function number(spec, set, question) {
  const { low, high, step, unit, digits } = spec, about = { "aria-describedby": question, min: low, max: high };
  const slider = node("input", { type: "range", "aria-label": "Your answer, as a slider", step, ...about });
  const box = node("input", { type: "number", "aria-label": "Your answer, as a number", step, ...about });
  box.style.width = `${spec.letters + 5}ch`;
  const mark = node("span", { class: "mark", hidden: true });
  const ends = [low, high].map((end) => node("span", {}, spec.written[end === low ? 0 : 1]));
  const el = node("div", { class: "number" },
    node("div", { class: "track" }, slider, mark, node("div", { class: "ends" }, ...ends)),
    node("label", {}, box, unit));
  const middle = low + Math.round((high - low) / 2 / step) * step;
  let now = null;
  const took = (value) => { now = value; el.classList.toggle("untouched", now === null); set(now); };
  const slid = () => { box.value = Number(slider.valueAsNumber.toFixed(digits)); took(Number(box.value)); };
  slider.addEventListener("input", slid);
  slider.addEventListener("pointerup", () => now === null && !slider.disabled && slid());
  box.addEventListener("input", () => {
    const value = box.valueAsNumber, fits = value >= low && value <= high;
    box.setCustomValidity("");
    if (fits) slider.value = value;
    took(fits ? value : null);
  });
  box.addEventListener("keydown", (event) => { // as in a form
    if (event.key === "Enter" && !runs(event) && now !== null) el.closest(".ltviz-answer")?.querySelector("button.commit")?.click();
  });
  box.addEventListener("change", () => { // what does not fit stays as it was typed, and is no answer
    if (box.valueAsNumber >= low && box.valueAsNumber <= high) return;
    box.setCustomValidity(`a number from ${spec.written[0]} to ${spec.written[1]}`);
    box.reportValidity();
  });
  return {
    el,
    value: () => now,
    show({ value, before, locked }) {
      now = value;
      slider.disabled = box.disabled = locked;
      el.classList.toggle("untouched", now === null);
      slider.value = now ?? middle;
      if (locked || document.activeElement !== box) box.value = now ?? ""; // never while it is typed in
      mark.hidden = locked || before === null;
      if (!mark.hidden) {
        const share = clamp((before - low) / (high - low), 0, 1);
        mark.textContent = `before: ${Number(before.toFixed(digits))}`;
        mark.style.left = `calc(8px + ${share} * (100% - 16px))`;
        mark.style.transform = `translateX(-${100 * share}%)`;
      }
    },
  };
}

function order(spec, set, question) {
  const list = node("ol"), help = node("div", { class: "help", id: `ltviz-help-${own}-${++made}` },
    "First on top. Drag a line, or focus it and press arrow up or down.");
  const spoken = node("div", { class: "unseen", "aria-live": "assertive" });
  let locked = false, held = null, top = 0;
  const rows = spec.options.map(([value, text, plain]) => {
    const place = node("span", { class: "place", "aria-hidden": "true" });
    const mark = node("span", { class: "mark", hidden: true });
    const item = node("div", { class: "item", role: "button", tabindex: 0, "aria-describedby": help.id },
      node("span", { class: "grip", "aria-hidden": "true" }, "⠿"), place, html("span", { class: "words" }, text), mark);
    const [up, down] = [["▲", "up", -1], ["▼", "down", 1]].map(([sign, word, by]) => {
      const made = node("button", { type: "button", tabindex: -1, "aria-label": `Move ${plain} ${word}` }, sign);
      made.addEventListener("click", () => { move(row, rows.indexOf(row) + by); item.focus(); });
      return made;
    });
    const row = { value, plain, place, mark, item, up, down, el: node("li", {}, item, up, down) };
    item.addEventListener("keydown", (event) => {
      const by = { ArrowUp: -1, ArrowDown: 1, Home: -rows.length, End: rows.length }[event.key];
      if (by === undefined || locked) return;
      event.preventDefault();
      move(row, rows.indexOf(row) + by);
    });
    item.addEventListener("pointerdown", (event) => {
      if (locked || event.button !== 0) return;
      held = row;
      top = event.clientY - row.el.getBoundingClientRect().top;
      item.setPointerCapture(event.pointerId);
      row.el.classList.add("held");
    });
    item.addEventListener("pointermove", (event) => { if (held === row) drag(row, event.clientY); });
    for (const kind of ["pointerup", "pointercancel", "lostpointercapture"]) item.addEventListener(kind, () => {
      if (held !== row) return;
      held = null;
      row.el.classList.remove("held");
      row.el.style.transform = "";
    });
    return row;
  });
  list.append(...rows.map((row) => row.el));
  /** To a new place. Only the others are moved in the page: the focus and the hand stay on this one. */
  function move(row, to, tell = true) {
    const from = rows.indexOf(row), target = clamp(to, 0, rows.length - 1);
    const others = rows.slice(Math.min(from, target), Math.max(from, target) + 1).filter((one) => one !== row);
    if (target > from) row.el.before(...others.map((one) => one.el));
    else row.el.after(...others.map((one) => one.el));
    rows.splice(from, 1);
    rows.splice(target, 0, row);
    label();
    if (!tell) return;
    spoken.textContent = `${row.plain} is ${target === from ? "still" : "now"} in place ${target + 1} of ${rows.length}.`;
    if (target !== from) set(rows.map((one) => one.value));
  }
  function drag(row, y) {
    row.el.style.transform = "";
    const middle = (one) => { const box = one.el.getBoundingClientRect(); return box.top + box.height / 2; };
    const own = y - top + row.el.getBoundingClientRect().height / 2;
    const to = rows.filter((one) => one !== row && middle(one) < own).length;
    if (to !== rows.indexOf(row)) move(row, to);
    row.el.style.transform = `translateY(${y - top - row.el.getBoundingClientRect().top}px)`;
  }
  function label() {
    rows.forEach((row, i) => {
      row.place.textContent = `${i + 1}.`;
      row.item.setAttribute("aria-label", `${row.plain}, place ${i + 1} of ${rows.length}`);
      row.item.setAttribute("aria-disabled", locked);
      row.up.disabled = locked || i === 0;
      row.down.disabled = locked || i === rows.length - 1;
    });
  }
  return {
    el: node("div", { class: "order" }, help, list, spoken),
    value: () => rows.map((row) => row.value),
    show({ value, before, locked: fixed }) {
      locked = fixed;
      list.classList.toggle("locked", locked);
      help.hidden = locked;
      if (!held) (value ?? []).forEach((one, i) => {
        const row = rows.find((row) => row.value === one);
        if (row && row !== rows[i]) move(row, i, false);
      });
      for (const row of rows) {
        row.mark.hidden = locked || before === null;
        if (before !== null) row.mark.textContent = `before: ${before.indexOf(row.value) + 1}.`;
      }
      label();
    },
  };
}

const WIDE = 640, HIGH = 340, LEFT = 64, RIGHT = 20, TOP = 16, BOTTOM = 48; // of the drawing, in its own units

function curve(spec, set, question) {
  const { places, low, high, xticks, yticks, fractions, digits } = spec, last = places.length - 1;
  const px = (i) => LEFT + fractions[i] * (WIDE - LEFT - RIGHT);
  const py = (y) => TOP + (high - y) / (high - low) * (HIGH - TOP - BOTTOM);
  const written = (y) => Number(y.toFixed(digits));
  let now = places.map(() => null), at = 0, locked = false, hand = null, truth = null, before = null;
  const area = node("svg:g"), lines = node("svg:g");
  const handle = node("svg:circle", { class: "handle", r: 8, tabindex: 0, role: "slider", "aria-valuemin": low,
    "aria-valuemax": high, "aria-describedby": question,
    "aria-label": "Your curve: arrow left and right choose the place, up and down move it" });
  const text = (x, y, words, more = {}) => node("svg:text", { x, y, ...more }, words);
  const plot = node("svg:svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "group", "aria-label": spec.name });
  for (const [share, words] of xticks) {
    const x = LEFT + share * (WIDE - LEFT - RIGHT);
    plot.append(node("svg:path", { class: "grid", d: `M${x} ${TOP}V${HIGH - BOTTOM}` }),
      text(x, HIGH - BOTTOM + 18, words, { "text-anchor": "middle" }));
  }
  for (const [share, words] of yticks) {
    const y = HIGH - BOTTOM - share * (HIGH - TOP - BOTTOM);
    plot.append(node("svg:path", { class: "grid", d: `M${LEFT} ${y}H${WIDE - RIGHT}` }),
      text(LEFT - 8, y + 4, words, { "text-anchor": "end" }));
  }
  plot.append(text((LEFT + WIDE - RIGHT) / 2, HIGH - 8, spec.xlabel, { "text-anchor": "middle" }),
    text(-(TOP + HIGH - BOTTOM) / 2, 14, spec.ylabel, { "text-anchor": "middle", transform: "rotate(-90)" }),
    area, lines, handle);
  const clear = node("button", { type: "button" }, "Clear");
  const help = node("div", { class: "help" },
    "Draw from left to right with the mouse or a finger; or focus the dot and use the arrow keys.");
  const el = node("div", { class: "curve" }, help, plot, clear);

  /** The whole curve: straight between the places that were drawn, flat beyond the first and the last. */
  function whole(values) {
    const known = values.map((y, i) => (y === null ? -1 : i)).filter((i) => i >= 0);
    if (!known.length) return null;
    return values.map((y, i) => {
      if (y !== null) return y;
      const a = known.filter((k) => k < i).at(-1) ?? known[0], b = known.find((k) => k > i) ?? known.at(-1);
      const share = a === b || a > b ? 0 : (fractions[i] - fractions[a]) / (fractions[b] - fractions[a]);
      return values[a] + share * (values[b] - values[a]);
    });
  }
  const route = (values) => "M" + values.map((y, i) => `${px(i).toFixed(1)} ${py(y).toFixed(1)}`).join("L");
  const line = (values, kind) => node("svg:path", { class: `line ${kind}`, d: route(values) });
  function named(values, words, kind, shift) {
    const i = Math.round(last * shift);
    return text(px(i), clamp(py(values[i]) - 8, TOP + 12, HIGH - BOTTOM - 4), words, { class: kind, "text-anchor": "middle" });
  }
  function draw() {
    const full = whole(now), parts = [];
    if (before) parts.push(line(before, "before"), named(before, "before", "before", 0.3));
    if (full) {
      parts.push(line(full, "filled"));
      for (let i = 0; i < last; i++) if (now[i] !== null && now[i + 1] !== null)
        parts.push(node("svg:path", { class: "line own", d: `M${px(i)} ${py(now[i])}L${px(i + 1)} ${py(now[i + 1])}` }));
    }
    if (truth) {
      parts.push(line(truth, "truth"), named(truth, "the data", "truth", 0.85));
      if (full) parts.push(named(full, "you", "own", 0.6));
    }
    lines.replaceChildren(...parts);
    area.replaceChildren(...(truth && full
      ? [node("svg:path", { class: "gap", d: `${route(full)}L${route(truth).slice(1).split("L").reverse().join("L")}Z` })] : []));
    const y = full ? full[at] : (low + high) / 2;
    handle.setAttribute("cx", px(at));
    handle.setAttribute("cy", py(y));
    handle.setAttribute("aria-valuenow", written(y));
    const drawn = now[at] === null ? "not drawn yet" : written(now[at]);
    handle.setAttribute("aria-valuetext", `${spec.xlabel || "x"} ${places[at]}: ${drawn}`);
    for (const one of [handle, clear, help]) one.style.display = locked ? "none" : "";
  }
  const answer = () => (now.filter((y) => y !== null).length > 1 ? whole(now) : null);
  function put(i, y) {
    at = i;
    now[i] = written(clamp(y, low, high));
  }
  function place(event) {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(plot.getScreenCTM().inverse());
    let i = 0;
    for (let k = 1; k <= last; k++) if (Math.abs(px(k) - point.x) < Math.abs(px(i) - point.x)) i = k;
    return { i, y: high - (point.y - TOP) / (HIGH - TOP - BOTTOM) * (high - low) };
  }
  plot.addEventListener("pointerdown", (event) => {
    if (locked || event.button !== 0) return;
    plot.setPointerCapture(event.pointerId);
    hand = place(event);
    put(hand.i, hand.y);
    draw();
    handle.focus({ preventScroll: true });
    event.preventDefault();
  });
  plot.addEventListener("pointermove", (event) => {
    if (!hand) return;
    for (const one of event.getCoalescedEvents?.().concat(event) ?? [event]) {
      const to = place(one), steps = Math.abs(to.i - hand.i), side = Math.sign(to.i - hand.i);
      for (let k = 1; k <= steps; k++) put(hand.i + side * k, hand.y + (to.y - hand.y) * k / steps);
      put(to.i, to.y);
      hand = to;
    }
    draw();
  });
  for (const kind of ["pointerup", "pointercancel", "lostpointercapture"]) plot.addEventListener(kind, () => {
    if (!hand) return;
    hand = null;
    set(answer());
  });
  handle.addEventListener("keydown", (event) => {
    const step = (high - low) * (event.shiftKey ? 0.002 : 0.02);
    const by = { ArrowUp: step, ArrowDown: -step, PageUp: 5 * step, PageDown: -5 * step }[event.key];
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last }[event.key];
    if (by === undefined && to === undefined && event.key !== "Enter") return;
    event.preventDefault();
    if (to !== undefined) at = clamp(to, 0, last);
    else put(at, (whole(now)?.[at] ?? (low + high) / 2) + (by ?? 0)); // Enter leaves it where it is: drawn
    draw();
    if (to === undefined) set(answer());
  });
  clear.addEventListener("click", () => { now = places.map(() => null); draw(); set(null); });
  return {
    el,
    value: answer,
    show(state) {
      ({ locked, before, truth } = state);
      if (locked) before = null;
      if (state.earlier) before = state.earlier;
      if (hand) return draw(); // news of the kernel must not take the line out of the reader's hand
      // What comes back from the kernel is the whole curve; where the reader has not drawn stays marked as such.
      if (state.value && JSON.stringify(state.value) !== JSON.stringify(answer())) now = [...state.value];
      if (!state.value && answer()) now = places.map(() => null);
      draw();
    },
  };
}

const KINDS = { choice, number, order, curve };

// ---------------------------------------------------------------------------------------------------------- the card
/** Mathematics, by the page's own means: JupyterLab's, else MathJax, else it stays as it was written. */
function typeset(model, el) {
  const waiting = () => {
    if (!el.isConnected) return requestAnimationFrame(waiting);
    const lab = model.get("layout")?.widget_manager?._rendermime?.latexTypesetter;
    if (lab) lab.typeset(el);
    else window.MathJax?.typesetPromise?.([el]);
  };
  if (el.textContent.includes("$")) requestAnimationFrame(waiting);
}

/** Keys are the card's own, but for saving, and for running once its button was pressed; Escape leads to the cell. */
function guard(event) {
  if (!notebooks(event)) event.stopPropagation();
  if (event.type === "keydown" && event.key === "Escape") event.currentTarget.closest(".jp-Cell")?.focus();
}

/** Answers that a notebook keeps folded, from an earlier run: while cards live, Tab does not lead past a card to them,
 *  and a key pressed on any fold is not the notebook's. */
function folds() {
  for (const one of document.querySelectorAll(".jp-OutputArea details > summary"))
    if (one.textContent.startsWith("Answer first")) one.tabIndex = -1;
  if (document.body.dataset.ltvizFolds) return;
  document.body.dataset.ltvizFolds = "guarded";
  for (const kind of ["keydown", "keypress", "keyup"]) document.body.addEventListener(kind, (event) => {
    if (!event.target.matches?.(".jp-OutputArea summary") || notebooks(event)) return;
    event.stopPropagation();
    if (event.key === "Escape") event.target.closest(".jp-Cell")?.focus();
  });
}

const FIELDS = "input:checked, input[type=number], .item, .handle"; // where an answer that is opened again is changed
const STATE = ["value", "before", "locked", "truth", "earlier"];

function render({ model, el }) {
  const question = `ltviz-question-${own}-${++made}`;
  const head = html("div", { id: question, class: "head" }, model.get("head"));
  const set = (value) => {
    model.set("value", value);
    model.save_changes();
    show();
    if (button.hidden) wait();
  };
  const editor = KINDS[model.get("kind")](model.get("spec"), set, question);
  const button = node("button", { type: "button", class: "commit" });
  const said = node("div", { class: "said", role: "status" });
  const lost = html("div", { class: "lost", role: "note" }, model.get("lost"));
  const root = node("div", { class: "ltviz-answer" }, head, editor.el, button, said, lost);
  root.style.setProperty("--edge", model.get("edge"));
  let pressed = null; // the field that had the focus may be disabled by the answer: the button then takes it
  let running = false; // the press of a button that still has the focus is then not meant
  button.addEventListener("keydown", (event) => { running = runs(event); });
  button.addEventListener("click", (event) => {
    if (running && event.detail === 0) return;
    pressed = model.get("locked") ? "change" : "commit";
    wait();
    try { model.send({ kind: "press", value: editor.value() }); } catch { lose(); } // its connection is closed
  });
  // A kernel that restarts says so (answer.css); one that was shut down just never answers.
  let words = null, patience = null;
  function wait() {
    clearTimeout(patience);
    patience = setTimeout(lose, PATIENCE);
  }
  const lose = () => root.classList.add("unanswered");
  function heard() {
    clearTimeout(patience);
    root.classList.remove("unanswered");
    show();
    if (!pressed || button.hidden || model.get("locked") !== (pressed === "commit")) return;
    if (pressed === "change") editor.el.querySelector(FIELDS)?.focus();
    pressed = null;
    if (document.activeElement === document.body || document.activeElement?.disabled) button.focus();
  }
  function show() {
    const state = Object.fromEntries(STATE.map((name) => [name, model.get(name)]));
    editor.show(state);
    button.textContent = model.get("button");
    button.hidden = !button.textContent;
    button.disabled = !state.locked && editor.value() === null;
    if (words !== model.get("said")) {
      words = model.get("said");
      said.innerHTML = words;
      typeset(model, said);
    }
  }
  const keys = ["keydown", "keypress", "keyup"];
  keys.forEach((kind) => root.addEventListener(kind, guard));
  root.addEventListener("focusin", folds);
  const news = [["change:value", show], ...[...STATE.slice(1), "button", "said"].map((name) => [`change:${name}`, heard])];
  news.forEach(([kind, act]) => model.on(kind, act));
  el.append(root);
  show();
  typeset(model, head);
  typeset(model, editor.el);
  folds();
  model.send({ kind: "ready" }); // JupyterLab hands a widget's first message to the thread where cells run
  return () => {
    clearTimeout(patience);
    news.forEach(([kind, act]) => model.off(kind, act));
    root.remove();
  };
}

export default { render };
