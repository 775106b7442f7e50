// Package registry says where services are to be found: a part of Consul's HTTP API,
// small enough to be read, with Consul's names. Services register themselves, again and
// again, so a registry that has lost everything fills itself; it asks each for its
// health, and gives out those that pass.
package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// Registration is what a service says of itself. Field names are matched in any case,
// as Consul does.
type Registration struct {
	ID      string `json:"ID"`
	Name    string `json:"Name"`
	Address string `json:"Address"`
	Port    int    `json:"Port"`
	Check   Check  `json:"Check"`
}

// Check is how to ask a service for its health.
type Check struct {
	HTTP     string `json:"HTTP"` // URL, or path at the address
	Interval string `json:"Interval"`
	Timeout  string `json:"Timeout"`
}

// entry is one instance.
type entry struct {
	Registration
	status string    // "passing" or "critical"
	seen   time.Time // the last registration
	asked  time.Time
	next   time.Time     // when to ask again
	pause  time.Duration // between two questions: every, and longer while all is well
	every  time.Duration
	limit  time.Duration
	asking bool
}

// Service is the registry.
type Service struct {
	client   *http.Client
	stopping <-chan struct{} // closed when nobody must be kept waiting any more

	mu      sync.Mutex
	entries map[string]*entry
	index   uint64        // grows with each change that a reader could see
	changed chan struct{} // closed at the next change
	joined  chan struct{} // holds a token when somebody may be due sooner than anybody was
}

// What a registration may ask for, how rarely an instance is asked that is well, unless
// it wants that itself, and for how many of its intervals one is kept that fails and is
// not renewed: five beats at least, as one at rest renews itself every other beat.
const (
	minInterval = 100 * time.Millisecond
	restingTime = wire.Rest
	forget      = 10 // intervals
)

// New returns the registry's routes. It calls nobody but those that have registered.
func New(n *wire.Node) (*http.ServeMux, error) {
	s := &Service{
		entries: map[string]*entry{}, changed: make(chan struct{}), index: 1, joined: make(chan struct{}, 1),
		stopping: n.Stopping(),
	}
	s.client = &http.Client{Transport: &http.Transport{DialContext: s.watchful(n.Network().DialContext), IdleConnTimeout: 5 * time.Second}}
	n.Go("health checks", s.check)
	mux := http.NewServeMux()
	mux.Handle("PUT /v1/agent/service/register", wire.Handler(s.register))
	mux.Handle("PUT /v1/agent/service/deregister/{id}", wire.Handler(s.deregister))
	mux.Handle("GET /v1/health/service/{name}", wire.Handler(s.health))
	mux.Handle("GET /v1/catalog/service/{name}", wire.Handler(s.catalog))
	return mux, nil
}

func (s *Service) register(w http.ResponseWriter, r *http.Request) error {
	body, err := wire.ReadBody(w, r)
	if err != nil {
		return err
	}
	var in Registration
	if err := json.Unmarshal(body, &in); err != nil {
		return wire.NewProblem(http.StatusBadRequest, "malformed", err.Error())
	}
	e, err := in.entry()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.entries[e.ID]; old != nil && old.Registration == e.Registration {
		if e.seen.Sub(old.seen) < 3*old.every/2 {
			s.soon(old)
		}
		old.seen = e.seen
	} else {
		s.entries[e.ID] = e
		s.bump()
		s.hurry()
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// entry checks a registration. A new one passes: who can register is there, and an
// instance that nobody may call for an interval is a gap in every restart.
func (in Registration) entry() (*entry, error) {
	in.ID = strings.TrimSpace(in.ID)
	if in.ID == "" {
		in.ID = in.Name
	}
	ip := net.ParseIP(in.Address)
	switch {
	case in.Name == "":
		return nil, wire.Invalid("Name is missing", "Name")
	case ip == nil || !ip.IsLoopback():
		return nil, wire.Invalid("Address must be a loopback IP", "Address")
	case in.Port < 1 || in.Port > 65535:
		return nil, wire.Invalid("Port must be from 1 to 65535", "Port")
	}
	e := &entry{Registration: in, status: "passing", seen: time.Now(), every: 10 * time.Second, limit: time.Second}
	for text, to := range map[string]*time.Duration{in.Check.Interval: &e.every, in.Check.Timeout: &e.limit} {
		if text == "" {
			continue
		}
		d, err := time.ParseDuration(text)
		if err != nil || d < minInterval {
			return nil, wire.Invalid(fmt.Sprintf("Check: %q is no duration of at least %v", text, minInterval), "Check")
		}
		*to = d
	}
	e.pause, e.next = e.every, e.seen.Add(e.every)
	return e, nil
}

// host is host:port of the instance.
func (in Registration) host() string { return net.JoinHostPort(in.Address, strconv.Itoa(in.Port)) }

func (s *Service) deregister(w http.ResponseWriter, r *http.Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.entries[r.PathValue("id")]; ok {
		delete(s.entries, r.PathValue("id"))
		s.bump()
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// bump tells those who wait. The caller holds mu.
func (s *Service) bump() {
	s.index++
	close(s.changed)
	s.changed = make(chan struct{})
}

// Found is one instance in an answer of /v1/health.
type Found struct {
	Service FoundService
	Checks  []FoundCheck
}

// FoundService is where it is.
type FoundService struct {
	ID, Service, Address string
	Port                 int
}

// FoundCheck is how it is.
type FoundCheck struct{ Status string }

// health answers with the instances of a service, with ?passing=1 those that pass.
// With ?index= it waits until something has changed since that answer, at most ?wait=:
// so a client hears of a change when it happens, and asks rarely.
func (s *Service) health(w http.ResponseWriter, r *http.Request) error {
	wait, err := wire.Duration(r, "wait")
	if err != nil {
		return err
	}
	known, err := wire.Number(r, "index", 0)
	if err != nil {
		return err
	}
	if wait == 0 {
		wait = time.Second
	}
	timer := time.NewTimer(min(wait, maxWait))
	defer timer.Stop()
	for {
		found, index, changed := s.find(r.PathValue("name"), r.URL.Query().Has("passing"))
		if known == 0 || index != uint64(known) {
			return s.answer(w, found, index)
		}
		select {
		case <-changed:
		case <-timer.C:
			return s.answer(w, found, index)
		case <-s.stopping:
			return s.answer(w, found, index)
		case <-r.Context().Done():
			return s.answer(w, found, index)
		}
	}
}

// maxWait is less than a request that polls may take.
const maxWait = 8 * time.Second

func (s *Service) answer(w http.ResponseWriter, v any, index uint64) error {
	w.Header().Set("X-Consul-Index", strconv.FormatUint(index, 10))
	return wire.WriteJSON(w, http.StatusOK, v)
}

func (s *Service) find(name string, passing bool) (found []Found, index uint64, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found = []Found{}
	for _, e := range s.entries {
		if e.Name == name && (!passing || e.status == "passing") {
			found = append(found, Found{FoundService{e.ID, e.Name, e.Address, e.Port}, []FoundCheck{{e.status}}})
		}
	}
	slices.SortFunc(found, func(a, b Found) int { return strings.Compare(a.Service.ID, b.Service.ID) })
	return found, s.index, s.changed
}

func (s *Service) catalog(w http.ResponseWriter, r *http.Request) error {
	found, index, _ := s.find(r.PathValue("name"), false)
	type row struct {
		ServiceID, ServiceName, ServiceAddress string
		ServicePort                            int
	}
	rows := make([]row, 0, len(found))
	for _, f := range found {
		rows = append(rows, row{f.Service.ID, f.Service.Service, f.Service.Address, f.Service.Port})
	}
	return s.answer(w, rows, index)
}

// check asks whoever is due, each on its own: one that hangs holds up nobody.
func (s *Service) check(ctx context.Context) error {
	var wg sync.WaitGroup
	defer s.client.CloseIdleConnections()
	defer wg.Wait()
	for ctx.Err() == nil {
		due, wait := s.due(time.Now())
		for _, e := range due {
			wg.Go(func() { s.judge(e, s.ask(ctx, e)) })
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-s.joined:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	return ctx.Err()
}

// due are the entries to ask now, and how long nobody else will be; those that nobody
// has renewed for long are dropped. Whoever is due within the shortest interval is asked
// with the others: to wake once for all is cheaper.
func (s *Service) due(now time.Time) (due []*entry, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wait = time.Second
	for id, e := range s.entries {
		switch {
		case now.Sub(e.seen) > max(forget*e.every, 5*restingTime) && e.status != "passing":
			delete(s.entries, id)
			s.bump()
		case !e.asking && e.next.Sub(now) < minInterval/2:
			e.asking, e.asked, e.next = true, now, now.Add(e.pause)
			if e.pause == restingTime {
				e.next = now.Add(wire.Beat())
			}
			due = append(due, e)
		}
		wait = min(wait, max(e.next.Sub(now), minInterval/2))
	}
	return due, wait
}

func (s *Service) ask(ctx context.Context, e *entry) error {
	ctx, cancel := context.WithTimeout(ctx, e.limit)
	defer cancel()
	url := e.Check.HTTP
	if url == "" || strings.HasPrefix(url, "/") {
		url = "http://" + e.host() + url
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10) // the connection is used again only once it has been read
	if resp.StatusCode/100 != 2 {
		return errors.New(resp.Status)
	}
	return nil
}

func (s *Service) judge(e *entry, err error) {
	status := "passing"
	if err != nil {
		status = "critical"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e.asking = false
	e.pause = min(2*e.pause, max(e.every, restingTime))
	if err != nil {
		e.pause = e.every
		e.next = e.asked.Add(e.every)
		s.hurry()
	}
	if e.status != status && s.entries[e.ID] == e {
		e.status = status
		s.bump()
	}
}
