package fault

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// HeaderCaller names the service that makes a request, for rules about one caller.
const HeaderCaller = "X-Caller"

// Injected is an answer that a rule asks for.
type Injected struct {
	Rule   string
	Status int
}

// verdict is what becomes of a request, once the waits are over.
type verdict struct {
	answer *Injected // given in place of the handler's
	cut    bool      // no answer, and no handler
	reset  bool      // with a RST, so that the client need not wonder
	drop   bool      // the handler runs, its answer is lost
	crash  string    // the point, if any
}

// Serve lets the rules act on r, and next answer if they let it. answer writes an
// injected answer in the form of the service. Serve panics with
// http.ErrAbortHandler to cut the connection without a byte.
func (s *Set) Serve(w http.ResponseWriter, r *http.Request, next http.Handler, answer func(http.ResponseWriter, *http.Request, Injected)) {
	v := s.judge(w, r)
	s.die(v.crash == Before)
	switch {
	case v.answer != nil:
		answer(w, r, *v.answer)
		return
	case v.cut:
		if v.reset {
			reset(w)
		}
		panic(http.ErrAbortHandler)
	case v.drop || v.crash == Effect:
		// Whatever the handler says is lost, as on a connection that breaks at the
		// worst moment; what it has done stays done.
		next.ServeHTTP(&lost{header: http.Header{}}, r)
		s.die(v.crash == Effect)
		panic(http.ErrAbortHandler)
	}
	if v.crash == Answer {
		answerWhole(w, r, next)
		s.die(true)
		return
	}
	next.ServeHTTP(w, r)
}

// answerWhole gives the whole answer at once, to its last byte: one that ends with the
// process, in the middle of a chunk, is none to its client.
func answerWhole(w http.ResponseWriter, r *http.Request, next http.Handler) {
	whole := &kept{lost: lost{header: w.Header()}, status: http.StatusOK}
	next.ServeHTTP(whole, r)
	w.Header().Set("Content-Length", strconv.Itoa(whole.body.Len()))
	w.WriteHeader(whole.status)
	_, _ = w.Write(whole.body.Bytes())        // the client is gone if this fails
	_ = http.NewResponseController(w).Flush() // an answer in a buffer has not been given
}

func (s *Set) die(now bool) {
	if now && s.Kill != nil {
		s.Kill()
	}
}

// judge asks every rule, waits where one wants it, and returns what the first that
// ends the request decides. In a black hole it returns when the client has gone or
// the set is closed.
func (s *Set) judge(w http.ResponseWriter, r *http.Request) (v verdict) {
	health := strings.HasPrefix(r.URL.Path, "/health")
	for _, a := range s.matching(r.Header.Get(HeaderCaller), r.URL.Path) {
		hit, draw := a.hit(health)
		if !hit {
			continue
		}
		switch a.Kind {
		case Latency:
			if !s.sleep(r, a.Latency+time.Duration(draw*float64(a.Jitter))) {
				return verdict{cut: true}
			}
		case Error:
			return verdict{answer: &Injected{Rule: a.ID, Status: a.Status}}
		case Refuse:
			return verdict{answer: &Injected{Rule: a.ID, Status: http.StatusUnprocessableEntity}}
		case Blackhole:
			s.hold(w, r)
			return verdict{cut: true}
		case Reset, Down:
			return verdict{cut: true, reset: true}
		case Drop:
			v.drop = v.drop || !health // a service that loses its answers is not known to be ill
		case Crash:
			if !health {
				v.crash = a.Point
			}
		}
	}
	return v
}

// sleep waits for d, or less when the service ends; it is false when the client
// has left.
func (s *Set) sleep(r *http.Request, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.closed:
		return true // the service drains: what waits may still be answered
	case <-r.Context().Done():
		return false
	}
}

// hold keeps the request until its client gives up. The body is read first: a
// server sees that a client has gone only once nothing of the request is left
// unread, and would otherwise hold a POST for ever.
func (s *Set) hold(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, 64<<10))
	select {
	case <-s.closed:
	case <-r.Context().Done():
	}
}

// reset closes the connection so that the other side gets a RST and not an end of
// stream. Where that is not TCP the cut that follows has to do.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // closed below all the same
	}
	conn.Close()
}

// lost is an answer that nobody gets.
type lost struct{ header http.Header }

// kept is an answer that is given later.
type kept struct {
	lost
	status int
	body   bytes.Buffer
}

func (k *kept) WriteHeader(status int)      { k.status = status }
func (k *kept) Write(b []byte) (int, error) { return k.body.Write(b) }

func (l *lost) Header() http.Header         { return l.header }
func (l *lost) Write(b []byte) (int, error) { return len(b), nil }
func (l *lost) WriteHeader(int)             {}
