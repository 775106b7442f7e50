package page_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// stopwatch measures in the page itself, where no protocol lies between: from the
// key that a visitor presses to the attribute that tells him it has worked. A
// visitor sees the pressed button with the next frame, which is not counted.
const stopwatch = `
window.marks = {};
addEventListener("keydown", (e) => { window.pressedAt = performance.now(); }, true);
new MutationObserver((all) => {
  for (const m of all) {
    const b = m.target;
    const name = b.dataset.kind ?? b.textContent;
    window.marks[name + " " + b.getAttribute("aria-pressed")] = performance.now() - window.pressedAt;
  }
}).observe(document.body, { subtree: true, attributes: true, attributeFilter: ["aria-pressed"] });
true`

// The gate is loose on purpose: five seconds say that a switch works, on a machine
// that may be busy with anything. What it is on a quiet one is logged; the bar is 300
// ms (A18).
const visibleWithin = 5000 // ms

// A18: by keyboard alone, every fault shows in the page as pressed, as a line among
// those in force and on the map, and goes away again.
func TestEveryFaultShowsByKeyboard(t *testing.T) {
	s := serve(t, "127.0.0.1:0", 30)
	b := browse(t, s.url)
	get[bool](b, stopwatch)
	b.waitFor(`document.getElementById("target").value === "payments"`)
	var took []float64
	for key, kind := range map[string]string{"1": "latency", "2": "error", "3": "blackhole", "4": "drop", "5": "refuse", "6": "stopped"} {
		for _, pressed := range []string{"true", "false"} {
			b.press(key)
			b.waitFor(fmt.Sprintf(`document.querySelector('#faults [data-kind="%s"]')?.getAttribute("aria-pressed") === "%s"`, kind, pressed))
			took = append(took, get[float64](b, fmt.Sprintf(`window.marks["%s %s"]`, kind, pressed)))
			if pressed == "true" {
				b.waitFor(`[...document.querySelectorAll("#map .node")].some((n) => n.textContent.includes("payments⚠") && n.dataset.state !== "up")`)
			}
		}
	}
	report(t, "fault", took)
	assert.Zero(t, get[int](b, `document.getElementById("active").children.length`))
	b.clean(s.url)
}

// A18: every switch, by keyboard: it is focused and pressed with the space bar.
func TestEverySwitchShowsByKeyboard(t *testing.T) {
	s := serve(t, "127.0.0.1:0", 30)
	b := browse(t, s.url)
	get[bool](b, stopwatch)
	b.waitFor(`document.querySelector("#switches button")`)
	names := get[[]string](b, `[...document.querySelectorAll("#switches button")].map((b) => b.textContent)`)
	require.GreaterOrEqual(t, len(names), 8)
	var took []float64
	for i, name := range names {
		before := s.Switches()[name]
		for range 2 {
			after := map[string]string{"on": "off", "off": "on"}[s.Switches()[name]]
			get[bool](b, fmt.Sprintf(`document.querySelectorAll("#switches button")[%d].focus() ?? true`, i))
			b.press(" ")
			pressed := fmt.Sprint(after == "on")
			b.waitFor(fmt.Sprintf(`document.querySelectorAll("#switches button")[%d]?.getAttribute("aria-pressed") === "%s"`, i, pressed))
			took = append(took, get[float64](b, fmt.Sprintf(`window.marks["%s %s"]`, name, pressed)))
			assert.Equal(t, after, s.Switches()[name], name)
		}
		assert.Equal(t, before, s.Switches()[name])
	}
	report(t, "switch", took)
	b.clean(s.url)
}

// report logs the percentiles and holds them against the gate.
func report(t *testing.T, what string, took []float64) {
	t.Helper()
	slices.Sort(took)
	p95 := took[min(len(took)-1, len(took)*95/100)]
	t.Logf("%s to visible: n %d, median %.0f ms, p95 %.0f ms, most %.0f ms", what, len(took), took[len(took)/2], p95, took[len(took)-1])
	assert.LessOrEqual(t, p95, float64(visibleWithin))
}

// The other keys: choose, kill, restart, clear, load, theme, help; and a scenario that
// runs and stops.
func TestKeysDoWhatTheHelpSays(t *testing.T) {
	s := serve(t, "127.0.0.1:0", 30)
	b := browse(t, s.url)
	b.waitFor(`document.getElementById("target").value === "payments"`)
	b.press("?")
	b.waitFor(`document.getElementById("keys").open && document.querySelectorAll("#key-list dt").length >= 14`)
	b.press("\x1b")
	b.waitFor(`!document.getElementById("keys").open`)

	b.press("n")
	b.waitFor(`document.getElementById("target").value === "products" || document.getElementById("target").value === "products-1" || document.getElementById("target").value === "registry"`)
	b.focus(`#map .node[aria-label="break inventory"]`)
	b.press("\r")
	b.waitFor(`document.getElementById("break-name").textContent === "inventory"`)
	b.press("k")
	b.waitFor(`document.querySelector('#map .node[aria-label="break inventory"]').dataset.state === "stopped"`)
	b.press("s")
	b.waitFor(`document.querySelector('#map .node[aria-label="break inventory"]').dataset.state === "up"`)
	b.press("3")
	b.waitFor(`document.getElementById("active").children.length === 1`)
	b.press("c")
	b.waitFor(`document.getElementById("active").children.length === 0`)
	b.press("+")
	b.waitFor(`document.getElementById("rps-out").textContent === "40"`)
	b.press("-")
	b.waitFor(`document.getElementById("rps-out").textContent === "30"`)
	theme := get[string](b, `document.documentElement.dataset.theme`)
	b.press("t")
	b.press("t")
	b.waitFor(`document.documentElement.dataset.theme !== "` + theme + `"`)

	b.waitFor(`!document.getElementById("run").disabled`) // the list of scenarios has come
	b.press("r")
	b.waitFor(`document.querySelector("#run span").textContent === "Stop" && document.querySelectorAll("#script li").length > 5`)
	assert.True(t, s.State().Scenario.Running)
	b.press("r")
	b.waitFor(`document.querySelector("#run span").textContent === "Run"`)
	assert.False(t, s.State().Scenario.Running)
	b.clean(s.url)
}

// Every panel has something to show of a shop that is at work.
func TestEveryPanelIsFed(t *testing.T) {
	s := serve(t, "127.0.0.1:0", 20)
	b := browse(t, s.url)
	for panel, shows := range map[string]string{
		"P1 map":       `document.querySelectorAll("#map .node").length >= 8 && document.querySelectorAll("#map .edge").length >= 8`,
		"P2 lamps":     `document.querySelectorAll('#lamps li[data-status="ok"]').length >= 8`,
		"P3 breakers":  `document.querySelectorAll(".breaker").length >= 8 && document.querySelector(".breaker small").textContent.includes("of")`,
		"P4 retry":     `[...document.querySelectorAll("#retry-rows td")].some((c) => c.textContent === "1.00")`,
		"P5 sagas":     `[...document.querySelectorAll(".saga .step")].filter((c) => c.dataset.state === "done").length > 7`,
		"P6 events":    `document.querySelectorAll("#event-rows li").length > 5`,
		"P8 cache":     `document.querySelectorAll("#cache-rows li").length >= 3 && document.getElementById("cache-empty").hidden`,
		"P9 traces":    `document.querySelectorAll("#trace-rows li").length > 5 && document.getElementById("trace-empty").hidden`,
		"P10 load":     `[...document.querySelectorAll("#r-orders dd")].some((d) => /^[1-9]/.test(d.textContent)) && document.querySelectorAll(".u-wrap").length === 2`,
		"P11 scripts":  `document.querySelectorAll("#scenario option").length >= 8 && document.querySelectorAll("#script li").length > 5`,
		"P11 switches": `document.querySelectorAll("#switches button").length >= 8`,
	} {
		t.Log(panel)
		b.waitFor(shows)
	}
	// A breaker that somebody trips shows as open, and as closed when it is reset.
	const closed = `.breaker[data-state="closed"] button[aria-label^="trip "]`
	b.waitFor(fmt.Sprintf("document.querySelector(%q)", closed))
	name := get[string](b, fmt.Sprintf(`((e) => { e.click(); return e.getAttribute("aria-label").slice("trip ".length); })(document.querySelector(%q))`, closed))
	shown := strings.Replace(name, "/", " → ", 1)
	b.waitFor(fmt.Sprintf(`[...document.querySelectorAll('.breaker[data-state="open"] b')].some((e) => e.textContent === %q)`, shown))
	b.click(fmt.Sprintf(`button[aria-label="reset %s"]`, name))
	b.waitFor(fmt.Sprintf(`[...document.querySelectorAll('.breaker[data-state="closed"] b')].some((e) => e.textContent === %q)`, shown))
	// The state of a wallet in its past.
	b.click(`#wallet-now`)
	b.waitFor(`/^\d+\.\d\d at version/.test(document.getElementById("wallet-out").textContent)`)
	b.clean(s.url)
}

// A18: two tabs show the same, and what is done in one shows in the other.
func TestTwoTabsShowTheSame(t *testing.T) {
	s := serve(t, "127.0.0.1:0", 10)
	first := browse(t, s.url)
	second := open(t, first.Context, s.url)
	second.waitFor(`document.getElementById("target").value === "payments"`)
	second.press("3")
	for _, b := range []*tab{second, first} {
		ctx, cancel := b.limited()
		_, err := chromedp.Call(ctx, page.BringToFront, struct{}{})
		cancel()
		require.NoError(t, err)
		b.waitFor(`document.querySelector('#faults [data-kind="blackhole"]')?.getAttribute("aria-pressed") === "true"`)
	}
	first.clean(s.url)
	second.clean(s.url)
}

// A18: the stream comes back after a restart of control, with the new shop's state
// and nothing of the old one's.
func TestTheStreamComesBackAfterARestart(t *testing.T) {
	s := serve(t, "127.0.0.1:0", 10)
	b := browse(t, s.url)
	addr := strings.TrimPrefix(s.url, "http://")
	b.press("3")
	b.waitFor(`document.getElementById("active").children.length === 1`)
	s.stop()
	b.waitFor(`document.getElementById("stream").dataset.state === "lost"`)
	serve(t, addr, 10)
	b.waitFor(`document.getElementById("stream").dataset.state === "live" && document.getElementById("active").children.length === 0`)
	b.clean(s.url, "ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE")
}

// T18: a user called <img onerror=…> is text on the page, wherever he turns up.
func TestAHostileNameIsText(t *testing.T) {
	s := serve(t, "127.0.0.1:0", 0)
	b := browse(t, s.url)
	const name = `<img src=x onerror="window.pwned=1">`
	body, err := json.Marshal(map[string]string{"name": name})
	require.NoError(t, err)
	resp, err := http.Post(s.URL("gateway")+"/api/users", "application/json", bytes.NewReader(body)) //nolint:noctx // a test has one request to make
	require.NoError(t, err)
	answer, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusCreated, resp.StatusCode, string(answer))
	b.waitFor(`[...document.querySelectorAll("#event-rows pre")].some((p) => p.textContent.includes("onerror"))`)
	assert.False(t, get[bool](b, `"pwned" in window || document.querySelector("img[onerror]") !== null`))
	b.clean(s.url)
}

// T28: a page that stays open does not grow. Hundreds of traces are more than any list
// keeps.
func TestAnOpenPageDoesNotGrow(t *testing.T) {
	s := serve(t, "127.0.0.1:0", 200)
	b := browse(t, s.url)
	b.waitFor(`document.querySelectorAll("#event-rows > li").length === 14 && document.querySelectorAll("#trace-rows > li").length === 12 && document.querySelectorAll("#saga-rows > li").length === 11`)
	get[bool](b, `(window.came = 0, new MutationObserver((all) => { for (const one of all) came += one.addedNodes.length; })
		.observe(document.getElementById("trace-rows"), {childList: true}), true)`)
	b.waitFor("came >= 200")
	const nodes = `document.querySelectorAll("*").length`
	before := get[int](b, nodes)
	b.waitFor("came >= 600")
	after := get[int](b, nodes)
	t.Logf("%d elements, %d after 400 more traces", before, after)
	assert.Less(t, after, 3000)
	assert.InDelta(t, before, after, float64(before)/4)
	b.clean(s.url)
}

// Both colour schemes: the system's choice is followed, and the text has contrast.
func TestBothColourSchemes(t *testing.T) {
	s := serve(t, "127.0.0.1:0", 10)
	b := browse(t, s.url)
	for _, scheme := range []string{"light", "dark"} {
		ctx, cancel := context.WithTimeout(b, patience)
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			// Without motion, or a colour would be measured on its way to another.
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}},
		})
		cancel()
		require.NoError(t, err)
		b.waitFor(`document.documentElement.dataset.theme === "` + scheme + `"`)
		for _, selector := range []string{"h2", ".hint", "#lamps small", "#lamps b", ".breaker b", ".breaker small", ".breaker .pill", "#script li", ".switch", "#faults small", ".more"} {
			b.waitFor(fmt.Sprintf("document.querySelector(%q)", selector))
			ratio := get[float64](b, fmt.Sprintf(contrast, selector))
			assert.GreaterOrEqual(t, ratio, 4.5, "%s: %s", scheme, selector)
		}
	}
	b.clean(s.url)
}

// contrast is WCAG's ratio of an element's text and the ground that it stands on.
const contrast = `(() => {
  const e = document.querySelector(%q);
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (text) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  let ground = e;
  while (ground && rgba(getComputedStyle(ground).backgroundColor)[3] < 255) ground = ground.parentElement;
  const a = luminance(rgba(getComputedStyle(e).color)), b = luminance(rgba(getComputedStyle(ground ?? document.body).backgroundColor));
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
})()`
