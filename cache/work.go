package cache

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// work is what flights that run together share.
type work struct {
	ctx    context.Context //nolint:containedctx // it is the context of a goroutine
	cancel context.CancelFunc
	flying atomic.Int64 // flights that have not left
}

// works are all that run, for Close.
type works struct {
	wg     sync.WaitGroup
	mu     sync.Mutex
	all    map[*work]struct{}
	closed bool
}

// begin prepares w, which must get flights, and counts the goroutine that the
// caller starts: that calls wg.Done. It reports false after Close.
func (ws *works) begin(ctx context.Context, w *work, timeout time.Duration) bool {
	w.ctx, w.cancel = context.WithTimeout(context.WithoutCancel(ctx), timeout)
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.closed {
		w.cancel()
		return false
	}
	ws.all[w] = struct{}{}
	ws.wg.Add(1)
	return true
}

// leave notes that a flight needs w no longer.
func (ws *works) leave(w *work) {
	if w.flying.Add(-1) > 0 {
		return
	}
	w.cancel()
	ws.mu.Lock()
	delete(ws.all, w)
	ws.mu.Unlock()
}

// spawn starts a goroutine that Close waits for. It reports false after Close.
func (ws *works) spawn(f func()) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.closed {
		return false
	}
	ws.wg.Add(1)
	go func() {
		defer ws.wg.Done()
		f()
	}()
	return true
}
