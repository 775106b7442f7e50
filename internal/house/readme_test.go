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
// examples. The first README has one.
func TestReadmeSnippetsAreExamples(t *testing.T) {
	sources := exampleSources(t)
	for _, file := range files(t, ".md") {
		assert.Empty(t, badSnippets(file, read(t, file), sources))
	}
	assert.Len(t, snippet.FindAllString(read(t, "README.md"), -1), 1)
}

// Links between files of the repository must resolve.
func TestReadmeLinksResolve(t *testing.T) {
	all := files(t, "")
	for _, file := range files(t, ".md") {
		assert.Empty(t, badLinksIn(file, read(t, file), all))
	}
}

func TestReadmeRulesCatchOffenders(t *testing.T) {
	readme := "# x\n```go\nx := 1\nfmt.Println(x)\n```\n[a](gone.md) [b](https://example.com) [c](doc.go#L1) [d](sub)\n"
	example := "package x\n\nfunc ExampleX() {\n\tx := 1\n\tfmt.Println(x)\n\t// Output: 1\n}\n"
	assert.Empty(t, badSnippets("README.md", readme, bodies(example)))
	assert.NotEmpty(t, badSnippets("README.md", readme, bodies(strings.Replace(example, ":= 1", ":= 2", 1))))
	assert.NotEmpty(t, badSnippets("README.md", readme, nil))
	assert.Empty(t, bodies(strings.Replace(example, "// Output: 1", "", 1)), "an Example without Output does not run")
	for _, fence := range []string{"```Go", "``` go", "```golang", "```", "~~~go", "  ```go"} {
		assert.NotEmpty(t, badSnippets("README.md", strings.Replace(readme, "```go", fence, 1), bodies(example)), "a fence %q hides code", fence)
	}
	assert.Empty(t, badSnippets("README.md", "```sh\nmake\n```\n```text\nok\n```\n", nil))
	assert.Len(t, badLinksIn("README.md", readme, []string{"doc.go", "sub/x.go"}), 1)
}

var (
	snippet = regexp.MustCompile("(?ms)^```go\n(.*?)^```$")
	fences  = regexp.MustCompile("(?m)^[ \t>]*(?:```|~~~).*$")
	funcs   = regexp.MustCompile(`(?ms)^func Example\w*\(\) \{\n(.*?)^\}$`)
	output  = regexp.MustCompile(`(?ms)^// (?:Unordered output|Output):.*`)
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
)

// languages are the ways to open a block.
var languages = []string{"```go", "```sh", "```text", "```json", "```yaml", "```sql"}

func exampleSources(t *testing.T) (sources []string) {
	t.Helper()
	for _, file := range files(t, ".go") {
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
		if !output.MatchString(body) {
			continue // compiled, and never run
		}
		all = append(all, strings.TrimSpace(output.ReplaceAllString(body, "")))
	}
	return all
}

// badSnippets also wants each block to open with a language that it knows:
// one spelled "Go" would slip through unseen.
func badSnippets(file, text string, sources []string) (bad []string) {
	for i, fence := range fences.FindAllString(text, -1) {
		if closes := i%2 == 1; closes && fence != "```" || !closes && !slices.Contains(languages, fence) {
			bad = append(bad, fmt.Sprintf("%s: fence %q, a block is between one of %q and ```", file, fence, languages))
		}
	}
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
