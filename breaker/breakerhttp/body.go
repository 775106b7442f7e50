package breakerhttp

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"

	"github.com/keelson-go/keelson/breaker"
)

// ending is what happens once, when a response is over: its place and its time
// limit end.
type ending struct {
	once   sync.Once // Close may race with Read
	ctx    context.Context
	cancel context.CancelFunc
	limit  *breaker.Permit
	judged error // what the response stands for
}

// end ends the response. A nil error, and io.EOF, is a good end.
func (e *ending) end(err error) {
	e.once.Do(func() {
		defer e.cancel()
		if err == nil || errors.Is(err, io.EOF) {
			err = e.judged
		}
		e.limit.Done(err)
	})
}

// watch returns b, which tells when it is over.
func (e *ending) watch(b io.ReadCloser) io.ReadCloser {
	if b == nil || b == http.NoBody { // nil, which only a fake returns, is for http.Client to judge
		e.end(nil)
		return b
	}
	watched := &body{ReadCloser: b, ending: e}
	w, writes := b.(io.Writer)
	if !writes {
		return watched
	}
	// The body of 101 Switching Protocols. A proxy closes the way to the server
	// alone when its client has said all, if the body can do that.
	type duplex struct {
		*body
		io.Writer
	}
	if c, ok := b.(closeWriter); ok {
		return struct {
			duplex
			closeWriter
		}{duplex{watched, w}, c}
	}
	return duplex{watched, w}
}

type closeWriter interface{ CloseWrite() error }

// body is the body of a response. It is over at its end, at an error, and when
// it is closed, whichever is first.
type body struct {
	io.ReadCloser
	*ending
}

// Read implements [io.Reader]. An error ends the response as well as its end
// does: nobody can read on after it, and many never close.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		if !errors.Is(err, io.EOF) {
			err = withCause(b.ctx, err)
		}
		b.end(err)
	}
	return n, err
}

// Close implements [io.Closer]. The connection is given back before the place
// is, so that the next call finds it.
func (b *body) Close() error {
	defer b.end(nil)
	return b.ReadCloser.Close()
}
