// Sets the chosen theme before anything is painted; without a choice the system's holds.
try {
  const theme = localStorage.getItem("guide.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage may be forbidden; the page works without.
}
