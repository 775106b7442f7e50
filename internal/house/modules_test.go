package house

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// gomod is what the rules need of "go mod edit -json".
type gomod struct {
	Require []struct {
		Path     string
		Indirect bool
	}
	Replace []struct{ Old, New struct{ Path string } }
}

func parseMod(t *testing.T, file string) (m gomod) {
	t.Helper()
	require.NoError(t, json.Unmarshal(goTool(t, root(t), "mod", "edit", "-json", file), &m))
	return m
}

// Each requirement of the root module is a version floor for all users.
func TestRootModuleRequiresOnlyWhatIsAllowed(t *testing.T) {
	assert.Empty(t, badRoot(parseMod(t, "go.mod")))
}

// A nested module is built with the checkout that it lies in, and the
// workspace names each of them.
func TestNestedModulesAreWiredToTheCheckout(t *testing.T) {
	work := read(t, "go.work")
	for _, file := range files(t, "go.mod") {
		if file == "go.mod" {
			continue
		}
		assert.Empty(t, badNested(path.Dir(file), parseMod(t, file)))
		assert.Contains(t, work, "./"+path.Dir(file)+"\n", "go.work must use it")
		assert.Contains(t, read(t, "Makefile"), " "+path.Dir(file), "MODULES of the Makefile must name it")
	}
}

func TestModuleRulesCatchOffenders(t *testing.T) {
	var m gomod
	require.NoError(t, json.Unmarshal([]byte(`{"Require":[{"Path":"github.com/jackc/pgx/v5"}]}`), &m))
	assert.NotEmpty(t, badRoot(m), "a driver in the root module")
	assert.NotEmpty(t, badNested("internal/bench", m), "a nested module without replace")
	m.Require[0].Indirect = true
	assert.NotEmpty(t, badRoot(m), "a driver that calls itself indirect")
	require.NoError(t, json.Unmarshal([]byte(`{"Require":[],"Replace":[{"Old":{"Path":"`+module+`"},"New":{"Path":"../.."}}]}`), &m))
	assert.NotEmpty(t, badRoot(m), "a replace in the root module")
	assert.NotEmpty(t, badNested("examples/a/b", m), "a replace that points elsewhere")
	assert.Empty(t, badNested("internal/bench", m))
}

// Testify, xxhash and go-redis are what the packages and their tests import;
// the others are what those three bring along.
var (
	direct   = []string{"github.com/stretchr/testify", "github.com/cespare/xxhash/v2", "github.com/redis/go-redis/v9"}
	indirect = append([]string{"go.yaml.in/yaml/v3"}, goredis...)
)

func badRoot(m gomod) (bad []string) {
	for _, r := range m.Require {
		allowed := direct
		if r.Indirect {
			allowed = indirect
		}
		if !slices.Contains(allowed, r.Path) {
			bad = append(bad, "the root go.mod requires "+r.Path)
		}
	}
	for _, r := range m.Replace {
		bad = append(bad, "the root go.mod replaces "+r.Old.Path)
	}
	return bad
}

func badNested(dir string, m gomod) []string {
	up := strings.TrimSuffix(strings.Repeat("../", strings.Count(dir, "/")+1), "/")
	for _, r := range m.Replace {
		if r.Old.Path == module && r.New.Path == up {
			return nil
		}
	}
	return []string{fmt.Sprintf("%s/go.mod lacks: replace %s => %s", dir, module, up)}
}
