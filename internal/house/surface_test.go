package house

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// limits are the most exported top-level identifiers that a package may have.
var limits = map[string]int{
	"breaker": 25, "retry": 25, "sharding": 45, "cache": 45, "eventsource": 45, "saga": 45,
}

const maxLines = 400

func TestSurfaceStaysSmall(t *testing.T) {
	for name, limit := range limits {
		dir := filepath.Join(root(t), name)
		if _, err := os.Stat(dir); os.IsNotExist(err) {
			continue // not written yet
		}
		assert.Empty(t, badSurface(name, exported(parseDir(t, dir)), limit))
	}
}

func TestFilesStayShort(t *testing.T) {
	for _, suffix := range []string{".go", ".js", ".css", ".html", ".md"} {
		for _, file := range files(t, suffix) {
			assert.Empty(t, badLength(file, read(t, file)))
		}
	}
}

func TestSurfaceRulesCatchOffenders(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "x.go", `package x
		const ( A, b = 1, 2 )
		var ErrX, errY error
		type T struct{ Field int }
		func (T) Method() {}
		func F() {}
		func g() {}`, 0)
	require.NoError(t, err)
	names := exported([]*ast.File{file})
	assert.ElementsMatch(t, []string{"A", "ErrX", "T", "F"}, names)
	assert.NotEmpty(t, badSurface("x", names, 3))
	assert.Empty(t, badSurface("x", names, 4))
	assert.NotEmpty(t, badLength("x.go", strings.Repeat("\n", maxLines+1)))
	assert.Empty(t, badLength("x.go", strings.Repeat("\n", maxLines)))
	assert.Empty(t, badLength("x.md", "<!-- begin a -->"+strings.Repeat("\n", maxLines+1)+"<!-- end a -->"))
}

func badSurface(name string, names []string, limit int) []string {
	if len(names) <= limit {
		return nil
	}
	return []string{fmt.Sprintf("%s exports %d identifiers, at most %d are allowed: %v", name, len(names), limit, names)}
}

// tables are what cmd bench writes into BENCHMARKS.md. They grow with what is
// measured, so they do not count.
var tables = regexp.MustCompile(`(?s)<!-- begin (\w+) -->.*?<!-- end \w+ -->`)

func badLength(file, text string) []string {
	text = tables.ReplaceAllString(text, "")
	if n := strings.Count(text, "\n"); n > maxLines {
		return []string{fmt.Sprintf("%s has %d lines, at most %d are allowed", file, n, maxLines)}
	}
	return nil
}

// parseDir parses the package in dir without its tests.
func parseDir(t *testing.T, dir string) (files []*ast.File) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	require.NoError(t, err)
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		files = append(files, file)
	}
	return files
}

// exported lists the exported top-level identifiers; methods and fields belong
// to their types and do not count.
func exported(files []*ast.File) (names []string) {
	add := func(ids ...*ast.Ident) {
		for _, id := range ids {
			if id.IsExported() {
				names = append(names, id.Name)
			}
		}
	}
	for _, file := range files {
		for _, decl := range file.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil {
					add(d.Name)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch s := spec.(type) {
					case *ast.TypeSpec:
						add(s.Name)
					case *ast.ValueSpec:
						add(s.Names...)
					}
				}
			}
		}
	}
	return names
}
