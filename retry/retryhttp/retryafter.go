package retryhttp

import (
	"math"
	"net/http"
	"time"
)

// RetryAfter is the Retry-After header of r as a delay, and false when it is
// absent or malformed (RFC 9110, section 10.2.3). A number of seconds too large
// for a Duration is the longest one. A date is taken against the Date header of
// the same response, so that the clocks of server and client need not agree, or
// else against the local clock; one in the past is 0. The first header line
// counts.
func RetryAfter(r *http.Response) (time.Duration, bool) {
	lines := r.Header["Retry-After"]
	if len(lines) == 0 || lines[0] == "" {
		return 0, false
	}
	if d, ok := seconds(lines[0]); ok {
		return d, true
	}
	at, err := http.ParseTime(lines[0])
	if err != nil {
		return 0, false
	}
	now, err := http.ParseTime(r.Header.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	return max(at.Sub(now), 0), true
}

// seconds reads digits alone: no sign, no space, no fraction.
func seconds(text string) (time.Duration, bool) {
	const most = int64(math.MaxInt64 / time.Second)
	n := int64(0)
	for _, c := range []byte(text) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = min(n*10+int64(c-'0'), most+1) // far from overflow, and still too much
	}
	if n > most {
		return math.MaxInt64, true
	}
	return time.Duration(n) * time.Second, true
}
