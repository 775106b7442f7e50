package retryhttp_test

import (
	"math"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/retry/retryhttp"
)

// T39, T40: seconds saturate, all three forms of dates are read, against the
// response's own Date, and anything else is ignored.
func TestRetryAfter(t *testing.T) {
	const date = "Fri, 31 Dec 1999 23:59:59 GMT"
	for _, c := range []struct {
		header, date string
		want         time.Duration
		ok           bool
	}{
		{"0", "", 0, true},
		{"120", "", 2 * time.Minute, true},
		{"007", "", 7 * time.Second, true},
		{"9223372036", "", 9223372036 * time.Second, true},
		{"9223372037", "", math.MaxInt64, true},
		{"18446744074", "", math.MaxInt64, true},
		{"99999999999999999999999999", "", math.MaxInt64, true},
		{"", "", 0, false},
		{"-1", "", 0, false},
		{"+5", "", 0, false},
		{"1.5", "", 0, false},
		{"1e3", "", 0, false},
		{" 5", "", 0, false},
		{"5 ", "", 0, false},
		{"٣", "", 0, false},
		{"soon", "", 0, false},
		{"Sat, 01 Jan 2000 00:00:59 GMT", date, time.Minute, true},
		{"Saturday, 01-Jan-00 00:00:59 GMT", date, time.Minute, true},
		{"Sat Jan  1 00:00:59 2000", date, time.Minute, true},
		{"Fri, 31 Dec 1999 23:59:58 GMT", date, 0, true},
		{"Fri, 31 Dec 1999 23:59:58 GMT", "nonsense", 0, true},
		{"Fri, 31 Dec 9999 23:59:58 GMT", "Mon, 01 Jan 0001 00:00:00 GMT", math.MaxInt64, true},
		{"Fri, 32 Dec 1999 23:59:58 GMT", date, 0, false},
	} {
		r := &http.Response{Header: http.Header{"Retry-After": {c.header}, "Date": {c.date}}}
		d, ok := retryhttp.RetryAfter(r)
		assert.Equal(t, c.want, d, "%q", c.header)
		assert.Equal(t, c.ok, ok, "%q", c.header)
	}
	_, ok := retryhttp.RetryAfter(&http.Response{})
	assert.False(t, ok)
	d, ok := retryhttp.RetryAfter(&http.Response{Header: http.Header{"Retry-After": {"1", "2"}}})
	assert.True(t, ok)
	assert.Equal(t, time.Second, d, "the first line counts")
}

// T40: an hour's difference between the clocks does not matter when the
// response has a Date; without one the local clock is all there is.
func TestRetryAfterAgainstTheServersClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // local time is 2000-01-01 00:00:00 UTC
		server := time.Now().Add(time.Hour).UTC()
		r := &http.Response{Header: http.Header{}}
		r.Header.Set("Retry-After", server.Add(10*time.Second).Format(http.TimeFormat))
		d, _ := retryhttp.RetryAfter(r)
		assert.Equal(t, time.Hour+10*time.Second, d)
		r.Header.Set("Date", server.Format(http.TimeFormat))
		d, _ = retryhttp.RetryAfter(r)
		assert.Equal(t, 10*time.Second, d)
	})
}

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"", "0", "-1", "99999999999999999999", "Sat, 01 Jan 2000 00:00:59 GMT", "Sat Jan  1 00:00:59 2000"} {
		f.Add(s, "Fri, 31 Dec 1999 23:59:59 GMT")
	}
	f.Fuzz(func(t *testing.T, header, date string) {
		d, ok := retryhttp.RetryAfter(&http.Response{Header: http.Header{"Retry-After": {header}, "Date": {date}}})
		if d < 0 || !ok && d != 0 {
			t.Errorf("%q at %q: %v %v", header, date, d, ok)
		}
	})
}
