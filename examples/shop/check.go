package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/keelson-go/keelson/examples/internal/shop"
	"github.com/keelson-go/keelson/examples/internal/shop/scenario"
)

// startCheck starts a shop and runs a scenario in it without a page. Every call of
// the load is written down beside the stores, to be judged once more at the end.
func (o *options) startCheck(ctx context.Context, config shop.Config, script scenario.Script, stdout, stderr io.Writer) int {
	history, err := os.Create(filepath.Join(o.data, "history.ndjson"))
	if err != nil {
		fmt.Fprintln(stderr, "shop:", err)
		return exitStart
	}
	defer history.Close()
	config.History = history
	s, err := shop.Start(config)
	if err != nil {
		fmt.Fprintln(stderr, "shop:", err)
		return exitStart
	}
	defer s.Close()
	return o.runCheck(ctx, s, script, history, stdout, stderr)
}

// runCheck's verdict is the exit code; what it prints is for those who want to
// know why.
func (o *options) runCheck(ctx context.Context, s *shop.Shop, script scenario.Script, history *os.File, stdout, stderr io.Writer) int {
	result, err := scenario.Run(ctx, s, script, scenario.Options{Length: o.length, RPS: o.rps, Settle: true})
	if err == nil {
		err = judge(ctx, s, history)
		result.Lamps = scenario.Lamps(s.State())
	}
	h := scenario.Header{
		Scenario: script.Name, Preset: o.preset, Seed: o.seed, Sabotage: o.sabotage, Length: result.Length.String(),
		Repeat: o.repeat(script, result.Length),
	}
	if o.json {
		_ = result.WriteJSON(stdout, h) // a closed pipe has nobody to tell
	} else {
		result.WriteText(stdout, h)
	}
	if err != nil {
		fmt.Fprintln(stderr, "shop:", err)
	}
	// A run that was cut short has not shown what it was to show, even if nothing
	// has failed yet.
	if err != nil || result.Failed() > 0 {
		return exitFailed
	}
	return 0
}

// judge reads the history from its beginning.
func judge(ctx context.Context, s *shop.Shop, history *os.File) error {
	calls, err := os.Open(history.Name())
	if err != nil {
		return err
	}
	defer calls.Close()
	return s.Judge(ctx, calls)
}
