package eventsource_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/eventfile"
)

// stores are what every test here runs on, beside the suite of eventtest, which
// each store runs where its other tests are: each call opens an empty store that
// shares nothing with the others. A store on a server may skip the test.
var stores = map[string]func(t *testing.T) eventsource.Store{
	"memory": func(*testing.T) eventsource.Store { return eventsource.NewMemory() },
	"eventfile": func(t *testing.T) eventsource.Store {
		log, err := eventfile.Open(t.TempDir(), eventfile.Config{SegmentSize: 64 << 10, NoSync: true})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, log.Close()) })
		return log
	},
}

func onEachStore(t *testing.T, test func(t *testing.T, open func(t *testing.T) eventsource.Store)) {
	t.Helper()
	for name, open := range stores {
		t.Run(name, func(t *testing.T) { test(t, open) })
	}
}
