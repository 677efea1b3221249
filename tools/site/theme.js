// The theme before anything is drawn: what the reader chose, else that of their system.
(() => {
  const root = document.documentElement, dark = matchMedia("(prefers-color-scheme: dark)");
  const kept = () => { try { return localStorage.getItem("ltviz-theme"); } catch { return null; } };
  const show = () => { root.dataset.jpThemeLight = String((kept() ?? (dark.matches ? "dark" : "light")) === "light"); };
  window.ltvizTheme = () => {
    const next = root.dataset.jpThemeLight === "true" ? "dark" : "light";
    try { localStorage.setItem("ltviz-theme", next); } catch { /* it holds for this page */ }
    root.dataset.jpThemeLight = String(next === "light");
  };
  dark.addEventListener("change", show);
  show();
})();
