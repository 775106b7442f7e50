package retry_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

// The simulations show in virtual time what the package is for. Their tables
// are committed in SIMULATIONS.md; the draws differ from run to run, so the
// tests assert what the tables show and not their figures.
var update = flag.Bool("update", false, "write the simulations' tables to SIMULATIONS.md")

// table is a table of SIMULATIONS.md.
type table struct {
	name  string
	lines []string
}

func newTable(name string, columns ...string) *table {
	t := &table{name: name}
	t.row(columns...)
	t.row(strings.Split(strings.Repeat("---:,", len(columns)-1)+"---:", ",")...)
	return t
}

func (t *table) row(cells ...string) {
	t.lines = append(t.lines, "| "+strings.Join(cells, " | ")+" |")
}

// done logs the table and, with -update, puts it between its markers.
func (t *table) done(tb testing.TB) {
	tb.Helper()
	text := strings.Join(t.lines, "\n") + "\n"
	tb.Log("\n" + text)
	if !*update {
		return
	}
	const file = "SIMULATIONS.md"
	old, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	begin, end := fmt.Sprintf("<!-- begin %s -->\n", t.name), fmt.Sprintf("<!-- end %s -->\n", t.name)
	head, rest, ok := strings.Cut(string(old), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		tb.Fatalf("%s has no place for %s", file, t.name)
	}
	if err := os.WriteFile(file, []byte(head+begin+text+end+tail), 0o600); err != nil {
		tb.Fatal(err)
	}
}
