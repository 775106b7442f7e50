package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

// table formats results as a Markdown table, one line per row, GOMAXPROCS and
// peer.
func table(results []result) string {
	var b strings.Builder
	b.WriteString("| workload | cpu | keelson | peer | | ratio | target | |\n|---|---|---|---|---|---|---|---|\n")
	for _, r := range results {
		if len(r.peers) == 0 || r.row.most > 0 {
			fmt.Fprintf(&b, "| %s | %d | %s | | | | %s |\n", r.row.name, r.cpu, cell(r.ours), within(r.ours, r.row.most))
		}
		for i, p := range r.row.peers {
			ratio := r.ratio(i)
			fmt.Fprintf(&b, "| %s | %d | %s | %s | %s | %.2f | %s |\n",
				r.row.name, r.cpu, cell(r.ours), p.name, cell(r.peers[i]), ratio, verdict(ratio, p.target))
		}
	}
	return b.String()
}

func cell(s sample) string {
	text := fmt.Sprintf("%.3g ns", s.ns())
	if s.ns() >= 1000 {
		text = fmt.Sprintf("%.0f ns", s.ns())
	}
	if n := s.allocs(); n > 0 {
		text += fmt.Sprintf(", %d allocs", n)
	}
	extra := s.extra()
	for _, unit := range slices.Sorted(maps.Keys(extra)) {
		text += ", " + measured(unit, extra[unit])
	}
	return text
}

// measured reads "p99 812 ns" for the unit "p99-ns", "812 msg/s" for "msg/s".
func measured(unit string, v float64) string {
	if name, of, ok := strings.Cut(unit, "-"); ok {
		return fmt.Sprintf("%s %.0f %s", name, v, of)
	}
	return fmt.Sprintf("%.0f %s", v, unit)
}

// within is verdict for a bound in time.
func within(s sample, most time.Duration) string {
	switch {
	case most == 0:
		return "| "
	case s.ns() <= float64(most):
		return fmt.Sprintf("<= %v | met", most)
	default:
		return fmt.Sprintf("<= %v | **missed**", most)
	}
}

// verdict fills the last two columns: the target and whether it was met.
func verdict(ratio, target float64) string {
	switch {
	case target == 0:
		return "| "
	case ratio <= target:
		return fmt.Sprintf("<= %g | met", target)
	default:
		return fmt.Sprintf("<= %g | **missed**", target)
	}
}

// commit writes the rounds in benchstat's format and puts the table between
// its markers in BENCHMARKS.md.
func commit(pkg string, results []result, s settings) error {
	if err := os.MkdirAll(s.out, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.out, pkg+".txt"), []byte(benchstat(pkg, results)), 0o644); err != nil {
		return err
	}
	const file = "../../BENCHMARKS.md"
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	head := fmt.Sprintf("%s, %s/%s, %s; medians of %d rounds of %v.\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, cpuModel(), s.count, s.time)
	updated, err := between(string(text), pkg, head+table(results))
	if err != nil {
		return err
	}
	return os.WriteFile(file, []byte(updated), 0o644)
}

// between replaces what stands between the markers of a package.
func between(text, pkg, content string) (string, error) {
	begin, end := "<!-- begin "+pkg+" -->\n", "<!-- end "+pkg+" -->"
	before, rest, ok := strings.Cut(text, begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		return "", fmt.Errorf("BENCHMARKS.md lacks %q followed by %q", strings.TrimSpace(begin), end)
	}
	return before + begin + content + end + after, nil
}

// benchstat formats every round as go test would print it, with the contender
// as a key, so that "benchstat -col /impl" compares them.
func benchstat(pkg string, results []result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "goos: %s\ngoarch: %s\npkg: %s\ncpu: %s\ngo: %s\n", runtime.GOOS, runtime.GOARCH, pkg, cpuModel(), runtime.Version())
	for _, r := range results {
		lines(&b, r, "keelson", r.ours)
		for i, p := range r.row.peers {
			lines(&b, r, p.name, r.peers[i])
		}
	}
	return b.String()
}

var unnameable = regexp.MustCompile(`[^A-Za-z0-9.]+`)

func lines(b *strings.Builder, r result, impl string, s sample) {
	name := strings.Trim(unnameable.ReplaceAllString(r.row.name, "_"), "_")
	impl = strings.Trim(unnameable.ReplaceAllString(impl, "_"), "_")
	for _, round := range s.rounds {
		fmt.Fprintf(b, "Benchmark/%s/impl=%s-%d\t%d\t%.2f ns/op\t%d B/op\t%d allocs/op",
			name, impl, r.cpu, round.N, nsPerOp(round), round.AllocedBytesPerOp(), round.AllocsPerOp())
		for _, unit := range slices.Sorted(maps.Keys(round.Extra)) {
			if unit != "ns/op" { // see nsPerOp
				fmt.Fprintf(b, "\t%.2f %s", round.Extra[unit], unit)
			}
		}
		b.WriteByte('\n')
	}
}
