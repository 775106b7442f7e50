package messagingkafka

import "testing"

// OnRevoke has f called when partitions are about to go and wait for handlers.
func OnRevoke(t *testing.T, f func()) {
	onRevoke = f
	t.Cleanup(func() { onRevoke = nil })
}
