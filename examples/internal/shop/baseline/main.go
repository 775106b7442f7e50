// Command baseline measures what customers wait for while payments is in trouble: it
// runs the shop with its stores on disk, at 50 requests a second, breaks payments for ten
// seconds, and prints a table in Markdown.
//
//	go run ./examples/internal/shop/baseline
//
// Latencies count from the moment at which a request was due, so that one that had to
// queue does not look fast. An order that does not wait for payment waits for two
// fsyncs, of its saga and of its event; so the disk is measured as well, by a file beside
// the stores that is synced ten times a second. It takes two minutes, and wants a machine
// that does nothing else; with -span 60s it takes ten, and its slowest 1 % are more than
// a handful.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop"
	"github.com/keelson-go/keelson/examples/internal/shop/fault"
	"github.com/keelson-go/keelson/examples/internal/shop/load"
)

// The spans of a run: caches fill, figures of the calm are taken, and then the trouble
// begins, in which the breaker has two seconds to open.
const (
	warm    = 5 * time.Second
	opening = 2 * time.Second
	rps     = 50
)

// runs are what is broken, and how the shop is set.
var runs = []struct {
	name, fault string
	off         []string // switches
}{
	{"2 s late", "latency=2s", nil},
	{"2 s late", "latency=2s", []string{"breakers"}},
	{"black hole", "blackhole", nil},
	{"black hole", "blackhole", []string{"breakers"}},
}

func main() {
	length := flag.Duration("span", 10*time.Second, "of the trouble, and of the calm before it")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	fmt.Printf("%s, %s/%s, %d cores, %d requests/s, %v of trouble\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), rps, *length)
	fmt.Println("| payments | breakers | orders taken | order, slowest 1 %, before | the first 2 s | after that | median then | an fsync then, median and slowest 1 % | browsing, slowest 1 %, before | meanwhile | sagas left, lamps broken |")
	fmt.Println("|--|--|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
	for _, r := range runs {
		if err := measure(ctx, *length, r.name, r.fault, r.off); err != nil {
			fmt.Fprintln(os.Stderr, "baseline:", err)
			os.Exit(1)
		}
	}
}

// measure does one run and prints its row.
func measure(ctx context.Context, length time.Duration, name, word string, off []string) error {
	dir, err := os.MkdirTemp("", "keelson-baseline-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	preset, err := shop.FindPreset("fast")
	if err != nil {
		return err
	}
	rule, err := fault.Parse("payments", []string{word})
	if err != nil {
		return err
	}
	s, err := shop.Start(shop.Config{Preset: preset, Data: dir, Seed: 1, RPS: rps, FreePorts: true})
	if err != nil {
		return err
	}
	defer s.Close()
	breakers := "on"
	for _, name := range off {
		breakers = "off"
		if err := s.SetSwitch(name, "off"); err != nil {
			return err
		}
	}
	start := after(ctx, s, warm)
	broken := after(ctx, s, length)
	if _, err := s.Inject(rule); err != nil {
		return err
	}
	opened := after(ctx, s, opening)
	disk := watchDisk(ctx, dir)
	end := after(ctx, s, length-opening)
	syncs, err := disk()
	if err != nil {
		return err
	}
	if err := s.Clear("all"); err != nil {
		return err
	}
	time.Sleep(3 * time.Second) // the breaker closes, and the sagas that wait go on
	s.Settle(ctx)
	if err := context.Cause(ctx); err != nil {
		return err
	}
	whole := span(broken, end, load.Order)
	fmt.Printf("| %s | %s | %s | %s | %s | %s | %s | %s, %s | %s | %s | %s |\n", name, breakers, taken(whole),
		quantile(span(start, broken, load.Order), 0.99), quantile(span(broken, opened, load.Order), 0.99), quantile(span(opened, end, load.Order), 0.99),
		quantile(span(opened, end, load.Order), 0.5), quantile(syncs, 0.5), quantile(syncs, 0.99), quantile(span(start, broken, load.Browse), 0.99), quantile(span(broken, end, load.Browse), 0.99), left(s))
	return nil
}

// after waits and returns the totals of then.
func after(ctx context.Context, s *shop.Shop, d time.Duration) map[string]load.Totals {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
	return s.Totals()
}

// watchDisk times an fsync beside the stores ten times a second, until the function that
// it returns is called for the result.
func watchDisk(ctx context.Context, dir string) (end func() (load.Totals, error)) {
	ctx, cancel := context.WithCancel(ctx)
	var seen load.Totals
	failed := make(chan error, 1)
	go func() {
		file, err := os.Create(filepath.Join(dir, "probe"))
		for record := make([]byte, 256); err == nil && ctx.Err() == nil; <-time.After(100 * time.Millisecond) {
			if _, err = file.Write(record); err == nil {
				begin := time.Now()
				err = file.Sync()
				seen.Latency.Add(time.Since(begin))
			}
		}
		if file != nil {
			err = errors.Join(err, file.Close())
		}
		failed <- err
	}()
	return func() (load.Totals, error) {
		cancel()
		err := <-failed
		return seen, err
	}
}

// span is what ended between two totals.
func span(from, to map[string]load.Totals, op string) load.Totals {
	return load.Totals{Counts: to[op].Counts.Minus(from[op].Counts), Latency: to[op].Latency.Minus(from[op].Latency)}
}

func quantile(t load.Totals, q float64) string {
	if t.Latency.Count() == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f ms", float64(t.Latency.Quantile(q))/float64(time.Millisecond))
}

// taken is how many of the orders that got an answer were taken, at once or as pending.
func taken(t load.Totals) string {
	all := t.OK + t.Fallback + t.Unserved()
	return fmt.Sprintf("%d of %d", t.OK+t.Fallback, all)
}

// left is what the trouble has left behind: nothing, if all is well.
func left(s *shop.Shop) string {
	state, broken := s.State(), 0
	for _, lamp := range state.Lamps {
		if lamp.Status != "ok" {
			broken++
		}
	}
	return fmt.Sprintf("%d, %d", state.Sagas.Unfinished()+state.Sagas.Stuck, broken)
}
