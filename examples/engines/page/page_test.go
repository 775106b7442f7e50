package page_test

import (
	"testing"
	"time"
)

func TestDebug(t *testing.T) {
	s := serve(t, "127.0.0.1:0", 50)
	b := browse(t, s.url)
	time.Sleep(3 * time.Second)
	t.Log(get[string](b, `document.getElementById("scenario").outerHTML.slice(0,200)`))
	t.Log(b.complaints)
}
