// Package examples_test runs every small example as its reader would.
package examples_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

const (
	module   = "github.com/keelson-go/keelson/"
	maxLines = 79
)

// small lists the directories of the small examples: all that hold a main.go,
// except the shop.
func small(t *testing.T) (dirs []string) {
	t.Helper()
	mains, err := filepath.Glob("*/main.go")
	require.NoError(t, err)
	for _, m := range mains {
		if dir := filepath.Dir(m); dir != "shop" && dir != "engines" {
			dirs = append(dirs, dir)
		}
	}
	require.True(t, len(dirs) >= 19, "found only %v", dirs)
	return dirs
}

func TestSmallExamplesPrintTheirGoldenText(t *testing.T) {
	dirs := small(t)
	bin := build(t, dirs)
	for _, dir := range dirs {
		t.Run(dir, func(t *testing.T) {
			t.Parallel() // they mostly sleep
			golden := read(t, dir, "golden.txt")
			for range 2 {
				out, err := exec.CommandContext(t.Context(), filepath.Join(bin, dir)).CombinedOutput()
				require.NoError(t, err, "%s", out)
				assert.Equal(t, golden, string(out))
			}
		})
	}
}

// build makes the examples' binaries in a directory, with the race detector where
// a C compiler is there to link it.
func build(t *testing.T, dirs []string) (bin string) {
	t.Helper()
	bin = t.TempDir()
	cgo, err := exec.CommandContext(t.Context(), "go", "env", "CGO_ENABLED").Output()
	require.NoError(t, err)
	args := []string{"build", "-race=" + strings.TrimSpace(string(cgo)), "-o", bin + string(filepath.Separator)}
	for _, dir := range dirs {
		args = append(args, "./"+dir)
	}
	out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return bin
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	require.NoError(t, err)
	return string(b)
}

func TestReadmesShowTheGoldenText(t *testing.T) {
	catalogue := read(t, "README.md")
	for _, dir := range small(t) {
		readme := read(t, dir, "README.md")
		for _, part := range []string{
			"```text\n" + read(t, dir, "golden.txt") + "```\n",
			"go run ./examples/" + dir + "\n",
			"\nBreak it yourself: ",
		} {
			assert.Contains(t, readme, part, "%s/README.md", dir)
		}
		assert.True(t, strings.Contains(catalogue, "("+dir+"/)"), "the catalogue lacks %s", dir)
	}
}

func TestSmallExamplesAreOneFileOfUnderEightyLines(t *testing.T) {
	for _, dir := range small(t) {
		files, err := filepath.Glob(dir + "/*.go")
		require.NoError(t, err)
		assert.Equal(t, []string{dir + "/main.go"}, files)
		lines := strings.Count(read(t, dir, "main.go"), "\n")
		assert.True(t, lines <= maxLines, "%s has %d lines", dir, lines)
	}
}

// several are the examples whose idea is that packages work together: events need
// a broker, and a gateway or a client all that there is.
var several = map[string]string{
	"saga-choreography":      "eventsource saga",
	"gateway":                "breaker cache examples",
	"everything-http-client": "breaker cache retry",
}

// An example shows one package, with its sub-packages, and nothing else.
func TestSmallExamplesImportOnePackage(t *testing.T) {
	for _, dir := range small(t) {
		var roots []string
		for _, path := range list(t, `{{join .Imports "\n"}}`, "./"+dir) {
			own, isOwn := strings.CutPrefix(path, module)
			first, _, _ := strings.Cut(path, "/")
			assert.True(t, isOwn || !strings.Contains(first, "."), "%s imports %s", dir, path)
			if root, _, _ := strings.Cut(own, "/"); isOwn && !slices.Contains(roots, root) {
				roots = append(roots, root)
			}
		}
		slices.Sort(roots)
		if want, ok := several[dir]; ok {
			assert.Equal(t, want, strings.Join(roots, " "), dir)
			continue
		}
		assert.Equal(t, 1, len(roots), "%s imports %v", dir, roots)
	}
}

// Services meet over HTTP alone: one that imports another could share memory
// with it without anybody noticing.
func TestServicesImportNoOther(t *testing.T) {
	const base = module + "examples/internal/shop/"
	services := []string{"gateway", "orders", "users", "products", "payments", "inventory", "shipping", "mailer", "broker", "l2", "registry"}
	for _, service := range services {
		deps := list(t, `{{join .Deps "\n"}}`, "./internal/shop/"+service)
		require.True(t, slices.Contains(deps, base+"wire"), "%s does not even import wire", service)
		for _, dep := range deps {
			name, ours := strings.CutPrefix(dep, base)
			if ours && name != "wire" && name != "fault" {
				t.Errorf("%s depends on %s; it may depend on wire, which holds fault, alone", service, name)
			}
		}
	}
}

// The shop is there to be read with nothing but this repository.
func TestShopLinksNothingButTheStandardLibraryAndKeelson(t *testing.T) {
	for _, dep := range list(t, `{{join .Deps "\n"}}`, "./shop") {
		first, _, _ := strings.Cut(dep, "/")
		// xxhash comes with package sharding, for which it is the one dependency.
		foreign := strings.Contains(first, ".") && !strings.HasPrefix(dep, module) && dep != "github.com/cespare/xxhash/v2"
		assert.False(t, foreign, "the shop links %s", dep)
	}
	assert.True(t, strings.Count(read(t, "shop", "main.go"), "\n") < 200, "main.go has 200 lines or more")
}

func list(t *testing.T, format, pkg string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", format, pkg).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return strings.Fields(string(out))
}
