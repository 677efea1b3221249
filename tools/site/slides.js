(() => {
  const root = document.documentElement, slides = [...document.querySelectorAll(".slide")];
  const where = document.getElementById("where"), dark = matchMedia("(prefers-color-scheme: dark)");
  let now = 0, chosen = null;
  const theme = () => { root.dataset.jpThemeLight = String(!(chosen ?? dark.matches)); };
  const turn = () => { chosen = root.dataset.jpThemeLight === "true"; theme(); };
  const show = (to, write = true) => {
    now = Math.max(0, Math.min(slides.length - 1, to));
    slides.forEach((one, i) => { one.classList.toggle("now", i === now); one.inert = i !== now; });
    where.textContent = `${now + 1} / ${slides.length}`;
    if (write) history.replaceState(null, "", `#s${now + 1}`);
  };
  const asked = () => show((parseInt(location.hash.replace("#s", ""), 10) || 1) - 1, false);
  const scale = () => root.style.setProperty("--scale", Math.min(innerWidth / 1280, innerHeight / 720));
  // What is too tall or too wide for its slide is made smaller until it fits; measured on the stage, whatever the window.
  const fit = (slide) => {
    const inner = slide.firstElementChild;
    for (let size = 1; size >= 0.4; size -= 0.04) {
      inner.style.zoom = size;
      const room = slide.clientHeight - 100, wide = slide.clientWidth - 128;
      if (inner.getBoundingClientRect().height / scaled() <= room && inner.scrollWidth * size <= wide + 1) return;
    }
  };
  const scaled = () => parseFloat(getComputedStyle(root).getPropertyValue("--scale")) || 1;
  const keys = { ArrowRight: 1, ArrowDown: 1, PageDown: 1, " ": 1, Enter: 1, ArrowLeft: -1, ArrowUp: -1, PageUp: -1, Backspace: -1 };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("button") && (event.key === " " || event.key === "Enter")) return;
    if (event.key in keys) show(now + (event.key === " " && event.shiftKey ? -1 : keys[event.key]));
    else if (event.key === "Home") show(0);
    else if (event.key === "End") show(slides.length - 1);
    else if (event.key === "d") turn();
    else if (event.key === "f") document.documentElement.requestFullscreen?.();
    else return;
    event.preventDefault();
  });
  document.getElementById("back").onclick = () => show(now - 1);
  document.getElementById("on").onclick = () => show(now + 1);
  document.getElementById("theme").onclick = turn;
  addEventListener("resize", scale);
  addEventListener("hashchange", asked);
  addEventListener("beforeprint", () => { chosen ??= dark.matches; root.dataset.jpThemeLight = "true"; });
  addEventListener("afterprint", theme);
  dark.addEventListener("change", theme);
  theme(); scale(); asked();
  const all = () => slides.forEach(fit);
  Promise.all([...document.images].map((one) => one.decode().catch(() => {}))).then(all).then(() => { root.dataset.ready = "1"; });
})();
