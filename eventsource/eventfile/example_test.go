package eventfile_test

import (
	"context"
	"fmt"
	"os"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/eventfile"
)

// What was appended is there when the directory is opened again, by this process
// or the next.
func Example() {
	dir, err := os.MkdirTemp("", "events")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()

	for range 2 {
		store, err := eventfile.Open(dir, eventfile.Config{})
		if err != nil {
			panic(err)
		}
		head, err := store.Head(ctx)
		if err != nil {
			panic(err)
		}
		result, err := store.Append(ctx, []eventsource.Event{
			{Stream: "account-7", Type: "account.deposited", Data: []byte(`{"amount":1000}`)},
		})
		if err != nil {
			panic(err)
		}
		fmt.Println("found", head, "events; the stream is at version", result.Version)
		if err := store.Close(); err != nil { // marks a clean end
			panic(err)
		}
	}
	// Output:
	// found 0 events; the stream is at version 1
	// found 1 events; the stream is at version 2
}

// Stats tell how many appends shared an fsync, and whether a write has failed.
func ExampleLog_Stats() {
	dir, err := os.MkdirTemp("", "events")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	store, err := eventfile.Open(dir, eventfile.Config{})
	if err != nil {
		panic(err)
	}
	defer store.Close()
	for range 3 {
		if _, err := store.Append(context.Background(), []eventsource.Event{{Type: "ping"}}); err != nil {
			panic(err)
		}
	}
	s := store.Stats()
	fmt.Printf("%d events in %d file, NoSync %v, poisoned %q\n", s.Events, s.Segments, s.NoSync, s.Poisoned)
	// Output: 3 events in 1 file, NoSync false, poisoned ""
}
