package house

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// A snippet that no compiler has seen goes stale: every Go block of a README
// is the body of an Example, whose output is checked, or a whole program of
// examples.
func TestReadmeSnippetsAreExamples(t *testing.T) {
	sources := exampleSources(t)
	for _, file := range tracked(t, ".md") {
		assert.Empty(t, badSnippets(file, read(t, file), sources))
	}
}

// Links between files of the repository must resolve.
func TestReadmeLinksResolve(t *testing.T) {
	files := tracked(t, "")
	for _, file := range tracked(t, ".md") {
		assert.Empty(t, badLinksIn(file, read(t, file), files))
	}
}

func TestReadmeRulesCatchOffenders(t *testing.T) {
	readme := "# x\n```go\nx := 1\nfmt.Println(x)\n```\n[a](gone.md) [b](https://example.com) [c](doc.go#L1) [d](sub)\n"
	example := "package x\n\nfunc ExampleX() {\n\tx := 1\n\tfmt.Println(x)\n\t// Output: 1\n}\n"
	assert.Empty(t, badSnippets("README.md", readme, bodies(example)))
	assert.NotEmpty(t, badSnippets("README.md", readme, bodies(strings.Replace(example, ":= 1", ":= 2", 1))))
	assert.NotEmpty(t, badSnippets("README.md", readme, nil))
	assert.Len(t, badLinksIn("README.md", readme, []string{"doc.go", "sub/x.go"}), 1)
}

var (
	snippet = regexp.MustCompile("(?ms)^```go\n(.*?)^```$")
	funcs   = regexp.MustCompile(`(?ms)^func Example\w*\(\) \{\n(.*?)^\}$`)
	output  = regexp.MustCompile(`(?ms)^// (?:Unordered output|Output):.*`)
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
)

func exampleSources(t *testing.T) (sources []string) {
	t.Helper()
	for _, file := range tracked(t, ".go") {
		switch {
		case strings.HasSuffix(file, "_test.go"):
			sources = append(sources, bodies(read(t, file))...)
		case strings.HasPrefix(file, "examples/") && path.Base(file) == "main.go":
			sources = append(sources, strings.TrimSpace(read(t, file)))
		}
	}
	return sources
}

// bodies returns what stands inside the Examples of a test file, one tab
// less deep and without the expected output.
func bodies(text string) (all []string) {
	for _, m := range funcs.FindAllStringSubmatch(text, -1) {
		body := regexp.MustCompile(`(?m)^\t`).ReplaceAllString(m[1], "")
		all = append(all, strings.TrimSpace(output.ReplaceAllString(body, "")))
	}
	return all
}

func badSnippets(file, text string, sources []string) (bad []string) {
	for _, m := range snippet.FindAllStringSubmatch(text, -1) {
		if !slices.Contains(sources, strings.TrimSpace(m[1])) {
			bad = append(bad, fmt.Sprintf("%s: this block is no Example:\n%s", file, m[1]))
		}
	}
	return bad
}

func badLinksIn(file, text string, files []string) (bad []string) {
	for _, m := range link.FindAllStringSubmatch(text, -1) {
		target, _, _ := strings.Cut(m[1], "#")
		if target == "" || strings.Contains(target, ":") {
			continue // a heading, or another host
		}
		target = path.Join(path.Dir(file), target)
		exists := slices.ContainsFunc(files, func(f string) bool { return f == target || strings.HasPrefix(f, target+"/") })
		if !exists {
			bad = append(bad, fmt.Sprintf("%s links to %s, which does not exist", file, m[1]))
		}
	}
	return bad
}
