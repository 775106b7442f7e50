package cachetest

import (
	"context"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/internal/assert"
)

// verdict stands in for the test of a case, to see whether it fails.
type verdict struct {
	testing.TB
	failed atomic.Bool
}

func (v *verdict) Errorf(string, ...any) { v.failed.Store(true) }

func (v *verdict) Fatalf(string, ...any) {
	v.failed.Store(true)
	runtime.Goexit()
}

// fails runs a case as a test would and tells whether it failed.
func fails(t *testing.T, test func(testing.TB)) bool {
	v := &verdict{TB: t}
	var group sync.WaitGroup
	group.Go(func() { test(v) })
	group.Wait()
	return v.failed.Load()
}

// bad is a node with a mistake in one or two places.
type bad struct {
	*Node
	query  func(q *cache.Query)
	record func(q cache.Query, r *cache.Record)
	lease  func(time.Duration) time.Duration
	fill   func(f *cache.Fill)
	stored func([]bool)
	send   func(m *cache.Message)
	done   func(m *cache.Message)
	stamps func(g *cache.Generations)
	all    func([]cache.Record)
	ctx    func(context.Context) context.Context
}

func (b bad) Get(ctx context.Context, queries []cache.Query, lease time.Duration) ([]cache.Record, error) {
	if b.ctx != nil {
		ctx = b.ctx(ctx)
	}
	if b.lease != nil {
		lease = b.lease(lease)
	}
	asked := slices.Clone(queries)
	for i := range asked {
		if b.query != nil {
			b.query(&asked[i])
		}
	}
	records, err := b.Node.Get(ctx, asked, lease)
	for i := range records {
		if b.record != nil {
			b.record(queries[i], &records[i])
		}
	}
	if b.all != nil {
		b.all(records)
	}
	return records, err
}

func (b bad) Put(ctx context.Context, fills []cache.Fill) ([]bool, error) {
	fills = slices.Clone(fills)
	for i := range fills {
		if b.fill != nil {
			b.fill(&fills[i])
		}
	}
	stored, err := b.Node.Put(ctx, fills)
	if b.stored != nil {
		b.stored(stored)
	}
	return stored, err
}

func (b bad) Invalidate(ctx context.Context, m cache.Message) (cache.Message, error) {
	sent := m
	if b.send != nil {
		b.send(&sent)
	}
	done, err := b.Node.Invalidate(ctx, sent)
	if b.done != nil {
		b.done(&done)
	}
	return done, err
}

func (b bad) Generations(ctx context.Context, tags []string) (cache.Generations, error) {
	g, err := b.Node.Generations(ctx, tags)
	if b.stamps != nil {
		b.stamps(&g)
	}
	return g, err
}

var badRemotes = map[string]bad{
	"grants no lease":          {lease: func(time.Duration) time.Duration { return 0 }},
	"grants leases unasked":    {lease: func(d time.Duration) time.Duration { return max(d, time.Second) }},
	"grants a lease to all":    {record: func(_ cache.Query, r *cache.Record) { r.Token, r.Held = max(r.Token, 1), false }},
	"leases fresh records":     {query: func(q *cache.Query) { q.Refresh = true }},
	"ignores Refresh":          {query: func(q *cache.Query) { q.Refresh = false }},
	"leases any version":       {query: func(q *cache.Query) { q.Version = 0 }},
	"short leases":             {lease: func(d time.Duration) time.Duration { return d / 2 }},
	"endless leases":           {lease: func(d time.Duration) time.Duration { return d * 1000 }},
	"sends data always":        {record: func(q cache.Query, r *cache.Record) { r.Data = append([]byte{}, r.Data...) }},
	"empty data are none":      {record: func(q cache.Query, r *cache.Record) { r.Data = append([]byte(nil), r.Data...) }},
	"hides Expired":            {record: func(_ cache.Query, r *cache.Record) { r.Expired = false }},
	"hides Held":               {record: func(_ cache.Query, r *cache.Record) { r.Held = false }},
	"hides TTL":                {record: func(_ cache.Query, r *cache.Record) { r.TTL = 0 }},
	"TTL in seconds":           {record: func(_ cache.Query, r *cache.Record) { r.TTL = r.TTL.Truncate(time.Second) }},
	"reverses":                 {all: func(r []cache.Record) { slices.Reverse(r) }},
	"stores without the lease": {fill: func(f *cache.Fill) { f.Token *= uint64(flag(f.Data == nil)) }},
	"stores no end":            {fill: func(f *cache.Fill) { f.TTL = noEnd(*f) }},
	"lives half as long":       {fill: func(f *cache.Fill) { f.TTL /= 2 }},
	"ignores Fresh":            {fill: func(f *cache.Fill) { f.Fresh = 0 }},
	"always stale":             {fill: func(f *cache.Fill) { f.Fresh = 1 }},
	"says stored":              {stored: func(s []bool) { fillWith(s, true) }},
	"says refused":             {stored: func(s []bool) { fillWith(s, false) }},
	"reverses outcomes":        {stored: slices.Reverse[[]bool]},
	"takes version 0":          {fill: func(f *cache.Fill) { f.Version = max(f.Version, 1) }},
	"cannot extend":            {fill: func(f *cache.Fill) { f.TTL = min(f.TTL, time.Duration(len(f.Data))*time.Hour) }},
	"soft is hard":             {send: func(m *cache.Message) { m.Soft = false }},
	"hard is soft":             {send: func(m *cache.Message) { m.Soft = true }},
	"forgets a key":            {send: func(m *cache.Message) { m.Keys = m.Keys[:min(1, len(m.Keys))] }},
	"forgets a tag":            {send: func(m *cache.Message) { m.Tags = m.Tags[:min(1, len(m.Tags))] }},
	"forgets Clear":            {send: func(m *cache.Message) { m.Clear = false }},
	"clears always":            {send: func(m *cache.Message) { m.Clear = true }},
	"forgets the generation":   {done: func(m *cache.Message) { m.Generation = 0 }},
	"forgets the origin":       {done: func(m *cache.Message) { m.Origin = 0 }},
	"a Seq of its own":         {done: func(m *cache.Message) { m.Seq += 5 }},
	"reverses stamps":          {stamps: func(g *cache.Generations) { slices.Reverse(g.Tags) }},
	"counter stands":           {stamps: func(g *cache.Generations) { g.Now = 1 }},
	"ignores ctx":              {ctx: context.WithoutCancel},
}

func noEnd(f cache.Fill) time.Duration {
	if f.Data != nil {
		return 0
	}
	return f.TTL
}

func flag(set bool) int {
	if set {
		return 1
	}
	return 0
}

func fillWith(s []bool, v bool) {
	for i := range s {
		s[i] = v
	}
}

// impatient lets cases give up soon, as many of them have to.
func impatient(t *testing.T) {
	before := patience
	patience = 3 * time.Second
	t.Cleanup(func() { patience = before })
}

// checkCaught runs all cases on each broken implementation, all at once.
func checkCaught(t *testing.T, names []string, cases int, run func(name string, i int, tb testing.TB)) {
	impatient(t)
	caught := make([]atomic.Int64, len(names))
	var group sync.WaitGroup
	for n, name := range names {
		for i := range cases {
			group.Go(func() {
				if fails(t, func(tb testing.TB) { run(name, i, tb) }) {
					caught[n].Add(1)
				}
			})
		}
	}
	group.Wait()
	for n, name := range names {
		assert.True(t, caught[n].Load() > 0, "%s: no case has noticed", name)
	}
}

func TestEveryBrokenRemoteFails(t *testing.T) {
	checkCaught(t, slices.Sorted(maps.Keys(badRemotes)), len(remoteCases), func(name string, i int, tb testing.TB) {
		broken := badRemotes[name]
		broken.Node = NewCluster(1).Node()
		remoteCases[i].test(remote{TB: tb, Remote: broken})
	})
}

// badBus changes what is delivered.
type badBus struct {
	*Node
	publish   func(m cache.Message) []cache.Message
	subscribe func(n *Node, ctx context.Context, after uint64, deliver func(cache.Message)) error
}

func (b badBus) Publish(ctx context.Context, m cache.Message) error {
	if b.publish == nil {
		return b.Node.Publish(ctx, m)
	}
	for _, m := range b.publish(m) {
		if err := b.Node.Publish(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

func (b badBus) Subscribe(ctx context.Context, after uint64, deliver func(cache.Message)) error {
	if b.subscribe == nil {
		return b.Node.Subscribe(ctx, after, deliver)
	}
	return b.subscribe(b.Node, ctx, after, deliver)
}

// delivering is a Subscribe that changes deliveries.
func delivering(change func(i int, m cache.Message, deliver func(cache.Message))) func(*Node, context.Context, uint64, func(cache.Message)) error {
	return func(n *Node, ctx context.Context, after uint64, deliver func(cache.Message)) error {
		i := 0
		return n.Subscribe(ctx, after, func(m cache.Message) {
			change(i, m, deliver)
			i++
		})
	}
}

var badBuses = map[string]badBus{
	"tells no position at first": {subscribe: delivering(func(i int, m cache.Message, deliver func(cache.Message)) {
		if i > 0 {
			deliver(m)
		}
	})},
	"tells no position later": {subscribe: delivering(func(i int, m cache.Message, deliver func(cache.Message)) {
		if i == 0 || !bare(m) {
			deliver(m)
		}
	})},
	"tells a wrong position": {subscribe: delivering(func(i int, m cache.Message, deliver func(cache.Message)) {
		if i > 0 && bare(m) {
			m.Seq++
		}
		deliver(m)
	})},
	"loses a message": {subscribe: delivering(func(i int, m cache.Message, deliver func(cache.Message)) {
		if i%5 != 4 {
			deliver(m)
		}
	})},
	"doubles a message": {subscribe: delivering(func(i int, m cache.Message, deliver func(cache.Message)) {
		deliver(m)
		if i > 0 && !bare(m) {
			deliver(m)
		}
	})},
	"delivers at once": {subscribe: delivering(func(i int, m cache.Message, deliver func(cache.Message)) {
		if i == 0 {
			deliver(m)
			return
		}
		go deliver(m)
	})},
	"swaps messages": {subscribe: func(n *Node, ctx context.Context, after uint64, deliver func(cache.Message)) error {
		var held *cache.Message
		return n.Subscribe(ctx, after, func(m cache.Message) {
			switch {
			case bare(m):
				deliver(m)
			case held == nil:
				held = &m
			default:
				deliver(m)
				deliver(*held)
				held = nil
			}
		})
	}},
	"delivers after the end": {subscribe: func(n *Node, ctx context.Context, after uint64, deliver func(cache.Message)) error {
		ended := make(chan error, 1)
		go func() { ended <- n.Subscribe(context.WithoutCancel(ctx), after, deliver) }()
		select {
		case err := <-ended:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}},
	"does not end": {subscribe: func(n *Node, ctx context.Context, after uint64, deliver func(cache.Message)) error {
		return n.Subscribe(context.WithoutCancel(ctx), after, deliver)
	}},
	"ends with another error": {subscribe: func(n *Node, ctx context.Context, after uint64, deliver func(cache.Message)) error {
		_ = n.Subscribe(ctx, after, deliver)
		return errFailed
	}},
	"starts at the head always": {subscribe: func(n *Node, ctx context.Context, _ uint64, deliver func(cache.Message)) error {
		return n.Subscribe(ctx, 0, deliver)
	}, publish: func(m cache.Message) []cache.Message { return []cache.Message{m, m} }},
	"claims to resume": {subscribe: func(n *Node, ctx context.Context, after uint64, deliver func(cache.Message)) error {
		first := true
		return n.Subscribe(ctx, 0, func(m cache.Message) {
			if first && after != 0 {
				m.Seq = after
			}
			first = false
			deliver(m)
		})
	}},
	"replays all": {subscribe: func(n *Node, ctx context.Context, after uint64, deliver func(cache.Message)) error {
		if after == 0 {
			after = wipeJump + 1
		}
		return n.Subscribe(ctx, after, deliver)
	}},
	"forgets Soft":       {publish: func(m cache.Message) []cache.Message { m.Soft = false; return []cache.Message{m} }},
	"forgets Clear":      {publish: func(m cache.Message) []cache.Message { m.Clear = false; return []cache.Message{m} }},
	"forgets Origin":     {publish: func(m cache.Message) []cache.Message { m.Origin = 0; return []cache.Message{m} }},
	"forgets Generation": {publish: func(m cache.Message) []cache.Message { m.Generation = 0; return []cache.Message{m} }},
	"forgets some keys": {publish: func(m cache.Message) []cache.Message {
		m.Keys = m.Keys[:min(len(m.Keys), 999)]
		return []cache.Message{m}
	}},
	"forgets tags":      {publish: func(m cache.Message) []cache.Message { m.Tags = nil; return []cache.Message{m} }},
	"publishes twice":   {publish: func(m cache.Message) []cache.Message { return []cache.Message{m, m} }},
	"publishes nothing": {publish: func(cache.Message) []cache.Message { return nil }},
}

func TestEveryBrokenBusFails(t *testing.T) {
	checkCaught(t, slices.Sorted(maps.Keys(badBuses)), len(busCases), func(name string, i int, tb testing.TB) {
		broken := badBuses[name]
		broken.Node = NewCluster(1).Node()
		busCases[i].test(tb, broken)
	})
}
