package main

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// How many connections ten calls open that are answered 503, 503, 200. Ours is
// asserted; the peers' are logged.
func TestConnectionsOpened(t *testing.T) {
	for name, c := range map[string]contender{
		"keelson": keelsonHTTP, "go-retryablehttp v0.7.8": retryableHTTP, "rehttp v1.4.0": reHTTP, "failsafehttp v0.9.8": failsafeHTTP,
	} {
		url, connections := flakyServer(t, 2)
		client := &http.Client{Transport: c(newPool(t))}
		for range 10 {
			require.NoError(t, fetch(client, url), name)
		}
		t.Logf("%s: %d connections", name, connections.Load())
		if name == "keelson" {
			assert.EqualValues(t, 1, connections.Load())
		}
	}
}
