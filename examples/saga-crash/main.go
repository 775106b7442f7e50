// Command saga-crash starts itself twice. The first process dies in the middle of
// a saga, between the effect of a step and the record of it; the second one finds
// the saga in the directory, repeats that step under the same key, and completes.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/keelson-go/keelson/saga"
	"github.com/keelson-go/keelson/saga/sagafile"
)

// Order is the state of the saga.
type Order struct{ Payment string }

func main() {
	if dir := os.Getenv("SAGA_CRASH_DIR"); dir != "" {
		process(dir)
		return
	}
	dir, err := os.MkdirTemp("", "saga-crash")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	for _, name := range []string{"first", "second"} {
		fmt.Println(name, "process")
		self := exec.Command(os.Args[0])
		self.Env = append(os.Environ(), "SAGA_CRASH_DIR="+dir)
		self.Stdout, self.Stderr = os.Stdout, os.Stderr
		fmt.Println("  ended with", self.Run())
	}
}

func process(dir string) {
	store, err := sagafile.Open(filepath.Join(dir, "sagas"), sagafile.Config{})
	if err != nil {
		panic(err)
	}
	defer store.Close()
	coordinator, err := saga.New(store, saga.Config{})
	if err != nil {
		panic(err)
	}
	orders, err := saga.Register(coordinator, saga.Definition[Order]{Name: "order", Steps: []saga.Step[Order]{
		{Name: "reserve", Do: func(context.Context, *Order) error { fmt.Println("  reserves"); return nil }},
		{Name: "pay", Do: func(ctx context.Context, o *Order) error {
			o.Payment = saga.CallFrom(ctx).Key()
			return pay(filepath.Join(dir, "bank"), o.Payment)
		}},
		{Name: "ship", Do: func(_ context.Context, o *Order) error { fmt.Println("  ships, paid by", o.Payment); return nil }},
	}})
	if err != nil {
		panic(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- coordinator.Serve(ctx) }()
	order, err := orders.Run(ctx, "order-17", Order{}) // the same id and input: the same saga
	fmt.Println("  completed:", order, err)
	stop()
	<-served
}

// pay asks the bank, a file here, which takes the money once for each key.
func pay(bank, key string) error {
	if booked, err := os.ReadFile(bank); err == nil && string(booked) == key {
		fmt.Println("  pays: the bank has it already")
		return nil
	}
	err := os.WriteFile(bank, []byte(key), 0o600)
	fmt.Println("  pays, and the power fails:", err)
	os.Exit(1) // nothing deferred runs, and no record is written
	return nil
}
