package house

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestImporterStaysClean measures what README claims: a fresh module that
// imports one package gets no go.sum line beyond keelson's own two (which a
// replace does not write), and links the standard library and that package's
// tree alone. Sub-packages are held to it as well: their tests, too, are
// followed by "go mod tidy".
func TestImporterStaysClean(t *testing.T) {
	measured := 0
	for _, p := range packages(t) {
		name := p.path()
		if !shipped(name) || strings.Contains(name, "/internal/") || linksMore(name) {
			continue
		}
		measured++
		tree, _, _ := strings.Cut(name, "/")
		sums, deps := importer(t, name)
		assert.Empty(t, sums, "go.sum of an importer of %s", name)
		for _, dep := range deps {
			assert.True(t, standard(dep) || strings.HasPrefix(dep, module+"/"+tree) || dep == "example.com/importer" ||
				dep == module+"/internal/wal" || dep == module+"/internal/sqldb" || linksSibling(name, dep),
				"an importer of %s links %s", name, dep)
		}
		t.Logf("%s: %d go.sum lines, %d packages linked", name, len(sums), len(deps))
	}
	assert.GreaterOrEqual(t, measured, 2, "breaker and retry at least")
}

// linksSibling: what mayImport allows beyond the package's own tree, with what that
// links in turn.
func linksSibling(name, dep string) bool {
	for _, sibling := range siblings[name] {
		tree, _, _ := strings.Cut(sibling, "/")
		if strings.HasPrefix(dep, module+"/"+tree) {
			return true
		}
	}
	return false
}

// Sharding hashes with xxhash: its two lines, and nothing else.
func TestImporterOfShardingGetsXXHashAlone(t *testing.T) {
	sums, deps := importer(t, "sharding")
	assert.Len(t, sums, 2)
	for _, sum := range sums {
		assert.Contains(t, sum, "github.com/cespare/xxhash/v2 ")
	}
	assert.Contains(t, deps, "github.com/cespare/xxhash/v2")
}

// The measurement itself must see a dependency where there is one: this
// package's own tests use testify, so importing it costs go.sum lines.
func TestImporterMeasurementSeesTestify(t *testing.T) {
	sums, _ := importer(t, "internal/house")
	assert.NotEmpty(t, sums)
}

// importer makes a module that imports the named package, tidies it, and
// returns its go.sum lines and what it links.
func importer(t *testing.T, name string) (sums, deps []string) {
	t.Helper()
	dir := t.TempDir()
	// internal packages can be imported from below the root's path alone.
	path := "example.com/importer"
	if strings.HasPrefix(name, "internal/") {
		path = module + "/importer"
	}
	write(t, dir, "go.mod", "module "+path+"\n\ngo 1.26.0\n\nrequire "+module+" v0.0.0\nreplace "+module+" => "+root(t)+"\n")
	write(t, dir, "importer.go", "package importer\n\nimport _ \""+module+"/"+name+"\"\n")
	goTool(t, dir, "mod", "tidy")
	if text, err := os.ReadFile(filepath.Join(dir, "go.sum")); err == nil {
		sums = strings.Split(strings.TrimSpace(string(text)), "\n")
	}
	return sums, strings.Fields(string(goTool(t, dir, "list", "-deps", "./...")))
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
}
