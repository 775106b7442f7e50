package page_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/examples/internal/shop/fault"
)

// The screenshots of the READMEs, written where KEELSON_SCREENSHOTS says (make
// shop-screenshots): the shop after half a minute of load, with payment in a black
// hole. Without it the pictures are of a young shop, and thrown away. Either way it
// asserts that the page fits: nothing is wider than the window.
func TestScreenshots(t *testing.T) {
	dir, grown := os.Getenv("KEELSON_SCREENSHOTS"), 25*time.Second
	if dir == "" {
		dir, grown = t.TempDir(), 0
	}
	s := serve(t, "127.0.0.1:0", 50)
	b := browse(t, s.url)
	time.Sleep(grown) // real time: half a minute of charts is what is to be seen
	rule, err := fault.Parse("payments", []string{"blackhole"})
	require.NoError(t, err)
	_, err = s.Inject(rule)
	require.NoError(t, err)
	b.waitFor(`document.querySelector('#story[data-tone="open"]') !== null`)
	time.Sleep(grown / 4)
	for _, theme := range []string{"light", "dark"} {
		get[bool](b, `localStorage.setItem("theme", "`+theme+`") ?? true`)
		b.press("t")
		b.waitFor(`document.documentElement.dataset.theme === "` + theme + `" || (document.getElementById("theme").click(), false)`)
		time.Sleep(grown / 25) // until the colours have changed
		require.LessOrEqual(t, get[int](b, `document.documentElement.scrollWidth`), get[int](b, `innerWidth`))
		ctx, cancel := b.limited()
		picture, err := chromedp.Call(ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{Format: page.CaptureScreenshotFormatJpeg, Quality: new(int64(60))})
		cancel()
		require.NoError(t, err)
		require.LessOrEqual(t, len(picture.Data), 300_000)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "page-"+theme+".jpg"), picture.Data, 0o644))
	}
	b.clean(s.url)
}
