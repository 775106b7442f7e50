package house

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// roots are the packages that carry the library.
var roots = []string{"breaker", "retry", "sharding", "cache", "eventsource", "saga"}

// siblings are the only imports allowed between packages of which none is the
// other's parent: importer to imported.
var siblings = map[string][]string{
	"retry/retryhttp":       {"retry/hedge"},
	"eventsource/eventtest": {"eventsource/messaging"},
	"saga/choreography":     {"saga/barrier", "eventsource/messaging", "eventsource/messaging/outbox"},
}

// linked names what an importer may link beyond the standard library and
// keelson itself, by package; a package without an entry links nothing else,
// and one entry serves the packages below it too.
var linked = map[string][]string{
	"sharding":                             {"github.com/cespare/xxhash/v2"},
	"breaker/breakerredis":                 {"github.com/redis/go-redis/v9"},
	"sharding/shardingredis":               {"github.com/redis/go-redis/v9"},
	"cache/cacheredis":                     {"github.com/redis/go-redis/v9"},
	"eventsource/messaging/messagingredis": {"github.com/redis/go-redis/v9"},
}

// goredis is what go-redis brings along.
var goredis = []string{"github.com/cespare/xxhash/v2", "github.com/dgryski/go-rendezvous", "go.uber.org/atomic"}

func TestPackagesImportOnlyTheirParents(t *testing.T) {
	assert.Empty(t, badImports(packages(t)))
}

func TestImporterLinksOnlyWhatIsAllowed(t *testing.T) {
	assert.Empty(t, badLinks(packages(t)))
}

func TestImportRulesCatchOffenders(t *testing.T) {
	offend := func(path string, imports ...string) []pkg {
		for i, name := range imports {
			imports[i] = module + "/" + name
		}
		return []pkg{{ImportPath: module + "/" + path, Imports: imports, Deps: imports}}
	}
	assert.NotEmpty(t, badImports(offend("retry", "breaker")), "a root imports a root")
	assert.NotEmpty(t, badImports(offend("breaker/breakerhttp", "breaker/limit")), "a sub-package imports a sibling")
	assert.NotEmpty(t, badImports(offend("breaker", "breaker/limit")), "a parent imports its child")
	assert.NotEmpty(t, badImports(offend("breaker", "internal/assert")), "shipped code imports test code")
	assert.Empty(t, badImports(offend("retry/retryhttp", "retry", "retry/hedge")))
	assert.Empty(t, badImports(offend("breaker/limit", "breaker", "breaker/internal/window")))

	foreign := []pkg{{ImportPath: module + "/breaker", Deps: []string{"time", "github.com/stretchr/testify/assert"}}}
	assert.NotEmpty(t, badLinks(foreign), "a root links testify")
	foreign[0].Deps = []string{"time", "internal/abi", "vendor/golang.org/x/net/idna", module + "/breaker/internal/window"}
	assert.Empty(t, badLinks(foreign), "the standard library may be linked")
}

// badImports checks who imports whom inside the module.
func badImports(all []pkg) (bad []string) {
	for _, p := range all {
		from := p.path()
		if !shipped(from) {
			continue
		}
		for _, imported := range p.Imports {
			to, ours := strings.CutPrefix(imported, module+"/")
			if ours && !mayImport(from, to) {
				bad = append(bad, fmt.Sprintf("%s must not import %s", from, to))
			}
		}
	}
	return bad
}

// shipped tells whether users import the package: it lies in one of the roots.
func shipped(path string) bool {
	top, _, _ := strings.Cut(path, "/")
	return slices.Contains(roots, top)
}

func mayImport(from, to string) bool {
	switch parent, _, internal := strings.Cut(to, "/internal/"); {
	case slices.Contains(siblings[from], to):
		return true
	case internal: // go itself sees to it that only the parent's tree does
		return true
	case strings.HasPrefix(to, "internal/"):
		return to == "internal/wal" || to == "internal/sqldb"
	default:
		return strings.HasPrefix(from, parent+"/")
	}
}

// badLinks checks what the packages link, transitively.
func badLinks(all []pkg) (bad []string) {
	for _, p := range all {
		if !shipped(p.path()) {
			continue
		}
		for _, dep := range p.Deps {
			if !standard(dep) && !strings.HasPrefix(dep, module+"/") && !mayLink(p.path(), dep) {
				bad = append(bad, fmt.Sprintf("an importer of %s links %s", p.path(), dep))
			}
		}
	}
	return bad
}

// linksMore tells whether the package may link more than the standard library.
func linksMore(path string) bool {
	for of := range linked {
		if path == of || strings.HasPrefix(path, of+"/") {
			return true
		}
	}
	return false
}

func mayLink(path, dep string) bool {
	for of, modules := range linked {
		if path != of && !strings.HasPrefix(path, of+"/") {
			continue
		}
		for _, m := range modules {
			if strings.HasPrefix(m, "github.com/redis/") {
				modules = append(slices.Clone(modules), goredis...)
				break
			}
		}
		if slices.ContainsFunc(modules, func(m string) bool { return dep == m || strings.HasPrefix(dep, m+"/") }) {
			return true
		}
	}
	return false
}

// standard tells the standard library by its paths: no dot in the first part.
func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}
