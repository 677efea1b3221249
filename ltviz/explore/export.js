/** A screen without a kernel. state: size, caption, tracks, picture; frames: their images in base64; inputs by id. */
function mount(el, { state, frames, plans, inputs }) {
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const sliders = Object.fromEntries(inputs.map(({ id, output, labels }) => {
    const input = document.getElementById(id), told = document.getElementById(output);
    const say = () => {
      if (told) told.textContent = labels[input.value];
      if (input.type === "range") input.setAttribute("aria-valuetext", labels[input.value]);
    };
    input.addEventListener("input", say);
    say();
    const on = (event, act) => input.addEventListener("input", act);
    return [id, { get: () => Number(input.value), on, off() {} }];
  }));
  const model = {
    get: (key) => state[key], set() {}, save_changes() {}, send() {}, on() {}, off() {},
    widget_manager: { get_model: async (id) => sliders[id] },
  };
  const kept = { plans, frames: frames.map((one) => ({ ...one, image: bytes(one.image) })) };
  const inputOf = (name) => document.getElementById(state.tracks.find((one) => one.name === name).model);
  const idle = Object.fromEntries(inputs.map(({ id }) => {
    const input = document.getElementById(id), said = document.createElement("small");
    Object.assign(said, { id: `${id}-idle`, textContent: "changes nothing here", hidden: true });
    said.style.marginInlineStart = "0.5em";
    input.setAttribute("aria-describedby", said.id);
    input.parentElement.append(said);
    return [id, said];
  }));
  /** Says of each control whether it changes the picture as the others stand. */
  const speak = () => plans.forEach(({ name, where, still }) => {
    const here = Object.entries(where).every(([other, at]) => Number(inputOf(other).value) === at);
    if (here) idle[inputOf(name).id].hidden = !still;
  });
  inputs.forEach(({ id }) => document.getElementById(id).addEventListener("input", speak));
  speak();
  if (!inputs.length) state.picture = { ...kept.frames[0], seq: 0, where: {} }; // a picture that nothing moves
  return render({ model, el, kept });
}

for (const data of document.querySelectorAll("script[type='application/json']")) {
  mount(document.getElementById(data.dataset.screen), JSON.parse(data.textContent));
}
