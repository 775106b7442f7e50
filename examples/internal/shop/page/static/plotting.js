// What the lanes and the charts share, so that their time axes line up.
export const PLOT_LEFT = 48;
export const PLOT_RIGHT = 14;

let style = null;

// colour reads a colour of the theme; forgetColours is called when it changes.
export function colour(name) {
  style ??= getComputedStyle(document.documentElement);
  return style.getPropertyValue(name).trim();
}
export function forgetColours() { style = null; }
