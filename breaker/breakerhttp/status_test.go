package breakerhttp

import (
	"math"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
)

func TestRetryAfterHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now().UTC()
		at := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
		cases := []struct {
			retryAfter, date string
			want             time.Duration
		}{
			{"", "", 0},
			{"120", "", 2 * time.Minute},
			{"0", "", 0},
			{"-1", "", 0},
			{"+1", "", 0},
			{"1.5", "", 0},
			{"soon", "", 0},
			{"99999999999", "", math.MaxInt64},
			{"99999999999999999999999", "", 0}, // not a number that anybody means
			{at(time.Minute), "", time.Minute},
			{at(-time.Minute), "", 0},
			{at(time.Hour), at(time.Hour - time.Minute), time.Minute}, // the server's clock is ahead
			{at(time.Hour), "yesterday", time.Hour},
		}
		for _, c := range cases {
			h := http.Header{}
			h.Set("Retry-After", c.retryAfter)
			h.Set("Date", c.date)
			assert.Equal(t, c.want, retryAfter(h), "%q, %q", c.retryAfter, c.date)
		}
	})
}

func FuzzRetryAfterHeader(f *testing.F) {
	f.Add("120", "")
	f.Add("Mon, 02 Jan 2006 15:04:05 GMT", "Mon, 02 Jan 2006 15:04:00 GMT")
	f.Add("18446744073709551615", "x")
	f.Add("Mon, 02 Jan 9999 15:04:05 GMT", "Mon, 02 Jan 0001 15:04:00 GMT")
	f.Fuzz(func(t *testing.T, after, date string) {
		h := http.Header{"Retry-After": {after}, "Date": {date}}
		if d := retryAfter(h); d < 0 {
			t.Errorf("%v", d)
		}
	})
}

func TestStatusError(t *testing.T) {
	err := &StatusError{Code: 503, Delay: time.Second}
	assert.Equal(t, "503 Service Unavailable", err.Error())
	assert.Equal(t, time.Second, err.RetryAfter())
}
