package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// directory is a node's way to the registry: it says where the node is, and learns
// where those are that the node calls. While the registry is gone the last list that
// it gave stays good, and before it has given any that of the configuration: a service
// that cannot look others up calls them where they were.
//
// It takes no part in the chain of clients, as telemetry does not: what finds callees
// must not wait for one.
type directory struct {
	url     string // of the registry
	service string // what the node is an instance of
	name    string
	addr    string // host:port of the node
	every   time.Duration
	limit   time.Duration // of a health check
	client  *http.Client
	clients map[string]*Client
	hurry   chan struct{} // holds a token when the registry may have been started anew
	work    func() uint64 // grows while the node is at work
	resting atomic.Bool   // the next registration is far away
}

// run registers and follows until ctx ends, then signs off.
func (d *directory) run(ctx context.Context) {
	var wg sync.WaitGroup
	for callee, c := range d.clients {
		wg.Go(func() { d.follow(ctx, callee, c) })
	}
	d.register(ctx)
	wg.Wait()
	d.client.CloseIdleConnections()
}

// register says again and again that the node is there: a registry that was started
// anew knows nobody. Whoever waits for the registry's news sees his connection break
// when that happens, or its index fall, and has it said at once; so the repeats of a
// node at rest may be rare, every other beat.
func (d *directory) register(ctx context.Context) {
	host, port, err := net.SplitHostPort(d.addr)
	if err != nil {
		return
	}
	n, _ := strconv.Atoi(port)
	body, err := json.Marshal(map[string]any{
		"ID": d.name, "Name": d.service, "Address": host, "Port": n,
		"Check": map[string]string{"HTTP": "http://" + d.addr + "/health", "Interval": d.every.String(), "Timeout": d.limit.String()},
	})
	if err != nil {
		return
	}
	for before := uint64(0); ctx.Err() == nil; {
		wait, done := max(d.every, Rest+Beat()), d.work()
		if _, _, err := d.call(ctx, pollWait, http.MethodPut, "/v1/agent/service/register", body); err != nil || done != before {
			wait, before = d.every, done
		}
		d.resting.Store(wait > d.every)
		if d.work() != done { // meanwhile
			d.wake()
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-d.hurry:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// wake ends a rest: the registry is to ask a node at work more often. On a nil d, which
// is a node without a registry, it does nothing.
func (d *directory) wake() {
	if d != nil && d.resting.Load() && d.resting.CompareAndSwap(true, false) {
		d.anew()
	}
}

// leave signs the node off, so that nobody is sent to it any more; before it stops
// taking requests.
func (d *directory) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	_, _, _ = d.call(ctx, pollWait, http.MethodPut, "/v1/agent/service/deregister/"+url.PathEscape(d.name), nil)
}

// pollWait is how long a poll of a node at work waits for news, and a second less than
// how long any request may take: a registry that hangs is asked anew.
const pollWait = 5 * time.Second

// follow keeps the instances of a callee up to date, by long polls.
func (d *directory) follow(ctx context.Context, callee string, c *Client) {
	index, before := "0", uint64(0)
	for ctx.Err() == nil {
		wait := pollWait
		if done := d.work(); done == before { // at rest
			wait = 2 * Rest
		} else {
			before = done
		}
		path := fmt.Sprintf("/v1/health/service/%s?passing=1&index=%s&wait=%s", url.PathEscape(callee), index, wait)
		answer, next, err := d.call(ctx, wait, http.MethodGet, path, nil)
		var found []struct {
			Service struct {
				ID, Address string
				Port        int
			}
		}
		if err != nil || json.Unmarshal(answer, &found) != nil {
			index = "0"
			d.anew()
			sleep(ctx, d.every)
			continue
		}
		if fallen(index, next) { // nothing need have been refused: net/http sends a GET again by itself
			d.anew()
		}
		index = next
		// Nobody is no list: when all fail their checks, it is more likely that they are
		// all slow than that they are all gone, and their breakers know better.
		if len(found) > 0 {
			list := make([]Instance, len(found))
			for i, f := range found {
				list[i] = Instance{Name: f.Service.ID, URL: "http://" + net.JoinHostPort(f.Service.Address, strconv.Itoa(f.Service.Port))}
			}
			c.balancer.set(list)
		}
	}
}

// anew has the node registered now, as the registry may have been started anew.
func (d *directory) anew() {
	select {
	case d.hurry <- struct{}{}:
	default:
	}
}

// fallen reports whether a registry counts from the beginning again.
func fallen(index, next string) bool {
	before, err1 := strconv.ParseUint(index, 10, 64)
	now, err2 := strconv.ParseUint(next, 10, 64)
	return err1 == nil && err2 == nil && now < before
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// call makes one request, which may take a second more than wait, and returns the body and the registry's index.
func (d *directory) call(ctx context.Context, wait time.Duration, method, path string, body []byte) (answer []byte, index string, err error) {
	ctx, cancel := context.WithTimeout(ctx, wait+time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, d.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, "", err
	}
	req.Header.Set(HeaderPoll, "1")
	resp, err := d.client.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return answer, resp.Header.Get("X-Consul-Index"), err
}
