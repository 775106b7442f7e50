package retryhttp

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	defaultDrain = 64 << 10
	drainTime    = 100 * time.Millisecond
)

// drain reads what is left of a response that nobody wants, and closes it. Read
// to the end, its connection can be used again, which is worth a few packets.
// It is not worth waiting for an endless or a stalled body, so both the bytes
// and the time are bounded; a body that says it is too long is only closed.
func drain(r *http.Response, limit int64) {
	if limit < 0 || r.ContentLength > limit {
		r.Body.Close()
		return
	}
	// Closing is what ends a Read that hangs, and it must happen once.
	shut := sync.OnceFunc(func() { r.Body.Close() })
	timer := time.AfterFunc(drainTime, shut) // also in the middle of a Read, as net/http allows
	_, _ = io.CopyN(io.Discard, r.Body, limit)
	timer.Stop()
	shut()
}

// lasting makes the body of r the end of its context: done is called when the
// body is closed, at its end, or breaks.
func lasting(r *http.Response, done context.CancelCauseFunc) {
	if r.Body == http.NoBody {
		done(nil)
		return
	}
	b := &body{r.Body, done}
	r.Body = b
	if w, ok := b.ReadCloser.(io.Writer); ok { // of a 101 Switching Protocols
		r.Body = struct {
			*body
			io.Writer
		}{b, w}
	}
}

type body struct {
	io.ReadCloser
	done context.CancelCauseFunc
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.done(nil)
	}
	return n, err
}

func (b *body) Close() error {
	err := b.ReadCloser.Close()
	b.done(nil)
	return err
}
