// The theme: the system's until somebody says otherwise; the choice is kept. The
// charts are canvases and must be told, since they read a colour once.
const CHOICES = ["system", "light", "dark"];
const system = matchMedia("(prefers-color-scheme: dark)");

export function startTheme(changed) {
  const button = document.getElementById("theme");
  let choice = CHOICES.find((c) => c === localStorage.getItem("theme")) ?? "system";
  const apply = () => {
    const dark = choice === "dark" || (choice === "system" && system.matches);
    document.documentElement.dataset.theme = dark ? "dark" : "light";
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
