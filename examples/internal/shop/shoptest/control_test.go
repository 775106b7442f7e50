package shoptest_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop"
	"github.com/keelson-go/keelson/examples/internal/shop/collect"
	"github.com/keelson-go/keelson/examples/internal/shop/fault"
	"github.com/keelson-go/keelson/examples/internal/shop/scenario"
	"github.com/keelson-go/keelson/examples/internal/shop/shoptest"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// busy runs a shop under load in fake time.
func busy(t *testing.T, test func(t *testing.T, s *shop.Shop)) {
	t.Helper()
	shoptest.Busy(t, 3*time.Second, test)
}

func inject(t *testing.T, s *shop.Shop, words ...string) fault.Rule {
	t.Helper()
	rule, err := fault.Parse("users", words)
	require.NoError(t, err)
	rule, err = s.Inject(rule)
	require.NoError(t, err)
	return rule
}

// T12: every toggle of the page does something that /state shows, and undoing it
// undoes that.
func TestEveryToggleShowsAndIsUndone(t *testing.T) {
	t.Parallel()
	for name, toggle := range map[string]struct {
		on, off func(t *testing.T, s *shop.Shop)
	}{
		"latency":   {func(t *testing.T, s *shop.Shop) { inject(t, s, "latency=2s") }, clearAll},
		"errors":    {func(t *testing.T, s *shop.Shop) { inject(t, s, "error=80%") }, clearAll},
		"blackhole": {func(t *testing.T, s *shop.Shop) { inject(t, s, "blackhole") }, clearAll},
		"stop": {
			func(t *testing.T, s *shop.Shop) { require.NoError(t, s.StopService("users")) },
			func(t *testing.T, s *shop.Shop) { require.NoError(t, s.StartService("users")) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			shoptest.Busy(t, time.Second, func(t *testing.T, s *shop.Shop) {
				assert.Equal(t, "closed", shoptest.BreakerState(t, s, "orders/users"))
				toggle.on(t, s)
				time.Sleep(2 * time.Second)
				assert.Equal(t, "open", shoptest.BreakerState(t, s, "orders/users"))
				assert.Equal(t, name == "stop", len(s.State().Faults) == 0)
				toggle.off(t, s)
				time.Sleep(4 * time.Second)
				assert.Equal(t, "closed", shoptest.BreakerState(t, s, "orders/users"))
				assert.Equal(t, 0, len(s.State().Faults))
				assert.Equal(t, "up", s.State().Services["users"].State)
			})
		})
	}
}

func clearAll(t *testing.T, s *shop.Shop) { require.NoError(t, s.Clear("all")) }

func TestAFaultWithATimeEndsByItself(t *testing.T) {
	busy(t, func(t *testing.T, s *shop.Shop) {
		inject(t, s, "latency=10ms", "for=2s")
		longer := inject(t, s, "latency=20ms", "for=1h")
		time.Sleep(1999 * time.Millisecond)
		assert.Equal(t, 2, len(s.State().Faults))
		time.Sleep(2 * time.Millisecond)
		require.Equal(t, 1, len(s.State().Faults))
		assert.Equal(t, longer.ID, s.State().Faults[0].ID)
		require.NoError(t, s.ClearFault(longer.ID))
		assert.Error(t, s.ClearFault(longer.ID))
	})
}

func TestOneScenarioAtATime(t *testing.T) {
	busy(t, func(t *testing.T, s *shop.Shop) {
		script, err := scenario.Load("users-blackhole")
		require.NoError(t, err)
		require.NoError(t, s.StartScenario(script))
		assert.ErrorIs(t, s.StartScenario(script), shop.ErrBusy)
		time.Sleep(6 * time.Second)
		assert.True(t, s.State().Scenario.Running)
		assert.Equal(t, 1, len(s.State().Faults))
		require.NoError(t, s.StopScenario("users-blackhole"))
		assert.False(t, s.State().Scenario.Running)
		assert.Equal(t, 0, len(s.State().Faults), "T29: the fault has ended with its scenario")
		assert.Error(t, s.StopScenario("users-blackhole"))
		require.NoError(t, s.StartScenario(script))
	})
}

func TestUnknownNamesSayWhatThereIs(t *testing.T) {
	busy(t, func(t *testing.T, s *shop.Shop) {
		_, err := s.Inject(fault.Rule{Target: "bank"})
		for _, err := range []error{err, s.Clear("bank"), s.StopService("bank"), s.StartService("bank"), s.RestartService("bank")} {
			require.Error(t, err)
			assert.Contains(t, err.Error(), "gateway, orders, users")
		}
	})
}

// The stream carries the state ten times a second, points for the charts five
// times, and each change when it happens.
func TestTheStreamHasItsRates(t *testing.T) {
	busy(t, func(t *testing.T, s *shop.Shop) {
		c := s.Hub().Join("")
		defer c.Leave()
		_, err := c.Take()
		require.NoError(t, err)
		inject(t, s, "error=100%")
		time.Sleep(time.Second)
		frames, err := c.Take()
		require.NoError(t, err)
		kinds := map[string]int{}
		for _, f := range frames {
			kinds[f.Kind]++
		}
		assert.InDelta(t, 10, float64(kinds["state"]), 1)
		assert.InDelta(t, 5, float64(kinds["load"]), 1)
		assert.Equal(t, 1, kinds["fault"])
		assert.True(t, kinds["retry"] > 0 && kinds["breaker"] > 0 && kinds["log"] > 0, "%v", kinds)
	})
}

// T28: what a page starts with does not grow with the age of the shop.
func TestTheSnapshotIsBounded(t *testing.T) {
	busy(t, func(t *testing.T, s *shop.Shop) {
		size := func() int {
			frames, err := s.Hub().Join("").Take()
			require.NoError(t, err)
			require.Equal(t, 1, len(frames))
			return len(frames[0].Data)
		}
		for range 300 { // more lines than the event log keeps
			require.NoError(t, s.ClearFault(inject(t, s, "latency=1ms").ID))
		}
		rings := func() (points, news int) {
			var doc struct {
				Points []collect.Point
				News   []collect.News
			}
			frames, err := s.Hub().Join("").Take()
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(frames[0].Data, &doc))
			return len(doc.Points), len(doc.News)
		}
		s.SetLoad(0, nil) // what is counted here comes from the clock alone
		time.Sleep(130 * time.Second)
		first := size()
		time.Sleep(20 * time.Second)
		assert.InDelta(t, float64(first), float64(size()), float64(first)/10)
		points, news := rings()
		assert.Equal(t, 121, points, "one a second at rest, for two minutes")
		assert.Equal(t, 200, news)
	})
}

func TestPresetsAreSound(t *testing.T) {
	for _, name := range []string{"fast", "classic"} {
		p, err := shop.FindPreset(name)
		require.NoError(t, err)
		p.HealthLimit = p.HealthEvery
		assert.Error(t, p.Validate())
	}
}

func TestFaultsInForceAreBounded(t *testing.T) {
	busy(t, func(t *testing.T, s *shop.Shop) {
		rule, err := fault.Parse("users", []string{"latency=1ms"})
		require.NoError(t, err)
		for range 32 {
			_, err = s.Inject(rule)
			require.NoError(t, err)
		}
		_, err = s.Inject(rule)
		require.Error(t, err)
		assert.Contains(t, err.Error(), "32 faults are in force")
		clearAll(t, s)
		_, err = s.Inject(rule)
		assert.NoError(t, err)
	})
}

// A restart that is on its way when the shop closes must not bring a service back
// behind its end; the bubble fails if one is left. The black hole sees to it that
// there is something to drain.
func TestNothingStartsOnceTheShopIsClosed(t *testing.T) {
	busy(t, func(t *testing.T, s *shop.Shop) {
		inject(t, s, "blackhole")
		done := make(chan error)
		go func() {
			for range 100 {
				if err := s.RestartService("orders"); err != nil {
					done <- err
					return
				}
				time.Sleep(time.Millisecond)
			}
			done <- nil
		}()
		time.Sleep(20 * time.Millisecond)
		s.Close()
		assert.Error(t, <-done)
		err := s.StartService("orders")
		require.Error(t, err)
		assert.Contains(t, err.Error(), "closing", "it was refused, and not started and out of reach")
		_, err = s.Inject(fault.Rule{Target: "users", Kind: fault.Latency, For: time.Hour})
		assert.Error(t, err)
	})
}
