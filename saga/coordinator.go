package saga

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Limits of what a saga may be.
const (
	maxDelta   = 1 << 20 // bytes that a step may change
	maxRecords = 10_000
	maxClaims  = 10
	maxUnread  = 1000
)

// Config is read once, by [New].
type Config struct {
	// Name is a label in Summary.Owner; a random part is always added, so that two
	// processes with one name share nothing. Empty means the host name.
	Name string

	// Lease: other processes take over this long after the last sign of life. At
	// least 3 Poll. Zero means 10 seconds.
	Lease time.Duration

	// Poll is the pause between looks for due work; each look renews the lease.
	// Zero means 1 second.
	Poll time.Duration

	// MaxRunning is how many sagas are loaded at once; waiting ones do not count.
	// Zero means 1000.
	MaxRunning int

	// Grace is how long a cancelled call may go on, also while draining. Zero means
	// 30 seconds.
	Grace time.Duration

	// Keep: ended sagas are forgotten this much later, by the store's Purge. Zero
	// means never.
	Keep time.Duration

	// OnEvent is called after the commit of each record, in order per saga, and
	// with kind "begin" and Seq 0 before each call; on one goroutine of Serve, with
	// no lock held. When 4,096 events wait, more are dropped and counted. A panic in
	// it is logged and otherwise ignored. A child that is cancelled before it began is
	// not told of. Nil means that nobody is told.
	OnEvent func(Record)

	// Logger hears of what nobody else does: a store that fails, a lease that is
	// lost, a saga that is stuck. Nil is silent.
	Logger *slog.Logger
}

func (c Config) resolved() (Config, error) {
	var bad []error
	for field, v := range map[string]int64{
		"Lease": int64(c.Lease), "Poll": int64(c.Poll), "MaxRunning": int64(c.MaxRunning), "Grace": int64(c.Grace), "Keep": int64(c.Keep),
	} {
		if v < 0 {
			bad = append(bad, fmt.Errorf("saga: Config.%s is %d: want zero, which means the default, or more", field, v))
		}
	}
	c.Poll = cmp.Or(c.Poll, time.Second)
	c.Lease = cmp.Or(c.Lease, max(10*time.Second, 3*c.Poll))
	if c.Lease < 3*c.Poll {
		bad = append(bad, fmt.Errorf("saga: Config.Lease is %v: want at least 3 Poll, %v, so that one lost look does not cost it", c.Lease, 3*c.Poll))
	}
	c.MaxRunning = cmp.Or(c.MaxRunning, 1000)
	c.Grace = cmp.Or(c.Grace, 30*time.Second)
	if c.Name == "" {
		c.Name, _ = os.Hostname()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, errors.Join(bad...)
}

// Coordinator starts, runs and answers for sagas on one store. All its methods but
// Serve also work in a process that does not serve. It is safe for concurrent use.
type Coordinator struct {
	cfg    Config
	store  Store
	guard  *guard // for calls of the store from goroutines of its own
	writes committer
	totals totals

	mu       sync.Mutex
	programs map[string]map[int]*program // by name and version
	server   *server                     // while Serve runs
	waiters  map[string][]chan *ending   // of sagas that somebody waits for
	strays   map[string][]*flight        // calls still running here whose saga went on without them
	outlived map[string]uint64           // the last claim of sagas that were lost and did not end this process
	looked   time.Time                   // when a waiter last looked for all
}

// New returns a coordinator on the store and starts nothing. The error names the
// field that contradicts another.
func New(store Store, cfg Config) (*Coordinator, error) {
	cfg, err := cfg.resolved()
	if store == nil {
		err = errors.Join(err, errors.New("saga: the store is nil"))
	}
	if err != nil {
		return nil, err
	}
	g := &guard{store: store, log: cfg.Logger}
	return &Coordinator{
		cfg: cfg, store: store, guard: g, writes: committer{guard: g},
		programs: map[string]map[int]*program{}, waiters: map[string][]chan *ending{},
		strays: map[string][]*flight{}, outlived: map[string]uint64{},
	}, nil
}

// newOwner is a name that no other incarnation has.
func (c *Coordinator) newOwner() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: the program ends instead
	return clip(c.cfg.Name, 64) + "-" + hex.EncodeToString(b[:])
}

// program is a definition without its type.
type program struct {
	g       *graph
	layout  *layout     // of S; nil: encoding/json does it all
	isChild atomic.Bool // some Sub starts it: its parent is told when it ends
	decode  func(data []byte) (any, error)
	do      func(step int, ctx context.Context, v any) error
	undo    func(step int, ctx context.Context, v any) error
}

// register adds p, which no other may contradict.
func (c *Coordinator) register(p *program) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	versions := c.programs[p.g.name]
	if versions[p.g.version] != nil {
		return fmt.Errorf("saga: %s version %d is registered already", p.g.name, p.g.version)
	}
	if versions == nil {
		versions = map[int]*program{}
		c.programs[p.g.name] = versions
	}
	versions[p.g.version] = p
	return nil
}

// programFor returns what may continue a saga: its own version if the structure is
// the same, else one that says it resumes from it.
func (c *Coordinator) programFor(s Summary) (*program, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	versions := c.programs[s.Name]
	if p := versions[s.Version]; p != nil {
		if p.g.shape == s.Shape {
			return p, nil
		}
		return nil, fmt.Errorf("%w: %s: version %d of %s has the shape %s here, the saga has %s: raise Version when steps change",
			ErrConflict, s.ID, s.Version, s.Name, p.g.shape, s.Shape)
	}
	var newest *program
	for v, p := range versions {
		if slices.Contains(p.g.resumes, s.Version) && (newest == nil || v > newest.g.version) {
			newest = p
		}
	}
	if newest == nil {
		return nil, fmt.Errorf("%w: %s: version %d of %q is not registered here", ErrConflict, s.ID, s.Version, s.Name)
	}
	return newest, nil
}

// can lists what may be claimed, for [Lease.Can].
func (c *Coordinator) can() (names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, versions := range c.programs {
		for v, p := range versions {
			names = append(names, canName(name, v)+"/"+p.g.shape)
			for _, old := range p.g.resumes {
				if versions[old] == nil {
					names = append(names, canName(name, old))
				}
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (c *Coordinator) serving() *server {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.server
}

// parentOf is the saga that started this one as a [Sub].
func parentOf(id string) (parent string, ok bool) {
	i := strings.LastIndexByte(id, '/')
	if i < 0 {
		return "", false
	}
	return id[:i], true
}
