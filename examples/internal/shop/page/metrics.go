package page

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/keelson-go/keelson/examples/internal/shop/collect"
)

// sections are the parts of the document that hold one object for each name; the
// name becomes a label. All else is a number of its own.
var sections = map[string]string{
	"services": "replica", "breakers": "breaker", "retry": "client", "cache": "layer",
	"broker": "group", "lag": "projection", "outbox": "service", "load": "operation",
}

// writeMetrics writes every number of the document as Prometheus text: the same
// numbers under the same names, keelson_shop_SECTION_FIELD, so that whoever has
// found one on the page finds it there.
func writeMetrics(w io.Writer, s collect.State) error {
	raw, err := json.Marshal(s)
	if err != nil {
		return err
	}
	var doc map[string]any
	if err := json.Unmarshal(raw, &doc); err != nil {
		return err
	}
	if traffic, ok := doc["load"].(map[string]any); ok {
		delete(traffic, "mix") // what is asked for, and nothing that was measured
	}
	m := metrics{}
	for section, label := range sections {
		m.addNamed(section, label, doc[section])
		delete(doc, section)
	}
	lamps, _ := doc["lamps"].(map[string]any)
	for name, l := range lamps {
		lamp, _ := l.(map[string]any)
		for _, status := range []string{collect.LampOK, collect.LampBroken, collect.LampUnknown} {
			m.add("lamp", map[bool]float64{true: 1}[lamp["status"] == status], "lamp", name, "status", status)
		}
	}
	m.add("faults", float64(len(s.Faults)))
	for _, section := range []string{"sagas", "calls", "telemetry"} {
		m.addNamed(section, "", map[string]any{"": doc[section]})
	}
	return m.write(w)
}

// metrics are lines by name.
type metrics map[string][]string

func (m metrics) add(name string, value float64, labels ...string) {
	line := "keelson_shop_" + name
	var pairs []string
	for i := 0; i+1 < len(labels); i += 2 {
		if labels[i] != "" {
			pairs = append(pairs, fmt.Sprintf("%s=%q", labels[i], labels[i+1]))
		}
	}
	if len(pairs) > 0 {
		line += "{" + strings.Join(pairs, ",") + "}"
	}
	m[name] = append(m[name], fmt.Sprintf("%s %g", line, value))
}

// addNamed adds the numbers of each object in a section; a plain number is one too.
func (m metrics) addNamed(section, label string, v any) {
	objects, _ := v.(map[string]any)
	for name, o := range objects {
		switch o := o.(type) {
		case float64:
			m.add(section, o, label, name)
		case map[string]any:
			for field, v := range o {
				if n, ok := v.(float64); ok {
					m.add(section+"_"+snake(field), n, label, name)
				}
			}
		}
	}
}

// snake writes perOrder as per_order.
func snake(field string) string {
	var b strings.Builder
	for _, r := range field {
		if r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// write puts the lines of one name together, as the format wants, in the same
// order every time. All are gauges: totals fall when a service is restarted.
func (m metrics) write(w io.Writer) error {
	out := bufio.NewWriter(w)
	for _, name := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(out, "# TYPE keelson_shop_%s gauge\n", name)
		slices.Sort(m[name])
		for _, line := range m[name] {
			fmt.Fprintln(out, line)
		}
	}
	return out.Flush()
}
