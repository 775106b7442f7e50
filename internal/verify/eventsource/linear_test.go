package eventsource_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/eventsource"
)

// call is one operation: an append of one event to stream with a tag, under
// one condition, or a read of the stream if read is set.
type call struct {
	read        bool
	stream, tag string
	cond        *cond
}

// answer is what came of it.
type answer struct {
	conflict bool
	result   eventsource.Result   // of an append
	version  uint64               // of a read; of a conflict
	position eventsource.Position // of a conflict
}

type entry struct {
	stream, tag string
	position    eventsource.Position
}

// linear is the sequential specification: the log so far.
var linear = porcupine.Model{
	Init:  func() any { return []entry(nil) },
	Equal: func(a, b any) bool { return slices.Equal(a.([]entry), b.([]entry)) },
	Step: func(state, input, output any) (bool, any) {
		log, in, out := state.([]entry), input.(call), output.(answer)
		version, last := uint64(0), eventsource.Position(0)
		for _, e := range log {
			if e.stream == in.stream {
				version, last = version+1, e.position
			}
		}
		if in.read {
			return out.version == version, state
		}
		if holds, version, position := stands(log, in.cond); !holds || out.conflict {
			return !holds && out.conflict && out.version == version && out.position == position, state
		}
		ok := out.result.Version == version+1 && out.result.First > last && out.result.First == out.result.Last
		return ok, append(slices.Clone(log), entry{in.stream, in.tag, out.result.First})
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
}

func stands(log []entry, c *cond) (holds bool, version uint64, newest eventsource.Position) {
	if c == nil {
		return true, 0, 0
	}
	if stream, want, ok := c.Version(); ok {
		for _, e := range log {
			if e.stream == stream {
				version++
			}
		}
		return version == want, version, 0
	}
	q, after, _ := c.NoneSince()
	for _, e := range log {
		if e.position > after && q.Match(event{Stream: e.stream, Type: "t", Tags: []string{e.tag}}) {
			newest = max(newest, e.position)
		}
	}
	return newest == 0, 0, newest
}

// Whatever overlaps, there is one order of all operations that explains each
// answer.
func TestAppendsAreLinearizable(t *testing.T) {
	onEachStore(t, func(t *testing.T, open func(t *testing.T) eventsource.Store) {
		for seed := range uint64(10) {
			s := open(t)
			history := record40(t, s, seed)
			res, _ := porcupine.CheckOperationsVerbose(linear, history, 30*time.Second)
			require.Equal(t, porcupine.Ok, res, "seed %d", seed)
		}
	})
}

// record40 lets four clients do ten operations each.
func record40(t *testing.T, s eventsource.Store, seed uint64) (history []porcupine.Operation) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	start := time.Now()
	for client := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(client)))
			for range 10 {
				in := randomCall(t, r, s)
				from := time.Since(start)
				out, err := in.do(t, s)
				to := time.Since(start)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				history = append(history, porcupine.Operation{ClientId: client, Input: in, Call: int64(from), Output: out, Return: int64(to)})
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return history
}

func randomCall(t *testing.T, r *rand.Rand, s eventsource.Store) call {
	in := call{stream: fmt.Sprint("s", r.IntN(2)), tag: fmt.Sprint("g", r.IntN(2))}
	var c cond
	switch r.IntN(4) {
	case 0:
		in.read = true
		return in
	case 1:
		return in
	case 2:
		now, err := call{read: true, stream: in.stream}.do(t, s)
		if err != nil {
			t.Error(err)
		}
		c = eventsource.AtVersion(in.stream, now.version)
	default:
		h, err := s.Head(t.Context())
		if err != nil {
			t.Error(err)
		}
		c = eventsource.NoneSince(query{{Tags: []string{in.tag}}}, h)
	}
	in.cond = &c
	return in
}

func (in call) do(t *testing.T, s eventsource.Store) (out answer, err error) {
	if in.read {
		for r, err := range s.Read(t.Context(), eventsource.Stream(in.stream), eventsource.ReadOptions{}) {
			if err != nil {
				return out, err
			}
			out.version = r.Version
		}
		return out, nil
	}
	var conds []cond
	if in.cond != nil {
		conds = []cond{*in.cond}
	}
	out.result, err = s.Append(t.Context(), []event{{Stream: in.stream, Type: "t", Tags: []string{in.tag}}}, conds...)
	if c, ok := errors.AsType[*eventsource.ConflictError](err); ok {
		return answer{conflict: true, version: c.Version, position: c.Position}, nil
	}
	return out, err
}

// relied is what a writer knew when it decided.
type relied struct {
	Query eventsource.Query
	Head  eventsource.Position
	Count int // of matches at or below Head
}

// Writers store what they relied on; one pass over the log proves, for each
// append, that it was still so.
func TestLogsCertifyThemselves(t *testing.T) {
	onEachStore(t, func(t *testing.T, open func(t *testing.T) eventsource.Store) {
		s := open(t)
		var wg sync.WaitGroup
		for client := range 6 {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(uint64(client), 1))
				for range 40 {
					if err := decide(t, r, s); err != nil && !errors.Is(err, eventsource.ErrConflict) {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		certify(t, s)
	})
}

func decide(t *testing.T, r *rand.Rand, s eventsource.Store) (err error) {
	q := query{{Tags: []string{fmt.Sprint("g", r.IntN(3))}}}
	switch r.IntN(3) {
	case 0:
		q[0].Types = []string{fmt.Sprint("t", r.IntN(2))}
	case 1:
		q = append(q, eventsource.Item{Streams: []string{fmt.Sprint("s", r.IntN(3))}})
	}
	by := relied{Query: q}
	if by.Head, err = s.Head(t.Context()); err != nil {
		return err
	}
	if by.Head > 0 { // 0 is no bound
		for _, err := range s.Read(t.Context(), q, eventsource.ReadOptions{UpTo: by.Head}) {
			if err != nil {
				return err
			}
			by.Count++
		}
	}
	data, err := json.Marshal(by)
	if err != nil {
		return err
	}
	e := event{Type: fmt.Sprint("t", r.IntN(2)), Tags: []string{fmt.Sprint("g", r.IntN(3))}, Data: data}
	if r.IntN(2) == 0 {
		e.Stream = fmt.Sprint("s", r.IntN(3))
	}
	_, err = s.Append(t.Context(), []event{e}, eventsource.NoneSince(q, by.Head))
	return err
}

func certify(t *testing.T, s eventsource.Store) {
	var log []record
	for r, err := range s.Read(t.Context(), eventsource.All(), eventsource.ReadOptions{}) {
		require.NoError(t, err)
		log = append(log, r)
	}
	require.NotEmpty(t, log)
	for _, r := range log {
		var by relied
		require.NoError(t, json.Unmarshal(r.Data, &by))
		count := 0
		for _, before := range log {
			if before.Position >= r.Position || !by.Query.Match(before.Event) {
				continue
			}
			require.LessOrEqual(t, before.Position, by.Head, "the append at %d relied on %+v", r.Position, by)
			count++
		}
		require.Equal(t, count, by.Count, "the append at %d relied on %+v", r.Position, by)
	}
}
