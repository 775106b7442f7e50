package sharding_test

import (
	"cmp"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/sharding"
)

// scan is the reference: the owner of the last bound at or below key.
func scan[K cmp.Ordered](bounds []K, key K) string {
	owner := "below"
	for i, b := range bounds {
		if b <= key {
			owner = strconv.Itoa(i)
		}
	}
	return owner
}

// requireFound compares lookups at, below and above each bound with a scan.
func requireFound[K cmp.Ordered](t *testing.T, bounds, keys []K) {
	t.Helper()
	slices.Sort(bounds)
	bounds = slices.Compact(bounds)
	ranges := []sharding.Range[K]{{To: &bounds[0], Owner: "below"}}
	for i := range bounds {
		r := sharding.Range[K]{From: &bounds[i], Owner: sharding.ID(strconv.Itoa(i))}
		if i+1 < len(bounds) {
			r.To = &bounds[i+1]
		}
		ranges = append(ranges, r)
	}
	r, err := sharding.NewRanges(ranges...)
	require.NoError(t, err)
	for _, key := range append(keys, bounds...) {
		id, err := r.Owner(key)
		require.NoError(t, err)
		require.Equal(t, scan(bounds, key), string(id), "key %#v among %d bounds", key, len(bounds))
	}
}

func TestSearchFindsWhatAScanFinds(t *testing.T) {
	rng := seeded(21)
	for n := 1; n < 70; n++ {
		var u []uint64
		var keys []uint64
		for range n {
			b := rng.Uint64() >> rng.IntN(60)
			u, keys = append(u, b), append(keys, b-1, b+1, rng.Uint64())
		}
		requireFound(t, u, keys)
	}
}

// T21: strings that are prefixes of others, NULs, empty strings, a common
// prefix, runs that share 8 bytes.
func TestStringSearchFindsWhatAScanFinds(t *testing.T) {
	rng := seeded(22)
	for _, alphabet := range []string{"\x00a", "ab", "\x00\xff", "abcdefgh"} {
		for n := 1; n < 60; n++ {
			prefix := []string{"", "tenant/", "a-prefix-longer-than-eight/"}[rng.IntN(3)]
			var bounds, keys []string
			for range n {
				bounds = append(bounds, prefix+word(rng, alphabet))
				keys = append(keys, prefix+word(rng, alphabet), word(rng, alphabet), prefix[:rng.IntN(len(prefix)+1)], prefix+"\xff\xff")
			}
			requireFound(t, bounds, keys)
		}
	}
	requireFound(t, []string{""}, []string{"", "a", "\x00"})
}

func word(rng *rand.Rand, alphabet string) string {
	b := make([]byte, rng.IntN(20))
	for i := range b {
		b[i] = alphabet[rng.IntN(len(alphabet))]
	}
	return string(b)
}

// T21: 10,000 bounds that share 8 bytes stay logarithmic. The number of
// comparisons is what counts, so they are counted, by reading positions: a
// scan of the run would take a thousand times as many.
func TestBoundsWithOnePrefixStayLogarithmic(t *testing.T) {
	var bounds []string
	for i := range 10_000 {
		bounds = append(bounds, "other"+strconv.Itoa(i%7)) // so that no prefix is common to all
		bounds = append(bounds, "samehead/"+strconv.Itoa(100_000+i))
	}
	slices.Sort(bounds)
	steps := sharding.SearchSteps(slices.Compact(bounds), "samehead/105000")
	assert.True(t, steps <= 20, "%d steps", steps)
	assert.True(t, steps >= 10, "%d steps: nothing was counted", steps)
}

// T42: the search loop has a SETcc and, besides its own end, no branch: it
// never depends on data what comes next.
func TestSearchLoopHasNoBranchOnData(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "build", "-gcflags=-S", "-o", os.DevNull, ".")
	cmd.Env = append(os.Environ(), "GOARCH=amd64", "GOFLAGS=", "CGO_ENABLED=0")
	listing, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", listing)
	_, body, found := strings.Cut(string(listing), "sharding.floor[go.shape.uint64] STEXT")
	require.True(t, found, "floor is not in the listing")
	body, _, _ = strings.Cut(body, " STEXT")
	loop := regexp.MustCompile(`search\.go:\d+\)\s+(J[A-Z]+|SET[A-Z]+)`).FindAllStringSubmatch(body, -1)
	var jumps, sets int
	for _, m := range loop {
		switch {
		case m[1] == "JMP": // into the loop
		case strings.HasPrefix(m[1], "J"):
			jumps++
		default:
			sets++
		}
	}
	assert.Equal(t, 1, jumps, "conditional jumps: that of the loop alone")
	assert.Equal(t, 1, sets, "SETcc")
}
