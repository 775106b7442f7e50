package examples_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/keelson-go/keelson/internal/assert"
)

// A row that says where something is shown is worth as much as its link: to a panel
// of the page, an example, a scenario, a test, or to what is not built yet.
func TestMissionTable(t *testing.T) {
	assert.Equal(t, []string(nil), badRows(read(t, "README.md"), 50))
}

// What else the catalogue links to is there as well, and it has every panel of the page.
func TestTheCatalogueIsWhole(t *testing.T) {
	readme := read(t, "README.md")
	for _, l := range missionLink.FindAllStringSubmatch(readme, -1) {
		assert.NoError(t, resolve(l[1], l[2]), "%s#%s", l[1], l[2])
	}
	page := read(t, "internal", "shop", "page", "static", "index.html")
	panels := regexp.MustCompile(`<section class="card[^"]*" aria-labelledby="([^"]+)">`).FindAllStringSubmatch(page, -1)
	assert.True(t, len(panels) >= 14, "%d panels", len(panels))
	for _, p := range panels {
		assert.True(t, regexp.MustCompile(`\n\| \[[^]]+\]\(internal/shop/page/static/index\.html#`+p[1]+`\)`).MatchString(readme), "no row for the panel %s", p[1])
	}
}

func TestMissionTableCatchesOffenders(t *testing.T) {
	row := "| 1 | a | [x](gateway/main.go#newGateway) |\n"
	assert.Equal(t, 0, len(badRows(row, 1)), "%v", badRows(row, 1))
	for _, bad := range []string{
		"| 1 | a | somewhere |\n",                           // no link
		"| 1 | a | waits for nothing |\n",                   // and no such part
		"| 1 | a | [x](gone.go) |\n",                        // no such file
		"| 1 | a | [x](gateway/main.go#oldGateway) |\n",     // no such function
		"| 1 | a | [x](README.md#no-such-heading) |\n",      // no such heading
		"| 2 | a | [x](gateway/main.go#newGateway) |\n",     // no row 1
		"| 1 |  | [x](gateway/main.go#newGateway) |\n",      // no item
		row + "| 1 | a | [x](gateway/main.go) |\n",          // row 1 twice
		"| 1 | a | [x](../README.md#which-package) |\n",     // no such heading elsewhere
		"| 1 | a | [x](https://example.com/) |\n",           // beyond the repository
		"| 1 | a | [x](gateway/) and [y](gateway/y.go) |\n", // one of two
	} {
		assert.True(t, len(badRows(bad, 1)) > 0, "accepted: %s", bad)
	}
}

var (
	missionRow  = regexp.MustCompile(`(?m)^\| (\d+) \| (.*?) ?\| (.*) \|$`)
	missionLink = regexp.MustCompile(`\]\(([^)#]*)(?:#([^)]*))?\)`)
	heading     = regexp.MustCompile(`(?m)^#+ (.*)$`)
)

// unbuilt are the parts that a row may wait for.
var unbuilt = []string{"engines", "`cachehttp`", "`cachesql`", "`reshard`", "`breakerredis`"}

func badRows(readme string, want int) (bad []string) {
	rows := missionRow.FindAllStringSubmatch(readme, -1)
	if len(rows) != want {
		bad = append(bad, fmt.Sprintf("%d rows, want %d", len(rows), want))
	}
	for i, row := range rows {
		links := missionLink.FindAllStringSubmatch(row[3], -1)
		_, part, waits := strings.Cut(row[3], "waits for ")
		switch {
		case row[1] != fmt.Sprint(i+1) || row[2] == "":
			bad = append(bad, fmt.Sprintf("row %q comes as number %d, with the item %q", row[1], i+1, row[2]))
		case len(links) == 0 && !(waits && slices.Contains(unbuilt, part)):
			bad = append(bad, fmt.Sprintf("row %s says neither where nor what it waits for", row[1]))
		}
		for _, l := range links {
			if err := resolve(l[1], l[2]); err != nil {
				bad = append(bad, fmt.Sprintf("row %s: %v", row[1], err))
			}
		}
	}
	return bad
}

// resolve finds the target of a link, and what its anchor names in it: a function, an
// element of a page, a heading.
func resolve(path, anchor string) error {
	if path == "" {
		path = "README.md"
	}
	if _, err := os.Stat(path); err != nil || anchor == "" {
		return err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	text, found := string(data), false
	switch filepath.Ext(path) {
	case ".go":
		found = strings.Contains(text, "\nfunc "+anchor+"(")
	case ".html":
		found = strings.Contains(text, ` id="`+anchor+`"`)
	case ".md":
		found = slices.ContainsFunc(heading.FindAllStringSubmatch(text, -1), func(h []string) bool {
			return slug(h[1]) == anchor
		})
	}
	if !found {
		return fmt.Errorf("%s has no %s", path, anchor)
	}
	return nil
}

// slug is the anchor that a heading gets.
func slug(heading string) string {
	kept := strings.Map(func(r rune) rune {
		if r == ' ' || r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' {
			return r
		}
		return -1
	}, strings.ToLower(heading))
	return strings.ReplaceAll(kept, " ", "-")
}
