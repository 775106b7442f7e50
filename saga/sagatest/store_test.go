package sagatest_test

import (
	"testing"

	"github.com/keelson-go/keelson/saga"
	"github.com/keelson-go/keelson/saga/sagatest"
)

func TestMemoryConforms(t *testing.T) {
	sagatest.TestStore(t, func(*testing.T) saga.Store { return saga.NewMemory() })
}
