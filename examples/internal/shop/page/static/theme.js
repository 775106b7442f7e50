// The theme: the system's until somebody says otherwise; the choice is kept. Charts
// are canvases and must be told, as they read a colour once.
const CHOICES = ["system", "light", "dark"];
const system = matchMedia("(prefers-color-scheme: dark)");

export function startTheme(changed) {
  const button = document.getElementById("theme");
  const kept = localStorage.getItem("theme");
  let choice = CHOICES.includes(kept) ? kept : CHOICES[0];
  const apply = () => {
    const theme = choice === "system" ? (system.matches ? "dark" : "light") : choice;
    document.documentElement.dataset.theme = theme;
    button.textContent = `Theme: ${choice}`;
    changed();
  };
  button.addEventListener("click", () => {
    choice = CHOICES[(CHOICES.indexOf(choice) + 1) % CHOICES.length];
    localStorage.setItem("theme", choice);
    apply();
  });
  system.addEventListener("change", apply);
  apply();
}

let style = null;

// colour reads a colour of the theme; forgetColours is called when it changes.
export function colour(name) {
  style ??= getComputedStyle(document.documentElement);
  return style.getPropertyValue(name).trim();
}
export function forgetColours() { style = null; }
