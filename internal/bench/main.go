// Command bench runs the same workloads on keelson and on the libraries that
// people use today, in one process and interleaved, and prints a table per
// package with the ratio to each of them.
//
// A workload is a row (see row.go); breaker*.go and retry*.go hold those of a
// package. To add one, append it to the package's rows function. Machines are
// noisy, so every contender of a row runs once per round, in turn, and the
// table shows medians over the rounds; the ratio is that of the medians.
//
//	go run .                          # every row, 5 rounds, at -cpu 1 and 2
//	go run . -run 'breaker: closed'   # rows whose name matches
//	go run . -smoke                   # quick; fails on allocations above the ceiling
//	go run . -package retry           # the rows of one package
//	go run . -count 11 -out results   # what BENCHMARKS.md shows
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func main() {
	testing.Init() // before flag.Parse: it registers test.benchtime
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// settings are the parsed flags.
type settings struct {
	match *regexp.Regexp
	pkg   string
	cpus  []int
	count int
	time  time.Duration
	out   string
	smoke bool
}

func parse(args []string) (s settings, err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	match := flags.String("run", "", "run the rows whose name matches this regular expression")
	flags.StringVar(&s.pkg, "package", "", "run the rows of this package, as BENCHMARKS.md names it, alone")
	cpus := flags.String("cpu", "1,2", "values of GOMAXPROCS, separated by commas")
	flags.IntVar(&s.count, "count", 5, "rounds; odd numbers have a true median")
	flags.DurationVar(&s.time, "time", 200*time.Millisecond, "duration of one measurement")
	flags.StringVar(&s.out, "out", "", "directory for benchstat files; also updates the tables in BENCHMARKS.md")
	flags.BoolVar(&s.smoke, "smoke", false, "three short rounds of small workloads; an allocation above its ceiling is an error")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	if s.match, err = regexp.Compile(*match); err != nil {
		return s, fmt.Errorf("-run: %w", err)
	}
	for text := range strings.SplitSeq(*cpus, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 1 {
			return s, fmt.Errorf("-cpu is %q, must be positive numbers separated by commas", *cpus)
		}
		s.cpus = append(s.cpus, n)
	}
	if !slices.ContainsFunc(packages(), func(p pkg) bool { return s.pkg == "" || s.pkg == p.name }) {
		return s, fmt.Errorf("-package is %q, and no table has that name", s.pkg)
	}
	if s.count < 1 || s.time <= 0 {
		return s, fmt.Errorf("-count is %d and -time %v, both must be positive", s.count, s.time)
	}
	if s.out != "" && (*match != "" || s.smoke) {
		return s, errors.New("-out replaces whole tables; it does not go with -run or -smoke")
	}
	if s.smoke {
		s.count, s.time, small = 3, 20*time.Millisecond, true
	}
	return s, nil
}

func run(args []string, w io.Writer) (err error) {
	s, err := parse(args)
	if err != nil {
		return err
	}
	if err := flag.Set("test.benchtime", s.time.String()); err != nil {
		return err
	}
	fmt.Fprintf(w, "%s, %s/%s, %s; medians of %d rounds of %v\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, cpuModel(), s.count, s.time)
	defer func() { err = errors.Join(err, closeEngines()) }()
	var over []string
	for _, p := range packages() {
		if s.pkg != "" && s.pkg != p.name {
			continue
		}
		results, err := measure(p.rows, s, w)
		if err != nil {
			return err
		}
		if len(results) == 0 {
			continue
		}
		fmt.Fprintf(w, "\n## %s\n\n%s", p.name, table(results))
		over = append(over, aboveCeiling(results)...)
		if s.out != "" {
			if err := commit(p.name, results, s); err != nil {
				return err
			}
		}
	}
	if len(over) > 0 {
		return fmt.Errorf("above the allocation ceiling: %s", strings.Join(over, "; "))
	}
	return nil
}

// A pkg is a package of keelson and its rows.
type pkg struct {
	name string // of its table in BENCHMARKS.md
	rows []row
}

// packages lists the packages that have rows.
func packages() []pkg {
	return []pkg{
		{"breaker", slices.Concat(breakerRows(), mixedRows(), keyedRows(), limitRows())},
		{"retry", retryRows()},
		{"sharding", shardingRows()},
		{"eventsource", slices.Concat(eventsourceMemoryRows(), eventsourceMixedRows(), eventsourceFoldRows())},
		{"eventfile", eventfileRows()},
		{"eventsql", eventsqlRows()},
		{"cache", cacheL1Rows()},
		{"cacheredis", cacheRedisRows()},
		{"messaging", slices.Concat(messagingRows(), outboxRows())},
		{"saga", slices.Concat(sagaRows(), sagaManyRows())},
	}
}

// cpuModel names the processor where the system tells, for results that are
// compared later.
func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown CPU"
	}
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.TrimSpace(strings.TrimLeft(name, " \t:"))
		}
	}
	return "unknown CPU"
}
