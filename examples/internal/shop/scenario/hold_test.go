package scenario_test

import (
	"bytes"
	"context"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop"
	"github.com/keelson-go/keelson/examples/internal/shop/scenario"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// inFakeTime runs a scenario in a shop of its own, all of it in memory and in
// fake time. The bubble fails by itself when a goroutine is left at the end.
func inFakeTime(t *testing.T, name, sabotage string, seed uint64) scenario.Result {
	t.Helper()
	return until(t, 0, name, sabotage, seed)
}

// until is inFakeTime that is broken off after some time, if that is not zero: what has
// failed by then has failed.
func until(t *testing.T, end time.Duration, name, sabotage string, seed uint64) (result scenario.Result) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		preset, err := shop.FindPreset("fast")
		require.NoError(t, err)
		script, err := scenario.Load(name)
		require.NoError(t, err)
		require.NoError(t, shop.CheckTargets(script))
		var history bytes.Buffer
		s, err := shop.Start(shop.Config{
			Engines: shop.Engines{Network: &wire.Pipe{}}, Preset: preset, Sabotage: sabotage, Seed: seed,
			Saga: script.Needs["saga"], Mode: script.Needs["mode"], History: &history,
		})
		require.NoError(t, err)
		ctx := t.Context()
		if end > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, end)
			defer cancel()
		}
		result, err = scenario.Run(ctx, s, script, scenario.Options{Settle: true})
		if end == 0 {
			require.NoError(t, err)
			require.NoError(t, s.Judge(t.Context(), &history))
		}
		result.Lamps = scenario.Lamps(s.State())
		s.Close()
	})
	return result
}

// quick are the scenarios that every test run includes, with one seed: one for each
// kind of trouble. The others run in make shop-check and in the soak, and some of them
// in the tests of sabotages.
var quick = []string{"baseline", "duplicates", "flash-sale", "payment-blackhole", "payment-errors", "rolling-restart"}

// seeds is which scenarios run, and with how many seeds: the quick ones once, or all
// as often as KEELSON_SEEDS says, as in make shop-check; three times in the soak.
func seeds(t *testing.T) (names []string, n uint64) {
	t.Helper()
	text := os.Getenv("KEELSON_SEEDS")
	if text == "" && os.Getenv("KEELSON_SOAK") != "" {
		text = "3"
	}
	if text == "" {
		return quick, 1
	}
	n, err := strconv.ParseUint(text, 10, 16)
	require.NoError(t, err, "KEELSON_SEEDS")
	require.True(t, n > 0, "KEELSON_SEEDS is 0: nothing would be tested")
	return scenario.Names(), n
}

func TestScenariosHoldInFakeTime(t *testing.T) {
	t.Parallel()
	names, n := seeds(t)
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			for seed := range n {
				result := inFakeTime(t, name, "", seed)
				for _, o := range result.Outcomes {
					assert.True(t, o.OK, "seed %d: %s: wanted %s, got %s at %.1fs", seed, o.Text, o.Wanted, o.Got, o.At)
				}
				for _, l := range result.Lamps {
					assert.Equal(t, "ok", l.Status, "seed %d: lamp %s: %s", seed, l.Name, l.Detail)
				}
				require.True(t, len(result.Lamps) > 0)
			}
		})
	}
}

// A21: whatever pattern is broken on purpose, a scenario that leans on it fails, and
// says where. A check that stays green without the pattern would be no check.
func TestEverySabotageFailsItsScenario(t *testing.T) {
	t.Parallel()
	lies := map[string]struct {
		scenario, says string
		by             time.Duration // when that has been seen; zero is at the end
	}{
		"no-breaker":      {"payment-blackhole", "expect breakers.orders/payments.state = open within 2s of 5s", 7200 * time.Millisecond},
		"no-budget":       {"retry-storm", "expect +retry.gateway/products.attempts <= 450 during 3s..11s", 11200 * time.Millisecond},
		"no-compensation": {"flash-sale", "lamp orders", 0},
		"no-idempotency":  {"payment-errors", "lamp orders", 0},
		"no-outbox":       {"broker-down", "expect outbox.users > 10 within 9s of 6s", 15200 * time.Millisecond},
	}
	for _, sabotage := range shop.Sabotages() {
		t.Run(sabotage, func(t *testing.T) {
			lie, ok := lies[sabotage]
			require.True(t, ok, "no scenario is known to fail")
			result := until(t, lie.by, lie.scenario, sabotage, 1)
			var failed []string
			for _, o := range result.Outcomes {
				if !o.OK {
					failed = append(failed, o.Text)
				}
			}
			for _, l := range result.Lamps {
				if l.Status == "broken" {
					failed = append(failed, "lamp "+l.Name)
					t.Logf("lamp %s: %s", l.Name, l.Detail)
				}
			}
			assert.True(t, slices.ContainsFunc(failed, func(text string) bool {
				return strings.Join(strings.Fields(text), " ") == lie.says
			}), "failed: %q", failed)
		})
	}
}

func TestSabotagedBreakerFailsTheScenario(t *testing.T) {
	t.Parallel()
	result := until(t, 7200*time.Millisecond, "users-blackhole", "no-breaker", 1)
	assert.True(t, result.Failed() > 0)
	assert.False(t, outcome(t, result, "expect breakers.orders/users.state = open within 2s of 5s").OK)
}

func outcome(t *testing.T, r scenario.Result, text string) scenario.Outcome {
	t.Helper()
	for _, o := range r.Outcomes {
		if o.Text == text {
			return o
		}
	}
	t.Fatalf("the scenario has no line %q", text)
	return scenario.Outcome{}
}
