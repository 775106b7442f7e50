package page_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// P7: the shards that there are, and what another one would move, by keyboard. The
// figures are those of control, which package whatif holds against a plan.
func TestTheShardsAndWhatMoreWouldMove(t *testing.T) {
	s := serve(t, "127.0.0.1:0", 20)
	b := browse(t, s.url)
	b.waitFor(`document.querySelectorAll("#shard-rows tr").length === 4 && /users on 4 shards/.test(document.getElementById("shard-counts").textContent)`)
	const row = `[...document.querySelectorAll("#whatif-rows tr")].find((r) => r.firstChild.textContent.startsWith(%q))?.querySelector('[data-part="moved"]').textContent`
	b.waitFor(fmt.Sprintf("/^(79|80)/.test("+row+")", "md5 modulo"))
	b.waitFor(fmt.Sprintf("/^(19|20)/.test("+row+")", "slots"))
	b.waitFor(`/Slots.Diff: 3\d+ of 16384 slots move, from 4 shards to 1/.test(document.getElementById("whatif-plan").textContent)`)
	b.focus("#whatif-up")
	b.press(" ")
	b.waitFor(`document.getElementById("whatif-n").textContent === "6" && /must get 33.3 %/.test(document.getElementById("whatif-plan").textContent)`)
	b.focus("#whatif-down")
	b.press(" ")
	b.press(" ") // of four shards five are the next
	b.waitFor(`document.getElementById("whatif-n").textContent === "5" && /must get 20.0 %/.test(document.getElementById("whatif-plan").textContent)`)
	b.waitFor(`[...document.querySelectorAll('#shard-rows [data-part="hot"]')].some((c) => /^user \d+, \d+ %$/.test(c.textContent))`)
	b.clean(s.url)
}

// A letter that nobody can read dies after its tries and is shown with the reason; the
// button puts it into the queue again, where it is as dead as before.
func TestADeadLetterIsReplayed(t *testing.T) {
	s := serve(t, "127.0.0.1:0", 5)
	b := browse(t, s.url)
	b.waitFor(`document.querySelector("#queue-rows tr") && document.getElementById("dead-replay").disabled`)
	b.focus("#dead-send")
	b.press(" ")
	b.waitFor(`document.querySelectorAll("#dead-rows li").length === 1 && !document.getElementById("dead-replay").disabled`)
	assert.Contains(t, get[string](b, `document.querySelector("#dead-rows li").textContent`), "a letter without an address")
	died := get[string](b, `document.querySelector("#dead-rows li").dataset.key`)
	b.focus("#dead-replay")
	b.press(" ")
	b.waitFor(fmt.Sprintf(`document.querySelector("#dead-rows li") && document.querySelector("#dead-rows li").dataset.key !== %q`, died))
	assert.Equal(t, 1, get[int](b, `document.querySelectorAll("#dead-rows li").length`))
	// It is counted when it is settled, after it is in the dead letters.
	assert.Eventually(t, func() bool { return s.State().Broker["email-queue/mailer"].Dead == 2 }, 10*time.Second, 10*time.Millisecond)
	b.clean(s.url)
}

// A13 on the page: whichever read model is folded anew is what it was.
func TestAReadModelIsRebuilt(t *testing.T) {
	s := serve(t, "127.0.0.1:0", 20)
	b := browse(t, s.url)
	for _, model := range []string{"orders/orders", "payments/ledger", "users/users/shard-1"} {
		b.waitFor(fmt.Sprintf(`[...document.querySelectorAll("#projection option")].some((o) => o.value === %q)`, model))
		get[bool](b, fmt.Sprintf(`(document.getElementById("projection").value = %q, document.getElementById("rebuild-out").textContent = "", true)`, model))
		b.focus("#rebuild")
		b.press(" ")
		b.waitFor(`/^\d+ events in .* ✓ replay = live$/.test(document.getElementById("rebuild-out").textContent)`)
	}
	b.clean(s.url)
}

// A18: whatever can be pressed can be reached by Tab, and has a name for those who do
// not see it.
func TestEveryControlIsReachedByTab(t *testing.T) {
	s := serve(t, "127.0.0.1:0", 0) // without load few rows come or go meanwhile
	b := browse(t, s.url)
	b.waitFor(`document.querySelectorAll("#whatif-rows tr").length > 0 && document.querySelectorAll("#map .node[tabindex]").length >= 8 && document.querySelectorAll("#switches button").length >= 8`)
	get[bool](b, `(window.reached = new Set(), addEventListener("focusin", (e) => window.reached.add(e.target)), true)`)
	const controls = `[...document.querySelectorAll("button, input, select, a[href], summary, [tabindex]")].filter((e) => !e.disabled && e.tabIndex >= 0 && e.checkVisibility())`
	n := get[int](b, `(window.controls = `+controls+`).length`)
	require.Greater(t, n, 60)
	// A list that scrolls takes the focus too, and a row may come, so it takes more than n;
	// twice round is enough for all.
	const missed = `window.controls.filter((e) => e.isConnected && !e.disabled && !window.reached.has(e)).map((e) => e.outerHTML.slice(0, 120))`
	for i := 0; i < 2*n+20 && (i < n || len(get[[]string](b, missed)) > 0); i++ {
		b.press("\t")
	}
	assert.Empty(t, get[[]string](b, missed))
	assert.Empty(t, get[[]string](b, controls+`.filter((e) => !(e.textContent.trim() || e.ariaLabel || e.labels?.length || e.getAttribute("aria-labelledby"))).map((e) => e.outerHTML.slice(0, 120))`))
	b.clean(s.url)
}

// Nothing is wider than the window, whatever that is; and what is pressed comes right
// behind the map where there is one column.
func TestThePageFitsAnyWindow(t *testing.T) {
	s := serve(t, "127.0.0.1:0", 20)
	b := browse(t, s.url)
	b.waitFor(`document.querySelectorAll("#whatif-rows tr").length > 0 && document.querySelectorAll("#trace-rows li").length > 5`)
	for _, width := range []int64{390, 800, 1000, 1280, 1900} {
		ctx, cancel := b.limited()
		_, err := chromedp.Call(ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 844, DeviceScaleFactor: 1})
		cancel()
		require.NoError(t, err)
		b.waitFor(fmt.Sprintf("innerWidth === %d", width))
		assert.Empty(t, get[[]string](b, `[...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest("#map, .visually-hidden, dialog, pre, .script, .lines, #lamps") && e.checkVisibility()).slice(0, 5).map((e) => e.outerHTML.slice(0, 120))`), "%d wide", width)
		top := `document.querySelector("%s").getBoundingClientRect().top`
		if width < 980 {
			assert.Less(t, get[float64](b, fmt.Sprintf(top, ".controls")), get[float64](b, fmt.Sprintf(top, "#breaker-rows")), "%d wide", width)
		}
	}
	b.clean(s.url)
}

// A question that cannot be answered is not asked over and over: users is out.
func TestAnOutageOfUsersLeavesThePageInPeace(t *testing.T) {
	s := serve(t, "127.0.0.1:0", 0)
	require.NoError(t, s.KillService("users"))
	resp, err := http.Get(s.url + "/control/shards") //nolint:noctx // a test has one request to make
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Equal(t, http.StatusUnprocessableEntity, resp.StatusCode)
	b := browse(t, s.url)
	b.waitFor(`document.querySelectorAll("#map .node").length >= 8`)
	assert.Contains(t, get[string](b, `document.getElementById("shard-counts").textContent`), "not told")
	b.clean(s.url)
}
