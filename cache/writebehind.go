package cache

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// unsaved are the values that Set has accepted and Save has not. They are served
// before anything else, so that nobody reads the source behind them. A nil
// *unsaved is that of a cache without write-behind.
type unsaved[K comparable, V any] struct {
	cfg  WriteBehind
	size atomic.Int64
	wake chan struct{} // of capacity 1: there is something to save, or a Flush waits

	mu      sync.Mutex
	values  map[K]unsavedValue[V]
	order   []K // oldest first; each key of values once
	seq     uint64
	flushed uint64        // all up to this are wanted at once
	changed chan struct{} // closed, and replaced, when keys were saved
	failure error         // of the last Save
	closed  bool
}

// unsavedValue is the latest value of a key. oldest is the number of the first Set
// that is not saved yet, latest that of the value.
type unsavedValue[V any] struct {
	value          V
	oldest, latest uint64
}

func newUnsaved[K comparable, V any](w WriteBehind) *unsaved[K, V] {
	return &unsaved[K, V]{
		cfg: w, wake: make(chan struct{}, 1), values: make(map[K]unsavedValue[V]), changed: make(chan struct{}),
	}
}

func (u *unsaved[K, V]) len() int64 {
	if u == nil {
		return 0
	}
	return u.size.Load()
}

func (u *unsaved[K, V]) get(key K) (v V, ok bool) {
	if u.len() == 0 {
		return v, false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	held, ok := u.values[key]
	return held.value, ok
}

func (u *unsaved[K, V]) holds(key K) bool {
	_, ok := u.get(key)
	return ok
}

// accept takes a value, as soon as there is room.
func (u *unsaved[K, V]) accept(ctx context.Context, key K, v V) error {
	if key != key { //nolint:staticcheck // NaN would never be found again
		return fmt.Errorf("cache: key %v is not equal to itself, Save could not be retried", key)
	}
	for {
		u.mu.Lock()
		held, ok := u.values[key]
		if u.closed {
			u.mu.Unlock()
			return ErrClosed
		}
		if ok || len(u.values) < u.cfg.MaxPending {
			u.seq++
			if !ok {
				held.oldest = u.seq
				u.order = append(u.order, key)
			}
			held.value, held.latest = v, u.seq
			u.values[key] = held
			u.size.Store(int64(len(u.values)))
			u.mu.Unlock()
			u.nudge()
			return nil
		}
		changed := u.changed
		u.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("cache: gave up: %w", context.Cause(ctx))
		}
	}
}

func (u *unsaved[K, V]) nudge() {
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

// take returns the next batch.
func (u *unsaved[K, V]) take() map[K]unsavedValue[V] {
	u.mu.Lock()
	defer u.mu.Unlock()
	batch := make(map[K]unsavedValue[V])
	for _, key := range u.order[:min(len(u.order), u.cfg.MaxBatch)] {
		batch[key] = u.values[key]
	}
	return batch
}

// saved removes a batch. What was set again meanwhile goes to the end.
func (u *unsaved[K, V]) saved(batch map[K]unsavedValue[V]) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.order = u.order[len(batch):]
	for key, done := range batch {
		held := u.values[key]
		if held.latest == done.latest {
			delete(u.values, key)
			continue
		}
		held.oldest = done.latest + 1
		u.values[key] = held
		u.order = append(u.order, key)
	}
	u.size.Store(int64(len(u.values)))
	u.failure = nil
	close(u.changed)
	u.changed = make(chan struct{})
}

func (u *unsaved[K, V]) failed(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.failure = err
}

// urgent tells whether a batch is full, or a Flush waits for one.
func (u *unsaved[K, V]) urgent() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.values) >= u.cfg.MaxBatch || u.behind(u.flushed)
}

// behind tells whether something accepted up to seq is unsaved. mu is held.
func (u *unsaved[K, V]) behind(seq uint64) bool {
	for _, held := range u.values {
		if held.oldest <= seq {
			return true
		}
	}
	return false
}

// flush waits until all that was accepted before is saved.
func (u *unsaved[K, V]) flush(ctx context.Context) error {
	if u == nil {
		return nil
	}
	u.mu.Lock()
	target := u.seq
	u.flushed = max(u.flushed, target)
	for u.behind(target) && !u.closed {
		changed := u.changed
		u.mu.Unlock()
		u.nudge()
		select {
		case <-changed:
		case <-ctx.Done():
			u.mu.Lock()
			failure := u.failure
			u.mu.Unlock()
			if failure != nil {
				return fmt.Errorf("cache: gave up: %w (%w)", context.Cause(ctx), failure)
			}
			return fmt.Errorf("cache: gave up: %w", context.Cause(ctx))
		}
		u.mu.Lock()
	}
	closed := u.behind(target)
	u.mu.Unlock()
	if closed {
		return ErrClosed
	}
	return nil
}

// shut accepts no more.
func (u *unsaved[K, V]) shut() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
	close(u.changed)
	u.changed = make(chan struct{})
}

// unsavedValue is the pending value of a key as an answer.
func (c *Cache[K, V]) unsavedValue(key K) (answer[V], bool) {
	if c.unsaved.len() == 0 {
		return answer[V]{}, false
	}
	v, ok := c.unsaved.get(key)
	if !ok {
		return answer[V]{}, false
	}
	return answer[V]{box: &box[V]{value: v, soon: never + c.clock.now()}, layer: LayerLocal}, true
}

const (
	resaveMin = 100 * time.Millisecond
	resaveMax = 10 * time.Second
)

// writer saves batch after batch until Close, and then what is left, once.
func (c *Cache[K, V]) writer() {
	u := c.unsaved
	retry := resaveMin
	for c.idle(u.len() == 0, u.cfg.Delay) {
		err := c.saveBatch(u.take())
		if err == nil {
			retry = resaveMin
			for u.urgent() && err == nil && c.life.Err() == nil {
				err = c.saveBatch(u.take())
			}
		}
		if err != nil {
			sleep(c.life, retry)
			retry = min(2*retry, resaveMax)
		}
	}
	u.shut()
	for u.len() > 0 {
		if err := c.saveBatch(u.take()); err != nil {
			c.unsavedErr = fmt.Errorf("cache: %d values stayed unsaved: %w", u.len(), err)
			return
		}
	}
}

// idle waits until something is to be saved and its delay is over, or it is
// urgent. It reports false at Close.
func (c *Cache[K, V]) idle(empty bool, delay time.Duration) bool {
	u := c.unsaved
	for empty && u.len() == 0 {
		select {
		case <-u.wake:
		case <-c.life.Done():
			return false
		}
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	for !u.urgent() {
		select {
		case <-u.wake:
		case <-timer.C:
			return c.life.Err() == nil
		case <-c.life.Done():
			return false
		}
	}
	return c.life.Err() == nil
}

// saveBatch saves on a goroutine of its own, so that a Save that exits is a
// failure and not the end of the writer.
func (c *Cache[K, V]) saveBatch(batch map[K]unsavedValue[V]) error {
	if len(batch) == 0 {
		return nil
	}
	values := make(map[K]V, len(batch))
	for key, held := range batch {
		values[key] = held.value
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.cfg.Policy.LoadTimeout)
	defer cancel()
	done := make(chan error)
	go func() {
		var err error = errGoexit
		defer func() { done <- err }()
		err = c.cfg.Save(ctx, values)
	}()
	err := <-done
	c.stats.saves.Add(1)
	if err != nil {
		c.stats.saveErrors.Add(1)
		c.unsaved.failed(err)
		c.tell(Event{Kind: EventSaveFailed, Err: err, Count: len(batch)})
		c.announceAside()
		return err
	}
	c.unsaved.saved(batch)
	return nil
}
